--
-- Numbers of dimensions at the limits; kinds of tables and indexes; vectors
-- that are alike or have no direction
--
CREATE SCHEMA limits_test;
SET search_path = limits_test, public;
SET enable_seqscan = off;
SET enable_sort = off;
SET max_parallel_maintenance_workers = 0;
SET client_min_messages = warning;

-- row i has its largest value at dimension i, modulo their number
CREATE FUNCTION spike(i int, dim int) RETURNS vector LANGUAGE sql IMMUTABLE AS
$$ SELECT array_agg(CASE WHEN j % dim = i % dim THEN 8 + i / 64.0 ELSE (i * j) % 5 * 0.125 END ORDER BY j)::real[]::vector
	FROM generate_series(1, dim) j $$;

-- Makes a table of `rows` rows and an index over it, half of them inserted
-- later; says how many rows find themselves, how many an unlimited scan gives,
-- and how many problems there are.
CREATE FUNCTION try(dim int, rows int, class text, operator text, options text DEFAULT '',
	OUT dimensions int, OUT metric text, OUT bits text, OUT themselves bigint, OUT returned bigint, OUT problems bigint)
LANGUAGE plpgsql AS $$
BEGIN
	DROP TABLE IF EXISTS tried;
	EXECUTE format('CREATE TABLE tried (id int, v vector(%s))', dim);
	EXECUTE format('INSERT INTO tried SELECT i, spike(i, %s) FROM generate_series(1, %s) i', dim, rows / 2);
	EXECUTE format('CREATE INDEX tried_v ON tried USING chassis (v %s) %s', class, options);
	EXECUTE format('INSERT INTO tried SELECT i, spike(i, %s) FROM generate_series(%s, %s) i', dim, rows / 2 + 1, rows);
	dimensions := dim;
	SELECT max(value) FILTER (WHERE name = 'metric'), max(value) FILTER (WHERE name = 'bits')
		INTO metric, bits FROM chassis_index_info('tried_v');
	EXECUTE format('SELECT count(*) FROM (SELECT * FROM tried OFFSET 0) o WHERE v = (SELECT v FROM tried t ORDER BY t.v %s o.v LIMIT 1)', operator)
		INTO themselves;
	EXECUTE format('WITH scan AS MATERIALIZED (SELECT id FROM tried ORDER BY v %s spike(1, %s)) SELECT count(DISTINCT id) FROM scan', operator, dim)
		INTO returned;
	SELECT count(*) INTO problems FROM chassis_index_check('tried_v');
END $$;

-- ---- dimensions: flat, and as a graph ----
SELECT * FROM try(1, 100, 'vector_l2_ops', '<->');
SELECT * FROM try(2000, 40, 'vector_l2_ops', '<->');
SELECT * FROM try(2001, 40, 'vector_l2_ops', '<->');
SELECT * FROM try(16000, 20, 'vector_l2_ops', '<->');
SET chassis.flat_limit = 10;
SELECT * FROM try(1, 200, 'vector_l2_ops', '<->');
SELECT * FROM try(1, 200, 'vector_l1_ops', '<+>');
SELECT * FROM try(2000, 60, 'vector_l2_ops', '<->');
SELECT * FROM try(2001, 60, 'vector_l2_ops', '<->');
SELECT * FROM try(2001, 60, 'vector_cosine_ops', '<=>');
SELECT * FROM try(2001, 60, 'vector_l1_ops', '<+>');
SELECT * FROM try(16000, 30, 'vector_l2_ops', '<->');
SELECT * FROM try(16000, 30, 'vector_cosine_ops', '<=>', 'WITH (rerank = heap)');
SELECT * FROM try(16000, 30, 'vector_l1_ops', '<+>');
SELECT * FROM try(16000, 30, 'vector_l2_ops', '<->', 'WITH (bits = 32)');
SELECT * FROM try(16000, 30, 'vector_l2_ops', '<->', 'WITH (bits = 1, m = 100)');
SELECT * FROM try(7936, 30, 'vector_l2_ops', '<->', 'WITH (bits = 8)');
-- every number of bits, with numbers of dimensions that fill no word
SELECT t.* FROM unnest(ARRAY[1, 2, 4, 8, 32]) b, LATERAL try(67, 150, 'vector_l2_ops', '<->', format('WITH (bits = %s)', b)) t;
SELECT t.* FROM unnest(ARRAY[2, 3, 63, 64, 65, 127, 129]) d, LATERAL try(d, 120, 'vector_l2_ops', '<->') t;
RESET chassis.flat_limit;

