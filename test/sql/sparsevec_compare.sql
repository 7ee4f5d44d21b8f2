--
-- sparsevec: order and hash
--
SELECT '{1:1}/2'::sparsevec < '{1:2}/2' AS lt, '{}/2'::sparsevec < '{}/2' AS same, '{}/2'::sparsevec <= '{}/2' AS le, '{}/1'::sparsevec < '{}/2' AS prefix,
	   '{1:1}/2'::sparsevec = '{1:1}/2' AS eq, '{1:1}/2'::sparsevec <> '{1:1}/2' AS ne, '{1:2}/1'::sparsevec > '{1:1}/9' AS gt, '{1:2}/2'::sparsevec >= '{1:2}/2' AS ge;
SELECT sparsevec_cmp('{2:1}/3', '{1:1}/3'), sparsevec_cmp('{2:-1}/3', '{}/3'), sparsevec_cmp('{}/3', '{3:-1}/3'), sparsevec_cmp('{3:-1}/3', '{}/2'),
	   sparsevec_cmp('{}/2', '{3:-1}/3'), sparsevec_cmp('{1:1}/2', '{1:1}/3'), sparsevec_cmp('{2:-1}/2', '{1:-1}/2'), sparsevec_cmp('{1:1}/1', '{1:1}/1');

-- as the dense vectors compare, for every pair of lengths and signs
CREATE TEMP TABLE sparsevec_dense AS
	SELECT array_agg(hashint4(n * 10 + i) % 2)::vector AS v FROM generate_series(1, 200) n, generate_series(1, 1 + n % 6) i GROUP BY n;
SELECT count(*) AS pairs, count(*) FILTER (WHERE sparsevec_cmp(a.v::sparsevec, b.v::sparsevec) <> vector_cmp(a.v, b.v)) AS differ,
	   count(*) FILTER (WHERE (a.v::sparsevec = b.v::sparsevec) <> (a.v = b.v)) AS eq,
	   count(*) FILTER (WHERE (sparsevec_hash(a.v::sparsevec) = sparsevec_hash(b.v::sparsevec)) <> (a.v = b.v)) AS hash
	FROM sparsevec_dense a, sparsevec_dense b;

-- equal sparsevecs hash equal, however they were made; with seed 0 the low half of the long hash is the short one
SELECT sparsevec_hash('{3:0,1:1}/3') = sparsevec_hash('[1,-0,0]'::vector) AS made_from,
	   sparsevec_hash('{}/3') <> sparsevec_hash('{}/4') AS other_length, sparsevec_hash('{1:1}/3') <> sparsevec_hash('{2:1}/3') AS other_place;
SELECT count(*) AS vectors,
	   count(*) FILTER (WHERE sparsevec_hash(v) = (sparsevec_hash_extended(v, 0)::bit(64) << 32)::bit(32)::int) AS low_half,
	   count(*) FILTER (WHERE sparsevec_hash_extended(v, 1) <> sparsevec_hash_extended(v, 2)) AS seeded,
	   count(DISTINCT sparsevec_hash(v)) > 990 AS spread
	FROM (SELECT ('{' || i || ':1}/1000')::sparsevec AS v FROM generate_series(1, 1000) i) s;

CREATE TABLE sparsevec_rows (i int, v sparsevec);
INSERT INTO sparsevec_rows SELECT row_number() OVER (), v FROM sparsevec_dense;
INSERT INTO sparsevec_rows VALUES (501, '{}/1'), (502, '{1:-0}/1'), (503, NULL);
-- long ones, stored out of line
INSERT INTO sparsevec_rows SELECT 600 + n, array_fill(1 + n % 2, ARRAY[3000])::sparsevec FROM generate_series(1, 6) n;
ANALYZE sparsevec_rows;

-- joins by hash and by merge find what the dense join finds
SELECT count(*) FROM sparsevec_rows a JOIN sparsevec_rows b ON a.v::vector = b.v::vector;
SET enable_mergejoin = off;
SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM sparsevec_rows a JOIN sparsevec_rows b USING (v);
SELECT count(*) FROM sparsevec_rows a JOIN sparsevec_rows b USING (v);
SET enable_mergejoin = on;
SET enable_hashjoin = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM sparsevec_rows a JOIN sparsevec_rows b USING (v);
SELECT count(*) FROM sparsevec_rows a JOIN sparsevec_rows b USING (v);
RESET enable_hashjoin;
RESET enable_nestloop;

-- grouping by hash
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT v, count(*) FROM sparsevec_rows GROUP BY v;
SELECT count(*) AS groups, sum(n) AS rows FROM (SELECT v, count(*) AS n FROM sparsevec_rows GROUP BY v) s;
RESET enable_sort;
SELECT count(*) FROM (SELECT DISTINCT v::vector FROM sparsevec_rows) s;

-- btree: order, look-up, bounds, unique
CREATE INDEX sparsevec_btree ON sparsevec_rows (v) WHERE i < 600;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT i FROM sparsevec_rows WHERE v = '{}/1' AND i < 600;
SELECT count(*) FROM sparsevec_rows WHERE v = '{}/1' AND i > 500 AND i < 600;
SELECT count(*) FROM sparsevec_rows WHERE v >= '{}/1' AND v < '{1:1}/1' AND i < 600;
RESET enable_seqscan;
SELECT count(*) FROM sparsevec_rows WHERE v::vector >= '[0]' AND v::vector < '[1]' AND i < 600;
SELECT v FROM sparsevec_rows WHERE i < 40 GROUP BY v ORDER BY v LIMIT 8;
CREATE TEMP TABLE sparsevec_unique (v sparsevec(2) PRIMARY KEY);
INSERT INTO sparsevec_unique VALUES ('{1:1}/2'), ('{2:1}/2'), ('{}/2');
INSERT INTO sparsevec_unique VALUES ('{1:0}/2') ON CONFLICT DO NOTHING;
\set VERBOSITY sqlstate
INSERT INTO sparsevec_unique VALUES ('{1:1}/2');
\set VERBOSITY default

-- hash index and hash partitioning
CREATE INDEX sparsevec_hash_index ON sparsevec_rows USING hash (v);
DROP INDEX sparsevec_btree;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT i FROM sparsevec_rows WHERE v = '{}/1';
SELECT count(*) FROM sparsevec_rows WHERE v = '{}/1' AND i > 500;
SELECT count(*) FROM sparsevec_rows WHERE v = array_fill(1, ARRAY[3000])::sparsevec;
RESET enable_seqscan;
RESET enable_bitmapscan;
CREATE TABLE sparsevec_parts (i int, v sparsevec) PARTITION BY HASH (v);
CREATE TABLE sparsevec_part0 PARTITION OF sparsevec_parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE sparsevec_part1 PARTITION OF sparsevec_parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO sparsevec_parts SELECT * FROM sparsevec_rows;
SELECT count(*) AS rows, count(DISTINCT tableoid) AS parts FROM sparsevec_parts;
SELECT count(*) FROM sparsevec_parts WHERE v = '{}/1' AND i > 500;
DROP TABLE sparsevec_rows, sparsevec_parts;
