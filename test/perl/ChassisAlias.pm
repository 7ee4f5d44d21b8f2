# ChassisAlias.pm
#	  What tests of the alias extension "vector" and of the bridge to pgvector
#	  share: finding a server for them, and a plan's index.
#
# The alias and pgvector cannot be in one installation, so the two kinds of test
# run on two.  tools/test.sh makes both and says where the second one is; under
# plain `make installcheck` there is one server, and what it has decides.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
package ChassisAlias;

use strict;
use warnings;

use ChassisCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What extension "vector" is on a server: 'alias', 'pgvector', or ''.
sub what_is_vector
{
	my ($class, $node) = @_;

	return $node->safe_psql(
		'postgres', q{
		SELECT CASE WHEN 'chassis' = ANY (requires) THEN 'alias'
			ELSE 'pgvector' END
		FROM pg_available_extension_versions
		WHERE name = 'vector' ORDER BY version = '0.8.6' DESC LIMIT 1});
}

# Leaves out the whole test, with the reason, but not where all tests are meant
# to run.
sub give_up
{
	my ($class, $reason) = @_;

	die "$reason\n" if $ENV{CHASSIS_ALL_TESTS};
	plan skip_all => $reason;
	return;
}

=pod

=over

=item ChassisAlias->new_node($name, %options)

A running node whose extension "vector" is the alias; nothing is created in it.
Options as for ChassisCluster->new_node.

=cut

sub new_node
{
	my ($class, $name, %options) = @_;
	my $node =
	  ChassisCluster->new_node($name, %options, extension => 0);

	$class->give_up(
		'the server has no alias: make install-pgvector-alias')
	  unless $class->what_is_vector($node) eq 'alias';
	return $node;
}

=pod

=item ChassisAlias->new_pgvector_node($name, %options)

A running node whose extension "vector" is pgvector; nothing is created in it.
Its programs are those of the installation in CHASSIS_PGVECTOR_BIN, else those
in PATH.

=cut

sub new_pgvector_node
{
	my ($class, $name, %options) = @_;
	my $bin = $ENV{CHASSIS_PGVECTOR_BIN} // '';

	(my $prefix = $bin) =~ s{/bin/?$}{};
	$options{install_path} = $prefix if $prefix ne '';
	my $node = ChassisCluster->new_node($name, %options, extension => 0);

	$class->give_up('the server has no pgvector, and CHASSIS_PGVECTOR_BIN '
		  . 'names none that has (tools/pgvector.sh makes one)')
	  unless $class->what_is_vector($node) eq 'pgvector';
	return $node;
}

=pod

=item ChassisAlias->uses_index($node, $dbname, $query, $index, $label)

One test: the plan of the query, with seq scans switched off, scans the index.

=cut

sub uses_index
{
	my ($class, $node, $dbname, $query, $index, $label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return like(
		$node->safe_psql($dbname,
			"SET enable_seqscan = off; EXPLAIN (COSTS OFF) $query"),
		qr/Index Scan using \Q$index\E/,
		$label);
}

=pod

=back

=cut

1;
