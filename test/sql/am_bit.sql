--
-- Indexes over bit: the codes are the rows, so what a graph finds is exact
--
CREATE SCHEMA bit_test;
SET search_path = bit_test, public;
SET max_parallel_maintenance_workers = 0;
SET client_min_messages = warning;

-- row i: n bits that look random, the same on every machine
CREATE FUNCTION row_of(i int, n int) RETURNS varbit LANGUAGE sql IMMUTABLE AS
$$ SELECT substring(string_agg(hashint4(i * 1000 + j)::bit(32)::text, '' ORDER BY j) FROM 1 FOR n)::varbit FROM generate_series(0, (n - 1) / 32) j $$;

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
-- not those of the table.
CREATE FUNCTION compare(tab text, op text, most int, VARIADIC queries text[], OUT given bigint, OUT wrong bigint) LANGUAGE sql AS $$
	SELECT sum(cardinality(i)), sum((SELECT count(*) FROM unnest(i, t) AS d (i, t) WHERE i IS DISTINCT FROM t))
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
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN sqlstate || ' ' || sqlerrm || coalesce(nullif(' / ' || hint, ' / '), '');
END $$;

-- ---- both operator classes, flat and graph, half of the rows built, half inserted, lengths around bytes and words ----
CREATE FUNCTION try(class text, op text, flat_limit int, bits int, OUT plan bool, OUT s text, OUT given bigint, OUT wrong bigint) LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	PERFORM set_config('chassis.flat_limit', flat_limit::text, true);
	DROP TABLE IF EXISTS tried;
	EXECUTE format('CREATE TABLE tried (id int, v bit(%s))', bits);
	EXECUTE format('INSERT INTO tried SELECT i, row_of(i, %1$s)::bit(%1$s) FROM generate_series(1, 120) i', bits);
	EXECUTE format('CREATE INDEX tried_v ON tried USING chassis (v %s)', class);
	EXECUTE format('INSERT INTO tried SELECT i, row_of(i, %1$s)::bit(%1$s) FROM generate_series(121, 240) i', bits);
	INSERT INTO tried VALUES (999, NULL);
	SET LOCAL enable_seqscan = off;
	FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT id FROM tried ORDER BY v %s %L LIMIT 5', op, row_of(1, bits)) LOOP
		plan := coalesce(plan, false) OR line LIKE '%Index Scan using tried_v%';
	END LOOP;
	s := state('tried_v');
	SELECT * INTO given, wrong FROM compare('tried', op, 40, row_of(7, bits)::text, row_of(200, bits)::text, row_of(1007, bits)::text, repeat('1', bits), repeat('0', bits));
END $$;
SET chassis.ef_search = 300;
SELECT class, flat_limit, bits, t.* FROM (VALUES ('bit_hamming_ops', '<~>'), ('bit_jaccard_ops', '<%>')) c (class, op),
	unnest(ARRAY[1000, 20]) flat_limit, unnest(ARRAY[1, 7, 8, 9, 63, 64, 65, 127, 257, 1000]) bits, LATERAL try(class, op, flat_limit, bits) t
	ORDER BY class, flat_limit, bits;
SET chassis.ef_search = 600;
DROP TABLE tried;

-- ---- one life: empty, filled, changed, vacuumed, emptied ----
CREATE TABLE t (id int PRIMARY KEY, v bit(67), n int);
SET chassis.flat_limit = 50;
CREATE INDEX t_v ON t USING chassis (v bit_hamming_ops);
CREATE INDEX t_jaccard ON t USING chassis (v bit_jaccard_ops) WITH (m = 6, ef_construction = 40);
SELECT state('t_v'), distances('t', '<~>', row_of(1, 67)::text, 5, true);
INSERT INTO t SELECT i, row_of(i, 67)::bit(67), 0 FROM generate_series(1, 400) i;
INSERT INTO t SELECT i, row_of(7, 67)::bit(67), 0 FROM generate_series(401, 500) i;
INSERT INTO t SELECT i, NULL, 0 FROM generate_series(501, 510) i;
CREATE FUNCTION look(OUT rows bigint, OUT hamming text, OUT jaccard text, OUT by_hamming text, OUT by_jaccard text) LANGUAGE sql AS $$
	SELECT (SELECT count(v) FROM t), state('t_v')::text, state('t_jaccard')::text,
		compare('t', '<~>', 40, row_of(7, 67)::text, row_of(1007, 67)::text, row_of(1008, 67)::text)::text,
		compare('t', '<%>', 40, row_of(7, 67)::text, row_of(1007, 67)::text, row_of(1008, 67)::text)::text
