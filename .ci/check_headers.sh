#!/bin/sh
# check_headers.sh
#	  Compiles every header alone: it must include what it needs.
#
# Headers of src/core are compiled as strict C11 with no PostgreSQL include
# path, so that one which needs the server fails here.  Headers of src/pg are
# compiled after postgres.h, as every file that includes them begins with it;
# without a pg_config they cannot be checked, which is a failure.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
cd "$(dirname "$0")/.."
cc=${CC:-cc}
bad=0
checked=0

# compile HEADER FLAG...
compile() {
	header=$1
	shift
	checked=$((checked + 1))
	if ! "$cc" -fsyntax-only -Isrc "$@" -x c "$header"; then
		echo "$header does not compile alone" >&2
		bad=1
	fi
}

list=$(mktemp)
trap 'rm -f "$list"' EXIT

find src/core test/unit -name '*.h' >"$list"
while read -r header; do
	compile "$header" -Itest/unit -std=c11 -pedantic -Wall -Wextra -Werror \
		-Wno-unused-parameter -Wno-unused-function -Wno-unused-variable \
		</dev/null
done <"$list"

server_include=$(${PG_CONFIG:-pg_config} --includedir-server)
find src/pg -name '*.h' >"$list"
while read -r header; do
	compile "$header" -std=gnu11 -I"$server_include" -include postgres.h \
		-Wall -Werror -Wno-unused-function </dev/null
done <"$list"

[ $checked -gt 0 ] || bad=1
exit $bad
