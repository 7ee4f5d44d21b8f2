# 052_types.pl
#	  Every operator class of halfvec, sparsevec and bit, through what an index
#	  goes through: builds, inserts, VACUUM, a crash, a standby.
#
# What one type can do that another cannot is tested in SQL; here all ten go
# the same way, and what they have to give are the numbers and proofs that
# vector gives in its own tests.  The primary is replicated all the time, and
# replay compares each page with an image of the primary's.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use Test::More;

my ($rows, $live_rows) = (2500, 1000);

# Per type: its SQL name; the row of seed :seed and number id as an expression;
# per operator class the operator and the floor of recall@10 at an ef_search of
# 40, where there is something to lose.  Dense rows are uniform, without any
# neighbourhood to find, which is hardest for bits.  A sparse row has 24 of
# 5,000 elements, so that it is hashed before it is encoded; rows of a cluster
# have them in the same places, and clusters share some.
my %types = (
	halfvec => {
		type => 'halfvec(32)',
		row => 'test_vector(:seed, id, 32)::halfvec',
		classes => {
			l2 => [ '<->', 0.965 ],
			ip => [ '<#>', 0.96 ],
			cosine => [ '<=>', 0.965 ],
			l1 => [ '<+>', 0.96 ]
		}
	},
	sparsevec => {
		type => 'sparsevec(5000)',
		row => q{(SELECT ('{' || string_agg((1 + (id % 20 * 1009 + j * 199)
				% 5000) || ':' || x, ',') || '}/5000')::sparsevec
			FROM unnest(test_vector(:seed, id, 24, 100, 0.8))
				WITH ORDINALITY AS e (x, j))},
		classes => {
			l2 => [ '<->', 0.97 ],
			ip => [ '<#>', 0.97 ],
			cosine => [ '<=>', 0.97 ],
			l1 => [ '<+>', 0.97 ]
		}
	},
	bit => {
		type => 'bit(200)',
		row => 'binary_quantize(test_vector(:seed, id, 200)::vector)::bit(200)',
		classes =>
		  { hamming => [ '<~>', 0.89 ], jaccard => [ '<%>', 0.84 ] }
	});

my $node = ChassisCluster->new_node(
	'types',
	allows_streaming => 1,
	conf => "wal_consistency_checking = 'generic'\nwork_mem = 32MB");
my $standby = ChassisCluster->new_standby($node, 'standby');

ChassisCluster->install_generator($node);

sub row_of
{
	my ($kind, $seed) = @_;

	return $types{$kind}{row} =~ s/:seed/$seed/r;
}

# Calls a function for each operator class: (type, class, operator, floor).
sub for_each_class
{
	my ($do) = @_;

	foreach my $kind (sort keys %types)
	{
		my $classes = $types{$kind}{classes};

		$do->($kind, $_, @{ $classes->{$_} }) foreach sort keys %$classes;
	}
	return;
}

# One test: recall of whatever index the table has for this class.
sub recall_is_good
{
	my ($kind, $class, $table, $label, $truth) = @_;
	my ($op, $floor) = @{ $types{$kind}{classes}{$class} };
	my $recall = ChassisData->recall(
		$node, $truth // "truth_${kind}_$class",
		table => $table,
		queries => "${kind}_query",
		op => $op,
		ef => 40);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	note("${kind}_${class}_ops, $label: recall $recall");
	return cmp_ok($recall, '>=', $floor, "${kind}_${class}_ops: $label");
}

# ---- data and exact answers ----

foreach my $kind (sort keys %types)
{
	my ($type, $row) = ($types{$kind}{type}, row_of($kind, 1));

	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE ${kind}_rows (id bigint PRIMARY KEY, embedding $type);
		INSERT INTO ${kind}_rows
			SELECT id, $row FROM generate_series(1, $rows) AS id;
		CREATE TABLE ${kind}_query (id bigint PRIMARY KEY, embedding $type);
		INSERT INTO ${kind}_query
			SELECT id, $row FROM generate_series(1000000001, 1000000100) AS id;
		ALTER TABLE ${kind}_rows SET (parallel_workers = 2);
		ANALYZE ${kind}_rows, ${kind}_query});
}
for_each_class(
	sub {
		my ($kind, $class, $op) = @_;

		ChassisData->make_truth(
			$node, "truth_${kind}_$class",
			table => "${kind}_rows",
			queries => "${kind}_query",
			op => $op);
	});

# ---- builds: by one process, by three, with nearly no memory ----

# Edges are what fills the memory, whatever the type.
my %builds = (
	'by one process' => [ 'SET max_parallel_maintenance_workers = 0', '' ],
	'in parallel' => [ 'SET max_parallel_maintenance_workers = 2', '' ],
	'in 1 MB' => [
		q{SET maintenance_work_mem = '1MB'},
		'WITH (m = 48, ef_construction = 96)'
	]);

for_each_class(
	sub {
		my ($kind, $class) = @_;

		foreach my $how (sort keys %builds)
		{
			my ($setting, $with) = @{ $builds{$how} };
			my $label = "${kind}_${class}_ops, built $how";
			my $said = '';

			$node->psql(
				'postgres', qq{
				DROP INDEX IF EXISTS ${kind}_idx;
				$setting;
				CREATE INDEX ${kind}_idx ON ${kind}_rows
					USING chassis (embedding ${kind}_${class}_ops) $with},
				stderr => \$said,
				on_error_die => 1);
			like($said, qr/no longer fits/, "$label: it leaves memory")
			  if $how eq 'in 1 MB';
			recall_is_good($kind, $class, "${kind}_rows", "built $how");
			ChassisCluster->index_is_clean($node, "${kind}_idx", $label);
		}
		$node->safe_psql('postgres', "DROP INDEX ${kind}_idx");
	});

