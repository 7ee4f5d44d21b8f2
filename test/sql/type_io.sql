--
-- Text in and out, white space, number forms, type modifier
--

-- white space is allowed between all tokens, and nowhere needed
SELECT '[1,2,3]'::vector;
SELECT (E' \t[ 1 ,\n2,\r3 \f]' || chr(11))::vector;

-- every form of number that real takes
SELECT '[1.,.5,-2.50,+3,1e2,1E-2,0x10,0x1p-1]'::vector;
SELECT '[0,-0,0e99999,0.000]'::vector;

-- output has the fewest digits that read back as the same float
SELECT '[0.1,0.30000001192092896,16777217,123456789,1e-5,0.0001,1e15,1e16]'::vector;
SET extra_float_digits = -5;
SELECT '[0.123456789]'::vector;
RESET extra_float_digits;

-- the ends of the range; too small a number becomes denormal or zero
SELECT '[3.4028235e38,-3.4028235e38,1.1754944e-38]'::vector;
SELECT '[1e-45,1e-46,-1e-46]'::vector;

-- numbers are read exactly as real reads them: short and long, near the
-- midpoint between two floats, at both ends of the exponent
CREATE TEMP TABLE io_numbers AS
	SELECT s FROM generate_series(1, 20000) i,
		LATERAL (SELECT hashint4(i)::bigint AS h, hashint4(-i)::bigint AS g) r,
		LATERAL (VALUES
			((h / 2147483648.0)::numeric(12,9)::text),
			((h / 2147483648.0)::float8::text),
			(h::text || 'e' || g % 30),
			(h::text || '.' || abs(g)),
			('.000' || abs(h) || abs(g)),
			(abs(h)::text || abs(g) || 'e-' || abs(h % 40)),
			(((16777216 + abs(h % 16777216)) * 2 + 1)::text || 'e0'),
			(((16777216 + abs(h % 16777216)) * 2 + 1)::text || '.000000001'),
			((h::float8 / 4294967296 * 1e-38)::text)) AS v(s);
SELECT count(*) AS numbers,
	   count(*) FILTER (WHERE ('[' || s || ']')::vector::real[] <> ARRAY[s::real]) AS differ
	FROM io_numbers;

-- text out and in again is the identity
SELECT count(*) AS vectors,
	   count(*) FILTER (WHERE v::text::vector::text <> v::text) AS differ
	FROM (SELECT ('[' || string_agg(s, ',') || ']')::vector AS v
			FROM (SELECT s, row_number() OVER () / 100 AS n FROM io_numbers) r
			GROUP BY n) r;

-- type modifier
SELECT '[1,2,3]'::vector(3);
CREATE TEMP TABLE io_typmod (v vector(3), a vector(2)[]);
SELECT attname, atttypmod, format_type(atttypid, atttypmod)
	FROM pg_attribute WHERE attrelid = 'io_typmod'::regclass AND attnum > 0
	ORDER BY attnum;
INSERT INTO io_typmod VALUES ('[1,2,3]', '{"[1,2]","[3,4]"}');
SELECT * FROM io_typmod;
SELECT unnest('{"[1,2,3]","[4,5,6]"}'::vector[]);

-- stored out of line when large, and never compressed
SELECT typstorage, typlen, typalign, typcategory FROM pg_type WHERE oid = 'vector'::regtype;
CREATE TEMP TABLE io_large AS
	SELECT array_fill(1, ARRAY[n])::vector AS v FROM (VALUES (3), (100), (3000)) AS s(n);
SELECT vector_dims(v) AS dims, pg_column_size(v) AS stored,
	   v = array_fill(1, ARRAY[vector_dims(v)])::vector AS intact
	FROM io_large;
SELECT pg_relation_size(reltoastrelid) > 0 AS out_of_line
	FROM pg_class WHERE oid = 'io_large'::regclass;

-- a session's locale has no say in the decimal point
SELECT '[1.5]'::vector, '[1,5]'::vector;

-- all functions of the type are immutable, strict and safe in parallel plans
SELECT provolatile, proisstrict, proparallel, count(*) > 30 AS all_functions
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
	WHERE e.extname = 'chassis' AND p.prokind = 'f' AND p.proname NOT LIKE 'chassis%'
	GROUP BY 1, 2, 3;
