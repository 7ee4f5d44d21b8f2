#!/bin/sh
# demo.sh start | stop
#	  60,000 real images in a private PostgreSQL: loaded, indexed, searched.
#
# Installs missing Debian packages, builds, stages the extension beside copies
# of the server programs (stage.sh), and starts a server on a unix socket as
# an unprivileged user.  Nothing is written outside a directory in /var/tmp,
# whose name is kept in .demo/ of the checkout.  A second start finds
# everything in place and only measures again; stop removes it all.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"

dataset=/usr/share/datasets/fashion-mnist
state=$top/.demo/directory
queries=1000
k=10

# --- the server ----------------------------------------------------------

set_paths() {
	private_home=$demo/home
	data=$demo/data
	socket=$demo/socket
	bindir=$demo/stage$("$PG_CONFIG" --bindir)
	[ ! -d "$data" ] || server_user=$(stat -c %U "$data")
	# PostgreSQL's programs want to return to the directory they started in,
	# which in a checkout below /root they could not.
	cd "$demo"
}

# sql TEXT: runs it, prints unaligned rows
sql() {
	psql_demo -Atqc "$1"
}

# The caller's own PGDATABASE, PGOPTIONS and so on must not matter; the role
# has the caller's name, so that plain `psql -h … demo` works.
psql_demo() {
	env -u PGOPTIONS -u PGSERVICE -u PGSSLMODE PGPASSFILE="$demo/none" \
		"$bindir/psql" -X -v ON_ERROR_STOP=1 -h "$socket" -p 5432 \
		-U "$(id -un)" -d demo "$@"
}

server_runs() {
	as_server_user "$bindir/pg_ctl" -D "$data" status >/dev/null 2>&1
}

# A quarter of the memory, 1 GB at most: what an administrator would give it.
shared_buffers_mb() {
	awk '/^MemTotal/ { mb = int($2 / 4096); print (mb > 1024 ? 1024 : mb) }' \
		/proc/meminfo 2>/dev/null || echo 256
}

start_server() {
	if [ ! -f "$data/PG_VERSION" ]; then
		as_server_user "$bindir/initdb" -D "$data" -U "$(id -un)" -A trust \
			-E UTF8 --locale=C --no-sync >"$demo/log/initdb" 2>&1 || {
			cat "$demo/log/initdb"
			die "could not create the database"
		}
		# The directory of the socket is closed to other users: the server
		# trusts whoever can reach it.
		as_server_user tee -a "$data/postgresql.conf" >/dev/null <<-CONF
			listen_addresses = ''
			unix_socket_directories = '$socket'
			unix_socket_permissions = 0700
			shared_buffers = $(shared_buffers_mb)MB
			maintenance_work_mem = 256MB
			max_wal_size = 4GB
			dynamic_shared_memory_type = $(shared_memory_type)
			cluster_name = 'chassis demo'
		CONF
	fi
	server_runs || as_server_user "$bindir/pg_ctl" -D "$data" \
		-l "$data/server.log" -w -s start || {
		as_server_user tail -n 20 "$data/server.log"
		die "could not start the server"
	}
}

remove_demo() {
	[ -f "$state" ] || return 0
	demo=$(cat "$state")
	if [ -d "$demo/data" ]; then
		set_paths
		if server_runs; then
			as_server_user "$bindir/pg_ctl" -D "$data" -m fast -w -s stop
		fi
		cd "$top"
	fi
	case $demo in
		*/chassis-demo.??????) rm -rf "$demo" ;;
	esac
	rm -rf "$top/.demo"
}

# --- steps of the demo ---------------------------------------------------

# What was built and how: a demo of other sources or another server would
# mislead, so it is then made anew.
fingerprint() {
	{
		"$PG_CONFIG" --version
		cd "$top" && find src sql demo chassis.control Makefile -type f \
			\( -name '*.[ch]' -o -name '*.sql' -o -name '*.control' \
			-o -name Makefile \) -exec cksum {} + | sort
	} | cksum
}

build_and_stage() {
	say "building the extension and the demo's programs"
	mkdir -p "$demo/programs"
	copy_sources "$demo/src"
	(
		cd "$demo/src" &&
			make -s -j "$(nproc)" PG_CONFIG="$PG_CONFIG" &&
			make -s install PG_CONFIG="$PG_CONFIG" DESTDIR="$demo/stage" &&
			make -s -f demo/Makefile PG_CONFIG="$PG_CONFIG" \
				OUT="$demo/programs" &&
			PG_CONFIG=$PG_CONFIG "$top/tools/stage.sh" "$demo/stage"
	) >"$demo/log/build" 2>&1 || {
		tail -n 30 "$demo/log/build"
		die "could not build; the whole log is $demo/log/build"
	}
}

unpack_images() {
	mkdir -p "$demo/images"
	for part in train-images-idx3 train-labels-idx1 t10k-images-idx3 \
		t10k-labels-idx1; do
		gzip -dc "$dataset/$part-ubyte.gz" >"$demo/images/$part"
	done
}

# load TABLE PART: creates the table and fills it by binary COPY
load() {
	sql "CREATE TABLE $1 (id integer PRIMARY KEY, label text NOT NULL,
		embedding vector(784) NOT NULL)"
	"$demo/programs/fashion_rows" "$demo/images/$2-images-idx3" \
		"$demo/images/$2-labels-idx1" |
		psql_demo -qc "COPY $1 FROM STDIN (FORMAT binary)"
	sql "VACUUM ANALYZE $1"
}