-- ---- beyond ----
CREATE TABLE refused (v vector(16000));
CREATE INDEX ON refused USING chassis (v) WITH (bits = 8);
CREATE INDEX ON refused USING chassis (v) WITH (bits = 4, m = 100);
CREATE INDEX refused_v ON refused USING chassis (v) WITH (m = 100);
SELECT name, value FROM chassis_index_info('refused_v') WHERE name IN ('bits', 'm') ORDER BY name;
CREATE TABLE too_long (v vector(16001));
CREATE TABLE any_length (v vector);
CREATE INDEX ON any_length USING chassis (v);

-- ---- a small index is small ----
CREATE TABLE small AS SELECT i AS id, ARRAY[i, 1, 2]::real[]::vector(3) AS v FROM generate_series(1, 10) i;
CREATE INDEX small_v ON small USING chassis (v);
SELECT pg_relation_size('small_v') / current_setting('block_size')::int AS pages;

-- ---- equal vectors, as many as one likes ----
CREATE TABLE equal (id int, v vector(3));
INSERT INTO equal SELECT i, '[1,2,3]' FROM generate_series(1, 3000) i;
CREATE INDEX equal_v ON equal USING chassis (v vector_cosine_ops);
INSERT INTO equal SELECT i, '[1,2,3]' FROM generate_series(3001, 3500) i;
INSERT INTO equal VALUES (4000, '[3,2,1]');
SELECT count(DISTINCT id) FROM (SELECT id FROM equal ORDER BY v <=> '[1,2,3]') s;
SELECT id FROM equal ORDER BY v <=> '[3,2,1]' LIMIT 1;
SELECT value FROM chassis_index_info('equal_v') WHERE name = 'heap_tids';
SELECT count(*) FROM chassis_index_check('equal_v');

-- ---- no direction under cosine: there, and last ----
SET chassis.flat_limit = 10;
CREATE TABLE zero (id int, v vector(3));
INSERT INTO zero SELECT i, ARRAY[i, 1, 1]::real[]::vector FROM generate_series(1, 50) i;
INSERT INTO zero VALUES (101, '[0,0,0]'), (102, '[-0,0,0]'), (103, '[1e-30,0,0]');
CREATE INDEX zero_cosine ON zero USING chassis (v vector_cosine_ops);
CREATE INDEX zero_l2 ON zero USING chassis (v vector_l2_ops);
CREATE INDEX zero_ip ON zero USING chassis (v vector_ip_ops);
INSERT INTO zero VALUES (104, '[0,0,0]');
SELECT count(*), array_agg(id ORDER BY n) FILTER (WHERE n > 51) AS last FROM (SELECT id, row_number() OVER () AS n FROM (SELECT id FROM zero ORDER BY v <=> '[1,2,3]') s) s;
SELECT id FROM zero ORDER BY v <-> '[0,0,0]', id LIMIT 4;
SELECT count(*) FROM (SELECT id FROM zero ORDER BY v <#> '[1,2,3]') s;
DELETE FROM zero WHERE id IN (101, 104);
VACUUM zero;
SELECT count(*) FROM (SELECT id FROM zero ORDER BY v <=> '[1,2,3]') s;
SELECT count(*) FROM chassis_index_check('zero_cosine');
SELECT count(*) FROM chassis_index_check('zero_l2');
-- nothing but such vectors
CREATE TABLE nowhere AS SELECT i AS id, '[0,0,0]'::vector(3) AS v FROM generate_series(1, 30) i;
CREATE INDEX nowhere_v ON nowhere USING chassis (v vector_cosine_ops);
INSERT INTO nowhere VALUES (31, '[0,0,0]'), (32, '[1,1,1]');
SELECT id FROM nowhere ORDER BY v <=> '[1,2,3]' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM nowhere ORDER BY v <=> '[1,2,3]') s;
SELECT count(*) FROM chassis_index_check('nowhere_v');
-- nothing but NULL
CREATE TABLE nothing AS SELECT i AS id, NULL::vector(3) AS v FROM generate_series(1, 30) i;
CREATE INDEX nothing_v ON nothing USING chassis (v);
SELECT count(*) FROM (SELECT id FROM nothing ORDER BY v <-> '[1,2,3]') s;
SELECT count(*) FROM chassis_index_check('nothing_v');

-- ---- partial ----
CREATE TABLE parts (id int, kind text, v vector(3));
CREATE INDEX parts_a ON parts USING chassis (v) WHERE kind = 'a';
INSERT INTO parts SELECT i, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, ARRAY[i, i % 3, 1]::real[]::vector FROM generate_series(1, 200) i;
EXPLAIN (COSTS OFF) SELECT id FROM parts WHERE kind = 'a' ORDER BY v <-> '[51,0,1]' LIMIT 1;
SELECT id FROM parts WHERE kind = 'a' ORDER BY v <-> '[51,0,1]' LIMIT 2;
SELECT count(*) FROM (SELECT id FROM parts WHERE kind = 'a' ORDER BY v <-> '[51,0,1]') s;
UPDATE parts SET kind = 'a' WHERE id = 51;
SELECT id FROM parts WHERE kind = 'a' ORDER BY v <-> '[51,0,1]' LIMIT 1;

