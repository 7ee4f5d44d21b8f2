--
-- Building an index over rows that are there: every kind of table and row
--
SET enable_seqscan = off;
SET max_parallel_maintenance_workers = 0;

-- different for every i below 65521, the same on every machine
CREATE FUNCTION row_vector(i int, dim int) RETURNS vector
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $$ SELECT array_agg((i::bigint * (j + 7919) % 65521) * 0.25 ORDER BY j)::real[]::vector
		FROM generate_series(1, dim) j $$;

-- rows that an index returns, and whether the index is as it should be
CREATE FUNCTION found(index_name regclass, OUT rows bigint, OUT problems bigint)
	LANGUAGE plpgsql AS $$
DECLARE
	definition text := pg_get_indexdef(index_name, 1, false);
	predicate text := pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = index_name;
	op text := CASE WHEN opcname LIKE '%ip%' THEN '<#>' WHEN opcname LIKE '%cosine%' THEN '<=>'
			WHEN opcname LIKE '%l1%' THEN '<+>' ELSE '<->' END
		FROM pg_index JOIN pg_opclass c ON c.oid = indclass[0] WHERE indexrelid = index_name;
	query vector := row_vector(1, atttypmod) FROM pg_attribute WHERE attrelid = index_name AND attnum = 1;
BEGIN
	-- MATERIALIZED: the order, and with it the index, must not be planned away
	EXECUTE format('WITH scan AS MATERIALIZED (SELECT 1 FROM %s %s ORDER BY %s %s %L::vector) SELECT count(*) FROM scan',
		(SELECT indrelid::regclass FROM pg_index WHERE indexrelid = index_name),
		coalesce('WHERE ' || predicate, ''), definition, op, query) INTO rows;
	SELECT count(*) INTO problems FROM chassis_index_check(index_name);
END $$;
CREATE FUNCTION info(index_name regclass, VARIADIC names text[])
	RETURNS TABLE (name text, value text) LANGUAGE sql
	AS $$ SELECT * FROM chassis_index_info(index_name) i WHERE i.name = ANY (names) $$;
CREATE FUNCTION pages(index_name regclass) RETURNS bigint LANGUAGE sql
	AS $$ SELECT pg_relation_size(index_name) / current_setting('block_size')::int $$;

-- nothing, one row, few rows, only NULLs
CREATE TABLE few (id int, v vector(3));
CREATE INDEX few_idx ON few USING chassis (v vector_l2_ops);
SELECT pages('few_idx'), (found('few_idx')).*;
INSERT INTO few VALUES (0, NULL), (-1, NULL);
REINDEX INDEX few_idx;
SELECT pages('few_idx'), (found('few_idx')).*;
INSERT INTO few VALUES (1, '[1,2,3]');
REINDEX INDEX few_idx;
SELECT pages('few_idx'), (found('few_idx')).*;
INSERT INTO few SELECT i, row_vector(i, 3) FROM generate_series(2, 10) i;
REINDEX INDEX few_idx;
SELECT pages('few_idx'), (found('few_idx')).*;
SELECT * FROM info('few_idx', 'phase', 'heap_tids', 'level_0_unlinked');

-- equal vectors without a graph
INSERT INTO few SELECT i, '[5,5,5]' FROM generate_series(11, 100) i;
REINDEX INDEX few_idx;
SELECT pages('few_idx'), (found('few_idx')).*;
SELECT * FROM info('few_idx', 'phase', 'heap_tids', 'level_0_unlinked');
SELECT count(*) FROM (SELECT id FROM few ORDER BY v <-> '[5,5,5]' LIMIT 90) f WHERE id > 10;

-- one row below the limit, and at it
CREATE TABLE turn (id int, v vector(3));
INSERT INTO turn SELECT i, row_vector(i, 3) FROM generate_series(1, 999) i;
CREATE INDEX turn_idx ON turn USING chassis (v);
SELECT * FROM info('turn_idx', 'phase', 'heap_tids');
INSERT INTO turn VALUES (1000, row_vector(1000, 3));
REINDEX INDEX turn_idx;
SELECT * FROM info('turn_idx', 'phase', 'heap_tids');
SELECT (found('turn_idx')).*;

