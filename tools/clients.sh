#!/bin/sh
# clients.sh make|lock [ENVIRONMENT...]
#	  The virtual environments of the tests of pgvector's clients.
#
#	  make     creates build/.venv-clients-ENVIRONMENT from its lock, where it
#	           is missing or was made from another lock; prints its interpreter
#	  lock     writes the locks anew: the latest versions that the .in files
#	           allow, every package and its hashes, for all Pythons from 3.11
#
# Environments: adapters langchain pipelines; all of them when none is named.
# test/clients/README.md says why there are three.  They lie in the checkout, not
# in the private copy that tests run in, because filling one takes a minute.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
umask 022
top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/common.sh
. "$top/tools/common.sh"
cd "$top"

oldest_python=3.11
locks=test/clients

# lock_of ENVIRONMENT: the path of its lock
lock_of() {
	echo "$locks/requirements-$1.txt"
}

make_environment() {
	lock=$(lock_of "$1")
	venv=$top/build/.venv-clients-$1
	if ! cmp -s "$lock" "$venv/made-from"; then
		rm -rf "$venv"
		"$python" -m venv "$venv"
		"$venv/bin/pip" install --quiet --disable-pip-version-check \
			--require-hashes --no-deps --requirement "$lock" >&2 ||
			die "could not install the clients of $lock"
		"$venv/bin/pip" check --disable-pip-version-check >&2 ||
			die "the packages of $lock do not fit together"
		# The last step: what is interrupted before it is made again.
		cp "$lock" "$venv/made-from"
	fi
	say "$venv/bin/python"
}

lock_environment() {
	UV_CUSTOM_COMPILE_COMMAND="tools/clients.sh lock $1" \
		"$uv" pip compile --quiet --universal --upgrade --generate-hashes \
		--python-version "$oldest_python" --fork-strategy fewest \
		--no-emit-index-url --output-file "$(lock_of "$1")" \
		"$locks/requirements-$1.in"
	say "$(lock_of "$1")"
}

command=${1:?usage: clients.sh make|lock [ENVIRONMENT...]}
shift
[ $# -gt 0 ] || set -- adapters langchain pipelines
for name in "$@"; do
	[ -f "$locks/requirements-$name.in" ] ||
		die "unknown environment \"$name\"; there are: adapters langchain pipelines"
done

find_python || die "no python3 with pytest, setuptools, venv and wheel"
mkdir -p build
case $command in
	make)
		"$python" -c "import sys; sys.exit(sys.version_info < (${oldest_python%.*}, ${oldest_python#*.}))" ||
			die "the clients are locked for Python $oldest_python and later; set PYTHON"
		# Two runs of the suite may want the same environment at once.
		if command -v flock >/dev/null 2>&1; then
			exec 9>build/.clients-lock
			flock 9
		fi
		for name in "$@"; do
			make_environment "$name"
		done
		;;
	lock)
		uv=$(command -v uv || true)
		if [ -z "$uv" ]; then
			[ -x build/.venv-uv/bin/uv ] || {
				"$python" -m venv build/.venv-uv
				build/.venv-uv/bin/pip install --quiet \
					--disable-pip-version-check uv
			}
			uv=build/.venv-uv/bin/uv
		fi
		for name in "$@"; do
			lock_environment "$name"
		done
		;;
	*)
		die "unknown command \"$command\"; there are: make lock"
		;;
esac
