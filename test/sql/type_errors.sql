--
-- Everything that is refused, with SQLSTATE, message and detail
--

-- Runs a statement that must fail and tells how.
CREATE FUNCTION error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN sqlstate || ' ' || message || coalesce(nullif(' / ' || detail, ' / '), '');
END $$;

-- text input
CREATE TEMP TABLE bad_text (n int GENERATED ALWAYS AS IDENTITY, s text);
INSERT INTO bad_text (s) VALUES
	(''), ('   '), ('1,2,3'), ('{1,2,3}'), ('('),
	('['), ('[ '), ('[]'), ('[ ]'), ('[,'), ('[,]'), ('[,1]'), ('[1,]'), ('[1,,3]'), ('[1, ,3]'),
	('[1,2,3'), ('[1 2]'), ('[1,2,3]9'), ('[1] [2]'), ('[1]]'), ('[[1]]'),
	('[hello,1]'), ('[1a]'), ('[1e]'), ('[1e+]'), ('[--1]'), ('[.]'), ('[1.2.3]'), ('[0x]'), ('[1_000]'),
	('[NaN,1]'), ('[nan(1)]'), ('[Infinity,1]'), ('[-inf,1]'), ('[1,2,infinity]'),
	('[4e38,1]'), ('[-4e38,1]'), ('[1e400]'), ('[3.4028236e38]'), ('[1e99999]');
SELECT s, error_of(format('SELECT %L::vector', s)) FROM bad_text ORDER BY n;

-- on servers with soft errors the same texts are not valid, without an error
SELECT current_setting('server_version_num')::int >= 160000 AS have_soft_errors \gset
\if :have_soft_errors
SELECT count(*) FILTER (WHERE pg_input_is_valid(s, 'vector')) AS valid FROM bad_text \gset
SELECT pg_input_is_valid('[1,2]', 'vector(3)') AS valid_length \gset
\else
SELECT count(*) FILTER (WHERE error_of(format('SELECT %L::vector', s)) = 'no error') AS valid FROM bad_text \gset
SELECT error_of('SELECT ''[1,2]''::vector(3)') = 'no error' AS valid_length \gset
\endif
SELECT :valid AS valid, :'valid_length' AS valid_length;

-- type modifier
SELECT s, error_of(s) FROM (VALUES
	('SELECT ''[1,2,3]''::vector(2)'),
	('SELECT ''[1,2,3]''::vector(3,2)'),
	('SELECT ''[1,2,3]''::vector(''a'')'),
	('SELECT ''[1,2,3]''::vector(0)'),
	('SELECT ''[1,2,3]''::vector(-1)'),
	('SELECT ''[1,2,3]''::vector(16001)'),
	('SELECT ''{"[1,2,3]"}''::vector(2)[]')) AS t(s);

-- operands of different length
SELECT s, error_of(s) FROM (VALUES
	('SELECT ''[1,2]''::vector <-> ''[3]'''),
	('SELECT ''[1,2]''::vector <#> ''[3]'''),
	('SELECT ''[1,2]''::vector <=> ''[3]'''),
	('SELECT ''[1,2]''::vector <+> ''[3]'''),
	('SELECT inner_product(''[1,2]''::vector, ''[3]'')'),
	('SELECT vector_l2_squared_distance(''[1,2]'', ''[3]'')'),
	('SELECT vector_spherical_distance(''[1,2]'', ''[3]'')'),
	('SELECT ''[1,2]''::vector + ''[3]'''),
	('SELECT ''[1,2]''::vector - ''[3]'''),
	('SELECT ''[1,2]''::vector * ''[3]''')) AS t(s);

-- results that are no finite float
SELECT s, error_of(s) FROM (VALUES
	('SELECT ''[3e38]''::vector + ''[3e38]'''),
	('SELECT ''[-3e38]''::vector - ''[3e38]'''),
	('SELECT ''[1e37]''::vector * ''[1e37]'''),
	('SELECT ''[1e-37]''::vector * ''[1e-37]'''),
	('SELECT sum(v) FROM unnest(ARRAY[''[3e38]''::vector, ''[3e38]'']) v')) AS t(s);

-- subvector outside of the vector
SELECT s, error_of(s) FROM (VALUES
	('SELECT subvector(''[1,2,3,4,5]''::vector, 1, 0)'),
	('SELECT subvector(''[1,2,3,4,5]''::vector, 3, -1)'),
	('SELECT subvector(''[1,2,3,4,5]''::vector, -1, 2)'),
	('SELECT subvector(''[1,2,3,4,5]''::vector, 6, 1)'),
	('SELECT subvector(''[1,2,3,4,5]''::vector, 2147483647, 10)'),
	('SELECT subvector(''[1,2,3,4,5]''::vector, 2147483647, 2147483647)'),
	('SELECT subvector(''[1,2,3,4,5]''::vector, -2147483648, 2147483647)'),
	('SELECT subvector(''[1,2,3,4,5]''::vector, -2147483648, -2147483648)')) AS t(s);

-- casts
SELECT s, error_of(s) FROM (VALUES
	('SELECT ''{1,2,3}''::real[]::vector(2)'),
	('SELECT ''{NULL}''::real[]::vector'),
	('SELECT ''{1,NULL,3}''::numeric[]::vector'),
	('SELECT ''{NaN}''::real[]::vector'),
	('SELECT ''{1,Infinity}''::real[]::vector'),
	('SELECT ''{-Infinity}''::double precision[]::vector'),
	('SELECT ''{4e38,-4e38}''::double precision[]::vector'),
	('SELECT ''{NaN}''::numeric[]::vector'),
	('SELECT ''{4e38}''::numeric[]::vector'),
	('SELECT ''{}''::real[]::vector'),
	('SELECT ''{}''::numeric[]::vector'),
	('SELECT ''{{1}}''::real[]::vector'),
	('SELECT ''{{1,2},{3,4}}''::int[]::vector'),
	('SELECT ''{1}''::bigint[]::vector'),
	('SELECT ''[1]''::vector::int[]')) AS t(s);

-- aggregates: rows of different length, and states that are none
SELECT s, error_of(s) FROM (VALUES
	('SELECT avg(v) FROM unnest(ARRAY[''[1,2]''::vector, ''[3]'']) v'),
	('SELECT sum(v) FROM unnest(ARRAY[''[1,2]''::vector, ''[3]'']) v'),
	('SELECT vector_avg(''{1}'')'),
	('SELECT vector_avg(''{{2,2,4,6}}'')'),
	('SELECT vector_avg(''{NULL,2,4,6}'')'),
	('SELECT vector_avg(''{}'')'),
	('SELECT vector_avg(''{1,NaN}'')'),
	('SELECT vector_sum(''{1,1e300}'')'),
	('SELECT vector_sum(''{1}'')'),
	('SELECT vector_accum(''{0,0}'', ''[1,2,3]'')'),
	('SELECT vector_accum(''{{0}}'', ''[1,2,3]'')'),
	('SELECT vector_accum(''{NULL}'', ''[1,2,3]'')'),
	('SELECT vector_accum(''{}'', ''[1,2,3]'')'),
	('SELECT vector_combine(''{1,2}'', ''{3,4,5}'')'),
	('SELECT vector_combine(''{{1,2}}'', ''{3,4}'')'),
	('SELECT vector_combine(''{1,2}'', ''{3,NULL}'')'),
	('SELECT vector_combine(''{}'', ''{0}'')'),
	('SELECT vector_combine(''{1,1.5e308}'', ''{1,1.5e308}'')')) AS t(s);

DROP FUNCTION error_of;