-- a graph, with every operator class and option; NULLs in between
CREATE TABLE many (id int, v vector(24));
INSERT INTO many SELECT i, CASE WHEN i % 10 > 0 THEN row_vector(i, 24) END FROM generate_series(1, 2000) i;
CREATE INDEX many_l2 ON many USING chassis (v vector_l2_ops);
SELECT (found('many_l2')).*;
SELECT * FROM info('many_l2', 'phase', 'heap_tids', 'level_0_live', 'level_0_unlinked');
SELECT id FROM many ORDER BY v <-> row_vector(77, 24) LIMIT 1;
DROP INDEX many_l2;
CREATE INDEX many_ip ON many USING chassis (v vector_ip_ops);
SELECT (found('many_ip')).*;
DROP INDEX many_ip;
CREATE INDEX many_cosine ON many USING chassis (v vector_cosine_ops);
SELECT (found('many_cosine')).*;
SELECT id FROM many ORDER BY v <=> row_vector(77, 24) LIMIT 1;
DROP INDEX many_cosine;
CREATE INDEX many_l1 ON many USING chassis (v vector_l1_ops);
SELECT (found('many_l1')).*;
SELECT id FROM many ORDER BY v <+> row_vector(77, 24) LIMIT 1;
DROP INDEX many_l1;
CREATE INDEX many_32 ON many USING chassis (v) WITH (bits = 32);
SELECT (found('many_32')).*;
SELECT id FROM many ORDER BY v <-> row_vector(77, 24) LIMIT 1;
SELECT * FROM info('many_32', 'bits', 'pages_model');
DROP INDEX many_32;
CREATE INDEX many_1 ON many USING chassis (v) WITH (bits = 1, m = 8, ef_construction = 40);
SELECT (found('many_1')).*;
DROP INDEX many_1;
CREATE INDEX many_heap ON many USING chassis (v) WITH (rerank = heap);
SELECT (found('many_heap')).*;
SELECT id FROM many ORDER BY v <-> row_vector(77, 24) LIMIT 1;
SELECT * FROM info('many_heap', 'rerank', 'pages_vector');
DROP INDEX many_heap;

-- equal vectors share a node, however many
CREATE TABLE equal (id int, v vector(24));
INSERT INTO equal SELECT i, row_vector(i % 1500, 24) FROM generate_series(1, 3000) i;
INSERT INTO equal SELECT i, row_vector(7, 24) FROM generate_series(3001, 5000) i;
CREATE INDEX equal_idx ON equal USING chassis (v);
SELECT (found('equal_idx')).*;
SELECT * FROM info('equal_idx', 'heap_tids', 'level_0_live');
SELECT count(*) FROM (SELECT id FROM equal ORDER BY v <-> row_vector(7, 24) LIMIT 2002) f WHERE id > 3000 OR id % 1500 = 7;
DROP INDEX equal_idx;

-- all rows equal
CREATE INDEX equal_idx ON equal USING chassis ((('[1,2,' || id * 0 || ']')::vector(3)));
SELECT (found('equal_idx')).*;
SELECT * FROM info('equal_idx', 'heap_tids', 'level_0_live');

-- what can have no place in a graph is there, and comes last
CREATE TABLE zero (id int, v vector(3));
INSERT INTO zero SELECT i, row_vector(i, 3) FROM generate_series(1, 1008) i;
INSERT INTO zero SELECT i, '[0,0,0]' FROM generate_series(2001, 2005) i;
CREATE INDEX zero_idx ON zero USING chassis (v vector_cosine_ops);
SELECT (found('zero_idx')).*;
SELECT * FROM info('zero_idx', 'heap_tids', 'level_0_unlinked');
SELECT id > 2000 AS zero, count(*) FROM
	(SELECT id, row_number() OVER () AS n FROM
		(SELECT id FROM zero ORDER BY v <=> '[1,2,3]' OFFSET 0) s) r
	WHERE n > 1008 GROUP BY 1;
DROP INDEX zero_idx;
UPDATE zero SET v = '[0,0,0]';
CREATE INDEX zero_idx ON zero USING chassis (v vector_cosine_ops);
SELECT (found('zero_idx')).*;

-- values whose squares overflow
CREATE TABLE large (id int, v vector(3));
INSERT INTO large SELECT i, row_vector(i, 3) FROM generate_series(1, 1008) i;
INSERT INTO large VALUES (2001, '[3e38,3e38,3e38]'), (2002, '[-3e38,3e38,1]');
CREATE INDEX large_idx ON large USING chassis (v);
SELECT (found('large_idx')).*;

