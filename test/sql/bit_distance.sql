--
-- Distances of PostgreSQL's type bit
--
SELECT hamming_distance('111', '111'), hamming_distance('111', '110'), hamming_distance('111', '100'), hamming_distance('111', '000'),
	   hamming_distance(B'', B'');
SELECT jaccard_distance('1111', '1111'), jaccard_distance('1111', '1110'), jaccard_distance('1111', '1000'), jaccard_distance('1111', '0000'),
	   jaccard_distance('1100', '1000'), jaccard_distance('0000', '0000'), jaccard_distance(B'', B'');
SELECT B'101' <~> B'011' AS hamming, B'101' <%> B'011' AS jaccard, pg_typeof(B'1' <~> B'1'), pg_typeof(B'1' <%> B'1');

-- varbit comes through the server's cast; NULL in, NULL out
SELECT '101'::varbit <~> '011'::varbit, '101'::varbit <%> '011'::varbit, NULL::bit(3) <~> '101', '101'::bit(3) <%> NULL;

-- different lengths
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT s, pg_temp.error_of('SELECT ' || s) FROM (VALUES
	('B''101'' <~> B''10'''), ('B''101'' <%> B''1010'''), ('B''10100000'' <~> B''1010000'''), ('B'''' <~> B''1''')) AS t(s);

-- against bit-by-bit counts, for every length around the loops' boundaries
CREATE FUNCTION pg_temp.random_bits(n int, seed int) RETURNS varbit LANGUAGE sql AS $$
	SELECT string_agg(hashint4(seed * 1000 + i)::bit(32)::text, '')::varbit::bit(8000)::varbit FROM generate_series(1, n / 32 + 1) i
$$;
CREATE TEMP TABLE bit_pairs AS
	SELECT n, substring(pg_temp.random_bits(n, n) FROM 1 FOR n) AS a, substring(pg_temp.random_bits(n, -n) FROM 1 FOR n) AS b
	FROM (SELECT generate_series(0, 700) UNION SELECT generate_series(1000, 2100, 7)) s(n);
SELECT count(*) AS pairs,
	   count(*) FILTER (WHERE a <~> b IS DISTINCT FROM length(replace((a # b)::text, '0', ''))) AS hamming,
	   count(*) FILTER (WHERE a <%> b IS DISTINCT FROM
			CASE WHEN (a & b)::text ~ '1' THEN 1 - length(replace((a & b)::text, '0', ''))::float8 / length(replace((a | b)::text, '0', ''))
			ELSE 1 END) AS jaccard,
	   count(*) FILTER (WHERE (b <~> a, b <%> a) IS DISTINCT FROM (a <~> b, a <%> b)) AS symmetry,
	   count(*) FILTER (WHERE a <~> a <> 0) AS self
	FROM bit_pairs;
SELECT bool_and(length(a) = n AND length(b) = n) AS lengths FROM bit_pairs;

-- long strings, stored out of line and compressed
CREATE TEMP TABLE bit_long AS SELECT repeat('1', 200000)::varbit AS a, repeat('01', 100000)::varbit AS b;
SELECT a <~> b AS hamming, a <%> b AS jaccard, a <~> a AS self FROM bit_long;

-- quantized vectors
SELECT binary_quantize('[1,-1,2,0]'::vector) <~> binary_quantize('[1,1,-2,-0]'::halfvec) AS quantized;
CREATE TEMP TABLE bit_rows AS SELECT i, binary_quantize(ARRAY[i & 1, i & 2, i & 4, i & 8]::vector)::bit(4) AS b FROM generate_series(0, 15) i;
SELECT i, b, b <~> B'1010' AS hamming, round((b <%> B'1010')::numeric, 4) AS jaccard FROM bit_rows ORDER BY b <~> B'1010', b <%> B'1010', i LIMIT 6;
