# 051_pgvector_alias.pl
#	  Extension "vector" over chassis: what a client of pgvector looks for is
#	  there, acts as it does there, and survives dump and restore.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisAlias;
use ChassisCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ChassisAlias->new_node('alias');

# Output of one session, its statements in order; fails the test on an error.
sub session
{
	my ($sql, $dbname) = @_;
	return $node->safe_psql($dbname // 'postgres', $sql);
}

# One test: the statements fail with this message.
sub fails
{
	my ($sql, $message, $label, $dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $out, $err) =
	  $node->psql($dbname // 'postgres', $sql, on_error_stop => 1);
	return like($err, $message, $label);
}

# ---- creating it ----

fails('CREATE EXTENSION vector', qr/required extension "chassis" is not installed/,
	'without CASCADE chassis is wanted');
session('CREATE EXTENSION vector CASCADE');
is(session(q{SELECT extname, extversion FROM pg_extension
		WHERE extname = 'vector'}),
	'vector|0.8.6', 'the version is pgvector\'s');
is( session(q{SELECT installed_version FROM pg_available_extensions
		WHERE name = 'vector'}),
	'0.8.6', 'so is the one that vecs asks for');
session('CREATE EXTENSION IF NOT EXISTS vector');
my ($status, $out, $err) =
  $node->psql('postgres', 'ALTER EXTENSION vector UPDATE');
like($err, qr/version "0.8.6" of extension "vector" is already installed/,
	'there is nothing to update');

# What clients look up: types by name on the path, access methods, classes.
is( session(q{SELECT to_regtype('vector'), to_regtype('_vector'),
		to_regtype('public.halfvec'), to_regtype('sparsevec')}),
	'vector|vector[]|halfvec|sparsevec', 'types are on the path');
my $classes = q{SELECT amname || ' ' || opcname || ' ' || opcintype::regtype ||
		CASE WHEN opcdefault THEN ' default' ELSE '' END
	FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod
	WHERE amname IN ('hnsw', 'ivfflat') ORDER BY 1};
is(session($classes), join("\n", sort
	(map { "hnsw $_" }
		 'bit_hamming_ops bit', 'bit_jaccard_ops bit',
		 map { my $t = $_; map { "${t}_${_}_ops $t" } qw(cosine ip l1 l2) }
		 qw(halfvec sparsevec vector)),
	(map { "ivfflat $_" }
		 'bit_hamming_ops bit',
		 'halfvec_cosine_ops halfvec', 'halfvec_ip_ops halfvec',
		 'halfvec_l2_ops halfvec', 'vector_cosine_ops vector',
		 'vector_ip_ops vector', 'vector_l2_ops vector default')),
	'the classes and their defaults are pgvector\'s');
is( session(q{SELECT count(*) FROM pg_opclass c
		JOIN pg_am a ON a.oid = c.opcmethod
		WHERE amname IN ('hnsw', 'ivfflat') AND NOT amvalidate(c.oid)}),
	'0', 'and all are valid');

fails('CREATE EXTENSION chassis_pgvector',
	qr/ERROR:  extension "vector" is not pgvector but its alias\nHINT:/,
	'the bridge is not for columns of chassis');

# A database's owner may do it, and objects that wait for the script in its
# schema are not taken for chassis'.
session('CREATE ROLE owner LOGIN; CREATE DATABASE trusted OWNER owner');
session(q{
	CREATE SCHEMA types; CREATE EXTENSION chassis SCHEMA types;
	CREATE FUNCTION distance(types.vector, types.vector) RETURNS float8
		LANGUAGE sql AS 'SELECT 42.0::float8';
	CREATE OPERATOR <-> (LEFTARG = types.vector, RIGHTARG = types.vector,
		FUNCTION = distance);
}, 'trusted');
($status, $out, $err) = $node->psql('trusted',
	'SET ROLE owner; CREATE EXTENSION vector SCHEMA public');
is($status, 0, 'the owner of a database can create it');
like($err, qr/WARNING:  types vector, halfvec and sparsevec are in schema types/,
	'types that clients will not find are worth a warning');
is( session(q{SELECT DISTINCT oprnamespace::regnamespace
		FROM pg_amop JOIN pg_operator o ON o.oid = amopopr
		WHERE amopmethod IN
			(SELECT oid FROM pg_am WHERE amname IN ('hnsw', 'ivfflat'))},
		'trusted'),
	'types', 'operators are those of chassis');

# ---- every class, against the exact answer ----

# type -> [column type, value from an array of reals, a query]
my %kind = (
	vector => [ 'vector(16)', 'a::vector' ],
	halfvec => [ 'halfvec(16)', 'a::vector::halfvec' ],
	sparsevec => [ 'sparsevec(16)', 'a::vector::sparsevec' ],
	bit => [ 'bit(16)', 'binary_quantize(a::vector)::bit(16)' ]);
my %operator = (l2 => '<->', ip => '<#>', cosine => '<=>', l1 => '<+>',
	hamming => '<~>', jaccard => '<%>');

ChassisCluster->install_generator($node);
foreach my $type (sort keys %kind)
{
	my ($column, $value) = @{ $kind{$type} };
	session(qq{CREATE TABLE of_$type (id serial PRIMARY KEY, e $column);
		INSERT INTO of_$type (e) SELECT $value FROM generate_series(1, 2000) i,
			LATERAL (SELECT test_vector(1, i, 16)) AS v (a)});
	foreach my $class (split /\n/, session(qq{$classes}))
	{
		my ($am, $name, $of) = split / /, $class;
		next unless $of eq $type;
		my ($metric) = $name =~ /_(\w+)_ops$/;
		my $query = qq{SELECT e $operator{$metric} q FROM of_$type
			ORDER BY e $operator{$metric} q LIMIT 20};
		$query =~ s/\bq\b/(SELECT $value FROM test_vector(2, 7, 16) AS a)/g;

		my $exact = session("SET enable_indexscan = off; $query");
		session("CREATE INDEX tried ON of_$type USING $am (e $name)");
		ChassisAlias->uses_index($node, 'postgres', $query, 'tried',
			"$am $name: the plan uses it");
		my $found = session(qq{SET enable_seqscan = off;
			SET hnsw.ef_search = 400; SET ivfflat.probes = 40; $query});
		my %exact = map { $_ => 1 } split /\n/, $exact;
		my @found = split /\n/, $found;
		cmp_ok(scalar(grep { $exact{$_} } @found), '>=', 19,
			"$am $name: it finds the nearest");
		session(qq{DELETE FROM of_$type WHERE id % 10 = 0; VACUUM of_$type;
			INSERT INTO of_$type SELECT i, $value
				FROM generate_series(10, 2000, 10) i,
				LATERAL (SELECT test_vector(1, i, 16)) AS v (a)});
		ChassisCluster->index_is_clean($node, 'tried', "$am $name");
		session('DROP INDEX tried');
	}
}

# ---- options ----

session('CREATE TABLE small (e vector(3))');
my $create = 'CREATE INDEX ON small USING';
fails("$create hnsw (e vector_l2_ops) WITH (m = 1)",
	qr/value 1 out of bounds for option "m"\nDETAIL:  Valid values are between "2" and "100"\./,
	'hnsw: m from 2');
fails("$create hnsw (e vector_l2_ops) WITH (m = 101)",
	qr/value 101 out of bounds for option "m"/, 'hnsw: m to 100');
fails("$create hnsw (e vector_l2_ops) WITH (ef_construction = 3)",
	qr/value 3 out of bounds for option "ef_construction"\nDETAIL:  Valid values are between "4" and "1000"\./,
	'hnsw: ef_construction from 4');
fails("$create hnsw (e vector_l2_ops) WITH (ef_construction = 1001)",
	qr/value 1001 out of bounds for option "ef_construction"/,
	'hnsw: ef_construction to 1000');
fails("$create hnsw (e vector_l2_ops) WITH (m = 16, ef_construction = 31)",
	qr/^psql:[^\n]*ERROR:  ef_construction must be greater than or equal to 2 \* m$/m,
	'hnsw: ef_construction not under 2 m');
fails("$create hnsw (e vector_l2_ops) WITH (bits = 4)",
	qr/unrecognized parameter "bits"/,
	'hnsw: no option that pgvector could not restore');
fails("$create hnsw (e)",
	qr/data type vector has no default operator class for access method "hnsw"/,
	'hnsw: no default class');
fails("$create ivfflat (e) WITH (lists = 0)",
	qr/value 0 out of bounds for option "lists"\nDETAIL:  Valid values are between "1" and "32768"\./,
	'ivfflat: lists from 1');
fails("$create ivfflat (e) WITH (lists = 32769)",
	qr/value 32769 out of bounds for option "lists"/, 'ivfflat: lists to 32768');
fails("$create ivfflat (e) WITH (m = 16)", qr/unrecognized parameter "m"/,
	'ivfflat: no m');

session(q{CREATE INDEX small_hnsw ON small USING hnsw (e vector_l2_ops)
			WITH (m = 8, ef_construction = 40);
		CREATE INDEX small_plain ON small USING hnsw (e vector_l2_ops);
		CREATE INDEX small_ivf ON small USING ivfflat (e) WITH (lists = 5)});
my $info = q{SELECT string_agg(value, ',' ORDER BY name DESC)
	FROM chassis_index_info('INDEX') WHERE name IN ('m', 'ef_construction')};
foreach ([ small_hnsw => '8,40' ], [ small_plain => '16,200' ],
	[ small_ivf => '16,200' ])
{
	my ($index, $expected) = @$_;
	(my $sql = $info) =~ s/INDEX/$index/;
	is(session($sql), $expected, "$index: m and ef_construction");
}
is( session(q{SELECT reloptions, amname FROM pg_class c
		JOIN pg_am a ON a.oid = c.relam WHERE relname = 'small_hnsw'}),
	'{m=8,ef_construction=40}|hnsw', 'reflection sees what was asked for');
session('ALTER INDEX small_hnsw SET (m = 10); REINDEX INDEX small_hnsw');
(my $sql = $info) =~ s/INDEX/small_hnsw/;
is(session($sql), '10,40', 'options change with REINDEX');
session('DROP TABLE small');

# ---- settings ----

ChassisCluster->load_vectors($node, 'items', rows => 6000, dim => 16);
session(q{ALTER TABLE items SET (parallel_workers = 2);
	CREATE INDEX items_hnsw ON items USING hnsw (embedding vector_l2_ops)});
my $near = q{SELECT id FROM items
	ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17)};
my $count = "SET enable_seqscan = off; SELECT count(*) FROM ($near) n";

foreach (
	[ 'hnsw.ef_search', 40, 0, 1001, '1 .. 1000' ],
	[ 'hnsw.max_scan_tuples', 20000, 0, undef, '1 .. 2147483647' ],
	[ 'hnsw.scan_mem_multiplier', 1, 0, 1001, '1 .. 1000' ],
	[ 'ivfflat.probes', 1, 0, 32769, '1 .. 32768' ],
	[ 'ivfflat.max_probes', 32768, 0, 32769, '1 .. 32768' ])
{
	my ($name, $default, $low, $high, $range) = @$_;
	is(session("SELECT 1 FROM ($near LIMIT 1) n; SHOW $name"),
		"1\n$default", "$name: default");
	foreach my $value (grep { defined } $low, $high)
	{
		fails("$near LIMIT 1; SET $name = $value",
			qr/$value is outside the valid range for parameter "$name" \($range\)/,
			"$name: not $value");
	}
}
fails("$near LIMIT 1; SET hnsw.iterative_scan = on",
	qr/invalid value for parameter "hnsw.iterative_scan": "on"\nHINT:  Available values: off, relaxed_order, strict_order\./,
	'hnsw.iterative_scan: its values');
fails("$near LIMIT 1; SET ivfflat.iterative_scan = strict_order",
	qr/invalid value for parameter "ivfflat.iterative_scan": "strict_order"\nHINT:  Available values: off, relaxed_order\./,
	'ivfflat.iterative_scan: its values');
fails("$near LIMIT 1; SET hnsw.nothing = 1", qr/"hnsw.nothing"/,
	'the prefix is taken');

# A session that has not touched an index yet can set them all the same.
is(session($count), 40, 'hnsw.ef_search: by default a scan ends after 40');
is(session("SET hnsw.ef_search = 7; $count"), 7, 'or after 7');
is(session("SELECT set_config('hnsw.ef_search', '300', false); $count"),
	"300\n300", 'or after 300');
is(session("BEGIN; SET LOCAL hnsw.ef_search = 7; $count; COMMIT; $count"),
	"7\n40", 'a local setting ends with the transaction');
is(session("SET chassis.ef_search = 9; $count"),
	40, 'settings of chassis are for its own indexes');
is(session("SET hnsw.iterative_scan = relaxed_order; $count"),
	6000, 'hnsw.iterative_scan: goes on');
my ($few, $some) = map {
	session(qq{SET hnsw.iterative_scan = relaxed_order;
		SET hnsw.max_scan_tuples = $_; $count}) } 20, 3000;
ok($few >= 40 && $few < 1000,
	"hnsw.max_scan_tuples: the first search is always finished ($few rows)");
ok($some > $few && $some < 5000, "and what follows is limited ($some rows)");
my $sorted = session(qq{SET enable_seqscan = off;
	SET hnsw.iterative_scan = strict_order; SET hnsw.ef_search = 5;
	SELECT bool_and(d >= before) FROM (SELECT d, lag(d) OVER () AS before FROM
		(SELECT embedding <-> (SELECT embedding FROM items WHERE id = 17) AS d
		 FROM items ORDER BY 1 LIMIT 2000) n) n});
is($sorted, 't', 'strict_order: no row comes late');
is( session(qq{SET work_mem = '64kB'; SET hnsw.iterative_scan = relaxed_order;
		SET hnsw.scan_mem_multiplier = 2; $count}),
	6000, 'hnsw.scan_mem_multiplier: a small scan goes on by sorting');

# The same column, chassis' own index: the alias's settings do not matter.
session('DROP INDEX items_hnsw');
session('CREATE INDEX items_own ON items USING chassis (embedding)');
is(session("SET hnsw.ef_search = 7; $count"), 6000,
	'settings of the alias are not for indexes of chassis');
session('DROP INDEX items_own');

# ivfflat: probes widen a search, and nothing is left out
session(q{CREATE INDEX items_ivf ON items USING ivfflat (embedding)
		WITH (lists = 10)});
cmp_ok(session($count), '>=', 5900,
	'ivfflat: a scan goes on, without the rows that would come late');
my $vector = session('SELECT embedding FROM items WHERE id = 17');
my ($narrow, $wide) = map {
	session(qq{SET enable_seqscan = off; SET ivfflat.probes = $_;
		EXPLAIN SELECT id FROM items ORDER BY embedding <-> '$vector'})
	  =~ /Index Scan using items_ivf.*cost=([\d.]+)/ } 1, 90;
cmp_ok($wide, '>', $narrow, 'ivfflat.probes: more of them look at more');
is( session("SET ivfflat.iterative_scan = relaxed_order; $count"),
	6000, 'ivfflat.iterative_scan: likewise');
cmp_ok(
	session(qq{SET ivfflat.iterative_scan = relaxed_order;
		SET ivfflat.max_probes = 1; $count}), '<', 3000,
	'ivfflat.max_probes: a limit');
session('DROP INDEX items_ivf');

# ---- chassis without the alias ----

session('CREATE DATABASE plain');
session('CREATE EXTENSION chassis', 'plain');
fails(q{SELECT '[1]'::vector; CREATE TABLE t (e vector(1));
	CREATE INDEX ON t USING chassis (e); SHOW hnsw.ef_search},
	qr/unrecognized configuration parameter "hnsw.ef_search"/,
	'chassis itself has no such setting', 'plain');
fails('CREATE TABLE u (e vector(1)); CREATE INDEX ON u USING hnsw (e vector_l2_ops)',
	qr/access method "hnsw" does not exist/, 'nor access method', 'plain');

# ---- dump and restore ----

session(q{CREATE INDEX items_hnsw ON items USING hnsw (embedding vector_cosine_ops)
			WITH (m = 16, ef_construction = 64);
	CREATE INDEX items_ivf ON items USING ivfflat (embedding) WITH (lists = 10)});
my $definitions = q{SELECT pg_get_indexdef(indexrelid) FROM pg_index
	WHERE indrelid = 'items'::regclass ORDER BY 1};
my $dump = $node->basedir . '/alias.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-t', 'items',
		'-e', 'vector', '-e', 'chassis', $node->connstr('postgres') ],
	'pg_dump');
