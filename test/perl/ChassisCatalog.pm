# ChassisCatalog.pm
#	  What an extension put into a database, in words, and data of every type.
#
# For tests that ask whether two ways lead to the same place: a fresh
# installation and an upgraded one, a database and what a dump makes of it.
# It names no function, operator or class of chassis: whatever the catalogs say
# is there is compared and used, so that what is added later is covered.  Types
# are the exception, somebody has to write their values: a class of a type
# without a column here ends the test.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
package ChassisCatalog;

use strict;
use warnings;

use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use Test::More;

=pod

=over

=item ChassisCatalog->use_frozen_scripts

Makes the servers of this test find the scripts of released versions, which are
kept in test/upgrade and installed nowhere: stages a copy of the server found
through PATH with these files in it, and puts that first in PATH.

=cut

sub use_frozen_scripts
{
	my $stage = PostgreSQL::Test::Utils::tempdir('stage');
	my $share = _output('pg_config', '--sharedir');

	make_path("$stage$share/extension");
	foreach my $script (glob('test/upgrade/*--*.sql'))
	{
		copy($script, "$stage$share/extension/") or die "$script: $!";
	}
	local $ENV{PG_CONFIG} = 'pg_config';
	my $bindir = _output('tools/stage.sh', $stage);
	$ENV{PATH} = "$bindir:$ENV{PATH}";
	return;
}

sub _output
{
	my @command = @_;

	open(my $pipe, '-|', @command) or die "$command[0]: $!";
	my $line = <$pipe>;
	close($pipe) or die "$command[0] failed";
	chomp $line;
	return $line;
}

# One line for each row of a catalog that the condition selects.  The server
# itself says which columns hold OIDs of what: they are replaced by the object's
# description, because OIDs differ between databases.
my $describe_rows = q{
CREATE FUNCTION pg_temp.describe_rows(catalog regclass, condition text)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	SELECT string_agg(format('%L || coalesce(%s, %L)', ' ' || attname || '=',
		CASE WHEN is_array THEN format('(SELECT string_agg(CASE o WHEN 0
				THEN ''-'' ELSE pg_describe_object(%L::regclass, o, 0) END,
				'', '' ORDER BY n)
				FROM unnest(%I::oid[]) WITH ORDINALITY u(o, n))',
				pktable, attname)
			WHEN NOT is_array THEN format('CASE %2$I::oid WHEN 0 THEN ''-''
				ELSE pg_describe_object(%1$L::regclass, %2$I::oid, 0) END',
				pktable, attname)
			WHEN atttypid = 'pg_node_tree'::regtype
				THEN format('pg_get_expr(%I, 0)', attname)
			ELSE format('%I::text', attname) END, 'null'), ' || '
		ORDER BY attnum)
	INTO line
	FROM pg_attribute a
	LEFT JOIN pg_get_catalog_foreign_keys() k ON fktable = attrelid
		AND fkcols = ARRAY[attname::text] AND pkcols = '{oid}'
	WHERE attrelid = catalog AND attnum > 0 AND NOT attisdropped
	AND attname <> 'oid';

	RETURN QUERY EXECUTE format('SELECT %L || %s FROM %s WHERE %s',
		catalog || ':', line, catalog, condition);
END $$;
};

# Members of the extension, and what belongs to them without being members:
# array types, and the operators and functions of operator families.
my $find_objects = q{
CREATE TEMP TABLE object AS
	SELECT d.classid, d.objid
		FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND e.extname = 'chassis';
INSERT INTO object
	SELECT 'pg_type'::regclass, typarray FROM pg_type
		WHERE typarray <> 0 AND ('pg_type'::regclass, oid)
			IN (SELECT classid, objid FROM object)
	UNION
	SELECT 'pg_amop'::regclass, oid FROM pg_amop
		WHERE ('pg_opfamily'::regclass, amopfamily)
			IN (SELECT classid, objid FROM object)
	UNION
	SELECT 'pg_amproc'::regclass, oid FROM pg_amproc
		WHERE ('pg_opfamily'::regclass, amprocfamily)
			IN (SELECT classid, objid FROM object);
};

