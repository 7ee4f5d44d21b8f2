--
-- Casts between vector and arrays
--

-- from arrays of four types, one element type a branch
SELECT ARRAY[1,2,-3]::vector, ARRAY[1.5,2.25,-3]::vector, '{1.5,2.25,-3}'::real[]::vector,
	   '{1.5,2.25,-3}'::double precision[]::vector, '{1.5,2.25,-3}'::numeric[]::vector;
SELECT ARRAY[2147483647,16777217]::vector, '{1e-46,-1e-46,0.1}'::double precision[]::vector,
	   '{123456789.123456789,1e-30}'::numeric[]::vector;

-- lower bounds do not matter
SELECT '[5:7]={1,2,3}'::int[]::vector;

-- a null bitmap without nulls
SELECT array_remove(ARRAY[1,NULL,3]::real[], NULL)::vector, (ARRAY[1,NULL,3]::numeric[])[3:3]::vector;

-- with a type modifier
SELECT '{1,2,3}'::real[]::vector(3), '[1,2,3]'::vector::vector(3);

-- to array
SELECT '[1,2.5,-3]'::vector::real[], array_dims('[1,2,3]'::vector::real[]), '[4,5,6]'::vector::real[] = '{4,5,6}',
	   ('[4,5,6]'::vector::real[])[2];
SELECT count(*) FILTER (WHERE a::vector::real[] = a) AS same
	FROM (SELECT array_agg(i / 7.0 ORDER BY i)::real[] AS a
			FROM generate_series(1, 300) n, generate_series(1, n) i GROUP BY n) s;

-- arrays are assigned without a cast, but not compared or passed without one
CREATE TEMP TABLE cast_target (v vector(2));
INSERT INTO cast_target VALUES (ARRAY[1,2]), (ARRAY[1.5,2]), ('{3,4}'::real[]), ('{5,6}'::double precision[]);
SELECT * FROM cast_target;
CREATE TEMP TABLE cast_array (a real[]);
INSERT INTO cast_array SELECT v FROM cast_target;
SELECT * FROM cast_array;
INSERT INTO cast_target VALUES (ARRAY[1,2,3]);
INSERT INTO cast_target SELECT '[1,2,3]'::vector;
\set VERBOSITY sqlstate
SELECT vector_dims(ARRAY[1,2]);
\set VERBOSITY default
SELECT ARRAY[1,2,3] = ARRAY[1,2,3] AS arrays_stay_arrays;

-- contexts: a assignment, i implicit
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod
	FROM pg_cast
	WHERE castsource = 'vector'::regtype OR casttarget = 'vector'::regtype
	ORDER BY castsource::regtype::text, casttarget::regtype::text;

-- a value stored out of line passes the length check without being fetched
CREATE TEMP TABLE cast_large (v vector);
INSERT INTO cast_large SELECT array_agg(i)::vector FROM generate_series(1, 4000) i;
CREATE TEMP TABLE cast_copy (v vector(4000));
INSERT INTO cast_copy SELECT v FROM cast_large;
TRUNCATE cast_large;
SELECT vector_dims(v), subvector(v, 3999, 2) FROM cast_copy;
