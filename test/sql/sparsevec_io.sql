--
-- sparsevec: text in and out, order of indices, type modifier, binary copy
--

-- white space is allowed between all tokens, and nowhere needed
SELECT '{1:1.5,3:-2}/5'::sparsevec, '{}/5'::sparsevec, ' { } / 5 '::sparsevec;
SELECT (E' \t{ 1 :\n1.5 ,\r3\f: -2 } /' || chr(11) || ' 5 ')::sparsevec;

-- indices in any order; signs and leading zeroes
SELECT '{3:3,1:1,2:2}/3'::sparsevec, '{+2:1,007:2}/+10'::sparsevec;

-- zeroes are left out, wherever they claim to stand and as often as they like
SELECT '{1:0,2:1,3:-0}/3'::sparsevec, '{1:0,1:0,1:5}/3'::sparsevec, '{9:0,0:0,-1:-0}/3'::sparsevec;

-- every form of number that real takes
SELECT '{1:1.,2:.5,3:-2.50,4:+3,5:1e2,6:1E-2,7:0x10,8:0x1p-1}/9'::sparsevec;

-- the ends of the range, denormals included
SELECT '{1:3.4028235e38,2:-3.4028235e38,3:1.1754944e-38,4:1e-45,5:-1e-45}/1000000000'::sparsevec;
SELECT '{1000000000:1}/1000000000'::sparsevec;

-- output has the fewest digits that read back as the same float
SET extra_float_digits = -5;
SELECT '{1:0.123456789,2:16777217,3:1e15,4:1e16}/4'::sparsevec;
RESET extra_float_digits;

-- text out and in again is the identity, whatever the order was
CREATE TEMP TABLE sparsevec_texts AS
	SELECT n, '{' || string_agg(i || ':' || (hashint4(i * n) / 1000.0)::real, ',' ORDER BY i) || '}/' || 100000 + n AS sorted,
		   '{' || string_agg(i || ':' || (hashint4(i * n) / 1000.0)::real, ' , ' ORDER BY hashint4(i)) || '}/' || 100000 + n AS shuffled
	FROM generate_series(1, 60) n,
		 LATERAL (SELECT DISTINCT 1 + abs(hashint4(n * 1000 + k) % 100000) AS i FROM generate_series(1, n * n) k) s
	GROUP BY n;
SELECT count(*) AS vectors, count(*) FILTER (WHERE sorted::sparsevec::text <> sorted) AS sorted,
	   count(*) FILTER (WHERE shuffled::sparsevec::text <> sorted) AS shuffled FROM sparsevec_texts;

-- type modifier
SELECT '{1:1}/3'::sparsevec(3);
CREATE TEMP TABLE sparsevec_typmod (v sparsevec(3), a sparsevec(2)[], w sparsevec(1000000000));
SELECT attname, atttypmod, format_type(atttypid, atttypmod)
	FROM pg_attribute WHERE attrelid = 'sparsevec_typmod'::regclass AND attnum > 0 ORDER BY attnum;
INSERT INTO sparsevec_typmod VALUES ('{2:5}/3', '{"{1:1,2:2}/2","{}/2"}', '{1:7}/1000000000');
SELECT * FROM sparsevec_typmod;

-- stored out of line when large, and never compressed
SELECT typstorage, typlen, typalign, typcategory FROM pg_type WHERE oid = 'sparsevec'::regtype;

-- binary: indices count from 0
SELECT sparsevec_send('{1:1,4:-2}/5'), sparsevec_send('{}/7'), pg_column_size('{1:1,2:2}/3'::sparsevec);
CREATE TEMP TABLE sparsevec_rows (i int, v sparsevec);
INSERT INTO sparsevec_rows VALUES (1, '{1:1,4:-2.5}/5'), (2, '{}/1'), (3, NULL), (4, '{1000000000:1e-45}/1000000000');
INSERT INTO sparsevec_rows SELECT 4 + n, sorted::sparsevec FROM sparsevec_texts;
\copy sparsevec_rows TO 'results/sparsevec_io.bin' WITH (FORMAT binary)
CREATE TEMP TABLE sparsevec_back (LIKE sparsevec_rows);
\copy sparsevec_back FROM 'results/sparsevec_io.bin' WITH (FORMAT binary)
SELECT count(*) AS rows, count(*) FILTER (WHERE a.v::text IS DISTINCT FROM b.v::text) AS differ
	FROM sparsevec_rows a FULL JOIN sparsevec_back b USING (i);
CREATE TEMP TABLE sparsevec_other (i int, v sparsevec(4));
\set VERBOSITY terse
\copy sparsevec_other FROM 'results/sparsevec_io.bin' WITH (FORMAT binary)
\set VERBOSITY default
