# 007_settings.pl
#	  The surroundings an index must live in: caches that are thrown away at any
#	  moment, checksums, a server that logs as little as it can, dump and restore,
#	  rewrites of the table.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use PostgreSQL::Test::Utils;
use Test::More;

my $scale = ChassisCluster->scale;

# Page checksums for everything here; and the least WAL, so that a relation
# made and filled in one transaction is not logged at all.
my $node = ChassisCluster->new_node(
	'settings',
	extra => ['--data-checksums'],
	conf => q{
		wal_level = minimal
		max_wal_senders = 0
		wal_skip_threshold = 0
	});
my $by_index = ChassisData->index_settings;
my $vector = 'test_vector(1, id, 32, 100, 0.3)::vector';

ChassisCluster->install_generator($node);

# ---- caches are thrown away all the time ----

# Where the server was compiled for it, before every use of one.  Elsewhere by
# other sessions: an index's own entry by ALTER INDEX, everything by more
# messages than the queue holds.
my $discard = $node->safe_psql('postgres',
	q{SELECT max_val::integer > 0 FROM pg_settings
	WHERE name = 'debug_discard_caches'}) eq 't';
note($discard
	? 'by debug_discard_caches'
	: 'by other sessions: this server has no debug_discard_caches');

sub discarding
{
	my ($sql) = @_;

	$sql = "SET debug_discard_caches = 1; $sql" if $discard;
	return $node->safe_psql('postgres', "$by_index $sql");
}

$node->safe_psql(
	'postgres', q{
	CREATE TABLE items (id bigint PRIMARY KEY, embedding vector(32));
	CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops);
	CREATE INDEX outside_idx ON items
		USING chassis (embedding vector_cosine_ops) WITH (rerank = heap);
	CREATE SEQUENCE item_ids});
my $columns = join(', ', map { "c$_ integer" } 1 .. 200);
my %storms = (
	messages =>
	  "CREATE TEMP TABLE much ($columns);\nDROP TABLE much;\n",
	definition => q{\set ef random(40, 60)
		ALTER INDEX items_idx SET (ef_search = :ef);
		ALTER INDEX outside_idx SET (ef_search = :ef);
		});

sub start_storms
{
	return if $discard;
	return map {
		ChassisData->start_pgbench(
			$node, $_,
			clients => 1,
			transactions => 1_000_000,
			scripts => [ $storms{$_} ])
	} @_;
}

# Each must have gone on until now; its last words are about being interrupted.
sub end_storms
{
	foreach my $session (@_)
	{
		ok(ChassisData->is_running($session),
			"$session->{name} went on to the end");
		$session->{run}->signal('INT');
		my (undef, $said) = ChassisData->finish_pgbench($session);
		unlike($said, qr/ERROR|aborted/, "$session->{name} met no error");
	}
	return;
}

my @always = start_storms('messages');
my @altering = start_storms('definition');
my $n = $discard ? 1100 : 2000 * $scale;
discarding(
	qq{INSERT INTO items SELECT id, $vector FROM generate_series(1, $n) AS id});
is( discarding(
		q{SELECT count(*) FILTER (WHERE found = id) > 0.99 * count(*)
		FROM (SELECT o.id, f.id AS found
			FROM (SELECT * FROM items WHERE id % 20 = 0 OFFSET 0) o
			CROSS JOIN LATERAL (SELECT id FROM items t
				ORDER BY t.embedding <-> o.embedding LIMIT 1) f) g}),
	't',
	'searches while caches are thrown away');
is( discarding(
		q{SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items
			ORDER BY embedding <=> (SELECT embedding FROM items WHERE id = 3)
			OFFSET 0) f}),
	"$n|$n",
	'an unlimited scan while caches are thrown away');
discarding('DELETE FROM items WHERE id % 3 = 0');

# VACUUM beside ALTER INDEX can fail in any access method, btree's too ("could
# not open relation", once in a thousand times with parallel workers): the
# server does not count a vacuum's snapshot among those that old versions of
# catalog rows are kept for.
end_storms(@altering);
$node->poll_query_until('postgres',
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'ALTER INDEX%'})
  or die "ALTER INDEX does not end\n";
discarding('VACUUM items');
@altering = start_storms('definition');
discarding(
	qq{UPDATE items SET embedding = test_vector(2, id, 32, 100, 0.3)::vector
	WHERE id % 7 = 0});
