-- Options of an index and settings of a session: defaults, ranges and the
-- error texts that name them, and that each one has an effect.

CREATE TABLE opt (id int, v vector(3));

-- Wrong values are refused before anything is built.
CREATE INDEX ON opt USING chassis (v) WITH (m = 1);
CREATE INDEX ON opt USING chassis (v) WITH (m = 101);
CREATE INDEX ON opt USING chassis (v) WITH (m = 'many');
CREATE INDEX ON opt USING chassis (v) WITH (ef_construction = 3);
CREATE INDEX ON opt USING chassis (v) WITH (ef_construction = 10001);
CREATE INDEX ON opt USING chassis (v) WITH (ef_search = 0);
CREATE INDEX ON opt USING chassis (v) WITH (ef_search = 10001);
CREATE INDEX ON opt USING chassis (v) WITH (bits = -1);
CREATE INDEX ON opt USING chassis (v) WITH (bits = 3);
CREATE INDEX ON opt USING chassis (v) WITH (bits = 33);
CREATE INDEX ON opt USING chassis (v) WITH (rerank = 'disk');
CREATE INDEX ON opt USING chassis (v) WITH (lists = 100);

-- Values that are right one by one but not together.
CREATE INDEX ON opt USING chassis (v) WITH (ef_construction = 31);
CREATE INDEX ON opt USING chassis (v) WITH (m = 20, ef_construction = 39);
CREATE INDEX ON opt USING chassis (v) WITH (bits = 32, rerank = heap);

-- The limits themselves; m = 100 goes with the default ef_construction.
CREATE INDEX opt_low ON opt USING chassis (v)
	WITH (m = 2, ef_construction = 4, ef_search = 1, bits = 1);
CREATE INDEX opt_high ON opt USING chassis (v)
	WITH (m = 100, ef_search = 10000, bits = 8, rerank = heap);
CREATE INDEX opt_wide ON opt USING chassis (v)
	WITH (ef_construction = 10000, bits = 32, rerank = index);
CREATE INDEX opt_default ON opt USING chassis (v);
CREATE INDEX opt_auto ON opt USING chassis (v) WITH (bits = 0);

SELECT index, name, value
FROM unnest('{opt_low,opt_high,opt_wide,opt_default,opt_auto}'::text[])
	WITH ORDINALITY AS x (index, place),
	chassis_index_info(index::regclass)
WHERE name IN ('m', 'ef_construction', 'bits', 'rerank')
ORDER BY place, name;

-- What shapes an index is frozen when it is built.
ALTER INDEX opt_low SET (m = 8);
ALTER INDEX opt_low SET (m = 8, ef_construction = 50, bits = 8, rerank = heap);
SELECT name, value FROM chassis_index_info('opt_low')
WHERE name IN ('m', 'ef_construction', 'bits', 'rerank') ORDER BY name;
REINDEX INDEX opt_low;
SELECT name, value FROM chassis_index_info('opt_low')
WHERE name IN ('m', 'ef_construction', 'bits', 'rerank') ORDER BY name;
ALTER INDEX opt_low RESET (ef_construction);
ALTER INDEX opt_low SET (m = 101);
DROP TABLE opt;

-- Bits are chosen so that a node fits a page; asking for more is an error
-- that names the limit.
CREATE TABLE dims (a vector(15936), b vector(16000));
CREATE INDEX dims_a ON dims USING chassis (a);
CREATE INDEX dims_b ON dims USING chassis (b);
CREATE INDEX dims_m ON dims USING chassis (a) WITH (m = 100);
SELECT index, value FROM unnest('{dims_a,dims_b,dims_m}'::text[]) index,
	chassis_index_info(index::regclass) WHERE name = 'bits';
