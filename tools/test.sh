#!/bin/sh
# test.sh all | SUITE...
#	  Runs the test suites from nothing and adds up what passed and failed.
#
# Suites: house unit regress isolation tap python clients, and by name only:
# pgvector; README.md in test/ says what each one proves.  Everything happens in
# a private copy of the tree in a new directory that an unprivileged user owns:
# the checkout stays clean (but for what clients.sh keeps in build/), root can run
# it (PostgreSQL refuses root), the system's PostgreSQL is only read, and any
# number of runs can go on at once.
#
#	  CHASSIS_WORK=DIR     work there, keep it, and build only what changed
#	  CHASSIS_TMPDIR=DIR   make the private directory there (/tmp, /var/tmp)
#	  CHASSIS_DATA=DIR     optional data sets (siftsmall/) for recall tests
#	  PROVE_TESTS=FILES    run only these TAP tests, for example test/t/000*.pl
#	  PGVECTOR_SRC=DIR     pgvector's sources; without, tests that need pgvector
#	                       get it from PyPI
#	  REGRESS=NAMES        only these regress tests; ISOLATION=NAMES, same
#	  PYTEST=ARGUMENTS     more arguments for pytest, for example '-k readme'
#	  CHASSIS_CLIENTS=NAMES  environments of the suite clients (adapters, the
#	                       first of those in test/clients)
#
# The last line is "N passed, N failed"; the exit status is 0 only when nothing
# failed and every suite ran.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
# A shell that starts this in the background has it ignore SIGINT, and children
# inherit that; but tests interrupt programs.
if [ -z "${CHASSIS_SIGNALS:-}" ] && env --default-signal=INT true 2>/dev/null; then
	export CHASSIS_SIGNALS=default
	exec env --default-signal=INT,QUIT "$0" "$@"
fi
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"

every_suite="house unit regress isolation tap python clients"
suites="$*"
[ -n "$suites" ] && [ "$suites" != all ] || suites=$every_suite

total_passed=0
total_failed=0
broken=
report=
servers=

# --- packages and the private copy ---------------------------------------

for suite in $suites; do
	case $suite in
		house | regress | isolation) purposes="build" ;;
		unit) purposes="build neon" ;;
		tap) purposes="build tap"
			[ -n "${PGVECTOR_SRC:-}" ] || purposes="$purposes python" ;;
		pgvector) purposes="build" ;;
		python) purposes="build python python-test" ;;
		clients) purposes="build python" ;;
		*) die "unknown suite \"$suite\"; there are: $every_suite" ;;
	esac
	# shellcheck disable=SC2086 # a list of words
	"$top/tools/packages.sh" $purposes
done
find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"
choose_server_user

if [ -n "${CHASSIS_WORK:-}" ]; then
	mkdir -p "$CHASSIS_WORK"
	work=$(cd "$CHASSIS_WORK" && pwd)
	keep_work=yes
else
	work=$(make_private_dir chassis-test)
	keep_work=
fi
private_home=$work/home
src=$work/src
log=$work/log
mkdir -p "$src" "$log" "$private_home"

