#!/usr/bin/env bash
# All tests, from a bare Debian 12: installs packages, makes a sanitizer build, runs ctest (unit tests
# and lints), then the integration specs with the real binary and a real Redis. The last line of the
# output is always `N passed, N failed`.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/run.sh [--tsan] [--repeat N] [SPEC...]
       tests/run.sh --fuzz SECONDS
       tests/run.sh --analyze

  --tsan           use the thread sanitizer instead of the address and undefined behaviour sanitizers
  --repeat N       run every test N times
  SPEC...          only these integration specs, and no ctest
  --fuzz SECONDS   instead of the tests, run every fuzz target with clang's libFuzzer: about SECONDS
                   in total, split evenly, two targets at a time, each at least one second
  --analyze        instead of the tests, check the sources with clang and clang-tidy (.clang-tidy)

BELLHOP_TEST_REDIS_SERVER=PROGRAM  the server to test with, instead of redis-server
BELLHOP_TEST_REDIS=KIND            only the specs that run on each way to set up Redis, on this one:
                                   single, sentinel, shards or cluster (tests/support/topology.lua)
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/support/packages.sh"
. "$root/tests/support/fuzz.sh"
cd "$root"

mode=tests
preset=asan
repeat=1
fuzz_seconds=
specs=()
passed=0
failed=0
work=
redis_pids=()
redis_ports=()

finish() {
    local status=$? pid
    trap - EXIT
    for pid in "${redis_pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    stop_fuzzing
    allow_services || true
    [ -z "$work" ] || rm -rf "$work"
    # A run that ended early or ran no tests has failed.
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    if [ $((passed + failed)) -eq 0 ]; then failed=1; fi
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] || exit 1
    exit 0
}

parse_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --tsan) preset=tsan ;;
        --repeat)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail "--repeat needs a number"
            repeat=$2
            shift
            ;;
        --fuzz)
            [[ ${2:-} =~ ^[1-9][0-9]{0,6}$ ]] || fail "--fuzz needs a number of seconds"
            mode=fuzz fuzz_seconds=$2
            shift
            ;;
        --analyze) mode=analyze ;;
        -h | --help)
            usage
            trap - EXIT
            exit 0
            ;;
        -*)
            usage >&2
            fail "unknown option $1"
            ;;
        *) specs+=("$1") ;;
        esac
        shift
    done
    [ "$mode" != tests ] || return 0
    [ "$preset$repeat${#specs[@]}" = asan10 ] || fail "--$mode cannot be combined with other options"
    preset=$mode
}

build() {
    say "building with the $preset preset"
    if ! { cmake --preset "$preset" && cmake --build --preset "$preset"; } \
        >"$work/build.log" 2>&1 </dev/null; then
        tail -n 200 "$work/build.log"
        fail "the build failed"
    fi
}

free_port() {
    lua5.4 -e 'local s = assert(require("socket").bind("127.0.0.1", 0)); print((select(2, s:getsockname())))'
}

start_redis() { # number
    local attempt port
    port=$(free_port)
    mkdir -p "$work/redis.$1"
    "${BELLHOP_TEST_REDIS_SERVER:-redis-server}" --port "$port" --bind 127.0.0.1 --save '' --appendonly no \
        --daemonize no --dir "$work/redis.$1" >"$work/redis.log" 2>&1 </dev/null &
    redis_pids+=("$!")
    redis_ports+=("$port")
    for ((attempt = 0; attempt < 100; attempt++)); do
        if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            return
        fi
        kill -0 "${redis_pids[$1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/redis.log"
    fail "the Redis server did not start"
}

count() { # suite passed failed status: adds to the totals; no tests or an early end is a failure
    local suite=$1 good=${2:-0} bad=${3:-0} status=$4
    if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$good" -eq 0 ]; }; then
        say "$suite: ended with status $status after $good tests"
        bad=1
    fi
    passed=$((passed + good))
    failed=$((failed + bad))
    say "$suite: $good passed, $bad failed"
}

run_ctest() {
    local status=0 report=$work/ctest.xml total=0 bad=0 skipped=0
    rm -f "$report"
    say "ctest"
    # Tests over Redis wait most of the time.
    "${wrapper[@]}" ctest --preset "$preset" --no-tests=error -j $((2 * $(nproc))) \
        --output-junit "$report" </dev/null || status=$?
    if [ -s "$report" ]; then
        total=$(attribute tests "$report")
        bad=$(attribute failures "$report")
        skipped=$(($(attribute skipped "$report") + $(attribute disabled "$report")))
    fi
    count ctest $((total - bad - skipped)) "$bad" "$status"
}