CREATE INDEX ON dims USING chassis (b) WITH (bits = 4);
CREATE INDEX ON dims USING chassis (a) WITH (bits = 8);
CREATE INDEX ON dims USING chassis (a) WITH (bits = 8, m = 100);
CREATE INDEX dims_32 ON dims USING chassis (b) WITH (bits = 32, m = 100);
DROP TABLE dims;

-- Settings: defaults.  Hidden ones are for tests.
SELECT name, setting, min_val, max_val, enumvals, context FROM pg_settings
WHERE name LIKE 'chassis.%' ORDER BY name;

SET chassis.ef_search = 0;
SET chassis.ef_search = -2;
SET chassis.ef_search = 10001;
SET chassis.ef_search = 1;
SET chassis.ef_search = 10000;
SET chassis.ef_search = -1;
SET chassis.iterative_scan = on;
SET chassis.iterative_scan = strict_order;
SET chassis.iterative_scan = relaxed_order;
SET chassis.iterative_scan = off;
SET chassis.max_scan_tuples = 0;
SET chassis.max_scan_tuples = 1;
SET chassis.scan_mem_multiplier = 0.9;
SET chassis.scan_mem_multiplier = 1001;
SET chassis.scan_mem_multiplier = 1.5;
SET chassis.flat_limit = 0;
SET chassis.build_seed = -1;
RESET ALL;

-- ef_search: the setting comes before the index's own, -1 gives it back.
-- Without iterative scans a scan returns just as many rows.
SET enable_seqscan = off;
CREATE TABLE ef (id int, v vector(3));
INSERT INTO ef SELECT i, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(1, 2000) i;
CREATE INDEX ef_v ON ef USING chassis (v) WITH (ef_search = 30, m = 8);
SET chassis.iterative_scan = off;
SELECT count(*) FROM (SELECT FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 200) x;
SET chassis.ef_search = 70;
SELECT count(*) FROM (SELECT FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 200) x;
SET chassis.ef_search = -1;
SELECT count(*) FROM (SELECT FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 200) x;
ALTER INDEX ef_v RESET (ef_search);
SELECT count(*) FROM (SELECT FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 200) x;

-- iterative_scan: more rows than one search gives.
SET chassis.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 200) x;
SELECT count(*) FROM (SELECT FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 9999) x;

-- strict_order: no row comes after a farther one.
SET chassis.iterative_scan = strict_order;
SELECT count(*) > 1000 AS many, count(*) FILTER (WHERE d < before) AS inversions
FROM (SELECT d, lag(d) OVER () AS before
	FROM (SELECT v <-> '[6,8,9]' AS d FROM ef
		ORDER BY v <-> '[6,8,9]' LIMIT 9999) x) y;

-- max_scan_tuples: the first search is finished, then the scan ends.
SET chassis.iterative_scan = relaxed_order;
SET chassis.max_scan_tuples = 1;
SELECT count(*) BETWEEN 50 AND 1000 AS ended
FROM (SELECT FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 9999) x;
RESET chassis.max_scan_tuples;

-- scan_mem_multiplier: at the limit the scan goes on by sorting, and returns
-- every row once with either setting.
SET work_mem = '64kB';
SET chassis.scan_mem_multiplier = 1;
SELECT count(id), count(DISTINCT id) FROM
	(SELECT id FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 9999) x;
SET chassis.scan_mem_multiplier = 1000;
SELECT count(id), count(DISTINCT id) FROM
	(SELECT id FROM ef ORDER BY v <-> '[6,8,9]' LIMIT 9999) x;
RESET ALL;

-- The hidden settings reach the index.
SET chassis.flat_limit = 50;
SET chassis.build_seed = 7;
CREATE INDEX ef_seeded ON ef USING chassis (v) WITH (m = 8);
SELECT seeded.name, seeded.value = usual.value AS same
FROM chassis_index_info('ef_seeded') seeded
	JOIN chassis_index_info('ef_v') usual USING (name)
WHERE name IN ('flat_limit', 'seed') ORDER BY name;
DROP TABLE ef;
