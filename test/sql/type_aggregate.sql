--
-- avg and sum: values, nulls, empty input, parallel plans, states
--
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]'::vector, '[3,5,7]']) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]'::vector, '[3,5,7]', NULL]) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY[]::vector[]) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY[NULL]::vector[]) v;

-- sums are kept in double: no overflow on the way, no digits lost
SELECT avg(v) FROM unnest(ARRAY['[3e38]'::vector, '[3e38]']) v;
SELECT sum(v) FROM unnest(ARRAY['[3e38]'::vector, '[3e38]', '[-3e38]']) v;
SELECT sum(v) FROM (SELECT '[16777216,1]'::vector AS v UNION ALL SELECT '[1,0.5]' FROM generate_series(1, 1000)) s;

-- groups, with an empty one by FILTER, and as window functions: a shared
-- transition state would show
CREATE TABLE type_aggregate_rows (g int, v vector(3));
INSERT INTO type_aggregate_rows
	SELECT i % 3, ARRAY[i, i % 7, -i]::vector FROM generate_series(1, 30000) i;
INSERT INTO type_aggregate_rows SELECT 0, NULL FROM generate_series(1, 100);
SELECT g, avg(v), sum(v), avg(v) FILTER (WHERE g = 1) AS avg_of_1
	FROM type_aggregate_rows GROUP BY g ORDER BY g;
SELECT i, sum(v) OVER (ORDER BY i), avg(v) OVER (ORDER BY i ROWS 1 PRECEDING)
	FROM (VALUES (1, '[1,2]'::vector), (2, '[3,4]'), (3, NULL), (4, '[5,7]')) AS t(i, v);
SELECT sum(DISTINCT v), avg(v ORDER BY v) FROM unnest(ARRAY['[1]'::vector, '[1]', '[4]']) v;

-- a parallel plan, some of whose workers see no row at all
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM type_aggregate_rows;
SELECT avg(v), sum(v) FROM type_aggregate_rows;
SELECT avg(v), sum(v) FROM type_aggregate_rows WHERE v = '[30000,5,-30000]';
SELECT avg(v), sum(v) FROM type_aggregate_rows WHERE v IS NULL;
SELECT g, avg(v), sum(v) FROM type_aggregate_rows GROUP BY g ORDER BY g;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
DROP TABLE type_aggregate_rows;

-- the support functions, called as any function can be
SELECT vector_accum('{0}', '[1,2,3]'), vector_accum('{2,1,1,1}', '[1,2,3]');
SELECT vector_combine('{0}', '{0}'), vector_combine('{0}', '{1,2}'), vector_combine('{1,2}', '{0}'),
	   vector_combine('{1,2}', '{3,4}');
SELECT vector_avg('{0}'), vector_avg('{2,2,4,6}'), vector_sum('{0}'), vector_sum('{2,2,4,6}');

-- a state given as a constant is not written to
CREATE TEMP TABLE aggregate_states AS SELECT '{1,1,1}'::float8[] AS s;
SELECT vector_accum(s, '[1,2]'), vector_combine(s, '{1,2,3}'), s FROM aggregate_states;
