--
-- sparsevec: casts from and to arrays and the dense types
--
SELECT ARRAY[1,0,-3]::sparsevec, ARRAY[1.5,0,-3]::sparsevec, '{1.5,0,-0,-3}'::real[]::sparsevec,
	   '{1.5,0,-3}'::double precision[]::sparsevec, '{1.5,0.0,-3}'::numeric[]::sparsevec;
SELECT '{1e-300,0.1}'::double precision[]::sparsevec, '{0,0,0}'::int[]::sparsevec, '[5:7]={1,2,3}'::int[]::sparsevec,
	   array_remove(ARRAY[1,NULL,3]::real[], NULL)::sparsevec, '{1e-30}'::numeric[]::sparsevec;
SELECT '{1,2,3}'::real[]::sparsevec(3), '{1:1}/3'::sparsevec::sparsevec(3);

-- from and to the dense types
SELECT '[1,0,-3,-0]'::vector::sparsevec, '[0,0]'::vector::sparsevec(2), '[0.5,-0,5.9604645e-8]'::halfvec::sparsevec;
SELECT '{1:1,3:-3}/4'::sparsevec::vector, '{}/2'::sparsevec::vector(2), '{1:0.1,3:65519,4:1e-9,5:-1e-9}/5'::sparsevec::halfvec, '{}/2'::sparsevec::halfvec;
SELECT ('{1:1,3:-3}/4'::sparsevec::vector)::real[];

-- assignment and implicit contexts
CREATE TEMP TABLE sparsevec_target (v sparsevec(2));
INSERT INTO sparsevec_target VALUES (ARRAY[1,2]), (ARRAY[1.5,0]), ('{0,4}'::real[]), ('{0,0}'::double precision[]), ('[7,0]'::vector), ('[0,8]'::halfvec);
SELECT * FROM sparsevec_target;
CREATE TEMP TABLE sparsevec_dense (v vector, h halfvec);
INSERT INTO sparsevec_dense SELECT v, v FROM sparsevec_target;
SELECT * FROM sparsevec_dense;
INSERT INTO sparsevec_target VALUES (ARRAY[1,2,3]);
INSERT INTO sparsevec_target SELECT '{}/3'::sparsevec;
\set VERBOSITY sqlstate
-- not taken for each other without a cast: arrays, and a sparsevec where a dense vector is wanted
SELECT l2_norm(ARRAY[1,2]);
SELECT vector_dims('{}/3'::sparsevec);
SELECT '{}/3'::sparsevec::real[];
SELECT vector_norm('{}/3'::sparsevec);
\set VERBOSITY default

-- contexts: a assignment, i implicit
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod
	FROM pg_cast
	WHERE castsource = 'sparsevec'::regtype OR casttarget = 'sparsevec'::regtype
	ORDER BY castsource::regtype::text, casttarget::regtype::text;

-- round trips, dense to sparse and back
SELECT count(*) AS vectors, count(*) FILTER (WHERE v::sparsevec::vector <> v) AS vector, count(*) FILTER (WHERE v::sparsevec::halfvec <> v::halfvec) AS halfvec,
	   count(*) FILTER (WHERE v::halfvec::sparsevec <> v::sparsevec) AS sparsevec, count(*) FILTER (WHERE v::real[]::sparsevec <> v::sparsevec) AS from_array
	FROM (SELECT array_agg(hashint4(n * 100 + i) % 3 / 2.0)::vector AS v FROM generate_series(1, 200) n, generate_series(1, n) i GROUP BY n) s;

-- of a value stored out of line the length check fetches the header only
CREATE TEMP TABLE sparsevec_large (v sparsevec);
INSERT INTO sparsevec_large SELECT ('{' || string_agg(i || ':' || i, ',') || '}/1000000')::sparsevec FROM generate_series(1, 4000) i;
CREATE TEMP TABLE sparsevec_copy (v sparsevec(1000000));
INSERT INTO sparsevec_copy SELECT v FROM sparsevec_large;
TRUNCATE sparsevec_large;
SELECT l2_norm(v)::int, v <#> '{4000:2}/1000000' AS last FROM sparsevec_copy;
\set VERBOSITY terse
SELECT v::sparsevec(10) FROM sparsevec_copy;
\set VERBOSITY default