session('CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d',
		$node->connstr('restored'), $dump ], 'pg_restore into an empty database');
is(session($definitions, 'restored'), session($definitions),
	'indexes are defined as they were');
is( session("SET enable_seqscan = off; $near LIMIT 5", 'restored'),
	session("SET enable_seqscan = off; $near LIMIT 5"), 'and find the same');

# As pg_dump writes it where the extension is pgvector: no CASCADE.
my $theirs = q{
	CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
	COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';
	SELECT pg_catalog.set_config('search_path', '', false);
	CREATE TABLE public.docs (id bigint, e public.vector(3), h public.halfvec(3));
	COPY public.docs (id, e, h) FROM stdin;
1	[1,2,3]	[1,2,3]
2	[4,5,6]	[4,5,6]
\.
	CREATE INDEX docs_e ON public.docs USING hnsw (e public.vector_l2_ops) WITH (m='16', ef_construction='64');
	CREATE INDEX docs_h ON public.docs USING hnsw (h public.halfvec_cosine_ops);
	CREATE INDEX docs_i ON public.docs USING ivfflat (e) WITH (lists='100');
};
session('CREATE DATABASE theirs');
fails($theirs, qr/HINT:  Use CREATE EXTENSION ... CASCADE/,
	'a dump of pgvector does not say CASCADE', 'theirs');
