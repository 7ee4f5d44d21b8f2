# ChassisData.pm
#	  What the TAP tests of the index have in common: data sets, recall against
#	  stored exact answers, and proofs that no row is lost.
#
# Where ChassisCluster answers "give me a server", this answers "is the index
# right".  Exact answers are computed once per data set and kept in a table, so
# that a test can ask for the recall of twenty indexes over the same rows.  All
# data is seeded: the same on every machine.  Nothing here starts or stops
# servers except kill_hard(), which a crash test needs.
#
# A question put to the index must be answered by the index: every function
# that runs a query looks at its plan first and dies if it is another.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
package ChassisData;

use strict;
use warnings;

use ChassisCluster;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# Settings under which a query is answered by the index, or by anything else.
my $by_index = 'SET enable_seqscan = off; SET enable_sort = off;
	SET enable_bitmapscan = off;';
my $exactly = 'SET enable_indexscan = off; SET enable_indexonlyscan = off;
	SET enable_bitmapscan = off;';

# How long to wait for something that must happen, in seconds.
my $patience = $PostgreSQL::Test::Utils::timeout_default;

=pod

=over

=item ChassisData->index_settings

The settings that make the planner use the index where it can.

=cut

sub index_settings
{
	return $by_index;
}

=pod

=item ChassisData->assert_uses_index($node, $settings, $query)

Dies unless the plan of the query has an index scan for the distance, no sort.

=cut

