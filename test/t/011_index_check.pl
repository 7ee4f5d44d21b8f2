# 011_index_check.pl
#	  Every invariant of pages that chassis_index_check knows is found violated
#	  by damaging a file so that it is; and no damage brings the server down.
#
# One index per invariant, all alike, each damaged at one place while the
# server is stopped.  Places are computed from the format's own tables
# (src/pg/README.md), so that this test also fails when the format moves.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use Test::More;

my $BLOCK = 8192;
my $META = 24;    # of the metapage's fields
my $SLOTS = 32;    # of the first slot on a page
my $SLOT = 208;    # bytes of a slot: 4 dimensions, bits = 4, m = 16
my $PER_PAGE = 39;

my %stream = (graph => 0, vector => 16, overflow => 17, model => 18);

my $node = ChassisCluster->new_node('damage');

# A damaged page has a wrong checksum where there are checksums.
$node->append_conf('postgresql.conf', 'ignore_checksum_failure = on');
$node->restart;
$node->safe_psql(
	'postgres', q{
	CREATE TABLE items (id int, v vector(4));
	INSERT INTO items SELECT i,
		ARRAY[i * 7919 % 1009, i * 104729 % 1013, i % 31, i % 37]::real[]::vector
	FROM generate_series(1, 1500) i;
	INSERT INTO items SELECT i, '[1,2,3,4]' FROM generate_series(1501, 1540) i;
});

# --- damage ---------------------------------------------------------------

my $file;    # name of the one being damaged

sub peek
{
	my ($offset, $format, $bytes) = @_;

	open(my $handle, '<:raw', $file) or die "$file: $!";
	seek($handle, $offset, 0);
	read($handle, my $data, $bytes) == $bytes or die "$file is short";
	close($handle);
	return unpack($format, $data);
}

sub poke
{
	my ($offset, $data) = @_;

	open(my $handle, '+<:raw', $file) or die "$file: $!";
	seek($handle, $offset, 0);
	print $handle $data;
	close($handle) or die "$file: $!";
	return;
}

# Where a page of a stream begins, by the extent map.
sub page_offset
{
	my ($name, $page) = @_;
	my $nextents = peek($META + 616, 'L', 4);
	my $block;

	for my $i (0 .. $nextents - 1)
	{
		my ($of, $first, $start) = peek($META + 620 + 12 * $i, 'LLL', 12);

		$block = $start + $page - $first
		  if $of == $stream{$name} && $first <= $page;
	}
	die "no page $page of $name" unless defined $block;
	return $block * $BLOCK;
}

sub slot_offset
{
	my ($id) = @_;

	return page_offset('graph', int($id / $PER_PAGE)) + $SLOTS +
	  $SLOT * ($id % $PER_PAGE);
}

