# 061_dump.pl
#	  Dumps and pg_upgrade carry every type, and an index of every class.
#
# A restored database is compared by being dumped again.  The extension is in
# a schema of its own that is not in the search path of pg_dump, so a function
# of ours that relied on the search path would fail here.
#
# pg_upgrade goes from this major version to itself, which runs all of it but
# PostgreSQL's own conversions.  With CHASSIS_OLD_INSTALL=DIR it starts from the
# server in DIR/bin, of any older major, that has this extension installed.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCatalog;
use ChassisCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $other_install = $ENV{CHASSIS_OLD_INSTALL};

# What pg_dump says of a database, without what differs from run to run.
sub dumped
{
	my ($server, $dbname) = @_;
	my $file = "$dir/dumped.sql";

	$server->command_ok(
		[ 'pg_dump', '--no-sync', '-f', $file, '-d',
			$server->connstr($dbname) ],
		"$dbname can be dumped");
	return [ grep { !/^\\(?:un)?restrict / && !/^-- Dumped / }
		  split /\n/, slurp_file($file) ];
}

# A database for a dump; the setting would be in the dump only with --create.
sub create_database
{
	my ($server, $dbname) = @_;

	$server->safe_psql('postgres',
		"CREATE DATABASE $dbname;
		ALTER DATABASE $dbname SET search_path = public, extensions");
	return;
}

ChassisCatalog->use_frozen_scripts;
my $node = ChassisCluster->new_node('dump', extension => 0);

create_database($node, 'source');
$node->safe_psql('source',
	'CREATE SCHEMA extensions; CREATE EXTENSION chassis SCHEMA extensions');
ChassisCatalog->load_every_type($node, 'source');
cmp_ok(ChassisCatalog->index_every_class($node, 'source'),
	'>', 4, 'there are indexes');
$node->safe_psql('source', q{
	CREATE UNLOGGED TABLE unlogged AS SELECT id, v FROM every_type;
	CREATE INDEX ON unlogged USING chassis (v vector_l1_ops) WITH (bits = 2)});
ChassisCatalog->every_index_answers($node, 'source', 'before the dump');
my $source = dumped($node, 'source');
my @objects = ChassisCatalog->describe_extension($node, 'source');
cmp_ok(scalar(grep { /CREATE INDEX .* USING chassis / } @$source),
	'>', 5, 'the dump has the indexes');
is(scalar(grep { /CREATE (?:FUNCTION .*vector_in|TYPE|OPERATOR)/ } @$source),
	0, 'and no member of the extension');

# --- pg_dump and pg_restore ---------------------------------------------------

my %restore = (
	plain => [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f' ],
	custom => [ 'pg_restore', '--exit-on-error', '-j', '2' ]);

foreach my $format (sort keys %restore)
{
	my $file = "$dir/source.$format";

	create_database($node, $format);
	$node->command_ok(
		[ 'pg_dump', '--no-sync', '-F', $format, '-f', $file, '-d',
			$node->connstr('source') ],
		"dump as $format");
	$node->command_ok(
		[ @{ $restore{$format} }, $format eq 'plain' ? ($file) : (),
			'-d', $node->connstr($format), $format eq 'plain' ? () : ($file) ],
		'restore it');
	ChassisCatalog->same_lines(dumped($node, $format),
		$source, 'the same dump again');
	ChassisCatalog->same_lines(
		[ ChassisCatalog->describe_extension($node, $format) ],
		\@objects, 'the same extension');
	ChassisCatalog->every_index_answers($node, $format, "restored from $format");
}

# --- pg_upgrade ---------------------------------------------------------------

my $old = $node;
if (defined $other_install)
{
	$old = PostgreSQL::Test::Cluster->new('other', install_path => $other_install);
	$old->init;
	$old->append_conf('postgresql.conf', "fsync = off\nautovacuum = off");
	$old->start;
	create_database($old, 'source');
	$old->safe_psql('source',
		'CREATE SCHEMA extensions; CREATE EXTENSION chassis SCHEMA extensions');
	ChassisCatalog->load_every_type($old, 'source');
	ChassisCatalog->index_every_class($old, 'source');
	$source = dumped($old, 'source');
}
else
{
	$node->safe_psql('postgres', "DROP DATABASE $_") foreach sort keys %restore;
	# A cluster whose owner has not run ALTER EXTENSION yet.
	create_database($node, 'older');
	$node->safe_psql('older',
		q{CREATE SCHEMA extensions;
		CREATE EXTENSION chassis SCHEMA extensions VERSION '0.1.0'});
	ChassisCatalog->load_every_type($node, 'older');
	ChassisCatalog->index_every_class($node, 'older');
}
my $old_bindir = $old->config_data('--bindir');
$old->stop;

my $new = ChassisCluster->new_node('new', start => 0);
chdir $dir or die "$dir: $!";    # where version 14 leaves its logs
$new->command_ok(
	[
		'pg_upgrade', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $old_bindir, '-B', $new->config_data('--bindir'),
		'-s', $new->host, '-p', $old->port, '-P', $new->port,
		$new->pg_version >= 15 ? '--no-sync' : ()
	],
	'pg_upgrade');
$new->start;

ChassisCatalog->every_index_answers($new, 'source', 'after pg_upgrade');
# One index of each class was carried over, not made again.
is( $new->safe_psql(
		'source', q{SET client_min_messages = warning;
		SELECT count(*) FROM pg_class, LATERAL chassis_index_info(oid) i
			WHERE relname ~ '^every_chassis' AND name = 'phase'
			AND value = 'graph'}),
	$new->safe_psql(
		'source', q{SELECT count(*) FROM pg_class
			WHERE relname ~ '^every_chassis'}),
	'the indexes are whole');
if (defined $other_install)
{
	note 'dumps of two major versions are not compared';
}
else
{
	ChassisCatalog->same_lines(dumped($new, 'source'),
		$source, 'the same dump after pg_upgrade');
	ChassisCatalog->same_lines(
		[ ChassisCatalog->describe_extension($new, 'source') ],
		\@objects, 'the same extension after pg_upgrade');

	ChassisCatalog->every_index_answers($new, 'older',
		'old extension after pg_upgrade');
	$new->safe_psql('older', 'ALTER EXTENSION chassis UPDATE');
	ChassisCatalog->same_lines(
		[ ChassisCatalog->describe_extension($new, 'older') ],
		\@objects, 'which can then be updated');
}

done_testing();
