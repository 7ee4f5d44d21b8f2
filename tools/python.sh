#!/bin/sh
# python.sh
#	  A virtual environment with the Python package, and the extension for it.
#
# Leaves in the checkout:
#	  .venv                    python/ installed editable and, where PyPI can be
#	                           reached, its development tools
#	  build/extension/MAJOR    the extension's files in one directory; the
#	                           package of an editable install looks there
#	  build/stage              a PostgreSQL that has the extension and can be run
#	                           from there (see stage.sh), for tests
# All of it can be read by every user: a server that root starts runs as another.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
umask 022
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"
cd "$top"

tools/packages.sh build python
find_pg_config || die "no pg_config of an installed server; set PG_CONFIG"

stage=$top/build/stage
rm -rf "$stage"
tools/extension.sh build/extension build/python "$stage"
tools/stage.sh "$stage" >/dev/null
chmod -R a+rX build

make_venv .venv python
# Type checker and formatters come from PyPI; the package does without.
.venv/bin/pip install --quiet --disable-pip-version-check \
	--editable 'python[dev]' ||
	say "without the development tools: PyPI could not be reached"
# By path, too: next to a folder named chassis, as a clone is, Python would take
# that folder for the package before it asks pip's finder for editable installs.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$top/python" >"$site/pgchassis-checkout.pth"
# Where pytest is the system's, its command would run the system's interpreter,
# which does not know this package.
if [ ! -e .venv/bin/pytest ]; then
	printf '#!%s\n%s\n' "$top/.venv/bin/python" \
		'import sys; from pytest import console_main; sys.exit(console_main())' \
		>.venv/bin/pytest
	chmod 755 .venv/bin/pytest
fi

.venv/bin/python -c 'import numpy, psycopg' || die \
	"psycopg and numpy are missing, and PyPI could not be reached: install them" \
	"for $(.venv/bin/python -c 'import sys; print(sys._base_executable)')"

# From elsewhere: what is found must not depend on the current directory.
cd /
"$top/.venv/bin/python" - <<'PYTHON'
import pathlib, sys, tempfile
import chassis
from pychassis._embedded.status import describe_programs

with tempfile.TemporaryDirectory() as directory:
    plan = describe_programs(pathlib.Path(directory))
if isinstance(plan, Exception):
    sys.exit(str(plan))
print(f"pgchassis {chassis.__version__} in .venv;",
      f"PostgreSQL {plan.programs.version} in {plan.programs.bindir};",
      f"extension in {plan.extension.library}")
PYTHON
