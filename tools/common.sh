# common.sh
#	  Shell functions that the scripts in this folder share.  Sourced.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=sh

# A make that called us must not lend its options to the ones we call.
unset MAKEFLAGS MAKELEVEL MFLAGS

say() {
	printf '%s\n' "$*"
}

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# make_private_dir NAME: prints a new directory NAME.XXXXXX that every user can
# enter and programs can be run from.  Not under the checkout: that may be in a
# home directory which the unprivileged user cannot enter.  Short, because the
# path of a unix socket in it is limited to 107 bytes.
make_private_dir() {
	for base in ${CHASSIS_TMPDIR:-/tmp /var/tmp}; do
		dir=$(mktemp -d "$base/$1.XXXXXX") || continue
		chmod 755 "$dir"
		printf '#!/bin/sh\n' >"$dir/probe"
		chmod 755 "$dir/probe"
		if "$dir/probe" 2>/dev/null; then
			rm "$dir/probe"
			printf '%s\n' "$dir"
			return 0
		fi
		# mounted noexec
		rm -rf "$dir"
	done
	die "no directory to work in; set CHASSIS_TMPDIR"
}

# choose_server_user: sets server_user, the user that runs PostgreSQL (which
# refuses root): oneself, or for root the user "postgres", else "nobody".
choose_server_user() {
	server_user=$(id -un)
	if [ "$(id -u)" = 0 ]; then
		server_user=nobody
		if id postgres >/dev/null 2>&1; then
			server_user=postgres
		fi
	fi
}

# as_server_user COMMAND...: runs it as that user, in a clean environment: no
# PG* variable of the caller may lead to another server, and HOME is private.
# Needs $private_home.
as_server_user() {
	: "${private_home:?}"
	set -- env -u PGHOST -u PGHOSTADDR -u PGPORT -u PGUSER -u PGDATABASE \
		-u PGPASSWORD -u PGPASSFILE -u PGSERVICE -u PGSERVICEFILE -u PGDATA \
		-u PGOPTIONS -u PGSSLMODE -u PGAPPNAME -u PGCONNECT_TIMEOUT \
		-u MAKEFLAGS -u MAKELEVEL -u MFLAGS \
		HOME="$private_home" TMPDIR="$private_home" LC_ALL=C "$@"
	if [ "$(id -un)" = "$server_user" ]; then
		"$@"
	else
		setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" \
			--clear-groups -- "$@"
	fi
}

# find_pg_config: sets PG_CONFIG, unless the caller did, to a pg_config whose
# server and PGXS are installed; fails when there is none.
find_pg_config() {
	if [ -n "${PG_CONFIG:-}" ]; then
		set -- "$PG_CONFIG"
	else
		set -- pg_config
		for major in 18 17 16 15 14; do
			set -- "$@" "/usr/lib/postgresql/$major/bin/pg_config"
		done
	fi
	for candidate in "$@"; do
		bindir=$("$candidate" --bindir 2>/dev/null) || continue
		if [ -x "$bindir/postgres" ] && [ -f "$("$candidate" --pgxs)" ]; then
			PG_CONFIG=$candidate
			export PG_CONFIG
			return 0
		fi
	done
	return 1
}

# shared_memory_type: prints the dynamic_shared_memory_type to use; /dev/shm of
# a container often has 64 MB only, too little for a parallel build.
shared_memory_type() {
	free_kb=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
	if [ "${free_kb:-0}" -ge 524288 ]; then
		echo posix
	else
		echo mmap
	fi
}

# copy_sources DIR: the checkout into DIR, without what was built in it, with
# the files' times.  A build beside the sources would do but for make, which
# takes objects it finds there, whatever they were built with.
copy_sources() {
	: "${top:?}"
	mkdir -p "$1"
	(cd "$top" && tar cf - --exclude='*.o' --exclude='*.d' --exclude='*.so' \
		--exclude=./build --exclude=./.git --exclude=./.venv \
		--exclude=./.demo --exclude=./tmp_check --exclude=./results \
		--exclude=__pycache__ --exclude='*.egg-info' .) |
		(cd "$1" && tar xf -)
}

# find_python: sets python to an interpreter that can make an environment for
# the package and run its tests: $PYTHON or python3, else the system's, for
# which Debian has the packages; fails when there is none.
find_python() {
	for python in "${PYTHON:-python3}" /usr/bin/python3; do
		if "$python" -c 'import ensurepip, pytest, setuptools, venv, wheel' \
			2>/dev/null; then
			return 0
		fi
	done
	return 1
}

# make_venv DIR PACKAGE: an environment with the package installed editable.
# It uses the interpreter's own pytest and setuptools, so that no registry has
# to be reached.
make_venv() {
	find_python || die "no python3 with pytest, setuptools, venv and wheel"
	[ -x "$1/bin/pip" ] || "$python" -m venv --system-site-packages "$1"
	"$1/bin/pip" install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --no-index --editable "$2"
}
