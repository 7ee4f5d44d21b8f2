# 005_scan.pl
#	  A scan goes on for as long as the executor asks: more rows than one search
#	  gives, filters, cursors, rescans, too little memory.
#
# What counts here is which rows come and in what order; how near they are is
# the business of 003_recall.pl.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisCluster;
use ChassisData;
use Test::More;

my $rows = 10000;
my $node = ChassisCluster->new_node('scan');
my $by_index = ChassisData->index_settings;

ChassisCluster->load_vectors($node, 'items', rows => $rows, dim => 24);
$node->safe_psql(
	'postgres', q{
	CREATE INDEX items_idx ON items USING chassis (embedding vector_l2_ops);
	CREATE TABLE queries AS
		SELECT id, test_vector(1, 1000000000 + id, 24, 100, 0.3)::vector
			AS embedding
		FROM generate_series(1, 50) AS id});

sub value
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "$by_index $sql");
}

# For each of the queries, the distances in the order of return: how many rows
# come, how many different ones, and how many are out of order.
sub shape
{
	my ($settings, $limit) = @_;
	my $inner = qq{SELECT t.id, t.embedding <-> q.embedding AS d FROM items t
		ORDER BY t.embedding <-> q.embedding LIMIT $limit};

	ChassisData->assert_uses_index($node, $settings,
		"SELECT * FROM queries q CROSS JOIN LATERAL ($inner) f");
	my $result = value(
		qq{$settings
		WITH f AS MATERIALIZED (
			SELECT q.id AS query, f.id, f.d, f.number
			FROM queries q CROSS JOIN LATERAL (
				SELECT row_number() OVER () AS number, * FROM ($inner) s) f)
		SELECT count(*), count(DISTINCT (query, id)),
			count(*) FILTER (WHERE d < before)
		FROM (SELECT *, lag(d) OVER (PARTITION BY query ORDER BY number)
				AS before FROM f) g});

	return split /\|/, $result;
}

# ---- how many, and in what order ----

my ($n, $different, $unsorted) = shape('SET chassis.ef_search = 40;', 20);
is("$n $different $unsorted",
	'1000 1000 0', 'LIMIT 20 at ef 40: 20 rows each, sorted');

($n, $different, $unsorted) = shape('SET chassis.ef_search = 40;', 500);
is("$n $different", '25000 25000', 'LIMIT 500 at ef 40: 500 rows each, once');
cmp_ok($unsorted, '<', 250, "of which $unsorted, nearly none, are late");

($n, $different, $unsorted) = shape(
	q{SET chassis.ef_search = 10;
	SET chassis.iterative_scan = strict_order;}, 300);
is($unsorted, 0, 'strict_order: no row is late');
is($n, $different, 'strict_order: each row once');
cmp_ok($n, '>', 50 * 300 * 0.95, "strict_order: $n rows, few are skipped");

($n, $different, $unsorted) = shape(
	q{SET chassis.ef_search = 40;
	SET chassis.iterative_scan = off;}, 500);
is($n, $different, 'off: each row once');
is($n, 50 * 40, 'off: the scan ends with its first window');

($n) = shape('SET chassis.ef_search = 400;', 1000);
is($n, 50 * 1000, 'LIMIT 1000 at ef 400');

# the option of the index counts unless the setting does
$node->safe_psql('postgres', 'ALTER INDEX items_idx SET (ef_search = 70)');
($n) = shape('SET chassis.iterative_scan = off;', 500);
is($n, 50 * 70, 'ef_search as an option of the index');
($n) = shape(
	'SET chassis.iterative_scan = off; SET chassis.ef_search = 30;', 500);
is($n, 50 * 30, 'ef_search as a setting');
$node->safe_psql('postgres', 'ALTER INDEX items_idx RESET (ef_search)');

# ---- conditions that the index does not know ----