cleanup() {
	status=$?
	trap - EXIT INT TERM
	for data in $servers; do
		as_server_user "$bindir/pg_ctl" -D "$data" -m immediate -s stop ||
			true
	done
	if [ -z "$keep_work" ] && [ $status -eq 0 ]; then
		rm -rf "$work"
	elif [ $status -ne 0 ]; then
		say "logs are in $log"
	fi
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What is under test, with its times, so that make can see what changed.
copy_sources "$src"
rm -f "$work"/*/ready

# Data sets that lie beside the checkout, where the unprivileged user may not
# be able to read them.
data_dir=${CHASSIS_DATA:-$top/../shared/data}
if [ -d "$data_dir/siftsmall" ]; then
	mkdir -p "$work/data"
	cp -R "$data_dir/siftsmall" "$work/data/"
	chmod -R u+w "$work/data"
	CHASSIS_SIFTSMALL=$work/data/siftsmall
	CHS_TEST_FVECS=$CHASSIS_SIFTSMALL/siftsmall_base.fvecs
	export CHASSIS_SIFTSMALL CHS_TEST_FVECS
fi
if [ "$(id -un)" != "$server_user" ]; then
	chown -R "$server_user" "$work"
fi

# PostgreSQL's programs want to return to the directory they started in, which
# in a checkout below /root they could not.
cd "$work"

# --- helpers ---------------------------------------------------------------

# in_src COMMAND...: runs it in the copy, as the server's user
in_src() {
	(cd "$src" && as_server_user "$@")
}

jobs=$(nproc 2>/dev/null || echo 2)

# build NAME FLAG...: the library with these make flags, in $work/NAME/build,
# staged in $work/NAME/stage; done once.  Sets bindir.
build() {
	name=$1
	shift
	stage=$work/$name/stage
	bindir=$stage$("$PG_CONFIG" --bindir)
	[ ! -e "$work/$name/ready" ] || return 0
	(
		mkdir -p "$work/$name/build"
		[ "$(id -un)" = "$server_user" ] ||
			chown "$server_user" "$work/$name" "$work/$name/build"
		cd "$work/$name/build"
		as_server_user make -s -f "$src/Makefile" -j "$jobs" \
			PG_CONFIG="$PG_CONFIG" ${CC:+CC="$CC"} "$@" &&
			as_server_user make -s -f "$src/Makefile" install \
				install-pgvector-alias \
				PG_CONFIG="$PG_CONFIG" DESTDIR="$stage" "$@" &&
			as_server_user env PG_CONFIG="$PG_CONFIG" \
				"$src/tools/stage.sh" "$stage"
	) >"$log/build-$name.log" 2>&1 || {
		tail -n 30 "$log/build-$name.log"
		say "the $name library could not be built"
		return 1
	}
	: >"$work/$name/ready"
}

# start_server NAME: a server from the staged programs; sets server_socket.
# Fast and unsafe: nothing here outlives the run.
start_server() {
	server_socket=$work/$1/socket
	data=$work/$1/data
	as_server_user mkdir -p "$server_socket"
	as_server_user rm -rf "$data"
	as_server_user "$bindir/initdb" -D "$data" -U postgres -A trust \
		-E UTF8 --locale=C --no-sync >"$log/initdb-$1.log" 2>&1
	as_server_user tee -a "$data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$server_socket'
		fsync = off
		shared_buffers = 128MB
		max_prepared_transactions = 10
		autovacuum = off
		jit = off
	CONF
	as_server_user "$bindir/pg_ctl" -D "$data" -l "$log/server-$1.log" -w -s \
		start
	servers="$servers $data"
}

# installcheck NAME FLAG...: PGXS's own target against the server NAME
installcheck() {
	name=$1
	shift
	in_src env PGHOST="$server_socket" PGPORT=5432 PGUSER=postgres \
		make installcheck PG_CONFIG="$bindir/pg_config" "$@"
}

# sum_lines: the sum of the numbers on standard input, one a line
sum_lines() {
	awk '{ sum += $1 } END { print sum + 0 }'
}

# count SUITE PASSED FAILED SECONDS [NOTE]
count() {
	line="$1: $2 passed, $3 failed (${4} s${5:+; $5})"
	say "$line"
	report="$report$line
"
	total_passed=$((total_passed + $2))
	total_failed=$((total_failed + $3))
}

# --- suites: each sets passed, failed, note --------------------------------

# one_check LABEL COMMAND...
one_check() {
	label=$1
	shift
	if "$@" >>"$log/house.log" 2>&1; then
		passed=$((passed + 1))
	else
		say "failed: $label"
		failed=$((failed + 1))
	fi
}

suite_house() {
	build release || return 1
	one_check "layers" in_src .ci/check_layers.sh
	one_check "headers" in_src env PG_CONFIG="$PG_CONFIG" .ci/check_headers.sh
	one_check "versions" in_src .ci/check_versions.sh
	one_check "exported symbols" in_src .ci/check_symbols.sh \
		"$work/release/build/chassis.so" "$src"/sql/chassis--*.sql
	one_check "exported symbols of the watcher" in_src .ci/check_symbols.sh \
		"$work/release/build/src/pg/embedded/chassis_embedded.so" \
		"$src"/sql/chassis--*.sql
	one_check "exported symbols of the alias" in_src .ci/check_symbols.sh \
		"$work/release/build/pgvector/chassis_vector_alias.so" \
		"$src"/pgvector/vector--*.sql
	one_check "prefetches" in_src env PG_CONFIG="$PG_CONFIG" \
		.ci/check_prefetch.sh
	one_check "demo programs compile" in_src make -s -f demo/Makefile \
		PG_CONFIG="$PG_CONFIG"
	# shellcheck disable=SC2016 # for the inner shell
	one_check "shell scripts parse" in_src sh -c \
		'for f in tools/*.sh .ci/*.sh .ci/run pgvector/*.sh; do sh -n "$f" || exit 1; done'
	[ "$failed" -eq 0 ] || tail -n 40 "$log/house.log"
}

suite_unit() {
	checks=0
	variants="plain sanitize neon"
	[ -z "${CHASSIS_STRESS:-}" ] || variants="plain sanitize"
	for variant in $variants; do
		in_src make -s -f test/unit/Makefile -j "$jobs" all VARIANT="$variant" \
			>"$log/unit-$variant.build.log" 2>&1 || {
			tail -n 30 "$log/unit-$variant.build.log"
			return 1
		}
		in_src make -s -f test/unit/Makefile run VARIANT="$variant" \
			>"$log/unit-$variant.log" 2>&1 || true
		result=$(grep '^unit programs' "$log/unit-$variant.log") || return 1
		say "$result"
		n=$(say "$result" | sed 's/.*: \([0-9]*\) passed.*/\1/')
		passed=$((passed + n))
		n=$(say "$result" | sed 's/.* \([0-9]*\) failed.*/\1/')
		failed=$((failed + n))
		[ "$n" -eq 0 ] || cat "$log/unit-$variant.log"
		n=$(sed -n 's/^unit .*: \([0-9]*\) checks.*/\1/p' \
			"$log/unit-$variant.log" | sum_lines)
		checks=$((checks + n))
	done
	note="$checks checks in programs built plain, with sanitizers and for NEON"
}

