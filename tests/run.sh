#!/bin/bash
# SPDX-License-Identifier: MIT
# Everything that is tested, called by `make test`: release and sanitizer builds, unit tests and end-to-end tests on the
# sanitizer build, short fuzzing, lint. Prints each part's result and ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1
make="make --no-print-directory -j$(nproc)"
python=${PYTHON:-/usr/bin/python3}
out=build/test
passed=0
failed=0
failures=()
mkdir -p "$out"

# part NAME COMMAND...: one thing that passes or fails as a whole.
part() {
	local name=$1 start=$SECONDS
	shift
	if "$@" >"$out/$name.log" 2>&1; then
		passed=$((passed + 1))
		printf '  ok    %-32s %4ds\n' "$name" $((SECONDS - start))
		return 0
	fi
	failed=$((failed + 1))
	failures+=("$name")
	printf '  FAIL  %-32s %4ds   (%s)\n' "$name" $((SECONDS - start)) "$out/$name.log"
	tail -n 40 "$out/$name.log" | sed 's/^/        /'
	return 1
}

# beside NAME COMMAND...: begins what only computes, with the lowest priority, while tests wait; `finished NAME` is its end.
beside() {
	local name=$1
	shift
	rm -f "$out/$name.code"
	{
		nice -n 19 "$@" >"$out/$name.beside" 2>&1
		echo $? >"$out/$name.code"
	} &
}

finished() {
	while [ ! -s "$out/$1.code" ]; do sleep 0.5; done
	cat "$out/$1.beside"
	return "$(cat "$out/$1.code")"
}

# unit BINARY: counts the single tests that cmocka reports. What fails is tried twice more, and named.
unit() {
	local name log p f try
	name=$(basename "$1")
	log=$out/$name.log
	for try in first second third; do
		"$1" >"$log" 2>&1
		local rc=$?
		p=$(grep -cE '^\[ +OK +\]' "$log")
		f=$(grep -cE '^\[ +FAILED +\] [a-z_0-9]+$' "$log")
		[ $rc -eq 0 ] || [ "$f" -gt 0 ] || f=1
		[ "$f" -gt 0 ] || break
		echo "        $try try: $name, exit code $rc:" "$(grep -E '^\[ +FAILED +\] [a-z_0-9]+$' "$log" | sed 's/.*] //' | xargs)"
	done
	passed=$((passed + p))
	failed=$((failed + f))
	if [ "$f" -gt 0 ]; then
		failures+=("$name")
		printf '  FAIL  %-32s %d passed, %d failed\n' "$name" "$p" "$f"
		grep -vE '^\[ +(RUN|OK) +\]' "$log" | tail -n 40 | sed 's/^/        /'
	else
		printf '  ok    %-32s %d\n' "$name" "$p"
	fi
}

# What pytest's report counts: "tests failures".
counts() {
	$python - "$1" <<-'EOF'
	import sys, xml.etree.ElementTree as tree
	suites = list(tree.parse(sys.argv[1]).getroot().iter("testsuite"))
	print(sum(int(s.get("tests")) for s in suites), sum(int(s.get("failures")) + int(s.get("errors")) for s in suites))
	EOF
}

# end_to_end NAME TITLE WHAT...: pytest, counted by its own report, some files at a time, for tests wait more than they
# compute. Machines that stall for a second fail tests that wait for one: what failed is tried up to twice more, one test
# after another, and named.
end_to_end() {
	local name=$1 title=$2 start=$SECONDS tests=0 bad=1 again try
	local log=$out/$name.log
	local pytest=("$python" -m pytest -q -o "cache_dir=$PWD/$out/$name-cache" "${@:3}")
	rm -f "$out/$name"*.xml
	rm -rf "$out/$name-cache"
	"${pytest[@]}" -n "${TEST_PROCESSES:-4}" --dist loadfile --junitxml="$out/$name.xml" >"$log" 2>&1
	[ ! -s "$out/$name.xml" ] || read -r tests bad < <(counts "$out/$name.xml")
	for try in second third; do
		# As many as that are no accident.
		if [ "$tests" -eq 0 ] || [ "$bad" -eq 0 ] || [ "$bad" -ge 20 ]; then break; fi
		grep -E '^(FAILED|ERROR) ' "$log" | cut -c-180 | sed 's/^/        failed: /'
		"${pytest[@]}" --lf --junitxml="$out/$name-$try.xml" >"$out/$name-$try.log" 2>&1
		[ -s "$out/$name-$try.xml" ] || break
		read -r again bad < <(counts "$out/$name-$try.xml")
		echo "        $try try, one after another: $((again - bad)) of $again passed"
		log=$out/$name-$try.log
	done
	passed=$((passed + tests - bad))
	failed=$((failed + bad))
	printf '  %-5s %-32s %d passed, %d failed, %ds\n' "$([ "$bad" -eq 0 ] && echo ok || echo FAIL)" "$title" \
		$((tests > bad ? tests - bad : 0)) "$bad" $((SECONDS - start))
	if [ "$bad" -gt 0 ]; then
		failures+=("$name")
		tail -n 150 "$log"
	fi
}

# Two minutes of chaos; once more if all that went wrong is that something took too long, which a machine that stalls can
# do. What must never happen (a lost or doubled event, a step paid twice, a report of a sanitizer) fails at once.
chaos() {
	local log=$out/chaos-first.log
	local pytest=("$python" -m pytest -q -s -o "cache_dir=$PWD/$out/pytest-cache" tests/chaos/test_nodes.py)
	"${pytest[@]}" >"$log" 2>&1 && { cat "$log"; return 0; }
	cat "$log"
	grep -qE '^E +(Failed: .*: not reached in|.*TimeoutError|.*no node takes a debate)' "$log" || return 1
	grep -qE '^E +AssertionError|Sanitizer|runtime error:|BUG: ' "$log" && return 1
	{ grep -E '^CHAOS_SEED' "$log"; grep -E '^E  ' "$log" | head -n 3; } | sed 's/^/        first try: /' >&3
	"${pytest[@]}"
}

exec 3>&1
echo "Building"
part build-release $make MODE=release build/aragorad
part build-sanitizers $make MODE=asan build/asan/aragorad || { echo "$passed passed, $failed failed"; exit 1; }
echo "Unit tests (AddressSanitizer, UndefinedBehaviorSanitizer)"
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=0:detect_stack_use_after_return=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
part build-unit-tests $make MODE=asan unit-build
for t in build/asan/tests/unit/*_test; do
	[ -x "$t" ] && unit "$t"
done
part eval nice -n 10 $make MODE=release eval ARGS=quick
beside lint bash tests/lint.sh quick
beside fuzz-build bash tests/fuzz/run.sh build
echo "End-to-end tests"
end_to_end integration "end-to-end tests" tests/integration
# What stores, once more with the data in PostgreSQL; of the deaths at every point one moment, and nothing that is about
# slow readers alone.
ARAGORA_TEST_STORE=postgres end_to_end postgres "end-to-end tests, PostgreSQL" \
	tests/integration/test_{api,clients,debates,deliveries,durability,reload,stream}.py \
	-k "(not (kill_at_point or every_point) or critique) and not (firehose_forgets or resumes_from_every or slow_reader \
	or signals_under_load)"
echo "Two nodes, two minutes of everything that can happen"
part chaos chaos
echo "Fuzzing"
part fuzz-build finished fuzz-build
part fuzz bash tests/fuzz/run.sh "${FUZZ_SECONDS:-5}"
echo "Lint"
part lint finished lint

[ ${#failures[@]} -eq 0 ] || echo "Failed: ${failures[*]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
