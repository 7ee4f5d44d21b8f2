#!/bin/sh
# check_versions.sh
#	  Fails when the places that state the version do not agree.
#
# chassis.control decides; everything that is shipped, packaged or shown to a
# user has to say the same.  Uses no more than a shell and sed, as it runs
# before anything is installed; check_meta.pl looks at the rest of META.json.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
cd "$(dirname "$0")/.."
bad=0

complain() {
	echo "$*" >&2
	bad=1
}

version=$(sed -n "s/^default_version = '\(.*\)'\$/\1/p" chassis.control)
[ -n "$version" ] || complain "chassis.control has no default_version"

# states FILE SED_SCRIPT: what the script finds there is the version, each time
states() {
	found=$(sed -n "$2" "$1" | sort -u | tr '\n' ' ')
	[ "$found" = "$version " ] ||
		complain "$1 says version ${found:-(none) }and not $version"
}

states src/pg/module.c 's/^CHS_MODULE_MAGIC("\(.*\)");$/\1/p'
states python/pychassis/__init__.py 's/^__version__ = "\(.*\)"$/\1/p'
# shellcheck disable=SC2016 # for sed, not for the shell
states META.json '/"meta-spec"/,$d
	s/^[[:space:]]*"version": "\(.*\)",\{0,1\}$/\1/p
	s/.*"sql\/chassis--\(.*\)\.sql".*/\1/p'
states pgvector/chassis_pgvector.control "s/^default_version = '\(.*\)'\$/\1/p"
states debian/changelog '1s/^chassis (\([^-]*\)-[^)]*).*/\1/p'
states CHANGELOG.md '/^## /{s/^## \([0-9.]*\).*/\1/p;q;}'

# The script that installs it, and one from each released version to the next.
[ -f "sql/chassis--$version.sql" ] ||
	complain "there is no sql/chassis--$version.sql"
for script in sql/chassis--*.sql test/upgrade/chassis--*.sql; do
	name=${script##*/}
	sed -n 2p "$script" | grep -qF " $name" ||
		complain "$script calls itself something else in its second line"
	case $script in
		sql/*--*--*) ;;
		sql/*) [ "$name" = "chassis--$version.sql" ] ||
			complain "$script belongs into test/upgrade" ;;
		test/*)
			old=${name#chassis--}
			old=${old%.sql}
			set -- sql/chassis--"$old"--*.sql
			[ -f "$1" ] || complain "no script in sql/ leads from $old onwards"
			;;
	esac
done

exit $bad
