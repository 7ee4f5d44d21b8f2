--
-- The extension works in any schema, on the search path or not
--
SELECT extrelocatable FROM pg_extension WHERE extname = 'chassis';

CREATE SCHEMA type_schema_elsewhere;
SELECT extnamespace::regnamespace AS home FROM pg_extension WHERE extname = 'chassis' \gset
CREATE TABLE type_schema_rows (v vector(2));
INSERT INTO type_schema_rows VALUES ('[1,2]'), ('[3,4]'), ('[-0,1]');
ALTER EXTENSION chassis SET SCHEMA type_schema_elsewhere;
SET search_path = pg_catalog;

-- no object stayed behind
SELECT n.nspname, count(*) > 40 AS objects
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
	WHERE e.extname = 'chassis' GROUP BY 1;

-- operators, casts, aggregates, sort and hash without the schema in the path
SELECT '[1,2]'::type_schema_elsewhere.vector OPERATOR(type_schema_elsewhere.<->) '[4,6]' AS distance,
	   ARRAY[1, 2]::type_schema_elsewhere.vector(2) AS from_array,
	   '[1,2]'::type_schema_elsewhere.vector(2)::real[] AS to_array;
SELECT type_schema_elsewhere.avg(v), type_schema_elsewhere.sum(v) FROM public.type_schema_rows;
SELECT v FROM public.type_schema_rows ORDER BY v;
SELECT v, count(*) FROM public.type_schema_rows GROUP BY v ORDER BY v;

RESET search_path;
ALTER EXTENSION chassis SET SCHEMA :home;
DROP SCHEMA type_schema_elsewhere;
SELECT v <-> '[1,2]' AS distance FROM type_schema_rows ORDER BY 1;
DROP TABLE type_schema_rows;
