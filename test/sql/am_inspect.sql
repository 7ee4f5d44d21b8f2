-- chassis_index_info and chassis_index_check: what they tell of a sound
-- index, what of a damaged one, and to whom.

CREATE TABLE look (id int, v vector(3));

-- an empty index, and one of few rows
CREATE INDEX look_v ON look USING chassis (v);
SELECT * FROM chassis_index_check('look_v');
SELECT value FROM chassis_index_info('look_v') WHERE name = 'heap_tids';
INSERT INTO look SELECT i, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(1, 10) i;
SELECT * FROM chassis_index_info('look_v') WHERE name <> 'seed';
SELECT * FROM chassis_index_check('look_v');

-- a graph; equal vectors share a node
INSERT INTO look SELECT i, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(11, 1500) i;
INSERT INTO look SELECT i, '[1,2,3]' FROM generate_series(1501, 1540) i;
REINDEX INDEX look_v;
SELECT name, value FROM chassis_index_info('look_v')
WHERE name ~ '^(phase|levels|heap_tids|overflow_slots|dead_left|pages_unassigned)$'
	OR name ~ '^level_0_(free|live|dead|reserved|unlinked)$';
SELECT * FROM chassis_index_check('look_v');

-- parts add up
SELECT bool_and(bytes = pages * current_setting('block_size')::int) AS bytes_agree,
	sum(pages) FILTER (WHERE kind <> 'total') = sum(pages) FILTER (WHERE kind = 'total')
		AS pages_agree,
	sum(bytes) FILTER (WHERE kind = 'total') = pg_relation_size('look_v') AS size_agrees
FROM (SELECT substr(name, 7) AS kind, value::bigint AS pages
	FROM chassis_index_info('look_v') WHERE name LIKE 'pages\_%') p
JOIN (SELECT substr(name, 7) AS kind, value::bigint AS bytes
	FROM chassis_index_info('look_v') WHERE name LIKE 'bytes\_%') b USING (kind);

-- after removals (temporary: no other session's snapshot keeps dead rows)
CREATE TEMP TABLE gone AS SELECT * FROM look;
CREATE INDEX gone_v ON gone USING chassis (v) WITH (m = 8);
DELETE FROM gone WHERE id % 3 = 0;
VACUUM gone;
SELECT name, value FROM chassis_index_info('gone_v')
WHERE name IN ('heap_tids', 'level_0_dead', 'dead_left') ORDER BY name;
SELECT * FROM chassis_index_check('gone_v');

-- without vectors in the index
CREATE INDEX look_heap ON look USING chassis (v vector_l1_ops) WITH (rerank = heap, m = 8);
SELECT name, value FROM chassis_index_info('look_heap')
WHERE name IN ('rerank', 'metric', 'pages_vector') ORDER BY name;
SELECT * FROM chassis_index_check('look_heap');
DROP INDEX look_heap;

-- Damage: an index that nobody told of deletions points to rows that are gone.
CREATE TEMP TABLE hurt (id int PRIMARY KEY, v vector(2));
INSERT INTO hurt VALUES (1, '[1,1]'), (2, '[2,2]'), (3, '[2,2]');
CREATE INDEX hurt_v ON hurt USING chassis (v);
UPDATE pg_index SET indisready = false WHERE indexrelid = 'hurt_v'::regclass;
DELETE FROM hurt;
VACUUM hurt;
SELECT * FROM chassis_index_check('hurt_v');
-- and later to other rows, which it has twice
UPDATE pg_index SET indisready = true WHERE indexrelid = 'hurt_v'::regclass;
INSERT INTO hurt VALUES (4, '[3,3]'), (5, '[3,3]');
SELECT * FROM chassis_index_check('hurt_v');
REINDEX INDEX hurt_v;
SELECT * FROM chassis_index_check('hurt_v');
DROP TABLE hurt;

-- Damage: the catalog says another thing than the metapage.
CREATE INDEX look_ip ON look USING chassis (v vector_ip_ops) WITH (m = 8);
UPDATE pg_index SET indclass = (SELECT indclass FROM pg_index WHERE indexrelid = 'look_v'::regclass)
WHERE indexrelid = 'look_ip'::regclass;
SELECT * FROM chassis_index_check('look_ip');
DROP INDEX look_ip;

-- what they are not for
CREATE INDEX look_btree ON look (id);
CREATE TABLE look_parts (v vector(3)) PARTITION BY LIST (v);
CREATE INDEX look_parts_v ON look_parts USING chassis (v);
SELECT * FROM chassis_index_info('look');
SELECT * FROM chassis_index_info('look_btree');
SELECT * FROM chassis_index_info('look_parts_v');
SELECT * FROM chassis_index_info(1::oid);
SELECT * FROM chassis_index_info('look_missing');
SELECT * FROM chassis_index_info(NULL);
SELECT * FROM chassis_index_check('look');
SELECT * FROM chassis_index_check('look_btree');
SELECT * FROM chassis_index_check('look_parts_v');
SELECT * FROM chassis_index_check(1::oid);

-- only the owner may ask
CREATE ROLE regress_chassis_guest;
GRANT SELECT ON look TO regress_chassis_guest;
SET ROLE regress_chassis_guest;
SELECT * FROM chassis_index_info('look_v');
SELECT * FROM chassis_index_check('look_v');
RESET ROLE;
ALTER TABLE look OWNER TO regress_chassis_guest;
SET ROLE regress_chassis_guest;
SELECT value FROM chassis_index_info('look_v') WHERE name = 'format';
SELECT * FROM chassis_index_check('look_v');
RESET ROLE;

-- an unlogged one
CREATE UNLOGGED TABLE look_unlogged (v vector(3));
INSERT INTO look_unlogged SELECT v FROM look;
CREATE INDEX look_unlogged_v ON look_unlogged USING chassis (v) WITH (m = 8);
SELECT * FROM chassis_index_check('look_unlogged_v');

DROP TABLE look, gone, look_parts, look_unlogged;
DROP ROLE regress_chassis_guest;
