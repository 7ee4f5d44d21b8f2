#!/bin/sh
# packages.sh PURPOSE...
#	  Installs the Debian packages that are missing for the given purposes.
#
# Purposes: build (compiler, PostgreSQL and its headers), demo, tap, neon
# (cross compiler and emulator), python, python-test, lint, fuzz, valgrind, deb
# (to make packages).  Says what it installs, and does nothing where the
# programs are already there, wherever they came from.  As root or through
# sudo; otherwise it names the command to run and fails.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

missing=

want() {
	case " $missing " in
		*" $1 "*) ;;
		*) missing="$missing $1" ;;
	esac
}

# need PROGRAM PACKAGE
need() {
	command -v "$1" >/dev/null 2>&1 || want "$2"
}

# The major version that Debian's metapackage stands for.
debian_pg_major() {
	apt-cache depends postgresql 2>/dev/null |
		sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
}

has_c_headers() {
	printf '#include <math.h>\nint main(void) { return 0; }\n' |
		"${CC:-cc}" -x c - -o /dev/null 2>/dev/null
}

need_postgres() {
	find_pg_config && return 0
	# A server of some version may be there without its headers.
	pg_major=
	for dir in /usr/lib/postgresql/*/bin/postgres; do
		[ -x "$dir" ] && pg_major=$(basename "${dir%/bin/postgres}")
	done
	if [ -z "$pg_major" ]; then
		update_lists
		pg_major=$(debian_pg_major)
		[ -n "$pg_major" ] || die "no PostgreSQL 14 to 18 with headers found"
		want "postgresql-$pg_major"
	fi
	want "postgresql-server-dev-$pg_major"
}

lists_updated=
update_lists() {
	[ -z "$lists_updated" ] || return 0
	command -v apt-get >/dev/null 2>&1 || return 0
	say "updating the package lists"
	$sudo apt-get update -qq || die "apt-get update failed"
	lists_updated=1
}

sudo=
if [ "$(id -u)" != 0 ]; then
	sudo=sudo
fi

for purpose in "$@"; do
	case $purpose in
		build)
			if ! has_c_headers; then
				want gcc
				want libc6-dev
			fi
			need_postgres
			;;
		demo)
			[ -d /usr/share/datasets/fashion-mnist ] ||
				want dataset-fashion-mnist
			need gzip gzip
			[ -f "$(pg_config --includedir 2>/dev/null)/libpq-fe.h" ] ||
				want libpq-dev
			;;
		tap)
			need prove perl
			perl -MIPC::Run -e 1 2>/dev/null || want libipc-run-perl
			;;
		neon)
			if [ "$(uname -m)" != aarch64 ]; then
				need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
				[ -d /usr/aarch64-linux-gnu/include ] ||
					want libc6-dev-arm64-cross
				need qemu-aarch64 qemu-user
			fi
			;;
		python)
			if ! find_python; then
				want python3
				want python3-venv
				want python3-setuptools
				want python3-wheel
				want python3-pytest
			fi
			;;
		python-test)
			[ -x /usr/sbin/pgbouncer ] || need pgbouncer pgbouncer
			;;
		lint)
			need clang-format clang-format
			need shellcheck shellcheck
			;;
		fuzz)
			need clang clang
			;;
		valgrind)
			need valgrind valgrind
			;;
		deb)
			need dpkg-buildpackage dpkg-dev
			need dh debhelper
			[ -f /usr/share/postgresql-common/pgxs_debian_control.mk ] ||
				want postgresql-server-dev-all
			;;
		*)
			die "unknown purpose \"$purpose\""
			;;
	esac
done

[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null 2>&1 ||
	die "missing:$missing (no apt-get here; install them by hand)"
if [ -n "$sudo" ] && ! command -v sudo >/dev/null 2>&1; then
	die "missing packages; run as root: apt-get install$missing"
fi

say "installing Debian packages:$missing"
update_lists

# Debian's server package would create and start a cluster of its own.  It is
# told not to while it is installed: nothing here uses one.
no_cluster=/etc/postgresql-common/createcluster.d/chassis-no-main-cluster.conf
forget_no_cluster() {
	$sudo rm -f "$no_cluster"
}
case $missing in
	*" postgresql-"[0-9]*)
		trap forget_no_cluster EXIT
		$sudo mkdir -p "$(dirname "$no_cluster")"
		say "create_main_cluster = false" | $sudo tee "$no_cluster" >/dev/null
		;;
esac

# shellcheck disable=SC2086 # a list of words
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	--no-install-recommends $missing >/dev/null ||
	die "could not install:$missing"