end_storms(@altering, @always);
discarding('CREATE TABLE copied AS SELECT * FROM items;
	CREATE INDEX copied_idx ON copied USING chassis (embedding vector_l1_ops)');
ChassisData->index_is_whole($node, 'items', 'items_idx',
	'changed while caches were thrown away');
ChassisData->index_is_whole(
	$node, 'items', 'outside_idx',
	'rerank = heap, the same',
	op => '<=>');
ChassisData->index_is_whole(
	$node, 'copied', 'copied_idx',
	'built while caches were thrown away',
	op => '<+>');

# ---- the least WAL ----

# All of it in transactions that created what they fill; then a crash.
$node->safe_psql(
	'postgres', qq{
	BEGIN;
	CREATE TABLE created (id bigint PRIMARY KEY, embedding vector(32));
	CREATE INDEX created_idx ON created
		USING chassis (embedding vector_l2_ops);
	INSERT INTO created SELECT id, $vector FROM generate_series(1, 1500) AS id;
	COMMIT;
	BEGIN;
	CREATE TABLE truncated (id bigint PRIMARY KEY, embedding vector(32));
	INSERT INTO truncated
		SELECT id, $vector FROM generate_series(1, 1200) AS id;
	CREATE INDEX truncated_idx ON truncated
		USING chassis (embedding vector_l2_ops);
	TRUNCATE truncated;
	INSERT INTO truncated
		SELECT id, $vector FROM generate_series(2001, 3100) AS id;
	SAVEPOINT s;
	TRUNCATE truncated;
	INSERT INTO truncated
		SELECT id, $vector FROM generate_series(4001, 4100) AS id;
	ROLLBACK TO s;
	COMMIT;
	BEGIN;
	REINDEX INDEX copied_idx;
	DELETE FROM copied WHERE id % 2 = 0;
	INSERT INTO copied SELECT id, $vector FROM generate_series(5001, 5100) AS id;
	COMMIT;
	CREATE UNLOGGED TABLE logged (id bigint PRIMARY KEY, embedding vector(32));
	INSERT INTO logged SELECT id, $vector FROM generate_series(1, 1100) AS id;
	CREATE INDEX logged_idx ON logged USING chassis (embedding vector_l2_ops);
	ALTER TABLE logged SET LOGGED});
ChassisData->kill_hard($node);
ChassisData->start_after_crash($node);
is( $node->safe_psql(
		'postgres',
		'SELECT (SELECT count(*) FROM created), (SELECT count(*) FROM truncated),
			(SELECT count(*) FROM logged)'),
	'1500|1100|1100',
	'rows of relations that were not logged survive a crash');
foreach my $table ('created', 'truncated', 'copied', 'logged')
{
	ChassisData->index_is_whole(
		$node, $table, "${table}_idx",
		'little WAL, after a crash',
		op => $table eq 'copied' ? '<+>' : '<->');
}

# ---- rewrites of the table ----

$node->safe_psql(
	'postgres', qq{
	ALTER TABLE logged SET UNLOGGED;
	INSERT INTO logged SELECT id, $vector FROM generate_series(2001, 2100) AS id;
	ALTER TABLE logged SET LOGGED;
	DELETE FROM truncated WHERE id % 2 = 0;
	VACUUM FULL truncated;
	CLUSTER created USING created_pkey;
	ALTER TABLE copied ALTER embedding TYPE vector(32) USING embedding * embedding});
ChassisData->index_is_whole($node, 'logged', 'logged_idx',
	'unlogged and logged again');
ChassisData->index_is_whole($node, 'truncated', 'truncated_idx',
	'after VACUUM FULL');
ChassisData->index_is_whole($node, 'created', 'created_idx', 'after CLUSTER');
ChassisData->index_is_whole(
	$node, 'copied', 'copied_idx',
	'after ALTER TYPE',
	op => '<+>');

is( $node->safe_psql(
		'postgres', qq{$by_index
		CREATE TEMP TABLE passing (id bigint, embedding vector(32))
			ON COMMIT DELETE ROWS;
		CREATE INDEX passing_idx ON passing
			USING chassis (embedding vector_l2_ops);
		BEGIN;
		INSERT INTO passing
			SELECT id, $vector FROM generate_series(1, 1200) AS id;
		SELECT id FROM passing ORDER BY embedding <->
			(SELECT embedding FROM passing WHERE id = 7) LIMIT 1;
		COMMIT;
		SELECT count(*) FROM (SELECT id FROM passing ORDER BY embedding <->
			(SELECT embedding FROM items LIMIT 1)) f;
		SELECT count(*) FROM chassis_index_check('passing_idx');
		BEGIN;
		INSERT INTO passing
			SELECT id, $vector FROM generate_series(11, 20) AS id;
		SELECT id FROM passing ORDER BY embedding <->
			(SELECT embedding FROM passing WHERE id = 17) LIMIT 1;
		SELECT count(*) FROM chassis_index_check('passing_idx');
		COMMIT}),
	"7\n0\n0\n17\n0",
	'ON COMMIT DELETE ROWS');

# ---- dump and restore, with the extension in a schema of its own ----

$node->safe_psql('postgres', 'CREATE DATABASE aside');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
ChassisCluster->install_generator($node, 'aside');
$node->safe_psql(
	'aside', qq{
	CREATE SCHEMA chassis;
	CREATE EXTENSION chassis SCHEMA chassis;
	CREATE TABLE items (id bigint PRIMARY KEY, embedding chassis.vector(32),
		numbers real[]);
	INSERT INTO items
		SELECT id, v::chassis.vector, v FROM (SELECT id,
			test_vector(1, id, 32, 100, 0.3) AS v
			FROM generate_series(1, 1500) AS id) AS s;
	CREATE INDEX items_idx ON items
		USING chassis (embedding chassis.vector_cosine_ops)
		WITH (m = 12, bits = 8, ef_search = 77);
	CREATE INDEX part_idx ON items USING chassis (embedding chassis.vector_l2_ops)
		WHERE id <= 300;
	CREATE INDEX expression_idx ON items USING chassis
		((numbers::chassis.vector(32)) chassis.vector_l1_ops)});
my $file = $node->basedir . '/aside.dump';
$node->command_ok([ 'pg_dump', '--file', $file, $node->connstr('aside') ],
	'dump');
$node->command_ok(
	[
		'psql', '--no-psqlrc', '--quiet', '--set', 'ON_ERROR_STOP=1',
		'--file', $file, $node->connstr('restored')
	],
	'restore');

my $definitions = q{SELECT indexdef FROM pg_indexes
	WHERE tablename = 'items' ORDER BY 1};
my $answer = qq{$by_index
	SELECT id FROM items ORDER BY embedding OPERATOR(chassis.<=>)
		(SELECT embedding FROM items WHERE id = 5) LIMIT 20;
	SELECT id FROM items WHERE id <= 300
		ORDER BY embedding OPERATOR(chassis.<->)
		(SELECT embedding FROM items WHERE id = 5) LIMIT 20;
	SET search_path = public, chassis;
	SELECT id FROM items ORDER BY numbers::chassis.vector(32)
		OPERATOR(chassis.<+>) (SELECT embedding FROM items WHERE id = 5) LIMIT 20;
	SELECT name, value FROM chassis_index_info('items_idx')
		WHERE name IN ('m', 'bits', 'metric')};
is( $node->safe_psql('restored', $definitions),
	$node->safe_psql('aside', $definitions),
	'the restored indexes are defined alike');
is($node->safe_psql('restored', $answer),
	$node->safe_psql('aside', $answer), 'and answer alike');
foreach my $index ('items_idx', 'part_idx', 'expression_idx')
{
	is( $node->safe_psql(
			'restored', "SELECT * FROM chassis.chassis_index_check('$index')"),
		'',
		"restored $index is clean");
	like(
		$node->safe_psql('restored', "$by_index EXPLAIN (COSTS OFF) $_"),
		qr/using $index/,
		"and $index is used")
	  foreach {
		items_idx => 'SELECT id FROM items
			ORDER BY embedding OPERATOR(chassis.<=>)
			(SELECT embedding FROM items WHERE id = 5) LIMIT 20',
		part_idx => 'SELECT id FROM items WHERE id <= 300
			ORDER BY embedding OPERATOR(chassis.<->)
			(SELECT embedding FROM items WHERE id = 5) LIMIT 20',
		expression_idx => 'SELECT id FROM items
			ORDER BY numbers::chassis.vector(32) OPERATOR(chassis.<+>)
			(SELECT embedding FROM items WHERE id = 5) LIMIT 20'
	  }->{$index};
}

# ---- the file as others see it ----

$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
$node->command_ok(
	[ 'pg_amcheck', '--heapallindexed', $node->connstr('postgres') ],
	'pg_amcheck has nothing to say of tables and btrees beside it');
$node->stop;
$node->command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
	'all pages have right checksums');

done_testing();