my $describe_objects = q{
SELECT pg_temp.describe_rows(classid,
		format('oid IN (SELECT objid FROM object WHERE classid = %s)', classid))
	FROM (SELECT DISTINCT classid FROM object) c
UNION ALL
SELECT pg_temp.describe_rows('pg_aggregate', $$('pg_proc'::regclass,
		aggfnoid::oid) IN (SELECT classid, objid FROM object)$$)
UNION ALL
SELECT pg_temp.describe_rows('pg_extension', $$extname = 'chassis'$$)
UNION ALL
SELECT 'comment: ' || pg_describe_object(classoid, d.objoid, objsubid)
		|| ' is ' || description
	FROM pg_description d JOIN (TABLE object UNION ALL SELECT
		'pg_extension'::regclass, oid FROM pg_extension
		WHERE extname = 'chassis') o ON classoid = classid AND objoid = objid
UNION ALL
SELECT 'initial privileges: ' || pg_describe_object(classid, objid, objsubid)
		|| ' ' || privtype::text || ' ' || initprivs::text
	FROM pg_init_privs p JOIN object o ON classoid = classid AND objoid = objid
UNION ALL
SELECT 'security label: ' || pg_describe_object(classid, objid, objsubid)
		|| ' ' || provider || ' ' || label
	FROM pg_seclabel s JOIN object o ON classoid = classid AND objoid = objid
UNION ALL
SELECT 'dependency: ' || pg_describe_object(d.classid, d.objid, d.objsubid)
		|| ' needs ' || pg_describe_object(refclassid, refobjid, refobjsubid)
		|| ' (' || deptype::text || ')'
	FROM pg_depend d JOIN object o USING (classid, objid)
UNION ALL
SELECT 'shared dependency: ' || pg_describe_object(s.classid, s.objid, 0)
		|| ' needs ' || pg_describe_object(refclassid, refobjid, 0)
		|| ' (' || deptype::text || ')'
	FROM pg_shdepend s JOIN object o USING (classid, objid)
	WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
};

=pod

=item ChassisCatalog->describe_extension($node, $dbname, $change)

Returns a sorted list of lines: every row that the extension has in any catalog,
every column of it, comments, privileges and dependencies.  Two databases with
the same lines have the same extension.  With $change, an SQL statement, returns
what it would be after that, which is then taken back.

=cut

sub describe_extension
{
	my ($class, $node, $dbname, $change) = @_;
	my $before = defined $change ? "BEGIN; $change;" : '';

	return
	  sort split /\n/,
	  $node->safe_psql($dbname,
		$before . $describe_rows . $find_objects . $describe_objects);
}

=pod

=item ChassisCatalog->same_lines(\@got, \@expected, $label)

One test: the two lists of lines are the same.  Shows what only one of them has.

=cut

