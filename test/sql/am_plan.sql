-- When the planner uses the index, and when it must not; properties.

CREATE TABLE plan (id int PRIMARY KEY, category int, v vector(3));
INSERT INTO plan SELECT i, i % 500, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(1, 3000) i;
CREATE INDEX plan_category ON plan (category);
CREATE INDEX plan_l2 ON plan USING chassis (v);
CREATE INDEX plan_ip ON plan USING chassis (v vector_ip_ops) WITH (m = 8);
CREATE INDEX plan_cosine ON plan USING chassis (v vector_cosine_ops) WITH (m = 8);
CREATE INDEX plan_l1 ON plan USING chassis (v vector_l1_ops) WITH (m = 8);
ANALYZE plan;

-- Each operator has its operator class.
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY v <-> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY v <#> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY v <=> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY v <+> '[1,2,3]' LIMIT 5;
-- The operator commutes.
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY '[1,2,3]' <-> v LIMIT 5;
-- OFFSET counts as LIMIT does; a condition that keeps half of the rows.
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY v <-> '[1,2,3]' LIMIT 5 OFFSET 20;
EXPLAIN (COSTS OFF) SELECT id FROM plan WHERE category < 250
	ORDER BY v <-> '[1,2,3]' LIMIT 5;

-- A condition that leaves six rows: the other index and a sort.
EXPLAIN (COSTS OFF) SELECT id FROM plan WHERE category = 7
	ORDER BY v <-> '[1,2,3]' LIMIT 5;
-- All rows: sorting them is cheaper.
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY v <-> '[1,2,3]';
-- Nearest first only, and nothing but the distance.
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY v <-> '[1,2,3]' DESC LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM plan ORDER BY (v <-> '[1,2,3]') + 1 LIMIT 5;

-- Without an order the index is of no use, whatever the settings say.
DROP INDEX plan_category;
SET enable_seqscan = off;
-- the plan without what 18 adds: that it is one that was disabled
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql
AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query
	LOOP
		CONTINUE WHEN line ~ 'Disabled: true';
		RETURN NEXT line;
	END LOOP;
END $$;
SELECT pg_temp.plan_of('SELECT v FROM plan');
SELECT pg_temp.plan_of($$SELECT v FROM plan WHERE v = '[1,2,3]'$$);
SELECT pg_temp.plan_of('SELECT v FROM plan WHERE v IS NULL');
SELECT pg_temp.plan_of($$SELECT v FROM plan WHERE v <-> '[1,2,3]' < 1$$);
RESET enable_seqscan;

-- A prepared statement keeps its plan for any vector.
PREPARE near(vector) AS
	SELECT count(*) FROM (SELECT FROM plan ORDER BY v <-> $1 LIMIT 7) x;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE near('[1,2,3]');
EXECUTE near('[1,2,3]');
EXECUTE near('[0,0,0]');
EXECUTE near(NULL);
RESET plan_cache_mode;
DEALLOCATE ALL;

-- The query vector can come from another row.
EXPLAIN (COSTS OFF) SELECT o.id, n.id FROM plan o,
	LATERAL (SELECT id FROM plan i ORDER BY i.v <-> o.v LIMIT 1) n
WHERE o.id < 4;

-- A cursor is expected to be read in part.
BEGIN;
EXPLAIN (COSTS OFF) DECLARE c CURSOR FOR SELECT id FROM plan ORDER BY v <-> '[1,2,3]';
COMMIT;

-- Partial and expression indexes.
CREATE TABLE part (id int, kind int, v vector(3), a real[]);
INSERT INTO part SELECT i, i % 3, ARRAY[i % 13, i % 17, i % 19]::real[]::vector,
	ARRAY[i % 13, i % 17]
FROM generate_series(1, 3000) i;
CREATE INDEX part_kind ON part USING chassis (v) WITH (m = 8) WHERE kind = 1;
CREATE INDEX part_array ON part USING chassis ((a::vector(2))) WITH (m = 8);
ANALYZE part;
EXPLAIN (COSTS OFF) SELECT id FROM part WHERE kind = 1
	ORDER BY v <-> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM part WHERE kind = 2
	ORDER BY v <-> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM part ORDER BY a::vector(2) <-> '[1,2]' LIMIT 5;
