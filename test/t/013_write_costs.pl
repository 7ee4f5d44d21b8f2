# 013_write_costs.pl
#	  What writing costs, in what can be counted: WAL, pages, buffers.
#
# An insert changes the pages of some twenty nodes.  What keeps that cheap is
# that a record holds several of them, that a node takes a small part of a page,
# so that a checkpoint is followed by few full images, and that searching for
# the neighbours pins next to nothing.  Times are not tested here.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use Test::More;

my $rows = 20000;
my $more = $rows / 10;
my $dim = 64;

my $node = ChassisCluster->new_node('writes');

ChassisCluster->load_vectors($node, 'items', rows => $rows, dim => $dim);

# Two tables that differ by our index; the second one's costs are not ours.
$node->safe_psql(
	'postgres', qq{
	ALTER TABLE items ADD COLUMN note integer DEFAULT 0;
	CREATE TABLE bare AS SELECT * FROM items;
	ALTER TABLE bare ADD PRIMARY KEY (id);
	CREATE TABLE more AS
		SELECT $rows + id AS id,
			test_vector(1, 2000000000 + id, $dim, 100, 0.3)::vector AS embedding
		FROM generate_series(1, $more) AS id;
	-- an update must not be HOT, or no index would see it
	CREATE INDEX ON items (note);
	CREATE INDEX ON bare (note);
	CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops);
	VACUUM ANALYZE;

	-- WAL records, full-page images, WAL bytes and buffers of a statement
	CREATE FUNCTION costs(statement text) RETURNS bigint[]
	LANGUAGE plpgsql AS \$\$
	DECLARE
		plan json;
	BEGIN
		EXECUTE 'EXPLAIN (ANALYZE, WAL, BUFFERS, TIMING OFF, FORMAT JSON) '
			|| statement INTO plan;
		plan := plan->0->'Plan';
		RETURN ARRAY[(plan->>'WAL Records')::bigint,
			(plan->>'WAL FPI')::bigint,
			(plan->>'WAL Bytes')::bigint,
			(plan->>'Shared Hit Blocks')::bigint
				+ (plan->>'Shared Read Blocks')::bigint];
	END \$\$});

# The index's own part of a statement's costs per row.  Both run after a
# checkpoint if `cold`.
sub index_costs
{
	my ($cold, $n, $statement) = @_;
	my @sum;

	foreach my $table ('items', 'bare')
	{
		my $sql = sprintf($statement, $table);
		my $answer = $node->safe_psql('postgres',
			($cold ? 'CHECKPOINT;' : '') . "SELECT costs(\$\$$sql\$\$)");
		my @costs = $answer =~ /(\d+)/g;

		$sum[$_] += ($table eq 'items' ? 1 : -1) * $costs[$_] / $n
		  foreach 0 .. 3;
	}
	return @sum;
}

sub index_pages
{
	return $node->safe_psql('postgres',
		q{SELECT pg_relation_size('items_idx') / 8192});
}

# Blocks of the index that were asked for so far.
sub index_accesses
{
	my ($index) = @_;

	return $node->safe_psql('postgres',
		"SELECT pg_stat_get_blocks_fetched('$index'::regclass)");
}

# ---- inserts ----

my $pages = index_pages();
my $half = $more / 2;
my ($records, $images, $bytes, $buffers) = index_costs(
	1, $half,
	"INSERT INTO %s (id, embedding) SELECT * FROM more LIMIT $half");

note("insert after a checkpoint, a row: $records records, $images images, $bytes bytes, $buffers buffers");
cmp_ok($images * $half, '<=', 1.1 * $pages + 50,
	'a checkpoint is followed by one image of a page at most');

# Some pages are met for the first time only now; without their images what is
# left are the changes: the row's 256 bytes, its node's 208, and links back. A
# record for the claim, one for the row and one for the node would make it 940.
$node->safe_psql('postgres', 'ALTER SYSTEM SET full_page_writes = off');
$node->reload;
$node->poll_query_until('postgres', "SHOW full_page_writes", 'off')
  or die 'full_page_writes stays on';