foreach my $share (100, 1000)
{
	my $inner = qq{SELECT t.id, t.embedding <-> q.embedding AS d FROM items t
		WHERE id % $share = 7
		ORDER BY t.embedding <-> q.embedding LIMIT 10};

	ChassisData->assert_uses_index($node, 'SET chassis.ef_search = 40;',
		"SELECT * FROM queries q CROSS JOIN LATERAL ($inner) f");
	my $found = qq{SELECT q.id AS query, f.id
		FROM queries q CROSS JOIN LATERAL ($inner) f};
	is( value(
			"SET chassis.ef_search = 40; SELECT count(*) FROM ($found) f"),
		500,
		"WHERE keeps one row of $share: all rows of LIMIT 10 come");
	cmp_ok(
		$node->safe_psql(
			'postgres', qq{
			SET enable_indexscan = off;
			CREATE TEMP TABLE exact AS $found;
			RESET enable_indexscan; $by_index
			SET chassis.ef_search = 40;
			CREATE TEMP TABLE found AS $found;
			SELECT count(*) FROM exact JOIN found USING (query, id)}),
		'>=', 490, 'and they are the nearest');
}

# ---- a scan without LIMIT ----

$node->safe_psql(
	'postgres', q{
	CREATE TABLE few AS SELECT * FROM items WHERE id <= 3000;
	-- equal vectors, and rows without one
	INSERT INTO few SELECT 20000 + i, embedding
		FROM few CROSS JOIN generate_series(1, 60) AS i WHERE id = 5;
	INSERT INTO few SELECT 30000 + i, NULL FROM generate_series(1, 10) AS i;
	ANALYZE few});
foreach my $case (
	[ '<->', 'vector_l2_ops', '' ],
	[ '<#>', 'vector_ip_ops', 'WITH (bits = 1)' ],
	[ '<=>', 'vector_cosine_ops', 'WITH (rerank = heap)' ],
	[ '<+>', 'vector_l1_ops', '' ],
	[ '<->', 'vector_l2_ops', 'WITH (bits = 32, m = 2, ef_construction = 4)' ]
  )
{
	my ($op, $class, $with) = @$case;

	$node->safe_psql(
		'postgres', qq{
		DROP INDEX IF EXISTS few_idx;
		CREATE INDEX few_idx ON few USING chassis (embedding $class) $with});
	foreach my $settings (
		'',
		'SET chassis.ef_search = 1;',
		"SET work_mem = '64kB'; SET chassis.ef_search = 10;")
	{
		ChassisData->scan_returns_all(
			$node, 'few', "$class $with $settings",
			op => $op,
			settings => $settings);
	}
	ChassisData->scan_returns_all(
		$node, 'few', "$class $with, no vector to compare with",
		op => $op,
		query => '(SELECT NULL::vector FROM few LIMIT 1)');
}

# ---- too little memory: the scan goes on as a sweep ----

# 64 kB hold a few thousand candidates of 10,000
ChassisData->scan_returns_all($node, 'items', 'work_mem = 64kB',
	settings => "SET work_mem = '64kB';");
ChassisData->scan_returns_all(
	$node, 'items', 'the same, four times as much',
	settings => "SET work_mem = '64kB'; SET chassis.scan_mem_multiplier = 4;");
($n, $different, $unsorted) = shape(
	q{SET work_mem = '64kB'; SET chassis.iterative_scan = strict_order;}, 3000);
is($unsorted, 0, 'strict_order across the sweep: no row is late');
($n, $different) = shape(q{SET work_mem = '64kB';}, 3000);
is("$n $different", '150000 150000', 'LIMIT 3000 in 64 kB: 3000 rows each');

# ---- max_scan_tuples ----

($n, $different) = shape(
	'SET chassis.max_scan_tuples = 2000; SET chassis.ef_search = 40;', $rows);
is($n, $different, 'max_scan_tuples: each row once');
cmp_ok($n, '<=', 50 * 2600, "max_scan_tuples = 2000 ends the scan: $n rows");
cmp_ok($n, '>=', 50 * 40, 'but not before its first search');

# ---- rescans ----

