#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds every fuzz target with libFuzzer and the sanitizers and runs each for SECONDS on its corpus.
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=${1:-20}
out=build/fuzz
status=0
mkdir -p "$out"

# Coverage is collected from the library's own files, so the whole library is built for fuzzing.
make --no-print-directory -j"$(nproc)" CC=clang-14 MODE=debug BUILD=$out \
	CFLAGS="-O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" $out/libaragora.a || exit 1
libs=$(pkg-config --libs libevent_core libssl libcrypto jansson libcurl yaml-0.1 sqlite3 zlib)

for target in tests/fuzz/*_fuzz.c; do
	name=$(basename "$target" _fuzz.c)
	clang-14 -std=c11 -D_GNU_SOURCE -DARAGORA_VERSION='"fuzz"' -I. -g -O1 -fsanitize=fuzzer,address,undefined "$target" \
		$out/libaragora.a $libs -lpthread -o "$out/${name}_fuzz" || { status=1; continue; }
	work=$out/corpus-$name
	mkdir -p "$work"
	if ! "$out/${name}_fuzz" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$out/$name-" "$work" "tests/fuzz/corpus/$name" >"$out/$name.log" 2>&1; then
		echo "FAIL  $name"
		tail -n 40 "$out/$name.log"
		status=1
	else
		echo "ok    $name: $(grep -oE 'number_of_executed_units: *[0-9]+' "$out/$name.log" | grep -oE '[0-9]+$') runs"
	fi
done
exit $status
