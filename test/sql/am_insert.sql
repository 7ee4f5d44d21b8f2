--
-- Inserts into an index: from none to a graph, equal vectors, updates
--
CREATE SCHEMA insert_test;
SET search_path = insert_test, public;
SET enable_seqscan = off;
SET enable_sort = off;
SET client_min_messages = warning;

CREATE FUNCTION state(index regclass, OUT phase text, OUT tids int, OUT nodes int, OUT problems bigint) LANGUAGE sql AS
$$ SELECT max(value) FILTER (WHERE name = 'phase'), max(value) FILTER (WHERE name = 'heap_tids')::int,
	coalesce(sum(value::int) FILTER (WHERE name IN ('level_0_live', 'level_0_unlinked')), 0)::int,
	(SELECT count(*) FROM chassis_index_check(index))
	FROM chassis_index_info(index) $$;
CREATE FUNCTION ring(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS
$$ SELECT ARRAY[i % 101, i % 103, i % 107, i]::real[]::vector $$;

-- ---- one row after the other ----
CREATE TABLE t (id int PRIMARY KEY, v vector(4), other int DEFAULT 0);
CREATE INDEX t_v ON t USING chassis (v);
CREATE INDEX t_other ON t (other);
SELECT * FROM state('t_v');
INSERT INTO t VALUES (1, ring(1));
SELECT id FROM t ORDER BY v <-> ring(1);
INSERT INTO t VALUES (2, NULL);
INSERT INTO t VALUES (3, ring(3)), (4, ring(4));
INSERT INTO t VALUES (5, '[1,2,3]');
INSERT INTO t VALUES (5, '[1,2,3,NaN]');
INSERT INTO t VALUES (5, '[1,2,3,4,5]');
SELECT id FROM t ORDER BY v <-> ring(4);
SELECT * FROM state('t_v');

-- ---- what was rolled back is not seen ----
BEGIN;
INSERT INTO t VALUES (5, ring(5));
SELECT id FROM t ORDER BY v <-> ring(5) LIMIT 1;
SAVEPOINT s;
INSERT INTO t VALUES (6, ring(6));
SELECT id FROM t ORDER BY v <-> ring(6) LIMIT 1;
ROLLBACK TO s;
SELECT id FROM t ORDER BY v <-> ring(6) LIMIT 1;
ROLLBACK;
SELECT id FROM t ORDER BY v <-> ring(5) LIMIT 1;
SELECT problems FROM state('t_v');

-- ---- other ways in ----
COPY t (id, v) FROM STDIN;
10	[10,10,10,10]
11	[11,11,11,11]
12	\N
\.
INSERT INTO t VALUES (10, ring(7)) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
INSERT INTO t VALUES (11, ring(8)) ON CONFLICT DO NOTHING;
INSERT INTO t SELECT id + 100, v FROM t WHERE v IS NOT NULL;
SELECT id, v FROM (SELECT id, v FROM t ORDER BY v <-> ring(7) OFFSET 0) s ORDER BY v <-> ring(7), id;
SELECT problems FROM state('t_v');

-- ---- updates ----
UPDATE t SET v = '[50,50,50,50]' WHERE id = 1;
UPDATE t SET other = other + 1;
UPDATE t SET v = NULL WHERE id = 3;
UPDATE t SET v = ring(2) WHERE id = 2;
SELECT id, other FROM t ORDER BY v <-> '[50,50,50,50]' LIMIT 1;
SELECT id FROM t ORDER BY v <-> ring(2) LIMIT 1;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> ring(2)) s;
SELECT count(v) FROM t;
SELECT problems FROM state('t_v');

-- an update that leaves the vector alone adds a row pointer, not a node
VACUUM t;
TRUNCATE t;
INSERT INTO t SELECT i, ring(i) FROM generate_series(1, 40) i;
SELECT * FROM state('t_v');
UPDATE t SET other = 1;
SELECT * FROM state('t_v');
DO $$ BEGIN FOR i IN 2 .. 40 LOOP UPDATE t SET other = i WHERE id = 7; END LOOP; END $$;
SELECT * FROM state('t_v');
SELECT id, other FROM t ORDER BY v <-> ring(7) LIMIT 2;
VACUUM t;
SELECT * FROM state('t_v');

