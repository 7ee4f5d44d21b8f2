# 050_pgvector_bridge.pl
#	  chassis beside the real pgvector: operator classes for pgvector's own
#	  columns, both extensions in one database, and the ways over and back.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use ChassisAlias;
use ChassisCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ChassisAlias->new_pgvector_node('pgvector');

sub session
{
	my ($sql, $dbname) = @_;
	return $node->safe_psql($dbname // 'postgres', $sql);
}

# A database with pgvector in public and chassis beside it.
sub make_database
{
	my ($dbname, $path) = @_;
	session("CREATE DATABASE $dbname");
	session("ALTER DATABASE $dbname SET search_path = $path") if $path;
	session('CREATE EXTENSION vector SCHEMA public', $dbname);
	session('CREATE SCHEMA chassis; CREATE EXTENSION chassis SCHEMA chassis',
		$dbname);
	return;
}

# ---- the bridge: pgvector's columns, indexed by chassis ----

make_database('bridge');
session(q{CREATE TABLE items (id bigint PRIMARY KEY, v vector(16), h halfvec(16),
		s sparsevec(16), b bit(16))}, 'bridge');
ChassisCluster->install_generator($node, 'bridge');
session(q{
	INSERT INTO items SELECT i, a::vector, a::vector::halfvec,
			a::vector::sparsevec, binary_quantize(a::vector)::bit(16)
		FROM generate_series(1, 2000) i, LATERAL (SELECT test_vector(1, i, 16)) AS g (a);
	CREATE INDEX items_hnsw ON items USING hnsw (v vector_l2_ops);
	ANALYZE items;
}, 'bridge');

my ($status, $out, $err) = $node->psql('bridge',
	'CREATE EXTENSION chassis_pgvector SCHEMA chassis');
like($err, qr/ERROR:  schema chassis has the operator classes of chassis itself\nHINT:  CREATE EXTENSION chassis_pgvector SCHEMA public\./,
	'the classes go beside pgvector');
session('CREATE EXTENSION chassis_pgvector', 'bridge');
my $classes = q{SELECT opcname || ' ' || format_type(opcintype, NULL) ||
		CASE WHEN opcdefault THEN ' default' ELSE '' END
	FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod
	JOIN pg_namespace n ON n.oid = opcnamespace
	WHERE amname = 'chassis' AND nspname = 'public' ORDER BY opcname COLLATE "C"};
is(session($classes, 'bridge'), join("\n",
	'bit_hamming_ops bit', 'bit_jaccard_ops bit',
	map { my $t = $_; map { "${t}_${_}_ops $t" . ($_ eq 'l2' ? ' default' : '') }
		qw(cosine ip l1 l2) } qw(halfvec sparsevec vector)),
	'there are classes for all distances');
is( session(q{SELECT count(*) FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod
		WHERE amname = 'chassis' AND NOT amvalidate(c.oid)}, 'bridge'),
	'0', 'and all are valid');

my %column = (vector => 'v', halfvec => 'h', sparsevec => 's', bit => 'b');
my %operator = (l2 => '<->', ip => '<#>', cosine => '<=>', l1 => '<+>',
	hamming => '<~>', jaccard => '<%>');
foreach my $type (sort keys %column)
{
	my $c = $column{$type};
	foreach my $metric ($type eq 'bit' ? qw(hamming jaccard) : qw(l2 ip cosine l1))
	{
		my $class = "${type}_${metric}_ops";
		my $q = "(SELECT $c FROM items WHERE id = 77)";
		my $query = "SELECT $c $operator{$metric} $q FROM items
			ORDER BY $c $operator{$metric} $q LIMIT 20";
		my %exact = map { $_ => 1 } split /\n/,
		  session("SET enable_indexscan = off; $query", 'bridge');

		session('DROP INDEX IF EXISTS items_hnsw', 'bridge') if $class eq 'vector_l2_ops';
		session("CREATE INDEX tried ON items USING chassis ($c $class)", 'bridge');
		ChassisAlias->uses_index($node, 'bridge', $query, 'tried',
			"$class: the plan uses it");
		my @found = split /\n/, session(
			"SET enable_seqscan = off; SET chassis.ef_search = 400; $query", 'bridge');
		cmp_ok(scalar(grep { $exact{$_} } @found), '>=', 19,
			"$class: it finds the nearest");
		session(q{DELETE FROM items WHERE id % 10 = 0; VACUUM items;
			INSERT INTO items SELECT i, a::vector, a::vector::halfvec,
					a::vector::sparsevec, binary_quantize(a::vector)::bit(16)
				FROM generate_series(10, 2000, 10) i,
				LATERAL (SELECT test_vector(1, i, 16)) AS g (a)}, 'bridge');
		is( session("SELECT * FROM chassis.chassis_index_check('tried')", 'bridge'),
			'', "$class: the index is clean");
		session('DROP INDEX tried', 'bridge');
	}
}

# As the migration page has it: no column is written, pgvector's index goes
# when the new one is there, and comes back the same way.
session(q{CREATE INDEX items_v ON items USING hnsw (v vector_l2_ops);
	CREATE INDEX CONCURRENTLY items_v_new ON items USING chassis (v) WITH (bits = 8)},
	'bridge');
my $query = q{SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 5) LIMIT 5};
session('DROP INDEX CONCURRENTLY items_v', 'bridge');
ChassisAlias->uses_index($node, 'bridge', $query, 'items_v_new',
	'the new index takes the place of pgvector\'s');