# Shows how far the build is, in place on a terminal, else every 5 seconds.
show_progress() {
	shown=
	while kill -0 "$1" 2>/dev/null; do
		line=$(sql "SELECT format('  %s%s', phase, CASE WHEN tuples_total > 0
			THEN format(': %s of %s rows (%s %%)', tuples_done, tuples_total,
				100 * tuples_done / tuples_total) END)
			FROM pg_stat_progress_create_index
			WHERE relid = 'items'::regclass" 2>/dev/null) || line=
		if [ -n "$line" ] && [ "$line" != "$shown" ]; then
			if [ -t 1 ]; then
				printf '\r%-72s' "$line"
			else
				say "$line"
			fi
			shown=$line
		fi
		if [ -t 1 ]; then sleep 0.5; else sleep 3; fi
	done
	[ ! -t 1 ] || printf '\r%-72s\r' ''
}

build_index() {
	say "building the index"
	psql_demo -q >"$demo/log/index" 2>&1 <<-'SQL' &
		\timing on
		CREATE INDEX items_embedding_idx ON items
			USING chassis (embedding vector_l2_ops)
			WITH (m = 16, ef_construction = 200);
	SQL
	builder=$!
	show_progress $builder
	wait $builder || {
		cat "$demo/log/index"
		die "could not build the index"
	}
	sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' "$demo/log/index" |
		awk '{ printf "%.1f\n", $1 / 1000 }' >"$demo/build_seconds"
	# what the build left to be written must not disturb the measurement
	sql "CHECKPOINT"
}

find_answers() {
	[ ! -s "$demo/answers" ] || return 0
	say "finding the exact answers of $queries queries, to measure recall by"
	"$demo/programs/fashion_exact" "$demo/images/train-images-idx3" \
		"$demo/images/t10k-images-idx3" "$queries" "$k" >"$demo/answers.new"
	mv "$demo/answers.new" "$demo/answers"
}

report() {
	say ""
	sql "SELECT format('60,000 images as vectors of 784 dimensions; 1,000 '
		|| 'queries, %s nearest each, one connection', $k)"
	sql "SELECT format('index built in %s s; index %s, table %s',
		'$(cat "$demo/build_seconds")',
		pg_size_pretty(pg_relation_size('items_embedding_idx')),
		pg_size_pretty(pg_table_size('items')))"
	say ""
	"$demo/programs/fashion_search" \
		"host=$socket port=5432 user=$(id -un) dbname=demo" \
		"$demo/images/train-images-idx3" "$demo/images/t10k-images-idx3" \
		"$demo/answers"
	cat <<-TEXT

		The server keeps running. Connect with

		  $bindir/psql -h $socket -U $(id -un) demo

		and try

		  -- the five images most like test image 7
		  SELECT id, label FROM items
		    ORDER BY embedding <-> (SELECT embedding FROM queries WHERE id = 7) LIMIT 5;

		  -- the five most like it among the bags
		  SELECT id, label FROM items WHERE label = 'Bag'
		    ORDER BY embedding <-> (SELECT embedding FROM queries WHERE id = 7) LIMIT 5;

		  -- how often the nearest image shows the same kind of thing
		  SELECT avg((nearest.label = q.label)::int) FROM queries q CROSS JOIN LATERAL
		    (SELECT label FROM items ORDER BY embedding <-> q.embedding LIMIT 1) nearest
		    WHERE q.id <= 1000;

		"make demo" measures again, "make demo-stop" removes it all.
	TEXT
}

start() {
	"$top/tools/packages.sh" build demo
	find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"
	choose_server_user

	mkdir -p "$top/.demo"
	now=$(fingerprint)
	if [ -f "$state" ]; then
		if [ "$now" != "$(cat "$top/.demo/fingerprint" 2>/dev/null)" ] ||
			[ ! -d "$(cat "$state")" ]; then
			say "the sources changed: starting anew"
			remove_demo
			mkdir -p "$top/.demo"
		fi
	fi
	if [ ! -f "$state" ]; then
		CHASSIS_TMPDIR=${CHASSIS_TMPDIR:-/var/tmp /tmp}
		demo=$(make_private_dir chassis-demo)
		printf '%s\n' "$demo" >"$state"
		printf '%s\n' "$now" >"$top/.demo/fingerprint"
		mkdir "$demo/log"
	fi
	demo=$(cat "$state")
	set_paths

	# Steps that are already done say so by what they left.
	[ -x "$demo/programs/fashion_search" ] || build_and_stage
	# Ours to make, the server's user's to use, closed to everyone else.
	install -d -m 700 -o "$server_user" "$data" "$socket" "$private_home"
	[ -s "$demo/images/t10k-labels-idx1" ] || unpack_images
	start_server
	find_answers
	if [ ! -f "$demo/build_seconds" ]; then
		say "loading 60,000 images of 28 x 28 points from $dataset"
		psql_demo -q -d postgres -c "SET client_min_messages = warning" \
			-c "DROP DATABASE IF EXISTS demo WITH (FORCE)" \
			-c "CREATE DATABASE demo"
		sql "CREATE EXTENSION chassis"
		load items train
		load queries t10k
		build_index
	fi
	report
}

case ${1:-} in
	start) start ;;
	stop)
		find_pg_config || true
		choose_server_user
		remove_demo
		;;
	*) die "usage: demo.sh start | stop" ;;
esac
