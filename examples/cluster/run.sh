#!/bin/bash
# bellhop on a Redis Cluster, to try it: starts three Redis and an instance, listens as user 42, publishes with SPUBLISH
# and FCALL, prints what arrived, and stops everything.
#
#     ./examples/cluster/run.sh              (BASE_PORT=7000 LISTEN=127.0.0.1:8080 are the defaults)
set -euo pipefail

here=$(dirname "$0")
export BASE_PORT=${BASE_PORT:-7000}
export REDIS_PORT=$BASE_PORT
listen=${LISTEN:-127.0.0.1:8080}
bellhop=${BELLHOP:-bellhop}
folder=$(mktemp -d)
jobs=()

stop() {
    trap - EXIT
    [ ${#jobs[@]} -eq 0 ] || kill "${jobs[@]}" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 1' INT TERM

until_true() { # what, command...: at most 20 s
    local what=$1
    shift
    for _ in $(seq 200); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "not within 20 s: $what" >&2
    tail -n 20 "$folder"/*.log >&2
    exit 1
}

"$here/cluster.sh" >"$folder/cluster.log" 2>&1 &
jobs+=($!)
until_true "the cluster is ready" grep "is ready" "$folder/cluster.log"

BELLHOP_HISTORY_RULES='[{"topic":"user:*"}]' "$bellhop" serve --dev --listen "$listen" \
    --redis "redis+cluster://127.0.0.1:$BASE_PORT,127.0.0.1:$((BASE_PORT + 1))" >"$folder/bellhop.log" 2>&1 &
jobs+=($!)
until_true "bellhop is ready" curl --fail "http://$listen/readyz"

curl --silent --no-buffer "http://$listen/sse?user=42&topic=news" >"$folder/events.txt" &
jobs+=($!)
until_true "the client is connected" test -s "$folder/events.txt"

echo "published:"
"$here/publish.sh"

both_arrived() { [ "$(grep -c '^data: {' "$folder/events.txt")" -ge 2 ]; }
until_true "both messages arrive" both_arrived
echo "arrived:"
grep '^data: {' "$folder/events.txt"