# read_pg_regress LOG: before version 16 "All 4 tests passed." or "1 of 4
# tests failed."; the same words since, behind a number sign
read_pg_regress() {
	if n=$(sed -n 's/.*All \([0-9]*\) tests passed.*/\1/p' "$1" | grep .); then
		passed=$n
		return 0
	fi
	summary=$(grep -oE '[0-9]+ of [0-9]+ tests failed' "$1") || return 1
	failed=${summary%% of*}
	n=${summary#*of }
	passed=$((${n%% tests*} - failed))
}

suite_regress() {
	build release && start_server release || return 1
	installcheck release ISOLATION= TAP_TESTS= \
		${REGRESS:+REGRESS="$REGRESS"} >"$log/regress.log" 2>&1 || true
	read_pg_regress "$log/regress.log" || {
		tail -n 30 "$log/regress.log"
		return 1
	}
	[ "$failed" -eq 0 ] || head -n 200 "$src/regression.diffs"
}

suite_isolation() {
	build stops STOPS=1 ASSERTS=1 && start_server stops || return 1
	installcheck stops STOPS=1 REGRESS= TAP_TESTS= \
		${ISOLATION:+ISOLATION="$ISOLATION"} >"$log/isolation.log" 2>&1 || true
	read_pg_regress "$log/isolation.log" || {
		tail -n 30 "$log/isolation.log"
		return 1
	}
	[ "$failed" -eq 0 ] || head -n 200 "$src/regression.diffs"
}

# copy_pgvector: pgvector's sources, if given, where the server's user can read
# them; sets PGVECTOR_SRC to that
copy_pgvector() {
	[ -n "${PGVECTOR_SRC:-}" ] || return 0
	mkdir -p "$work/pgvector-src"
	(cd "$PGVECTOR_SRC" && tar cf - --exclude=.git .) |
		(cd "$work/pgvector-src" && tar xf -)
	PGVECTOR_SRC=$work/pgvector-src
	export PGVECTOR_SRC
	[ "$(id -un)" = "$server_user" ] || chown -R "$server_user" "$PGVECTOR_SRC"
}

# pgvector's own tests on the alias: those that docs/pgvector-tests.md calls the
# same are, byte for byte, and the others are not
suite_pgvector() {
	[ -n "${PGVECTOR_SRC:-}" ] || {
		say "set PGVECTOR_SRC to the sources of pgvector 0.8.6"
		return 1
	}
	build release && start_server release || return 1
	copy_pgvector
	out=$work/pgvector-tests
	as_server_user mkdir -p "$out"
	names=$(cd "$PGVECTOR_SRC/test/sql" && find . -name '*.sql' |
		sed 's/^\.\/\(.*\)\.sql$/\1/' | sort)
	# shellcheck disable=SC2086 # a list of words
	(cd "$out" && as_server_user "$(dirname "$("$PG_CONFIG" --pgxs)")/../test/regress/pg_regress" \
		--bindir="$bindir" --inputdir="$PGVECTOR_SRC/test" --outputdir="$out" \
		--host="$server_socket" --port=5432 --user=postgres \
		--load-extension=chassis --load-extension=vector $names) \
		>"$log/pgvector.log" 2>&1 || true
	for test in $names; do
		changed=$(diff "$PGVECTOR_SRC/test/expected/$test.out" \
			"$out/results/$test.out" | grep -c '^[<>]') || true
		outcome=differs
		[ "$changed" -ne 0 ] || outcome=same
		say "$test: $outcome${changed:+ ($changed lines)}"
		one_check "docs/pgvector-tests.md on $test" \
			grep -qE "^\| $test \| $outcome \|" "$src/docs/pgvector-tests.md"
	done
}

# show_failed_scripts: the last lines of the TAP scripts that failed.  Why one
# died is only in the log of its own, which nobody who reads what a build server
# printed can open.
show_failed_scripts() {
	sed -n 's,^test/t/\([^ ]*\)\.pl  *(Wstat: [1-9].*,\1,p' "$log/tap.log" |
		while read -r script; do
			say "# the end of $script:"
			tail -n 20 "$src/tmp_check/log/regress_log_$script" |
				cut -c 1-300
		done
}

suite_tap() {
	if [ -n "${CHASSIS_STRESS:-}" ]; then
		build asserts ASSERTS=1 || return 1
	else
		build release || return 1
	fi
	server_socket=$work
	# A server with pgvector excludes one with the alias: it is another one.
	CHASSIS_ALL_TESTS=1
	export CHASSIS_ALL_TESTS
	case ${PROVE_TESTS:-all} in
		all | *050* | *\**)
			copy_pgvector
			CHASSIS_PGVECTOR_BIN=$(in_src "$src/tools/pgvector.sh" \
				"$work/pgvector" "$work/$name/build") || return 1
			export CHASSIS_PGVECTOR_BIN
			;;
	esac
	# Two at a time: they mostly wait, for recovery or for each other.
	installcheck tap REGRESS= ISOLATION= PROVE_FLAGS="-I test/perl -j2 \
		--timer" ${PROVE_TESTS:+PROVE_TESTS="$PROVE_TESTS"} \
		>"$log/tap.log" 2>&1 || true
	n=$(sed -n 's/^Files=[0-9]*, Tests=\([0-9]*\),.*/\1/p' "$log/tap.log")
	if [ -z "$n" ] || ! grep -q '^Result: ' "$log/tap.log"; then
		tail -n 40 "$log/tap.log"
		return 1
	fi
	# "Failed 2/10 subtests"; a script that died counts for at least one
	failed=$(sed -n 's/.*Failed \([0-9]*\)\/[0-9]* subtests.*/\1/p' \
		"$log/tap.log" | sum_lines)
	passed=$((n > failed ? n - failed : 0))
	# A script that bails out ends the run, and prove calls what ran a pass.
	if ! grep -q '^Result: PASS' "$log/tap.log" ||
		grep -q '^FAILED--' "$log/tap.log"; then
		[ "$failed" -gt 0 ] || failed=1
		grep -A 4 -e '#   Failed test' -e '^Bailout' "$log/tap.log" |
			cut -c 1-200
		sed -n '/^Test Summary Report/,/^Files=/p' "$log/tap.log"
		show_failed_scripts
	fi
	if grep -q 'skipped' "$log/tap.log"; then
		note="some skipped: $(grep -c 'skipped' "$log/tap.log") files"
	fi
}