# It is the checkpointer that makes it so, before it does what it is asked for.
$node->safe_psql('postgres', 'CHECKPOINT');
($records, $images, $bytes, $buffers) = index_costs(
	0, $half,
	"INSERT INTO %s (id, embedding) SELECT * FROM more OFFSET $half");
$node->safe_psql('postgres', 'ALTER SYSTEM RESET full_page_writes');
$node->reload;
$node->poll_query_until('postgres', "SHOW full_page_writes", 'on')
  or die 'full_page_writes stays off';
note("insert later, a row: $records records, $bytes bytes, $buffers buffers");
cmp_ok($records, '<=', 4, 'a row and its node share a record, and so do back-links');
cmp_ok($images, '<=', 0.1, 'images are of new pages only');
cmp_ok($bytes, '<=', 880, 'a row and its node are logged once');
cmp_ok($buffers, '<=', 100, 'the search for neighbours pins few pages');

my $grown = index_pages();
note("$pages pages, $grown after a tenth more rows");
cmp_ok($grown, '<=', 1.17 * $pages, 'a tenth more rows take a tenth more pages');

# A page is logged as far as it is used, so a page for new rows costs what these
# rows do, and not an image of 8 kB more.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE wide_rows AS
		SELECT id, test_vector(1, id, 250, 100, 0.3)::vector AS embedding
		FROM generate_series(1, 200) AS id;
	CREATE TABLE wide (id integer, embedding vector(250));
	CREATE INDEX ON wide USING chassis (embedding vector_l2_ops)});
my ($wal) = $node->safe_psql('postgres', q{SELECT costs(
	'INSERT INTO wide SELECT * FROM wide_rows')}) =~ /,(\d+),\d+\}/;
$wal /= 200;
note("WAL a row of 1,000 bytes, table's copy included: $wal bytes");
cmp_ok($wal, '<=', 2800, 'new pages are not logged whole');

# ---- updates of another column ----

($records, $images, $bytes, $buffers) = index_costs(
	0, 500, 'UPDATE %s SET note = 1 WHERE id BETWEEN 5001 AND 5500');
note("update, a row: $records records, $images images, $bytes bytes, $buffers buffers");
cmp_ok($records, '<=', 2.5, 'an update of another column changes one node');
cmp_ok($buffers, '<=', 120, 'and does no linking');

# ---- VACUUM ----

$node->safe_psql('postgres', 'DELETE FROM items WHERE id % 100 = 1');
my $before = index_accesses('items_idx');
$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP ON) items');
my $vacuum = (index_accesses('items_idx') - $before) / $grown;
note("VACUUM after deleting a hundredth: $vacuum accesses a page");
# a search for every node would be several thousand
cmp_ok($vacuum, '<=', 150, 'VACUUM mends what was damaged, no more');

ChassisCluster->index_is_clean($node, 'items_idx', 'after all that');

# ---- a build that outgrows its memory ----

# Large nodes, so that their pages outnumber the hints that a new index gets.
my $wide = 'WITH (m = 100, ef_construction = 200, bits = 8)';

# Buffers are counted by the backend, so what a function builds is counted too.
$node->safe_psql(
	'postgres', qq{
	CREATE FUNCTION build_wide() RETURNS void LANGUAGE sql
	SET client_min_messages = error
	SET max_parallel_maintenance_workers = 0
	SET maintenance_work_mem = '1MB'
	AS \$\$ CREATE INDEX wide_idx ON items
		USING chassis (embedding vector_l2_ops) $wide \$\$});
my $answer = $node->safe_psql('postgres', q{SELECT costs('SELECT build_wide()')});
my $build = ($answer =~ /(\d+)}/)[0] / ($rows + $more);

note("build on pages: $build buffers a row");
cmp_ok($build, '>', 10, 'most of the build was on pages');
cmp_ok($build, '<=', 350, 'which it reads without pins');

done_testing();