-- ---- equal vectors: one node, however many rows ----
TRUNCATE t;
INSERT INTO t SELECT i, ring(i % 3) FROM generate_series(1, 500) i;
SELECT * FROM state('t_v');
SELECT count(*), count(DISTINCT id), min(id % 3), max(id % 3) FROM (SELECT id FROM t ORDER BY v <-> ring(1) LIMIT 167) s;
-- equal for the operator, not byte by byte
INSERT INTO t VALUES (1001, '[0,0,0,5]'), (1002, '[-0,0,0,5]');
SELECT nodes, problems FROM state('t_v');
SELECT id, v <-> '[0,0,0,5]' AS distance FROM t ORDER BY v <-> '[0,0,0,5]', id LIMIT 2;
DELETE FROM t WHERE id % 3 = 1 AND id > 4;
VACUUM t;
SELECT * FROM state('t_v');
SELECT id FROM t WHERE v = ring(1) ORDER BY v <-> ring(1), id;
INSERT INTO t SELECT i, ring(1) FROM generate_series(2001, 2300) i;
SELECT * FROM state('t_v');

-- ---- from flat to graph ----
SET chassis.flat_limit = 50;
CREATE TABLE grown (id int PRIMARY KEY, v vector(4));
CREATE INDEX grown_l2 ON grown USING chassis (v);
CREATE INDEX grown_ip ON grown USING chassis (v vector_ip_ops) WITH (bits = 8);
CREATE INDEX grown_cosine ON grown USING chassis (v vector_cosine_ops) WITH (rerank = heap);
CREATE INDEX grown_l1 ON grown USING chassis (v vector_l1_ops) WITH (bits = 32);
RESET chassis.flat_limit;
INSERT INTO grown SELECT i, ring(i) FROM generate_series(1, 40) i;
SELECT name, (state(('grown_' || name)::regclass)).* FROM unnest(ARRAY['l2', 'ip', 'cosine', 'l1']) name;
INSERT INTO grown SELECT i, ring(i) FROM generate_series(41, 60) i;
SELECT name, (state(('grown_' || name)::regclass)).* FROM unnest(ARRAY['l2', 'ip', 'cosine', 'l1']) name;
INSERT INTO grown SELECT i, ring(i) FROM generate_series(61, 600) i;
INSERT INTO grown VALUES (601, '[0,0,0,0]'), (602, NULL);
SELECT name, (state(('grown_' || name)::regclass)).* FROM unnest(ARRAY['l2', 'ip', 'cosine', 'l1']) name;
SELECT id FROM grown ORDER BY v <-> ring(451) LIMIT 1;
SELECT id FROM grown ORDER BY v <#> ring(451) LIMIT 1;
SELECT id FROM grown ORDER BY v <=> ring(451) LIMIT 1;
SELECT id FROM grown ORDER BY v <+> ring(451) LIMIT 1;
SELECT count(*) FROM (SELECT id FROM grown ORDER BY v <-> ring(451)) s;
SELECT count(*) FROM (SELECT id FROM grown ORDER BY v <#> ring(451)) s;
SELECT count(*) FROM (SELECT id FROM grown ORDER BY v <=> ring(451)) s;
SELECT count(*) FROM (SELECT id FROM grown ORDER BY v <+> ring(451)) s;
-- a graph stays one
DELETE FROM grown;
VACUUM grown;
SELECT name, (state(('grown_' || name)::regclass)).* FROM unnest(ARRAY['l2', 'ip', 'cosine', 'l1']) name;
INSERT INTO grown VALUES (1, ring(1)), (2, ring(2));
SELECT id FROM grown ORDER BY v <=> ring(2);
-- TRUNCATE begins anew
TRUNCATE grown;
SELECT phase, problems FROM state('grown_l2');

-- in the transaction that creates and truncates
BEGIN;
CREATE TABLE young (id int, v vector(4));
CREATE INDEX young_v ON young USING chassis (v);
INSERT INTO young SELECT i, ring(i) FROM generate_series(1, 100) i;
TRUNCATE young;
INSERT INTO young SELECT i, ring(i) FROM generate_series(101, 110) i;
SELECT id FROM young ORDER BY v <-> ring(105) LIMIT 1;
COMMIT;
SELECT * FROM state('young_v');

DROP SCHEMA insert_test CASCADE;
