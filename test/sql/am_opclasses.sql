--
-- Operator classes of chassis for all types: what an index over each gives,
-- flat and as a graph, built and inserted into, after deletes; and its limits.
--
SET enable_seqscan = off;
SET enable_sort = off;
SET max_parallel_maintenance_workers = 0;
SET client_min_messages = warning;
SET chassis.ef_search = 200;
CREATE SCHEMA opclass_test;
SET search_path = opclass_test, public;

-- Text of value number i of a type: dense ones have ten places to be near,
-- sparse ones five of twelve elements in common, of bits three quarters.
CREATE FUNCTION value_of(type text, i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE
		WHEN type LIKE 'bit%' THEN
			string_agg(CASE WHEN hashint4(j * 10 + i % 10 * (j % 4 / 3)) % 2 = 0 OR hashint4(i * 977 + j) % 9 = 0
				THEN '1' ELSE '0' END, '' ORDER BY j)
		WHEN type LIKE 'sparsevec%' THEN
			'{' || string_agg(format('%s:%s', (j - 1) * n / 12 + 1 + CASE WHEN j <= 5 THEN i % 10 ELSE abs(hashint4(i * 31 + j)) % (n / 12) END,
				1 + (i * j) % 16 / 16.0), ',' ORDER BY j) || '}/' || n
		ELSE
			'[' || string_agg(((i % 10 * j) % 7 + (hashint4(i * 131 + j) % 64) / 64.0)::text, ',' ORDER BY j) || ']'
		END
	FROM (SELECT substring(type, '\d+')::int AS n) d,
		generate_series(1, CASE WHEN type LIKE 'sparsevec%' THEN 12 ELSE n END) j GROUP BY n $$;

-- Do ten queries get the five smallest distances that there are?  One of them
-- may miss some.
CREATE FUNCTION exact_of(type text, operator text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found numeric[];
	truth numeric[];
	equal int := 0;
BEGIN
	FOR i IN 1..10 LOOP
		EXECUTE format('SELECT array_agg(round(d::numeric, 3)) FROM (SELECT v %s %L::%s AS d FROM tried ORDER BY v %1$s %2$L::%3$s LIMIT 5) s',
			operator, value_of(type, i * 1000 + i), type) INTO found;
		EXECUTE format('SELECT array_agg(round(d::numeric, 3) ORDER BY d) FROM (SELECT d FROM (SELECT v %s %L::%s AS d FROM tried OFFSET 0) a ORDER BY d LIMIT 5) s',
			operator, value_of(type, i * 1000 + i), type) INTO truth;
		equal := equal + (found = truth)::int;
	END LOOP;
	RETURN CASE WHEN equal >= 9 THEN 'right' ELSE format('%s of 10 right', equal) END;
END $$;

-- rows that a scan without limit returns, and problems in the index
CREATE FUNCTION state_of(type text, operator text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	returned bigint;
BEGIN
	EXECUTE format('WITH s AS MATERIALIZED (SELECT id FROM tried ORDER BY v %s %L::%s) SELECT count(DISTINCT id) FROM s',
		operator, value_of(type, 3), type) INTO returned;
	RETURN format('%s, %s, %s problems', returned, exact_of(type, operator), (SELECT count(*) FROM chassis_index_check('tried_v')));
END $$;

CREATE FUNCTION info(property text) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN RETURN (SELECT value FROM chassis_index_info('tried_v') WHERE name = property); END $$;

-- An index over 400 rows, 40 of them equal to others; then 200 inserts, 20 of
-- them equal to others.
CREATE FUNCTION try(type text, class text, operator text, options text DEFAULT '',
	OUT opclass text, OUT how text, OUT built text, OUT inserted text)
LANGUAGE plpgsql AS $$
BEGIN
	opclass := type || ' ' || class || ' ' || options;
	DROP TABLE IF EXISTS tried;
	EXECUTE format('CREATE TEMP TABLE tried (id int, v %s)', type);
	EXECUTE format('INSERT INTO tried SELECT i, value_of(%L, CASE WHEN i > 360 THEN i / 3 ELSE i END)::%1$s FROM generate_series(1, 400) i', type);
	INSERT INTO tried VALUES (0, NULL);
	EXECUTE format('CREATE INDEX tried_v ON tried USING chassis (v %s) %s', class, options);
	how := format('%s %s bits %s rerank %s %s', info('type'), info('metric'), info('bits'), info('rerank'), info('phase'));
	built := state_of(type, operator);
	EXECUTE format('INSERT INTO tried SELECT i, value_of(%L, CASE WHEN i > 580 THEN i / 2 ELSE i END)::%1$s FROM generate_series(401, 600) i', type);
	inserted := state_of(type, operator);
END $$;
CREATE FUNCTION after_vacuum(type text, operator text) RETURNS text LANGUAGE sql AS
$$ SELECT format('%s, dead %s', state_of(type, operator), info('level_0_dead')) $$;

CREATE TABLE classes (n int, type text, class text, operator text);
INSERT INTO classes VALUES
	(1, 'vector(16)', 'vector_l2_ops', '<->'),
	(2, 'halfvec(16)', 'halfvec_l2_ops', '<->'), (3, 'halfvec(16)', 'halfvec_ip_ops', '<#>'),
	(4, 'halfvec(16)', 'halfvec_cosine_ops', '<=>'), (5, 'halfvec(16)', 'halfvec_l1_ops', '<+>'),
	(6, 'bit(70)', 'bit_hamming_ops', '<~>'), (7, 'bit(70)', 'bit_jaccard_ops', '<%>'),
	(8, 'sparsevec(600)', 'sparsevec_l2_ops', '<->'), (9, 'sparsevec(600)', 'sparsevec_ip_ops', '<#>'),
	(10, 'sparsevec(600)', 'sparsevec_cosine_ops', '<=>'), (11, 'sparsevec(600)', 'sparsevec_l1_ops', '<+>'),
	(12, 'sparsevec(60000)', 'sparsevec_l2_ops', '<->'), (13, 'sparsevec(60000)', 'sparsevec_ip_ops', '<#>'),
	(14, 'sparsevec(60000)', 'sparsevec_cosine_ops', '<=>'), (15, 'sparsevec(60000)', 'sparsevec_l1_ops', '<+>');

-- ---- all of it flat ----
SELECT t.opclass, t.how, t.built, t.inserted FROM classes c, LATERAL try(type, class, operator) t ORDER BY n;
-- ---- a graph from the beginning ----
SET chassis.flat_limit = 50;
SELECT t.opclass, t.how, t.built, t.inserted FROM classes c, LATERAL try(type, class, operator) t ORDER BY n;
SELECT t.* FROM try('halfvec(16)', 'halfvec_l2_ops', '<->', 'WITH (bits = 32)') t;
SELECT t.* FROM try('halfvec(16)', 'halfvec_cosine_ops', '<=>', 'WITH (bits = 32)') t;
SELECT t.* FROM try('halfvec(16)', 'halfvec_cosine_ops', '<=>', 'WITH (rerank = heap, bits = 8)') t;
SELECT t.* FROM try('sparsevec(60000)', 'sparsevec_l2_ops', '<->', 'WITH (rerank = heap, bits = 8)') t;
-- ---- the turn from flat to graph, in the middle of the inserts ----
SET chassis.flat_limit = 500;
SELECT t.opclass, t.how, t.inserted, info('phase') FROM classes c, LATERAL try(type, class, operator) t ORDER BY n;
RESET chassis.flat_limit;

-- ---- deletes, updates, VACUUM ----
SET chassis.flat_limit = 50;
SELECT built FROM try('halfvec(16)', 'halfvec_cosine_ops', '<=>');
DELETE FROM tried WHERE id % 3 = 0;
UPDATE tried SET v = value_of('halfvec(16)', id + 5000)::halfvec WHERE id % 3 = 1 AND id % 2 = 0;
VACUUM tried;
SELECT after_vacuum('halfvec(16)', '<=>');
SELECT built FROM try('bit(70)', 'bit_hamming_ops', '<~>');
DELETE FROM tried WHERE id % 3 = 0;
UPDATE tried SET v = value_of('bit(70)', id + 5000)::bit(70) WHERE id % 3 = 1 AND id % 2 = 0;
VACUUM tried;
SELECT after_vacuum('bit(70)', '<~>');
SELECT built FROM try('bit(70)', 'bit_jaccard_ops', '<%>');
DELETE FROM tried WHERE id % 3 = 0;
UPDATE tried SET v = value_of('bit(70)', id + 5000)::bit(70) WHERE id % 3 = 1 AND id % 2 = 0;
VACUUM tried;
SELECT after_vacuum('bit(70)', '<%>');
SELECT built FROM try('sparsevec(60000)', 'sparsevec_ip_ops', '<#>');
DELETE FROM tried WHERE id % 3 = 0;
UPDATE tried SET v = value_of('sparsevec(60000)', id + 5000)::sparsevec WHERE id % 3 = 1 AND id % 2 = 0;
VACUUM tried;
SELECT after_vacuum('sparsevec(60000)', '<#>');
SELECT built FROM try('sparsevec(600)', 'sparsevec_l1_ops', '<+>');
DELETE FROM tried WHERE id % 3 = 0;
VACUUM tried;
SELECT after_vacuum('sparsevec(600)', '<+>');
DROP TABLE tried;

-- ---- so many equal ones that they fill overflow pages ----
CREATE TABLE equal (id int, b bit(3), s sparsevec(5000));
INSERT INTO equal SELECT i, (i % 8)::bit(3), format('{%s:1}/5000', i % 4 + 1)::sparsevec FROM generate_series(1, 2000) i;
CREATE INDEX equal_b ON equal USING chassis (b bit_hamming_ops);
CREATE INDEX equal_s ON equal USING chassis (s);
INSERT INTO equal SELECT i, (i % 8)::bit(3), format('{%s:1}/5000', i % 4 + 1)::sparsevec FROM generate_series(2001, 2400) i;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM equal ORDER BY b <~> B'101' LIMIT 300) s WHERE id % 8 = 5;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM equal ORDER BY s <-> '{1:1}/5000' LIMIT 600) s WHERE id % 4 = 0;
SELECT relname, (SELECT count(*) FROM chassis_index_check(oid)) AS problems,
	(SELECT value FROM chassis_index_info(oid) WHERE name = 'level_0_live') AS live,
	(SELECT value FROM chassis_index_info(oid) WHERE name = 'heap_tids') AS tids
FROM pg_class WHERE relname LIKE 'equal\__' ORDER BY relname;

-- ---- rows without direction, or without bits: there, and last ----
CREATE TABLE zero (id int, h halfvec(3), s sparsevec(3000), b bit(9));
INSERT INTO zero SELECT i, ARRAY[i % 9, 1, i % 5]::real[]::halfvec, format('{%s:1,%s:2}/3000', i, i + 1000)::sparsevec,
	(i % 500 + 1)::bit(9) FROM generate_series(1, 90) i;
INSERT INTO zero VALUES (101, '[0,0,0]', '{}/3000', B'000000000'), (102, '[0,-0,0]', '{}/3000', B'000000000');
CREATE INDEX zero_h ON zero USING chassis (h halfvec_cosine_ops);
CREATE INDEX zero_s ON zero USING chassis (s sparsevec_cosine_ops);
CREATE INDEX zero_b ON zero USING chassis (b bit_jaccard_ops);
CREATE INDEX zero_s_l2 ON zero USING chassis (s sparsevec_l2_ops);
INSERT INTO zero VALUES (103, '[0,0,0]', '{}/3000', B'000000000');
SELECT array_agg(id ORDER BY id) FROM (SELECT id, row_number() OVER () AS n FROM (SELECT id FROM zero ORDER BY h <=> '[1,2,3]') s) s WHERE n > 90;
SELECT array_agg(id ORDER BY id) FROM (SELECT id, row_number() OVER () AS n FROM (SELECT id FROM zero ORDER BY s <=> '{1:1,1002:1}/3000') s) s WHERE n > 90;
SELECT count(*) FROM (SELECT id FROM zero ORDER BY b <%> B'000000111') s;
SELECT id FROM zero ORDER BY s <-> '{}/3000', id LIMIT 3;
-- queries that order nothing
SELECT count(*) FROM (SELECT id FROM zero ORDER BY h <=> '[0,0,0]') s;
SELECT count(*) FROM (SELECT id FROM zero ORDER BY s <=> '{}/3000') s;
SELECT count(*) FROM (SELECT id FROM zero ORDER BY b <%> B'000000000') s;
SELECT count(*) FROM (SELECT id FROM zero ORDER BY b <%> NULL) s;
SELECT count(*) FROM (SELECT id FROM zero ORDER BY s <-> NULL) s;
SELECT relname, (SELECT count(*) FROM chassis_index_check(oid)) AS problems FROM pg_class WHERE relname LIKE 'zero\__%' ORDER BY relname;
RESET chassis.flat_limit;

-- ---- on few rows and on many the planner finds them ----
RESET enable_seqscan;
RESET enable_sort;
RESET chassis.ef_search;
CREATE TABLE planned (id int, h halfvec(50), b bit(200), s sparsevec(100000));
INSERT INTO planned SELECT i, value_of('halfvec(50)', i)::halfvec, value_of('bit(200)', i)::bit(200),
	value_of('sparsevec(100000)', i)::sparsevec FROM generate_series(1, 4000) i;
CREATE INDEX planned_h ON planned USING chassis (h);
CREATE INDEX planned_b ON planned USING chassis (b bit_hamming_ops);
CREATE INDEX planned_s ON planned USING chassis (s sparsevec_ip_ops);
ANALYZE planned;
-- generic plans, in which every major version shows the vector as $1
SET plan_cache_mode = force_generic_plan;
PREPARE planned_l2(halfvec) AS SELECT id FROM planned ORDER BY h <-> $1 LIMIT 5;
EXPLAIN (COSTS OFF) EXECUTE planned_l2(NULL);
PREPARE planned_hamming(bit) AS SELECT id FROM planned ORDER BY b <~> $1 LIMIT 5;
EXPLAIN (COSTS OFF) EXECUTE planned_hamming(NULL);
PREPARE planned_ip(sparsevec) AS SELECT id FROM planned ORDER BY s <#> $1 LIMIT 5;
EXPLAIN (COSTS OFF) EXECUTE planned_ip(NULL);
PREPARE planned_jaccard(bit) AS SELECT id FROM planned ORDER BY b <%> $1 LIMIT 5;
EXPLAIN (COSTS OFF) EXECUTE planned_jaccard(NULL);
RESET plan_cache_mode;
SET enable_seqscan = off;
-- built by little memory, by several processes
SET maintenance_work_mem = '1MB';
SET max_parallel_maintenance_workers = 2;
SET min_parallel_table_scan_size = 0;
ALTER TABLE planned SET (parallel_workers = 2);
REINDEX TABLE planned;
RESET maintenance_work_mem;
SELECT relname, (SELECT count(*) FROM chassis_index_check(oid)) AS problems,
	(SELECT value FROM chassis_index_info(oid) WHERE name = 'heap_tids') AS tids
FROM pg_class WHERE relname LIKE 'planned\__' ORDER BY relname;
REINDEX INDEX planned_b;
SELECT count(*) FROM chassis_index_check('planned_b');
SELECT count(DISTINCT id) FROM (SELECT id FROM planned ORDER BY b <~> value_of('bit(200)', 7)::bit(200)) s;

-- ---- limits ----
CREATE TABLE refused (h halfvec(16000), b bit(63744), b1 bit(63745), v bit varying(64), n bit varying, s sparsevec(1000000000), a halfvec, sa sparsevec);
CREATE INDEX ON refused USING chassis (h) WITH (bits = 8);
CREATE INDEX refused_h ON refused USING chassis (h halfvec_l1_ops);
CREATE INDEX ON refused USING chassis (b1 bit_hamming_ops);
CREATE INDEX ON refused USING chassis (b bit_hamming_ops) WITH (m = 17);
CREATE INDEX refused_b ON refused USING chassis (b bit_hamming_ops);
CREATE INDEX refused_s ON refused USING chassis (s) WITH (bits = 8);
CREATE INDEX ON refused USING chassis (v bit_hamming_ops);
CREATE INDEX ON refused USING chassis (n bit_hamming_ops);
CREATE INDEX ON refused USING chassis ((v::bit(64)) bit_hamming_ops);
CREATE INDEX ON refused USING chassis (a);
CREATE INDEX ON refused USING chassis (sa);
CREATE INDEX ON refused USING chassis (b);
CREATE INDEX ON refused USING chassis (b bit_hamming_ops) WITH (bits = 1);
CREATE INDEX ON refused USING chassis (b bit_hamming_ops) WITH (rerank = heap);
CREATE INDEX ON refused USING chassis (s) WITH (bits = 32);
CREATE INDEX ON refused USING chassis (s) WITH (rerank = index);
INSERT INTO refused (h, b, s) SELECT array_fill(i, ARRAY[16000])::real[]::halfvec, repeat(i::text, 63744)::bit(63744),
	format('{%s:1,1000000000:2}/1000000000', i + 1)::sparsevec FROM generate_series(0, 1) i;
SELECT count(*) FROM (SELECT h FROM refused ORDER BY h <+> array_fill(1, ARRAY[16000])::real[]::halfvec) s;
SELECT count(*) FROM (SELECT b FROM refused ORDER BY b <~> repeat('1', 63744)::bit(63744)) s;
SELECT count(*) FROM (SELECT s FROM refused ORDER BY s <-> '{}/1000000000') s;
SELECT relname, (SELECT count(*) FROM chassis_index_check(oid)) AS problems FROM pg_class WHERE relname LIKE 'refused\__' ORDER BY relname;
-- another length than the column's: the operator's error
SELECT id FROM planned ORDER BY h <-> '[1,2]' LIMIT 1;
SELECT id FROM planned ORDER BY b <~> B'101' LIMIT 1;
SELECT id FROM planned ORDER BY s <#> '{1:1}/5' LIMIT 1;

-- ---- what the catalog says ----
SELECT opcname, opcdefault, amvalidate(c.oid) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
WHERE amname = 'chassis' ORDER BY opcname;

DROP SCHEMA opclass_test CASCADE;
