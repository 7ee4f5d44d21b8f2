# 004_concurrent.pl
#	  Many sessions at once: afterwards the index is clean and no row is lost.
#
# Four loads: clients that insert, delete, update and search while VACUUM runs
# in a loop; statements cancelled at any moment; clients that fill an empty
# index past the turn to a graph; and indexes that are built and rebuilt
# CONCURRENTLY under writes.
#
# What each client asserts on the way is in its script: an answer has no row
# twice and is sorted, or the division by zero ends the client and the test.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use Test::More;

my $scale = ChassisCluster->scale;
my $node = ChassisCluster->new_node('concurrent');

ChassisCluster->install_generator($node);

# Waits for pgbench and tests that no client failed.
sub finished
{
	my ($handle, $label) = @_;
	my ($status, $said) = ChassisData->finish_pgbench($handle);

	is($said, '', "no client of \"$handle->{name}\" complained: $label");
	return is($status, 0, "all clients of \"$handle->{name}\" finished: $label");
}

# ---- insert, delete, update, search, and VACUUM in a loop ----

ChassisCluster->load_vectors($node, 'items', rows => 5000);
$node->safe_psql(
	'postgres', q{
	CREATE SEQUENCE item_ids START 10001;
	CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops);
	CREATE INDEX outside_idx ON items
		USING chassis (embedding vector_cosine_ops) WITH (rerank = heap, m = 8)});

my $insert = q{
	INSERT INTO items
		SELECT id, test_vector(1, id, 32, 100, 0.3)::vector
		FROM (SELECT nextval('item_ids') AS id) AS i;
};
my $insert_equal = q{
	\set of random(1, 20)
	INSERT INTO items
		SELECT nextval('item_ids'), test_vector(1, :of, 32, 100, 0.3)::vector;
};
my $delete = q{
	\set id random(1, 5000)
	DELETE FROM items WHERE id = (SELECT id FROM items WHERE id >= :id
		ORDER BY id LIMIT 1);
};
my $update = q{
	\set id random(1, 5000)
	UPDATE items SET embedding = test_vector(2, :id, 32, 100, 0.3)::vector
		WHERE id = :id;
};

# sorted but for what relaxed_order may return late
my $select = q{
	\set id random(1, 1000)
	SET enable_seqscan = off;
	WITH f AS MATERIALIZED (SELECT id FROM items ORDER BY embedding <->
		(SELECT test_vector(1, 1000000000 + :id, 32, 100, 0.3)::vector)
		LIMIT 20)
	SELECT 1 / (count(*) = 20 AND count(DISTINCT id) = 20)::integer FROM f;
};
my $select_all = q{
	SET enable_seqscan = off;
	SET enable_sort = off;
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT count(*) AS live FROM items \gset
	WITH f AS MATERIALIZED (SELECT id FROM items ORDER BY embedding <->
		(SELECT test_vector(1, 1000000001, 32, 100, 0.3)::vector))
	SELECT 1 / (count(*) = :live AND count(DISTINCT id) = :live)::integer FROM f;
	COMMIT;
};

my $load = ChassisData->start_pgbench(
	$node, 'load',
	clients => 4,
	transactions => 1500 * $scale,
	scripts => [
		"$insert\@6", "$insert_equal\@1", "$delete\@8", "$update\@2",
		"$select\@4", "$select_all\@1"
	]);
my $vacuums = 0;
while (ChassisData->is_running($load))
{
	$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP ON) items');
	$vacuums++;
}
finished($load, 'mixed load');
cmp_ok($vacuums, '>=', 3, "VACUUM ran $vacuums times meanwhile");
ChassisData->index_is_whole($node, 'items', 'items_idx', 'after mixed load');
ChassisData->index_is_whole(
	$node, 'items', 'outside_idx',
	'after mixed load',
	op => '<=>');
$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP ON) items');
ChassisData->index_is_whole($node, 'items', 'items_idx',
	'after mixed load and VACUUM');
cmp_ok(ChassisCluster->recall($node, 'items', ef_search => 100),
	'>=', 0.98, 'recall after mixed load');

# ---- statements that are cancelled ----