sub same_lines
{
	my ($class, $got, $expected, $label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($more, $fewer) = $class->difference($got, $expected);

	return is(
		join("\n", (map { "+ $_" } @$more), (map { "- $_" } @$fewer)),
		'', $label);
}

=pod

=item ChassisCatalog->difference(\@got, \@expected)

Returns references to the lines that only the first list has, and only the
second.

=cut

sub difference
{
	my ($class, $got, $expected) = @_;
	my %got;
	my %expected;

	$got{$_}++ foreach @$got;
	$expected{$_}++ foreach @$expected;
	return (
		[ grep { ($expected{$_} // 0) < $got{$_} } sort keys %got ],
		[ grep { ($got{$_} // 0) < $expected{$_} } sort keys %expected ]);
}

# The column of table every_type that has values of a type.
my %column_of_type = (
	'vector' => 'v',
	'halfvec' => 'h',
	'sparsevec' => 's',
	'bit' => 'b');

=pod

=item ChassisCatalog->load_every_type($node, $dbname, %options)

Makes table every_type with $options{rows} rows (1200, so that an index gets a
graph) and a column of each type, among them nulls, duplicates and zeros, and
one thing of each kind that depends on the extension: a domain, an array column, a
default, a check, a generated column, a view, a materialized view, a function,
and a table without rows.

=cut

sub load_every_type
{
	my ($class, $node, $dbname, %o) = @_;
	my $rows = $o{rows} // 1200;

	$node->safe_psql(
		$dbname, qq{
		CREATE FUNCTION coordinates(id integer) RETURNS real[]
			LANGUAGE sql IMMUTABLE
			AS \$\$ SELECT array_agg(CASE WHEN id % 100 = 0 THEN 0 ELSE
				((id / 2 * 7919 * j) % 1013 - 506) / 64.0 END::real ORDER BY j)
				FROM generate_series(1, 8) j \$\$;
		CREATE TABLE every_type (id integer PRIMARY KEY, v vector(8),
			h halfvec(8), s sparsevec(8), b bit(16));
		INSERT INTO every_type SELECT i,
			coordinates(i)::vector, coordinates(i)::halfvec,
			coordinates(i)::vector::sparsevec, (i / 2 * 40503 % 65536)::bit(16)
			FROM generate_series(1, $rows) i;
		INSERT INTO every_type (id) VALUES (-1), (-2);

		CREATE DOMAIN short_vector AS vector
			CHECK (vector_dims(VALUE) <= 8);
		CREATE TABLE dependent (id integer PRIMARY KEY, several vector[],
			d short_vector DEFAULT '[1,2]',
			norm double precision GENERATED ALWAYS AS (vector_norm(d)) STORED,
			CHECK ((d <-> '[0,0]') < 1000));
		INSERT INTO dependent VALUES (1, '{"[1]","[2,3]"}', '[3,4]');
		INSERT INTO dependent VALUES (2, NULL);
		CREATE VIEW nearest AS SELECT id, v <=> '[1,1,1,1,1,1,1,1]' AS distance
			FROM every_type ORDER BY v <=> '[1,1,1,1,1,1,1,1]' LIMIT 5;
		CREATE MATERIALIZED VIEW mean AS
			SELECT avg(v) AS v, sum(h) AS h FROM every_type;
		CREATE FUNCTION longest(halfvec) RETURNS double precision
			LANGUAGE sql AS 'SELECT l2_norm(\$1)';
		CREATE TABLE empty_one (v vector(3));
		ANALYZE;
	});
	return;
}

# name, access method, operator class with its schema, column, and for our own
# access method the operator that orders; one line for each class
my $find_classes = q{
	SELECT opcname, amname, format('%s.%I', opcnamespace::regnamespace, opcname),
		opcintype::regtype, coalesce(
			(SELECT format('OPERATOR(%s.%s)', oprnamespace::regnamespace, oprname)
				FROM pg_amop JOIN pg_operator o ON o.oid = amopopr
				WHERE amopfamily = opcfamily AND amoppurpose = 'o'), '=')
	FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
	JOIN pg_depend d ON d.classid = 'pg_opclass'::regclass AND d.objid = c.oid
		AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass
		AND e.oid = d.refobjid AND e.extname = 'chassis'
	ORDER BY amname, opcname};

sub _classes
{
	my ($node, $dbname) = @_;
	my @classes;

	foreach my $line (split /\n/, $node->safe_psql($dbname, $find_classes))
	{
		my %c;

		@c{qw(name method class type operator)} = split /\|/, $line;
		$c{column} = $column_of_type{ $c{type} }
		  or die "no values of type $c{type} for class $c{name}";
		$c{index} = "every_$c{method}_$c{name}";
		push @classes, \%c;
	}
	return @classes;
}

=pod

=item ChassisCatalog->index_every_class($node, $dbname)

Makes an index on every_type for each operator class of the extension that has
none yet, and where it is new one on an expression and one with options.
Returns how many indexes of access method chassis there are.

=cut

sub index_every_class
{
	my ($class, $node, $dbname) = @_;
	my @classes = _classes($node, $dbname);

	$node->safe_psql(
		$dbname,
		join(
			";\n",
			(
				map {
					"CREATE INDEX IF NOT EXISTS $_->{index} ON every_type
						USING $_->{method} ($_->{column} $_->{class})"
				} @classes),
			'CREATE INDEX IF NOT EXISTS every_expression ON every_type USING
				chassis ((h::vector(8)))
				WITH (m = 8, ef_construction = 50, bits = 8)
				WHERE id % 2 = 0'));
	return 1 + grep { $_->{method} eq 'chassis' } @classes;
}

=pod

=item ChassisCatalog->every_index_answers($node, $dbname, $label)

One test: for every operator class, the index made by index_every_class is the
one that the planner takes, and it finds what a scan of the table finds; and no
index of access method chassis has violations.

=cut

sub every_index_answers
{
	my ($class, $node, $dbname, $label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @classes = _classes($node, $dbname);
	my $script = q{
		SET client_min_messages = warning; SET chassis.ef_search = 400;
		CREATE FUNCTION pg_temp.only(wanted regclass) RETURNS void
		LANGUAGE plpgsql AS $$
		DECLARE
			other regclass;
		BEGIN
			FOR other IN SELECT indexrelid FROM pg_index
				WHERE indrelid = 'every_type'::regclass AND NOT indisprimary
				AND indexrelid <> wanted
			LOOP
				EXECUTE format('DROP INDEX %s', other);
			END LOOP;
		END $$;
	};

	foreach my $c (@classes)
	{
		my $value = "(SELECT $c->{column} FROM every_type WHERE id = 333)";
		my $tail = "$c->{column} $c->{operator} $value";
		my $query =
		  $c->{method} eq 'chassis'
		  ? "SELECT id, $tail AS d FROM every_type ORDER BY $tail LIMIT 8"
		  : "SELECT id, 0 AS d FROM every_type WHERE $tail";
		my $sum = "SELECT count(*), count(DISTINCT id), sum(d) FROM ($query) q";

		# with the other indexes away: several could answer
		$script .= qq{
			SET enable_bitmapscan = off; SET enable_indexscan = off;
			SET enable_indexonlyscan = off;
			SELECT '$c->{index} exact', s FROM ($sum) s;
			RESET enable_indexscan; RESET enable_indexonlyscan;
			SET enable_seqscan = off; SET enable_sort = off;
			BEGIN;
			SELECT pg_temp.only('$c->{index}');
			SELECT '$c->{index} found', s FROM ($sum) s;
			EXPLAIN $query;
			ROLLBACK;
			RESET enable_seqscan; RESET enable_sort;
		};
	}
	my $said = $node->safe_psql($dbname, $script);
	my @wrong;

	foreach my $c (@classes)
	{
		my ($exact) = $said =~ /^\Q$c->{index}\E exact\|\((.*)\)$/m;
		my ($found) = $said =~ /^\Q$c->{index}\E found\|\((.*)\)$/m;

		push @wrong, "$c->{index} is not used"
		  unless $said =~ /Index (?:Only )?Scan using \Q$c->{index}\E /;
		push @wrong, "$c->{index} found $found, not $exact"
		  unless $found eq $exact && $exact !~ /^0/;
	}
	push @wrong, split /\n/, $node->safe_psql(
		$dbname, q{
		SELECT c.oid::regclass, k.*
			FROM pg_class c JOIN pg_am a ON a.oid = relam
				AND amname = 'chassis' AND relkind = 'i',
			LATERAL chassis_index_check(c.oid::regclass) k});
	return is(join("\n", @wrong), '', "every index answers: $label");
}

=pod

=back

=cut

1;
