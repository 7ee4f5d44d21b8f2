# 001_wal_replay.pl
#	  A standby has the same index: after every kind of change it gives the same
#	  answers in the same order, and its index is clean.
#
# All of it under wal_consistency_checking = generic: replay then compares each
# page it made with an image of the primary's and stops the standby where they
# differ.  Then scans on the standby while the primary removes rows, and the
# standby's promotion.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use Test::More;

my $scale = ChassisCluster->scale;
my $rows = 3000;

my $primary = ChassisCluster->new_node(
	'primary',
	allows_streaming => 1,
	conf => q{
		wal_consistency_checking = 'generic'
		max_wal_senders = 4
	});
# A query on the standby must not be cancelled because VACUUM removed rows.
my $standby = ChassisCluster->new_standby($primary, 'standby',
	conf => 'max_standby_streaming_delay = -1');

# Tables that cover the kinds of index: codes, none, vectors only in the table.
my %opclass = (
	items => [ '<->', 'vector_l2_ops', '' ],
	plain => [ '<#>', 'vector_ip_ops', 'WITH (bits = 32)' ],
	outside => [ '<=>', 'vector_cosine_ops', 'WITH (rerank = heap)' ]);
my @tables = sort keys %opclass;

sub on_all
{
	my ($sql) = @_;

	foreach my $table (@tables)
	{
		my $statement = $sql =~ s/TABLE_NAME/$table/gr;

		$primary->safe_psql('postgres', $statement);
	}
	return;
}

# Waits until the standby has everything and compares it.
sub compare
{
	my ($label) = @_;

	$primary->wait_for_catchup($standby);
	foreach my $table (@tables)
	{
		my $op = $opclass{$table}[0];

		is( ChassisData->answers($standby, $table, op => $op),
			ChassisData->answers($primary, $table, op => $op),
			"$table: the standby answers like the primary: $label");
		is( ChassisData->answers(
				$standby, $table,
				op => $op,
				queries => 1,
				limit => 'NULL'),
			ChassisData->answers(
				$primary, $table,
				op => $op,
				queries => 1,
				limit => 'NULL'),
			"$table: all rows, in the same order: $label");
		ChassisCluster->index_is_clean($standby, "${table}_idx",
			"standby, $label");
		ChassisCluster->index_is_clean($primary, "${table}_idx",
			"primary, $label");
	}
	return;
}

sub insert_rows
{
	my ($first, $last) = @_;

	on_all(qq{INSERT INTO TABLE_NAME
		SELECT id, test_vector(1, id, 32, 100, 0.3)::vector
		FROM generate_series($first, $last) AS id});
	return;
}

# ---- an empty index fills up ----

ChassisCluster->install_generator($primary);
foreach my $table (@tables)
{
	my (undef, $class, $with) = @{ $opclass{$table} };

	$primary->safe_psql(
		'postgres', qq{
		CREATE TABLE $table (id bigint PRIMARY KEY, embedding vector(32),
			counter integer DEFAULT 0);
		CREATE INDEX ${table}_counter_idx ON $table (counter);
		CREATE INDEX ${table}_idx ON $table
			USING chassis (embedding $class) $with});
}
$primary->wait_for_catchup($standby);
is( $standby->safe_psql('postgres', 'SELECT count(*) FROM items'),
	'0', 'the standby has the empty table');

# Readers that see the index become a graph: the rows of an unlimited scan are
# those of the table, all the time.
my @watch = map {
	my $op = $opclass{$_}[0];

	qq{SET enable_seqscan = off;
	SET enable_sort = off;
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT count(*) AS live FROM $_ \\gset
	WITH f AS MATERIALIZED (SELECT id FROM $_ ORDER BY embedding $op
		(SELECT test_vector(1, 1000000001, 32, 100, 0.3)::vector))
	SELECT 1 / (count(*) = :live AND count(DISTINCT id) = :live)::integer
		FROM f;
	COMMIT;
	}
} @tables;
my $watchers = ChassisData->start_pgbench(
	$standby, 'watchers',
	clients => 2,
	transactions => 1_000_000,
	scripts => \@watch);
insert_rows(1, 500);
compare('flat');
insert_rows(501, 1010);
is( $primary->safe_psql('postgres',
		q{SELECT value FROM chassis_index_info('items_idx') WHERE name = 'phase'}
	),
	'graph',
	'the index became a graph');
compare('turned into a graph, leftovers not yet linked');
insert_rows(1011, 1500);
compare('a graph filled by inserts');
ok(ChassisData->is_running($watchers), 'the watchers were there all the time');
$watchers->{run}->signal('INT');
my (undef, $complaint) = ChassisData->finish_pgbench($watchers);
unlike($complaint, qr/ERROR|aborted/, 'and saw every row once');

# ---- a build ----

on_all('TRUNCATE TABLE_NAME');
foreach my $table (@tables)
{
	my (undef, $class, $with) = @{ $opclass{$table} };

	$primary->safe_psql(
		'postgres', qq{
		DROP INDEX ${table}_idx;
		INSERT INTO $table
			SELECT id, test_vector(1, id, 32, 100, 0.3)::vector
			FROM generate_series(1, $rows) AS id;
		CREATE INDEX ${table}_idx ON $table
			USING chassis (embedding $class) $with});
}
compare('built');
insert_rows($rows + 1, $rows + 200);
compare('inserts after the build');

# ---- equal vectors, updates, removal ----

on_all(q{INSERT INTO TABLE_NAME
	SELECT 1000000 + i, (SELECT embedding FROM TABLE_NAME WHERE id = 77)
	FROM generate_series(1, 200) AS i});
