--
-- Comparison operators, order, and what the btree operator class is used for
--
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt, vector_cmp(a, b) AS cmp
	FROM (VALUES ('[1,2,3]'::vector, '[1,2,3]'::vector), ('[1,2,3]', '[1,2]'), ('[1,2]', '[1,2,3]'),
				 ('[1,2]', '[2,3,4]'), ('[2,3]', '[1,2,3]'), ('[0]', '[-0]'), ('[-1e-45]', '[0]')) AS t(a, b);

-- vectors are ordered as the arrays of their elements are
CREATE TABLE type_btree_rows (i int, v vector);
INSERT INTO type_btree_rows
	SELECT n, array_agg(hashint4(n * 10 + i) % 3 - 1)::vector
	FROM generate_series(1, 500) n, generate_series(1, 1 + n % 4) i GROUP BY n;
SELECT count(*) AS pairs,
	   count(*) FILTER (WHERE vector_cmp(a.v, b.v) <> btarraycmp(a.v::real[], b.v::real[])) AS differ
	FROM type_btree_rows a, type_btree_rows b;

-- ORDER BY
SELECT * FROM (VALUES ('[1,2]'::vector), ('[0,9,9]'), (NULL), ('[1]'), ('[1,1,1]'), ('[-5]')) AS t(v) ORDER BY v;
SELECT * FROM (VALUES ('[1,2]'::vector), ('[0,9,9]'), (NULL), ('[1]')) AS t(v) ORDER BY v DESC;

-- DISTINCT and UNION by sorting
SET enable_hashagg = off;
SELECT count(*) FROM (SELECT DISTINCT v FROM type_btree_rows) s;
SELECT count(*) FROM (SELECT v FROM type_btree_rows UNION SELECT v FROM type_btree_rows) s;
RESET enable_hashagg;

-- an index: point, range, order, uniqueness
CREATE INDEX type_btree_index ON type_btree_rows (v);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT i FROM type_btree_rows WHERE v >= '[1]' ORDER BY v;
SELECT count(*) FROM type_btree_rows WHERE v = '[1,1]';
SELECT count(*) FROM type_btree_rows WHERE v >= '[1]';
SELECT count(*) AS rows, count(*) FILTER (WHERE v < previous) AS out_of_order
	FROM (SELECT v, lag(v) OVER (ORDER BY v) AS previous FROM type_btree_rows) s;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_sort;
CREATE TEMP TABLE btree_unique (v vector PRIMARY KEY);
INSERT INTO btree_unique VALUES ('[0,1]'), ('[0]');
INSERT INTO btree_unique VALUES ('[-0,1]');
INSERT INTO btree_unique VALUES ('[-0,1]') ON CONFLICT DO NOTHING;
SELECT * FROM btree_unique;

-- merge join finds what the arrays' join finds
DROP INDEX type_btree_index;
SET enable_hashjoin = off;
SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM type_btree_rows a JOIN type_btree_rows b USING (v);
SELECT count(*) FROM type_btree_rows a JOIN type_btree_rows b USING (v);
RESET enable_hashjoin;
RESET enable_nestloop;
SELECT count(*) FROM type_btree_rows a JOIN type_btree_rows b ON a.v::real[] = b.v::real[];
DROP TABLE type_btree_rows;