attribute() { # name file: an attribute of the testsuite element of a JUnit report
    local value
    value=$(tr '\n\t' '  ' <"$2" | grep -o '<testsuite [^>]*>' | head -n 1 |
        sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p") || true
    printf '%s' "${value:-0}"
}

# Specs of the daemon. The address and thread sanitizers write their reports to files, so that each
# report counts, even if no spec fails. (GCC's undefined behaviour sanitizer always writes to stderr; it
# aborts the daemon.)
# Specs wait most of the time, so those of all files are run in two halves beside each other, each with
# a Redis of its own.
run_half() { # number file...
    local half=$1 status=0
    shift
    export BELLHOP_TEST_REDIS_PORT=${redis_ports[$half]}
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:log_path=$work/sanitizer \
        UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1 \
        TSAN_OPTIONS=${TSAN_OPTIONS:-}:log_path=$work/sanitizer \
        BELLHOP_BIN=$root/build/$preset/src/bellhop \
        "${wrapper[@]}" timeout --kill-after=10 1800 lua5.4 "$(command -v busted)" \
        --lpath="./tests/support/?.lua;./lua/?.lua" --output=plainTerminal "$@" \
        >"$work/busted.$half" 2>&1 </dev/null || status=$?
    return "$status"
}

count_half() { # number status
    local line good=0 bad=0
    cat "$work/busted.$1"
    # "12 successes / 1 failure / 0 errors / 0 pending : 1.5 seconds"; pending specs are neither.
    line=$(grep -aE '^[0-9]+ success(es)? / [0-9]+ failures? / [0-9]+ errors? / ' "$work/busted.$1" | tail -n 1) || true
    if [[ $line =~ ^([0-9]+)\ [a-z]+\ /\ ([0-9]+)\ [a-z]+\ /\ ([0-9]+) ]]; then
        good=${BASH_REMATCH[1]}
        bad=$((BASH_REMATCH[2] + BASH_REMATCH[3]))
    fi
    count "integration $1" "$good" "$bad" "$2"
}

run_integration() {
    local files=("${specs[@]}") halves=(0) i report pids=() status
    local -A half=()
    [ ${#files[@]} -gt 0 ] || { files=(tests/integration/*_spec.lua tests/conformance/*_spec.lua) halves=(0 1); }
    say "integration: ${#files[@]} files"
    for i in "${!files[@]}"; do half[$((i % ${#halves[@]}))]+=" ${files[i]}"; done
    for i in "${halves[@]}"; do
        # shellcheck disable=SC2086 # no name has a space
        run_half "$i" ${half[$i]} &
        pids[i]=$!
    done
    for i in "${halves[@]}"; do
        status=0
        wait "${pids[i]}" || status=$?
        count_half "$i" "$status"
    done
    for report in "$work"/sanitizer.*; do
        [ -s "$report" ] || continue
        say "a sanitizer reported:"
        cat "$report"
        failed=$((failed + 1))
    done
    rm -f "$work"/sanitizer.*
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
parse_options "$@"
work=$(mktemp -d)
if [ "$mode" = analyze ]; then
    install_packages "${build_packages[@]}" "${analyze_packages[@]}"
    build
    count analyze 1 0 0
    exit
fi
if [ "$mode" = fuzz ]; then
    install_packages "${build_packages[@]}" "${fuzz_packages[@]}"
    install_fuzzer_runtime
    build
    run_fuzz "$fuzz_seconds"
    exit
fi
if [ -n "${BELLHOP_TEST_REDIS_SERVER:-}" ]; then
    BELLHOP_TEST_REDIS_SERVER=$(command -v "$BELLHOP_TEST_REDIS_SERVER") ||
        fail "BELLHOP_TEST_REDIS_SERVER=$BELLHOP_TEST_REDIS_SERVER is not a program"
    [ "${BELLHOP_TEST_REDIS_SERVER:0:1}" = / ] || BELLHOP_TEST_REDIS_SERVER=$PWD/$BELLHOP_TEST_REDIS_SERVER
    export BELLHOP_TEST_REDIS_SERVER
    say "Redis: $("$BELLHOP_TEST_REDIS_SERVER" --version)"
fi
forbid_services redis-server:redis-server
install_packages "${build_packages[@]}" "${test_packages[@]}"
allow_services

# The thread sanitizer of GCC 12 cannot map its shadow under the widest address randomisation.
wrapper=(env)
if [ "$preset" = tsan ] && setarch "$(uname -m)" -R true 2>/dev/null; then
    wrapper=(setarch "$(uname -m)" -R)
fi

if [ -n "${BELLHOP_TEST_REDIS:-}" ] && [ ${#specs[@]} -eq 0 ]; then
    mapfile -t specs < <(lua5.4 -e 'package.path = "tests/support/?.lua;" .. package.path
        print(require "topology".files())')
fi
build
start_redis 0
start_redis 1
export BELLHOP_TEST_REDIS_PORT=${redis_ports[0]}
for ((round = 1; round <= repeat; round++)); do
    [ "$repeat" -eq 1 ] || say "round $round of $repeat"
    [ ${#specs[@]} -gt 0 ] || run_ctest
    run_integration
done