sub assert_uses_index
{
	my ($class, $node, $settings, $query) = @_;
	my $plan = $node->safe_psql('postgres',
		"$by_index $settings EXPLAIN (COSTS OFF) $query");

	die "does not use the index: $query\n$plan\n"
	  if $plan !~ /Order By: / || $plan =~ /Sort Key: .*<[-#=+~%]>/;
	return;
}

=pod

=item ChassisData->load_sift($node)

Creates the tables sift (id, embedding vector(128); 10,000 rows) and
sift_query (100 rows; 1,000 where generated).  From siftsmall where the machine has it, otherwise
generated with the same shape.  Returns the name of what was loaded.

=cut

sub load_sift
{
	my ($class, $node) = @_;
	my $dir = ChassisCluster->siftsmall;

	$node->safe_psql(
		'postgres', q{
		CREATE TABLE sift (id bigint PRIMARY KEY, embedding vector(128));
		CREATE TABLE sift_query (id bigint PRIMARY KEY,
			embedding vector(128));
	});
	if (defined $dir)
	{
		_copy_fvecs($node, 'sift', "$dir/siftsmall_base.fvecs");
		_copy_fvecs($node, 'sift_query', "$dir/siftsmall_query.fvecs");
	}
	else
	{
		# a thousand queries: of a hundred, one recall differs from the next
		# by a point from chance alone
		my $values = _make_sift(11_000);

		_copy_rows($node, 'sift', [ @$values[ 0 .. 9_999 ] ]);
		_copy_rows($node, 'sift_query', [ @$values[ 10_000 .. 10_999 ] ]);
	}
	$node->safe_psql('postgres', 'ANALYZE sift, sift_query');
	return defined $dir ? 'siftsmall' : 'generated vectors like siftsmall';
}

# Vectors like siftsmall's: 128 whole numbers from 0 to 218, a fifth of them 0,
# that lie near a surface of 16 dimensions.  The local intrinsic dimension, which
# decides how hard a set is to search (estimated from the 20 nearest of 100
# queries), is 15.7; siftsmall's is 14.8.  Uniform noise in 128 dimensions would
# be another problem altogether: there the 20th neighbour is hardly farther than
# the first.  srand() gives the same numbers on every machine.
sub _make_sift
{
	my ($count) = @_;
	my ($dim, $rank) = (128, 16);
	my @rows;

	srand(7);
	my @map = map { [ map { 25.5 * (2 * rand() - 1) } 1 .. $rank ] } 1 .. $dim;
	foreach (1 .. $count)
	{
		my @hidden = map { rand() + rand() + rand() - 1.5 } 1 .. $rank;
		my @row;

		foreach my $weights (@map)
		{
			my $x = 25;

			$x += $weights->[$_] * $hidden[$_] foreach 0 .. $rank - 1;
			push @row, $x < 0 ? 0 : $x > 218 ? 218 : int($x);
		}
		push @rows, \@row;
	}
	return \@rows;
}

# Copies vectors to a table, ids from 0.
sub _copy_rows
{
	my ($node, $table, $rows) = @_;
	my $text = $node->basedir . "/$table.copy";
	my $id = 0;

	open(my $out, '>', $text) or die "could not create $text: $!\n";
	print $out $id++, "\t[", join(',', @$_), "]\n" foreach @$rows;
	close $out or die "could not write $text: $!\n";
	$node->safe_psql('postgres', "\\copy $table FROM '$text'");
	unlink $text;
	return;
}

# Copies a file of vectors (int32 dimension, then float32 values) to a table,
# ids from 0.
sub _copy_fvecs
{
	my ($node, $table, $file) = @_;
	my $text = $node->basedir . "/$table.copy";
	my $id = 0;

	open(my $in, '<:raw', $file) or die "could not open $file: $!\n";
	open(my $out, '>', $text) or die "could not create $text: $!\n";
	while (read($in, my $head, 4))
	{
		my $dim = unpack('V', $head);

		read($in, my $values, 4 * $dim) == 4 * $dim
		  or die "$file ends in a vector\n";
		print $out join("\t",
			$id++, '[' . join(',', unpack("f<$dim", $values)) . ']'), "\n";
	}
	close $in;
	close $out or die "could not write $text: $!\n";
	$node->safe_psql('postgres', "\\copy $table FROM '$text'");
	unlink $text;
	return;
}

=pod

=item ChassisData->make_truth($node, $truth, %options)

Creates the table $truth (query, k, worst): the exact distance of the k-th
nearest row of table => NAME for every row of queries => NAME under
op => '<->'.  Options: k => 10.

=cut

sub make_truth
{
	my ($class, $node, $truth, %o) = @_;
	my $k = $o{k} // 10;
	my $op = $o{op} // '<->';

	$node->safe_psql(
		'postgres', qq{$exactly
		DROP TABLE IF EXISTS $truth;
		CREATE TABLE $truth AS
			SELECT q.id AS query, $k AS k, max(f.d) AS worst
			FROM $o{queries} q CROSS JOIN LATERAL (
				SELECT t.embedding $op q.embedding AS d FROM $o{table} t
				ORDER BY t.embedding $op q.embedding LIMIT $k) f
			GROUP BY q.id});
	return;
}

=pod

=item ChassisData->recall($node, $truth, %options)

Recall (0 to 1) of the index on table => NAME for the stored truth.  Options:
queries, op as for make_truth; ef => 100; settings => SQL that is run first;
where => a condition, that of a partial index for example.

A row counts as found when its distance is within the exact k-th distance, so
that ties are not held against the index.

=cut

sub recall
{
	my ($class, $node, $truth, %o) = @_;
	my $op = $o{op} // '<->';
	my $ef = $o{ef} // 100;
	my $settings = "SET chassis.ef_search = $ef; " . ($o{settings} // '');
	my $k = $node->safe_psql('postgres', "SELECT min(k) FROM $truth");
	my $inner = qq{SELECT t.embedding $op q.embedding AS d FROM $o{table} t
		ORDER BY t.embedding $op q.embedding LIMIT $k};

	$class->assert_uses_index($node, $settings,
		"SELECT * FROM $o{queries} q CROSS JOIN LATERAL ($inner) f");

	# The margin is for kernels that add up in another order.
	return $node->safe_psql(
		'postgres', qq{$by_index $settings
		WITH found AS MATERIALIZED (
			SELECT q.id AS query, f.d
			FROM $o{queries} q CROSS JOIN LATERAL ($inner) f)
		SELECT count(*) FILTER (WHERE d <= worst + abs(worst) * 1e-6 + 1e-9)
			::float8 / (SELECT count(*) * $k FROM $truth)
		FROM found JOIN $truth USING (query)});
}

=pod

=item ChassisData->found_by_itself($node, $table, %options)

Which share of the rows of the table (0 to 1) a search for the row's own vector
with LIMIT 1 finds, it or an equal one.  Not for inner product, where other
rows may be nearer.  Options: op => '<->', ef => 100, settings => SQL, and
where => a condition on t, the rows that are looked for.

=cut

sub found_by_itself
{
	my ($class, $node, $table, %o) = @_;
	my $op = $o{op} // '<->';
	my $ef = $o{ef} // 100;
	my $settings = "SET chassis.ef_search = $ef; " . ($o{settings} // '');
	my $where = $o{where} // 't.embedding IS NOT NULL';
	my $query = qq{SELECT f.embedding AS found, t.embedding
		FROM $table t CROSS JOIN LATERAL (
			SELECT n.embedding FROM $table n
			ORDER BY n.embedding $op t.embedding LIMIT 1) f WHERE $where};

	$class->assert_uses_index($node, $settings, $query);
	return $node->safe_psql(
		'postgres', qq{$by_index $settings
		SELECT count(*) FILTER (WHERE found = embedding)::float8
			/ greatest(count(*), 1) FROM ($query) f});
}

=pod

=item ChassisData->scan_returns_all($node, $table, $label, %options)

One test: a scan without LIMIT returns the id of every row that has a vector
exactly once.  Options: op => '<->', settings => SQL, query => an SQL
expression for the query vector (the vector of one of the rows).

=cut

sub scan_returns_all
{
	my ($class, $node, $table, $label, %o) = @_;
	my $op = $o{op} // '<->';
	my $settings = $o{settings} // '';
	my $query = $o{query} // "(SELECT embedding FROM $table
		WHERE embedding IS NOT NULL ORDER BY id LIMIT 1)";
	my $scan = "SELECT id FROM $table ORDER BY embedding $op $query";

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$class->assert_uses_index($node, $settings, $scan);
	return is(
		$node->safe_psql(
			'postgres', qq{$by_index $settings
			CREATE TEMP TABLE returned AS $scan;
			RESET enable_seqscan; RESET enable_sort;
			SELECT (SELECT count(*) FROM returned) AS returned,
				(SELECT count(DISTINCT id) FROM returned) AS different,
				(SELECT count(*) FROM (SELECT id FROM $table
					WHERE embedding IS NOT NULL
					EXCEPT SELECT id FROM returned) m) AS missing}),
		$node->safe_psql(
			'postgres', qq{SELECT count(embedding), count(embedding), 0
			FROM $table}),
		"an unlimited scan returns every row of $table once: $label");
}

=pod

=item ChassisData->index_is_whole($node, $table, $index, $label, %options)

Three tests: the index is clean, every row is found by an unlimited scan, and
at least 99.9 % by a search for their own vector.

=cut

sub index_is_whole
{
	my ($class, $node, $table, $index, $label, %o) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ChassisCluster->index_is_clean($node, $index, $label);
	$class->scan_returns_all($node, $table, $label, %o);
	return cmp_ok($class->found_by_itself($node, $table, %o),
		'>=', 0.999, "rows of $table are found by their own vectors: $label");
}

=pod

=item ChassisData->index_survived($node, $table, $index, $label, %options)

The tests for an index that was being changed when its server was killed, or
the statement cancelled.  Before VACUUM the only thing wrong with it may be
nodes, one for each change cut off (cut_off => 8 at most), that no edge leads
to yet; after VACUUM nothing is.

=cut

sub index_survived
{
	my ($class, $node, $table, $index, $label, %o) = @_;
	my $most = $o{cut_off} // 8;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( $node->safe_psql(
			'postgres', qq{SELECT * FROM chassis_index_check('$index')
			WHERE invariant NOT IN ('I10', 'I11')}),
		'',
		"index $index is sound: $label");
	cmp_ok(
		$node->safe_psql(
			'postgres', qq{SELECT count(*) FROM chassis_index_check('$index')
			WHERE invariant = 'I10' AND level = 0}),
		'<=', $most,
		"at most $most nodes of $index wait for their first edge: $label");
	$class->scan_returns_all($node, $table, $label, %o);
	cmp_ok($class->found_by_itself($node, $table, %o),
		'>=', 0.999, "rows of $table are found by their own vectors: $label");
	$node->safe_psql('postgres', "VACUUM (INDEX_CLEANUP ON) $table");
	return $class->index_is_whole($node, $table, $index, "$label, vacuumed",
		%o);
}