my $nearest = session("SET enable_indexscan = off; $query", 'bridge');
is(session("SET enable_seqscan = off; $query", 'bridge'), $nearest,
	'and answers like a seq scan');
session('CREATE INDEX items_r ON items USING chassis (h halfvec_l2_ops) WITH (rerank = heap)',
	'bridge');
is( session(q{SET enable_seqscan = off; SELECT id FROM items
		ORDER BY h <-> (SELECT h FROM items WHERE id = 5) LIMIT 1}, 'bridge'),
	5, 'exact vectors can be read from pgvector\'s column');

# Dump and restore with all three extensions.
my $dump = $node->basedir . '/bridge.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('bridge') ],
	'pg_dump of a database with the bridge');
session('CREATE DATABASE bridge2');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d',
		$node->connstr('bridge2'), $dump ], 'pg_restore');
my $definitions = q{SELECT pg_get_indexdef(indexrelid) FROM pg_index
	WHERE indrelid = 'items'::regclass ORDER BY 1};
is(session($definitions, 'bridge2'), session($definitions, 'bridge'),
	'its indexes are restored');
is(session("SET enable_seqscan = off; $query", 'bridge2'), $nearest,
	'and answer the same');

# Going back.
($status, $out, $err) = $node->psql('bridge2', 'DROP EXTENSION chassis_pgvector');
like($err, qr/index items_v_new depends on operator class/, 'indexes hold the bridge');
session(q{CREATE INDEX CONCURRENTLY items_v ON items USING hnsw (v vector_l2_ops);
	DROP EXTENSION chassis_pgvector CASCADE;
	DROP EXTENSION chassis; DROP SCHEMA chassis}, 'bridge2');
is(session("SET enable_seqscan = off; SET hnsw.ef_search = 200; $query", 'bridge2'),
	$nearest, 'without chassis everything is as before');

# ---- side by side: each with columns of its own ----

foreach ([ side1 => 'public' ], [ side2 => 'public, chassis' ],
	[ side3 => 'chassis, public' ])
{
	my ($dbname, $path) = @$_;
	make_database($dbname, $path);
	ChassisCluster->install_generator($node, $dbname);
	session(q{
		CREATE TABLE public.pair (id bigint PRIMARY KEY, theirs public.vector(8),
			ours chassis.vector(8));
		INSERT INTO public.pair
			SELECT i, a::public.vector, a::chassis.vector
			FROM generate_series(1, 2000) i, LATERAL (SELECT test_vector(1, i, 8)) AS g (a);
		CREATE INDEX pair_theirs ON public.pair USING hnsw (theirs public.vector_l2_ops);
		CREATE INDEX pair_ours ON public.pair USING chassis (ours chassis.vector_l2_ops);
		ANALYZE public.pair;
	}, $dbname);

	# With chassis out of the path its operators are written in full.
	my $qualified = $path eq 'public' ? 'OPERATOR(chassis.<->)' : '<->';
	my %query = (
		theirs => q{SELECT id FROM public.pair ORDER BY theirs
			<-> (SELECT theirs FROM public.pair WHERE id = 9) LIMIT 5},
		ours => qq{SELECT id FROM public.pair ORDER BY ours
			$qualified (SELECT ours FROM public.pair WHERE id = 9) LIMIT 5});
	foreach my $column (sort keys %query)
	{
		ChassisAlias->uses_index($node, $dbname, $query{$column}, "pair_$column",
			"path $path: column $column, its own index");
		is( session("SET enable_seqscan = off; SET hnsw.ef_search = 200;
				$query{$column}", $dbname),
			session("SET enable_indexscan = off; $query{$column}", $dbname),
			"path $path: column $column, the same rows as without");
	}

	# One session, both libraries: each function is its own library's.
	is( session(q{SELECT public.l2_distance('[1,2]'::public.vector, '[4,6]'),
			chassis.l2_distance('[1,2]'::chassis.vector, '[4,6]'),
			'[1,2]'::public.vector::real[]::chassis.vector,
			'[3,4]'::chassis.vector::real[]::public.vector,
			(SELECT public.sum(theirs)::real[] = chassis.sum(ours)::real[]
				FROM public.pair WHERE id < 3)}, $dbname),
		'5|5|[1,2]|[3,4]|t', "path $path: functions, casts and aggregates");
	($status, $out, $err) = $node->psql($dbname,
		q{SELECT theirs OPERATOR(public.<->) ours FROM public.pair});
	like($err, qr/operator does not exist/, "path $path: types are not mixed up");

	my $file = $node->basedir . "/$dbname.dump";
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr($dbname) ],
		"path $path: pg_dump");
	session("CREATE DATABASE ${dbname}r");
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-d',
			$node->connstr("${dbname}r"), $file ], "path $path: pg_restore");
	my $sum = q{SELECT sum(hashtext(id::text || theirs::text || ours::text))
			FROM public.pair};
	is(session($sum, "${dbname}r"), session($sum, $dbname),
		"path $path: rows are restored");
	is( session(q{SELECT string_agg(indexrelid::regclass::text || amname, ',' ORDER BY 1)
			FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
			JOIN pg_am a ON a.oid = relam
			WHERE indrelid = 'public.pair'::regclass AND NOT indisprimary}, "${dbname}r"),
		'pair_ourschassis,pair_theirshnsw',
		"path $path: and both indexes");
}

