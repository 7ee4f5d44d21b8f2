#!/bin/sh
# run.sh [run | start | stop | clean] [options of the suite]
#	  Prepares what the benchmark suite needs, then hands over to it.
#
# The environment of Python packages, the extension built from this checkout,
# pgvector if PGVECTOR_SRC names its source, and both staged beside copies of
# the server programs (tools/stage.sh).  Separate from the suite because this
# part must run before there is a Python environment.  Everything lies in
# CHASSIS_BENCH_DIR; nothing is installed on the system but missing Debian
# packages (tools/packages.sh).
#
# QUICK=1 is short for SCALE=quick; SCALE=full measures everything.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck disable=SC2030,SC2031 # top is another one in a subshell, on purpose
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"

work=${CHASSIS_BENCH_DIR:-/var/tmp/chassis-bench-$(id -un)}

# fingerprint DIR...: changes when a source file below them does
fingerprint() {
	{
		"$PG_CONFIG" --version
		find "$@" -type f \( -name '*.[ch]' -o -name '*.sql' \
			-o -name '*.control' -o -name Makefile \) -exec cksum {} + | sort
	} | cksum | tr ' ' -
}

# make_environment: the packages of requirements.txt, once for each version
make_environment() {
	wanted=$(cksum <"$top/bench/requirements.txt" | tr ' ' -)
	[ "$(cat "$work/venv/made" 2>/dev/null)" != "$wanted" ] || return 0
	say "installing the suite's Python packages"
	find_python || die "no Python with venv; set PYTHON"
	"$python" -m venv "$work/venv"
	"$work/venv/bin/pip" -q --disable-pip-version-check install \
		-r "$top/bench/requirements.txt"
	printf '%s\n' "$wanted" >"$work/venv/made"
}

# build_extension NAME SOURCE: builds SOURCE in a private directory and
# installs it into the stage, unless that was done with the same sources
build_extension() {
	(
		cd "$2"
		case $1 in
			chassis) fingerprint src sql chassis.control Makefile ;;
			*) fingerprint . ;;
		esac
	) >"$work/$1.now"
	! cmp -s "$work/$1.now" "$work/$1.built" || return 0
	say "building $1"
	rm -rf "$work/build-$1"
	(
		top=$2
		copy_sources "$work/build-$1"
		cd "$work/build-$1"
		make -s -j "$(nproc)" PG_CONFIG="$PG_CONFIG" &&
			make -s install PG_CONFIG="$PG_CONFIG" DESTDIR="$work/stage"
	) >"$work/$1.log" 2>&1 || {
		tail -n 30 "$work/$1.log"
		die "could not build $1; the whole log is $work/$1.log"
	}
	mv "$work/$1.now" "$work/$1.built"
}

"$top/tools/packages.sh" build python
find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"
choose_server_user
mkdir -p "$work"
chmod 755 "$work"
exec 9>"$work/lock"
flock -n 9 || die "another run uses $work"

make_environment
if [ "${1:-run}" != stop ] && [ "${1:-run}" != clean ]; then
	build_extension chassis "$top"
	if [ -n "${PGVECTOR_SRC:-}" ]; then
		build_extension pgvector "$PGVECTOR_SRC"
	fi
fi
CHASSIS_BENCH_BIN=$(PG_CONFIG="$PG_CONFIG" "$top/tools/stage.sh" "$work/stage")
CHASSIS_BENCH_USER=$server_user
CHASSIS_BENCH_SHM=$(shared_memory_type)
CHASSIS_BENCH_COMMIT=$(git -C "$top" rev-parse --short HEAD 2>/dev/null || echo none)
[ -z "${QUICK:-}" ] || SCALE=quick
export CHASSIS_BENCH_BIN CHASSIS_BENCH_USER CHASSIS_BENCH_SHM CHASSIS_BENCH_COMMIT
export PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=false

cd "$top/bench"
exec "$work/venv/bin/python" -m suite --directory "$work" \
	--results "$top/bench/results" --scale "${SCALE:-standard}" --only "${ONLY:-}" "$@"
