# 030_vacuum.pl
#	  VACUUM over many rows: recall, size, cost, and what a crash leaves.
#
# An index must stay as good as a new one however often its rows are replaced,
# without growing, and VACUUM must cost in proportion to what was deleted.
# Recall is compared with the same index after REINDEX, on the same rows, so
# that the numbers do not depend on how hard the data is.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use Test::More;

my $scale = ChassisCluster->scale;

# serial builds, so that every run meets the same graph
my $node = ChassisCluster->new_node('vacuum',
	conf => 'max_parallel_maintenance_workers = 0');
my $vacuum = 'VACUUM (INDEX_CLEANUP ON)';

# A hundred queries would leave half a point to chance: 300 rows become queries.
sub load_data
{
	note('data: ' . ChassisData->load_sift($node));
	$node->safe_psql(
		'postgres', q{
		INSERT INTO sift_query SELECT id + 1000, embedding FROM sift
			WHERE id % 33 = 5;
		DELETE FROM sift WHERE id % 33 = 5;
		ANALYZE sift});
	$node->safe_psql('postgres', "$vacuum sift");
	return;
}

ChassisCluster->install_generator($node);
load_data();

# One number of chassis_index_info.
sub info
{
	my ($index, $name) = @_;

	return $node->safe_psql('postgres',
		"SELECT value FROM chassis_index_info('$index') WHERE name = '$name'");
}

sub size_of
{
	my ($index) = @_;

	return $node->safe_psql('postgres',
		"SELECT pg_relation_size('$index')");
}

# Runs VACUUM and returns what it says it did to level 0: nodes that were dead,
# repaired, and given an anchor.
sub vacuum_counts
{
	my ($table) = @_;
	my ($status, $out, $err) = $node->psql('postgres',
		"SET client_min_messages = debug1; $vacuum $table");

	die "VACUUM failed: $err\n" if $status != 0;
	return $err =~
	  /level 0: (\d+) dead nodes, (\d+) repaired, (\d+) anchored/
	  ? ($1, $2, $3)
	  : (0, 0, 0);
}

# Tests that the index finds as much as it does after REINDEX, but for a point.
sub as_good_as_new
{
	my ($table, $index, $label) = @_;
	my %recall;

	ChassisData->make_truth($node, 'truth', table => $table,
		queries => 'sift_query');
	foreach my $state ('old', 'new')
	{
		foreach my $ef (20, 100)
		{
			$recall{"$state $ef"} = ChassisData->recall($node, 'truth',
				table => $table, queries => 'sift_query', ef => $ef);
		}
		$node->safe_psql('postgres', "REINDEX INDEX $index")
		  if $state eq 'old';
	}
	foreach my $ef (20, 100)
	{
		note(sprintf 'ef %d: recall %.4f, after REINDEX %.4f',
			$ef, $recall{"old $ef"}, $recall{"new $ef"});
		cmp_ok($recall{"old $ef"}, '>=', $recall{"new $ef"} - 0.01,
			"recall at ef $ef within a point of a new index: $label");
	}
	cmp_ok($recall{'old 100'}, '>=', 0.97, "recall at ef 100: $label");
	return;
}

# ---- cost: one row in a hundred ----

$node->safe_psql('postgres',
	'CREATE INDEX sift_idx ON sift USING chassis (embedding vector_l2_ops)');
my $size = size_of('sift_idx');
$node->safe_psql('postgres', 'DELETE FROM sift WHERE id % 100 = 7');
my $lsn = $node->safe_psql('postgres',
	'CHECKPOINT; SELECT pg_current_wal_insert_lsn()');
# full-page images, one a page and checkpoint, say nothing about VACUUM
$node->safe_psql('postgres', 'ALTER SYSTEM SET full_page_writes = off');
$node->reload;
my ($dead, $repaired, $anchored) = vacuum_counts('sift');
my $wal = $node->safe_psql('postgres',
	"SELECT pg_current_wal_insert_lsn() - '$lsn'");
$node->safe_psql('postgres', 'ALTER SYSTEM RESET full_page_writes');
$node->reload;
note("1 % deleted: $dead dead, $repaired repaired, $anchored anchored, "
	  . "$wal bytes of WAL, index of $size bytes");