# ---- rows that come and go, in all indexes at once, and the standby ----

# The ids that queries return, nearest first: equal only if two servers went the
# same way through the same graph.
sub answers
{
	my ($server, $kind, $op) = @_;
	my $query = qq{SELECT q.id, (SELECT string_agg(id::text, ' ')
		FROM (SELECT t.id FROM ${kind}_live t
			ORDER BY t.embedding $op q.embedding LIMIT 20) f)
		FROM ${kind}_query q WHERE q.id <= 1000000020 ORDER BY q.id};

	ChassisData->assert_uses_index($server, '', $query);
	return $server->safe_psql('postgres',
		ChassisData->index_settings . $query);
}

# The tests of one moment: sound, nothing lost, good, and the same elsewhere.
sub all_is_well
{
	my ($label) = @_;

	$node->wait_for_catchup($standby);
	for_each_class(
		sub {
			my ($kind, $class, $op) = @_;
			my ($table, $index) = ("${kind}_live", "${kind}_${class}_idx");

			# by inner product another row may be nearer than the row itself
			if ($class eq 'ip')
			{
				ChassisCluster->index_is_clean($node, $index, $label);
				ChassisData->scan_returns_all($node, $table, $label,
					op => $op);
			}
			else
			{
				ChassisData->index_is_whole(
					$node, $table, $index, $label,
					op => $op,
					where => 't.id % 20 = 0');
			}
			is( answers($standby, $kind, $op),
				answers($node, $kind, $op),
				"$index: the standby answers like the primary: $label");
			ChassisCluster->index_is_clean($standby, $index,
				"standby, $label");
		});
	return;
}

sub on_all
{
	my ($sql) = @_;

	foreach my $kind (sort keys %types)
	{
		my $row = row_of($kind, 1);
		my $other = row_of($kind, 2);

		$node->safe_psql('postgres',
			$sql =~ s/TABLE_NAME/${kind}_live/gr =~ s/KIND/$kind/gr =~
			  s/OTHER_ROW/$other/gr =~ s/ROW/$row/gr);
	}
	return;
}

foreach my $kind (sort keys %types)
{
	$node->safe_psql('postgres',
		"CREATE TABLE ${kind}_live (id bigint PRIMARY KEY, embedding $types{$kind}{type})"
	);
}
for_each_class(
	sub {
		my ($kind, $class) = @_;

		$node->safe_psql(
			'postgres', qq{
			SET chassis.flat_limit = 200;
			CREATE INDEX ${kind}_${class}_idx ON ${kind}_live
				USING chassis (embedding ${kind}_${class}_ops)
				WITH (ef_construction = 64)});
	});
on_all("INSERT INTO TABLE_NAME SELECT * FROM KIND_rows WHERE id <= $live_rows");
for_each_class(
	sub {
		my ($kind, $class, $op) = @_;

		ChassisData->make_truth(
			$node, "live_truth_${kind}_$class",
			table => "${kind}_live",
			queries => "${kind}_query",
			op => $op);
	});
for_each_class(
	sub {
		my ($kind, $class) = @_;

		recall_is_good($kind, $class, "${kind}_live",
			'filled row by row from empty', "live_truth_${kind}_$class");
	});
all_is_well('filled');

on_all('DELETE FROM TABLE_NAME WHERE id % 3 = 0');
on_all('VACUUM (INDEX_CLEANUP ON) TABLE_NAME');
all_is_well('a third deleted and vacuumed');
on_all(
	qq{INSERT INTO TABLE_NAME
		SELECT * FROM KIND_rows WHERE id % 3 = 0 AND id <= $live_rows;
	UPDATE TABLE_NAME SET embedding = OTHER_ROW WHERE id % 50 = 0;
	UPDATE TABLE_NAME SET embedding = ROW WHERE id % 50 = 0});
for_each_class(
	sub {
		my ($kind, $class) = @_;

		recall_is_good($kind, $class, "${kind}_live",
			'a third deleted, vacuumed and inserted again',
			"live_truth_${kind}_$class");
	});

# ---- a crash ----

my %before;
for_each_class(
	sub {
		my ($kind, $class, $op) = @_;

		$before{$kind}{$class} = answers($node, $kind, $op);
	});
$node->stop('immediate');
$node->start;
for_each_class(
	sub {
		my ($kind, $class, $op) = @_;

		is(answers($node, $kind, $op),
			$before{$kind}{$class},
			"${kind}_${class}_ops: the same answers after a crash");
	});
on_all(q{INSERT INTO TABLE_NAME
	SELECT id, ROW FROM generate_series(10001, 10100) AS id});
all_is_well('after a crash');

# ---- promotion ----

$node->stop;
$standby->promote;
for_each_class(
	sub {
		my ($kind, $class) = @_;

		$standby->safe_psql('postgres',
			"DELETE FROM ${kind}_live WHERE id % 7 = 0");
		$standby->safe_psql('postgres',
			"VACUUM (INDEX_CLEANUP ON) ${kind}_live");
		ChassisCluster->index_is_clean($standby, "${kind}_${class}_idx",
			'changed after promotion');
	});

done_testing();
