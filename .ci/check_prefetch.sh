#!/bin/sh
# check_prefetch.sh DIR
#	  Fails when a compiled file asks for memory ahead fewer times than its source.
#
# DIR has the object files of a build.  A compiler may leave a prefetch out and
# nothing is wrong but the time a search takes; that happened (see
# src/core/base/prefetch.h), and no test of behaviour can see it.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
cd "$(dirname "$0")/.."
objects=$1
bad=0
checked=0

# What begins a prefetch: the helper, and those that inline it.
callers='chs_prefetch|chs_prefetch_slot|chs_peek_prefetch|prefetch_slot'

for source in $(grep -rlE "($callers) *\(" --include='*.c' src); do
	# a call that stands in several places may have been compiled once
	want=$(grep -oE "\<($callers) *\(" "$source" | sort -u | wc -l)
	# its own definition of one is no call
	own=$(grep -cE "^($callers)\(" "$source" || true)
	object=$objects/${source%.c}.o
	found=$(objdump -d "$object" |
		grep -cE '[[:space:]](prefetch[a-z0-9]*|prfu?m)[[:space:]]' || true)
	checked=$((checked + 1))
	if [ "$found" -lt $((want - own)) ]; then
		echo "$source: $found prefetch instructions for $((want - own)) calls" >&2
		bad=1
	fi
done

if [ $checked -eq 0 ]; then
	echo "no source asks for memory ahead" >&2
	bad=1
fi
exit $bad