# read_pytest LOG: adds to passed and failed what its last line says
read_pytest() {
	summary=$(grep -E '^=*[ 0-9]*.*(passed|failed|error).* in ' "$1" |
		tail -n 1)
	[ -n "$summary" ] || {
		tail -n 40 "$1"
		return 1
	}
	failed_before=$failed
	# A skipped test proves nothing: it counts as failed.
	for word in passed failed error skipped xfailed; do
		n=$(say "$summary" | grep -oE "[0-9]+ $word" | cut -d' ' -f1)
		case $word in
			passed) passed=$((passed + ${n:-0})) ;;
			*) failed=$((failed + ${n:-0})) ;;
		esac
	done
	[ "$failed" -eq "$failed_before" ] || tail -n 100 "$1"
}

suite_python() {
	# As the caller, not as the server's user, who may have no access to the
	# interpreter; the package runs its servers as that user by itself.
	(cd "$src" && tools/python.sh) >"$log/python-make.log" 2>&1 || {
		tail -n 30 "$log/python-make.log"
		return 1
	}
	bin=$src/.venv/bin
	# shellcheck disable=SC2086 # a list of words
	(cd "$src/python" && "$bin/python" -m pytest -q \
		-p no:cacheprovider -n 4 --dist worksteal --timeout 300 --cov=pychassis --cov-report=term \
		--cov-fail-under=90 --durations=10 ${PYTEST:-}) \
		>"$log/python.log" 2>&1 || true
	read_pytest "$log/python.log" || return 1
	coverage=$(grep -E '^TOTAL ' "$log/python.log" | awk '{ print $NF }')
	sed -n '/tests coverage/,/^TOTAL/p' "$log/python.log"
	[ -n "${PYTEST:-}" ] || one_check "coverage of 90 %" \
		grep -q 'Required test coverage of 90% reached' "$log/python.log"
	: >"$log/house.log"
	for check in "mypy pychassis chassis tests" "ruff check ." \
		"black --quiet --check ."; do
		# shellcheck disable=SC2086 # a list of words
		one_check "$check" in_python $check
	done
	cat "$log/house.log"
	note="coverage ${coverage:-unknown}"
}