-- more memory than there may be: the build goes on on pages
SET maintenance_work_mem = '1MB';
SET client_min_messages = warning;
CREATE TABLE memory (id int, v vector(24));
INSERT INTO memory SELECT i, row_vector(i % 5000, 24) FROM generate_series(1, 5200) i;
CREATE INDEX memory_idx ON memory USING chassis (v) WITH (m = 16, ef_construction = 40);
SELECT (found('memory_idx')).*;
SELECT * FROM info('memory_idx', 'heap_tids', 'level_0_live');
SELECT (SELECT count(*) FROM (SELECT id FROM memory ORDER BY v <-> row_vector(n, 24) LIMIT 1) f WHERE id % 5000 = n)
	FROM unnest(ARRAY[1, 2999, 4999]) n;
RESET client_min_messages;
RESET maintenance_work_mem;

-- several processes
SET max_parallel_maintenance_workers = 2;
ALTER TABLE memory SET (parallel_workers = 2);
DROP INDEX memory_idx;
CREATE INDEX memory_idx ON memory USING chassis (v) WITH (ef_construction = 40);
SELECT (found('memory_idx')).*;
SELECT * FROM info('memory_idx', 'heap_tids', 'level_0_live');
REINDEX INDEX CONCURRENTLY memory_idx;
SELECT (found('memory_idx')).*;
DROP INDEX memory_idx;
CREATE INDEX CONCURRENTLY memory_idx ON memory USING chassis (v vector_l1_ops) WITH (ef_construction = 40);
SELECT (found('memory_idx')).*;
-- both at once
SET maintenance_work_mem = '1MB';
SET client_min_messages = warning;
REINDEX INDEX memory_idx;
SELECT (found('memory_idx')).*;
RESET client_min_messages;
RESET maintenance_work_mem;
-- what workers may not evaluate is left to one process
CREATE FUNCTION unsafe(v vector) RETURNS vector LANGUAGE sql IMMUTABLE PARALLEL UNSAFE AS 'SELECT v';
CREATE INDEX memory_unsafe ON memory USING chassis ((unsafe(v)::vector(24))) WITH (ef_construction = 40);
SELECT (found('memory_unsafe')).*;
DROP TABLE memory;
SET max_parallel_maintenance_workers = 0;

-- partial, expression
CREATE INDEX many_part ON many USING chassis (v) WHERE id % 4 = 1;
SELECT (found('many_part')).*;
SELECT * FROM info('many_part', 'phase', 'heap_tids');
CREATE INDEX many_expr ON many USING chassis ((subvector(v, 3, 5)::vector(5)));
SELECT (found('many_expr')).*;

-- unlogged, temporary, partitioned
CREATE UNLOGGED TABLE unlogged_rows AS SELECT id, v FROM many;
CREATE INDEX unlogged_idx ON unlogged_rows USING chassis (v);
SELECT (found('unlogged_idx')).*, pg_relation_size('unlogged_idx', 'init') / current_setting('block_size')::int AS init_pages;
CREATE TEMP TABLE temporary_rows AS SELECT id, v FROM many;
SET max_parallel_maintenance_workers = 2;
CREATE INDEX temporary_idx ON temporary_rows USING chassis (v);
SET max_parallel_maintenance_workers = 0;
SELECT (found('temporary_idx')).*;
CREATE TABLE parted (id int, v vector(24)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1500);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT * FROM many;
CREATE INDEX parted_idx ON parted USING chassis (v);
SELECT (found('parted_1_v_idx')).*, (SELECT value FROM info('parted_2_v_idx', 'phase'));
SELECT id FROM parted ORDER BY v <-> row_vector(1777, 24) LIMIT 1;

-- in the transaction that made the table; dead rows; a second build
BEGIN;
CREATE TABLE fresh (id int, v vector(24));
INSERT INTO fresh SELECT * FROM many;
CREATE INDEX fresh_idx ON fresh USING chassis (v);
TRUNCATE fresh;
INSERT INTO fresh SELECT * FROM many WHERE id > 300;
DELETE FROM fresh WHERE id % 2 = 0;
COMMIT;
SELECT (found('fresh_idx')).*;
REINDEX TABLE fresh;
SELECT (found('fresh_idx')).*;

-- refused
CREATE TABLE loose (v vector);
CREATE INDEX ON loose USING chassis (v);
INSERT INTO loose VALUES ('[1,2,3]'), ('[1,2]');
CREATE INDEX ON loose USING chassis ((v::vector(3)));
TRUNCATE loose;
INSERT INTO loose VALUES ('[1,2,3]');
CREATE INDEX loose_idx ON loose USING chassis ((v::vector(3)));
SELECT (found('loose_idx')).*;

DROP TABLE few, turn, many, equal, zero, large, unlogged_rows, temporary_rows, parted, fresh, loose;
DROP FUNCTION unsafe, found, info, pages, row_vector;
