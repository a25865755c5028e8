/* counting.c - callgrind's client requests, and a deterministic environment.
 *
 * Valgrind's header is optional: without it the program builds and counts nothing. Instrumentation
 * is on inside the paths only, so that filling a hub with 100,000 users is quick, and collection
 * only for the operation itself.
 *
 * Counts must differ only when the code does. The key of the hash tables comes from getrandom and
 * the seed of Lua's strings from time, so this file defines both; the linker prefers them to the C
 * library's, also for shared libraries. The clock is defined here, too: no timer is due by itself,
 * and reads of the clock are counted separately, because they are no system call outside of
 * valgrind. */
#include "counting.h"

#include <event2/event.h>
#include <gnu/libc-version.h>
#include <lua.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#define CALLGRIND_TOGGLE_COLLECT
#define CALLGRIND_DUMP_STATS_AT(name)
#endif

#ifdef __clang__
#define COMPILER "" /* __VERSION__ names clang */
#else
#define COMPILER "gcc "
#endif

#define WARM_UP_SHARE 8 /* of the rounds */

/* --- the same environment in each run --- */

static uint64_t now_ms = 1750000000000;
static unsigned long clock_reads;

int clock_gettime(clockid_t clock, struct timespec *t) {
    clock_reads++;
    *t = (struct timespec){(time_t)(now_ms / 1000), (long)(now_ms % 1000) * 1000000};
    return 0;
}

time_t time(time_t *t) {
    time_t now = (time_t)(now_ms / 1000);
    if (t)
        *t = now;
    return now;
}

static void fill(void *p, size_t n) {
    static uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((unsigned char *)p)[i] = (unsigned char)(state >> 32);
    }
}

ssize_t getrandom(void *p, size_t n, unsigned flags) {
    fill(p, n);
    return (ssize_t)n;
}

int getentropy(void *p, size_t n) {
    fill(p, n);
    return 0;
}

void counting_pass_ms(uint64_t ms) {
    now_ms += ms;
}

/* --- paths --- */

void counting_must(bool is_so, const char *what) {
    if (is_so)
        return;
    fflush(stdout);
    fprintf(stderr, "bench: the work was not done: %s\n", what);
    exit(1);
}

static unsigned long go(const struct path *p, void *ud, unsigned rounds) {
    unsigned long reads = 0;
    for (unsigned i = 0; i < rounds; i++) {
        if (p->prepare)
            p->prepare(ud);
        unsigned long before = clock_reads;
        CALLGRIND_TOGGLE_COLLECT;
        p->run(ud);
        CALLGRIND_TOGGLE_COLLECT;
        reads += clock_reads - before;
    }
    return reads;
}

void counting_path(const struct path *p, void *ud) {
    go(p, ud, p->rounds / WARM_UP_SHARE + 1);
    CALLGRIND_START_INSTRUMENTATION;
    unsigned long reads = go(p, ud, p->rounds);
    CALLGRIND_STOP_INSTRUMENTATION;
    CALLGRIND_DUMP_STATS_AT(p->name);
    printf("path\t%s\t%u\t%u\t%lu\n", p->name, p->rounds, p->per_round, reads);
    fflush(stdout);
}

static void do_nothing(void *ud) {}

void counting_nothing(void) {
    static const struct path nothing = {
        .name = "nothing", .rounds = 1000, .per_round = 1, .run = do_nothing};
    counting_path(&nothing, NULL);
}

void counting_print_machine(void) {
    printf("machine\tcompiler\t%s%s\n", COMPILER, __VERSION__);
    printf("machine\tbuild\t%s\n", BELLHOP_BUILD);
    printf("machine\tglibc\t%s\n", gnu_get_libc_version());
    printf("machine\tlibevent\t%s\n", event_get_version());
    printf("machine\tlua\t%s.%s\n", LUA_VERSION_MAJOR "." LUA_VERSION_MINOR, LUA_VERSION_RELEASE);
    printf("machine\topenssl\t%s\n", OpenSSL_version(OPENSSL_VERSION_STRING));
#ifdef __x86_64__
    __builtin_cpu_init();
    printf("machine\tcpu\tx86-64%s%s\n", __builtin_cpu_supports("avx2") ? " avx2" : "",
           __builtin_cpu_supports("aes") ? " aes" : "");
#else
    printf("machine\tcpu\tanother one\n");
#endif
    fflush(stdout);
}