$$;
SELECT * FROM look();
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <~> row_of(7, 67)::bit(67) LIMIT 101) f WHERE v = row_of(7, 67)::bit(67);
UPDATE t SET n = 1 WHERE id % 2 = 0;
UPDATE t SET v = row_of(id + 2000, 67)::bit(67) WHERE id % 10 = 1 AND id <= 400;
UPDATE t SET v = NULL WHERE id % 10 = 2 AND id <= 400;
UPDATE t SET v = row_of(id, 67)::bit(67) WHERE id > 500;
DELETE FROM t WHERE id % 3 = 0;
SELECT rows, by_hamming, by_jaccard FROM look();
VACUUM (INDEX_CLEANUP ON) t;
SELECT * FROM look();
INSERT INTO t SELECT i, row_of(i, 67)::bit(67), 0 FROM generate_series(3, 510, 3) i;
SELECT * FROM look();
REINDEX INDEX t_v;
REINDEX INDEX CONCURRENTLY t_jaccard;
SELECT * FROM look();
DROP INDEX t_jaccard;
CREATE INDEX CONCURRENTLY t_jaccard ON t USING chassis (v bit_jaccard_ops);
SELECT * FROM look();
DELETE FROM t;
VACUUM (INDEX_CLEANUP ON) t;
SELECT * FROM look();
INSERT INTO t VALUES (1, row_of(1, 67)::bit(67));
SELECT * FROM look();
TRUNCATE t;
SELECT * FROM look();

-- ---- beyond the first window: every row once, in order ----
INSERT INTO t SELECT i, row_of(i, 67)::bit(67), i % 100 FROM generate_series(1, 600) i;
SET enable_seqscan = off;
SET enable_sort = off;
SET chassis.ef_search = 10;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <~> row_of(7, 67)::bit(67)) s;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <%> row_of(7, 67)::bit(67)) s;
SELECT count(*) FROM (SELECT id FROM t WHERE n = 7 ORDER BY v <~> row_of(7, 67)::bit(67) LIMIT 6) s;
SET chassis.iterative_scan = strict_order;
SELECT count(*) FILTER (WHERE late) AS late, count(*) > 100 AS many FROM
	(SELECT d < lag(d) OVER (ORDER BY place) AS late FROM
		(SELECT d, row_number() OVER () AS place FROM (SELECT v <~> row_of(7, 67)::bit(67) AS d FROM t ORDER BY v <~> row_of(7, 67)::bit(67)) s) s) s;
SET chassis.iterative_scan = off;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <~> row_of(7, 67)::bit(67) LIMIT 100) s;
RESET chassis.iterative_scan;
SET chassis.ef_search = 600;

-- ---- of the signs of a vector, as a first step; of part of a table; unlogged ----
CREATE TABLE items (id int, embedding vector(24));
INSERT INTO items SELECT i, (SELECT array_agg(hashint4(i * 100 + j) / 2147483648.0 ORDER BY j) FROM generate_series(1, 24) j)::vector FROM generate_series(1, 1200) i;
CREATE INDEX items_signs ON items USING chassis ((binary_quantize(embedding)::bit(24)) bit_hamming_ops);
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY binary_quantize(embedding)::bit(24) <~> B'101010101010101010101010' LIMIT 3;
SELECT (SELECT id FROM (SELECT * FROM items i ORDER BY binary_quantize(i.embedding)::bit(24) <~> binary_quantize(o.embedding)::bit(24) LIMIT 20) s
		ORDER BY s.embedding <=> o.embedding LIMIT 1) = o.id AS itself, count(*)
	FROM (SELECT * FROM items WHERE id % 40 = 0 OFFSET 0) o GROUP BY 1;
