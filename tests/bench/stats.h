/* stats.h - the cost of one phase of a benchmark, in this process and in Redis, as a row of a
 * table.
 *
 * stats_begin and stats_end enclose a phase. CPU is user plus system time: of this process by
 * getrusage, of Redis by INFO. Scripts are counted by Redis (commandstats and latencystats of
 * EVALSHA and EVAL), without parsing arguments and writing replies. Their times are wall-clock: on
 * a busy machine the longest script includes waiting for the CPU. The CPU of Redis includes the
 * queries of this client and its own housekeeping (about 2 ms per second), so ask little during a
 * phase. Notes are printed below the table. */
#ifndef BELLHOP_BENCH_STATS_H
#define BELLHOP_BENCH_STATS_H

#include "redis_server.h"

#include <sys/resource.h>

struct stats {
    double wall, own, redis; /* ms */
    double calls, usec;      /* of scripts */
    double median, longest;  /* us a script */
    double commands;         /* called by scripts */
    double memory;           /* growth of Redis in bytes */
};

static redisContext *stats_client;
static struct stats stats_before;
static char stats_notes[1024];

/* --- asking Redis --- */

static inline redisReply *stats_ask(const char *format, va_list args) {
    redisReply *r = redisvCommand(stats_client, format, args);
    if (r && r->type != REDIS_REPLY_ERROR)
        return r;
    fflush(stdout);
    fprintf(stderr, "bench: %s: %s\n", format, r ? r->str : stats_client->errstr);
    exit(1);
}

/* The caller frees it. */
static inline redisReply *stats_reply(const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *r = stats_ask(format, args);
    va_end(args);
    return r;
}

/* An integer, or the length of a list. */
static inline long long stats_do(const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *r = stats_ask(format, args);
    va_end(args);
    long long n = r->type == REDIS_REPLY_ARRAY ? (long long)r->elements : r->integer;
    freeReplyObject(r);
    return n;
}

/* A string, or the first one of a list; empty if there is none. */
static inline void stats_text(char *out, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *r = stats_ask(format, args);
    va_end(args);
    const redisReply *s = r->type == REDIS_REPLY_ARRAY && r->elements ? r->element[0] : r;
    snprintf(out, size, "%s", s->str ? s->str : "");
    freeReplyObject(r);
}

/* The clock of Redis. */
static inline double stats_now_ms(void) {
    redisReply *r = stats_reply("TIME");
    assert_true(r->type == REDIS_REPLY_ARRAY && r->elements == 2);
    double now = atof(r->element[0]->str) * 1000 + atof(r->element[1]->str) / 1000;
    freeReplyObject(r);
    return now;
}

/* The number after `field` in the line of INFO that begins with `line`; 0 without such a line. */
static inline double stats_field(const char *info, const char *line, const char *field) {
    const char *at = info;
    size_t n = strlen(line);
    while (at && strncmp(at, line, n) != 0)
        at = (at = strchr(at, '\n')) ? at + 1 : NULL;
    const char *found = at ? strstr(at, field) : NULL;
    return found && found < at + strcspn(at, "\n") ? atof(found + strlen(field)) : 0;
}

/* --- a phase --- */

static inline double stats_own_ms(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

/* All commands except scripts and the queries of this client. */
static inline double stats_commands(const char *info) {
    static const char *const left_out[] = {"eval", "info:", "config|", "hello:", "ping:", "time:"};
    double sum = 0;
    for (const char *at = info; (at = strstr(at, "cmdstat_")); at += strcspn(at, "\n")) {
        bool counts = true;
        for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
            counts = counts && strncmp(at + 8, left_out[i], strlen(left_out[i])) != 0;
        if (counts)
            sum += atof(strchr(at, '=') + 1);
    }
    return sum;
}

static inline void stats_scripts(struct stats *s, const char *info) {
    static const char *const names[] = {"evalsha", "eval"};
    for (size_t i = 0; i < 2; i++) {
        char line[64];
        snprintf(line, sizeof line, "cmdstat_%s:", names[i]);
        s->calls += stats_field(info, line, "calls=");
        s->usec += stats_field(info, line, ",usec=");
        snprintf(line, sizeof line, "latency_percentiles_usec_%s:", names[i]);
        double longest = stats_field(info, line, ",p100=");
        s->longest = longest > s->longest ? longest : s->longest;
        if (i == 0)
            s->median = stats_field(info, line, "p50=");
    }
}

static inline struct stats stats_read(void) {
    redisReply *r = stats_reply("INFO everything");
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct stats s = {.wall = (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6,
                      .own = stats_own_ms(),
                      .redis = 1000 * (stats_field(r->str, "used_cpu_user:", ":") +
                                       stats_field(r->str, "used_cpu_sys:", ":")),
                      .commands = stats_commands(r->str),
                      .memory = stats_field(r->str, "used_memory:", ":")};
    stats_scripts(&s, r->str);
    freeReplyObject(r);
    return s;
}

static inline void stats_begin(void) {
    stats_do("CONFIG RESETSTAT");
    stats_before = stats_read();
}

/* Prints the row of a phase of n operations (0: as many as script calls). */
static inline struct stats stats_end(const char *what, size_t n) {
    struct stats s = stats_read();
    s.wall -= stats_before.wall;
    s.own -= stats_before.own;
    s.redis -= stats_before.redis;
    s.memory -= stats_before.memory;
    double each = n ? (double)n : s.calls > 0 ? s.calls : 1;
    printf("%-24s %8.0f %9.0f %8.0f %8.0f %8.2f %8.2f %8.0f %8.2f %9.0f %9.0f\n", what, each,
           s.wall, s.own, s.redis, s.own * 1000 / each, s.redis * 1000 / each, s.calls,
           s.usec / each, s.median, s.longest);
    fflush(stdout);
    return s;
}

/* --- the table --- */

static inline void stats_head(void) {
    printf("%-24s %8s %9s %8s %8s %8s %8s %8s %8s %9s %9s\n", "", "", "wall", "own CPU", "Redis",
           "own CPU", "Redis", "script", "scripts", "script", "longest");
    printf("%-24s %8s %9s %8s %8s %8s %8s %8s %8s %9s %9s\n", "what", "n", "ms", "ms", "CPU ms",
           "us/n", "CPU us/n", "calls", "us/n", "median us", "us");
}

__attribute__((format(printf, 1, 2))) static inline void stats_note(const char *format, ...) {
    size_t len = strlen(stats_notes);
    va_list args;
    va_start(args, format);
    vsnprintf(stats_notes + len, sizeof stats_notes - len, format, args);
    va_end(args);
    len = strlen(stats_notes);
    snprintf(stats_notes + len, sizeof stats_notes - len, "\n");
}

static inline void stats_machine(void) {
    char line[256], model[128] = "unknown", version[64] = "";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "model name : %127[^\n]", model) == 1)
            break;
    if (file)
        fclose(file);
    redisReply *r = stats_reply("INFO server");
    const char *at = strstr(r->str, "redis_version:");
    if (at)
        sscanf(at, "redis_version:%63s", version);
    freeReplyObject(r);
    printf("machine: %ld cores, %s; Redis %s\n", sysconf(_SC_NPROCESSORS_ONLN), model, version);
}

/* Needs Redis 7: older ones have no latencystats. */
static inline void stats_open(const struct test_redis *server) {
    stats_client = test_redis_client(server);
    stats_do("CONFIG SET latency-tracking-info-percentiles %s", "50 100");
    stats_machine();
}

static inline void stats_close(void) {
    printf("\n%s", stats_notes);
    redisFree(stats_client);
}

#endif
