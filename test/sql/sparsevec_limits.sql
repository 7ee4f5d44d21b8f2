--
-- sparsevec: 0, 16000 and 16001 elements, 1 and 1,000,000,000 dimensions
--
CREATE TEMP TABLE limits AS
	SELECT ('{' || string_agg(i * 62500 || ':1', ',') || '}/1000000000')::sparsevec(1000000000) AS ones,
		   ('{' || string_agg(i || ':' || i, ',' ORDER BY -i) || '}/1000000000')::sparsevec AS numbers
	FROM generate_series(1, 16000) i;

-- all operations at full length; the sums are exact in float
SELECT ones <-> ones, ones <#> ones, round((ones <=> ones)::numeric, 6), ones <+> '{}/1000000000', ones <#> '{1000000000:2}/1000000000',
	   ones <#> numbers FROM limits;
SELECT l2_norm(ones)::real, numbers::text::sparsevec = numbers AS text_trip, octet_length(sparsevec_send(numbers)), numbers > ones AS gt,
	   length(numbers::text), sparsevec_hash(numbers) = sparsevec_hash(numbers::text::sparsevec) AS hash FROM limits;

-- the dense vectors of as many elements as there may be
SELECT array_fill(1, ARRAY[16000])::sparsevec::vector = array_fill(1, ARRAY[16000])::vector AS vector,
	   array_fill(1, ARRAY[16000])::halfvec::sparsevec::halfvec = array_fill(1, ARRAY[16000])::halfvec AS halfvec;

-- arrays may be longer than dense vectors, as long as they are sparse
SELECT (array_fill(0, ARRAY[999999]) || 5)::sparsevec, (array_fill(0::float8, ARRAY[100000]) || '{1}'::float8[])::sparsevec(100001);

-- one more
\set VERBOSITY terse
SELECT ('{' || string_agg(i || ':1', ',') || '}/20000')::sparsevec FROM generate_series(1, 16001) i;
-- zeroes count while they are written
SELECT ('{' || string_agg(i || ':0', ',') || '}/20000')::sparsevec FROM generate_series(1, 16001) i;
SELECT array_fill(1, ARRAY[16001])::sparsevec;
SELECT ('{' || repeat(',', 16000))::sparsevec;
SELECT '{}/1'::sparsevec(1000000001);
\set VERBOSITY default

-- longest text: the buffer holds 16000 of the longest elements
SELECT length(('{' || string_agg(999980000 + i || ':-1.2345678e-30', ',') || '}/1000000000')::sparsevec::text) FROM generate_series(1, 16000) i;
