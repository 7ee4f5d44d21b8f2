--
-- VACUUM: what leaves the index, what is used again, what is counted
--
SET enable_seqscan = off;
SET enable_sort = off;
SET client_min_messages = warning;

-- numbers of nodes by state, row pointers, and problems if there are any
CREATE FUNCTION vacuum_states(index regclass, OUT phase text, OUT tids int,
	OUT live int, OUT dead int, OUT unlinked int, OUT problems bigint)
LANGUAGE sql AS $$
	SELECT max(value) FILTER (WHERE name = 'phase'),
		max(value) FILTER (WHERE name = 'heap_tids')::int,
		max(value) FILTER (WHERE name = 'level_0_live')::int,
		max(value) FILTER (WHERE name = 'level_0_dead')::int,
		max(value) FILTER (WHERE name = 'level_0_unlinked')::int,
		(SELECT count(*) FROM chassis_index_check(index))
	FROM chassis_index_info(index)
$$;

CREATE FUNCTION vacuum_vector(i int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT ARRAY[i % 10, i / 10 % 10, i / 100 % 10, i % 7]::vector
$$;

-- rows whose own vector does not lead to a row at distance 0
CREATE FUNCTION vacuum_lost(OUT lost bigint) LANGUAGE plpgsql AS $$
BEGIN
	SELECT count(*) INTO lost FROM vacuum_rows r, LATERAL (
		SELECT s.v <-> r.v AS d FROM vacuum_rows s
		ORDER BY s.v <-> r.v LIMIT 1) AS nearest
	WHERE nearest.d > 0;
END $$;

-- a flat index: no graph to repair, slots are free at once
CREATE TABLE vacuum_rows (id int PRIMARY KEY, v vector(4));
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(1, 300) i;
CREATE INDEX vacuum_index ON vacuum_rows USING chassis (v vector_l2_ops);
SELECT phase, tids, unlinked, problems FROM vacuum_states('vacuum_index');
CREATE TABLE vacuum_size AS SELECT pg_relation_size('vacuum_index') AS bytes;
DELETE FROM vacuum_rows WHERE id % 2 = 0;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT phase, tids, unlinked, problems FROM vacuum_states('vacuum_index');
SELECT * FROM vacuum_lost();

-- what was freed is used again
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(301, 450) i;
SELECT phase, tids, unlinked, problems FROM vacuum_states('vacuum_index');
SELECT pg_relation_size('vacuum_index') = bytes AS same_size FROM vacuum_size;
SELECT * FROM vacuum_lost();
DROP INDEX vacuum_index;

-- a graph
TRUNCATE vacuum_rows;
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 999) i;
SET chassis.flat_limit = 100;
CREATE INDEX vacuum_index ON vacuum_rows USING chassis (v vector_l2_ops)
	WITH (m = 6, ef_construction = 40);
SELECT phase, tids, live, dead, problems FROM vacuum_states('vacuum_index');
UPDATE vacuum_size SET bytes = pg_relation_size('vacuum_index');
DELETE FROM vacuum_rows WHERE id % 3 = 0;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT phase, tids, live, dead, problems FROM vacuum_states('vacuum_index');
SELECT * FROM vacuum_lost();
SELECT count(*), count(DISTINCT id) FROM (
	SELECT id FROM vacuum_rows ORDER BY v <-> '[5,5,5,5]') AS every;

-- statistics are those of the index
SELECT reltuples, relpages = pg_relation_size(oid) / current_setting('block_size')::int AS pages
FROM pg_class WHERE relname = 'vacuum_index';

-- a turnover of the table, a third at a time: the size stays
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 999, 3) i;
DELETE FROM vacuum_rows WHERE id % 3 = 1;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(1, 999, 3) i;
DELETE FROM vacuum_rows WHERE id % 3 = 2;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(2, 999, 3) i;
SELECT phase, tids, live, dead, problems FROM vacuum_states('vacuum_index');
SELECT pg_relation_size('vacuum_index') <= bytes * 1.3 AS same_size FROM vacuum_size;
SELECT * FROM vacuum_lost();

-- rows that were rolled back
BEGIN;
INSERT INTO vacuum_rows SELECT 10000 + i, vacuum_vector(i) FROM generate_series(1, 50) i;
INSERT INTO vacuum_rows SELECT 20000 + i, ARRAY[-i, 0, 0, 0]::vector FROM generate_series(1, 50) i;
ROLLBACK;
SELECT tids FROM vacuum_states('vacuum_index');
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT tids, live, dead, problems FROM vacuum_states('vacuum_index');

