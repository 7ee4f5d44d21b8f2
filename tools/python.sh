#!/bin/sh
# python.sh
#	  A virtual environment with the Python package, and the extension staged.
#
# Leaves .venv in the checkout, with python/ installed editable and, where PyPI
# can be reached, its development tools; and build/stage, a PostgreSQL that has the extension and
# can be run from there (see stage.sh).
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"
cd "$top"

tools/packages.sh build python
find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"

stage=$top/build/stage
rm -rf "$stage"
copy_sources "$top/build/src"
make -s -C build/src -j "$(nproc)" PG_CONFIG="$PG_CONFIG"
make -s -C build/src install PG_CONFIG="$PG_CONFIG" DESTDIR="$stage" >/dev/null
bin=$(tools/stage.sh "$stage")

make_venv .venv python
# Type checker and formatters come from PyPI; the package does without.
.venv/bin/pip install --quiet --disable-pip-version-check \
	--editable 'python[dev]' ||
	say "without the development tools: PyPI could not be reached"

# -I: after a plain make the library chassis.so lies here, and Python would take
# it for the package before looking anywhere else.
version=$(.venv/bin/python -I -c 'import chassis; print(chassis.__version__)')
say "pgchassis $version in .venv; server programs with the extension in $bin"
