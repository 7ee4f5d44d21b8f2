--
-- Scans: which rows come, in which order, with which distance
--
CREATE SCHEMA scan_test;
SET search_path = scan_test, public;
SET enable_seqscan = off;
SET enable_sort = off;
SET max_parallel_maintenance_workers = 0;
SET client_min_messages = warning;

-- ---- no rows, one row ----
CREATE TABLE t (id int, v vector(2));
CREATE INDEX t_l2 ON t USING chassis (v);
SELECT * FROM t ORDER BY v <-> '[0,0]';
SELECT * FROM t ORDER BY v <-> (SELECT NULL::vector);
INSERT INTO t VALUES (1, '[3,4]');
SELECT *, v <-> '[0,0]' AS distance FROM t ORDER BY v <-> '[0,0]';
DELETE FROM t;
SELECT * FROM t ORDER BY v <-> '[0,0]';
DROP INDEX t_l2;
CREATE INDEX t_l2 ON t USING chassis (v);
SELECT count(*) FROM chassis_index_check('t_l2');

-- ---- every metric gives its operator's distance ----
TRUNCATE t;
INSERT INTO t VALUES (1, '[3,4]'), (2, '[1,0]'), (3, '[0,-2]'), (4, '[-6,8]'), (5, NULL);
CREATE INDEX t_ip ON t USING chassis (v vector_ip_ops);
CREATE INDEX t_cosine ON t USING chassis (v vector_cosine_ops);
CREATE INDEX t_l1 ON t USING chassis (v vector_l1_ops);
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <+> '[1,1]' LIMIT 3;
SELECT id, v <-> '[3,0]' AS distance FROM t ORDER BY v <-> '[3,0]';
SELECT id, v <#> '[3,0]' AS distance FROM t ORDER BY v <#> '[3,0]';
SELECT id, round((v <=> '[3,0]')::numeric, 5) AS distance FROM t ORDER BY v <=> '[3,0]';
SELECT id, v <+> '[3,0]' AS distance FROM t ORDER BY v <+> '[3,0]';

-- ---- nothing to compare with: every row with a vector, in any order ----
SELECT count(*), count(d) FROM (SELECT v <-> (SELECT NULL::vector) AS d FROM t ORDER BY v <-> (SELECT NULL::vector)) s;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> '[0,0]') s;

-- ---- a row without direction comes last under cosine ----
INSERT INTO t VALUES (6, '[0,0]');
SELECT id, round((v <=> '[3,0]')::numeric, 5) AS distance FROM t ORDER BY v <=> '[3,0]';
SELECT id, v <-> '[0,0]' AS distance FROM t ORDER BY v <-> '[0,0]' LIMIT 1;

-- ---- distances that overflow ----
INSERT INTO t VALUES (7, '[3e38,3e38]'), (8, '[-3e38,1]');
SELECT id, v <-> '[-3e38,0]' AS distance FROM t ORDER BY v <-> '[-3e38,0]' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[-3e38,0]') s;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <=> '[3e38,-3e38]') s;
DELETE FROM t WHERE id IN (7, 8);

-- ---- refused ----
SELECT id FROM t ORDER BY v <-> '[1,2,3]';
SELECT id FROM t ORDER BY v <-> '[1]' LIMIT 1;
SELECT id FROM t ORDER BY v <-> '[]' LIMIT 1;

-- ---- a graph: 2,000 points of a grid, no two at the same distance ----
CREATE TABLE grid (id int PRIMARY KEY, v vector(2), tag int);
INSERT INTO grid SELECT i, ARRAY[i % 40, i / 40]::real[]::vector, i % 10 FROM generate_series(0, 1999) i;
CREATE INDEX grid_l2 ON grid USING chassis (v);
ANALYZE grid;
SELECT value FROM chassis_index_info('grid_l2') WHERE name = 'phase';
SELECT id, v FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 5;
SELECT id, v FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 3 OFFSET 2;
SELECT id, v FROM grid WHERE tag = 3 ORDER BY v <-> '[20.1,25.35]' LIMIT 3;
SELECT id, v FROM grid WHERE v <-> '[20.1,25.35]' < 1 ORDER BY v <-> '[20.1,25.35]';
SELECT id, v FROM grid WHERE v = '[39,49]' ORDER BY v <-> '[0,0]';
SELECT id FROM grid WHERE tag > 10 ORDER BY v <-> '[20.1,25.35]' LIMIT 3;
SELECT min(n), max(n), count(*) FROM (SELECT count(*) AS n FROM (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]') s GROUP BY id) s;

-- as sequential scans say, row by row
CREATE FUNCTION nearest(query vector, n int) RETURNS int[] LANGUAGE plpgsql AS
$$ BEGIN RETURN ARRAY(SELECT id FROM grid ORDER BY v <-> query LIMIT n); END $$;
CREATE TABLE probe AS SELECT i, ARRAY[i % 7 * 5.71131 + 0.1371, i % 11 * 4.37717 + 0.2917]::real[]::vector AS q FROM generate_series(1, 40) i;
CREATE TABLE by_index AS SELECT i, nearest(q, 10) AS ids FROM probe;
SET enable_indexscan = off;
RESET enable_seqscan;
RESET enable_sort;
CREATE TABLE by_table AS SELECT i, (SELECT array_agg(id ORDER BY v <-> q) FROM (SELECT id, v FROM grid ORDER BY v <-> q LIMIT 10) s) AS ids FROM probe;
SELECT count(*) AS differences FROM by_index JOIN by_table USING (i) WHERE by_index.ids <> by_table.ids;
SET enable_indexscan = on;
SET enable_seqscan = off;
SET enable_sort = off;

-- ---- settings ----
SET chassis.iterative_scan = off;
SET chassis.ef_search = 20;
SELECT count(*) FROM (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 100) s;
RESET chassis.ef_search;
SELECT count(*) FROM (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 100) s;
ALTER INDEX grid_l2 SET (ef_search = 33);
SELECT count(*) FROM (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 100) s;
ALTER INDEX grid_l2 RESET (ef_search);
SET chassis.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 100) s;
SET chassis.iterative_scan = strict_order;
SET chassis.ef_search = 5;
SELECT count(*) AS out_of_order FROM (SELECT d < lag(d) OVER (ORDER BY n) AS late FROM (SELECT row_number() OVER () AS n, d FROM (SELECT v <-> '[20.1,25.35]' AS d FROM grid ORDER BY v <-> '[20.1,25.35]') s) s) s WHERE late;
RESET chassis.ef_search;
RESET chassis.iterative_scan;
SET chassis.max_scan_tuples = 1;
SELECT count(*) BETWEEN 40 AND 1999 AS some FROM (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]') s;
RESET chassis.max_scan_tuples;