# in_python PROGRAM...: a tool of the environment, in python/
in_python() {
	tool=$1
	shift
	(cd "$src/python" && "$src/.venv/bin/$tool" "$@")
}

# clients_python ENVIRONMENT: the interpreter of that environment, made first
# where need be
clients_python() {
	"$top/tools/clients.sh" make "$1" 2>>"$log/clients-make.log" || {
		tail -n 30 "$log/clients-make.log" >&2
		return 1
	}
}

suite_clients() {
	build release || return 1
	clients=$src/test/clients
	# Whatever the tests run in, they are checked with the tools of the first.
	tools_python=$(clients_python adapters) || return 1
	: >"$log/house.log"
	note=
	for name in ${CHASSIS_CLIENTS:-adapters}; do
		client_python=$(clients_python "$name") || return 1
		before=$passed
		# As the caller, as in suite_python.
		# shellcheck disable=SC2086 # a list of words
		(cd "$clients" && env CHASSIS_TEST_PG_BIN="$bindir" "$client_python" \
			-m pytest -q -p no:cacheprovider --timeout 300 --durations=5 \
			"$name" ${PYTEST:-}) >"$log/clients-$name.log" 2>&1 || true
		read_pytest "$log/clients-$name.log" || return 1
		note="$note${note:+, }$name $((passed - before))"
		one_check "mypy on clients/$name" in_clients mypy \
			--python-executable "$client_python" "$name"
	done
	one_check "mypy on clients" in_clients mypy conftest.py databases.py samples.py
	one_check "ruff on clients" in_clients ruff check .
	one_check "black on clients" in_clients black --quiet --check .
	cat "$log/house.log"
}

# in_clients MODULE...: a Python module as a program, in test/clients/
in_clients() {
	(cd "$clients" && "$tools_python" -m "$@")
}

# --- run ---------------------------------------------------------------------

say "testing in $work as $server_user, $("$PG_CONFIG" --version)"
for suite in $suites; do
	passed=0
	failed=0
	note=
	started=$(date +%s)
	if ! "suite_$suite"; then
		say "$suite could not run"
		failed=$((failed + 1))
		broken="$broken $suite"
		note="could not run"
	fi
	if [ $((passed + failed)) -eq 0 ]; then
		failed=1
		note="nothing ran"
	fi
	count "$suite" "$passed" "$failed" $(($(date +%s) - started)) "$note"
done

say ""
printf '%s' "$report"
say "$total_passed passed, $total_failed failed"
[ "$total_failed" -eq 0 ]
