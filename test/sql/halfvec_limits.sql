--
-- halfvec: 1, 16000 and 16001 dimensions by every way into the type
--
SELECT vector_dims('[1]'::halfvec), '[1]'::halfvec(1), '[1]'::halfvec <-> '[3]';

CREATE TEMP TABLE limits AS
	SELECT array_fill(1, ARRAY[16000])::halfvec(16000) AS ones, array_agg(i % 2048 ORDER BY i)::halfvec AS numbers
	FROM generate_series(1, 16000) i;
SELECT vector_dims(ones), vector_dims(numbers), subvector(numbers, 15999, 10) FROM limits;

-- all operations at full length; the sums are exact in float
SELECT ones <-> ones * ones, ones <#> ones, round((ones <=> ones)::numeric, 6), ones <+> ones + ones FROM limits;
SELECT l2_norm(ones)::real, subvector(ones - ones, 1, 2), length(binary_quantize(ones)) FROM limits;
SELECT numbers::text::halfvec = numbers AS text_trip, numbers::real[]::halfvec = numbers AS array_trip,
	   numbers::vector::halfvec = numbers AS vector_trip, numbers::sparsevec::halfvec = numbers AS sparse_trip,
	   octet_length(halfvec_send(numbers)) FROM limits;
SELECT avg(v) = numbers AS avg, sum(v) = numbers + numbers AS sum
	FROM limits, LATERAL (VALUES (numbers), (numbers)) AS t(v) GROUP BY numbers;
SELECT halfvec_hash(numbers) = halfvec_hash(numbers + ones - ones) AS hash, numbers > ones AS gt FROM limits;

-- one more
\set VERBOSITY terse
SELECT ('[' || repeat('1,', 16000) || '1]')::halfvec;
SELECT array_fill(1, ARRAY[16001])::halfvec;
SELECT ones || '[1]' FROM limits;
SELECT '[1]'::halfvec(16001);
SELECT '{1:1}/16001'::sparsevec::halfvec;
SELECT halfvec_avg(array_fill(1::float8, ARRAY[16002]));
SELECT halfvec_sum(array_fill(1::float8, ARRAY[16002]));
SELECT halfvec_accum(array_fill(1::float8, ARRAY[16002]), '[1]');
\set VERBOSITY default

-- longest text: the buffer holds 16000 of the longest numbers
SELECT length(array_fill(-6.097555e-05::real, ARRAY[16000])::halfvec::text);
