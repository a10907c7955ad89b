#!/bin/bash
# SPDX-License-Identifier: MIT
# `make bench`: figures of the release build on this machine, each beside a peer's of the same run. Nothing is asserted:
# machines are noisy, so read ratios and CPU per operation, not absolute times. Arguments select (see table.py).
set -eu
cd "$(dirname "$0")/../.."
need=""
for p in nginx:/usr/sbin/nginx wrk:/usr/bin/wrk openssl:/usr/bin/openssl nghttp2-client:/usr/bin/h2load \
	libnginx-mod-nchan:/usr/lib/nginx/modules/ngx_nchan_module.so postgresql-15:/usr/lib/postgresql/15/bin/postgres \
	python3-psycopg2:/usr/lib/python3/dist-packages/psycopg2 redis-server:/usr/bin/redis-server \
	python3-redis:/usr/lib/python3/dist-packages/redis python3-websockets:/usr/lib/python3/dist-packages/websockets \
	python3-requests:/usr/lib/python3/dist-packages/requests python3-psutil:/usr/lib/python3/dist-packages/psutil \
	python3-yaml:/usr/lib/python3/dist-packages/yaml python3-pytest:/usr/lib/python3/dist-packages/pytest; do
	[ -e "${p#*:}" ] || need="$need ${p%%:*}"
done
if [ -n "$need" ]; then
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >/dev/null
fi
exec /usr/bin/python3 tests/bench/table.py "$@"
