--
-- Distances, arithmetic and the functions that take one vector
--

-- distances: by function and by operator, either way round
SELECT l2_distance('[0,0]'::vector, '[3,4]'), '[3,4]'::vector <-> '[0,0]';
SELECT inner_product('[1,2]'::vector, '[3,4]'), '[3,4]'::vector <#> '[1,2]';
SELECT cosine_distance('[1,0]'::vector, '[0,2]'), '[0,2]'::vector <=> '[1,0]';
SELECT l1_distance('[0,0]'::vector, '[3,-4]'), '[3,-4]'::vector <+> '[0,0]';
SELECT vector_l2_squared_distance('[0,0]', '[3,4]'), vector_negative_inner_product('[1,2]', '[3,4]');
SELECT vector_spherical_distance('[1,0]', '[0,1]'), vector_spherical_distance('[2]', '[2]'),
	   vector_spherical_distance('[2]', '[-2]');

-- cosine stays within 0 and 2 whatever is lost to rounding
SELECT a <=> a AS same, a <=> b AS longer, a <=> c AS opposite
	FROM (VALUES ('[1,1]'::vector, '[1.1,1.1]'::vector, '[-1.1,-1.1]'::vector),
				 ('[1,2,3,4,5,6,7,8,9]', '[2,4,6,8,10,12,14,16,18]', '[-1,-2,-3,-4,-5,-6,-7,-8,-9]')) AS t(a, b, c);
SELECT cosine_distance('[1,2]'::vector, '[0,0]');

-- sums beyond float are infinite, not an error
SELECT '[3e38]'::vector <-> '[-3e38]', inner_product('[3e38]'::vector, '[3e38]'),
	   '[3e38]'::vector <+> '[-3e38]', '[3e38]'::vector <=> '[3e38]';

-- Every length from 1 to 130 against the formula: covers the tails of all
-- kernels.  The elements are quarters, so that float sums are exact in any
-- order of addition.
CREATE TEMP TABLE ops_pairs AS
	SELECT n, array_agg((i * 7919 + n * 31) % 129 / 4.0 - 16 ORDER BY i)::real[] AS a,
			  array_agg((i * 104729 + n * 17) % 127 / 4.0 - 16 ORDER BY i)::real[] AS b
	FROM generate_series(1, 130) n, generate_series(1, n) i GROUP BY n;
