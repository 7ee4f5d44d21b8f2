# 003_recall.pl
#	  Recall@10 as a number, for every way an index comes to be and every kind
#	  of code in it.
#
# The floors are promises to users.  Exact answers are computed by the server
# without an index; siftsmall is used where the machine has it, otherwise
# generated vectors of the same shape, and the output says which.
#
# Set CHASSIS_STRESS for fashion-mnist as well (Debian: dataset-fashion-mnist).
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ChassisCluster->new_node('recall');

# Builds an index on table.column embedding with this definition, instead of
# the one that was there.
sub build_index
{
	my ($table, $opclass, $with, $settings) = @_;

	$node->safe_psql('postgres', "DROP INDEX IF EXISTS ${table}_idx");
	my ($stdout, $stderr) = ('', '');
	$node->psql(
		'postgres',
		($settings // '') . "; CREATE INDEX ${table}_idx ON $table
		USING chassis (embedding $opclass) "
		  . ($with ? "WITH ($with)" : ''),
		stdout => \$stdout,
		stderr => \$stderr,
		on_error_die => 1);
	return $stderr;
}

# ---- metrics, on siftsmall ----

note('data: ' . ChassisData->load_sift($node));

my %sift = (table => 'sift', queries => 'sift_query');
my @metrics = (
	[ 'l2', '<->', 0.99 ],
	[ 'cosine', '<=>', 0.99 ],
	[ 'ip', '<#>', 0.98 ],
	[ 'l1', '<+>', 0.98 ]);

foreach my $metric (@metrics)
{
	my ($name, $op, $floor) = @$metric;

	ChassisData->make_truth($node, "truth_$name", %sift, op => $op);
	build_index('sift', "vector_${name}_ops");
	my $recall = ChassisData->recall($node, "truth_$name", %sift,
		op => $op, ef => 200);
	cmp_ok($recall, '>=', $floor, "$name: recall after a build");
	ChassisCluster->index_is_clean($node, 'sift_idx', "$name, built");

	# The same again with nearly no memory: the graph outgrows it at once.
	next unless $name eq 'l2';
	my $said = build_index('sift', 'vector_l2_ops', '',
		"SET maintenance_work_mem = '1MB'");
	like($said, qr/no longer fits/, 'a build in 1 MB leaves memory');
	my $small = ChassisData->recall($node, 'truth_l2', %sift, ef => 200);
	cmp_ok($small, '>=', $floor, 'l2: recall after a build in 1 MB');
	ChassisCluster->index_is_clean($node, 'sift_idx', 'built in 1 MB');
}

# ---- kinds of codes ----

# A small ef, where there is something to lose, and a usual one.  Serial builds,
# which give the same index every time: the margins are narrow.
my $serial = 'SET max_parallel_maintenance_workers = 0';
my %by_bits;
foreach my $bits (32, 8, 4, 2, 1)
{
	build_index('sift', 'vector_l2_ops', "bits = $bits", $serial);
	is( $node->safe_psql('postgres',
			"SELECT value FROM chassis_index_info('sift_idx') WHERE name = 'bits'"),
		$bits, "an index with bits = $bits has them");
	foreach my $ef (40, 100)
	{
		$by_bits{$bits}{$ef} =
		  ChassisData->recall($node, 'truth_l2', %sift, ef => $ef);
		note("bits = $bits, ef = $ef: recall $by_bits{$bits}{$ef}");
	}
}
foreach my $ef (40, 100)
{
	my %loss = (8 => 0.01, 4 => 0.01, 2 => 0.03, 1 => 0.1);

	cmp_ok($by_bits{$_}{$ef}, '>=', $by_bits{32}{$ef} - $loss{$_},
		"bits = $_ against none at ef $ef")
	  foreach sort keys %loss;
}

# ---- exact vectors from the table instead of the index ----

my $ef = 40;

build_index('sift', 'vector_l2_ops', 'bits = 4, rerank = heap', $serial);
my $heap = ChassisData->recall($node, 'truth_l2', %sift, ef => $ef);
my $heap_size =
  $node->safe_psql('postgres', "SELECT pg_relation_size('sift_idx')");
build_index('sift', 'vector_l2_ops', 'bits = 4, rerank = index', $serial);
my $index = ChassisData->recall($node, 'truth_l2', %sift, ef => $ef);
cmp_ok(abs($heap - $index), '<=', 0.002,
	"rerank = heap ($heap) equals rerank = index ($index)");
cmp_ok($heap_size, '<',
	$node->safe_psql('postgres', "SELECT pg_relation_size('sift_idx')") / 2,
	'and needs less than half the space');

# ---- an index that was there before the rows ----

my %bulk;
foreach my $metric (@metrics[ 0, 3 ])
{
	my ($name, $op) = @$metric;

	build_index('sift', "vector_${name}_ops", '', $serial);
	$bulk{$name} = ChassisData->recall($node, "truth_$name", %sift,
		op => $op, ef => $ef);
	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE filled (LIKE sift);
		CREATE INDEX filled_idx ON filled
			USING chassis (embedding vector_${name}_ops);
		INSERT INTO filled SELECT * FROM sift;
		ANALYZE filled;
	});
	my $filled = ChassisData->recall($node, "truth_$name",
		table => 'filled', queries => 'sift_query', op => $op, ef => $ef);
	cmp_ok($filled, '>=', $bulk{$name} - 0.01,
		"$name: filling an empty index ($filled) against a build ($bulk{$name})");
	ChassisCluster->index_is_clean($node, 'filled_idx', "$name, filled");
	$node->safe_psql('postgres', 'DROP TABLE filled');
}
$node->safe_psql('postgres', 'DROP TABLE sift, sift_query');

