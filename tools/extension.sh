#!/bin/sh
# extension.sh TARGET BUILD [STAGE]
#	  Builds the extension for one server and puts its files into one directory.
#
# For the server of PG_CONFIG: builds in BUILD/MAJOR, and leaves in TARGET/MAJOR
# the control file, the SQL scripts and the libraries, side by side: how the
# Python package carries them, and where its editable install looks.  With STAGE
# also does `make install DESTDIR=STAGE`.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"

target=${1:?usage: extension.sh TARGET BUILD [STAGE]}
build=${2:?usage: extension.sh TARGET BUILD [STAGE]}
stage=${3:-}

find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"
major=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')

mkdir -p "$build/$major" "$target"
build=$(cd "$build/$major" && pwd)
target=$(cd "$target" && pwd)/$major

# A server that was built elsewhere, as those from wheels, passes on warning
# options that our compiler may not know; it then does without all of them.
flags=$("$PG_CONFIG" --cflags)
# shellcheck disable=SC2086 # a list of words
if "${CC:-cc}" $flags -fsyntax-only -x c /dev/null 2>/dev/null; then
	flags=
else
	flags=$(say "$flags" | tr ' ' '\n' | grep -v '^-W' | paste -s -d ' ' -)
fi

in_build() {
	make -s -C "$build" -f "$top/Makefile" VPATH="$top" \
		PG_CONFIG="$PG_CONFIG" ${CC:+CC="$CC"} ${flags:+CFLAGS="$flags"} "$@"
}

in_build -j "$(nproc 2>/dev/null || echo 2)"
[ -z "$stage" ] || in_build install DESTDIR="$stage" >/dev/null

# Into place at once: a server may be starting from the old files.
new=$target.new
rm -rf "$new"
mkdir -p "$new"
cp "$top/chassis.control" "$top"/sql/chassis--*.sql "$new/"
for library in "$build"/chassis.so "$build"/chassis.dylib \
	"$build"/src/pg/embedded/chassis_embedded.so \
	"$build"/src/pg/embedded/chassis_embedded.dylib; do
	[ ! -e "$library" ] || cp "$library" "$new/"
done
chmod 755 "$new"
chmod a+r "$new"/*
rm -rf "$target"
mv "$new" "$target"
say "$target"
