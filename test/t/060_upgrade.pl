# 060_upgrade.pl
#	  An extension that came by upgrades is the one that is installed fresh, and
#	  what it held before is there afterwards.
#
# The scripts of released versions are in test/upgrade, unchanged; a server is
# staged with them, so that the old version can be installed.  The library is
# the new one throughout, as it is for a user who has installed the new files
# and not yet run ALTER EXTENSION.  Index files that an old library wrote are in
# test/upgrade too.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCatalog;
use ChassisCluster;
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use Test::More;

my @released =
  map { m{/chassis--([^/]+)\.sql$} ? $1 : () } glob('test/upgrade/*.sql');

# Index files: version, name, rows, class, options and format; how table and index
# are made is in test/upgrade/README.md.
my @files = (
	[ '0.1.0', 'graph', 1500, 'vector_l2_ops', 'm = 8, bits = 4', 2 ],
	[ '0.1.0', 'flat', 40, 'vector_cosine_ops', 'm = 8', 2 ]);

ChassisCatalog->use_frozen_scripts;
my $node = ChassisCluster->new_node('upgrade', extension => 0);
my $current = $node->safe_psql('postgres',
	q{SELECT default_version FROM pg_available_extensions
	WHERE name = 'chassis'});

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION chassis');
my @fresh = ChassisCatalog->describe_extension($node, 'fresh');

cmp_ok(scalar(@released), '>', 0, 'there are older versions');
cmp_ok(scalar(@fresh), '>', 1000, 'the extension is described');
foreach my $catalog (
	qw(pg_am pg_aggregate pg_amop pg_amproc pg_cast pg_opclass pg_operator
	pg_opfamily pg_proc pg_type comment dependency))
{
	cmp_ok(scalar(grep { /^$catalog:/ } @fresh), '>', 0, "with its $catalog");
}

# --- upgraded = fresh ---------------------------------------------------------

