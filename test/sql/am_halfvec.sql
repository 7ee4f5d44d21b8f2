--
-- Indexes over halfvec: every operator class, kind of code and kind of index,
-- and the values that float16 makes special
--
CREATE SCHEMA halfvec_test;
SET search_path = halfvec_test, public;
SET max_parallel_maintenance_workers = 0;
SET client_min_messages = warning;

-- row i: four small numbers, exact in float16; equal ones every 1,155 rows
CREATE FUNCTION row_of(i int) RETURNS halfvec LANGUAGE sql IMMUTABLE AS
$$ SELECT ARRAY[i % 11 - 5, i % 7 * 0.5, i % 15 - 7.5, (i % 5) * 0.25 + 0.125]::real[]::halfvec $$;

-- The distances of column v of a table from a query, nearest first, by the
-- index or by reading the table.
CREATE FUNCTION distances(tab text, op text, query text, most int, by_index bool) RETURNS float8[] LANGUAGE plpgsql AS $$
DECLARE
	type text := format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = tab::regclass AND attname = 'v';
	found float8[];
BEGIN
	PERFORM set_config(name, (NOT by_index)::text, true) FROM unnest(ARRAY['enable_seqscan', 'enable_sort', 'enable_bitmapscan']) name;
	PERFORM set_config('enable_indexscan', by_index::text, true);
	EXECUTE format('WITH f AS MATERIALIZED (SELECT v %1$s %2$L::%3$s AS d FROM %4$s ORDER BY v %1$s %2$L::%3$s LIMIT %5$s) SELECT array_agg(d) FROM f WHERE d IS NOT NULL',
		op, query, type, tab, most) INTO found;
	RETURN found;
END $$;

-- How many distances the index gives to these queries, and how many of them are
-- not those of the table, but for rounding.
CREATE FUNCTION compare(tab text, op text, most int, VARIADIC queries text[], OUT given bigint, OUT wrong bigint) LANGUAGE sql AS $$
	SELECT sum(cardinality(i)), sum((SELECT count(*) FROM unnest(i, t) AS d (i, t)
		WHERE NOT (i = t OR abs(i - t) <= 1e-5 * abs(t)) OR (i IS NULL) <> (t IS NULL)))
	FROM (SELECT distances(tab, op, q, most, true) AS i, distances(tab, op, q, most, false) AS t FROM unnest(queries) q) a
$$;
CREATE FUNCTION state(index_name regclass, OUT phase text, OUT rows int, OUT live int, OUT unlinked int, OUT problems bigint) LANGUAGE sql AS $$
	SELECT max(value) FILTER (WHERE name = 'phase'), max(value) FILTER (WHERE name = 'heap_tids')::int,
		max(value) FILTER (WHERE name = 'level_0_live')::int, max(value) FILTER (WHERE name = 'level_0_unlinked')::int,
		(SELECT count(*) FROM chassis_index_check(index_name))
	FROM chassis_index_info(index_name)
$$;
-- runs a statement and tells how it failed
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;

-- ---- every operator class, flat and graph, rows built and inserted, every kind of code ----
CREATE FUNCTION try(class text, op text, flat_limit int, options text, OUT plan bool, OUT s text, OUT given bigint, OUT wrong bigint) LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	PERFORM set_config('chassis.flat_limit', flat_limit::text, true);
	DROP TABLE IF EXISTS tried;
	CREATE TABLE tried (id int, v halfvec(4));
	INSERT INTO tried SELECT i, row_of(i) FROM generate_series(1, 120) i;
	EXECUTE format('CREATE INDEX tried_v ON tried USING chassis (v %s) WITH (%s)', class, options);
	INSERT INTO tried SELECT i, row_of(i) FROM generate_series(121, 240) i;
	INSERT INTO tried VALUES (999, NULL);
	SET LOCAL enable_seqscan = off;
	FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT id FROM tried ORDER BY v %s %L LIMIT 5', op, '[1,2,3,4]') LOOP
		plan := coalesce(plan, false) OR line LIKE '%Index Scan using tried_v%';
	END LOOP;
	s := state('tried_v');
	SELECT * INTO given, wrong FROM compare('tried', op, 50, '[1,2,3,4]', '[-5,0.25,7,1]', '[0,0,0,0.5]', '[100,100,100,-100]', '[65504,0,-65504,1]', '[6e-8,-6e-8,0,0]');
