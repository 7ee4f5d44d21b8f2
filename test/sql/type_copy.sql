--
-- COPY in text and binary, and what the binary format refuses
--
CREATE TEMP TABLE copy_source (i int, v vector);
INSERT INTO copy_source VALUES (1, '[0,-0,1.5]'), (2, '[1]'), (3, NULL), (4, '[3.4028235e38,1e-45,-0.1]');
INSERT INTO copy_source SELECT 4 + n, array_agg((i * n) / 8.0 ORDER BY i)::vector
	FROM (VALUES (7), (700), (2500)) AS s(n), generate_series(1, n) i GROUP BY n;

-- text
COPY (SELECT v FROM copy_source WHERE i <= 4 ORDER BY i) TO STDOUT;
COPY (SELECT v FROM copy_source WHERE i <= 4 ORDER BY i) TO STDOUT WITH (FORMAT csv);
CREATE TEMP TABLE copy_text (v vector(3));
COPY copy_text FROM STDIN;
[1,2,3]
 [ 4 , 5 , 6 ] 
\N
\.
SELECT * FROM copy_text;
\copy (SELECT i, v FROM copy_source) TO 'results/type_copy.txt'
CREATE TEMP TABLE copy_trip (i int, v vector);
\copy copy_trip FROM 'results/type_copy.txt'
SELECT count(*) AS rows, count(*) FILTER (WHERE vector_send(s.v) IS DISTINCT FROM vector_send(t.v)) AS differ
	FROM copy_source s JOIN copy_trip t USING (i);

-- binary: the bytes, then a round trip, bit for bit
SELECT vector_send('[1,-2.5,0]');
\copy (SELECT i, v FROM copy_source) TO 'results/type_copy.bin' WITH (FORMAT binary)
TRUNCATE copy_trip;
\copy copy_trip FROM 'results/type_copy.bin' WITH (FORMAT binary)
SELECT count(*) AS rows, count(*) FILTER (WHERE vector_send(s.v) IS DISTINCT FROM vector_send(t.v)) AS differ
	FROM copy_source s JOIN copy_trip t USING (i);

-- Any bytes can be sent to vector_recv(): a bytea's binary form is its bytes.
CREATE TEMP TABLE copy_bytes (b bytea);
CREATE TEMP TABLE copy_target (v vector);
CREATE TEMP TABLE copy_target3 (v vector(3));

-- well formed
INSERT INTO copy_bytes VALUES ('\x000200003f800000c0200000');
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
SELECT * FROM copy_target;

\set VERBOSITY sqlstate
-- other length than the column's
\copy copy_target3 FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- nothing at all
UPDATE copy_bytes SET b = '';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- half a header
UPDATE copy_bytes SET b = '\x0002';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- elements missing
UPDATE copy_bytes SET b = '\x000200003f800000';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- half an element missing
UPDATE copy_bytes SET b = '\x000200003f8000003f80';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- an element too many
UPDATE copy_bytes SET b = '\x000100003f8000003f800000';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- no dimensions
UPDATE copy_bytes SET b = '\x00000000';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- negative dimensions
UPDATE copy_bytes SET b = '\xffff00003f800000';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- 16001 dimensions
UPDATE copy_bytes SET b = ('\x3e810000' || repeat('00000000', 16001))::bytea;
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- the unused field used
UPDATE copy_bytes SET b = '\x000100013f800000';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- NaN
UPDATE copy_bytes SET b = '\x000100007fc00000';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- NaN with another bit pattern, behind a number
UPDATE copy_bytes SET b = '\x000200003f800000ff800001';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
-- infinity
UPDATE copy_bytes SET b = '\x00010000ff800000';
\copy copy_bytes TO 'results/type_copy.bin' WITH (FORMAT binary)
\copy copy_target FROM 'results/type_copy.bin' WITH (FORMAT binary)
\set VERBOSITY default
SELECT count(*) FROM copy_target;