# What is done to an index, and which invariant then does not hold where.
my @damages = (
	[ 'P1', undef, 'entry of a node that is not there',
		sub { poke($META + 128, pack('L', 5000)) } ],
	[ 'P1', undef, 'other number of dimensions',
		sub { poke($META + 20, pack('L', 5)) } ],
	[ 'P2', undef, 'extent behind the end of the file',
		sub { poke($META + 620 + 8, pack('L', 100000)) } ],
	[ 'P2', undef, 'extent in the blocks of another',
		sub { poke($META + 620 + 12 + 8, pack('L', peek($META + 620 + 8, 'L', 4))) } ],
	[ 'P2', undef, 'extent of another stream in its place',
		sub { poke($META + 620, pack('L', 12)) } ],
	[ 'P3', undef, 'graph page that says it is a vector page',
		sub { poke(page_offset('graph', 2) + $BLOCK - 8, pack('C', 3)) } ],
	[ 'P3', undef, 'vector page with a damaged header',
		sub { poke(page_offset('vector', 1) + 12, pack('S', 8000)) } ],
	[ 'P4', 50, 'state that does not exist',
		sub { poke(slot_offset(50), pack('C', 9)) } ],
	[ 'P4', 51, 'more edges than fit',
		sub { poke(slot_offset(51) + 4, pack('S', 33)) } ],
	[ 'P4', 52, 'unlinked node that nobody links',
		sub { poke(slot_offset(52), pack('C', 4)) } ],
	[ 'P5', undef, 'overflow slot of another node',
		sub { poke(page_offset('overflow', 0) + $SLOTS, pack('L', 3)) } ],
	[ 'P5', undef, 'overflow list that ends in itself',
		sub { poke(page_offset('overflow', 0) + $SLOTS + 8, pack('L', 1)) } ],
	[ 'P6', 60, 'row behind the end of the table',
		sub { poke(slot_offset(60) + 8, pack('SSS', 0, 9999, 1)) } ],
	[ 'P6', 62, 'row of another node',
		sub { poke(slot_offset(62) + 8, pack('SSS', peek(slot_offset(61) + 8, 'SSS', 6))) } ],
	[ 'P7', 70, 'other vector',
		sub { poke(page_offset('vector', 0) + 24 + 70 * 16, pack('f', 1)) } ],
	[ 'P8', 80, 'other code',
		sub { poke(slot_offset(80) + 48, pack('C', 1 ^ peek(slot_offset(80) + 48, 'C', 1))) } ],
	[ 'P8', 81, 'other factor',
		sub { poke(slot_offset(81) + 32, pack('f', 1)) } ],
	[ 'P9', undef, 'mean that is not a number',
		sub { poke(page_offset('model', 0) + 24, pack('L', 0x7fc00000)) } ],
	[ 'P10', undef, 'dead node without a VACUUM to free it',
		sub { poke(slot_offset(90), pack('C', 3)); poke(slot_offset(90) + 8, "\0" x 6) } ],
	[ 'P11', undef, 'insert hint behind the last page',
		sub { poke($META + 416, pack('L', 5000)) } ],
	[ 'I4', 100, 'edge to a node that is not there',
		sub { poke(slot_offset(100) + 80, pack('L', 99999)) } ],
	[ 'I5', 101, 'edge to itself',
		sub { poke(slot_offset(101) + 80, pack('L', 101)) } ],
	[ 'I9', undef, 'no entry',
		sub { poke($META + 128, pack('L', 0x3fffffff)) } ],);

$node->safe_psql('postgres',
	"CREATE INDEX items_$_ ON items USING chassis (v) WITH (ef_construction = 32)")
  for 0 .. $#damages + 1;
my @files = map {
	$node->data_dir . '/'
	  . $node->safe_psql('postgres', "SELECT pg_relation_filepath('items_$_')")
} 0 .. $#damages;

$node->stop;
for my $i (0 .. $#damages)
{
	$file = $files[$i];
	$damages[$i][3]->();
}
$node->start;

# --- what the checker says --------------------------------------------------

ChassisCluster->index_is_clean($node, 'items_' . @damages, 'untouched index');
for my $i (0 .. $#damages)
{
	my ($invariant, $id, $what) = @{ $damages[$i] };
	my $where = defined $id ? "node = $id" : 'true';

	is( $node->safe_psql(
			'postgres',
			"SELECT count(*) > 0 FROM chassis_index_check('items_$i')
			WHERE invariant = '$invariant' AND $where"),
		't',
		"$invariant: $what");
}

# A scan of each and an insert into each may fail, but only with an error.
for my $i (0 .. $#damages)
{
	foreach my $statement (
		q{SELECT count(*) FROM (SELECT FROM items ORDER BY v <-> '[1,2,3,4]') x},
		q{INSERT INTO items SELECT i, ARRAY[i, 2, 3, 4]::vector
			FROM generate_series(1, 50) i})
	{
		$node->psql(
			'postgres',
			"BEGIN;
			UPDATE pg_index
			SET indisvalid = indexrelid = 'items_$i'::regclass,
				indisready = indexrelid = 'items_$i'::regclass
			WHERE indrelid = 'items'::regclass;
			SET LOCAL enable_seqscan = off;
			SET LOCAL enable_sort = off;
			$statement;
			ROLLBACK",
			timeout => $PostgreSQL::Test::Utils::timeout_default);
	}
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM items'),
	1540, 'the server is up after all that');
unlike(
	PostgreSQL::Test::Utils::slurp_file($node->logfile),
	qr/terminated by signal|PANIC/,
	'and was all the time');

$node->stop;
done_testing();
