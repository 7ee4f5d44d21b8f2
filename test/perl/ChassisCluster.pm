# ChassisCluster.pm
#	  The one way a TAP test obtains a server that has the extension.
#
# A thin layer over PostgreSQL::Test::Cluster: settings that every test wants,
# seeded vectors, exact answers, and the checker.  It does not know where the
# extension lives.  The server programs are found through PATH, as always in
# PostgreSQL's own tests: tools/test.sh puts a private copy of them first
# (tools/stage.sh), `make installcheck` those of the installed server.
#
#	  use ChassisCluster;
#	  my $node = ChassisCluster->new_node('main');
#	  ChassisCluster->load_vectors($node, 'items', rows => 5000, dim => 32);
#	  $node->safe_psql('postgres',
#	      'CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops)');
#	  ChassisCluster->index_is_clean($node, 'items_idx', 'after the build');
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
package ChassisCluster;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Kept small, so that several tests fit on one machine; log_statement = none
# because the framework's "all" would write every vector into the log.
my $shared_conf = q{
shared_buffers = 64MB
maintenance_work_mem = 64MB
max_wal_size = 2GB
checkpoint_timeout = 1h
autovacuum = off
jit = off
log_statement = none
max_parallel_maintenance_workers = 2
dynamic_shared_memory_type = posix
};

=pod

=over

=item ChassisCluster->new_node($name, %options)

Returns a running PostgreSQL::Test::Cluster node, the extension created in
database postgres.  Options: start => 0 and extension => 0 leave those steps
out; conf => TEXT is appended to postgresql.conf; install_path => DIR takes the
programs from DIR/bin, not from PATH; anything else is handed to init(), for
example allows_streaming => 1.

=cut

sub new_node
{
	my ($class, $name, %options) = @_;
	my $start = delete $options{start} // 1;
	my $extension = delete $options{extension} // 1;
	my $conf = delete $options{conf} // '';

	my %where = map { $_ => delete $options{$_} }
	  grep { exists $options{$_} } qw(install_path);

	my $node = PostgreSQL::Test::Cluster->new($name, %where);
	$node->init(%options);
	$node->append_conf('postgresql.conf', $shared_conf . $conf . "\n");
	return $node unless $start;

	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION chassis') if $extension;
	return $node;
}

=pod

=item ChassisCluster->new_standby($primary, $name, %options)

Returns a running, streaming standby.  The primary must have been made with
allows_streaming => 1.  conf => TEXT as above.

=cut

sub new_standby
{
	my ($class, $primary, $name, %options) = @_;
	my $backup = "backup_for_$name";

	$primary->backup($backup);
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$standby->init_from_backup($primary, $backup, has_streaming => 1);
	$standby->append_conf('postgresql.conf', "$options{conf}\n")
	  if defined $options{conf};
	$standby->start;
	return $standby;
}

=pod

=item ChassisCluster->install_generator($node, $dbname)

Creates test_vector(seed, id, dim, clusters, jitter) returning real[]: the
same numbers on every machine and major version (it hashes, it does not draw).
With clusters = 0 every coordinate is uniform in [-1, 1); otherwise vector id
is centre number id % clusters plus jitter times such a vector.

=cut

sub install_generator
{
	my ($class, $node, $dbname) = @_;

	$node->safe_psql($dbname // 'postgres', q{
		CREATE OR REPLACE FUNCTION test_coordinate(seed bigint, id bigint,
			j integer) RETURNS double precision
		LANGUAGE sql IMMUTABLE PARALLEL SAFE
		AS $$ SELECT (hashint8extended(id * 65536 + j, seed) & 16777215)
			/ 8388608.0::double precision - 1 $$;

		CREATE OR REPLACE FUNCTION test_vector(seed bigint, id bigint,
			dim integer, clusters integer DEFAULT 0,
			jitter double precision DEFAULT 0.3) RETURNS real[]
		LANGUAGE sql IMMUTABLE PARALLEL SAFE
		AS $$ SELECT array_agg(CASE WHEN clusters = 0
				THEN test_coordinate(seed, id, j)
				ELSE test_coordinate(seed + 1, id % clusters, j)
					+ jitter * test_coordinate(seed, id, j) END::real
				ORDER BY j)
			FROM generate_series(1, dim) AS j $$;
	});
	return;
}

=pod

=item ChassisCluster->load_vectors($node, $table, %options)

Appends rows (id bigint primary key, embedding vector(dim)); creates the table
when it is not there.  Options, with their defaults: rows => 1000, dim => 32,
seed => 1, clusters => 100, jitter => 0.3, first => 1 (the first id),
dbname => 'postgres'.  The same seed and ids always give the same rows, so a
row can be restored after it was deleted.

=cut