=pod

=item ChassisData->answers($node, $table, %options)

The answers to seeded queries as text, for comparing two servers: ids in the
order returned.  Options: dim => 32, op => '<->', queries => 20, limit => 20
(NULL for none), seed => 1, clusters => 100.

=cut

sub answers
{
	my ($class, $node, $table, %o) = @_;
	my $op = $o{op} // '<->';
	my $dim = $o{dim} // 32;
	my $queries = $o{queries} // 20;
	my $limit = $o{limit} // 20;
	my $seed = $o{seed} // 1;
	my $clusters = $o{clusters} // 100;
	my $inner = qq{SELECT t.id FROM $table t
		ORDER BY t.embedding $op q.embedding LIMIT $limit};
	# OFFSET 0, or the generator would be called for every row returned
	my $outer = qq{(SELECT id, test_vector($seed, 1000000000 + id, $dim,
		$clusters, 0.3)::vector AS embedding
		FROM generate_series(1, $queries) AS id OFFSET 0)};

	$class->assert_uses_index($node, '',
		"SELECT * FROM $outer q CROSS JOIN LATERAL ($inner) f");
	return $node->safe_psql(
		'postgres', qq{$by_index
		SELECT q.id, (SELECT string_agg(id::text, ' ') FROM ($inner) f)
		FROM $outer q ORDER BY q.id});
}

