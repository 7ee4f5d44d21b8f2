--
-- sparsevec: everything that is refused, with SQLSTATE, message and detail
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
	-- syntax
	(''), ('   '), ('1:1/2'), ('[1,2]'), ('{'), ('{}'), ('{ }'), ('{,'), ('{,1:1}/2'), ('{1:1,}/2'), ('{1:1,,2:1}/2'),
	('{1:1'), ('{1:1}'), ('{1:1}/'), ('{1:1}/ '), ('{1:1}/x'), ('{1:1}/2x'), ('{1:1}/2 2'), ('{1:1}//2'), ('{1:1/2'), ('{1:1}}/2'), ('{{1:1}}/2'),
	('{1}/2'), ('{:1}/2'), ('{1:}/2'), ('{1:,2:1}/2'), ('{1 1}/2'), ('{1:1 2:1}/2'), ('{a:1}/2'), ('{1:a}/2'), ('{1.0:1}/2'), ('{1e0:1}/2'),
	('{0x1:1}/2'), ('{1::1}/2'), ('{--1:1}/2'), ('{1:--1}/2'), ('{1:1}/1.5'),
	-- values
	('{1:NaN}/2'), ('{1:Infinity}/2'), ('{1:-inf}/2'), ('{1:4e38}/2'), ('{1:-1e400 }/2'), ('{1:1e-46}/2'), ('{1: -1e-400}/2'),
	-- indices
	('{0:1}/2'), ('{-1:1}/2'), ('{3:1}/2'), ('{1:1,3:1}/2'), ('{2147483647:1}/2'), ('{2147483648:1}/2'), ('{-2147483648:1}/2'),
	('{-2147483649:1}/2'), ('{99999999999999999999:1}/2'), ('{1:1,1:1}/2'), ('{2:1,1:1,2:3}/2'), ('{5:1,5:1}/2'),
	-- dimensions
	('{}/0'), ('{}/-1'), ('{1:1}/0'), ('{}/1000000001'), ('{}/2147483647'), ('{}/2147483648'), ('{}/-2147483649'), ('{}/99999999999999999999');
SELECT s, pg_temp.error_of(format('SELECT %L::sparsevec', s)) FROM bad_text ORDER BY n;

-- on servers with soft errors the same texts are not valid, without an error
SELECT current_setting('server_version_num')::int >= 160000 AS have_soft_errors \gset
\if :have_soft_errors
SELECT count(*) FILTER (WHERE pg_input_is_valid(s, 'sparsevec')) AS valid FROM bad_text \gset
SELECT pg_input_is_valid('{}/2', 'sparsevec(3)') AS valid_length, pg_input_is_valid(repeat(',', 16000), 'sparsevec') AS valid_count \gset
\else
SELECT count(*) FILTER (WHERE pg_temp.error_of(format('SELECT %L::sparsevec', s)) = 'no error') AS valid FROM bad_text \gset
SELECT pg_temp.error_of('SELECT ''{}/2''::sparsevec(3)') = 'no error' AS valid_length,
	   pg_temp.error_of('SELECT repeat('','', 16000)::sparsevec') = 'no error' AS valid_count \gset
\endif
SELECT :valid AS valid, :'valid_length' AS valid_length, :'valid_count' AS valid_count;

SELECT s, pg_temp.error_of('SELECT ' || s) FROM (VALUES
	-- type modifier
	('''{}/3''::sparsevec(2)'), ('''{}/3''::sparsevec(3,2)'), ('''{}/3''::sparsevec(0)'), ('''{}/3''::sparsevec(1000000001)'),
	('''{}/3''::sparsevec::sparsevec(2)'), ('''{"{}/3"}''::sparsevec(2)[]'),
	-- operands of different length
	('''{}/2''::sparsevec <-> ''{}/3'''), ('''{}/2''::sparsevec <#> ''{}/3'''), ('''{}/2''::sparsevec <=> ''{}/3'''),
	('''{}/2''::sparsevec <+> ''{}/3'''),
	-- casts
	('''{NaN}''::real[]::sparsevec'), ('''{0,Infinity}''::float8[]::sparsevec'), ('''{1e39}''::float8[]::sparsevec'),
	('''{1e39}''::numeric[]::sparsevec'), ('''{}''::real[]::sparsevec'), ('''{{1},{2}}''::real[]::sparsevec'), ('''{1,NULL}''::real[]::sparsevec'),
	('''{1,2}''::real[]::sparsevec(3)'), ('''[1,2]''::vector::sparsevec(3)'), ('''[1,2]''::halfvec::sparsevec(3)'),
	('''{}/2''::sparsevec::vector(3)'), ('''{}/2''::sparsevec::halfvec(3)'), ('''{1:65520}/1''::sparsevec::halfvec'),
	('''{1:-1e30}/1''::sparsevec::halfvec'), ('''{}/16001''::sparsevec::vector'), ('''{}/16001''::sparsevec::halfvec')) AS t(s);

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
	CREATE TEMP TABLE received (v sparsevec);
	EXECUTE format('COPY received FROM PROGRAM %L (FORMAT binary)', 'printf ''' || octal || '''');
	SELECT v::text INTO result FROM received;
	DROP TABLE received;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT m, pg_temp.receive(m) FROM (VALUES
	('00000005 00000002 00000000 00000000 00000004 3f800000 c0000000'), ('00000005 00000000 00000000'),
	-- dimensions, element count, unused
	('00000000 00000000 00000000'), ('ffffffff 00000000 00000000'), ('3b9aca00 00000000 00000000'), ('3b9aca01 00000000 00000000'),
	('00000005 ffffffff 00000000'), ('00000005 00000006 00000000'), ('00010000 00003e81 00000000'), ('00000005 00000000 00000001'),
	-- indices: out of bounds, out of order, twice
	('00000005 00000001 00000000 ffffffff 3f800000'), ('00000005 00000001 00000000 00000005 3f800000'),
	('00000005 00000002 00000000 00000002 00000001 3f800000 3f800000'), ('00000005 00000002 00000000 00000002 00000002 3f800000 3f800000'),
	-- values: 0, -0, NaN, infinite, denormal
	('00000005 00000001 00000000 00000000 00000000'), ('00000005 00000001 00000000 00000000 80000000'),
	('00000005 00000001 00000000 00000000 7fc00000'), ('00000005 00000001 00000000 00000000 ff800000'),
	('00000005 00000001 00000000 00000000 00000001'),
	-- bytes missing and left over
	(''), ('00000005'), ('00000005 00000001 00000000'), ('00000005 00000001 00000000 00000000'), ('00000005 00000001 00000000 0000'),
	('00000005 00000001 00000000 00000000 3f80'), ('00000005 00000001 00000000 00000000 3f800000 00')) AS t(m);
