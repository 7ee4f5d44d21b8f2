--
-- halfvec: casts from and to arrays and the other vector types
--
SELECT ARRAY[1,2,-3]::halfvec, ARRAY[1.5,2.25,-3]::halfvec, '{1.5,2.25,-3}'::real[]::halfvec,
	   '{1.5,2.25,-3}'::double precision[]::halfvec, '{1.5,2.25,-3}'::numeric[]::halfvec;
SELECT ARRAY[65504,2049,65519]::halfvec, '{1e-300,-1e-300,0.1}'::double precision[]::halfvec, '{0.1,1e-30}'::numeric[]::halfvec;
SELECT '[5:7]={1,2,3}'::int[]::halfvec, array_remove(ARRAY[1,NULL,3]::real[], NULL)::halfvec;
SELECT '{1,2,3}'::real[]::halfvec(3), '[1,2,3]'::halfvec::halfvec(3);

-- to array and vector: exact
SELECT '[1,2.5,-3,0.1]'::halfvec::real[], array_dims('[1,2,3]'::halfvec::real[]), '[65504,-0,5.9604645e-8]'::halfvec::vector,
	   '[1,2]'::halfvec::vector(2);

-- from vector: rounds
SELECT '[0.1,2049,65519,1e-9,-1e-9]'::vector::halfvec, '[1,2]'::vector::halfvec(2);

-- assignment and implicit contexts
CREATE TEMP TABLE halfvec_target (v halfvec(2));
INSERT INTO halfvec_target VALUES (ARRAY[1,2]), (ARRAY[1.5,2]), ('{3,4}'::real[]), ('{5,6}'::double precision[]), ('[7,8]'::vector);
SELECT * FROM halfvec_target;
CREATE TEMP TABLE halfvec_array (a real[], v vector, s sparsevec);
INSERT INTO halfvec_array SELECT v, v, v FROM halfvec_target;
SELECT * FROM halfvec_array;
INSERT INTO halfvec_target VALUES (ARRAY[1,2,3]);
INSERT INTO halfvec_target SELECT '[1,2,3]'::halfvec;
\set VERBOSITY sqlstate
-- arrays and halfvecs are not taken for each other without a cast
SELECT l2_norm(ARRAY[1,2]);
SELECT array_length('[1,2]'::halfvec, 1);
SELECT vector_norm('[3,4]'::halfvec);
\set VERBOSITY default

-- contexts: a assignment, i implicit
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod
	FROM pg_cast
	WHERE castsource = 'halfvec'::regtype OR casttarget = 'halfvec'::regtype
	ORDER BY castsource::regtype::text, casttarget::regtype::text;

-- a value stored out of line passes the length check without being fetched
CREATE TEMP TABLE halfvec_large (v halfvec);
INSERT INTO halfvec_large SELECT array_agg(i % 1000)::halfvec FROM generate_series(1, 8000) i;
CREATE TEMP TABLE halfvec_copy (v halfvec(8000));
INSERT INTO halfvec_copy SELECT v FROM halfvec_large;
TRUNCATE halfvec_large;
SELECT vector_dims(v), subvector(v, 7999, 2), subvector(v, 1, 2), l2_norm(v - v) FROM halfvec_copy;
