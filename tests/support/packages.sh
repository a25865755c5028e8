# shellcheck shell=bash
# Debian packages for building, testing and measuring, and their installation. Sourced by
# examples/quickstart.sh, tests/run.sh and tests/bench/run.sh; it only defines names.
#
# An entry is a package, or `command:package` for a tool that may be installed in another way.

# shellcheck disable=SC2034 # for the scripts that source this
build_packages=(gcc:gcc libc6-dev cmake:cmake ninja:ninja-build liblua5.4-dev libevent-dev
    libhiredis-dev libcurl4-openssl-dev libssl-dev libcjson-dev zlib1g-dev
    curl:curl)
# shellcheck disable=SC2034
test_packages=(libcmocka-dev lua5.4:lua5.4 busted:lua-busted lua-socket lua-sec lua-zlib
    luacheck:lua-check openssl:openssl shellcheck:shellcheck
    clang-format:clang-format redis-server:redis-server libnss-wrapper chromium:chromium)
# shellcheck disable=SC2034 # clang's libFuzzer comes by version: tests/support/fuzz.sh
fuzz_packages=(libcmocka-dev clang:clang llvm-symbolizer:llvm)
# shellcheck disable=SC2034
analyze_packages=(clang:clang clang-tidy:clang-tidy)

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

is_installed() { # entry
    case $1 in
    *:*) command -v "${1%%:*}" >/dev/null ;;
    *) [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

may_install() {
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null || return
    [ -t 0 ] || sudo -n true 2>/dev/null
}

apt_get() { # arguments of apt-get
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

install_packages() { # entry...
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        say "no apt-get: assuming that the libraries are installed (CMake names missing ones)"
        return
    fi
    local entry missing=()
    for entry; do
        is_installed "$entry" || missing+=("${entry##*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    may_install || fail "packages are missing, and installing them needs root or sudo.
Ask for:  apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    apt_get update -qq || say "apt-get update failed; using the existing package lists"
    apt_get install -y -qq --no-install-recommends "${missing[@]}" ||
        fail "apt-get install ${missing[*]} failed"
}

# Debian starts a server when it installs one; the tests start theirs on free ports.
policy_rc=
forbid_services() { # entry...: those that bring a server along
    local entry missing=
    for entry; do
        is_installed "$entry" || missing=yes
    done
    [ -n "$missing" ] || return 0
    may_install && [ ! -e /usr/sbin/policy-rc.d ] && [ -d /usr/sbin ] || return 0
    policy_rc=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy_rc" >/dev/null
    as_root chmod 755 "$policy_rc"
}

allow_services() {
    [ -n "$policy_rc" ] || return 0
    as_root rm -f "$policy_rc"
    policy_rc=
}