sub load_vectors
{
	my ($class, $node, $table, %o) = @_;
	my $dbname = $o{dbname} // 'postgres';
	my $rows = $o{rows} // 1000;
	my $dim = $o{dim} // 32;
	my $seed = $o{seed} // 1;
	my $clusters = $o{clusters} // 100;
	my $jitter = $o{jitter} // 0.3;
	my $first = $o{first} // 1;
	my $last = $first + $rows - 1;

	$class->install_generator($node, $dbname);
	$node->safe_psql($dbname, qq{
		SET client_min_messages = warning;
		CREATE TABLE IF NOT EXISTS $table
			(id bigint PRIMARY KEY, embedding vector($dim));
		INSERT INTO $table
			SELECT id, test_vector($seed, id, $dim, $clusters, $jitter)::vector
			FROM generate_series($first, $last) AS id;
		ANALYZE $table;
	});
	return;
}

=pod

=item ChassisCluster->recall($node, $table, %options)

Returns recall (0 to 1) of `ORDER BY embedding OP query LIMIT k` through the
index, against the same statement without it.  Queries come from the
generator, with ids that load_vectors does not use.  Options: k => 10,
queries => 50, dim => 32, seed => 1, clusters => 100, jitter => 0.3,
op => '<->', ef_search => (the index's), dbname => 'postgres'.  Dies when the
plan does not use an index: a sequential scan would look like perfect recall.

A found row counts when its distance is within the exact answer's k-th
distance, so that ties and duplicates are not held against the index.

=cut

sub recall
{
	my ($class, $node, $table, %o) = @_;
	my $dbname = $o{dbname} // 'postgres';
	my $k = $o{k} // 10;
	my $queries = $o{queries} // 50;
	my $dim = $o{dim} // 32;
	my $seed = $o{seed} // 1;
	my $clusters = $o{clusters} // 100;
	my $jitter = $o{jitter} // 0.3;
	my $op = $o{op} // '<->';
	my $set_ef =
	  defined $o{ef_search} ? "SET chassis.ef_search = $o{ef_search};" : '';

	$class->install_generator($node, $dbname);
	# vector arguments make the operator a constant in each inner scan
	my $prepare = qq{
		SET client_min_messages = warning;
		CREATE TEMP TABLE query_set AS
			SELECT id, test_vector($seed, 1000000000 + id, $dim, $clusters,
				$jitter)::vector AS embedding
			FROM generate_series(1, $queries) AS id;
	};
	my $inner = qq{SELECT t.embedding $op q.embedding AS d FROM $table t
		ORDER BY t.embedding $op q.embedding LIMIT $k};
	my $plan = $node->safe_psql($dbname, qq{
		$prepare $set_ef SET enable_seqscan = off; SET enable_sort = off;
		EXPLAIN (COSTS OFF) SELECT * FROM query_set q CROSS JOIN LATERAL ($inner) f;
	});
	die "recall of $table would not use an index:\n$plan\n"
	  unless $plan =~ /Index Scan using/;

	# The exact side must not see any index, nor the other side's settings.
	my $result = $node->safe_psql($dbname, qq{
		$prepare $set_ef
		SET enable_seqscan = off; SET enable_sort = off;
		CREATE TEMP TABLE found AS
			SELECT q.id, f.d FROM query_set q CROSS JOIN LATERAL ($inner) f;
		RESET enable_seqscan; RESET enable_sort;
		SET enable_indexscan = off; SET enable_indexonlyscan = off;
		SET enable_bitmapscan = off;
		CREATE TEMP TABLE exact AS
			SELECT q.id, max(f.d) AS worst, count(*) AS n
			FROM query_set q CROSS JOIN LATERAL ($inner) f GROUP BY q.id;
		SELECT (SELECT count(*) FROM found JOIN exact USING (id)
			WHERE d <= worst + abs(worst) * 1e-6 + 1e-9)::float8
			/ (SELECT sum(n) FROM exact);
	});
	return $result;
}

=pod

=item ChassisCluster->index_is_clean($node, $index, $label)

One test: chassis_index_check() reports no violation.

=cut

sub index_is_clean
{
	my ($class, $node, $index, $label, $dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(
		$node->safe_psql(
			$dbname // 'postgres',
			"SELECT * FROM chassis_index_check('$index')"),
		'', "index $index is clean: $label");
}

=pod

=item ChassisCluster->scale

1, or the number in CHASSIS_STRESS (`make stress`): what to multiply loops or
rows by.

=cut

sub scale
{
	return $ENV{CHASSIS_STRESS} || 1;
}

=pod

=item ChassisCluster->siftsmall

The directory that holds siftsmall_base.fvecs and its companions, or undef
when the machine does not have the set.

=cut

sub siftsmall
{
	my $dir = $ENV{CHASSIS_SIFTSMALL};

	return defined $dir && -r "$dir/siftsmall_base.fvecs" ? $dir : undef;
}

=pod

=back

=cut

1;
