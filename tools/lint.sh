#!/bin/sh
# lint.sh [--fix]
#	  Formatting, shell scripts, layers, headers, versions, and warnings as errors.
#
# With --fix only rewrites the C sources by .clang-format.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"
cd "$top"

tools/packages.sh build lint
find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"
failed=

c_files() {
	find src pgvector test/unit bench demo -name '*.[ch]'
}

if [ "${1:-}" = --fix ]; then
	c_files | xargs clang-format -i
	exit 0
fi

# step LABEL COMMAND...
step() {
	label=$1
	shift
	if "$@"; then
		say "$label: ok"
	else
		say "$label: failed"
		failed=yes
	fi
}

check_format() {
	c_files | xargs clang-format --dry-run -Werror
}

check_shell() {
	shellcheck -x tools/*.sh pgvector/*.sh .ci/*.sh .ci/run
}

# check_warnings COMPILER: every source of the library, warnings as errors
check_warnings() {
	out=$(mktemp -d)
	copy_sources "$out/src"
	status=0
	make -s -C "$out/src" -j "$(nproc)" CC="$1" PG_CONFIG="$PG_CONFIG" \
		COPT=-Werror >"$out/log" 2>&1 || status=1
	if [ $status -eq 0 ]; then
		make -s -f test/unit/Makefile -j "$(nproc)" CC="$1" CFLAGS=-Werror \
			OUT="$out/unit" >"$out/log" 2>&1 || status=1
	fi
	[ $status -eq 0 ] || grep -E 'error|warning' "$out/log" | head -n 40
	rm -rf "$out"
	return $status
}

check_python() {
	(
		cd python
		../.venv/bin/ruff check . && ../.venv/bin/black --quiet --check . &&
			../.venv/bin/mypy pychassis chassis tests
	)
}

step "layers" .ci/check_layers.sh
step "headers" .ci/check_headers.sh
step "versions" .ci/check_versions.sh
step "META.json" perl .ci/check_meta.pl
step "formatting" check_format
step "shell" check_shell
step "warnings with ${CC:-cc}" check_warnings "${CC:-cc}"
if command -v clang >/dev/null 2>&1; then
	step "warnings with clang" check_warnings clang
fi
if [ -x .venv/bin/mypy ]; then
	step "python" check_python
else
	say "python: not checked, there is no .venv with its tools (make python)"
fi
[ -z "$failed" ]