-- ---- of an expression ----
CREATE TABLE arrays (id int, numbers real[], v vector(4));
INSERT INTO arrays SELECT i, ARRAY[i, i % 7, 1], ARRAY[i, 2, 1, i % 5]::real[]::vector FROM generate_series(1, 100) i;
CREATE INDEX arrays_numbers ON arrays USING chassis ((numbers::vector(3)) vector_l2_ops);
CREATE INDEX arrays_half ON arrays USING chassis ((subvector(v, 1, 2)::vector(2)) vector_l1_ops);
INSERT INTO arrays VALUES (101, ARRAY[50.25, 1, 1], '[50.25,2,9,9]');
EXPLAIN (COSTS OFF) SELECT id FROM arrays ORDER BY numbers::vector(3) <-> '[50.3,1,1]' LIMIT 1;
SELECT id FROM arrays ORDER BY numbers::vector(3) <-> '[50.3,1,1]' LIMIT 2;
SELECT id FROM arrays ORDER BY subvector(v, 1, 2)::vector(2) <+> '[50.3,2]' LIMIT 2;
INSERT INTO arrays VALUES (102, ARRAY[1, 2], '[1,2,3,4]');
SELECT count(*) FROM chassis_index_check('arrays_half');

-- ---- partitioned ----
CREATE TABLE split (id int, v vector(3)) PARTITION BY RANGE (id);
CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (1) TO (101);
CREATE TABLE split_2 PARTITION OF split FOR VALUES FROM (101) TO (201);
CREATE INDEX split_v ON split USING chassis (v) WITH (m = 5, ef_construction = 20);
CREATE TABLE split_3 PARTITION OF split FOR VALUES FROM (201) TO (301);
INSERT INTO split SELECT i, ARRAY[i % 100, i % 7, i]::real[]::vector FROM generate_series(1, 300) i;
EXPLAIN (COSTS OFF) SELECT id FROM split ORDER BY v <-> '[50,3,150]' LIMIT 3;
SELECT id FROM split ORDER BY v <-> '[50,3,150]' LIMIT 3;
SELECT id FROM split WHERE id > 200 ORDER BY v <-> '[50,3,150]' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM split ORDER BY v <-> '[50,3,150]') s;
UPDATE split SET id = 250 WHERE id = 150;
SELECT tableoid::regclass, id FROM split ORDER BY v <-> '[50,3,150]' LIMIT 1;
SELECT relname, (SELECT count(*) FROM chassis_index_check(oid)) AS problems FROM pg_class WHERE relname LIKE 'split%v_idx' ORDER BY relname;
SELECT chassis_index_check('split_v');

-- ---- inherited, of a materialized view, of a composite's field ----
CREATE MATERIALIZED VIEW seen AS SELECT id, v FROM parts WHERE kind = 'b';
CREATE INDEX seen_v ON seen USING chassis (v);
SELECT id FROM seen ORDER BY v <-> '[53,2,1]' LIMIT 1;
UPDATE parts SET kind = 'b' WHERE id = 54;
REFRESH MATERIALIZED VIEW seen;
SELECT id FROM seen ORDER BY v <-> '[54,0,1]' LIMIT 1;
CREATE TYPE pair AS (name text, v vector(3));
CREATE TABLE pairs (id int, p pair);
CREATE INDEX pairs_v ON pairs USING chassis (((p).v::vector(3)));
INSERT INTO pairs SELECT i, ROW('x', ARRAY[i, 1, 1]::real[]::vector)::pair FROM generate_series(1, 20) i;
SELECT id FROM pairs ORDER BY (p).v::vector(3) <-> '[7,1,1]' LIMIT 1;

-- ---- a domain, a generated column ----
CREATE DOMAIN embedding AS vector(3) CHECK (vector_norm(value) < 1000);
CREATE TABLE domains (id int, v embedding, doubled vector(3) GENERATED ALWAYS AS (v + v) STORED);
CREATE INDEX domains_doubled ON domains USING chassis (doubled);
INSERT INTO domains SELECT i, ARRAY[i, 1, 1]::real[]::vector FROM generate_series(1, 20) i;
SELECT id FROM domains ORDER BY doubled <-> '[14,2,2]' LIMIT 1;

RESET chassis.flat_limit;
DROP SCHEMA limits_test CASCADE;