-- a VACUUM that finds nothing
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT tids, live, dead, problems FROM vacuum_states('vacuum_index');

-- nothing is left, and a new beginning
DELETE FROM vacuum_rows;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT tids, live, dead, problems FROM vacuum_states('vacuum_index');
SELECT name, value FROM chassis_index_info('vacuum_index') WHERE name LIKE '%entry';
SELECT reltuples FROM pg_class WHERE relname = 'vacuum_index';
SELECT count(*) FROM (SELECT id FROM vacuum_rows ORDER BY v <-> '[5,5,5,5]') AS every;
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 999) i;
SELECT tids, live, dead, problems FROM vacuum_states('vacuum_index');
SELECT * FROM vacuum_lost();
SELECT pg_relation_size('vacuum_index') <= bytes * 1.3 AS same_size FROM vacuum_size;

-- all but one row
DELETE FROM vacuum_rows WHERE id <> 555;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT tids, live, dead, problems FROM vacuum_states('vacuum_index');
SELECT id FROM vacuum_rows ORDER BY v <-> '[0,0,0,0]' LIMIT 3;

-- equal vectors: one node, its row pointers come and go
TRUNCATE vacuum_rows;
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 199) i;
INSERT INTO vacuum_rows SELECT i, '[3,3,3,3]' FROM generate_series(1000, 1499) i;
SELECT tids, live, problems FROM vacuum_states('vacuum_index');
DELETE FROM vacuum_rows WHERE id >= 1000 AND id % 10 <> 0;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT tids, live, problems FROM vacuum_states('vacuum_index');
SELECT count(*) FROM (SELECT v FROM vacuum_rows ORDER BY v <-> '[3,3,3,3]' LIMIT 60) AS near
WHERE v = '[3,3,3,3]';
INSERT INTO vacuum_rows SELECT i, '[3,3,3,3]' FROM generate_series(2000, 2449) i;
SELECT tids, live, problems FROM vacuum_states('vacuum_index');
DELETE FROM vacuum_rows WHERE v = '[3,3,3,3]';
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT tids, live, problems FROM vacuum_states('vacuum_index');
SELECT name, value FROM chassis_index_info('vacuum_index') WHERE name IN ('heap_tids', 'overflow_slots');
INSERT INTO vacuum_rows SELECT i, '[4,4,4,4]' FROM generate_series(3000, 3499) i;
SELECT name, value FROM chassis_index_info('vacuum_index') WHERE name = 'pages_overflow';
SELECT tids, live, problems FROM vacuum_states('vacuum_index');

-- UPDATE of another column: the row pointer changes, the node stays
ALTER TABLE vacuum_rows ADD COLUMN n int;
CREATE INDEX vacuum_n ON vacuum_rows (n);
UPDATE vacuum_rows SET n = id WHERE id < 200;
UPDATE vacuum_rows SET n = id + 1 WHERE id < 200;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT tids, live, dead, problems FROM vacuum_states('vacuum_index');
DROP INDEX vacuum_n;
DROP TABLE vacuum_rows;

-- VACUUM links what the turn to a graph left
CREATE TABLE vacuum_rows (id int PRIMARY KEY, v vector(4));
CREATE INDEX vacuum_index ON vacuum_rows USING chassis (v vector_l2_ops);
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(1, 100) i;
SELECT phase, tids, live, unlinked, problems FROM vacuum_states('vacuum_index');
VACUUM vacuum_rows;
SELECT phase, tids, live, unlinked, problems FROM vacuum_states('vacuum_index');
SELECT * FROM vacuum_lost();
DROP TABLE vacuum_rows;

-- vectors without a direction under cosine have no place in the graph
CREATE TABLE vacuum_rows (id int PRIMARY KEY, v vector(4));
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(1, 200) i;
INSERT INTO vacuum_rows SELECT i, '[0,0,0,0]' FROM generate_series(1001, 1003) i;
INSERT INTO vacuum_rows SELECT i, NULL FROM generate_series(2001, 2003) i;
CREATE INDEX vacuum_index ON vacuum_rows USING chassis (v vector_cosine_ops);
SELECT phase, tids, live, dead, unlinked, problems FROM vacuum_states('vacuum_index');
DELETE FROM vacuum_rows WHERE id % 2 = 1;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT phase, tids, live, dead, unlinked, problems FROM vacuum_states('vacuum_index');
SELECT reltuples FROM pg_class WHERE relname = 'vacuum_index';
DELETE FROM vacuum_rows WHERE id > 1000;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT phase, tids, live, dead, unlinked, problems FROM vacuum_states('vacuum_index');
DROP TABLE vacuum_rows;

