#!/usr/bin/env bash
# The benchmarks, from a bare Debian 12: installs packages, makes an optimised build, and runs each
# benchmark. Times are valid for this machine and only while it is idle, so they are printed and not
# judged; instruction counts are judged, because other load does not change them. The status is not 0
# when a benchmark finds that the work it measured was not done. README.md explains the rest.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/bench/run.sh [NAME [ARGUMENT...]]

  Without NAME all benchmarks run with their defaults.

  compare [OPTION...]      bellhop next to nchan, Node, NATS, Centrifugo, uWebSockets and a raw epoll
                           echo: about half an hour
      --runs N             of each (default 5)
      --only A,B           of echo-16, echo-1, fanout, users, idle, idle-tls, burst
      --peers A,B          of bellhop, bellhop-c, raw, uws, nchan, node, nats, centrifugo
      --quick              one run, fewer connections, one second each: to check that all works
      --csv FILE           one row for each run (default build/bench/results/compare.csv)
      --svg FILE           bar charts (default build/bench/results/compare.svg)
  scale [OPTION...]        more connections, workers, users, instances, masters of a Redis Cluster: about
                           five minutes
      --runs N             of each (default 3)
      --only A,B           of idle (connections: memory, heartbeats, a broadcast to all), workers,
                           users, instances, cluster
      --quick              one run, fewer connections, one or two seconds each
      --csv FILE           one row for each run (default build/bench/results/scale.csv)
  fairness [OPTION...]     honest clients beside attackers: about five minutes
      --runs N             of each (default 3)
      --only A,B           of messages, requests, metrics, inflating, json, keys, handshakes
      --quick              one run, one second each
      --csv FILE           one row for each run (default build/bench/results/fairness.csv)
  recovery [OPTION...]     10,000 clients come back to a topic with history, and each to its own, over
                           format=json and SSE: about two minutes
      --runs N             of each (default 3)
      --only A,B           of alone, json-one, sse-one, json-one-90, sse-one-90, json-own, sse-own
      --quick              one run, 1,000 clients
      --csv FILE           one row for each run (default build/bench/results/recovery.csv)
  durable [OPTION...]      messages with history, beside the strategy redis and Centrifugo with and without
                           history, on one and three instances: about five minutes
      --runs N             of each (default 3)
      --only A,B           of rate, latency
      --quick              one run of a second
      --csv FILE           one row for each run (default build/bench/results/durable.csv)
  tracker [CONNECTIONS]    presence over Redis: register, open and close, heartbeat, lookups, clean-up
                           after a crash
      --parts              16 parts beside one tracker, 1,000,000 connections: three minutes
  script [CONNECTIONS]     hooks that reply, wait, filter; JSON; a reload with CONNECTIONS open
  history [OPTION...]      what an append to a stream costs Redis, beside a script of Centrifugo's shape, and
                           the memory of small streams: a minute
      --runs N             of each (default 5)
      --appends N          of each run, of which the second half is measured (default 50000)
      --channels N         streams (default 200)
      --only A,B           of plain, no id, id, "id, collapse", "id, EVAL"
  counts [--record]        instructions of the hot paths under callgrind, compared with a baseline;
                           status 1 if one takes more

environment: UWEBSOCKETS   the source of uWebSockets with uSockets in it, to compare with it
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/tests/support/packages.sh"
. "$root/tests/bench/peers/build.sh"
cd "$root"

# Each benchmark and the function that runs it. run_program runs bench_<name> (CMakeLists.txt).
order=(compare scale fairness recovery durable tracker script history counts)
declare -A runner=([compare]=run_compare [scale]=run_lua [fairness]=run_lua [recovery]=run_lua
    [durable]=run_compare [tracker]=run_program
    [script]=run_program [history]=run_history [counts]=run_counts)

work=
lua_pid= # also the process group of the servers and the load generator

finish() {
    stop_lua
    allow_services || true
    [ -z "$work" ] || rm -rf "$work"
}

# --- packages and builds ---

lua_packages=(lua5.4:lua5.4 lua-socket openssl:openssl taskset:util-linux)
# Optional: without them the comparison has fewer peers.
peer_packages=(nginx:nginx-light libnginx-mod-nchan nats-server:nats-server node:nodejs npm:npm)
peer_builders=(g++:g++) # only with UWEBSOCKETS
counts_packages=(valgrind:valgrind lua5.4:lua5.4)

install_all() { # name...
    local wanted=("${build_packages[@]}" libcmocka-dev redis-server:redis-server) peers_wanted=() entry
    [[ ! " $* " =~ " "(compare|scale|fairness|recovery|durable|history)" " ]] || wanted+=("${lua_packages[@]}")
    if [[ " $* " =~ " "(compare|durable)" " ]]; then
        peers_wanted=("${peer_packages[@]}")
        [ -z "${UWEBSOCKETS:-}" ] || peers_wanted+=("${peer_builders[@]}")
    fi
    [[ " $* " != *" counts "* ]] || wanted+=("${counts_packages[@]}")
    forbid_services redis-server:redis-server "${peers_wanted[@]}"
    install_packages "${wanted[@]}"
    for entry in "${peers_wanted[@]}"; do
        (install_packages "$entry") || say "continuing without ${entry##*:}"
    done
    allow_services
}

build() {
    say "building with the bench preset"
    if ! { cmake --preset bench && cmake --build --preset bench; } \
        >"$work/build.log" 2>&1 </dev/null; then
        tail -n 200 "$work/build.log"
        fail "the build failed"
    fi
}

# --- running ---

run_program() { # name argument...
    local name=$1
    shift
    "build/bench/tests/bench/bench_$name" "$@" </dev/null
}

run_compare() { # compare argument...
    build_peers
    run_lua "$@"
}

# In a process group of its own, so that stop_lua ends all of it.
run_lua() { # name argument...
    local status=0 name=$1
    shift
    ulimit -S -n "$(ulimit -H -n)"
    export TMPDIR=$work
    setsid lua5.4 "tests/bench/$name.lua" build/bench "$work" "$@" </dev/null &
    lua_pid=$!
    wait "$lua_pid" || status=$?
    stop_lua
    return "$status"
}

stop_lua() {
    local attempt
    [ -n "$lua_pid" ] || return 0
    kill -TERM -- "-$lua_pid" 2>/dev/null || true
    for ((attempt = 0; attempt < 50; attempt++)); do
        kill -0 -- "-$lua_pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$lua_pid" 2>/dev/null || true
    lua_pid=
}

run_history() { # history argument...
    shift
    lua5.4 tests/bench/history.lua "$@" </dev/null
}

run_counts() { # counts argument...
    shift
    lua5.4 tests/bench/counts.lua "$@" </dev/null
}

case ${1:-} in
-h | --help)
    usage
    exit
    ;;
-*)
    usage >&2
    fail "unknown option $1"
    ;;
esac
if [ $# -gt 0 ]; then
    [ -n "${runner[$1]:-}" ] || fail "unknown benchmark $1; one of: ${order[*]}"
    order=("$1")
    shift
fi
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d)
install_all "${order[@]}"
build
for name in "${order[@]}"; do
    say "$name"
    "${runner[$name]}" "$name" "$@"
done
