--
-- 1, 16000 and 16001 dimensions by every way into the type
--
SELECT vector_dims('[1]'::vector), '[1]'::vector(1), '[1]'::vector <-> '[3]';

CREATE TEMP TABLE limits AS
	SELECT array_fill(1, ARRAY[16000])::vector(16000) AS ones, array_agg(i ORDER BY i)::vector AS numbers
	FROM generate_series(1, 16000) i;
SELECT vector_dims(ones), vector_dims(numbers), subvector(numbers, 15999, 10) FROM limits;

-- all operations at full length; the sums are exact in float
SELECT ones <-> ones * ones, ones <#> ones, round((ones <=> ones)::numeric, 6), ones <+> ones + ones FROM limits;
SELECT vector_norm(ones)::real, subvector(ones - ones, 1, 2), length(binary_quantize(ones)) FROM limits;
SELECT numbers::text::vector = numbers AS text_trip, numbers::real[]::vector = numbers AS array_trip,
	   length(numbers::text), octet_length(vector_send(numbers)) FROM limits;
SELECT avg(v) = numbers AS avg, sum(v) = numbers + numbers AS sum
	FROM limits, LATERAL (VALUES (numbers), (numbers)) AS t(v) GROUP BY numbers;
SELECT vector_hash(numbers) = vector_hash(numbers + ones - ones) AS hash, numbers > ones AS gt FROM limits;

-- one more
SELECT ('[' || repeat('1,', 16000) || '1]')::vector;
SELECT array_fill(1, ARRAY[16001])::vector;
SELECT array_fill(1.5, ARRAY[16001])::vector;
SELECT array_to_vector(array_fill(1::real, ARRAY[16001]), 16001, false);
SELECT ones || '[1]' FROM limits;
SELECT '[1]'::vector(16001);
SELECT vector_avg(array_fill(1::float8, ARRAY[16002]));
SELECT vector_sum(array_fill(1::float8, ARRAY[16002]));
SELECT vector_combine('{0}', array_fill(1::float8, ARRAY[16002]));
SELECT vector_combine(array_fill(1::float8, ARRAY[16002]), '{0}');
SELECT vector_accum(array_fill(1::float8, ARRAY[16002]), '[1]');

-- longest text: the buffer holds 16000 of the longest floats
SELECT length(array_fill(-0.000123456789::real, ARRAY[16000])::vector::text),
	   length(array_fill(-1.23456789e-30::real, ARRAY[16000])::vector::text);
