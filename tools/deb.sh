#!/bin/sh
# deb.sh [check]
#	  Debian packages of the extension, for every PostgreSQL server that is
#	  installed here (with its headers).
#
# Leaves dist/postgresql-NN-chassis_*.deb.  With "check" leaves nothing: unpacks
# each package, starts a private server that finds the extension there
# (Debian's extension_destdir), runs the regress suite against it, and ends
# with "N passed, N failed".
#
# Built in a private copy, as an unprivileged user, because debian/control is
# made anew for the servers that are here.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"

mode=${1:-make}
passed=0
failed=0
data=

"$top/tools/packages.sh" build deb
choose_server_user
work=$(make_private_dir chassis-deb)
private_home=$work/home
src=$work/src

cleanup() {
	status=$?
	trap - EXIT INT TERM
	[ -z "$data" ] || as_server_user "$bindir/pg_ctl" -D "$data" -m immediate \
		-s stop || true
	if [ $status -eq 0 ]; then
		rm -rf "$work"
	else
		say "logs are in $work"
	fi
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# in_src COMMAND...: runs it in the copy, as the unprivileged user
in_src() {
	(cd "$src" && as_server_user "$@")
}

# log_tail FILE: what a failed step said last
log_tail() {
	tail -n 30 "$1"
	return 1
}

# one_check LABEL COMMAND...
one_check() {
	label=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		say "failed: $label"
		failed=$((failed + 1))
	fi
}

# has_files DEB MAJOR: what a package consists of, and nothing in other places
has_files() {
	dpkg-deb --contents "$1" | awk '$1 !~ /^d/ { print $6 }' >"$work/files"
	for file in "lib/postgresql/$2/lib/chassis.so" \
		"share/postgresql/$2/extension/chassis.control" \
		"share/postgresql/$2/extension/chassis--$version.sql" \
		"share/doc/postgresql-$2-chassis/copyright"; do
		grep -qx "./usr/$file" "$work/files" || return 1
	done
	! grep -vE "^\./usr/(lib/postgresql/$2/lib|share/postgresql/$2/extension|share/doc/postgresql-$2-chassis)/" \
		"$work/files"
}

# start_server MAJOR DIR: one that finds the extension in DIR; sets data, bindir
start_server() {
	bindir=/usr/lib/postgresql/$1/bin
	data=$work/data-$1
	as_server_user "$bindir/initdb" -D "$data" -U postgres -A trust -E UTF8 \
		--locale=C --no-sync >"$work/initdb-$1.log" 2>&1
	as_server_user tee -a "$data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$work'
		fsync = off
		autovacuum = off
		jit = off
		max_prepared_transactions = 10
		extension_destdir = '$2'
		dynamic_library_path = '$2/usr/lib/postgresql/$1/lib:\$libdir'
	CONF
	as_server_user "$bindir/pg_ctl" -D "$data" -l "$work/server-$1.log" -w -s \
		start || log_tail "$work/server-$1.log"
}

# asked QUERY: its answer from the running server
asked() {
	as_server_user "$bindir/psql" -XAtq -v ON_ERROR_STOP=1 -h "$work" \
		-U postgres -c "$1" postgres
}

# check_package DEB
check_package() {
	major=$(basename "$1" | sed 's/^postgresql-\([0-9]*\)-.*/\1/')
	unpacked=$work/unpacked-$major
	as_server_user dpkg-deb -x "$1" "$unpacked"
	one_check "files of $major" has_files "$1" "$major"
	one_check "dependency on the server $major" sh -c "dpkg-deb -f '$1' Depends |
		grep -q '\\bpostgresql-$major\\b'"

	# Nothing of an installed chassis may answer instead of the package.
	installed=/usr/share/postgresql/$major/extension/chassis.control
	[ ! -e "$installed" ] || die "$installed is in the way"
	start_server "$major" "$unpacked"
	asked 'CREATE EXTENSION chassis' >/dev/null
	one_check "version in PostgreSQL $major" test "$version" = \
		"$(asked "SELECT extversion FROM pg_extension WHERE extname = 'chassis'")"

	log=$work/regress-$major.log
	in_src env PGHOST="$work" PGPORT=5432 PGUSER=postgres \
		make installcheck ISOLATION= TAP_TESTS= \
		PG_CONFIG="$bindir/pg_config" >"$log" 2>&1 || true
	if n=$(sed -n 's/.*All \([0-9]*\) tests passed.*/\1/p' "$log" | grep .); then
		passed=$((passed + n))
		say "PostgreSQL $major: $n regress tests passed with the package"
	else
		failed=$((failed + 1))
		log_tail "$log" || true
		[ ! -e "$src/regression.diffs" ] || head -n 100 "$src/regression.diffs"
	fi
	as_server_user "$bindir/pg_ctl" -D "$data" -m fast -s stop
	data=
}

# --- build -------------------------------------------------------------------

majors=
for dir in /usr/lib/postgresql/*; do
	if [ -x "$dir/bin/postgres" ] && [ -x "$dir/bin/pg_config" ]; then
		majors="$majors ${dir##*/}"
	fi
done
[ -n "$majors" ] || die "no server that came from a package"
PG_SUPPORTED_VERSIONS=$(say "$majors" | tr -s ' ' '\n' | sed 1d)
export PG_SUPPORTED_VERSIONS

copy_sources "$src"
mkdir -p "$private_home"
[ "$(id -un)" = "$server_user" ] || chown -R "$server_user" "$work"
version=$(sed -n "s/^default_version = '\(.*\)'\$/\1/p" "$src/chassis.control")

{
	in_src pg_buildext updatecontrol &&
		in_src env DEB_BUILD_OPTIONS="parallel=$(nproc)" \
			dpkg-buildpackage -us -uc -b
} >"$work/build.log" 2>&1 || log_tail "$work/build.log"

if [ "$mode" = check ]; then
	for major in $majors; do
		one_check "package for $major" \
			test -e "$work/postgresql-$major-chassis_"*.deb
	done
	for deb in "$work"/postgresql-*-chassis_*.deb; do
		check_package "$deb"
	done
	say "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
else
	mkdir -p "$top/dist"
	for deb in "$work"/postgresql-*-chassis_*.deb; do
		cp "$deb" "$top/dist/"
		say "dist/${deb##*/}"
	done
fi
