# 010_build.pl
#	  An index is as good whichever way it was built.
#
# One table, built in memory by one process and by several, with too little
# memory for the graph, and concurrently; then what a build promises besides:
# that it can be repeated, watched and stopped, that its WAL is written once,
# and that an unlogged index is empty after a crash and works.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Enough rows that 1 MB does not hold their graph.
my $rows = 5000;
my %shape = (dim => 32, clusters => 300, jitter => 0.5);

# 64 is as small as the recall of one build differs from another's: what is
# tested is the difference, not the graph.
my $options = 'WITH (m = 16, ef_construction = 64)';
my $floor = 0.97;

my $node = ChassisCluster->new_node('build', conf => 'log_min_messages = log');
ChassisCluster->load_vectors($node, 'items', rows => $rows, %shape);

# Builds items_idx with these settings; returns what was said meanwhile.
sub build
{
	my ($settings, $concurrently) = @_;
	my $err;

	$node->safe_psql('postgres', 'DROP INDEX IF EXISTS items_idx');
	$node->psql(
		'postgres',
		"$settings; SET client_min_messages = debug1;\n"
		  . 'CREATE INDEX '
		  . ($concurrently // '')
		  . " items_idx ON items USING chassis (embedding vector_l2_ops) $options",
		stderr => \$err,
		on_error_die => 1);
	return $err;
}

sub check_recall
{
	my ($label) = @_;
	my $recall = ChassisCluster->recall($node, 'items', %shape,
		queries => 100, ef_search => 100);

	cmp_ok($recall, '>=', $floor, "recall, $label");
	ChassisCluster->index_is_clean($node, 'items_idx', $label);
	return;
}

my $serial = 'SET max_parallel_maintenance_workers = 0';
my $parallel = 'SET max_parallel_maintenance_workers = 2';
my $small = "SET maintenance_work_mem = '1MB'";
my $large = "SET maintenance_work_mem = '64MB'";
my $full = qr/NOTICE:  chassis graph no longer fits into maintenance_work_mem/;
my $worker = qr/chassis build: worker added/;
my $said;

$said = build("$serial; $large");
unlike($said, $full, '64 MB are enough');
unlike($said, $worker, 'one process');
check_recall('serial, 64 MB');
my $size = $node->safe_psql('postgres', "SELECT pg_relation_size('items_idx')");

$said = build("$serial; $small");
like($said, $full, '1 MB is not');
check_recall('serial, 1 MB');
cmp_ok(
	$node->safe_psql('postgres', "SELECT pg_relation_size('items_idx')"),
	'<=', $size * 1.1, 'built on pages, the index is not larger');

$said = build("$parallel; $large");
like($said, $worker, 'several processes');
check_recall('parallel, 64 MB');

$said = build("$parallel; $small");
like($said, $worker, 'several processes');
like($said, $full, '1 MB is not enough for them either');
check_recall('parallel, 1 MB');

build("$parallel; $large", 'CONCURRENTLY');
check_recall('parallel, concurrently');

# The table may ask for no workers, or for its own number.
$node->safe_psql('postgres', 'ALTER TABLE items SET (parallel_workers = 0)');
unlike(build("$parallel; $large"), $worker, 'parallel_workers = 0');
$node->safe_psql('postgres', 'ALTER TABLE items RESET (parallel_workers)');

# ---- WAL: every page once ----

my $before = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
build("$serial; $small");
my $wal = $node->safe_psql('postgres',
	"SELECT pg_current_wal_insert_lsn() - '$before'");
cmp_ok($wal, '<=', $size * 1.2 + 200_000,
	'the WAL of a build is its pages, also of one that goes on on pages');

# ---- repeated builds ----

# The pages of an index but for what WAL and checksums put into their headers.
sub page_bytes
{
	my ($index) = @_;
	my $path = $node->safe_psql('postgres',
		"CHECKPOINT; SELECT pg_relation_filepath('$index')");
	my $bytes = slurp_file($node->data_dir . "/$path");
	my $pages = '';

	for (my $at = 0; $at < length($bytes); $at += 8192)
	{
		$pages .= substr($bytes, $at + 10, 8182);
	}
	return $pages;
}

build("$serial; $large");
$node->safe_psql('postgres',
	"$serial; $large; CREATE INDEX items_again ON items USING chassis (embedding) $options"
);
ok(page_bytes('items_idx') eq page_bytes('items_again'),
	'a serial build can be repeated byte for byte');
$node->safe_psql('postgres',
	"$serial; $large; SET chassis.build_seed = 5; REINDEX INDEX items_again");
ok(page_bytes('items_idx') ne page_bytes('items_again'),
	'another seed gives another graph');
$node->safe_psql('postgres', 'DROP INDEX items_again');

# ---- progress ----

# An expression that waits for a lock of ours, another in each phase.
$node->safe_psql('postgres', q{
	CREATE FUNCTION held(v vector, id bigint) RETURNS vector
	LANGUAGE plpgsql IMMUTABLE AS $$
	DECLARE
		key int;
	BEGIN
		IF id % 50 = 0 THEN
			PERFORM pg_stat_clear_snapshot();
			key := CASE split_part(phase, ': ', 2)
				WHEN 'sampling rows' THEN 1 WHEN 'loading tuples' THEN 2 ELSE 3 END
				FROM pg_stat_progress_create_index WHERE pid = pg_backend_pid();
			PERFORM pg_advisory_lock(key), pg_advisory_unlock(key);
		END IF;
		RETURN v;
	END $$;
});
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1), pg_advisory_lock(2)');