# A column of pgvector becomes one of chassis; then pgvector can go.
session(q{DROP INDEX pair_theirs;
	ALTER TABLE pair ALTER COLUMN theirs TYPE chassis.vector(8)
		USING theirs::real[]::chassis.vector;
	DROP EXTENSION vector}, 'side2');
is( session('SELECT count(*) FROM pair WHERE theirs = ours', 'side2'),
	2000, 'a column is converted in place');

# ---- over to the alias by dump, and back ----

# The alias excludes pgvector from an installation: it is on the other one.
my $other = ChassisAlias->new_node('alias');

# A dump without what only one of two servers knows, which need not be of the
# same version.
sub read_dump
{
	my ($file) = @_;
	my $extra = qr/^SET transaction_timeout|^\\(un)?restrict|SET \(pg_attver=/;
	return join "\n", grep { !/$extra/ } split /\n/, slurp_file($file);
}

session('CREATE DATABASE plain');
session('CREATE EXTENSION vector', 'plain');
ChassisCluster->load_vectors($node, 'items', dbname => 'plain', rows => 2000,
	dim => 8);
session(q{
	ALTER TABLE items ADD h halfvec(8), ADD s sparsevec(8), ADD b bit(8);
	UPDATE items SET h = embedding, s = embedding, b = binary_quantize(embedding);
	CREATE INDEX items_l2 ON items USING hnsw (embedding vector_l2_ops)
		WITH (m = 12, ef_construction = 60);
	CREATE INDEX items_cosine ON items USING ivfflat (embedding vector_cosine_ops)
		WITH (lists = 20);
	CREATE INDEX items_i ON items USING ivfflat (embedding) WITH (lists = 20);
	CREATE INDEX items_h ON items USING hnsw (h halfvec_ip_ops);
	CREATE INDEX items_s ON items USING hnsw (s sparsevec_l1_ops);
	CREATE INDEX items_b ON items USING hnsw (b bit_jaccard_ops);
	CREATE VIEW near AS SELECT id, embedding <=> '[1,0,0,0,0,0,0,0]' AS d FROM items;
}, 'plain');
my $state = q{SELECT pg_get_indexdef(indexrelid) FROM pg_index
		WHERE indrelid = 'items'::regclass ORDER BY 1;
	SELECT sum(hashtext(i::text)) FROM items i;
	SELECT id FROM items ORDER BY embedding <-> (SELECT embedding FROM items
		WHERE id = 3) LIMIT 5;
	SELECT round(sum(d)::numeric, 2) FROM near};
my $before = session($state, 'plain');

my $sql = $node->basedir . '/plain.sql';
$node->command_ok([ 'pg_dump', '-f', $sql, $node->connstr('plain') ],
	'pg_dump where pgvector is');
$other->safe_psql('postgres', 'CREATE DATABASE moved');
$other->safe_psql('moved', 'CREATE EXTENSION vector CASCADE');
$other->safe_psql('moved', read_dump($sql));
is($other->safe_psql('moved', $state), $before, 'restored where the alias is');

# Without chassis' own name in it, the dump is one of pgvector.
$other->command_ok([ 'pg_dump', '-e', 'vector', '-f', "$sql.back",
		$other->connstr('moved') ], 'pg_dump where the alias is');
session('CREATE DATABASE back');
session(read_dump("$sql.back"), 'back');
is(session($state, 'back'), $before, 'restored where pgvector is');

# ---- the migration page, word for word ----

# The code blocks of a section, those of one language, in their order.
sub blocks
{
	my ($heading, $language) = @_;
	my $page = slurp_file('docs/migrating-from-pgvector.md');
	my ($section) = $page =~ /^## \Q$heading\E[^\n]*\n(.*?)(?=^## |\z)/ms;
	return $section =~ /^```$language\n(.*?)^```$/msg;
}

# One test: a shell script runs through against a server.
sub run_shell
{
	my ($server, $script, $label) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return $server->command_ok([ 'sh', '-c', "set -e; cd '"
			  . $node->basedir . "'; export PGHOST='" . $server->host
			  . "' PGPORT='" . $server->port
			  . "' PGOPTIONS='-c client_min_messages=error'; $script" ],
		$label);
}

my $items = q{
	CREATE EXTENSION vector;
	CREATE TABLE items (id bigint PRIMARY KEY, embedding vector(3));
	INSERT INTO items SELECT i, ARRAY[i, i % 7, i % 3] FROM generate_series(1, 2000) i;
	CREATE INDEX items_embedding_idx ON items USING hnsw (embedding vector_l2_ops)
		WITH (m = 16, ef_construction = 64);
};
my $first = q{SET enable_seqscan = off;
	SELECT id FROM items ORDER BY embedding <-> '[70,0,1]' LIMIT 3};
my $method = q{SELECT string_agg(amname, ',' ORDER BY amname) FROM pg_index
	JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam
	WHERE indrelid = 'items'::regclass AND NOT indisprimary};

session('CREATE DATABASE page1');
session($items, 'page1');
my $rows = session($first, 'page1');
my @block = blocks('1.', 'sql');
is(scalar(@block), 5, 'section 1 was read');
my @methods = ('hnsw', 'chassis,hnsw', 'chassis,hnsw', 'chassis', 'hnsw');
foreach my $i (0 .. $#block)
{
	session($block[$i], 'page1');
	is(session($method, 'page1'), $methods[$i], 'section 1, block ' . ($i + 1));
	is(session($first, 'page1'), $rows, 'the same rows');
}
is(session(q{SELECT string_agg(extname, ',' ORDER BY 1) FROM pg_extension}, 'page1'),
	'plpgsql,vector', 'and back');

session('CREATE DATABASE app');
session($items . 'CREATE INDEX items_ivf ON items USING ivfflat (embedding) WITH (lists = 3)',
	'app');
my ($dump_app, $install, $template, $dump_back) = blocks('2.', 'sh');
run_shell($node, $dump_app, 'section 2: dump');
append_to_file($node->basedir . '/app.new', read_dump($node->basedir . '/app.sql'));
rename $node->basedir . '/app.new', $node->basedir . '/app.sql';
like($install, qr/^make install install-pgvector-alias /, 'installing is the suite\'s work');
$install =~ s/^make [^\n]*\n//;
run_shell($other, $install, 'section 2: restore');
is($other->safe_psql('app', $method), 'hnsw,ivfflat', 'indexes have their names');
is($other->safe_psql('app', $first), $rows, 'the same rows');
run_shell($other, $template, 'section 2: template1');
$other->safe_psql('postgres', 'CREATE DATABASE fresh');
$other->safe_psql('fresh', 'CREATE EXTENSION IF NOT EXISTS vector');
unlink $node->basedir . '/app.sql';
run_shell($other, $dump_back, 'section 2: dump for the way back');
session('CREATE DATABASE app2');
session(read_dump($node->basedir . '/app.sql'), 'app2');
is(session($method, 'app2'), 'hnsw,ivfflat', 'pgvector restores it');
is(session($first, 'app2'), $rows, 'the same rows');

unlink $node->basedir . '/app.sql';
run_shell($node, (blocks('3.', 'sh'))[0], 'section 3: dump and restore');
is(session($method, 'new'), 'chassis,chassis', 'indexes are chassis\'');
is(session($first, 'new'), $rows, 'the same rows');
session('CREATE DATABASE page3');
session($items, 'page3');
session((blocks('3.', 'sql'))[0], 'page3');
is(session($method, 'page3'), 'chassis', 'section 3: a column in place');
is(session($first, 'page3'), $rows, 'the same rows');

done_testing();