END $$;
SET chassis.ef_search = 300;
SELECT class, flat_limit, options, t.* FROM (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>'), ('l1', '<+>')) c (class, op),
	unnest(ARRAY[1000, 20]) flat_limit, unnest(ARRAY['bits = 4', 'bits = 32', 'rerank = heap']) options,
	LATERAL try(format('halfvec_%s_ops', class), op, flat_limit, options) t;
SELECT options, t.* FROM unnest(ARRAY['bits = 1', 'bits = 2', 'bits = 8', 'bits = 8, rerank = heap, m = 5']) options, LATERAL try('halfvec_l2_ops', '<->', 20, options) t;
SET chassis.ef_search = 200;
DROP TABLE tried;

-- l2 is the default
CREATE TABLE t (id int PRIMARY KEY, v halfvec(4), n int);
SET chassis.flat_limit = 50;
CREATE INDEX t_v ON t USING chassis (v);
SELECT pg_get_indexdef('t_v'::regclass), opcname FROM pg_index JOIN pg_opclass o ON o.oid = indclass[0] WHERE indexrelid = 't_v'::regclass;

-- ---- one life: empty, filled, changed, vacuumed, emptied ----
SELECT state('t_v'), distances('t', '<->', '[1,2,3,4]', 5, true);
INSERT INTO t SELECT i, row_of(i), 0 FROM generate_series(1, 400) i;
INSERT INTO t SELECT i, row_of(7), 0 FROM generate_series(401, 500) i;
INSERT INTO t SELECT i, NULL, 0 FROM generate_series(501, 510) i;
SELECT state('t_v'), compare('t', '<->', 40, '[1,2,3,4]', row_of(7)::text);
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> row_of(7) LIMIT 101) f WHERE v = row_of(7);
UPDATE t SET n = 1 WHERE id % 2 = 0;
UPDATE t SET v = row_of(id + 1000) WHERE id % 10 = 1 AND id <= 400;
UPDATE t SET v = NULL WHERE id % 10 = 2 AND id <= 400;
UPDATE t SET v = row_of(id) WHERE id > 500;
SELECT compare('t', '<->', 40, '[1,2,3,4]', row_of(7)::text);
DELETE FROM t WHERE id % 3 = 0;
SELECT compare('t', '<->', 40, '[1,2,3,4]', row_of(7)::text);
VACUUM (INDEX_CLEANUP ON) t;
SELECT (SELECT count(v) FROM t) AS rows, state('t_v'), compare('t', '<->', 40, '[1,2,3,4]', row_of(7)::text);
INSERT INTO t SELECT i, row_of(i), 0 FROM generate_series(3, 510, 3) i;
SELECT (SELECT count(v) FROM t) AS rows, (state('t_v')).problems, compare('t', '<->', 40, '[1,2,3,4]', row_of(7)::text);
REINDEX INDEX t_v;
SELECT (state('t_v')).problems, compare('t', '<->', 40, '[1,2,3,4]', row_of(7)::text);
REINDEX INDEX CONCURRENTLY t_v;
SELECT (state('t_v')).problems, compare('t', '<->', 40, '[1,2,3,4]', row_of(7)::text);
CREATE INDEX CONCURRENTLY t_cosine ON t USING chassis (v halfvec_cosine_ops) WITH (rerank = heap);
SELECT (state('t_cosine')).problems, compare('t', '<=>', 40, '[1,2,3,4]', row_of(7)::text);
DELETE FROM t;
VACUUM (INDEX_CLEANUP ON) t;
SELECT state('t_v'), state('t_cosine'), distances('t', '<->', '[1,2,3,4]', 5, true);
INSERT INTO t VALUES (1, row_of(1));
SELECT state('t_v'), compare('t', '<->', 40, '[1,2,3,4]'), compare('t', '<=>', 40, '[1,2,3,4]');
TRUNCATE t;
DROP INDEX t_cosine;

-- ---- beyond the first window: every row once, in order ----
INSERT INTO t SELECT i, row_of(i), i % 100 FROM generate_series(1, 600) i;
SET enable_seqscan = off;
SET enable_sort = off;
SET chassis.ef_search = 10;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3,4]') s;
SELECT count(*) FROM (SELECT id FROM t WHERE n = 7 ORDER BY v <-> '[1,2,3,4]' LIMIT 6) s;
SET chassis.iterative_scan = strict_order;
SELECT count(*) FILTER (WHERE late) AS late, count(*) > 100 AS many FROM
	(SELECT d < lag(d) OVER (ORDER BY place) AS late FROM
		(SELECT d, row_number() OVER () AS place FROM (SELECT v <-> '[1,2,3,4]' AS d FROM t ORDER BY v <-> '[1,2,3,4]') s) s) s;