# Each inserts twenty rows and has 1 to 45 ms for it, in a session that does not
# mind, beside clients that finish theirs.
my $cancelled = join(
	'',
	map {
		my ($first, $time) = (100_000 + 20 * $_, 1 + 4 * ($_ % 12));

		"SET statement_timeout = '${time}ms';
		INSERT INTO items
			SELECT id, test_vector(1, id, 32, 100, 0.3)::vector
			FROM generate_series($first, $first + 19) AS id;\n"
	} 1 .. 200 * $scale);
my $beside = ChassisData->start_pgbench(
	$node, 'beside',
	clients => 2,
	transactions => 200 * $scale,
	seed => 2,
	scripts => [ $insert, $delete ]);
my ($ret, $out, $err) =
  $node->psql('postgres', $cancelled, on_error_stop => 0);
my $times = () = $err =~ /canceling statement due to statement timeout/g;
cmp_ok($times, '>', 10, "$times statements were cancelled");
finished($beside, 'beside cancelled statements');
ChassisData->index_survived(
	$node, 'items', 'items_idx',
	'after cancelled statements',
	cut_off => $times);
ChassisData->index_survived(
	$node, 'items', 'outside_idx',
	'after cancelled statements',
	cut_off => $times,
	op => '<=>');
$node->safe_psql('postgres', 'DROP TABLE items');

# ---- an empty index, filled by four clients past the turn to a graph ----

# The turn happens once per index, so there are several; a low limit makes the
# clients meet there more often.
foreach my $limit (1000, 50, 10, 1)
{
	my $rows = $limit == 1000 ? 2000 : 400;

	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE items (id bigint PRIMARY KEY, embedding vector(32));
		ALTER SEQUENCE item_ids RESTART 1;
		SET chassis.flat_limit = $limit;
		CREATE INDEX items_idx ON items
			USING chassis (embedding vector_l2_ops)});
	my $fill = ChassisData->start_pgbench(
		$node, 'fill',
		clients => 4,
		transactions => $rows / 4,
		seed => $limit,
		scripts => [ "$insert\@9", "$insert_equal\@1" ]);
	finished($fill, "flat_limit $limit");
	is( $node->safe_psql(
			'postgres',
			q{SELECT value FROM chassis_index_info('items_idx')
			WHERE name = 'phase'}),
		'graph',
		"flat_limit $limit: it is a graph");
	ChassisData->index_is_whole($node, 'items', 'items_idx',
		"filled by four clients, flat_limit $limit");
	$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP ON) items');
	ChassisCluster->index_is_clean($node, 'items_idx',
		"flat_limit $limit, vacuumed");
	$node->safe_psql('postgres', 'DROP TABLE items');
}

# ---- CREATE INDEX and REINDEX CONCURRENTLY under writes ----

ChassisCluster->load_vectors($node, 'items', rows => 6000);
$node->safe_psql('postgres', 'ALTER SEQUENCE item_ids RESTART 10001');
my $writers = ChassisData->start_pgbench(
	$node, 'writers',
	clients => 3,
	transactions => 1_000_000,
	scripts => [ "$insert\@5", "$insert_equal\@1", "$delete\@4", "$update\@2" ]);
$node->safe_psql('postgres',
	'CREATE INDEX CONCURRENTLY items_idx ON items USING chassis (embedding vector_l2_ops)'
);
$node->safe_psql('postgres',
	'CREATE INDEX CONCURRENTLY other_idx ON items USING chassis (embedding vector_cosine_ops) WITH (rerank = heap)'
);
foreach my $turn (1 .. 2 * $scale)
{
	$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY items_idx');
	$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP ON) items');
}
ok(ChassisData->is_running($writers), 'all of it happened under writes');
$writers->{run}->signal('INT');
my (undef, $said) = ChassisData->finish_pgbench($writers);
unlike($said, qr/ERROR|aborted/, 'no writer complained');

ChassisData->index_is_whole($node, 'items', 'items_idx',
	'reindexed concurrently');
ChassisData->index_is_whole(
	$node, 'items', 'other_idx',
	'created concurrently',
	op => '<=>');
cmp_ok(ChassisCluster->recall($node, 'items', ef_search => 100),
	'>=', 0.98, 'recall after REINDEX CONCURRENTLY');

done_testing();
