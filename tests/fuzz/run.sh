#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds every fuzz target with libFuzzer and the sanitizers and runs each for SECONDS on its corpus and on what earlier
# runs have found (kept under build/fuzz). FUZZ_TARGETS names those to run.
# With "merge" in place of SECONDS each corpus is replaced by the smallest set of files with the same coverage; with
# "build" nothing is run.
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=${1:-20}
out=build/fuzz
mkdir -p "$out"
rm -f "$out/failed"

# Coverage is collected from the library's own files, so the whole library is built for fuzzing.
make --no-print-directory -j"$(nproc)" CC=clang-14 MODE=debug BUILD=$out \
	CFLAGS="-O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" $out/libaragora.a || exit 1
libs=$(make --no-print-directory -s print-libs)

build() {
	local made=$out/$1_fuzz
	if [ "$made" -nt "$out/libaragora.a" ] && [ "$made" -nt "tests/fuzz/$1_fuzz.c" ] &&
		[ -z "$(find tests -name '*.h' -newer "$made")" ]; then
		return 0
	fi
	# shellcheck disable=SC2086 # a list of options
	clang-14 -std=c11 -D_GNU_SOURCE -DARAGORA_VERSION='"fuzz"' -I. -g -O1 -fsanitize=fuzzer,address,undefined \
		"tests/fuzz/$1_fuzz.c" $out/libaragora.a $libs -o "$out/$1_fuzz"
}

# Edges of the corpus alone, of everything in the end, runs, and new files, as libFuzzer counts them.
report() {
	local log=$out/$1.log
	awk -v name="$1" '
		/INITED/ { for (i = 1; i < NF; i++) if ($i == "cov:") first = $(i + 1) }
		/ cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") last = $(i + 1) }
		/number_of_executed_units/ { runs = $2 }
		/average_exec_per_sec/ { speed = $2 }
		/new_units_added/ { units = $2 }
		END { printf "ok    %-14s %9d runs (%d/s), coverage %d -> %d edges, %d new inputs\n",
			name, runs, speed, first, last, units }' "$log"
}

run() {
	local work=$out/corpus-$1
	mkdir -p "$work"
	if "$out/$1_fuzz" -max_total_time="$seconds" -max_len=65536 -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$out/$1-" "$work" "tests/fuzz/corpus/$1" >"$out/$1.log" 2>&1; then
		report "$1"
	else
		echo "FAIL  $1"
		tail -n 40 "$out/$1.log"
		return 1
	fi
}

# By edges, not by how often each is run, and short files only: the rest weighs much and is found again within minutes.
merge() {
	local old=tests/fuzz/corpus/$1 new=$out/merged-$1
	rm -rf "$new"
	mkdir -p "$new" "$out/corpus-$1"
	"$out/$1_fuzz" -merge=1 -use_counters=0 -timeout=10 -max_len="${FUZZ_MAX_LEN:-1024}" "$new" "$old" "$out/corpus-$1" >"$out/$1.merge.log" 2>&1 || {
		tail -n 20 "$out/$1.merge.log"
		return 1
	}
	echo "$1: $(find "$old" -type f | wc -l) -> $(find "$new" -type f | wc -l) files, $(du -sb "$new" | cut -f1) bytes"
	rm -rf "$old"
	cp -r "$new" "$old"
}

one() {
	build "$1" || { echo "FAIL  $1 does not build"; return 1; }
	if [ "$seconds" = build ]; then
		return 0
	elif [ "$seconds" = merge ]; then
		merge "$1"
	else
		run "$1"
	fi
}

# One on each processor.
for target in ${FUZZ_TARGETS:-$(find tests/fuzz -name '*_fuzz.c' -printf '%f\n' | sort | sed 's/_fuzz.c$//')}; do
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
		wait -n
	done
	{ one "$target" || touch "$out/failed"; } &
done
wait
[ ! -e "$out/failed" ]
