/*
 * vector--0.8.6.sql
 *	  What pgvector 0.8.6 has and chassis has not: the access methods hnsw and
 *	  ivfflat, and their operator classes.
 *
 * Names, types, operators and defaults of the classes are pgvector's: hnsw has
 * no default class, because a dump would then leave the class's name out, and
 * pgvector could not restore it.  The support functions are chassis'.
 *
 * The objects of chassis are named with its schema, and nothing is looked up
 * through the search path: the extension is trusted, so this script runs as a
 * superuser in a schema where others may have made functions and operators.
 * (@extschema:chassis@ would do that only from PostgreSQL 16 on.)
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */

-- refuse to run from psql: CREATE EXTENSION must own what is made here
\echo Use "CREATE EXTENSION vector CASCADE" to load this file. \quit

CREATE FUNCTION hnswhandler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME', 'chassis_hnswhandler'
	LANGUAGE C;
COMMENT ON FUNCTION hnswhandler(internal) IS 'hnsw index access method handler';

CREATE ACCESS METHOD hnsw TYPE INDEX HANDLER hnswhandler;
COMMENT ON ACCESS METHOD hnsw IS 'chassis index under the name of pgvector''s hnsw';

CREATE FUNCTION ivfflathandler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME', 'chassis_ivfflathandler'
	LANGUAGE C;
COMMENT ON FUNCTION ivfflathandler(internal) IS 'ivfflat index access method handler';

CREATE ACCESS METHOD ivfflat TYPE INDEX HANDLER ivfflathandler;
COMMENT ON ACCESS METHOD ivfflat IS 'chassis index under the name of pgvector''s ivfflat';

DO $script$
DECLARE
	path text := pg_catalog.current_setting('search_path');
	-- where the classes go, and where chassis is
	target name := pg_catalog.current_schema();
	home regnamespace;
	class record;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	SELECT extnamespace INTO STRICT home
		FROM pg_extension WHERE extname = 'chassis';

	FOR class IN
		SELECT am, type, metric, operator, am = 'ivfflat' AND type = 'vector'
			AND metric = 'l2' AS is_default
		FROM (VALUES ('vector', 'l2', '<->'), ('vector', 'ip', '<#>'),
				('vector', 'cosine', '<=>'), ('vector', 'l1', '<+>'),
				('halfvec', 'l2', '<->'), ('halfvec', 'ip', '<#>'),
				('halfvec', 'cosine', '<=>'), ('halfvec', 'l1', '<+>'),
				('sparsevec', 'l2', '<->'), ('sparsevec', 'ip', '<#>'),
				('sparsevec', 'cosine', '<=>'), ('sparsevec', 'l1', '<+>'),
				('bit', 'hamming', '<~>'), ('bit', 'jaccard', '<%>'))
			AS class (type, metric, operator),
			(VALUES ('hnsw'), ('ivfflat')) AS method (am)
		-- what pgvector has not for ivfflat
		WHERE am = 'hnsw'
			OR (type <> 'sparsevec' AND metric NOT IN ('l1', 'jaccard'))
	LOOP
		EXECUTE format(
			'CREATE OPERATOR CLASS %1$I.%2$I %3$s FOR TYPE %4$s USING %5$I AS
				OPERATOR 1 %6$s.%7$s (%4$s, %4$s) FOR ORDER BY float_ops,
				FUNCTION 1 %6$s.%8$I(internal)',
			target, class.type || '_' || class.metric || '_ops',
			CASE WHEN class.is_default THEN 'DEFAULT' ELSE '' END,
			CASE WHEN class.type = 'bit' THEN 'pg_catalog."bit"'
				ELSE format('%s.%I', home, class.type) END,
			class.am, home, class.operator,
			'chassis_' || class.type || '_' || class.metric);
	END LOOP;

	IF home::text <> quote_ident(target) THEN
		RAISE WARNING 'types vector, halfvec and sparsevec are in schema %, not in %',
				home, quote_ident(target)
			USING HINT = format('Clients of pgvector look for them in their '
				'search_path, some in public only: ALTER EXTENSION chassis SET SCHEMA %I.',
				target);
	END IF;
	PERFORM set_config('search_path', path, true);
END
$script$;
