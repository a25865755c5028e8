/* process_stats.c - CPU time and memory from /proc. The process tree is read each time, since
 * servers fork during their start. The total time is from schedstat, in nanoseconds; the split into
 * user and system time is only known in ticks, and only its proportion is used. */
#include "process_stats.h"

#include "output.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAMILY_MAX 1024

struct family {
    pid_t pids[FAMILY_MAX];
    size_t count;
};

static bool includes(const struct family *f, pid_t pid) {
    for (size_t i = 0; i < f->count; i++)
        if (f->pids[i] == pid)
            return true;
    return false;
}

static void include(struct family *f, pid_t pid) {
    if (f->count < FAMILY_MAX && !includes(f, pid))
        f->pids[f->count++] = pid;
}

/* The part of a `stat` file after the name, which may contain anything. */
static bool read_stat(const char *path, char *line, size_t size, const char **rest) {
    FILE *file = fopen(path, "r");
    bool ok = file && fgets(line, (int)size, file);
    if (file)
        fclose(file);
    const char *end = ok ? strrchr(line, ')') : NULL;
    *rest = end ? end + 1 : NULL;
    return end != NULL;
}

static pid_t parent_of(pid_t pid) {
    char path[64], line[1024], state;
    const char *rest;
    pid_t parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_stat(path, line, sizeof line, &rest) || sscanf(rest, " %c %d", &state, &parent) != 2)
        return 0;
    return parent;
}

/* Calls fn for each entry of the directory whose name is a number. */
static void each_number(const char *path, void (*fn)(void *ud, pid_t number), void *ud) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (atoi(entry->d_name) > 0)
            fn(ud, (pid_t)atoi(entry->d_name));
    if (dir)
        closedir(dir);
}

static void include_child(void *ud, pid_t pid) {
    struct family *f = ud;
    if (includes(f, parent_of(pid)))
        include(f, pid);
}

static void find_family(struct family *f, const pid_t *roots, size_t count) {
    size_t before;
    f->count = 0;
    for (size_t i = 0; i < count; i++)
        include(f, roots[i]);
    do {
        before = f->count;
        each_number("/proc", include_child, f);
    } while (f->count != before);
}

/* --- CPU --- */

struct threads {
    pid_t pid;
    uint64_t ns;
};

static void add_thread(void *ud, pid_t thread) {
    struct threads *t = ud;
    char path[96];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", (int)t->pid, (int)thread);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%llu", &ns) == 1)
        t->ns += ns;
    if (file)
        fclose(file);
}

static bool add_ticks(struct process_cpu *cpu, pid_t pid) {
    char path[64], line[1024];
    const char *rest;
    unsigned long long user, system;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_stat(path, line, sizeof line, &rest) ||
        sscanf(rest, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
        return false;
    cpu->user += user;
    cpu->system += system;
    return true;
}

struct process_cpu process_stats_cpu(const pid_t *roots, size_t count, size_t *found) {
    struct process_cpu cpu = {0};
    struct family family;
    size_t n = 0;
    find_family(&family, roots, count);
    for (size_t i = 0; i < family.count; i++) {
        char path[64];
        struct threads threads = {.pid = family.pids[i]};
        snprintf(path, sizeof path, "/proc/%d/task", (int)family.pids[i]);
        each_number(path, add_thread, &threads);
        cpu.total_ns += threads.ns;
        n += add_ticks(&cpu, family.pids[i]);
    }
    if (found)
        *found = n;
    return cpu;
}

/* --- memory --- */

static bool add_rollup(struct process_memory *m, pid_t pid) {
    char path[64], line[256];
    unsigned long long kib;
    bool any = false;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "Pss: %llu", &kib) == 1)
            m->pss_kib += kib, any = true;
        else if (sscanf(line, "Rss: %llu", &kib) == 1)
            m->rss_kib += kib;
        else if (sscanf(line, "Private_Clean: %llu", &kib) == 1 ||
                 sscanf(line, "Private_Dirty: %llu", &kib) == 1)
            m->private_kib += kib;
    }
    if (file)
        fclose(file);
    return any;
}

/* Without smaps_rollup: RSS stands for all three. */
static void add_status(struct process_memory *m, pid_t pid) {
    char path[64], line[256];
    unsigned long long kib;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %llu", &kib) == 1) {
            m->rss_kib += kib;
            m->pss_kib += kib;
            m->private_kib += kib;
        }
    if (file)
        fclose(file);
}

struct process_memory process_stats_memory(const pid_t *roots, size_t count) {
    struct process_memory m = {0};
    struct family family;
    find_family(&family, roots, count);
    for (size_t i = 0; i < family.count; i++)
        if (!add_rollup(&m, family.pids[i]))
            add_status(&m, family.pids[i]);
    return m;
}