=pod

=item ChassisData->start_pgbench($node, $name, %options)

Starts pgbench and returns a handle.  Options: scripts => [TEXT, ...] (an entry
TEXT@WEIGHT weighs), clients => 2, and either transactions => N (each client)
or seconds => N; seed => 1.

=item ChassisData->finish_pgbench($handle)

Waits for it; returns (exit status, what it wrote to standard error).

=cut

sub start_pgbench
{
	my ($class, $node, $name, %o) = @_;
	my $clients = $o{clients} // 2;
	my @command = (
		'pgbench', '--no-vacuum', '--client', $clients,
		'--jobs', $clients, '--random-seed', $o{seed} // 1);
	my %handle = (out => '', err => '', name => $name);
	my $n = 0;

	push @command,
	  defined $o{seconds}
	  ? ('--time', $o{seconds})
	  : ('--transactions', $o{transactions});
	foreach my $entry (@{ $o{scripts} })
	{
		my $script = $entry;
		my $weight = $script =~ s/\@(\d+)\s*\z// ? $1 : 1;
		my $file = $node->basedir . "/$name-" . $n++ . '.sql';

		open(my $out, '>', $file) or die "could not create $file: $!\n";
		print $out $script;
		close $out or die "could not write $file: $!\n";
		push @command, '--file', "$file\@$weight";
	}
	push @command, '-h', $node->host, '-p', $node->port, 'postgres';
	note(join(' ', @command));
	$handle{run} = IPC::Run::start(
		\@command, '<', \undef,
		'>', \$handle{out}, '2>', \$handle{err},
		IPC::Run::timeout($patience * 4));
	return \%handle;
}

sub finish_pgbench
{
	my ($class, $handle) = @_;

	$handle->{run}->finish;
	note("$handle->{name}: ",
		join(', ', grep { /processed|tps|latency/ } split /\n/, $handle->{out}));
	$handle->{err} =~ s/^pgbench: setting random seed.*\n//;
	return ($handle->{run}->full_result(0), $handle->{err});
}

=pod

=item ChassisData->is_running($handle)

Is that pgbench still at work?

=cut

sub is_running
{
	my ($class, $handle) = @_;

	# taking in what it wrote lets IPC::Run notice its end
	$handle->{run}->pump_nb if $handle->{run}->pumpable;
	return $handle->{run}->pumpable;
}

=pod

=item ChassisData->kill_hard($node)

Kills the postmaster and then each of its children, all with SIGKILL: none of
them gets to do another thing.  Returns when they are gone.

=item ChassisData->start_after_crash($node)

Starts it again, as soon as whatever of the old server was missed by the list
of children has noticed that its parent is gone and has left the shared memory.

=cut

sub kill_hard
{
	my ($class, $node) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	my @children = split /\n/,
	  $node->safe_psql('postgres',
		'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');

	$node->kill9;
	kill 'KILL', @children;
	foreach my $pid ($postmaster, @children)
	{
		for (my $tries = 10 * $patience; kill 0, $pid; $tries--)
		{
			die "process $pid does not die\n" if $tries == 0;
			usleep(100_000);
		}
	}
	return;
}

sub start_after_crash
{
	my ($class, $node) = @_;

	for (my $tries = 5 * $patience; $tries > 0; $tries--)
	{
		return if $node->start(fail_ok => 1);
		usleep(200_000);
	}
	die 'node ' . $node->name . " does not start after a crash\n";
}

=pod

=back

=cut

1;
