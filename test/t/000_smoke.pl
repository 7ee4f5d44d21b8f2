# 000_smoke.pl
#	  The extension loads into a fresh server and answers one query.
#
# When this fails, so will everything else: the cause is then the build, the
# staging (tools/stage.sh) or the control file, not the behaviour under test.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use Test::More;

my $node = ChassisCluster->new_node('smoke');

is( $node->safe_psql(
		'postgres',
		q{SELECT extversion = (SELECT default_version FROM
			pg_available_extensions WHERE name = 'chassis')
			FROM pg_extension WHERE extname = 'chassis'}),
	't',
	'the extension is created in its default version');

ChassisCluster->load_vectors($node, 'items', rows => 200, dim => 8);
$node->safe_psql('postgres',
	'CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops)');

my $nearest = q{SELECT id FROM items
	ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 42) LIMIT 1};
is($node->safe_psql('postgres', "SET enable_seqscan = off; $nearest"),
	'42', 'a row is its own nearest neighbour');
like(
	$node->safe_psql(
		'postgres', "SET enable_seqscan = off; EXPLAIN (COSTS OFF) $nearest"),
	qr/Index Scan using items_idx/,
	'and the index found it');
ChassisCluster->index_is_clean($node, 'items_idx', 'after the build');

done_testing();