# Sum of the memory of this backend as the join is under way: after row 500,
# when everything was used once, and at its end.
my $lateral = q{SELECT CASE WHEN o.id IN (500, 10000) THEN
		(SELECT sum(total_bytes) FROM pg_get_backend_memory_contexts()
			WHERE o.id > 0) END AS bytes, o.id, f.id AS found
	FROM (SELECT * FROM items ORDER BY id OFFSET 0) o CROSS JOIN LATERAL (
		SELECT t.id FROM items t
		ORDER BY t.embedding <-> o.embedding LIMIT 1) f};

my $memory = value(
	qq{RESET enable_sort; SET chassis.ef_search = 20;
	CREATE TEMP TABLE joined AS $lateral;
	SELECT (SELECT count(*) FROM joined WHERE id = found),
		(SELECT bytes FROM joined WHERE id = 10000)
			- (SELECT bytes FROM joined WHERE id = 500)});
my ($themselves, $growth) = split /\|/, $memory;
cmp_ok($themselves, '>=', 9990,
	'LATERAL over 10,000 rows finds each of them');
cmp_ok($growth, '<', 256 * 1024,
	"and its memory does not grow with their number: $growth bytes");

# a scan that alternates between vectors, NULL and nothing read
is( value(
		q{SELECT string_agg(coalesce((SELECT t.id FROM items t
			ORDER BY t.embedding <-> v.embedding LIMIT 1)::text, 'none'), ' '
			ORDER BY v.n)
		FROM (SELECT n, CASE WHEN n % 2 = 0 THEN embedding END AS embedding
			FROM generate_series(1, 6) AS n
			JOIN items ON id = n * 100 OFFSET 0) v
		WHERE v.n % 2 = 0}),
	'200 400 600',
	'rescans with other vectors');
is( value(
		q{SELECT count(*) FROM (VALUES (1), (2), (3)) v (n)
		CROSS JOIN LATERAL (SELECT t.id FROM items t ORDER BY t.embedding <->
			CASE WHEN n = 2 THEN NULL
				ELSE (SELECT embedding FROM items WHERE id = n) END
			LIMIT 5) f}),
	15,
	'rescans with NULL in between');

# ---- prepared statements ----

is( value(
		q{SET plan_cache_mode = force_generic_plan;
		PREPARE nearest(vector) AS SELECT id FROM items
			ORDER BY embedding <-> $1 LIMIT 1;
		EXECUTE nearest(test_vector(1, 11, 24, 100, 0.3)::vector);
		EXECUTE nearest(test_vector(1, 12, 24, 100, 0.3)::vector);
		EXECUTE nearest(test_vector(1, 13, 24, 100, 0.3)::vector);}),
	"11\n12\n13",
	'a generic plan with other vectors');
my ($ret, $out, $err) = $node->psql(
	'postgres', qq{$by_index
	PREPARE nearest(vector) AS SELECT id FROM items
		ORDER BY embedding <-> \$1 LIMIT 1;
	EXECUTE nearest('[1,2,3]')});
like($err, qr/different vector dimensions/, 'a vector of another length');

# ---- cursors ----

my $session = $node->background_psql('postgres');
$session->query_safe(
	qq{$by_index
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	DECLARE c CURSOR FOR SELECT id FROM items
		ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 42);
	DECLARE d CURSOR FOR SELECT id FROM items
		ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 43)});
my @seen = split /\n/, $session->query_safe('FETCH 10 FROM c');
is($seen[0], 42, 'a cursor begins with the nearest row');

# Meanwhile the rows change: the cursor must not notice, whatever slot it
# stands on.
$node->safe_psql(
	'postgres', qq{
	DELETE FROM items WHERE id % 2 = 0;
	VACUUM items;
	INSERT INTO items
		SELECT id, test_vector(3, id, 24, 100, 0.3)::vector
		FROM generate_series(50001, 51000) AS id;
	VACUUM items});
is((split /\n/, $session->query_safe('FETCH 3 FROM d'))[0],
	43, 'a second cursor, begun after the change');
