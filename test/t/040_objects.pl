# 040_objects.pl
#	  docs/pgvector-objects.md tells the truth about what the extension has.
#
# Every row that says an object is here or is missing is compared with the
# catalogs of a fresh installation, and every object of the extension must be
# in some row: an object added, renamed or dropped without its row is found
# here.  What pgvector has is taken from the page.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ChassisCluster->new_node('objects');

# Operator families go with their classes, as the page says; array and row
# types with theirs.
my %exists = map { $_ => 1 } split /\n/, $node->safe_psql(
	'postgres',
	q{SELECT pg_describe_object(d.classid, d.objid, 0)
		FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND e.extname = 'chassis' AND d.classid <> 'pg_opfamily'::regclass});
cmp_ok(scalar(keys %exists), '>', 150, 'the extension has objects');

my %listed;
my %count = (same => 0, more => 0, other => 0, missing => 0, only => 0);
my (@absent, @present, @unknown, @unexplained, @repeated);

foreach my $line (split /\n/, slurp_file('docs/pgvector-objects.md'))
{
	# | `object` | status | note |, or | `object` | for | in the last section
	next unless $line =~ /^\| `((?:[^`\\]|\\\|)+)` \| (.*) \|$/;
	my ($object, @columns) = ($1, split(/ ?\| /, $2, 2));
	my $status = @columns == 2 ? $columns[0] : 'only';

	$object =~ s/\\\|/|/g;
	push @repeated, $object if $listed{$object}++;
	push @unknown, "$object: $status" unless exists $count{$status};
	$count{$status}++;
	if ($status eq 'missing' || $status eq 'other')
	{
		push @present, $object if $exists{$object};
		push @unexplained, $object unless $columns[1] =~ /\w/;
	}
	else
	{
		push @absent, $object unless $exists{$object};
	}
}

cmp_ok($count{same}, '>', 100, 'the page was read');
cmp_ok($count{only}, '>', 10, 'so was its last section');
is_deeply(\@unknown, [], 'every row has a known status');
is_deeply(\@repeated, [], 'no object has two rows');
is_deeply(\@absent, [], 'what the page says is here, is here');
is_deeply(\@present, [], 'what it says is missing, is missing');
is_deeply(\@unexplained, [], 'with a reason');
is_deeply([ sort grep { !$listed{$_} } keys %exists ],
	[], 'no object is left out');

# The numbers in the page's first paragraph.
my ($sum, $same, $more, $other, $missing, $only) =
  slurp_file('docs/pgvector-objects.md') =~
  /: (\d+) objects,\s+(\d+) the same, (\d+) that do more, (\d+) under another name, (\d+) missing; (\d+) only here/;
is( "$sum $same $more $other $missing $only",
	join(' ',
		$count{same} + $count{more} + $count{other} + $count{missing},
		@count{qw(same more other missing only)}),
	'its numbers are those of its rows');

done_testing();
