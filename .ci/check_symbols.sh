#!/bin/sh
# check_symbols.sh LIBRARY SQL_FILE...
#	  Fails when the release library exports what it should not.
#
# Before PostgreSQL 16 every external symbol of a library is visible to every
# other one in the backend.  Ours are chs*, or functions that an SQL script
# names, or what the module interface requires.  And nothing of the build that
# can be stopped at named places may be left in the release.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
library=$1
shift
bad=0

if ! nm -D --defined-only "$library" | grep -q ' Pg_magic_func$'; then
	echo "$library is not a PostgreSQL module" >&2
	exit 1
fi

if nm "$library" | grep -iE 'chs_?stop|stop_at' ||
	grep -qa 'chassis\.stop_at' "$library"; then
	echo "$library can be stopped at named places" >&2
	bad=1
fi

for symbol in $(nm -D --defined-only "$library" | awk '{ print $3 }'); do
	case $symbol in
		chs* | Pg_magic_func | _PG_init | pg_finfo_* | _init | _fini) ;;
		*)
			# the C name in AS 'MODULE_PATHNAME', 'name', or the SQL name itself
			if ! grep -qE "'$symbol'|FUNCTION $symbol *\(" "$@"; then
				echo "$library exports $symbol" >&2
				bad=1
			fi
			;;
	esac
done

exit $bad
