#!/usr/bin/env bash
# From a bare Debian 12 to a running demo: installs what is missing, builds, serves on loopback.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: examples/quickstart.sh [--port N] [--build-only]

Installs the missing Debian packages, builds bellhop (release), and serves the demo on
127.0.0.1 until Ctrl-C. It can be run again at any time, from any directory.

  --port N       the port (default: $BELLHOP_PORT, or 8080)
  --build-only   stop after the build
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/support/packages.sh"

port=${BELLHOP_PORT:-8080}
build_only=
while [ $# -gt 0 ]; do
    case $1 in
    --port)
        [ $# -ge 2 ] || fail "--port needs a number"
        port=$2
        shift
        ;;
    --port=*) port=${1#*=} ;;
    --build-only) build_only=1 ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        usage >&2
        fail "unknown option $1"
        ;;
    esac
    shift
done
if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
    fail "$port is not a port number"
fi

check_port() {
    if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        fail "port $port is in use (something answers on 127.0.0.1:$port).
Stop it, or use another port:  ${BASH_SOURCE[0]} --port $((port == 65535 ? 8080 : port + 1))"
    fi
}

[ -n "$build_only" ] || check_port # before minutes of work, and again after them
install_packages "${build_packages[@]}"

cd "$root" # presets are looked up in the current directory
say "building in $root/build/release"
cmake --preset release </dev/null >/dev/null
cmake --build --preset release </dev/null
bellhop=build/release/src/bellhop
say "built $root/$bellhop"
[ -z "$build_only" ] || exit 0

check_port
url=http://127.0.0.1:$port
cat <<TEXT

    open    $url/
    or run  curl -X POST $url/api/users/42/messages -d 'Hello, 42'

    Ctrl-C stops the server.

TEXT
# The devices of the demo get what they missed.
rules='[{"topic": "user:*"}, {"topic": "topic:news"}]'
export BELLHOP_HISTORY_RULES="${BELLHOP_HISTORY_RULES-$rules}"
exec "$bellhop" serve --dev --listen "127.0.0.1:$port"
