#!/bin/bash
# SPDX-License-Identifier: MIT
# `make demo`: starts a server of its own (3 workers, SQLite, temporary folder, free ports), asks it a question, shows
# the debate, verifies the receipt and stops. TASK is the question. Keys in the environment select real models.
set -eu

bin=${1:-build/aragorad}
task=${TASK:-Should a small team build its first product as a monolith or as microservices?}
work=$(mktemp -d "${TMPDIR:-/tmp}/aragora-demo.XXXXXX")
server=""

stop() {
	if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then
		wait "$server" || true
	fi
}
trap stop EXIT
trap 'exit 130' INT TERM

free_port() { # a port nobody listens on
	local p
	while :; do
		p=$((20000 + RANDOM % 20000))
		(exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
	done
}

http=$(free_port)
ws=$(free_port)
url=http://127.0.0.1:$http
cat >"$work/aragora.yml" <<EOF
server: {bind: ["127.0.0.1:$http"], ws_bind: ["127.0.0.1:$ws"], workers: 3}
log: {level: info, format: json, error: "$work/server.log", access: ""}
storage: {data_dir: "$work/data"}
providers: {demo: {delay_ms: ${DEMO_DELAY_MS:-240}}}
EOF
"$bin" -c "$work/aragora.yml" 2>"$work/start.log" &
server=$!
for _ in $(seq 150); do
	curl -sf "$url/readyz" >/dev/null 2>&1 && break
	kill -0 "$server" 2>/dev/null || { cat "$work/start.log" "$work/server.log" >&2; echo "The server did not start." >&2; exit 1; }
	sleep 0.1
done

echo "aragorad is running: 3 workers, SQLite in $work/data, $url"
"$bin" ask --url "$url" --rounds "${ROUNDS:-1}" --receipt "$work/receipt.html" "$task"
stop
server=""
trap - EXIT

cat <<EOF

The server has been stopped. What is left:
  receipt as a page   $work/receipt.html
  database            $work/data/aragora.db
  server log          $work/server.log
How to go on:
  your own question   make demo TASK="..."   (ROUNDS=3 for a longer debate)
  real models         OPENAI_API_KEY=... make demo   (or ANTHROPIC_API_KEY, or OPENAI_BASE_URL for a local server)
  keep it running     build/aragorad -c conf/aragora.yml   then   build/aragorad ask "..."
EOF
