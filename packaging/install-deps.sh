#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages that are missing and says which. Usage: install-deps.sh build|test
# Needs root or sudo only when something is missing.
set -eu

build="gcc make pkg-config libc6-dev libevent-dev libnghttp2-dev libssl-dev libjansson-dev libcurl4-openssl-dev libyaml-dev libsqlite3-dev libpq-dev zlib1g-dev libhiredis-dev libbrotli-dev libargon2-dev libcrypt-dev libseccomp-dev libpango1.0-dev fonts-dejavu-core"
test="$build curl jq procps sqlite3 libcmocka-dev clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev mandoc shellcheck nginx haproxy openssl brotli
 python3 python3-pytest python3-pytest-xdist python3-websockets python3-aiohttp python3-requests python3-yaml python3-psutil python3-h2 nghttp2-client python3-cryptography wrk redis-server python3-redis postgresql-15 pgbouncer python3-psycopg2 python3-aiosmtpd python3-jwt poppler-utils"

case "${1:-build}" in
build) wanted=$build ;;
test) wanted=$test ;;
*) echo "usage: $0 build|test" >&2; exit 2 ;;
esac

missing=""
for p in $wanted; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

echo "Installing the Debian packages that are missing:$missing"
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
log=$(mktemp)
if ! { $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	cat "$log" >&2
	echo "The packages could not be installed; install them by hand: apt-get install$missing" >&2
	exit 1
fi
rm -f "$log"