SELECT count(*) AS lengths,
	   count(*) FILTER (WHERE (a::vector <-> b::vector) = sqrt(l2)) AS l2,
	   count(*) FILTER (WHERE vector_l2_squared_distance(a::vector, b::vector) = l2) AS l2_squared,
	   count(*) FILTER (WHERE inner_product(a::vector, b::vector) = ip) AS ip,
	   count(*) FILTER (WHERE (a::vector <#> b::vector) = -ip) AS negative_ip,
	   count(*) FILTER (WHERE abs((a::vector <=> b::vector) - (1 - ip / sqrt(aa * bb))) < 1e-12) AS cosine,
	   count(*) FILTER (WHERE (a::vector <+> b::vector) = l1) AS l1,
	   count(*) FILTER (WHERE abs(vector_norm(a::vector) - sqrt(aa)) < 1e-12) AS norm
	FROM ops_pairs,
		LATERAL (SELECT sum((x - y) ^ 2) AS l2, sum(x * y) AS ip, sum(abs(x - y)) AS l1,
						sum(x * x) AS aa, sum(y * y) AS bb
					FROM unnest(a::float8[], b::float8[]) AS u(x, y)) AS s;

-- arithmetic, on every length too
SELECT '[1,2,3]'::vector + '[4,5,6]', '[1,2,3]'::vector - '[4,5,6]', '[1,2,3]'::vector * '[4,5,6]',
	   '[1,2,3]'::vector || '[4,5]';
SELECT count(*) AS lengths,
	   count(*) FILTER (WHERE (a::vector + b::vector)::real[] = plus) AS plus,
	   count(*) FILTER (WHERE (a::vector - b::vector)::real[] = minus) AS minus,
	   count(*) FILTER (WHERE (a::vector * b::vector)::real[] = times) AS times,
	   count(*) FILTER (WHERE (a::vector || b::vector)::real[] = a || b) AS concat
	FROM ops_pairs,
		LATERAL (SELECT array_agg(x + y ORDER BY i)::real[] AS plus, array_agg(x - y ORDER BY i)::real[] AS minus,
						array_agg(x * y ORDER BY i)::real[] AS times
					FROM unnest(a, b) WITH ORDINALITY AS u(x, y, i)) AS s;
SELECT '[0,1e-37]'::vector * '[1e-37,0]' AS no_underflow;

-- dimensions and norm
SELECT vector_dims('[1,2,3]'::vector), vector_norm('[3,4]'), vector_norm('[0,0]'), vector_norm('[3e37,4e37]')::real;

-- normalising: the zero vector stays
SELECT l2_normalize('[3,4]'::vector), l2_normalize('[-3,0]'::vector), l2_normalize('[0,0.1]'::vector),
	   l2_normalize('[0,-0]'::vector), l2_normalize('[3e38]'::vector), l2_normalize('[1e-45]'::vector);

-- one bit per element: 8 to a byte, and a last byte in part
SELECT binary_quantize('[1,0,-1]'::vector), binary_quantize('[0,-0,1e-45]'::vector);
SELECT binary_quantize('[0,0.1,-0.2,-0.3,0.4,0.5,0.6,-0.7,0.8,-0.9,1]'::vector);
SELECT count(*) AS lengths,
	   count(*) FILTER (WHERE binary_quantize(a::vector)::text = bits AND length(binary_quantize(a::vector)) = n) AS bits
	FROM ops_pairs,
		LATERAL (SELECT string_agg(CASE WHEN x > 0 THEN '1' ELSE '0' END, '' ORDER BY i) AS bits
					FROM unnest(a) WITH ORDINALITY AS u(x, i)) AS s;

-- subvector counts from 1 and takes what is there
SELECT subvector('[1,2,3,4,5]'::vector, 1, 3), subvector('[1,2,3,4,5]'::vector, 3, 2),
	   subvector('[1,2,3,4,5]'::vector, -1, 3), subvector('[1,2,3,4,5]'::vector, 3, 9),
	   subvector('[1,2,3,4,5]'::vector, 3, 2147483647), subvector('[1,2,3,4,5]'::vector, -2147483644, 2147483647);

-- the same of values stored out of line, of which only a part is fetched
CREATE TEMP TABLE ops_large AS
	SELECT n, array_agg(i ORDER BY i)::vector AS v
	FROM (VALUES (2000), (5000), (16000)) AS s(n), generate_series(1, n) i GROUP BY n;
SELECT n, vector_dims(v), subvector(v, 1, 2), subvector(v, 1000, 3), subvector(v, n - 1, 5),
	   vector_dims(subvector(v, 2, 100000)) AS rest
	FROM ops_large ORDER BY n;

-- and of values that were compressed because the column says so
CREATE TEMP TABLE ops_compressed (n int, v vector);
ALTER TABLE ops_compressed ALTER v SET STORAGE extended;
INSERT INTO ops_compressed SELECT n, array_fill(n, ARRAY[n])::vector FROM (VALUES (2000), (16000)) AS s(n);
SELECT n, pg_column_size(v) < 4 * n AS compressed, vector_dims(v), subvector(v, 1999, 3),
	   v = array_fill(n, ARRAY[n])::vector AS intact
	FROM ops_compressed ORDER BY n;

-- NULL in, NULL out
SELECT NULL::vector <-> '[1]', '[1]'::vector + NULL, vector_dims(NULL::vector), subvector('[1]'::vector, NULL, 1);