compare('two hundred equal vectors');
on_all('UPDATE TABLE_NAME SET counter = counter + 1 WHERE id % 7 = 0');
compare('updates that leave the vector alone');
on_all(q{UPDATE TABLE_NAME
	SET embedding = test_vector(2, id, 32, 100, 0.3)::vector
	WHERE id % 11 = 0});
compare('updates of the vector');
on_all('DELETE FROM TABLE_NAME WHERE id % 2 = 0');
compare('deleted, not vacuumed');
on_all('VACUUM TABLE_NAME');
compare('vacuumed');
insert_rows($rows + 1001, $rows + 1500);
compare('inserts into freed slots');

# ---- rows of several pages ----

# The largest that shares a record with its slot, three pages beside the slot's,
# and the smallest that is written in steps.
foreach my $dim (4080, 4081)
{
	my $table = "wide_$dim";
	my $padded = qq{(test_vector(1, id, 32, 100, 0.3)
		|| array_fill(0::real, ARRAY[$dim - 32]))::vector};
	my $scan = qq{SET enable_seqscan = off; SET enable_sort = off;
		SELECT id FROM $table ORDER BY embedding <->
			(SELECT embedding FROM $table ORDER BY id LIMIT 1)};

	$primary->safe_psql(
		'postgres', qq{
		SET chassis.flat_limit = 40;
		CREATE TABLE $table (id bigint PRIMARY KEY, embedding vector($dim));
		CREATE INDEX ${table}_idx ON $table
			USING chassis (embedding vector_l2_ops)});
	foreach my $step (
		[ 'flat and a graph', 'true', 1, 120 ],
		[ 'freed slots', 'id % 3 = 0', 121, 180 ])
	{
		my ($label, $gone, $first, $last) = @$step;

		$primary->safe_psql('postgres', $_)
		  foreach (
			"DELETE FROM $table WHERE $gone",
			"VACUUM $table",
			qq{INSERT INTO $table SELECT id, $padded
				FROM generate_series($first, $last) AS id});
		$primary->wait_for_catchup($standby);
		is( $standby->safe_psql('postgres', $scan),
			$primary->safe_psql('postgres', $scan),
			"$table: the standby answers like the primary: $label");
		ChassisCluster->index_is_clean($standby, "${table}_idx",
			"standby, $label");
		ChassisData->index_is_whole($primary, $table, "${table}_idx", $label);
	}
}

# ---- scans on the standby while the primary removes rows ----

my $readers = ChassisData->start_pgbench(
	$standby, 'readers',
	clients => 2,
	transactions => 150 * $scale,
	scripts => [
		q{\set id random(1, 100)
		SET enable_seqscan = off;
		SELECT id FROM items ORDER BY embedding <->
			test_vector(1, 1000000000 + :id, 32, 100, 0.3)::vector LIMIT 20;
	},
		q{SET enable_seqscan = off;
		SELECT 1 / (count(*) = count(DISTINCT id))::integer
		FROM (SELECT id FROM outside ORDER BY embedding <=>
			(SELECT test_vector(1, 1000000001, 32, 100, 0.3)::vector)) AS f;
	}
	]);
my $rounds = 0;
while ($rounds < 3 || ChassisData->is_running($readers))
{
	my $first = $rounds * 300 % $rows;

	on_all("DELETE FROM TABLE_NAME WHERE id BETWEEN $first AND $first + 299");
	on_all('VACUUM TABLE_NAME');
	insert_rows($first, $first + 299);
	$rounds++;
}
my ($status, $said) = ChassisData->finish_pgbench($readers);
is($status, 0, "readers on the standby met no error in $rounds rounds");
is($said, '', 'and had nothing to say');
compare('after those rounds');

# ---- promotion ----

$primary->safe_psql(
	'postgres', q{
	CREATE UNLOGGED TABLE volatile (id bigint PRIMARY KEY,
		embedding vector(32));
	CREATE INDEX volatile_idx ON volatile
		USING chassis (embedding vector_l2_ops);
	INSERT INTO volatile
		SELECT id, test_vector(1, id, 32, 100, 0.3)::vector
		FROM generate_series(1, 1500) AS id});
$primary->wait_for_catchup($standby);
my ($ret, $out, $err) = $standby->psql('postgres',
	q{SELECT * FROM chassis_index_check('volatile_idx')});
like($err, qr/during recovery/, 'an unlogged index is refused on a standby');
$primary->stop;
$standby->promote;

$standby->safe_psql(
	'postgres', qq{
	INSERT INTO items
		SELECT id, test_vector(1, id, 32, 100, 0.3)::vector
		FROM generate_series(500001, 501000) AS id;
	DELETE FROM items WHERE id % 5 = 0;
	VACUUM items;
	INSERT INTO items
		SELECT id, test_vector(1, id, 32, 100, 0.3)::vector
		FROM generate_series(501001, 501500) AS id});
ChassisData->index_is_whole($standby, 'items', 'items_idx',
	'changed after promotion');
cmp_ok(
	ChassisCluster->recall($standby, 'items', ef_search => 100),
	'>=', 0.98, 'recall after promotion');

is($standby->safe_psql('postgres', 'SELECT count(*) FROM volatile'),
	'0', 'the unlogged table is empty after promotion');
$standby->safe_psql(
	'postgres', q{INSERT INTO volatile
		SELECT id, test_vector(1, id, 32, 100, 0.3)::vector
		FROM generate_series(1, 1500) AS id});
ChassisData->index_is_whole($standby, 'volatile', 'volatile_idx',
	'unlogged, filled after promotion');

done_testing();