# ---- near-duplicates ----

# 200 clusters whose members differ by 5 %: all edges of a node want to stay in
# its cluster, and codes can hardly tell the members apart.
my ($clusters, $members, $dim) = (200, 200, 48);
ChassisCluster->load_vectors(
	$node, 'near',
	rows => $clusters * $members,
	dim => $dim,
	seed => 11,
	clusters => $clusters,
	jitter => 0.05);
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE near_query AS
		SELECT id, test_vector(11, 1000000000 + id, $dim, $clusters,
			0.05)::vector AS embedding
		FROM generate_series(1, 100) AS id;
	-- the same rows, one cluster after the other
	CREATE TABLE near_sorted (LIKE near);
	INSERT INTO near_sorted
		SELECT * FROM near ORDER BY id % $clusters, id;
	ANALYZE near_sorted});
ChassisData->make_truth($node, 'truth_near',
	table => 'near', queries => 'near_query');

my %near;
foreach my $table ('near', 'near_sorted')
{
	foreach my $bits (32, 4)
	{
		build_index($table, 'vector_l2_ops', "bits = $bits", $serial);
		$near{"$table $bits"} = ChassisData->recall($node, 'truth_near',
			table => $table, queries => 'near_query', ef => 100);
		note("$table, bits = $bits: recall " . $near{"$table $bits"});
	}
	cmp_ok($near{"$table 4"}, '>=', $near{"$table 32"} - 0.01,
		"bits = 4 against none: $table");
	ChassisCluster->index_is_clean($node, "${table}_idx", $table);
}
cmp_ok($near{'near 32'}, '>=', 0.95, 'clusters in turn, exact keys');
cmp_ok($near{'near_sorted 4'}, '>=', 0.95, 'cluster after cluster');
cmp_ok(
	ChassisData->found_by_itself(
		$node, 'near_sorted', where => 't.id % 10 = 0'),
	'>=', 0.999, 'members of clusters are found by their own vectors');
$node->safe_psql('postgres', 'DROP TABLE near, near_sorted, near_query');

# ---- fashion-mnist: longer, and only where it is installed ----

# Loads one file of images as rows of vectors, ids from 0.
sub load_images
{
	my ($table, $file, $most) = @_;
	my $text = $node->basedir . "/$table.copy";
	my $id = 0;

	open(my $in, '-|:raw', 'gzip', '-dc', $file)
	  or die "could not read $file: $!\n";
	open(my $out, '>', $text) or die "could not create $text: $!\n";
	read($in, my $header, 16);
	while ($id < $most && read($in, my $image, 784) == 784)
	{
		print $out join("\t",
			$id++, '[' . join(',', unpack('C784', $image)) . ']'), "\n";
	}
	close $in;
	close $out or die "could not write $text: $!\n";
	$node->safe_psql('postgres',
		"CREATE TABLE $table (id bigint PRIMARY KEY, embedding vector(784));"
		  . "\n\\copy $table FROM '$text'\nANALYZE $table");
	unlink $text;
	return;
}

my $dir = '/usr/share/datasets/fashion-mnist';

if ($ENV{CHASSIS_STRESS} && !-r "$dir/train-images-idx3-ubyte.gz")
{
	note('dataset-fashion-mnist is not installed');
}
elsif ($ENV{CHASSIS_STRESS})
{
	load_images('fashion', "$dir/train-images-idx3-ubyte.gz", 60_000);
	load_images('fashion_query', "$dir/t10k-images-idx3-ubyte.gz", 200);
	ChassisData->make_truth($node, 'truth_fashion',
		table => 'fashion', queries => 'fashion_query');
	build_index('fashion', 'vector_l2_ops');
	my $recall = ChassisData->recall($node, 'truth_fashion',
		table => 'fashion', queries => 'fashion_query');
	cmp_ok($recall, '>=', 0.99, 'fashion-mnist: recall at ef 100');
}

done_testing();
