#!/bin/sh
# stage.sh DIR
#	  Turns a DESTDIR into a PostgreSQL installation that can be run from there.
#
# After `make install DESTDIR=DIR`, the extension's files lie in DIR under the
# server's own paths.  PostgreSQL computes its library and share directories
# from the place of its own binary, so it is enough to put copies of the server
# programs beside those files and links to everything else: the result finds
# the extension by its ordinary name, on every major version, with no setting
# and no file outside DIR.  Prints the directory that holds the programs.
#
# The server, initdb and their like are copied because they look through
# symbolic links for their place; a link would lead back to the real one.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu

stage=${1:?usage: stage.sh DIR}
pg_config=${PG_CONFIG:-pg_config}

bindir=$("$pg_config" --bindir)
libdir=$("$pg_config" --pkglibdir)
sharedir=$("$pg_config" --sharedir)
includedir=$("$pg_config" --includedir)
includedir_server=$("$pg_config" --includedir-server)

# link_missing FROM TO: a link in TO for every entry of FROM it does not have
link_missing() {
	mkdir -p "$2"
	for entry in "$1"/*; do
		target=$2/${entry##*/}
		[ -e "$target" ] || [ -L "$target" ] || ln -s "$entry" "$target"
	done
}

mkdir -p "$stage$bindir"
# What looks for its sibling programs or for share files from its own place.
for program in postgres initdb pg_ctl pg_config pg_rewind pg_upgrade \
	pg_createsubscriber; do
	if [ -x "$bindir/$program" ] && [ ! -e "$stage$bindir/$program" ]; then
		cp "$bindir/$program" "$stage$bindir/$program"
	fi
done
link_missing "$bindir" "$stage$bindir"
link_missing "$libdir" "$stage$libdir"
link_missing "$sharedir/extension" "$stage$sharedir/extension"
link_missing "$sharedir" "$stage$sharedir"

# pg_config moves with its copy, and pgxs asks it where the headers are.
for dir in "$includedir" "$includedir_server"; do
	if [ -d "$dir" ] && [ ! -e "$stage$dir" ]; then
		mkdir -p "$(dirname "$stage$dir")"
		ln -s "$dir" "$stage$dir"
	fi
done

echo "$stage$bindir"
