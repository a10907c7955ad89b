#!/bin/bash
# SPDX-License-Identifier: MIT
# Static checks, called by `make lint`. Each prints what it found; the exit status is non-zero if any found something.
# With "quick", as `make test` calls it, without clang's path-sensitive analyzer, which takes some minutes of all cores.
set -u
tidy_checks=$([ "${1:-}" = quick ] && echo "-clang-analyzer-*")
export tidy_checks
cd "$(dirname "$0")/.." || exit 1
status=0
jobs=$(nproc)

check() { # check NAME COMMAND...
	local name=$1 log
	shift
	log=$(mktemp)
	if "$@" >"$log" 2>&1; then
		echo "ok    $name"
	else
		echo "FAIL  $name"
		head -n 60 "$log"
		status=1
	fi
	rm -f "$log"
}

sources() { git ls-files 'common/*.c' 'worker/*.c' 'master/*.c'; }

# Functions of at most 80 lines, files of at most 1200.
lengths() {
	git ls-files '*.c' | xargs awk '
		FNR == 1 { start = 0; if (NR > 1 && n > 1200) { print n " lines: " f; bad = 1 } f = FILENAME }
		{ n = FNR }
		/^{/ { start = FNR }
		/^}/ { if (start && FNR - start > 80) { print FNR - start " line function: " FILENAME ":" start; bad = 1 } start = 0 }
		END { exit bad }'
}

# Each header compiles by itself; each source opens with its licence.
headers() {
	local bad=0 h
	while read -r h; do
		echo "#include \"$h\"" | gcc -std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -fsyntax-only -x c - || bad=1
	done < <(git ls-files 'common/*.h' 'worker/*.h' 'master/*.h')
	return $bad
}

licences() {
	! git ls-files '*.c' '*.h' '*.S' '*.sh' '*.py' Makefile | xargs grep -L 'SPDX-License-Identifier: MIT' | grep .
}

second_compiler() {
	make --no-print-directory -j"$jobs" CC=clang-14 MODE=debug BUILD=build/clang build/clang/libaragora.a
}

# The engine may use the step interface and pure modules: no clock, no chance, no store, no bus. plan.c alone is called
# before a debate begins, and draws its seed.
engine_interface() {
	local forbidden part objects=()
	for part in worker/engine/*.c; do
		[ "$part" = worker/engine/plan.c ] || objects+=("build/release/${part%.c}.o")
	done
	make --no-print-directory MODE=release "${objects[@]}" || return 1
	forbidden=$(nm -u "${objects[@]}" | awk '$1 == "U" {print $2}' |
		grep -E '^(clock_|ids_|db_|bus_|fetch_|stream_|agent_call|log_|metric_|time|rand|random|getenv|fopen|open$|loop_|lane_|co_sleep|co_wait)')
	[ -z "$forbidden" ] || { echo "the engine uses $forbidden"; return 1; }
}

manuals() { mandoc -Tlint -W warning man/*.5 man/*.7 man/*.8; }
shells() { git ls-files '*.sh' .ci/run | xargs shellcheck -S warning; }
# The bug patterns of clang-tidy and the analyzer, see .clang-tidy.
tidy() {
	sources | xargs -P"$jobs" -n6 sh -c 'clang-tidy-14 --quiet --checks="$tidy_checks" "$@" -- -std=c11 -D_GNU_SOURCE -I. "-DARAGORA_VERSION=\"0\"" $(pkg-config --cflags-only-I pangocairo | sed "s/-I/-isystem /g")' sh
}
format() { git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run -Werror; }
# "hack" is a word of questions on security in domain.c.
words() { ! git grep -nwiE 'TODO|FIXME|XXX|HACK' -- '*.c' '*.h' '*.py' '*.sh' Makefile ':!tests/lint.sh' ':!worker/engine/domain.c'; }

check "function and file lengths" lengths
check "headers stand alone" headers
check "licence lines" licences
check "no unfinished marks" words
check "formatting" format
check "clang build" second_compiler
check "engine uses only steps" engine_interface
check "manual pages" manuals
check "shell scripts" shells
check "clang-tidy" tidy
exit $status
