--
-- halfvec: everything that is refused, with SQLSTATE, message and detail
--

-- Runs a statement that must fail and tells how.
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
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

CREATE TEMP TABLE bad_text (n int GENERATED ALWAYS AS IDENTITY, s text);
INSERT INTO bad_text (s) VALUES
	(''), ('   '), ('1,2,3'), ('{1,2,3}'), ('['), ('[]'), ('[ ]'), ('[,'), ('[,1]'), ('[1,]'), ('[1,,3]'),
	('[1,2,3'), ('[1 2]'), ('[1,2,3]9'), ('[1]]'), ('[[1]]'), ('[hello,1]'), ('[1a]'), ('[1e]'), ('[--1]'), ('[.]'),
	('[NaN,1]'), ('[nan(1)]'), ('[Infinity,1]'), ('[-inf,1]'),
	('[65520]'), ('[-65520,1]'), ('[1,65536 ]'), ('[4e38,1]'), ('[-4e38,1]'), ('[1e400]'), ('[1e99999]');
SELECT s, pg_temp.error_of(format('SELECT %L::halfvec', s)) FROM bad_text ORDER BY n;

-- on servers with soft errors the same texts are not valid, without an error
SELECT current_setting('server_version_num')::int >= 160000 AS have_soft_errors \gset
\if :have_soft_errors
SELECT count(*) FILTER (WHERE pg_input_is_valid(s, 'halfvec')) AS valid FROM bad_text \gset
SELECT pg_input_is_valid('[1,2]', 'halfvec(3)') AS valid_length \gset
\else
SELECT count(*) FILTER (WHERE pg_temp.error_of(format('SELECT %L::halfvec', s)) = 'no error') AS valid FROM bad_text \gset
SELECT pg_temp.error_of('SELECT ''[1,2]''::halfvec(3)') = 'no error' AS valid_length \gset
\endif
SELECT :valid AS valid, :'valid_length' AS valid_length;

SELECT s, pg_temp.error_of('SELECT ' || s) FROM (VALUES
	-- type modifier
	('''[1,2,3]''::halfvec(2)'), ('''[1,2,3]''::halfvec(3,2)'), ('''[1,2,3]''::halfvec(0)'),
	('''[1,2,3]''::halfvec(16001)'), ('''[1,2,3]''::halfvec::halfvec(2)'), ('''{"[1,2,3]"}''::halfvec(2)[]'),
	-- operands of different length
	('''[1,2]''::halfvec <-> ''[3]'''), ('''[1,2]''::halfvec <#> ''[3]'''), ('''[1,2]''::halfvec <=> ''[3]'''),
	('''[1,2]''::halfvec <+> ''[3]'''), ('''[1,2]''::halfvec + ''[3]'''), ('''[1,2]''::halfvec - ''[3]'''),
	('''[1,2]''::halfvec * ''[3]'''), ('halfvec_spherical_distance(''[1,2]'', ''[3]'')'),
	-- results out of range
	('''[65504]''::halfvec + ''[65504]'''), ('''[-65504]''::halfvec - ''[65504]'''), ('''[65504]''::halfvec + ''[16]'''),
	('''[256]''::halfvec * ''[256]'''), ('''[5.9604645e-8]''::halfvec * ''[0.5]'''), ('''[1e-7]''::halfvec * ''[1e-7]'''),
	-- casts
	('ARRAY[1,65520]::halfvec'), ('ARRAY[1,-1e6]::halfvec'), ('''{4e38}''::float8[]::halfvec'),
	('''{1e39}''::float8[]::halfvec'), ('''{NaN}''::real[]::halfvec'), ('''{-Infinity}''::float8[]::halfvec'),
	('''{70000,NaN}''::real[]::halfvec'), ('''{NaN,70000}''::real[]::halfvec'), ('''{1e39}''::numeric[]::halfvec'),
	('''{}''::real[]::halfvec'), ('''{{1},{2}}''::real[]::halfvec'), ('''{1,NULL}''::real[]::halfvec'),
	('''{1,2}''::real[]::halfvec(3)'), ('''[1,65520]''::vector::halfvec'), ('''[1,2]''::vector::halfvec(3)'),
	('''[1,2]''::halfvec::vector(3)'), ('''[1,-1e20]''::vector::halfvec'),
	-- subvector
	('subvector(''[1,2,3]''::halfvec, 4, 1)'), ('subvector(''[1,2,3]''::halfvec, 1, 0)'),
	('subvector(''[1,2,3]''::halfvec, -1, 2)'),
	-- states of aggregates that are none
	('halfvec_accum(''{}'', ''[1]'')'), ('halfvec_accum(''{1,NULL}'', ''[1]'')'), ('halfvec_accum(''{1,2,3}'', ''[1]'')'),
	('halfvec_accum(''{{1}}'', ''[1]'')'), ('halfvec_avg(''{}'')'), ('halfvec_avg(''{1}'')'), ('halfvec_avg(''{1,70000}'')'),
	('halfvec_avg(''{1,NaN}'')'), ('halfvec_sum(''{1,65520}'')'), ('halfvec_sum(''{1,NaN}'')'), ('halfvec_combine(''{1}'', ''{}'')')
	) AS t(s);

-- What a client can send in binary: a file with one value of the given bytes,
-- written by a program that gets them in octal.
CREATE FUNCTION pg_temp.receive(message text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	value bytea := decode(replace(message, ' ', ''), 'hex');
	file bytea := decode('5047434f50590aff0d0a00' || '0000000000000000' || '0001', 'hex') || int4send(length(value))
		|| value || decode('ffff', 'hex');
	octal text;
	result text;
BEGIN
	SELECT string_agg('\' || b / 64 || b / 8 % 8 || b % 8, '' ORDER BY i) INTO octal
		FROM (SELECT i, get_byte(file, i) AS b FROM generate_series(0, length(file) - 1) i) s;
	CREATE TEMP TABLE received (v halfvec);
	EXECUTE format('COPY received FROM PROGRAM %L (FORMAT binary)', 'printf ''' || octal || '''');
	SELECT v::text INTO result FROM received;
	DROP TABLE received;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT m, pg_temp.receive(m) FROM (VALUES
	('0003 0000 3c00 c000 7bff'), ('0001 0000 8000'), ('0002 0000 0001 83ff'),
	-- element count: none, negative (it is read as a large one), too large; unused
	('0000 0000'), ('ffff 0000 3c00'), ('3e81 0000 3c00'), ('0001 0001 3c00'),
	-- elements: NaN, infinite
	('0001 0000 7e00'), ('0001 0000 7c01'), ('0002 0000 3c00 fc00'),
	-- bytes missing and left over
	(''), ('00'), ('0001'), ('0001 0000'), ('0002 0000 3c00'), ('0001 0000 3c'), ('3e80 0000 3c00'), ('0002 0000 7e00'),
	('0001 0000 3c00 00'), ('0001 0000 3c00 3c00')) AS t(m);
