# shellcheck shell=bash
# Fuzzing with libFuzzer: installs its runtime and runs every target for its share of the time.
# Sourced by tests/run.sh, whose `work`, `passed` and `failed` it uses; it only defines names.

can_fuzz() {
    printf 'int LLVMFuzzerTestOneInput(const void *p, long n) { return 0; }\n' |
        clang -x c -fsanitize=fuzzer,address -o "$work/probe" - >/dev/null 2>&1
}

# Each version of clang has its own package, and clang need not be Debian's default one.
install_fuzzer_runtime() {
    can_fuzz && return
    local major
    major=$(clang -dumpversion | cut -d. -f1)
    install_packages "libclang-rt-$major-dev"
    can_fuzz || fail "clang $major comes without libFuzzer; on Debian: apt-get install libclang-rt-$major-dev"
}

# name max_len seconds: runs in the background. New inputs stay in the work folder; crashing ones go
# to the artifacts.
start_fuzzing() {
    mkdir -p "$work/fuzz/$1"
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:quarantine_size_mb=64 \
        timeout --kill-after=10 $(($3 + 120)) "build/fuzz/tests/fuzz/fuzz_$1" \
        -max_total_time="$3" -timeout=10 -rss_limit_mb=1024 -max_len="$2" -print_final_stats=1 \
        -artifact_prefix="build/fuzz/artifacts/$1-" "$work/fuzz/$1" "tests/fuzz/corpus/$1" \
        >"$work/fuzz/$1.log" 2>&1 </dev/null &
    fuzzing+=("$1:$!")
}

finish_fuzzing() { # name:pid
    local name=${1%%:*} status=0 log runs
    log=$work/fuzz/$name.log
    wait "${1##*:}" || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$status" -eq 0 ] && [ "${runs:-0}" -gt 0 ]; then
        passed=$((passed + 1))
        say "fuzz/$name: $runs runs"
        return
    fi
    failed=$((failed + 1))
    tail -n 60 "$log"
    say "fuzz/$name: failed with status $status; the input: $(
        sed -n 's/.*Test unit written to //p' "$log" | tail -n 1 | grep . || echo none was saved)"
}

# Two targets at a time.
run_fuzz() { # seconds in all
    local list=build/fuzz/tests/fuzz/targets targets each at i
    mapfile -t targets <"$list"
    each=$(($1 / ((${#targets[@]} + 1) / 2)))
    [ "$each" -ge 1 ] || each=1
    say "fuzzing ${#targets[@]} targets, ${each} s each"
    mkdir -p build/fuzz/artifacts
    for ((at = 0; at < ${#targets[@]}; at += 2)); do
        for ((i = at; i < at + 2 && i < ${#targets[@]}; i++)); do
            start_fuzzing "${targets[i]% *}" "${targets[i]##* }" "$each"
        done
        for i in "${fuzzing[@]}"; do
            finish_fuzzing "$i"
        done
        fuzzing=()
    done
}

stop_fuzzing() {
    local entry
    for entry in "${fuzzing[@]}"; do
        kill "${entry##*:}" 2>/dev/null || true
        wait "${entry##*:}" 2>/dev/null || true
    done
}

fuzzing=() # name:pid of those that run
