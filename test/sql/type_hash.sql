--
-- The hash operator class: hash join, grouping, hash index, hash partitioning
--

-- equal vectors hash equal: -0 is 0, in every place and with every seed
SELECT vector_hash('[0,-0,1]') = vector_hash('[-0,0,1]') AS zero,
	   vector_hash_extended('[0,-0,1]', 42) = vector_hash_extended('[-0,0,1]', 42) AS zero_seeded,
	   vector_hash('[1,2]') = vector_hash('[1,2]'::vector(2)) AS same,
	   vector_hash('[1,2]') <> vector_hash('[2,1]') AS other_order,
	   vector_hash('[0]') <> vector_hash('[0,0]') AS other_length;

-- with seed 0 the low half of the long hash is the short one; seeds matter
SELECT count(*) AS vectors,
	   count(*) FILTER (WHERE vector_hash(v) = (vector_hash_extended(v, 0)::bit(64) << 32)::bit(32)::int) AS low_half,
	   count(*) FILTER (WHERE vector_hash_extended(v, 1) <> vector_hash_extended(v, 2)) AS seeded,
	   count(DISTINCT vector_hash(v)) > 990 AS spread
	FROM (SELECT ARRAY[i, -i, i / 8.0]::vector AS v FROM generate_series(1, 1000) i) s;

-- the argument is not changed by unifying zeroes
SELECT v, vector_hash(v) = vector_hash('[0,5]') AS equal_hash, v FROM (SELECT '[-0,5]'::vector AS v OFFSET 0) s;

CREATE TABLE type_hash_rows (i int, v vector);
INSERT INTO type_hash_rows
	SELECT n, array_agg(hashint4(n * 10 + i) % 3 - 1)::vector
	FROM generate_series(1, 500) n, generate_series(1, 1 + n % 4) i GROUP BY n;
INSERT INTO type_hash_rows VALUES (501, '[-0]'), (502, '[0]'), (503, NULL);
-- long ones, stored out of line
INSERT INTO type_hash_rows SELECT 600 + n, array_fill(n % 2, ARRAY[3000])::vector FROM generate_series(1, 6) n;
ANALYZE type_hash_rows;

-- hash join finds what the arrays' join finds
SET enable_mergejoin = off;
SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM type_hash_rows a JOIN type_hash_rows b USING (v);
SELECT count(*) FROM type_hash_rows a JOIN type_hash_rows b USING (v);
RESET enable_mergejoin;
RESET enable_nestloop;
SELECT count(*) FROM type_hash_rows a JOIN type_hash_rows b ON a.v::real[] = b.v::real[];

-- grouping, DISTINCT, hashed subplan and set operations by hash
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT v, count(*) FROM type_hash_rows GROUP BY v;
SELECT count(*) AS groups, sum(n) AS rows FROM (SELECT v, count(*) AS n FROM type_hash_rows GROUP BY v) s;
SELECT count(*) FROM (SELECT DISTINCT v::real[] FROM type_hash_rows) s;
SELECT count(*) FROM (SELECT v FROM type_hash_rows EXCEPT SELECT v FROM type_hash_rows WHERE i > 100) s;
RESET enable_sort;
SELECT count(*) FROM type_hash_rows WHERE v NOT IN (SELECT v FROM type_hash_rows WHERE i < 10);

-- hash index
CREATE INDEX type_hash_index ON type_hash_rows USING hash (v);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT i FROM type_hash_rows WHERE v = '[0]';
SELECT count(*) FROM type_hash_rows WHERE v = '[0]';
SELECT count(*) FROM type_hash_rows WHERE v = '[-0]';
SELECT count(*) FROM type_hash_rows WHERE v = array_fill(1, ARRAY[3000])::vector;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- hash partitioning: rows go somewhere, equal rows to the same place, and a
-- look-up prunes to it
CREATE TABLE type_hash_parts (i int, v vector) PARTITION BY HASH (v);
CREATE TABLE type_hash_part0 PARTITION OF type_hash_parts FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE type_hash_part1 PARTITION OF type_hash_parts FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE type_hash_part2 PARTITION OF type_hash_parts FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO type_hash_parts SELECT * FROM type_hash_rows;
SELECT count(*) AS rows, count(DISTINCT tableoid) AS parts FROM type_hash_parts;
SELECT count(*) AS split FROM (SELECT v FROM type_hash_parts GROUP BY v HAVING count(DISTINCT tableoid) > 1) s;
SELECT count(*) FROM type_hash_parts WHERE v = '[-0]';
SET enable_partition_pruning = off;
SELECT count(*) FROM type_hash_parts WHERE v = '[-0]';
RESET enable_partition_pruning;
DROP TABLE type_hash_rows, type_hash_parts;
