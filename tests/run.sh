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

# unit BINARY: counts the single tests that cmocka reports.
unit() {
	local name log p f
	name=$(basename "$1")
	log=$out/$name.log
	"$1" >"$log" 2>&1
	local rc=$?
	p=$(grep -cE '^\[ +OK +\]' "$log")
	f=$(grep -cE '^\[ +FAILED +\] [a-z_0-9]+$' "$log")
	[ $rc -eq 0 ] || [ "$f" -gt 0 ] || f=1
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

# end_to_end: pytest, counted by its own report.
end_to_end() {
	local xml=$out/integration.xml log=$out/integration.log start=$SECONDS tests bad
	rm -f "$xml"
	$python -m pytest -q -p no:cacheprovider --junitxml="$xml" tests/integration >"$log" 2>&1
	local rc=$?
	if [ ! -s "$xml" ]; then
		failed=$((failed + 1)); failures+=(integration); tail -n 40 "$log"
		return
	fi
	tests=$(grep -oE '<testsuite [^>]*' "$xml" | grep -oE ' tests="[0-9]+' | grep -oE '[0-9]+')
	bad=$(grep -oE '<testsuite [^>]*' "$xml" | grep -oE ' (failures|errors)="[0-9]+' | grep -oE '[0-9]+' | paste -sd+)
	bad=$((${bad:-0}))
	[ $rc -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	passed=$((passed + tests - bad))
	failed=$((failed + bad))
	printf '  %-5s %-32s %d passed, %d failed, %ds\n' "$([ $bad -eq 0 ] && echo ok || echo FAIL)" "end-to-end tests" $((tests - bad)) "$bad" $((SECONDS - start))
	if [ "$bad" -gt 0 ]; then
		failures+=(integration)
		tail -n 150 "$log"
	fi
}

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
echo "End-to-end tests"
end_to_end
echo "Fuzzing"
part fuzz bash tests/fuzz/run.sh "${FUZZ_SECONDS:-10}"
echo "Lint"
part lint bash tests/lint.sh

[ ${#failures[@]} -eq 0 ] || echo "Failed: ${failures[*]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
