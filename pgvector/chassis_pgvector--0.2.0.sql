/*
 * chassis_pgvector--0.2.0.sql
 *	  Operator classes of access method chassis for columns of pgvector's types.
 *
 * pgvector's vector, halfvec and sparsevec have the same bytes as chassis', so
 * the support functions are chassis'; the operators are pgvector's, because the
 * planner matches an index with the operator in the query.  For the same reason
 * there are classes for bit, which is the server's own type: pgvector's <~> is
 * another operator than chassis' <~>.  The classes for L2 are the defaults of
 * their types, as in chassis; that cannot clash, since they are other types.
 *
 * An older pgvector has fewer types and operators, and gets fewer classes.
 *
 * The objects of both are named with their schemas, and nothing is looked up
 * through the search path: the extension is trusted, so this script runs as a
 * superuser in a schema where others may have made functions and operators.
 * (@extschema:vector@ would do that only from PostgreSQL 16 on.)
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */

-- refuse to run from psql: CREATE EXTENSION must own what is made here
\echo Use "CREATE EXTENSION chassis_pgvector" to load this file. \quit

DO $script$
DECLARE
	path text := pg_catalog.current_setting('search_path');
	-- where the classes go, and where chassis and pgvector are
	target name := pg_catalog.current_schema();
	home regnamespace;
	theirs regnamespace;
	class record;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	SELECT extnamespace INTO STRICT home
		FROM pg_extension WHERE extname = 'chassis';
	SELECT t.typnamespace INTO theirs
		FROM pg_extension e
		JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass
			AND d.refobjid = e.oid AND d.classid = 'pg_type'::regclass
			AND d.deptype = 'e'
		JOIN pg_type t ON t.oid = d.objid AND t.typname = 'vector'
		WHERE e.extname = 'vector';
	IF NOT FOUND THEN
		RAISE EXCEPTION 'extension "vector" is not pgvector but its alias'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'The types of its columns are those of chassis: '
					'CREATE INDEX ... USING chassis works without this extension.';
	END IF;
	IF home::text = quote_ident(target) THEN
		RAISE EXCEPTION 'schema % has the operator classes of chassis itself', home
			USING ERRCODE = 'duplicate_object',
				HINT = format('CREATE EXTENSION chassis_pgvector SCHEMA %s.', theirs);
	END IF;

	FOR class IN
		SELECT t.typname AS type, t.oid::regtype AS column_type,
			o.oprname AS operator, metric, metric = 'l2' AS is_default
		FROM (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>'),
				('l1', '<+>'), ('hamming', '<~>'), ('jaccard', '<%>'))
			AS metric (metric, symbol)
		JOIN pg_operator o ON o.oprname = symbol AND o.oprleft = o.oprright
		JOIN pg_type t ON t.oid = o.oprleft
		WHERE o.oprnamespace = theirs
			AND (t.typnamespace = theirs
					AND t.typname IN ('vector', 'halfvec', 'sparsevec')
				OR t.oid = 'bit'::regtype)
	LOOP
		EXECUTE format(
			'CREATE OPERATOR CLASS %1$I.%2$I %3$s FOR TYPE %4$s USING chassis AS
				OPERATOR 1 %5$s.%6$s (%4$s, %4$s) FOR ORDER BY float_ops,
				FUNCTION 1 %7$s.%8$I(internal)',
			target, class.type || '_' || class.metric || '_ops',
			CASE WHEN class.is_default THEN 'DEFAULT' ELSE '' END,
			class.column_type, theirs, class.operator, home,
			'chassis_' || class.type || '_' || class.metric);
	END LOOP;
	PERFORM set_config('search_path', path, true);
END
$script$;
