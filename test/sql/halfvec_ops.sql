--
-- halfvec: distances, operators, functions, aggregates
--

-- distances
SELECT '[0,0]'::halfvec <-> '[3,4]', '[1,2]'::halfvec <#> '[3,4]', '[1,2]'::halfvec <=> '[2,4]', '[0,0]'::halfvec <+> '[3,-4]';
SELECT l2_distance('[0,0]'::halfvec, '[3,4]'), inner_product('[1,2]'::halfvec, '[3,4]'),
	   cosine_distance('[1,1]'::halfvec, '[-1,-1]'), l1_distance('[0,0]'::halfvec, '[3,4]');
SELECT halfvec_l2_squared_distance('[0,0]', '[3,4]'), halfvec_negative_inner_product('[1,2]', '[3,4]'),
	   halfvec_spherical_distance('[1,0]', '[0,1]'), halfvec_spherical_distance('[2]', '[2]'), halfvec_spherical_distance('[2]', '[-2]');

-- zero vectors, denormals, the largest numbers
SELECT '[0,0]'::halfvec <=> '[1,0]' AS zero, '[0]'::halfvec <=> '[0]' AS zeroes, '[0,-0]'::halfvec <-> '[-0,0]' AS signs;
SELECT '[5.9604645e-8]'::halfvec <=> '[5.9604645e-8]' AS least, '[5.9604645e-8]'::halfvec <-> '[-5.9604645e-8]' AS near_zero;
SELECT '[65504,65504]'::halfvec <-> '[-65504,65504]' AS l2, '[65504,65504]'::halfvec <#> '[65504,65504]' AS ip,
	   '[65504,65504]'::halfvec <=> '[65504,65504]' AS cosine, '[65504]'::halfvec <+> '[-65504]' AS l1;
SELECT '[1,1]'::halfvec <=> '[1.1,1.1]', '[3,1]'::halfvec <=> '[-3,-1]';

-- the same numbers as with vector, where no number needs rounding
SELECT count(*) AS pairs,
	   count(*) FILTER (WHERE a::halfvec <-> b::halfvec IS DISTINCT FROM a <-> b) AS l2,
	   count(*) FILTER (WHERE a::halfvec <#> b::halfvec IS DISTINCT FROM a <#> b) AS ip,
	   count(*) FILTER (WHERE a::halfvec <=> b::halfvec IS DISTINCT FROM a <=> b) AS cosine,
	   count(*) FILTER (WHERE a::halfvec <+> b::halfvec IS DISTINCT FROM a <+> b) AS l1
	FROM (SELECT array_agg(hashint4(n * 100 + i) % 9 - 4)::vector AS a, array_agg(hashint4(-n * 100 - i) % 9 - 4)::vector AS b
			FROM generate_series(1, 300) n, generate_series(1, 1 + n % 70) i GROUP BY n) s;

-- a vector is taken where a halfvec is wanted
SELECT '[1,2]'::halfvec <-> '[4,6]'::vector AS mixed, pg_typeof('[1]'::halfvec + '[1]'::vector);

-- arithmetic, rounded once
SELECT '[1,2,3]'::halfvec + '[4,5,6]', '[1,2,3]'::halfvec - '[4,5,6]', '[1,2,3]'::halfvec * '[4,5,-6]', '[1]'::halfvec || '[2,3]';
SELECT '[2048]'::halfvec + '[1]' AS stays, '[2048]'::halfvec + '[3]' AS tie, '[65504]'::halfvec + '[15.9921875]' AS top,
	   '[0.1]'::halfvec * '[0.1]' AS product, '[5.9604645e-8]'::halfvec + '[5.9604645e-8]' AS denormal,
	   '[5.9604645e-8]'::halfvec * '[0.75]' AS up, '[0]'::halfvec * '[5]' AS zero, '[1]'::halfvec - '[1]' AS nothing;

-- functions
SELECT vector_dims('[1,2,3]'::halfvec), l2_norm('[3,4]'::halfvec), l2_norm('[0]'::halfvec), l2_norm('[65504,65504]'::halfvec);
SELECT l2_normalize('[3,4]'::halfvec), l2_normalize('[3,0]'::halfvec), l2_normalize('[0,0]'::halfvec),
	   l2_normalize('[65504]'::halfvec), l2_normalize('[5.9604645e-8]'::halfvec), l2_normalize('[-2,0]'::halfvec);
SELECT binary_quantize('[1,0,-1,-0,5.9604645e-8,-5.9604645e-8,65504,-65504,3]'::halfvec), length(binary_quantize('[1]'::halfvec)),
	   binary_quantize('[-1]'::halfvec);
SELECT subvector('[1,2,3,4,5]'::halfvec, 1, 3), subvector('[1,2,3,4,5]'::halfvec, 3, 2), subvector('[1,2,3,4,5]'::halfvec, 4, 9),
	   subvector('[1,2,3,4,5]'::halfvec, -1, 3), subvector('[1,2,3]'::halfvec, 2147483647 - 2147483645, 2147483647);

-- NULL in, NULL out
SELECT NULL::halfvec <-> '[1]', '[1]'::halfvec + NULL, l2_norm(NULL::halfvec);

-- aggregates: added in double, rounded once; no rows give NULL
SELECT avg(v), sum(v), count(v) FROM (VALUES ('[1,2,3]'::halfvec), ('[3,4,6]'), (NULL)) AS t(v);
SELECT avg(v), sum(v) FROM (VALUES ('[1]'::halfvec)) AS t(v) WHERE false;
SELECT avg(v), sum(v) FROM (VALUES (NULL::halfvec)) AS t(v);
SELECT sum('[1,0.5]'::halfvec), avg('[1,0.1]'::halfvec) FROM generate_series(1, 5000);
SELECT avg(v) FROM (VALUES ('[65504]'::halfvec), ('[65504]')) AS t(v);
SELECT sum(v) FROM (VALUES ('[65504]'::halfvec), ('[65504]'), ('[-65504]')) AS t(v);
\set VERBOSITY terse
SELECT sum(v) FROM (VALUES ('[65504]'::halfvec), ('[65504]')) AS t(v);
SELECT sum(v) FROM (VALUES ('[1]'::halfvec), ('[1,2]')) AS t(v);
SELECT avg(v) FROM (VALUES ('[1,2]'::halfvec), ('[1]')) AS t(v);
\set VERBOSITY default
SELECT halfvec_accum('{0}', '[1,2]'), halfvec_accum('{2,3,4}', '[1,2]'), halfvec_combine('{0}', '{1,2}'),
	   halfvec_combine('{1,2}', '{2,3}'), halfvec_avg('{0}'), halfvec_avg('{2,3,5}'), halfvec_sum('{2,3,5}');

-- in a parallel plan, and over moving frames
CREATE TABLE halfvec_parallel AS SELECT i, ARRAY[i % 7, -i % 5, 0.25]::halfvec AS v FROM generate_series(1, 3000) i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM halfvec_parallel;
SELECT avg(v) = (SELECT ARRAY[avg(i % 7), avg(-i % 5), 0.25]::halfvec FROM halfvec_parallel) AS avg,
	   sum(v) AS sum FROM halfvec_parallel;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SELECT sum(v) OVER (ORDER BY i ROWS 1 PRECEDING) FROM halfvec_parallel WHERE i < 4 ORDER BY i;
DROP TABLE halfvec_parallel;
