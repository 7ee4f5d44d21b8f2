# 040_objects.pl
#	  docs/pgvector-objects.md tells the truth about what the extensions have.
#
# Every row that says an object is here or is missing is compared with the
# catalogs of a fresh installation of chassis and of its alias "vector", and
# every object of the two must be in some row: an object added, renamed or
# dropped without its row is found here.  What pgvector has is taken from the
# page.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisAlias;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ChassisAlias->new_node('objects');
$node->safe_psql('postgres', 'CREATE EXTENSION vector CASCADE');

# object -> chassis or alias.  Operator families go with their classes, as the
# page says; array and row types with theirs.
my %maker;
foreach my $row (split /\n/, $node->safe_psql(
	'postgres',
	q{SELECT CASE e.extname WHEN 'vector' THEN 'alias' ELSE 'chassis' END,
			pg_describe_object(d.classid, d.objid, 0)
		FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND e.extname IN ('chassis', 'vector')
		AND d.classid <> 'pg_opfamily'::regclass}))
{
	my ($extension, $object) = split /\|/, $row, 2;
	$maker{$object} = $extension;
}
cmp_ok(scalar(keys %maker), '>', 150, 'the extensions have objects');

my %listed;
my %count = (same => 0, more => 0, missing => 0, only => 0);
my (@wrong, @unknown, @unexplained, @repeated);

foreach my $line (split /\n/, slurp_file('docs/pgvector-objects.md'))
{
	# | `object` | status | made by | note |; the last section has no status
	next unless $line =~ /^\| `((?:[^`\\]|\\\|)+)` \| (.*) \|$/;
	my ($object, @columns) = ($1, split(/ ?\| /, $2, 3));
	unshift @columns, 'only' if @columns == 2;
	my ($status, $by, $note) = @columns;

	$object =~ s/\\\|/|/g;
	push @repeated, $object if $listed{$object}++;
	push @unknown, "$object: $status" unless exists $count{$status};
	$count{$status}++;
	push @wrong, "$object: made by " . ($maker{$object} // 'nobody')
	  if ($maker{$object} // '') ne $by;
	push @unexplained, $object
	  if $status ne 'same' && ($note // '') !~ /\w/;
	push @wrong, "$object: not missing" if ($status eq 'missing') != ($by eq '');
}

cmp_ok($count{same}, '>', 100, 'the page was read');
cmp_ok($count{only}, '>', 10, 'so was its last section');
is_deeply(\@unknown, [], 'every row has a known status');
is_deeply(\@repeated, [], 'no object has two rows');
is_deeply(\@wrong, [], 'what the page says is here or missing, is');
is_deeply(\@unexplained, [], 'differences are explained');
is_deeply([ sort grep { !$listed{$_} } keys %maker ],
	[], 'no object is left out');

# The numbers in the page's first paragraph.
my ($sum, $same, $more, $missing, $only) =
  slurp_file('docs/pgvector-objects.md') =~
  /: (\d+) objects,\s+(\d+) the same, (\d+) that do more, (\d+) missing; (\d+) only here/;
is( "$sum $same $more $missing $only",
	join(' ',
		$count{same} + $count{more} + $count{missing},
		@count{qw(same more missing only)}),
	'its numbers are those of its rows');

done_testing();