-- every kind of code, two indexes by parallel workers
CREATE TABLE vacuum_rows (id int PRIMARY KEY, v vector(4));
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 999) i;
CREATE INDEX vacuum_1 ON vacuum_rows USING chassis (v vector_l2_ops) WITH (bits = 1);
CREATE INDEX vacuum_8 ON vacuum_rows USING chassis (v vector_ip_ops) WITH (bits = 8);
CREATE INDEX vacuum_32 ON vacuum_rows USING chassis (v vector_l1_ops) WITH (bits = 32);
CREATE INDEX vacuum_heap ON vacuum_rows USING chassis (v vector_cosine_ops) WITH (rerank = heap);
CREATE INDEX vacuum_part ON vacuum_rows USING chassis (v vector_l2_ops) WHERE id < 500;
SET min_parallel_index_scan_size = 0;
DELETE FROM vacuum_rows WHERE id % 4 <> 0;
VACUUM (INDEX_CLEANUP ON, PARALLEL 2) vacuum_rows;
SELECT c.relname, c.reltuples, s.* FROM pg_class c, vacuum_states(c.oid) s
WHERE c.relname ~ '^vacuum_(1|8|32|heap|part)$' ORDER BY 1;
RESET min_parallel_index_scan_size;
DROP TABLE vacuum_rows;

-- an unlogged table, a temporary one, and one emptied at every commit
CREATE UNLOGGED TABLE vacuum_rows (id int PRIMARY KEY, v vector(4));
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 299) i;
CREATE INDEX vacuum_index ON vacuum_rows USING chassis (v vector_l2_ops);
DELETE FROM vacuum_rows WHERE id % 2 = 1;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT phase, tids, live, dead, problems FROM vacuum_states('vacuum_index');
DROP TABLE vacuum_rows;

CREATE TEMP TABLE vacuum_rows (id int PRIMARY KEY, v vector(4));
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 299) i;
CREATE INDEX vacuum_index ON vacuum_rows USING chassis (v vector_l2_ops);
DELETE FROM vacuum_rows WHERE id % 2 = 1;
VACUUM (INDEX_CLEANUP ON) vacuum_rows;
SELECT phase, tids, live, dead, problems FROM vacuum_states('vacuum_index');
DROP TABLE vacuum_rows;

CREATE TEMP TABLE vacuum_rows (id int PRIMARY KEY, v vector(4))
	ON COMMIT DELETE ROWS;
CREATE INDEX vacuum_index ON vacuum_rows USING chassis (v vector_l2_ops);
BEGIN;
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 299) i;
SELECT phase, tids, problems FROM vacuum_states('vacuum_index');
SELECT id FROM vacuum_rows ORDER BY v <-> '[5,5,0,6]' LIMIT 1;
COMMIT;
SELECT phase, tids, problems FROM vacuum_states('vacuum_index');
BEGIN;
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 299) i;
SELECT id FROM vacuum_rows ORDER BY v <-> '[5,5,0,6]' LIMIT 1;
COMMIT;
SELECT count(*) FROM (SELECT id FROM vacuum_rows ORDER BY v <-> '[5,5,0,6]') AS every;
DROP TABLE vacuum_rows;

-- TRUNCATE in the transaction that created table and index
BEGIN;
CREATE TABLE vacuum_rows (id int PRIMARY KEY, v vector(4));
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 299) i;
CREATE INDEX vacuum_index ON vacuum_rows USING chassis (v vector_l2_ops);
TRUNCATE vacuum_rows;
SELECT phase, tids, problems FROM vacuum_states('vacuum_index');
INSERT INTO vacuum_rows SELECT i, vacuum_vector(i) FROM generate_series(0, 299) i;
COMMIT;
SELECT phase, tids, problems FROM vacuum_states('vacuum_index');
SELECT id FROM vacuum_rows ORDER BY v <-> '[5,5,0,6]' LIMIT 1;
SELECT * FROM vacuum_lost();

-- VACUUM FULL builds anew
DELETE FROM vacuum_rows WHERE id >= 150;
VACUUM FULL vacuum_rows;
SELECT phase, tids, live, dead, problems FROM vacuum_states('vacuum_index');
SELECT * FROM vacuum_lost();

DROP TABLE vacuum_rows, vacuum_size;
DROP FUNCTION vacuum_states, vacuum_vector, vacuum_lost;