is($dead, 97, 'VACUUM found the dead nodes');
cmp_ok($repaired, '>', 0, 'and repaired their neighbours');
cmp_ok($repaired, '<', 4000, 'and no more than those');
cmp_ok($anchored, '<', 500, 'few nodes needed a new anchor');
cmp_ok($wal, '<', 0.15 * $size, 'WAL of VACUUM after 1 %');
ChassisData->index_is_whole($node, 'sift', 'sift_idx', 'after 1 %');

# ---- half of the rows at once ----

$node->safe_psql('postgres',
	'DELETE FROM sift WHERE hashint8(id) % 2 = 0');
$node->safe_psql('postgres', "$vacuum sift");
is(info('sift_idx', 'level_0_dead'), 0, 'no dead node is left');
is(info('sift_idx', 'dead_left'), 'no', 'and none is announced');
ChassisData->index_is_whole($node, 'sift', 'sift_idx', 'after half');
as_good_as_new('sift', 'sift_idx', 'half deleted');

# ---- whole regions: the nearest half to one point ----

$node->safe_psql(
	'postgres', q{
	DELETE FROM sift WHERE embedding <-> (SELECT embedding FROM sift_query
		ORDER BY id LIMIT 1) < (SELECT percentile_cont(0.5) WITHIN GROUP
		(ORDER BY embedding <-> (SELECT embedding FROM sift_query
			ORDER BY id LIMIT 1)) FROM sift)});
$node->safe_psql('postgres', "$vacuum sift");
ChassisData->index_is_whole($node, 'sift', 'sift_idx', 'a region deleted');
as_good_as_new('sift', 'sift_idx', 'a region deleted');

# ---- five turnovers of a table ----

# A window of 3,000 rows that moves over the data in steps of a tenth; what
# leaves is half the oldest rows and half a random choice.
my $window = 3000;
my $step = $window / 10;
$node->safe_psql(
	'postgres', qq{
	DROP TABLE sift;
	DROP TABLE sift_query;
});
load_data();
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE churn (id bigserial, embedding vector(128));
	INSERT INTO churn (embedding)
		SELECT embedding FROM sift ORDER BY id LIMIT $window;
	CREATE INDEX churn_idx ON churn USING chassis (embedding vector_l2_ops)});
my %size = (0 => size_of('churn_idx'));
foreach my $turn (1 .. 5 * $scale)
{
	foreach my $tenth (0 .. 9)
	{
		my $next = ($window * $turn + $step * $tenth) % 9000;

		$node->safe_psql('postgres', $_)
		  foreach (
			qq{DELETE FROM churn WHERE id IN (SELECT id FROM churn
				ORDER BY id LIMIT $step / 2)},
			qq{DELETE FROM churn WHERE id IN (SELECT id FROM churn
				ORDER BY hashint8(id * 1000 + $tenth), id LIMIT $step / 2)},
			"$vacuum churn",
			qq{INSERT INTO churn (embedding) SELECT embedding FROM sift
				WHERE id >= $next ORDER BY id LIMIT $step});
	}
	$size{$turn} = size_of('churn_idx');
}
note('sizes: ' . join ' ', map { $size{$_} } sort { $a <=> $b } keys %size);
is($node->safe_psql('postgres', 'SELECT count(*) FROM churn'),
	$window, 'the table has as many rows as before');
# A tenth of free slots and a step of growth are always there; no more.
cmp_ok($size{1}, '<=', 1.2 * $size{0}, 'index size after one turnover');
cmp_ok($size{ 5 * $scale }, '<=', 1.2 * $size{0}, 'and after all of them');
cmp_ok($size{ 5 * $scale }, '<=', 1.05 * $size{3}, 'where it stays');
ChassisData->index_is_whole($node, 'churn', 'churn_idx', 'after turnovers');
as_good_as_new('churn', 'churn_idx', 'after turnovers');

# ---- equal vectors ----

$node->safe_psql(
	'postgres', q{
	CREATE TABLE equal (id bigserial, embedding vector(8));
	SET chassis.flat_limit = 10;
	CREATE INDEX equal_idx ON equal USING chassis (embedding vector_l2_ops);
	INSERT INTO equal (embedding) SELECT test_vector(1, i % 20, 8, 0, 0)::vector
		FROM generate_series(1, 2000) i});
