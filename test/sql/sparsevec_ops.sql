--
-- sparsevec: distances and functions
--

-- distances
SELECT '{}/2'::sparsevec <-> '{1:3,2:4}/2', '{1:1,2:2}/2'::sparsevec <#> '{1:3,2:4}/2', '{1:1,2:2}/2'::sparsevec <=> '{1:2,2:4}/2',
	   '{}/2'::sparsevec <+> '{1:3,2:-4}/2';
SELECT l2_distance('{1:3}/3'::sparsevec, '{2:4}/3'), inner_product('{1:3}/3'::sparsevec, '{2:4}/3'),
	   cosine_distance('{1:3}/3'::sparsevec, '{2:4}/3'), l1_distance('{1:3}/3'::sparsevec, '{2:4}/3');
SELECT sparsevec_l2_squared_distance('{}/2', '{1:3,2:4}/2'), sparsevec_negative_inner_product('{1:1,2:2}/2', '{1:3,2:4}/2');

-- no element in common, one behind the other, the last index there is
SELECT '{1:1,3:1}/1000000000'::sparsevec <-> '{2:1,1000000000:1}/1000000000' AS l2, '{1:1,2:2}/9'::sparsevec <+> '{8:3,9:4}/9' AS l1,
	   '{1:1,2:2}/9'::sparsevec <#> '{8:3,9:4}/9' AS ip, '{9:1}/9'::sparsevec <=> '{1:1,9:1}/9' AS cosine;

-- without elements, denormal, too large
SELECT '{}/3'::sparsevec <=> '{}/3' AS empties, '{}/3'::sparsevec <=> '{1:1}/3' AS empty, '{}/3'::sparsevec <-> '{}/3' AS l2,
	   '{}/3'::sparsevec <#> '{1:1}/3' AS ip, '{}/3'::sparsevec <+> '{}/3' AS l1;
SELECT '{1:1e-45}/1'::sparsevec <+> '{}/1' AS l1, '{1:1e-45}/1'::sparsevec <=> '{1:1e-45}/1' AS cosine,
	   '{1:3e38}/1'::sparsevec <-> '{1:-3e38}/1' AS l2, '{1:3e38}/2'::sparsevec <#> '{1:3e38}/2' AS ip,
	   '{1:3e38}/2'::sparsevec <=> '{1:3e38}/2' AS cosine_large;
SELECT '{1:1,2:1}/2'::sparsevec <=> '{1:1.1,2:1.1}/2', '{1:3,2:1}/2'::sparsevec <=> '{1:-3,2:-1}/2';

-- the same numbers as with vector, where no sum needs rounding
SELECT count(*) AS pairs,
	   count(*) FILTER (WHERE a::sparsevec <-> b::sparsevec IS DISTINCT FROM a <-> b) AS l2,
	   count(*) FILTER (WHERE a::sparsevec <#> b::sparsevec IS DISTINCT FROM a <#> b) AS ip,
	   count(*) FILTER (WHERE a::sparsevec <=> b::sparsevec IS DISTINCT FROM a <=> b) AS cosine,
	   count(*) FILTER (WHERE a::sparsevec <+> b::sparsevec IS DISTINCT FROM a <+> b) AS l1,
	   count(*) FILTER (WHERE a::sparsevec::text LIKE '{}%') > 0 AS some_empty
	FROM (SELECT array_agg((hashint4(n * 100 + i) % 5 - 2) * (hashint4(n + i) % 3 / 2))::vector AS a,
				 array_agg((hashint4(-n * 100 - i) % 5 - 2) * (hashint4(n - i) % 2))::vector AS b
			FROM generate_series(1, 500) n, generate_series(1, 1 + n % 40) i GROUP BY n) s;

-- a vector or halfvec is taken where a sparsevec is wanted
SELECT '{1:1}/2'::sparsevec <-> '[4,4]'::vector AS with_vector, l2_distance('{1:1}/2'::sparsevec, '[4,4]'::halfvec) AS with_halfvec;

-- functions
SELECT l2_norm('{1:3,9:4}/10'::sparsevec), l2_norm('{}/10'::sparsevec), round((l2_norm('{1:1.5e38,2:2e38}/2'::sparsevec) / 1e38)::numeric, 5);
SELECT l2_normalize('{1:3,9:4}/10'::sparsevec), l2_normalize('{2:-0.1}/3'::sparsevec), l2_normalize('{}/10'::sparsevec),
	   l2_normalize('{1:3e38}/2'::sparsevec), l2_normalize('{1:1e-45}/2'::sparsevec);

-- an element that becomes 0 is no element any more
SELECT l2_normalize('{1:3e38,2:1e-8,3:3e-30}/3'::sparsevec), l2_normalize('{1:1e-30,2:3e38,3:1e-37}/3'::sparsevec);

-- NULL in, NULL out
SELECT NULL::sparsevec <-> '{}/1', l2_norm(NULL::sparsevec);
