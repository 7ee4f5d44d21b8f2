# 006_pressure.pl
#	  Few buffers: the graph keeps its place in the pool, and nobody runs out.
#
# Searches pin graph pages through hints that do not raise a buffer's usage
# count by themselves.  Were nothing done about it, the pages that every search
# needs would be the first to be evicted; this measures that they stay.  Then
# the smallest possible pool with many backends, and the same for temporary
# tables: a search that pins many pages at a time must not take what others
# need.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use Test::More;

my $scale = ChassisCluster->scale;
my $node = ChassisCluster->new_node('pressure', conf => 'shared_buffers = 16MB');

# ---- who stays in the pool ----

# Index, table and the filler together are several times the pool.
ChassisCluster->load_vectors($node, 'items', rows => 20000, dim => 100);
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION pg_buffercache;
	CREATE EXTENSION pageinspect;
	CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops);
	CREATE TABLE filler (id bigint PRIMARY KEY, filling text);
	INSERT INTO filler
		SELECT id, repeat(md5(id::text), 60) FROM generate_series(1, 20000) AS id;
	ANALYZE filler;

	-- the kind of a page is the first of its last eight bytes
	CREATE TABLE kinds AS
		SELECT block, get_byte(get_raw_page('items_idx', block::integer),
			current_setting('block_size')::integer - 8) AS kind
		FROM generate_series(0, pg_relation_size('items_idx')
			/ current_setting('block_size')::integer - 1) AS block;
	VACUUM kinds});

my $graph_pages =
  $node->safe_psql('postgres', 'SELECT count(*) FROM kinds WHERE kind = 2');
my $buffers = 2048;
cmp_ok($graph_pages, '>', 400, "the graph has $graph_pages pages");
cmp_ok($graph_pages, '<', $buffers / 2,
	"and would fit the pool of $buffers buffers");

my $search = q{
	\set id random(1, 1000)
	SET enable_seqscan = off;
	SELECT id FROM items ORDER BY embedding <->
		(SELECT test_vector(1, 1000000000 + :id, 100, 100, 0.3)::vector)
		LIMIT 10;
};
my $read = q{
	\set a random(1, 20000)
	\set b random(1, 20000)
	\set c random(1, 20000)
	\set d random(1, 20000)
	SELECT sum(length(filling)) FROM filler WHERE id IN (:a, :b, :c, :d);
};
my ($status, $said) = ChassisData->finish_pgbench(
	ChassisData->start_pgbench(
		$node, 'mixed',
		clients => 3,
		transactions => 4000 * $scale,
		scripts => [ "$search\@1", "$read\@9" ]));
is($said, '', 'no client of the mixed load complained');

my $resident = $node->safe_psql(
	'postgres', q{
	SELECT count(*) FROM kinds JOIN pg_buffercache b
		ON b.relblocknumber = kinds.block
		AND b.relfilenode = pg_relation_filenode('items_idx')
		AND b.reldatabase = (SELECT oid FROM pg_database
			WHERE datname = current_database())
		AND b.relforknumber = 0
	WHERE kind = 2});
my $share = $resident / $graph_pages;
cmp_ok($share, '>=', 0.9, "$resident of $graph_pages graph pages are in the pool");

# ---- the smallest pool and many backends ----

$node->append_conf('postgresql.conf', "shared_buffers = 1MB\n");
$node->restart;
$node->safe_psql('postgres', 'CREATE SEQUENCE item_ids START 100001');
my $insert = q{
	INSERT INTO items
		SELECT id, test_vector(1, id, 100, 100, 0.3)::vector
		FROM (SELECT nextval('item_ids') AS id) AS i;
};
($status, $said) = ChassisData->finish_pgbench(
	ChassisData->start_pgbench(
		$node, 'crowd',
		clients => 40,
		transactions => 10 * $scale,
		scripts => [ "$search\@2", "$insert\@1" ]));
is($said, '', 'forty clients with a pool of 128 buffers');
is($status, 0, 'and all of them finished');
$node->safe_psql('postgres', 'VACUUM items');
ChassisCluster->index_is_clean($node, 'items_idx', 'after the crowd');
cmp_ok(
	ChassisCluster->recall(
		$node, 'items',
		dim => 100,
		queries => 20,
		ef_search => 100),
	'>=', 0.95,
	'recall with a pool of 128 buffers');

# A build needs little more than what it writes at a time.
$node->safe_psql('postgres',
	'CREATE TABLE part AS SELECT * FROM items WHERE id <= 3000; CREATE INDEX part_idx ON part USING chassis (embedding vector_l2_ops)'
);
ChassisCluster->index_is_clean($node, 'part_idx', 'built with 128 buffers');

# ---- temporary tables have a pool of their own ----

my $settings = ChassisData->index_settings;
is( $node->safe_psql(
		'postgres', qq{$settings
		SET temp_buffers = '800kB';
		SET client_min_messages = warning;
		CREATE TEMP TABLE passing (id bigint, embedding vector(100));
		CREATE INDEX passing_idx ON passing
			USING chassis (embedding vector_l2_ops);
		INSERT INTO passing SELECT * FROM items WHERE id <= 2000;
		DELETE FROM passing WHERE id % 2 = 0;
		VACUUM passing;
		INSERT INTO passing SELECT * FROM items WHERE id BETWEEN 2001 AND 2500;
		SELECT count(*) FROM chassis_index_check('passing_idx');
		SELECT count(*), count(DISTINCT id)
			FROM (SELECT id FROM passing ORDER BY embedding <->
				(SELECT embedding FROM items WHERE id = 1) OFFSET 0) f;
		REINDEX INDEX passing_idx;
		SELECT count(*) FROM chassis_index_check('passing_idx');
		SELECT count(*) FILTER (WHERE found = id) > 490
			FROM (SELECT o.id, f.id AS found FROM passing o
				CROSS JOIN LATERAL (SELECT id FROM passing t
					ORDER BY t.embedding <-> o.embedding LIMIT 1) f
				WHERE o.id <= 1000) g;
		SELECT id FROM passing ORDER BY embedding <->
			(SELECT embedding FROM items WHERE id = 2001) LIMIT 1}),
	"0\n1500|1500\n0\nt\n2001",
	'a temporary table with a hundred buffers');

done_testing();
