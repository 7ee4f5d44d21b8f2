--
-- Indexes over sparsevec: rows of any number of elements, read from the table
-- for exact distances, and hashed into codes where they are long
--
CREATE SCHEMA sparsevec_test;
SET search_path = sparsevec_test, public;
SET max_parallel_maintenance_workers = 0;
SET client_min_messages = warning;

-- row i of dim dimensions: its six elements stand in one of seven groups, small
-- multiples of 1/4; equal rows never
CREATE FUNCTION row_of(i int, dim int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS $$
	SELECT format('{%s}/%s', string_agg(place || ':' || value, ',' ORDER BY place), dim)::sparsevec FROM (
		SELECT 1 + (i % 7 * 7919::bigint + j * (dim / 8)) % dim AS place, sum(1 + (i * (j + 3) + i / 40) % 17 * 0.25) AS value FROM generate_series(1, least(6, dim)) j GROUP BY 1) e
$$;

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

-- ---- every operator class, flat and graph, rows built and inserted, few and many dimensions ----
CREATE FUNCTION try(class text, op text, flat_limit int, dim int, options text, OUT plan bool, OUT s text, OUT given bigint, OUT wrong bigint) LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	PERFORM set_config('chassis.flat_limit', flat_limit::text, true);
	DROP TABLE IF EXISTS tried;
	EXECUTE format('CREATE TABLE tried (id int, v sparsevec(%s))', dim);
	INSERT INTO tried SELECT i, row_of(i, dim) FROM generate_series(1, 120) i;
	EXECUTE format('CREATE INDEX tried_v ON tried USING chassis (v %s) WITH (%s)', class, options);
	INSERT INTO tried SELECT i, row_of(i, dim) FROM generate_series(121, 240) i;
	INSERT INTO tried VALUES (999, NULL);
	SET LOCAL enable_seqscan = off;
	FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT id FROM tried ORDER BY v %s %L LIMIT 5', op, row_of(1, dim)) LOOP
		plan := coalesce(plan, false) OR line LIKE '%Index Scan using tried_v%';
	END LOOP;
	s := state('tried_v');
	SELECT * INTO given, wrong FROM compare('tried', op, 20, row_of(7, dim)::text, row_of(200, dim)::text, row_of(1007, dim)::text, format('{1:1}/%s', dim), format('{%1$s:-2}/%1$s', dim));
END $$;
SET chassis.ef_search = 400;
SELECT class, flat_limit, dim, t.* FROM (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>'), ('l1', '<+>')) c (class, op),
	unnest(ARRAY[1000, 20]) flat_limit, unnest(ARRAY[1, 9, 1024, 1025, 1000000000]) dim,
	LATERAL try(format('sparsevec_%s_ops', class), op, flat_limit, dim, 'm = 16') t;
SELECT options, t.* FROM unnest(ARRAY['bits = 1', 'bits = 2', 'bits = 8', 'bits = 4, rerank = heap, m = 8']) options, LATERAL try('sparsevec_l2_ops', '<->', 20, 100000, options) t;
DROP TABLE tried;

-- ---- one life: empty, filled, changed, vacuumed, emptied ----
CREATE TABLE t (id int PRIMARY KEY, v sparsevec(100000), n int);
SET chassis.flat_limit = 50;
CREATE INDEX t_v ON t USING chassis (v);
SELECT pg_get_indexdef('t_v'::regclass), opcname FROM pg_index JOIN pg_opclass o ON o.oid = indclass[0] WHERE indexrelid = 't_v'::regclass;
SELECT state('t_v'), distances('t', '<->', '{1:1}/100000', 5, true);
INSERT INTO t SELECT i, row_of(i, 100000), 0 FROM generate_series(1, 400) i;
INSERT INTO t SELECT i, row_of(7, 100000), 0 FROM generate_series(401, 500) i;
INSERT INTO t SELECT i, NULL, 0 FROM generate_series(501, 510) i;
CREATE FUNCTION look(OUT rows bigint, OUT l2 text, OUT by_l2 text) LANGUAGE sql AS $$
	SELECT (SELECT count(v) FROM t), state('t_v')::text, compare('t', '<->', 40, row_of(7, 100000)::text, row_of(1007, 100000)::text, row_of(1008, 100000)::text)::text
$$;
SELECT * FROM look();
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> row_of(7, 100000) LIMIT 101) f WHERE v = row_of(7, 100000);
UPDATE t SET n = 1 WHERE id % 2 = 0;
UPDATE t SET v = row_of(id + 1000, 100000) WHERE id % 10 = 1 AND id <= 400;
UPDATE t SET v = NULL WHERE id % 10 = 2 AND id <= 400;
UPDATE t SET v = row_of(id, 100000) WHERE id > 500;
DELETE FROM t WHERE id % 3 = 0;
SELECT rows, by_l2 FROM look();
VACUUM (INDEX_CLEANUP ON) t;
SELECT * FROM look();
INSERT INTO t SELECT i, row_of(i, 100000), 0 FROM generate_series(3, 510, 3) i;
SELECT * FROM look();
REINDEX INDEX t_v;
SELECT * FROM look();
REINDEX INDEX CONCURRENTLY t_v;
SELECT * FROM look();
CREATE INDEX CONCURRENTLY t_cosine ON t USING chassis (v sparsevec_cosine_ops);
SELECT state('t_cosine'), compare('t', '<=>', 20, row_of(7, 100000)::text, row_of(1007, 100000)::text);
DROP INDEX t_cosine;
DELETE FROM t;
VACUUM (INDEX_CLEANUP ON) t;
SELECT * FROM look();
INSERT INTO t VALUES (1, row_of(1, 100000));
SELECT * FROM look();
TRUNCATE t;

-- ---- beyond the first window: every row once, in order ----
INSERT INTO t SELECT i, row_of(i, 100000), i % 100 FROM generate_series(1, 600) i;
SET enable_seqscan = off;
SET enable_sort = off;
SET chassis.ef_search = 10;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> row_of(7, 100000)) s;
SELECT count(*) FROM (SELECT id FROM t WHERE n = 7 ORDER BY v <-> row_of(7, 100000) LIMIT 6) s;
SET chassis.iterative_scan = strict_order;
SELECT count(*) FILTER (WHERE late) AS late, count(*) > 100 AS many FROM
	(SELECT d < lag(d) OVER (ORDER BY place) AS late FROM
		(SELECT d, row_number() OVER () AS place FROM (SELECT v <-> row_of(7, 100000) AS d FROM t ORDER BY v <-> row_of(7, 100000)) s) s) s;
