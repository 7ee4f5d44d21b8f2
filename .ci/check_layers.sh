#!/bin/sh
# check_layers.sh
#	  Fails when an #include points against the arrows drawn in src/README.md,
#	  or when a duty that one file has alone is found in another.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
set -eu
cd "$(dirname "$0")/.."
bad=0

# forbid DIR PATTERN: no file under src/DIR may include a path matching PATTERN
forbid() {
	[ -d "src/$1" ] || return 0
	if grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]+[\"<]($2)" \
		--include='*.[ch]' "src/$1"; then
		echo "src/$1 must not include $2" >&2
		bad=1
	fi
}

# only WHO PATTERN WHERE: under src/WHERE, PATTERN is found in files whose
# names match WHO and in no other.  Comments do not count.
only() {
	[ -d "src/$3" ] || return 0
	find "src/$3" -name '*.[ch]' | grep -vE "/($1)\$" | while read -r file; do
		# take comments out, keep the line numbers
		awk '
			{
				line = $0; out = ""
				while (line != "") {
					if (inside) {
						end = index(line, "*/")
						if (!end) { line = ""; break }
						line = substr(line, end + 2); inside = 0
					} else {
						start = index(line, "/*")
						if (!start) { out = out line; line = ""; break }
						out = out substr(line, 1, start - 1)
						line = substr(line, start + 2); inside = 1
					}
				}
				print FILENAME ":" FNR ":" out
			}' "$file"
	done | grep -E ":[0-9]+:.*($2)" >"$found" || return 0
	cat "$found"
	echo "only $1 may use $2" >&2
	bad=1
}

found=$(mktemp)
trap 'rm -f "$found"' EXIT

# Core is plain C11; each part knows only what is to its right:
# graph -> quant -> distance -> base.
forbid core '(postgres|c|fmgr|pg_config)\.h|(access|storage|utils|catalog|port|lib|pg)/'
forbid core/base '(core/)?(distance|quant|graph)/'
forbid core/distance '(core/)?(quant|graph)/'
forbid core/quant '(core/)?graph/'
# The type does not know that indexes exist.
forbid pg/type '(pg/)?am/|core/(quant|graph)/'
# The watcher is a library of its own, and links nothing of the other.
forbid pg/embedded 'core/|pg/'
# An include line shows its layer: no header of ours by its bare name.
own_headers=$(find src -name '*.h' -exec basename {} \; | sed 's/\./\\./' |
	paste -s -d '|' -)
forbid . "($own_headers)\"|\.\.?/"

# One duty, one file.
only 'compat\.h' 'PG_VERSION_NUM' pg
only 'distance_choose\.c' '__builtin_cpu|__get_cpuid|__cpuid|getauxval|_xgetbv|xgetbv' .
only 'prefetch\.h' '__builtin_prefetch' .
only 'page_wal\.c' 'GenericXLog(Start|RegisterBuffer|Finish|Abort)|log_newpage|XLogInsert|XLogBeginInsert' pg
# The verbs of the access method (am_build.c, am_insert.c, am_scan.c, …) leave
# locks and the bytes of a page to the files that keep pages.
page_keepers='(page|page_[a-z]+|store_page|store_page_[a-z]+|meta|stream|overflow|alloc|index|buffer|am_vacuum[a-z_]*)\.[ch]'
only "$page_keepers" '\<(ConditionalLockBuffer|LockBuffer|LockBufferForCleanup) *\(' pg
only "$page_keepers" '\<PageInit *\(|->pd_(lower|upper|special)' pg

# Written as it will stay.
if grep -rnE '\b(TODO|FIXME|XXX)\b' src sql pgvector test bench demo tools python \
	--include='*.[ch]' --include='*.sql' --include='*.sh' --include='*.p[lmy]' \
	--include='*.spec' 2>/dev/null; then
	echo "unfinished work is marked in the sources" >&2
	bad=1
fi

# Every source says what it is and under which licence.
find src pgvector test bench demo tools .ci -name '*.[ch]' -o -name '*.sh' \
	-o -name '*.p[lm]' >"$found"
while read -r file; do
	if ! grep -q 'SPDX-License-Identifier: Apache-2.0 OR MIT' "$file"; then
		echo "$file: no SPDX-License-Identifier line" >&2
		bad=1
	fi
done <"$found"

# A file named like a regress test in sql/ would be run instead of the test.
for file in sql/*.sql; do
	case ${file##*/} in
		'chassis--'*.sql | '*.sql') ;;
		*)
			echo "$file: only chassis--*.sql may be in sql/" >&2
			bad=1
			;;
	esac
done

exit $bad
