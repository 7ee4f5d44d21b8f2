--
-- halfvec: order and hash
--
SELECT '[1,2]'::halfvec < '[1,3]' AS lt, '[1,2]'::halfvec < '[1,2]' AS same, '[1,2]'::halfvec <= '[1,2]' AS le, '[1]'::halfvec < '[1,0]' AS prefix,
	   '[1,2]'::halfvec = '[1,2]' AS eq, '[1,2]'::halfvec <> '[1,2]' AS ne, '[2]'::halfvec > '[1,9]' AS gt, '[2]'::halfvec >= '[2]' AS ge;
SELECT halfvec_cmp('[1,2]', '[1,2]'), halfvec_cmp('[1]', '[1,2]'), halfvec_cmp('[-1]', '[1]'), halfvec_cmp('[-2]', '[-1]'),
	   halfvec_cmp('[0]', '[-0]'), halfvec_cmp('[5.9604645e-8]', '[0]'), halfvec_cmp('[-5.9604645e-8]', '[-0]');
SELECT '[0]'::halfvec = '[-0]' AS zeroes, '[0.1]'::halfvec = '[0.1]'::vector AS cast_vector;

-- as arrays compare, for every pair of lengths and signs
SELECT count(*) AS pairs, count(*) FILTER (WHERE halfvec_cmp(a::halfvec, b::halfvec) <> btarraycmp(a, b)) AS differ
	FROM (SELECT array_agg(hashint4(n * 10 + i) % 3 / 4.0)::real[] AS a FROM generate_series(1, 120) n, generate_series(1, 1 + n % 4) i GROUP BY n) s,
		 (SELECT array_agg(hashint4(-n * 10 - i) % 3 / 4.0)::real[] AS b FROM generate_series(1, 120) n, generate_series(1, 1 + n % 3) i GROUP BY n) t;

-- equal halfvecs hash equal; with seed 0 the low half of the long hash is the short one
SELECT halfvec_hash('[0,-0,1]') = halfvec_hash('[-0,0,1]') AS zero,
	   halfvec_hash_extended('[0,-0,1]', 42) = halfvec_hash_extended('[-0,0,1]', 42) AS zero_seeded,
	   halfvec_hash('[1,2]') <> halfvec_hash('[2,1]') AS other_order, halfvec_hash('[0]') <> halfvec_hash('[0,0]') AS other_length;
SELECT count(*) AS vectors,
	   count(*) FILTER (WHERE halfvec_hash(v) = (halfvec_hash_extended(v, 0)::bit(64) << 32)::bit(32)::int) AS low_half,
	   count(*) FILTER (WHERE halfvec_hash_extended(v, 1) <> halfvec_hash_extended(v, 2)) AS seeded,
	   count(DISTINCT halfvec_hash(v)) > 990 AS spread
	FROM (SELECT ARRAY[i, -i, i / 8.0]::halfvec AS v FROM generate_series(1, 1000) i) s;
SELECT v, halfvec_hash(v) = halfvec_hash('[0,5]') AS equal_hash, v FROM (SELECT '[-0,5]'::halfvec AS v OFFSET 0) s;

CREATE TABLE halfvec_rows (i int, v halfvec);
INSERT INTO halfvec_rows
	SELECT n, array_agg(hashint4(n * 10 + i) % 3 - 1)::halfvec FROM generate_series(1, 500) n, generate_series(1, 1 + n % 4) i GROUP BY n;
INSERT INTO halfvec_rows VALUES (501, '[-0]'), (502, '[0]'), (503, NULL);
-- long ones, stored out of line
INSERT INTO halfvec_rows SELECT 600 + n, array_fill(n % 2, ARRAY[5000])::halfvec FROM generate_series(1, 6) n;
ANALYZE halfvec_rows;

-- joins by hash and by merge find what the arrays' join finds
SELECT count(*) FROM halfvec_rows a JOIN halfvec_rows b ON a.v::real[] = b.v::real[];
SET enable_mergejoin = off;
SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM halfvec_rows a JOIN halfvec_rows b USING (v);
SELECT count(*) FROM halfvec_rows a JOIN halfvec_rows b USING (v);
SET enable_mergejoin = on;
SET enable_hashjoin = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM halfvec_rows a JOIN halfvec_rows b USING (v);
SELECT count(*) FROM halfvec_rows a JOIN halfvec_rows b USING (v);
RESET enable_hashjoin;
RESET enable_nestloop;

-- grouping by hash
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT v, count(*) FROM halfvec_rows GROUP BY v;
SELECT count(*) AS groups, sum(n) AS rows FROM (SELECT v, count(*) AS n FROM halfvec_rows GROUP BY v) s;
RESET enable_sort;
SELECT count(*) FROM (SELECT DISTINCT v::real[] FROM halfvec_rows) s;

-- btree: order, look-up, bounds, unique
CREATE INDEX halfvec_btree ON halfvec_rows (v) WHERE i < 600;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT i FROM halfvec_rows WHERE v = '[0]' AND i < 600;
SELECT i FROM halfvec_rows WHERE v = '[0]' AND i > 500 AND i < 600 ORDER BY i;
SELECT count(*) FROM halfvec_rows WHERE v >= '[0]' AND v < '[1]' AND i < 600;
RESET enable_seqscan;
SELECT count(*) FROM halfvec_rows WHERE v::real[] >= '{0}' AND v::real[] < '{1}' AND i < 600;
SELECT v FROM halfvec_rows WHERE i < 40 AND v < '[0]' GROUP BY v ORDER BY v LIMIT 6;
SELECT v FROM halfvec_rows WHERE i < 40 GROUP BY v ORDER BY v DESC NULLS LAST LIMIT 3;
CREATE TEMP TABLE halfvec_unique (v halfvec(2) PRIMARY KEY);
INSERT INTO halfvec_unique VALUES ('[1,2]'), ('[1,3]'), ('[0,0]');
INSERT INTO halfvec_unique VALUES ('[-0,0]') ON CONFLICT DO NOTHING;
\set VERBOSITY sqlstate
INSERT INTO halfvec_unique VALUES ('[1,2]');
\set VERBOSITY default

-- hash index and hash partitioning
CREATE INDEX halfvec_hash_index ON halfvec_rows USING hash (v);
DROP INDEX halfvec_btree;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT i FROM halfvec_rows WHERE v = '[0]';
SELECT count(*) FROM halfvec_rows WHERE v = '[-0]';
SELECT count(*) FROM halfvec_rows WHERE v = array_fill(1, ARRAY[5000])::halfvec;
RESET enable_seqscan;
RESET enable_bitmapscan;
CREATE TABLE halfvec_parts (i int, v halfvec) PARTITION BY HASH (v);
CREATE TABLE halfvec_part0 PARTITION OF halfvec_parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE halfvec_part1 PARTITION OF halfvec_parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO halfvec_parts SELECT * FROM halfvec_rows;
SELECT count(*) AS rows, count(DISTINCT tableoid) AS parts FROM halfvec_parts;
SELECT count(*) FROM halfvec_parts WHERE v = '[-0]';
DROP TABLE halfvec_rows, halfvec_parts;
