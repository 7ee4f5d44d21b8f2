# 002_crash.pl
#	  A server killed at any moment of a build, of inserts or of VACUUM comes
#	  back with a sound index that has every committed row.
#
# Killed means SIGKILL for the postmaster and all its children, so that nothing
# is written that was not written already.  The moments are chosen by progress
# (rows inserted, phase of VACUUM), never by the clock.
#
# Also: an unlogged index is empty and usable after a crash, and an index built
# before the crash but after the last checkpoint comes from WAL alone.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use Test::More;

my $scale = ChassisCluster->scale;

# Not the framework's wal_level = minimal: that would not log a build at all.
my $node = ChassisCluster->new_node('crash', conf => 'wal_level = replica');

my $vector = 'test_vector(1, id, 32, 100, 0.3)::vector';

sub crash_and_restart
{
	ChassisData->kill_hard($node);
	ChassisData->start_after_crash($node);
	return;
}

# Waits until a query says yes; dies if it never does.
sub wait_until
{
	my ($query) = @_;

	$node->poll_query_until('postgres', $query)
	  or die "never happened: $query\n";
	return;
}

sub recall_is_good
{
	my ($label, $table) = @_;
	my $recall =
	  ChassisCluster->recall($node, $table // 'items', ef_search => 100);

	return cmp_ok($recall, '>=', 0.97, "recall: $label");
}

# ---- a build ----

ChassisCluster->load_vectors($node, 'built', rows => 20000);
foreach my $workers (0, 2)
{
	foreach my $done (2000, 12000)
	{
		my $build = $node->background_psql('postgres', on_error_stop => 0);

		$build->query_until(
			qr/started/,
			qq{SET max_parallel_maintenance_workers = $workers;
			SET min_parallel_table_scan_size = 0;
			\\echo started
			CREATE INDEX built_idx ON built
				USING chassis (embedding vector_l2_ops);\n});
		wait_until(
			"SELECT tuples_done > $done FROM pg_stat_progress_create_index");
		crash_and_restart();
		eval { $build->quit };
		is( $node->safe_psql('postgres', "SELECT to_regclass('built_idx')"),
			'',
			"$workers workers, killed after $done rows: there is no index");
	}
}
$node->safe_psql(
	'postgres', q{
	CHECKPOINT;
	CREATE INDEX built_idx ON built USING chassis (embedding vector_l2_ops)});
crash_and_restart();
ChassisCluster->index_is_clean($node, 'built_idx', 'from WAL alone');
ChassisData->scan_returns_all($node, 'built', 'from WAL alone');
recall_is_good('from WAL alone', 'built');

# ---- inserts, from the empty index across the turn to a graph ----

$node->safe_psql(
	'postgres', q{
	CREATE TABLE items (id bigint PRIMARY KEY, embedding vector(32));
	CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops);
	CREATE SEQUENCE item_ids CACHE 1});

# Also vectors that are there already, and statements that are rolled back.
my @inserts = (
	qq{INSERT INTO items
		SELECT id, $vector FROM (SELECT nextval('item_ids') AS id) AS i;
	\@8},
	q{INSERT INTO items
		SELECT nextval('item_ids'), test_vector(1, 5, 32, 100, 0.3)::vector;
	@1},
	qq{BEGIN;
		INSERT INTO items
			SELECT id, $vector FROM (SELECT nextval('item_ids') AS id) AS i;
		ROLLBACK;
	\@1});

foreach my $rows (300, 950, 1050, 1400, 2500, 4000)
{
	my $load = ChassisData->start_pgbench(
		$node, 'load',
		clients => 4,
		transactions => 1_000_000,
		seed => $rows,
		scripts => \@inserts);

	wait_until("SELECT count(*) > $rows FROM items");
	crash_and_restart();
	ChassisData->finish_pgbench($load);
	ChassisData->index_survived($node, 'items', 'items_idx',
		"killed while inserting row $rows");
}
recall_is_good('after crashes while inserting');

# Rows that do not fit into a record with their slot: these are claimed first.
$node->safe_psql(
	'postgres', q{
	SET chassis.flat_limit = 100;
	CREATE TABLE wide (id bigint PRIMARY KEY, embedding vector(4100));
	CREATE INDEX wide_idx ON wide USING chassis (embedding vector_l2_ops);
	CREATE SEQUENCE wide_ids CACHE 1});
foreach my $rows (60, 200, 400)
{
	my $load = ChassisData->start_pgbench(
		$node, 'load',
		clients => 4,
		transactions => 1_000_000,
		seed => $rows,
		scripts => [
			q{INSERT INTO wide
			SELECT id, (test_vector(1, id, 32, 100, 0.3)
				|| array_fill(0::real, ARRAY[4068]))::vector
			FROM (SELECT nextval('wide_ids') AS id) AS i;
			}
		]);

	wait_until("SELECT count(*) > $rows FROM wide");
	crash_and_restart();
	ChassisData->finish_pgbench($load);
	ChassisData->index_survived($node, 'wide', 'wide_idx',
		"killed while inserting row $rows of several pages");
}

