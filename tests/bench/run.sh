#!/bin/bash
# SPDX-License-Identifier: MIT
# `make bench`: figures of the release build on this machine, each beside a peer's of the same run. Nothing is asserted:
# machines are noisy, so read ratios and CPU per operation, not absolute times.
set -eu
cd "$(dirname "$0")/../.."
need=""
for p in nginx-light:nginx wrk:wrk; do
	command -v "${p#*:}" >/dev/null || need="$need ${p%%:*}"
done
# shellcheck disable=SC2086
[ -z "$need" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >/dev/null
/usr/bin/python3 tests/bench/http_bench.py
/usr/bin/python3 tests/bench/tls_bench.py
/usr/bin/python3 tests/bench/debates_bench.py "$@"