session('CREATE EXTENSION vector CASCADE', 'theirs');
session($theirs, 'theirs');
is( session(q{SET enable_seqscan = off;
		SELECT id FROM docs ORDER BY e <-> '[4,5,5]' LIMIT 1}, 'theirs'),
	2, 'so create it before: everything else is restored');

# ---- dropping ----

fails('DROP EXTENSION vector', qr/index items_hnsw depends on operator class/,
	'indexes hold it', 'restored');
session('DROP EXTENSION vector CASCADE', 'restored');
is( session(q{SELECT count(*), count(embedding) FROM items}, 'restored'),
	'6000|6000', 'columns stay when it is dropped, for they are of chassis');
is(session($definitions, 'restored'),
	'CREATE UNIQUE INDEX items_pkey ON public.items USING btree (id)',
	'its indexes are gone');

# Dropping everything at once, in a session that has not seen the index: the
# library is found although the access method chassis may be dropped first.
session('DROP EXTENSION chassis CASCADE', 'theirs');
is( session(q{SELECT count(*) FROM pg_am WHERE amname <> 'heap'
		AND amname NOT IN ('btree', 'hash', 'gist', 'gin', 'spgist', 'brin')},
		'theirs'),
	'0', 'chassis goes with all that was built on it');

# ---- installing ----

my $dir = PostgreSQL::Test::Utils::tempdir();
sub refuses
{
	my ($expected, $label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($stdout, $stderr);
	my $ok = IPC::Run::run([ 'pgvector/refuse.sh', $dir ], '>', \$stdout, '2>', \$stderr);
	is($ok ? 'yes' : $stderr =~ /belongs to pgvector/ ? 'refused' : $stderr,
		$expected, $label);
	return;
}
refuses('yes', 'the alias can be installed where there is no extension "vector"');
append_to_file("$dir/vector.control", "default_version = '0.8.6'\n");
refuses('refused', 'not over pgvector');
unlink "$dir/vector.control";
append_to_file("$dir/vector--0.8.6.sql", "CREATE TYPE vector;\n");
refuses('refused', 'nor over what is left of it');
unlink "$dir/vector--0.8.6.sql";
append_to_file("$dir/$_", slurp_file("pgvector/$_"))
  foreach qw(vector.control vector--0.8.6.sql);
refuses('yes', 'but over itself');

done_testing();
