# 012_query_costs.pl
#	  What a query costs, in what can be counted: buffers that it pins.
#
# A search scores a thousand nodes on as many pages.  It looks at them without
# pinning the pages, as long as they are where this backend saw them last; only
# what is returned is pinned.  So the count does not grow with the search
# window, and is the same for any number of clients.  That nothing is lost by
# it is shown with a pool too small for such looks, where every page is pinned
# and locked: the same rows come in the same order.
#
# What a search reads from disk are the pages it touches at all.  A build puts
# neighbours on common pages, so these are fewer than in an index that rows came
# to one by one.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use Test::More;

my $by_index = ChassisData->index_settings;
my $node = ChassisCluster->new_node('costs');

ChassisCluster->load_vectors($node, 'items', rows => 20000, dim => 64);
$node->safe_psql(
	'postgres', q{
	CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops);
	CREATE TABLE queries AS
		SELECT id, test_vector(1, 1000000000 + id, 64, 100, 0.3)::vector
			AS embedding
		FROM generate_series(1, 40) AS id;

	-- buffers that ten rows for each of the queries take, in the mean
	CREATE FUNCTION buffers(ef integer) RETURNS integer LANGUAGE plpgsql AS $$
	DECLARE
		query record;
		plan json;
		total bigint := 0;
	BEGIN
		PERFORM set_config('chassis.ef_search', ef::text, true);
		FOR query IN SELECT * FROM queries LOOP
			EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)
				SELECT id FROM items ORDER BY embedding <-> %L LIMIT 10',
				query.embedding) INTO plan;
			total := total + (plan->0->'Plan'->>'Shared Hit Blocks')::bigint
				+ (plan->0->'Plan'->>'Shared Read Blocks')::bigint;
		END LOOP;
		RETURN total / (SELECT count(*) FROM queries);
	END $$;

	CREATE FUNCTION answer(ef integer) RETURNS text LANGUAGE sql AS $$
		SELECT string_agg(q.id || ':' || f.ids, ' ' ORDER BY q.id)
		FROM queries q CROSS JOIN LATERAL (
			SELECT string_agg(id::text, ',') AS ids FROM (
				SELECT id FROM items ORDER BY embedding <-> q.embedding
				LIMIT 10) s) f $$});

# ---- buffers ----

# In one session: the hints are the backend's own.
sub costs
{
	my ($settings) = @_;

	return split /\s+/, $node->safe_psql(
		'postgres', qq{$by_index $settings
		SELECT buffers(100);
		SELECT buffers(400);
		SELECT buffers(40);
		SELECT buffers(100);
		SELECT buffers(400)});
}

my ($cold, $warm, $low, $middle, $high) = costs('');

note("new backend: $cold, then $warm; later at ef 40, 100, 400: $low, $middle, $high");
cmp_ok($cold, '>', $middle, 'a new backend finds the pages first');
# three quarters of them for exact distances, of which clusters want many
cmp_ok($middle, '<=', 150, "ten rows at ef 100 take $middle buffers");
cmp_ok($high, '<=', $low + 20,
	"and at ef 400 hardly more than at ef 40 ($high, $low)");

# ---- the same rows as with every page pinned and locked ----

my $answers = q{
	SET chassis.ef_search = 100;
	SELECT answer(100);
	SELECT answer(100)};
my $peeked = $node->safe_psql('postgres', "$by_index $answers");
my ($first, $second) = split /\n/, $peeked;

is($second, $first, 'the first search of a backend finds what later ones do');

$node->append_conf('postgresql.conf', "shared_buffers = 4MB\n");
$node->restart;
is($node->safe_psql('postgres', "$by_index $answers"),
	$peeked, 'and what searches find that pin every page');

($cold, $warm, $low, $middle, $high) = costs('');
note("pool of 512 buffers: at ef 40, 100, 400: $low, $middle, $high");
cmp_ok($middle, '>=', 500, "those take $middle buffers at ef 100");

# ---- a pool that holds a part of the index ----

# Pages come and go under the searches: a hint may name a buffer that has
# another page by now, and then must not be believed.
$node->append_conf('postgresql.conf', "shared_buffers = 8MB\n");
$node->restart;
is($node->safe_psql('postgres', "$by_index $answers"),
	$peeked, 'the same rows with pages coming and going');
my $search = q{
	\set id random(1, 40)
	SET enable_seqscan = off;
	SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <->
		(SELECT embedding FROM queries WHERE id = :id) LIMIT 10) s;
};
my $read = q{
	SELECT count(*) FROM items WHERE embedding IS NULL;
};
my ($status, $said) = ChassisData->finish_pgbench(
	ChassisData->start_pgbench(
		$node, 'mixed',
		clients => 4,
		transactions => 100,
		scripts => [ "$search\@9", "$read\@1" ]));
is($said, '', 'nor does anybody complain');
is($node->safe_psql('postgres', "$by_index $answers"),
	$peeked, 'and after that');

# ---- pages touched ----

$node->append_conf('postgresql.conf', "shared_buffers = 64MB\n");
$node->restart;
$node->safe_psql(
	'postgres', q{
	CREATE TABLE built AS SELECT * FROM items WHERE id <= 8000;
	CREATE TABLE grown (LIKE built);
	CREATE INDEX ON grown USING chassis (embedding vector_l2_ops);
	INSERT INTO grown SELECT * FROM built;
	CREATE INDEX ON built USING chassis (embedding vector_l2_ops);
	CHECKPOINT});

# Pages read by the first query of a server that has just started.
sub pages_read
{
	my ($table, $id) = @_;

	$node->restart;
	my ($pages) = $node->safe_psql(
		'postgres', qq{$by_index
		SET chassis.ef_search = 20;
		EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF)
			SELECT ctid FROM $table ORDER BY embedding <->
				(SELECT embedding FROM queries WHERE id = $id) LIMIT 10})
	  =~ /shared.* read=(\d+)/
	  or die 'no pages were read';
	return $pages;
}

my ($built, $grown) = (0, 0);
for my $id (1 .. 4)
{
	$built += pages_read('built', $id);
	$grown += pages_read('grown', $id);
}
cmp_ok($built, '<', 0.85 * $grown,
	"four queries read $built pages of a built index, $grown of a grown one");

done_testing();