SET chassis.iterative_scan = off;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> row_of(7, 100000) LIMIT 100) s;
RESET chassis.iterative_scan;
SET chassis.ef_search = 400;

-- ---- of part of a table, of an expression, unlogged ----
CREATE INDEX t_part ON t USING chassis (v sparsevec_l1_ops) WHERE n < 50;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE n < 50 ORDER BY v <+> '{1:1,2:1}/100000' LIMIT 3;
SELECT (SELECT min(v <+> row_of(1007, 100000)) FROM t WHERE n < 50) = d AS same FROM (SELECT v <+> row_of(1007, 100000) AS d FROM t WHERE n < 50 ORDER BY v <+> row_of(1007, 100000) LIMIT 1) s;
SELECT rows, problems FROM state('t_part');
CREATE TABLE dense (id int, v vector(12));
INSERT INTO dense SELECT i, row_of(i, 12)::vector FROM generate_series(1, 300) i;
CREATE INDEX dense_sparse ON dense USING chassis ((v::sparsevec(12)) sparsevec_l2_ops);
EXPLAIN (COSTS OFF) SELECT id FROM dense ORDER BY v::sparsevec(12) <-> '{1:1}/12' LIMIT 3;
SELECT count(*) FROM (SELECT * FROM dense OFFSET 0) o WHERE v = (SELECT v FROM dense i ORDER BY i.v::sparsevec(12) <-> o.v::sparsevec(12) LIMIT 1);
UPDATE dense SET v = row_of(id + 1000, 12)::vector WHERE id % 4 = 0;
DELETE FROM dense WHERE id % 5 = 0;
VACUUM (INDEX_CLEANUP ON) dense;
SELECT count(*) FROM (SELECT * FROM dense OFFSET 0) o WHERE v = (SELECT v FROM dense i ORDER BY i.v::sparsevec(12) <-> o.v::sparsevec(12) LIMIT 1);
SELECT rows, problems FROM state('dense_sparse');
CREATE UNLOGGED TABLE volatile (id int, v sparsevec(100000));
CREATE INDEX volatile_v ON volatile USING chassis (v sparsevec_ip_ops);
INSERT INTO volatile SELECT id, v FROM t;
SELECT state('volatile_v'), compare('volatile', '<#>', 10, row_of(7, 100000)::text);