push @seen, split /\n/, $session->query_safe('FETCH 500 FROM c');
push @seen, split /\n/, $session->query_safe('FETCH ALL FROM c');
is(scalar(@seen), $rows, 'it returns as many rows as there were');
my %once = map { $_ => 1 } @seen;
is(scalar(keys %once), $rows, 'each of them once');
is($session->query_safe('FETCH 1 FROM c'), '', 'and then no more');
is( $session->query_safe(
		q{CLOSE c;
		SELECT 1 / (count(*) = 10000)::integer FROM items}),
	1,
	'the snapshot is the one it had');
$session->query_safe('COMMIT');
$session->quit;

# ---- one's own changes ----

is( value(
		q{BEGIN;
		INSERT INTO items
			SELECT 60001, test_vector(9, 1, 24)::vector;
		SELECT id FROM items ORDER BY embedding <->
			(SELECT test_vector(9, 1, 24)::vector) LIMIT 1;
		SAVEPOINT s;
		DELETE FROM items WHERE id = 60001;
		SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <->
			(SELECT test_vector(9, 1, 24)::vector) LIMIT 5) f
			WHERE id = 60001;
		ROLLBACK TO s;
		SELECT id FROM items ORDER BY embedding <->
			(SELECT test_vector(9, 1, 24)::vector) LIMIT 1;
		ROLLBACK;
		SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <->
			(SELECT test_vector(9, 1, 24)::vector) LIMIT 5) f
			WHERE id = 60001;}),
	"60001\n0\n60001\n0",
	'a scan sees what its transaction did, and nothing that was undone');

# ---- leftovers of the flat phase ----

# Shortly after the row that makes the index a graph most of the older rows are
# not linked: scans compare them one by one, and VACUUM links them.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE turned (LIKE items);
	CREATE INDEX turned_idx ON turned USING chassis (embedding vector_l2_ops);
	-- up to the very row: each later one links some, and how many rows it takes
	-- depends on which pages the backend fills
	DO $$
	DECLARE
		item items;
	BEGIN
		FOR item IN SELECT * FROM items WHERE id < 50000 ORDER BY id LOOP
			INSERT INTO turned VALUES (item.*);
			EXIT WHEN EXISTS (SELECT FROM chassis_index_info('turned_idx')
				WHERE name = 'phase' AND value = 'graph');
		END LOOP;
	END $$;
	ANALYZE turned});
my $unlinked = q{SELECT value::integer FROM chassis_index_info('turned_idx')
	WHERE name = 'level_0_unlinked'};
cmp_ok($node->safe_psql('postgres', $unlinked),
	'>', 100, 'after the turn some nodes are not linked yet');
ChassisData->make_truth($node, 'truth_turned',
	table => 'turned', queries => 'queries');
cmp_ok(
	ChassisData->recall($node, 'truth_turned', table => 'turned',
		queries => 'queries', ef => 100),
	'>=', 0.99, 'they are found nevertheless');
ChassisData->index_is_whole($node, 'turned', 'turned_idx',
	'just turned into a graph');
$node->safe_psql('postgres', 'VACUUM turned');
is($node->safe_psql('postgres', $unlinked), 0, 'VACUUM links them');
cmp_ok(
	ChassisData->recall($node, 'truth_turned', table => 'turned',
		queries => 'queries', ef => 100),
	'>=', 0.99, 'recall through the graph');
ChassisData->index_is_whole($node, 'turned', 'turned_idx',
	'linked by VACUUM');

# ---- the end of a scan that was not finished ----

($ret, $out, $err) = $node->psql(
	'postgres', qq{$by_index
	SET statement_timeout = '200ms';
	SELECT count(*) FROM items o CROSS JOIN items p CROSS JOIN LATERAL (
		SELECT t.id FROM items t ORDER BY t.embedding <-> o.embedding) f});
like($err, qr/statement timeout/, 'a scan can be interrupted');
($ret, $out, $err) = $node->psql(
	'postgres', qq{$by_index
	SELECT sum(x) FROM (SELECT 1 / (id - 77) AS x FROM items
		ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 77)) f});
like($err, qr/division by zero/, 'an error can end it');
unlike(
	PostgreSQL::Test::Utils::slurp_file($node->logfile),
	qr/leak|PANIC|terminated by signal/,
	'nothing was leaked, nobody crashed');

done_testing();
