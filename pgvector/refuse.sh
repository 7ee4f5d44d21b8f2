#!/bin/sh
# refuse.sh DIR
#	  Fails when extension "vector" in DIR is not the alias but somebody else's.
#
# The alias takes the name of pgvector, so `make install-pgvector-alias` and its
# opposite ask here before they write or remove a file of that name.  DIR is the
# server's directory of control files and scripts.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
dir=${1:?usage: refuse.sh DIR}

# what the alias's own files say in their first lines
foreign=
if [ -e "$dir/vector.control" ] &&
	! grep -q "^requires = 'chassis'" "$dir/vector.control"; then
	foreign=$dir/vector.control
elif [ -e "$dir/vector--0.8.6.sql" ] &&
	! grep -q 'chassis' "$dir/vector--0.8.6.sql"; then
	foreign=$dir/vector--0.8.6.sql
fi
[ -n "$foreign" ] || exit 0

cat >&2 <<END
error: $foreign belongs to pgvector
The alias cannot be installed beside pgvector on one server.  Either
- keep pgvector and its tables, and index them with chassis: the extension
  chassis_pgvector, installed by "make install", needs no alias; or
- dump the databases that use pgvector, remove it (with its package manager, or
  "make uninstall" in its sources), and run this again.
docs/migrating-from-pgvector.md has the commands.
END
exit 1