SELECT sum(wrong) AS wrong FROM (SELECT (SELECT count(*) FROM unnest(
		ARRAY(SELECT binary_quantize(i.embedding)::bit(24) <~> binary_quantize(o.embedding)::bit(24) FROM items i ORDER BY binary_quantize(i.embedding)::bit(24) <~> binary_quantize(o.embedding)::bit(24) LIMIT 20),
		ARRAY(SELECT d FROM (SELECT binary_quantize(i.embedding)::bit(24) <~> binary_quantize(o.embedding)::bit(24) AS d FROM items i OFFSET 0) s ORDER BY d + 0 LIMIT 20)) AS d (i, t)
	WHERE i <> t) AS wrong FROM (SELECT * FROM items WHERE id % 100 = 0 OFFSET 0) o) s;
SELECT state('items_signs');
INSERT INTO items VALUES (2001, NULL);
\set VERBOSITY sqlstate
INSERT INTO items VALUES (2002, '[1,2,3]');
\set VERBOSITY default
CREATE INDEX t_part ON t USING chassis (v bit_hamming_ops) WHERE n < 50;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE n < 50 ORDER BY v <~> B'1010101010101010101010101010101010101010101010101010101010101010101' LIMIT 3;
SELECT state('t_part');
CREATE UNLOGGED TABLE volatile (id int, v bit(67));
CREATE INDEX volatile_v ON volatile USING chassis (v bit_jaccard_ops);
INSERT INTO volatile SELECT id, v FROM t;
SELECT state('volatile_v'), compare('volatile', '<%>', 40, row_of(7, 67)::text);