foreach my $old (@released)
{
	my $db = "from_$old";

	isnt($old, $current, "$old is an old version");
	$node->safe_psql('postgres', qq{CREATE DATABASE "$db"});
	$node->safe_psql($db, qq{CREATE EXTENSION chassis VERSION '$old'});
	ChassisCatalog->load_every_type($node, $db);
	ChassisCatalog->index_every_class($node, $db);
	my $rows = $node->safe_psql($db, 'SELECT * FROM every_type ORDER BY id');
	my $others = $node->safe_psql($db,
		'SELECT * FROM dependent, nearest, mean ORDER BY 1, nearest.id');

	$node->safe_psql($db, 'ALTER EXTENSION chassis UPDATE');
	ChassisCatalog->same_lines(
		[ ChassisCatalog->describe_extension($node, $db) ],
		\@fresh, "$old, upgraded, is $current");
	is($node->safe_psql($db, 'SELECT * FROM every_type ORDER BY id'),
		$rows, 'the rows are what they were');
	is( $node->safe_psql($db,
			'SELECT * FROM dependent, nearest, mean ORDER BY 1, nearest.id'),
		$others,
		'so is what depends on the types');
	ChassisCatalog->every_index_answers($node, $db, "after the upgrade of $old")
	  if ChassisCatalog->index_every_class($node, $db);
	is($node->safe_psql($db, 'ALTER EXTENSION chassis UPDATE; SELECT 1'),
		'1', 'a second update has nothing to do');
	unlike(
		$node->safe_psql(
			$db, "UPDATE every_type SET v = v + v, h = h * h, b = ~b WHERE id < 5;
			DELETE FROM every_type WHERE id BETWEEN 6 AND 9;
			VACUUM every_type;
			SELECT string_agg(k::text, ' ') FROM pg_class,
				LATERAL chassis_index_check(oid) k
				WHERE relname ~ '^every_chassis'"),
		qr/./,
		'and the old indexes take changes');
}

# There is a way from each version to the current one, and no way back.
is( $node->safe_psql(
		'postgres',
		qq{SELECT source, path IS NOT NULL
			FROM pg_extension_update_paths('chassis')
			WHERE target = '$current' ORDER BY source}),
	join("\n", map { "$_|t" } @released),
	'every released version has a path to the current one');
is( $node->safe_psql(
		'postgres',
		qq{SELECT count(*) FROM pg_extension_update_paths('chassis')
			WHERE source = '$current' AND path IS NOT NULL}),
	'0',
	'and none leads back');

# --- the comparison sees differences ------------------------------------------

my %changes = (
	'ALTER FUNCTION l2_distance(vector, vector) COST 51' => qr/pg_proc: /,
	q{COMMENT ON TYPE vector IS 'something else'} => qr/comment: /,
	'REVOKE EXECUTE ON FUNCTION vector_norm(vector) FROM public' =>
	  qr/pg_proc: .*proacl/,
	'ALTER OPERATOR < (vector, vector) SET (RESTRICT = eqsel)' =>
	  qr/pg_operator: /,
	q{UPDATE pg_amop SET amopstrategy = 9
		WHERE amopopr = '<->(vector, vector)'::regoperator} => qr/pg_amop: /,
	'ALTER EXTENSION chassis DROP CAST (vector AS real[])' => qr/pg_cast: /,
	'ALTER TYPE vector SET (STORAGE = extended)' => qr/pg_type: /);
foreach my $change (sort keys %changes)
{
	my ($more, $fewer) = ChassisCatalog->difference(
		[ ChassisCatalog->describe_extension($node, 'fresh', $change) ],
		\@fresh);
	like(join("\n", @$more, @$fewer), $changes{$change}, "seen: $change");
}

# --- index files of old versions ----------------------------------------------

# Checksums, where initdb makes them, are not in the files; nor is a position in
# this server's WAL, which is why they are zeroed there.
$node->append_conf('postgresql.conf', 'ignore_checksum_failure = on');
$node->restart;
my %path;
foreach my $file (@files)
{
	my ($version, $name, $rows, $class, $options) = @$file;
	my $table = "old_$name";

	# In one statement, so that row i stands where it stood.
	$node->safe_psql(
		'fresh', qq{
		CREATE TABLE $table (id int, v vector(4));
		INSERT INTO $table SELECT i, ARRAY[i * 7919 % 1009, i * 104729 % 1013,
			i % 31, i % 37]::real[]::vector FROM generate_series(1, $rows) i;
		CREATE INDEX ${table}_v ON $table USING chassis (v $class)
			WITH ($options);
		CHECKPOINT});
	$path{$name} =
	  $node->data_dir . '/'
	  . $node->safe_psql('fresh',
		"SELECT pg_relation_filepath('${table}_v')");
}
my $current_format = $node->safe_psql('fresh',
	q{SELECT value FROM chassis_index_info('old_flat_v')
		WHERE name = 'format'});
$node->stop;
foreach my $file (@files)
{
	my ($version, $name) = @$file;

	gunzip("test/upgrade/index-$version-$name.gz" => $path{$name}, BinModeOut => 1)
	  or die "index-$version-$name.gz: $GunzipError";
}
$node->start;
foreach my $file (@files)
{
	my ($version, $name, $rows, $class, $options, $format) = @$file;
	my $table = "old_$name";
	my $operator = $class eq 'vector_l2_ops' ? '<->' : '<=>';
	my $label = "an index of $version ($name)";
	my $by_index = 'SET enable_seqscan = off; SET chassis.ef_search = 400;';
	my $query = "SELECT count(*), sum(d) FROM (SELECT v $operator
		'[500,500,10,20]' AS d FROM $table
		ORDER BY v $operator '[500,500,10,20]' LIMIT 20) q";
	my $add = "INSERT INTO $table SELECT id + $rows, v + '[1,1,1,1]' FROM $table";
	my $exact = $node->safe_psql('fresh', "SET enable_indexscan = off; $query");

	if ($format < $current_format)
	{
		# It is never read wrongly: whatever needs it says what to do.
		foreach my $statement ("$by_index $query", $add,
			"SELECT * FROM chassis_index_info('${table}_v')")
		{
			my ($status, $stdout, $stderr) = $node->psql('fresh', $statement);
			like(
				$stderr,
				qr/index "${table}_v" has format $format, .*REINDEX/s,
				"$label is refused with a hint: $statement");
		}
		like(
			$node->safe_psql('fresh',
				"SELECT problem FROM chassis_index_check('${table}_v')"),
			qr/^format $format /,
			'the checker reports it');
		# Which leaves the table to those who do not need the index.
		is($node->safe_psql('fresh', "SELECT count(*) FROM $table WHERE id > 0"),
			$rows, 'the table can be read');
		my $how = $name eq 'flat' ? 'CONCURRENTLY' : '';
		$node->safe_psql('fresh', "REINDEX INDEX $how ${table}_v");
	}
	else
	{
		is( $node->safe_psql('fresh',
				"SELECT value FROM chassis_index_info('${table}_v')
				WHERE name = 'format'"),
			$format,
			'it is the old file');
	}
	is($node->safe_psql('fresh', "$by_index $query"),
		$exact, "$label, or what REINDEX made of it, finds what it found");
	ChassisCluster->index_is_clean($node, "${table}_v", $label, 'fresh');
	$node->safe_psql('fresh',
		"$add; DELETE FROM $table WHERE id % 3 = 0; VACUUM $table");
	ChassisCluster->index_is_clean($node, "${table}_v",
		"$label after inserts, deletes and VACUUM", 'fresh');
}

done_testing();