my $equal_size = size_of('equal_idx');
foreach my $turn (1 .. 5)
{
	$node->safe_psql('postgres', $_)
	  foreach (
		'DELETE FROM equal WHERE id % 3 <> 0',
		"$vacuum equal",
		q{INSERT INTO equal (embedding)
			SELECT test_vector(1, i % 20, 8, 0, 0)::vector
			FROM generate_series(1, 2000 - (SELECT count(*)::int FROM equal)) i});
}
is(info('equal_idx', 'level_0_live'), 20, 'equal vectors share their nodes');
is(info('equal_idx', 'heap_tids'), 2000, 'and every row is there once');
cmp_ok(size_of('equal_idx'), '<=', $equal_size + 2 * 8192,
	'the index has hardly grown');
ChassisData->index_is_whole($node, 'equal', 'equal_idx', 'equal vectors');

# ---- emptied and filled again ----

$node->safe_psql('postgres', $_) foreach ('DELETE FROM churn', "$vacuum churn");
is(info('churn_idx', 'level_0_live'), 0, 'an emptied index has no node');
is(info('churn_idx', 'level_0_entry'), 'none', 'and no entry');
my $emptied = size_of('churn_idx');
$node->safe_psql(
	'postgres', qq{INSERT INTO churn (embedding) SELECT embedding
	FROM sift WHERE id < $window ORDER BY id});
cmp_ok(size_of('churn_idx'), '<=', $emptied, 'its slots are used again');
ChassisData->index_is_whole($node, 'churn', 'churn_idx', 'filled again');

# ---- without WAL: what was created and truncated in one transaction ----

$node->append_conf('postgresql.conf',
	"wal_level = minimal\nmax_wal_senders = 0\n");
$node->restart;
foreach my $threshold ('0', '1GB')
{
	# a threshold of 0 syncs the files at commit, a large one logs them
	$node->safe_psql(
		'postgres', qq{
		SET wal_skip_threshold = '$threshold';
		SET chassis.flat_limit = 100;
		DROP TABLE IF EXISTS fresh;
		BEGIN;
		CREATE TABLE fresh (id bigint PRIMARY KEY, embedding vector(128));
		INSERT INTO fresh SELECT * FROM sift ORDER BY id LIMIT 500;
		CREATE INDEX fresh_idx ON fresh USING chassis (embedding vector_l2_ops);
		TRUNCATE fresh;
		INSERT INTO fresh SELECT row_number() OVER (ORDER BY id), embedding
			FROM sift ORDER BY id LIMIT 300 OFFSET 999;
		COMMIT;
		DELETE FROM fresh WHERE id % 3 = 0;});
	$node->safe_psql('postgres', "$vacuum fresh");
	ChassisData->kill_hard($node);
	ChassisData->start_after_crash($node);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM fresh'),
		200, "rows after a crash, wal_skip_threshold $threshold");
	ChassisData->index_is_whole($node, 'fresh', 'fresh_idx',
		"truncated when created, wal_skip_threshold $threshold");
}

# ---- temporary tables that are emptied at every commit ----

is( $node->safe_psql(
		'postgres', q{
		SET enable_seqscan = off;
		SET chassis.flat_limit = 100;
		CREATE TEMP TABLE fleeting (id bigint PRIMARY KEY, embedding vector(128))
			ON COMMIT DELETE ROWS;
		CREATE INDEX fleeting_idx ON fleeting
			USING chassis (embedding vector_l2_ops);
		BEGIN;
		INSERT INTO fleeting SELECT * FROM sift ORDER BY id LIMIT 300;
		COMMIT;
		BEGIN;
		INSERT INTO fleeting SELECT row_number() OVER (ORDER BY id), embedding
			FROM sift ORDER BY id LIMIT 300 OFFSET 300;
		SELECT count(*), min(id), max(id) FROM (SELECT id FROM fleeting
			ORDER BY embedding <-> (SELECT embedding FROM fleeting LIMIT 1)) f;
		SELECT * FROM chassis_index_check('fleeting_idx');
		COMMIT;
		SELECT count(*) FROM (SELECT id FROM fleeting ORDER BY embedding <->
			(SELECT embedding FROM sift LIMIT 1)) f;
		SELECT * FROM chassis_index_check('fleeting_idx')}),
	"300|301|600\n0",
	'ON COMMIT DELETE ROWS leaves nothing behind');

done_testing();
