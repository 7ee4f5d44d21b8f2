#!/bin/sh
# check_prefetch.sh
#	  Compiles what asks for memory ahead, and counts the prefetches that come out.
#
# A compiler may leave a prefetch out, and nothing is wrong but the time that a
# search takes: see src/core/base/prefetch.h, and docs/decisions/0018.  No test
# of behaviour can see it.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
cd "$(dirname "$0")/.."
bad=0
checked=0

# The helper, and the inline functions of headers that call it.
functions='chs_prefetch|chs_slot_prefetch|chs_peek_prefetch'
server_include=$(${PG_CONFIG:-pg_config} --includedir-server)
object=$(mktemp)
list=$(mktemp)
trap 'rm -f "$object" "$list"' EXIT

grep -rlE "\<($functions) *\(" --include='*.c' src >"$list" || true
while read -r source; do
	# not objects of the build: optimized at link time they have no code yet
	${CC:-cc} -std=gnu11 -O2 -fno-lto -w -Isrc -I"$server_include" \
		-c -o "$object" "$source"
	found=$(objdump -d "$object" |
		grep -cE '[[:space:]](prefetch[a-z0-9]*|prfu?m|dcbt|pfd|preld)[[:space:]]' || true)
	# calls of one function may be compiled into one place
	want=$(grep -oE "\<($functions) *\(" "$source" | sort -u | wc -l)
	checked=$((checked + 1))
	if [ "$found" -lt "$want" ]; then
		echo "$source: $found prefetches for $want calls" >&2
		bad=1
	fi
done <"$list"

if [ $checked -eq 0 ]; then
	echo "no source asks for memory ahead" >&2
	bad=1
fi
exit $bad