SELECT count(*), count(DISTINCT id) FROM
	(SELECT id FROM part WHERE kind = 1 ORDER BY v <-> '[1,2,3]' LIMIT 2000) x;
DROP TABLE part;

-- Partitions are merged.
CREATE TABLE parts (id int, v vector(3)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (1000) TO (9999);
INSERT INTO parts SELECT i, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(1, 3000) i;
CREATE INDEX parts_v ON parts USING chassis (v) WITH (m = 8);
ANALYZE parts;
EXPLAIN (COSTS OFF) SELECT id FROM parts ORDER BY v <-> '[1,2,3]' LIMIT 5;
SELECT count(*), count(DISTINCT id) FROM
	(SELECT id FROM parts ORDER BY v <-> '[1,2,3]' LIMIT 2000) x;
DROP TABLE parts;

-- A few hundred rows are enough; ten are not.
CREATE TABLE small (id int, v vector(3));
INSERT INTO small SELECT i, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(1, 10) i;
CREATE INDEX small_v ON small USING chassis (v);
ANALYZE small;
EXPLAIN (COSTS OFF) SELECT id FROM small ORDER BY v <-> '[1,2,3]' LIMIT 5;
INSERT INTO small SELECT i, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(11, 300) i;
ANALYZE small;
EXPLAIN (COSTS OFF) SELECT id FROM small ORDER BY v <-> '[1,2,3]' LIMIT 5;
DROP TABLE small;

-- So are a few hundred long vectors, although the table's own pages are few.
CREATE TABLE long (id int, v vector(1000));
INSERT INTO long SELECT i, array_agg((i * j) % 101)::vector
FROM generate_series(1, 300) i, generate_series(1, 1000) j GROUP BY i;
CREATE INDEX long_v ON long USING chassis (v);
ANALYZE long;
PREPARE near_long(vector) AS SELECT id FROM long ORDER BY v <-> $1 LIMIT 5;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE near_long(NULL);
RESET plan_cache_mode;
DEALLOCATE near_long;
DROP TABLE long;

-- A wider search costs more, and so do more rows.
CREATE FUNCTION cost_of(part text, query text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan -> 0 -> 'Plan' ->> (part || ' Cost');
END $$;
SELECT cost_of('Startup', 'SELECT FROM plan ORDER BY v <-> ''[1,2,3]'' LIMIT 1') AS narrow,
	cost_of('Total', 'SELECT FROM plan ORDER BY v <-> ''[1,2,3]'' LIMIT 1') AS one,
	cost_of('Total', 'SELECT FROM plan ORDER BY v <-> ''[1,2,3]'' LIMIT 99') AS many,
	cost_of('Total', 'SELECT FROM plan WHERE category < 100 ORDER BY v <-> ''[1,2,3]'' LIMIT 10') AS rare,
	cost_of('Total', 'SELECT FROM plan WHERE category < 400 ORDER BY v <-> ''[1,2,3]'' LIMIT 10') AS common \gset
SET chassis.ef_search = 400;
SELECT cost_of('Startup', 'SELECT FROM plan ORDER BY v <-> ''[1,2,3]'' LIMIT 1') AS wide \gset
RESET chassis.ef_search;
SELECT :narrow < :wide AS wide, :one < :many AS many, :common < :rare AS rare;
DROP FUNCTION cost_of(text, text);
DROP TABLE plan;

-- Properties of the access method, an index and its column.
SELECT property, pg_indexam_has_property(oid, property)
FROM pg_am, unnest('{can_order,can_unique,can_multi_col,can_exclude,can_include}'::text[]) property
WHERE amname = 'chassis';
CREATE TABLE property (v vector(3));
CREATE INDEX property_v ON property USING chassis (v);
SELECT property, pg_index_has_property('property_v', property)
FROM unnest('{clusterable,index_scan,bitmap_scan,backward_scan}'::text[]) property;
SELECT property, pg_index_column_has_property('property_v', 1, property)
FROM unnest('{asc,orderable,distance_orderable,returnable,search_array,search_nulls}'::text[]) property;
DROP TABLE property;

-- The operator classes are what the access method takes them for.
SELECT opcname, opcdefault, amvalidate(c.oid)
FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
WHERE amname = 'chassis' AND opcname LIKE 'vector%' ORDER BY opcname;