-- ---- errors ----
CREATE TABLE others (any_length sparsevec, v sparsevec(1000000000));
SELECT s, error_of(s) FROM (VALUES
	('CREATE INDEX ON others USING chassis (any_length)'), ('CREATE INDEX ON others USING chassis ((any_length::sparsevec))'),
	('CREATE INDEX ON t USING chassis (v vector_l2_ops)'), ('CREATE INDEX ON t USING chassis (v halfvec_l2_ops)'),
	('CREATE INDEX ON t USING chassis (v) WITH (bits = 32)'), ('CREATE INDEX ON t USING chassis (v) WITH (bits = 3)'), ('CREATE INDEX ON t USING chassis (v) WITH (rerank = index)'),
	('SELECT id FROM t ORDER BY v <-> ''{1:1}/99999'' LIMIT 1'), ('SELECT id FROM t ORDER BY v <-> ''{1:1}/100001'' LIMIT 1'),
	('SELECT id FROM t ORDER BY v <-> ''{0:1}/100000'' LIMIT 1'), ('SELECT id FROM t ORDER BY v <-> ''{1:NaN}/100000'' LIMIT 1'),
	('SELECT v <-> ''{1:1}/99999'' FROM t'), ('INSERT INTO t (id, v) VALUES (0, ''{}/99999'')'), ('INSERT INTO t (id, v) VALUES (0, ''{1:4e38}/100000'')'),
	('CREATE TABLE beyond (v sparsevec(1000000001))')) c (s);
SELECT error_of($$INSERT INTO t (id, v) SELECT 0, ('{' || string_agg(i || ':1', ',') || '}/100000')::sparsevec FROM generate_series(1, 16001) i$$);
SELECT id FROM t ORDER BY v <-> row_of(7, 100000) LIMIT 1;

-- ---- as many elements as there may be, beside few and none ----
CREATE TABLE longest (id int, v sparsevec(1000000000));
CREATE FUNCTION long_row(i int, n int) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS
$$ SELECT ('{' || coalesce(string_agg((j * 62500 - i * 13 % 60000) || ':' || (i + j) % 9 + 1, ','), '') || '}/1000000000')::sparsevec FROM generate_series(1, n) j $$;
SET chassis.flat_limit = 10;
CREATE INDEX longest_v ON longest USING chassis (v);
CREATE INDEX longest_cosine ON longest USING chassis (v sparsevec_cosine_ops);
INSERT INTO longest SELECT i, long_row(i, CASE i % 3 WHEN 0 THEN 16000 WHEN 1 THEN 3000 ELSE i END) FROM generate_series(1, 60) i;
INSERT INTO longest VALUES (61, '{}/1000000000'), (62, '{1000000000:1}/1000000000'), (63, '{1:1}/1000000000');
SELECT count(*) FROM (SELECT * FROM longest OFFSET 0) o WHERE id = (SELECT id FROM longest i ORDER BY i.v <-> o.v LIMIT 1);
SELECT count(*) FROM (SELECT * FROM longest OFFSET 0) o WHERE id = (SELECT id FROM longest i ORDER BY i.v <=> o.v LIMIT 1);
SELECT compare('longest', '<->', 20, long_row(3, 16000)::text, '{}/1000000000', '{7:1}/1000000000'), compare('longest', '<=>', 20, long_row(3, 16000)::text);
REINDEX TABLE longest;
SELECT compare('longest', '<->', 20, long_row(3, 16000)::text, '{}/1000000000', '{7:1}/1000000000'), compare('longest', '<=>', 20, long_row(3, 16000)::text);
SELECT name, value FROM chassis_index_info('longest_v') WHERE name IN ('bits', 'dimensions', 'metric', 'phase', 'rerank', 'pages_vector') ORDER BY name;
SELECT state('longest_v'), state('longest_cosine');

