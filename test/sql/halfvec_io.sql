--
-- halfvec: text in and out, rounding, type modifier, binary copy
--

-- white space is allowed between all tokens, and nowhere needed
SELECT '[1,2,3]'::halfvec;
SELECT (E' \t[ 1 ,\n2,\r3 \f]' || chr(11))::halfvec;

-- every form of number that real takes
SELECT '[1.,.5,-2.50,+3,1e2,1E-2,0x10,0x1p-1]'::halfvec;
SELECT '[0,-0,0e99999,0.000]'::halfvec;

-- output is that of the same number as real
SELECT '[0.1,0.33333,3.14159,1000.5,2049,4099]'::halfvec;
SET extra_float_digits = -5;
SELECT '[0.1]'::halfvec;
RESET extra_float_digits;

-- the ends of the range: largest, least normal, denormal, least; too small a number becomes zero
SELECT '[65504,-65504,65519,65519.996]'::halfvec;
SELECT '[6.1035156e-5,6.0975552e-5,5.9604645e-8,-5.9604645e-8]'::halfvec;
SELECT '[2.9802322e-8,2.9802326e-8,-2.9802322e-8,1e-8,1e-45,1e-46]'::halfvec;

-- halfway between two numbers: the even one; beside it: the nearer one
SELECT '[2049,2051,2053,2049.001,2050.999,-2049]'::halfvec;
SELECT '[1.00048828125,1.00146484375,1.00048834,1.0004882]'::halfvec;
SELECT '[8.9406967e-8,1.4901161e-7,8.94e-8,8.95e-8]'::halfvec;

-- all numbers there are, out and in again
CREATE TEMP TABLE halfvec_all AS
	SELECT i, sign * CASE WHEN e = 0 THEN f * 2.0::float8 ^ -24 ELSE (1024 + f) * 2.0::float8 ^ (e - 25) END AS x
	FROM (SELECT i, 1 - i / 32768 * 2 AS sign, i % 32768 / 1024 AS e, i % 1024 AS f FROM generate_series(0, 65535) i) s
	WHERE e < 31;
SELECT count(*) AS numbers,
	   count(*) FILTER (WHERE ('[' || x || ']')::halfvec::text <> '[' || x::real || ']') AS text_differs,
	   count(*) FILTER (WHERE (ARRAY[x]::halfvec::real[])[1] <> x) AS value_differs,
	   count(*) FILTER (WHERE halfvec_send(('[' || CASE WHEN i = 32768 THEN '-0' ELSE x::text END || ']')::halfvec)
						<> '\x00010000'::bytea || substr(int4send(i), 3)) AS bits_differ
	FROM halfvec_all;

-- every midpoint rounds to the neighbour whose last bit is 0, what lies beside it to the nearer one
SELECT count(*) AS midpoints,
	   count(*) FILTER (WHERE ARRAY[m]::halfvec::real[] <> ARRAY[CASE WHEN i % 2 = 0 THEN x ELSE y END]::real[]) AS differ,
	   count(*) FILTER (WHERE ARRAY[m * 0.999999]::halfvec::real[] <> ARRAY[x]::real[]) AS below,
	   count(*) FILTER (WHERE ARRAY[m * 1.000001]::halfvec::real[] <> ARRAY[y]::real[]) AS above
	FROM (SELECT i, x, y, (x + y) / 2 AS m
			FROM (SELECT i, x, lead(x) OVER (ORDER BY i) AS y FROM halfvec_all WHERE i < 31744) s WHERE y IS NOT NULL) t;

-- type modifier
SELECT '[1,2,3]'::halfvec(3);
CREATE TEMP TABLE halfvec_typmod (v halfvec(3), a halfvec(2)[]);
SELECT attname, atttypmod, format_type(atttypid, atttypmod)
	FROM pg_attribute WHERE attrelid = 'halfvec_typmod'::regclass AND attnum > 0 ORDER BY attnum;
INSERT INTO halfvec_typmod VALUES ('[1,2,3]', '{"[1,2]","[3,4]"}');
SELECT * FROM halfvec_typmod;

-- stored out of line when large, and never compressed
SELECT typstorage, typlen, typalign, typcategory FROM pg_type WHERE oid = 'halfvec'::regtype;

-- binary copy, small and out of line
CREATE TEMP TABLE halfvec_rows (i int, v halfvec);
INSERT INTO halfvec_rows VALUES (1, '[1,-2.5,65504]'), (2, '[-0]'), (3, NULL), (4, '[5.9604645e-8]'),
	(5, array_fill(0.1, ARRAY[9000])::halfvec);
\copy halfvec_rows TO 'results/halfvec_io.bin' WITH (FORMAT binary)
CREATE TEMP TABLE halfvec_back (LIKE halfvec_rows);
\copy halfvec_back FROM 'results/halfvec_io.bin' WITH (FORMAT binary)
SELECT i, a.v::text IS NOT DISTINCT FROM b.v::text AS same FROM halfvec_rows a JOIN halfvec_back b USING (i) ORDER BY i;
CREATE TEMP TABLE halfvec_other (i int, v halfvec(2));
\set VERBOSITY terse
\copy halfvec_other FROM 'results/halfvec_io.bin' WITH (FORMAT binary)
\set VERBOSITY default
SELECT halfvec_send('[1,-2,0.5]'), pg_column_size('[1,2,3,4]'::halfvec);