# ---- VACUUM ----

ChassisCluster->load_vectors($node, 'items', first => 2_000_000,
	rows => 6000);
my $round = 0;
foreach my $phase ('vacuuming indexes', 'vacuuming indexes', 'any')
{
	my $label = 'killed in VACUUM, round ' . ++$round;
	my $load = ChassisData->start_pgbench(
		$node, 'load',
		clients => 2,
		transactions => 1_000_000,
		seed => $round,
		scripts => [ $inserts[0] ]);
	my $vacuum = $node->background_psql('postgres', on_error_stop => 0);

	$node->safe_psql('postgres',
		"DELETE FROM items WHERE id % 3 = $round % 3");
	my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM items');

	$vacuum->query_until(
		qr/started/, qq{\\echo started
		VACUUM (INDEX_CLEANUP ON) items;
		\\echo finished\n});
	if ($phase eq 'any')
	{
		# somewhere: when so many inserts have been done meanwhile
		wait_until("SELECT count(*) > $rows + 50 FROM items");
	}
	else
	{
		wait_until(
			"SELECT count(*) = 1 FROM pg_stat_progress_vacuum WHERE phase = '$phase'"
		);
	}
	crash_and_restart();
	eval { $vacuum->quit };
	ChassisData->finish_pgbench($load);
	ChassisData->index_survived($node, 'items', 'items_idx', $label);
}
recall_is_good('after crashes in VACUUM');

# ---- everything at once, several times ----

foreach my $turn (1 .. 2 * $scale)
{
	my $start = $node->safe_psql('postgres', 'SELECT last_value FROM item_ids');
	my $load = ChassisData->start_pgbench(
		$node, 'load',
		clients => 4,
		transactions => 1_000_000,
		seed => 100 + $turn,
		scripts => [
			@inserts,
			q{\set id random(1, 8000)
			DELETE FROM items WHERE id = :id;
			@10},
			qq{\\set id random(1, 8000)
			UPDATE items SET embedding = test_vector(2, id, 32, 100, 0.3)::vector
				WHERE id = :id;
			\@2}
		]);
	my $vacuum = ChassisData->start_pgbench(
		$node, 'vacuum',
		clients => 1,
		transactions => 1_000_000,
		scripts => ["VACUUM (INDEX_CLEANUP ON) items;\n"]);

	wait_until("SELECT last_value > $start + 700 FROM item_ids");
	$node->safe_psql('postgres', 'CHECKPOINT') if $turn % 2 == 0;
	wait_until("SELECT last_value > $start + 1200 FROM item_ids");
	crash_and_restart();
	ChassisData->finish_pgbench($_) foreach ($load, $vacuum);
	ChassisData->index_survived($node, 'items', 'items_idx',
		"killed under load, turn $turn");
}
recall_is_good('after crashes under load');

# ---- unlogged ----

$node->safe_psql(
	'postgres', qq{
	CREATE UNLOGGED TABLE volatile (id bigint PRIMARY KEY,
		embedding vector(32));
	CREATE INDEX volatile_idx ON volatile
		USING chassis (embedding vector_l2_ops) WITH (m = 8);
	INSERT INTO volatile SELECT id, $vector FROM generate_series(1, 2000) AS id;
	CHECKPOINT});
crash_and_restart();
is($node->safe_psql('postgres', 'SELECT count(*) FROM volatile'),
	'0', 'an unlogged table is empty after a crash');
is( $node->safe_psql(
		'postgres',
		ChassisData->index_settings
		  . "SELECT id FROM volatile ORDER BY embedding <->
			(SELECT embedding FROM items LIMIT 1)"),
	'',
	'and so is its index');
ChassisCluster->index_is_clean($node, 'volatile_idx', 'unlogged, reset');
$node->safe_psql('postgres',
	"INSERT INTO volatile SELECT id, $vector FROM generate_series(1, 2000) AS id");
ChassisData->index_is_whole($node, 'volatile', 'volatile_idx',
	'unlogged, filled after a crash');
is( $node->safe_psql('postgres',
		q{SELECT value FROM chassis_index_info('volatile_idx') WHERE name = 'm'}),
	'8',
	'with the options it was made with');

# a clean shutdown keeps it
$node->restart;
is($node->safe_psql('postgres', 'SELECT count(*) FROM volatile'),
	'2000', 'an unlogged table survives a clean shutdown');
ChassisData->index_is_whole($node, 'volatile', 'volatile_idx',
	'unlogged, after a clean shutdown');

done_testing();