-- ---- errors ----
CREATE TABLE others (any_bits varbit, most_bits varbit(10), one bit, a bit(65000), b bit(63744), v bit(10));
SELECT s, error_of(s) FROM (VALUES
	('CREATE INDEX ON others USING chassis (v)'), ('CREATE INDEX ON others USING chassis (any_bits bit_hamming_ops)'),
	('CREATE INDEX ON others USING chassis (most_bits bit_jaccard_ops)'), ('CREATE INDEX ON items USING chassis ((binary_quantize(embedding)) bit_hamming_ops)'),
	('CREATE INDEX ON others USING chassis (a bit_hamming_ops)'), ('CREATE INDEX ON others USING chassis (b bit_hamming_ops) WITH (m = 17)'),
	('CREATE INDEX ON others USING chassis (v bit_hamming_ops) WITH (bits = 1)'), ('CREATE INDEX ON others USING chassis (v bit_hamming_ops) WITH (bits = 4)'),
	('CREATE INDEX ON others USING chassis (v bit_hamming_ops) WITH (bits = 32)'), ('CREATE INDEX ON others USING chassis (v bit_jaccard_ops) WITH (rerank = heap)'),
	('CREATE INDEX ON others USING chassis (v bit_jaccard_ops) WITH (rerank = index)'), ('CREATE INDEX ON others USING chassis (v vector_l2_ops)'),
	('CREATE INDEX ON others USING chassis ((most_bits::bit(10)) bit_hamming_ops)'), ('CREATE INDEX ON others USING chassis (one bit_hamming_ops) WITH (bits = 0)'),
	('SELECT id FROM t ORDER BY v <~> ''101'' LIMIT 1'), ('SELECT id FROM t ORDER BY v <%> B''101'' LIMIT 1'),
	('SELECT id FROM t ORDER BY v <~> B'''' LIMIT 1'), ('SELECT id FROM t ORDER BY v <~> (row_of(1, 68)) LIMIT 1'), ('SELECT v <~> B''101'' FROM t'),
	('INSERT INTO t (id, v) VALUES (0, ''101'')')) c (s);
SELECT id FROM t ORDER BY v <~> row_of(7, 67)::bit(67) LIMIT 1;
SELECT id FROM t ORDER BY v <~> row_of(7, 67) LIMIT 1;

-- a column that loses its length later keeps its index, whose rows keep theirs
CREATE TABLE loose (v bit(10));
CREATE INDEX loose_v ON loose USING chassis (v bit_hamming_ops);
INSERT INTO loose VALUES ('1111100000'), ('0000011111');
ALTER TABLE loose ALTER v TYPE varbit;
SELECT s, error_of(s) FROM (VALUES ('INSERT INTO loose VALUES (''0'')'), ('REINDEX INDEX loose_v')) c (s);
SELECT v FROM loose ORDER BY v <~> B'0000011110' LIMIT 1;
DROP INDEX loose_v;

-- ---- the longest, one row a page ----
SET chassis.flat_limit = 10;
CREATE TABLE longest (id int, v bit(63744));
CREATE INDEX longest_v ON longest USING chassis (v bit_hamming_ops);
INSERT INTO longest SELECT i, (repeat('0', i * 1000) || repeat('1', 500 + i) || repeat('0', 63744 - 500 - i * 1001))::bit(63744) FROM generate_series(1, 40) i;
SELECT count(*) FROM longest o WHERE id = (SELECT id FROM longest i ORDER BY i.v <~> o.v LIMIT 1);
REINDEX INDEX longest_v;
SELECT count(*) FROM longest o WHERE id = (SELECT id FROM longest i ORDER BY i.v <~> o.v LIMIT 1);
SELECT name, value FROM chassis_index_info('longest_v') WHERE name IN ('bits', 'dimensions', 'metric', 'phase', 'rerank', 'pages_vector', 'pages_model') ORDER BY name;
SELECT state('longest_v'), compare('longest', '<~>', 41, repeat('0', 63744), repeat('1', 63744), repeat('01', 31872));

-- ---- no bit at all: under Jaccard as far from everything as can be ----
CREATE TABLE none (id int, v bit(12));
INSERT INTO none SELECT i, (i * 37)::bit(12) FROM generate_series(1, 100) i;
INSERT INTO none SELECT i, repeat('0', 12)::bit(12) FROM generate_series(201, 205) i;
INSERT INTO none SELECT i, repeat('1', 12)::bit(12) FROM generate_series(301, 303) i;
CREATE INDEX none_jaccard ON none USING chassis (v bit_jaccard_ops);
CREATE INDEX none_hamming ON none USING chassis (v bit_hamming_ops);
INSERT INTO none VALUES (206, B'000000000000'), (304, B'111111111111');
SELECT state('none_jaccard'), state('none_hamming');
SELECT op, compare('none', op, most, '000000000000', '111111111111', '000000000001', '101010101010') FROM (VALUES ('<~>', 110), ('<%>', 110), ('<~>', 5), ('<%>', 5)) o (op, most);
SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM none ORDER BY v <~> B'000000000000' LIMIT 6) s;
SELECT count(DISTINCT id), count(*), min(d), max(d) FROM (SELECT id, v <%> B'000000000000' AS d FROM none ORDER BY v <%> B'000000000000') s;
SELECT count(DISTINCT id), count(d) FROM (SELECT id, v <%> NULL AS d FROM none ORDER BY v <%> NULL::bit(12)) s;
DELETE FROM none WHERE id IN (201, 202, 206, 301);
VACUUM (INDEX_CLEANUP ON) none;
SELECT state('none_jaccard'), state('none_hamming');
SELECT op, compare('none', op, 110, '000000000000', '111111111111', '000000000001') FROM unnest(ARRAY['<~>', '<%>']) op;
-- nothing but such rows
CREATE TABLE nowhere AS SELECT i AS id, repeat('0', 12)::bit(12) AS v FROM generate_series(1, 30) i;
CREATE INDEX nowhere_v ON nowhere USING chassis (v bit_jaccard_ops);
INSERT INTO nowhere VALUES (31, B'000000000000'), (32, B'000000000001');
SELECT id FROM nowhere ORDER BY v <%> B'000000000001' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM nowhere ORDER BY v <%> B'000000000001') s;
SELECT state('nowhere_v');

DROP SCHEMA bit_test CASCADE;
