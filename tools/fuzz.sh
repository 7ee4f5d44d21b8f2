#!/bin/sh
# fuzz.sh
#	  libFuzzer with sanitizers over every test/unit/fuzz_*.c.
#
#	  FUZZ_SECONDS=300   for each target
#
# The corpus stays in build/fuzz, so that the next run goes on from there; an
# input that failed is left there too, and is what to run the program with.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"
cd "$top"

tools/packages.sh fuzz
make -s -f test/unit/Makefile fuzz-programs VARIANT=fuzz -j "$(nproc)"

ran=0
for program in build/unit/fuzz/fuzz_*; do
	case $program in *.o | *.d | *'*') continue ;; esac
	name=${program##*/}
	mkdir -p "build/fuzz/$name"
	say "$name: ${FUZZ_SECONDS:-300} s"
	"$program" -max_total_time="${FUZZ_SECONDS:-300}" -print_final_stats=1 \
		-artifact_prefix="build/fuzz/$name-" "build/fuzz/$name" \
		>"build/fuzz/$name.log" 2>&1 || {
		tail -n 40 "build/fuzz/$name.log"
		die "$name failed; the input is build/fuzz/$name-*"
	}
	grep -E 'number_of_executed_units|average_exec' "build/fuzz/$name.log"
	ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || die "there is no fuzz target"
