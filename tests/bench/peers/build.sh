# shellcheck shell=bash
# Builds the peers of the comparison that are not Debian packages, in build/bench/peers. Sourced by
# tests/bench/run.sh. A peer that cannot be built leaves <name>.skipped with the reason and is left out
# of the comparison.

peers=build/bench/peers
centrifugo_version=v6.9.1

skip() { # peer reason
    printf '%s\n' "$2" >"$peers/$1.skipped"
}

# Debian's Node, and the two packages at the versions of package.json.
build_node() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        skip node "node or npm is not installed"
        return
    fi
    mkdir -p "$peers/node"
    cp tests/bench/peers/node/*.js* "$peers/node"
    (cd "$peers/node" && npm ci --no-audit --no-fund) >"$work/npm.log" 2>&1 </dev/null && return
    tail -n 5 "$work/npm.log"
    skip node "npm could not install ws and ioredis"
}

build_centrifugo() {
    if [ -x "$peers/centrifugo" ] &&
        go version -m "$peers/centrifugo" 2>/dev/null | grep -qF "$centrifugo_version"; then
        return
    fi
    if ! command -v go >/dev/null; then
        skip centrifugo "go is not installed"
        return
    fi
    say "building Centrifugo $centrifugo_version"
    GOBIN=$PWD/$peers go install "github.com/centrifugal/centrifugo/v6@$centrifugo_version" \
        >"$work/go.log" 2>&1 </dev/null && return
    tail -n 5 "$work/go.log"
    skip centrifugo "go could not build it"
}

# From source, with uSockets in it.
build_uws() {
    local source=${UWEBSOCKETS:-}
    if [ -z "$source" ]; then
        skip uws "UWEBSOCKETS does not name the source of uWebSockets"
        return
    fi
    local include=(-I"$source/src" -I"$source/uSockets/src") optimised=(-O3 -flto=auto -DLIBUS_NO_SSL)
    say "building the uWebSockets server"
    if mkdir -p "$peers/uws-objects" &&
        (cd "$peers/uws-objects" && gcc -std=c11 "${optimised[@]}" "${include[@]}" -c \
            "$source"/uSockets/src/*.c "$source"/uSockets/src/eventing/*.c) &&
        g++ -std=c++20 "${optimised[@]}" -DUWS_NO_ZLIB "${include[@]}" tests/bench/peers/uws.cpp \
            "$peers"/uws-objects/*.o -o "$peers/uws"; then
        return
    fi >"$work/uws.log" 2>&1
    tail -n 5 "$work/uws.log"
    skip uws "it could not be built from $source"
}

build_peers() {
    mkdir -p "$peers"
    rm -f "$peers"/*.skipped
    build_node
    build_centrifugo
    build_uws
}