my $builder = $node->background_psql('postgres');
$builder->query_until(
	qr/started/,
	"\\echo started\n"
	  . "CREATE INDEX items_held ON items USING chassis ((held(embedding, id)::vector(32)));\n"
);

# Waits until the build is held in this phase, and returns how far it is.
sub progress_in
{
	my ($phase) = @_;

	$node->poll_query_until('postgres',
		"SELECT EXISTS (SELECT FROM pg_stat_progress_create_index JOIN pg_stat_activity USING (pid)
			WHERE phase = 'building index: $phase' AND wait_event_type = 'Lock')")
	  or die "no build is held in phase $phase";
	return $node->safe_psql('postgres',
		'SELECT tuples_done, tuples_total FROM pg_stat_progress_create_index');
}

is(progress_in('sampling rows'), '0|0', 'a build is seen to sample rows');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
my ($done, $total) = split /\|/, progress_in('loading tuples');
is($done, 49, 'then to load tuples, of which it counts those done');
cmp_ok(abs($total - $rows), '<=', $rows / 10, 'and expects about all');
$holder->query_safe('SELECT pg_advisory_unlock(2)');
$holder->quit;
$builder->query_safe('SELECT 1');
$builder->quit;
ChassisCluster->index_is_clean($node, 'items_held', 'built while watched');
$node->safe_psql('postgres', 'DROP INDEX items_held');

# ---- interruption ----

# Some 20 times what the timeout allows, in one process and in several.
foreach my $settings ($serial, $parallel)
{
	my $err;

	$node->psql(
		'postgres',
		"$settings; SET statement_timeout = '200ms';
		CREATE INDEX items_late ON items USING chassis (embedding) WITH (ef_construction = 2000)",
		stderr => \$err);
	like($err, qr/canceling statement due to statement timeout/,
		"a build can be stopped ($settings)");
}
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM pg_class WHERE relname = 'items_late'"),
	'0',
	'and leaves no index');

# ---- unlogged ----

$node->safe_psql(
	'postgres', "$parallel;
	CREATE UNLOGGED TABLE scratch AS SELECT * FROM items;
	CREATE INDEX scratch_idx ON scratch USING chassis (embedding) $options");
ChassisCluster->index_is_clean($node, 'scratch_idx', 'unlogged');
$node->stop('immediate');
$node->start;
is( $node->safe_psql(
		'postgres',
		"SELECT pg_relation_size('scratch_idx') = current_setting('block_size')::int"
	),
	't',
	'after a crash an unlogged index is empty');
my $self = 'SELECT embedding FROM items WHERE id = 1500';
is( $node->safe_psql(
		'postgres', "INSERT INTO scratch SELECT * FROM items WHERE id <= 2000;
		SET enable_seqscan = off;
		SELECT id FROM scratch ORDER BY embedding <-> ($self) LIMIT 1"),
	'1500',
	'and can be filled again');
ChassisCluster->index_is_clean($node, 'scratch_idx', 'filled again');
check_recall('after a crash');

$node->stop;
done_testing();