-- ---- cursors ----
BEGIN;
DECLARE c NO SCROLL CURSOR FOR SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]';
FETCH 3 FROM c;
MOVE 2 IN c;
FETCH 1 FROM c;
FETCH BACKWARD 1 FROM c;
ROLLBACK;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 5;
FETCH ALL FROM c;
FETCH BACKWARD 2 FROM c;
COMMIT;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 3;
COMMIT;
FETCH 5 FROM c;
CLOSE c;

-- ---- prepared, with a plan for any vector ----
SET plan_cache_mode = force_generic_plan;
PREPARE p(vector, int) AS SELECT id FROM grid ORDER BY v <-> $1 LIMIT $2;
EXPLAIN (COSTS OFF) EXECUTE p('[0.1,0.2]', 2);
EXECUTE p('[0.1,0.2]', 2);
EXECUTE p('[38.9,48.8]', 3);
EXECUTE p('[38.9,48.8,1]', 3);
SELECT count(*) FROM (SELECT 1) s, LATERAL (SELECT id FROM grid ORDER BY v <-> NULL::vector LIMIT 7) t;
DEALLOCATE p;
RESET plan_cache_mode;

-- ---- joins: one scan for each outer row ----
SELECT p.i, g.id FROM probe p CROSS JOIN LATERAL (SELECT id FROM grid ORDER BY v <-> p.q LIMIT 1) g WHERE p.i <= 5 ORDER BY p.i, g.id;
SELECT i, (SELECT id FROM grid ORDER BY v <-> q LIMIT 1) FROM (SELECT i, CASE WHEN i <> 2 THEN q END AS q FROM probe WHERE i <= 3 OFFSET 0) p WHERE i <> 2;
SELECT count(DISTINCT i), count(*) FROM probe p CROSS JOIN LATERAL (SELECT id FROM grid ORDER BY v <-> p.q LIMIT 30) g;

-- ---- inside other statements ----
WITH near AS MATERIALIZED (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 3) SELECT sum(id) FROM near;
SELECT id FROM grid WHERE id IN (SELECT id FROM grid ORDER BY v <-> '[0,0]' LIMIT 1);
(SELECT id FROM grid ORDER BY v <-> '[0.1,0.2]' LIMIT 1) UNION ALL (SELECT id FROM grid ORDER BY v <-> '[38.9,48.8]' LIMIT 1);
BEGIN;
SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 2 FOR UPDATE;
UPDATE grid SET tag = -1 WHERE id = (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 1);
DELETE FROM grid WHERE id IN (SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 2);
SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 2;
ROLLBACK;
SELECT id, tag FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 2;

-- ---- statistics: one scan for each query vector ----
BEGIN;
SELECT pg_stat_get_xact_numscans('grid_l2'::regclass) AS before \gset
SELECT id FROM grid ORDER BY v <-> '[20.1,25.35]' LIMIT 1;
SELECT pg_stat_get_xact_numscans('grid_l2'::regclass) - :before AS scans;
SELECT count(*) FROM (SELECT q FROM probe LIMIT 10) p CROSS JOIN LATERAL (SELECT id FROM grid ORDER BY v <-> p.q LIMIT 1) g;
SELECT pg_stat_get_xact_numscans('grid_l2'::regclass) - :before AS scans;
COMMIT;

SELECT count(*) FROM chassis_index_check('grid_l2');
DROP SCHEMA scan_test CASCADE;
