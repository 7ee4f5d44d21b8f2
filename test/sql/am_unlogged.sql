--
-- Unlogged and temporary tables; changes between logged and unlogged
--
CREATE SCHEMA unlogged_test;
SET search_path = unlogged_test, public;
SET enable_seqscan = off;
SET enable_sort = off;
SET client_min_messages = warning;

-- ---- unlogged: what a crash leaves is the init fork ----
CREATE UNLOGGED TABLE t (id int, v vector(3));
CREATE INDEX t_v ON t USING chassis (v) WITH (m = 6, bits = 8);
SELECT pg_relation_size('t_v', 'init') / current_setting('block_size')::int AS init_pages;
INSERT INTO t SELECT i, ARRAY[i, i % 7, i % 11]::real[]::vector FROM generate_series(1, 1200) i;
SELECT id FROM t ORDER BY v <-> '[600,5,6]' LIMIT 1;
SELECT value FROM chassis_index_info('t_v') WHERE name = 'phase';
SELECT count(*) FROM chassis_index_check('t_v');
SELECT pg_relation_size('t_v', 'init') / current_setting('block_size')::int AS init_pages;
REINDEX INDEX t_v;
SELECT pg_relation_size('t_v', 'init') / current_setting('block_size')::int AS init_pages;
SELECT id FROM t ORDER BY v <-> '[600,5,6]' LIMIT 1;
TRUNCATE t;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[600,5,6]') s;
SELECT pg_relation_size('t_v', 'init') / current_setting('block_size')::int AS init_pages;
INSERT INTO t VALUES (1, '[1,2,3]');
SELECT id FROM t ORDER BY v <-> '[600,5,6]';

-- ---- to logged and back ----
ALTER TABLE t SET LOGGED;
SELECT pg_relation_size('t_v', 'init');
INSERT INTO t VALUES (2, '[2,2,3]');
SELECT id FROM t ORDER BY v <-> '[600,5,6]';
SELECT name, value FROM chassis_index_info('t_v') WHERE name IN ('m', 'bits') ORDER BY name;
ALTER TABLE t SET UNLOGGED;
SELECT pg_relation_size('t_v', 'init') / current_setting('block_size')::int AS init_pages;
INSERT INTO t VALUES (3, '[3,2,3]');
SELECT id FROM t ORDER BY v <-> '[600,5,6]';
SELECT count(*) FROM chassis_index_check('t_v');

-- ---- temporary ----
CREATE TEMP TABLE passing (id int, v vector(3));
CREATE INDEX passing_v ON passing USING chassis (v vector_cosine_ops);
INSERT INTO passing SELECT i, ARRAY[i, i % 7, i % 11]::real[]::vector FROM generate_series(1, 1200) i;
SELECT id FROM passing ORDER BY v <=> '[600,5,6]' LIMIT 1;
DELETE FROM passing WHERE id BETWEEN 500 AND 700;
VACUUM passing;
SELECT count(*) FROM (SELECT id FROM passing ORDER BY v <=> '[600,5,6]') s;
SELECT count(*) FROM chassis_index_check('passing_v');

CREATE TEMP TABLE emptied (id int, v vector(3)) ON COMMIT DELETE ROWS;
CREATE INDEX emptied_v ON emptied USING chassis (v);
BEGIN;
INSERT INTO emptied SELECT i, ARRAY[i, i % 7, i % 11]::real[]::vector FROM generate_series(1, 1200) i;
SELECT id FROM emptied ORDER BY v <-> '[600,5,6]' LIMIT 1;
COMMIT;
SELECT count(*) FROM (SELECT id FROM emptied ORDER BY v <-> '[600,5,6]') s;
BEGIN;
INSERT INTO emptied VALUES (1, '[1,2,3]');
SELECT id FROM emptied ORDER BY v <-> '[600,5,6]';
SELECT count(*) FROM chassis_index_check('emptied_v');
COMMIT;

BEGIN;
CREATE TEMP TABLE dropped (id int, v vector(3)) ON COMMIT DROP;
CREATE INDEX dropped_v ON dropped USING chassis (v);
INSERT INTO dropped VALUES (1, '[1,2,3]');
SELECT id FROM dropped ORDER BY v <-> '[600,5,6]';
COMMIT;

DROP SCHEMA unlogged_test CASCADE;
DROP TABLE passing, emptied;