-- ---- values: empty rows, denormals, squares that overflow: there, and found ----
CREATE TABLE special (id int, v sparsevec(50));
INSERT INTO special SELECT i, row_of(i, 50) FROM generate_series(1, 100) i;
CREATE INDEX special_l2 ON special USING chassis (v);
CREATE INDEX special_ip ON special USING chassis (v sparsevec_ip_ops);
CREATE INDEX special_cosine ON special USING chassis (v sparsevec_cosine_ops);
CREATE INDEX special_l1 ON special USING chassis (v sparsevec_l1_ops);
INSERT INTO special VALUES (201, '{}/50'), (202, '{}/50'), (203, '{1:-0}/50'), (204, '{1:1e-45}/50'), (205, '{1:-1e-45,50:1e-40}/50'), (206, '{50:1}/50'),
	(207, '{1:1e38}/50'), (208, '{1:-3.4e38,50:3.4e38}/50'), (209, '{7:1e19}/50');
SELECT state('special_l2'), state('special_ip'), state('special_cosine'), state('special_l1');
SELECT count(*) FILTER (WHERE v = '{}/50') AS empty, count(*) FROM (SELECT v FROM special ORDER BY v <-> '{}/50' LIMIT 3) s;
SELECT id FROM special ORDER BY v <-> '{50:1}/50' LIMIT 1;
SELECT id FROM special ORDER BY v <=> '{50:7}/50' LIMIT 1;
SELECT id FROM special ORDER BY v <-> '{1:1e38}/50' LIMIT 1;
SELECT id FROM special ORDER BY v <+> '{7:1e19}/50' LIMIT 1;
SELECT op, compare('special', op, 10, '{}/50', '{50:1}/50', row_of(3, 50)::text) FROM unnest(ARRAY['<->', '<+>']) op;
CREATE FUNCTION every(op text, query text, OUT ids int[]) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM special ORDER BY v %s %L::sparsevec(50) OFFSET 0) s', op, query) INTO ids;
END $$;
SELECT op, (SELECT count(DISTINCT id) FROM unnest(ARRAY['{}/50', '{1:1e-45}/50', '{1:3.4e38,2:-3.4e38}/50', '{3:1}/50']) q, LATERAL (SELECT unnest(x.ids) AS id FROM every(op, q) x) s
	HAVING count(*) = 4 * 109) AS rows FROM unnest(ARRAY['<->', '<#>', '<=>', '<+>']) op;
-- under cosine what has no direction comes last, and such a query orders nothing
SELECT array_agg(id ORDER BY id) FILTER (WHERE place > 101) AS last, count(*) FROM (SELECT id, row_number() OVER () AS place FROM (SELECT id FROM special ORDER BY v <=> row_of(3, 50)) s) s;
SELECT count(DISTINCT id), count(d) FROM (SELECT id, v <-> NULL AS d FROM special ORDER BY v <-> NULL::sparsevec) s;
DELETE FROM special WHERE id IN (201, 204, 207, 209);
VACUUM (INDEX_CLEANUP ON) special;
SELECT state('special_l2'), state('special_ip'), state('special_cosine'), state('special_l1');
SELECT op, compare('special', op, 10, '{}/50', '{50:1}/50', row_of(3, 50)::text) FROM unnest(ARRAY['<->', '<+>']) op;
-- nothing but empty rows
CREATE TABLE nowhere AS SELECT i AS id, '{}/5'::sparsevec(5) AS v FROM generate_series(1, 30) i;
CREATE INDEX nowhere_l2 ON nowhere USING chassis (v);
CREATE INDEX nowhere_cosine ON nowhere USING chassis (v sparsevec_cosine_ops);
INSERT INTO nowhere VALUES (31, '{}/5'), (32, '{5:1}/5');
SELECT id FROM nowhere ORDER BY v <=> '{5:2}/5' LIMIT 1;
SELECT id FROM nowhere ORDER BY v <-> '{5:2}/5' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM nowhere ORDER BY v <=> '{5:2}/5') s;
SELECT state('nowhere_l2'), state('nowhere_cosine');

DROP SCHEMA sparsevec_test CASCADE;