SET chassis.iterative_scan = off;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3,4]' LIMIT 100) s;
RESET chassis.iterative_scan;
RESET chassis.ef_search;

-- ---- of part of a table, of a vector column, unlogged ----
CREATE INDEX t_part ON t USING chassis (v halfvec_ip_ops) WHERE n < 50;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE n < 50 ORDER BY v <#> '[1,2,3,4]' LIMIT 3;
SELECT (SELECT min(v <#> '[1,2,3,4]') FROM t WHERE n < 50) = d AS same FROM (SELECT v <#> '[1,2,3,4]' AS d FROM t WHERE n < 50 ORDER BY v <#> '[1,2,3,4]' LIMIT 1) s;
SELECT rows, problems FROM state('t_part');

-- rounded for the index, exact from the table
CREATE TABLE full_size (id int, v vector(4));
INSERT INTO full_size SELECT i, ARRAY[i % 10, i * 0.001, i / 100, i % 3 * 0.3333]::real[]::vector FROM generate_series(1, 500) i;
CREATE INDEX full_size_half ON full_size USING chassis ((v::halfvec(4)) halfvec_l2_ops);
EXPLAIN (COSTS OFF) SELECT id FROM full_size ORDER BY v::halfvec(4) <-> '[5,0.2,2,0.3333]' LIMIT 3;
SELECT id FROM (SELECT id, v FROM full_size ORDER BY v::halfvec(4) <-> '[5,0.2,2,0.3333]' LIMIT 20) s ORDER BY v <-> '[5,0.2,2,0.3333]' LIMIT 3;
SELECT id FROM full_size ORDER BY v::halfvec(4) <-> (SELECT v FROM full_size WHERE id = 77)::halfvec(4) LIMIT 1;
\set VERBOSITY sqlstate
INSERT INTO full_size VALUES (501, '[65520,0,0,0]');
\set VERBOSITY default
INSERT INTO full_size VALUES (501, '[65519,0,0,0]'), (502, '[1e-10,0,0,0]');
SELECT id, v::halfvec(4) FROM full_size ORDER BY v::halfvec(4) <-> '[60000,0,0,0]' LIMIT 1;
SELECT * FROM chassis_index_check('full_size_half');

CREATE UNLOGGED TABLE volatile (id int, v halfvec(4));
CREATE INDEX volatile_v ON volatile USING chassis (v halfvec_l1_ops);
INSERT INTO volatile SELECT id, v FROM t;
SELECT state('volatile_v'), compare('volatile', '<+>', 40, '[1,2,3,4]', '[0,0,0,0]');

-- ---- errors ----
CREATE TABLE any_length (v halfvec);
CREATE TABLE longest (id int, v halfvec(16000));
SELECT s, error_of(s) FROM (VALUES
	('CREATE INDEX ON any_length USING chassis (v)'), ('CREATE INDEX ON any_length USING chassis ((v::halfvec))'),
	('CREATE INDEX ON t USING chassis (v vector_l2_ops)'), ('CREATE INDEX ON full_size USING chassis (v halfvec_l2_ops)'),
	('CREATE INDEX ON t USING chassis (v) WITH (bits = 16)'), ('CREATE INDEX ON t USING chassis (v) WITH (bits = 32, rerank = heap)'),
	('CREATE INDEX ON longest USING chassis (v) WITH (bits = 8)'), ('CREATE INDEX ON longest USING chassis (v) WITH (bits = 4, m = 100)'),
	('SELECT id FROM t ORDER BY v <-> ''[1,2,3]'' LIMIT 1'), ('SELECT id FROM t ORDER BY v <-> ''[1,2,3,4,5]'' LIMIT 1'),
	('SELECT id FROM t ORDER BY v <-> ''[]'' LIMIT 1'), ('SELECT id FROM t ORDER BY v <-> ''[1,2,3,65520]'' LIMIT 1'),
	('SELECT v <-> ''[1,2,3]'' FROM t'), ('INSERT INTO t (id, v) VALUES (0, ''[1,2,3]'')'), ('INSERT INTO t (id, v) VALUES (0, ''[1,2,3,1e5]'')'),
	('INSERT INTO t (id, v) VALUES (0, ''[1,2,3,NaN]'')'), ('INSERT INTO t (id, v) VALUES (0, ''{1e5,0,0,0}''::real[]::halfvec)'),
	('CREATE TABLE beyond (v halfvec(16001))')) c (s);
SELECT id FROM t ORDER BY v <-> row_of(1) LIMIT 1;

-- ---- the longest ----
CREATE FUNCTION spike(i int, dim int) RETURNS halfvec LANGUAGE sql IMMUTABLE AS
$$ SELECT array_agg(CASE WHEN j = i THEN 9 ELSE (i * j) % 5 * 0.125 END ORDER BY j)::real[]::halfvec FROM generate_series(1, dim) j $$;
SET chassis.flat_limit = 10;
CREATE INDEX longest_v ON longest USING chassis (v);
CREATE INDEX longest_32 ON longest USING chassis (v halfvec_cosine_ops) WITH (bits = 32);
INSERT INTO longest SELECT i, spike(i * 500, 16000) FROM generate_series(1, 32) i;
SELECT count(*) FROM longest o WHERE id = (SELECT id FROM longest i ORDER BY i.v <-> o.v LIMIT 1);
SELECT count(*) FROM longest o WHERE id = (SELECT id FROM longest i ORDER BY i.v <=> o.v LIMIT 1);
REINDEX TABLE longest;
SELECT count(*) FROM longest o WHERE id = (SELECT id FROM longest i ORDER BY i.v <-> o.v LIMIT 1);
SELECT count(*) FROM longest o WHERE id = (SELECT id FROM longest i ORDER BY i.v <=> o.v LIMIT 1);
SELECT name, value FROM chassis_index_info('longest_v') WHERE name IN ('bits', 'dimensions', 'metric', 'phase', 'rerank') ORDER BY name;
SELECT state('longest_v'), state('longest_32');

-- ---- values: zero, -0, denormal, largest, all in one graph ----
SET chassis.ef_search = 300;
CREATE TABLE special (id int, v halfvec(3));
INSERT INTO special SELECT i, ARRAY[i % 7, i % 5, i % 3 + 1]::real[]::halfvec FROM generate_series(1, 100) i;
CREATE INDEX special_l2 ON special USING chassis (v);
CREATE INDEX special_ip ON special USING chassis (v halfvec_ip_ops);
CREATE INDEX special_cosine ON special USING chassis (v halfvec_cosine_ops);
CREATE INDEX special_l1 ON special USING chassis (v halfvec_l1_ops) WITH (bits = 32);
INSERT INTO special VALUES (201, '[0,0,0]'), (202, '[-0,0,0]'), (203, '[-0,-0,-0]'), (204, '[6e-8,0,0]'), (205, '[-6e-8,6e-8,0]'),
	(206, '[6.1e-5,0,0]'), (207, '[65504,65504,65504]'), (208, '[-65504,-65504,-65504]'), (209, '[65504,0,-65504]'), (210, '[0,0,0]');
SELECT state('special_l2'), state('special_ip'), state('special_cosine'), state('special_l1');
SELECT op, compare('special', op, 20, '[1,2,3]', '[65504,65504,65504]', '[-65504,65504,1]', '[6e-8,0,0]', '[-0,0,1]') FROM unnest(ARRAY['<->', '<#>', '<=>', '<+>']) op;
SELECT count(*) FILTER (WHERE v = '[0,0,0]') AS zeros, count(*) FROM (SELECT v FROM special ORDER BY v <-> '[0,0,0]' LIMIT 4) s;
-- under cosine zeros come last, and a zero orders nothing
SELECT array_agg(id ORDER BY id) FILTER (WHERE place > 106) AS last, count(*) FROM (SELECT id, row_number() OVER () AS place FROM (SELECT id FROM special ORDER BY v <=> '[1,2,3]') s) s;
SELECT count(DISTINCT id) FROM (SELECT id FROM special ORDER BY v <=> '[-0,0,0]') s;
SELECT count(DISTINCT id), count(d) FROM (SELECT id, v <-> NULL AS d FROM special ORDER BY v <-> NULL::halfvec) s;
DELETE FROM special WHERE id IN (201, 203, 207);
VACUUM (INDEX_CLEANUP ON) special;
SELECT (state('special_l2')).problems, (state('special_ip')).problems, (state('special_cosine')).problems, (state('special_l1')).problems;
SELECT op, compare('special', op, 20, '[1,2,3]', '[65504,65504,65504]', '[6e-8,0,0]') FROM unnest(ARRAY['<->', '<#>', '<=>', '<+>']) op;

DROP SCHEMA halfvec_test CASCADE;
