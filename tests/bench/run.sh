#!/usr/bin/env bash
# The benchmarks, from a bare Debian 12: packages, an optimised build, then each in turn. They print
# figures, which are true of this machine and of a quiet one only; nothing here judges them, but for
# the counts, which no other load disturbs. The status is not 0 when a benchmark finds that the work
# it measured was not done.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/bench/run.sh [NAME [ARGUMENT...]]

  without a name, all of them with their defaults; else the one of that name, for example
  tracker [CONNECTIONS]    registering, coming and going, heartbeat, lookups and crash clean-up
                           over Redis
  script [CONNECTIONS]     hooks that answer, wait, filter; JSON; a reload with so many open
  counts [--record]        instructions of the hot paths under callgrind, against those recorded;
                           status 1 when one takes more
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/tests/support/packages.sh"
cd "$root"

work=

finish() {
    allow_services || true
    [ -z "$work" ] || rm -rf "$work"
}

build() {
    say "building with the bench preset"
    if ! { cmake --preset bench && cmake --build --preset bench; } \
        >"$work/build.log" 2>&1 </dev/null; then
        tail -n 200 "$work/build.log"
        fail "the build failed"
    fi
}

run_bench() { # name argument...
    local name=$1
    shift
    say "$name"
    "build/bench/tests/bench/bench_$name" "$@" </dev/null
}

run_counts() { # argument...
    say "counts"
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
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d)
forbid_services
install_packages "${build_packages[@]}" libcmocka-dev redis-server:redis-server \
    valgrind:valgrind lua5.4:lua5.4
allow_services
build
mapfile -t names <build/bench/tests/bench/benches
if [ $# -eq 0 ]; then
    for name in "${names[@]}"; do run_bench "$name"; done
    run_counts
    exit
fi
if [ "$1" = counts ]; then
    run_counts "${@:2}"
    exit
fi
[[ " ${names[*]} " == *" $1 "* ]] || fail "no benchmark $1; there is: ${names[*]} counts"
run_bench "$@"
