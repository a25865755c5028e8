/* load.c - bench_load, a load generator for WebSocket servers. This process is the conductor: it
 * computes how many worker processes are needed, forks them, sends them commands, reads the CPU
 * time and memory of the server between the phases, and hands all of it to report.c. It sleeps
 * while the workers measure.
 *
 * The measured time never includes opening the connections, except in the mode that measures that
 * (burst). Commands go through shared memory and an eventfd for each worker. A worker that ends
 * early has failed and printed why; all others are killed then. */
#include "output.h"
#include "report.h"
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPARE_DESCRIPTORS 96 /* the loop, publishing, standard streams */
/* Of 28,000 ephemeral ports connect tries every other one first, and its search gets slow when few
 * of those are free: at 14,000 a connection costs ten times as much. */
#define PORTS_PER_SOURCE 8000
#define TIMEOUT_NS       (30 * NS_PER_S) /* for each command without a fixed duration */

struct conductor {
    struct options options;
    struct shared *shared;
    unsigned processes; /* with the probe */
    int *commands;      /* eventfds */
    pid_t *pids;
    int children; /* signalfd */
    struct report report;
};

/* --- the plan --- */

static unsigned raise_descriptor_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > 1u << 20 ? 1u << 20 : (unsigned)limit.rlim_cur;
}

static unsigned divide_up(unsigned a, unsigned b) {
    return (a + b - 1) / b;
}

static void plan(struct options *o) {
    unsigned limit = raise_descriptor_limit();
    if (limit <= SPARE_DESCRIPTORS)
        die("the limit of %u file descriptors is too low (ulimit -n)", limit);
    unsigned each = limit - SPARE_DESCRIPTORS, needed = divide_up(o->connections, each);
    if (o->processes && o->processes < needed)
        die("%u connections in %u processes: the limit is %u file descriptors for each (ulimit "
            "-n); "
            "%u processes are needed",
            o->connections, o->processes, limit, needed);
    if (!o->processes && needed > 1)
        fprintf(stderr,
                "bench_load: %u processes, since the limit is %u file descriptors for each\n",
                needed, limit);
    if (!o->processes)
        o->processes = needed;
    if (o->connections < o->processes)
        o->processes = o->connections;
    if (!o->sources)
        o->sources = divide_up(o->connections, PORTS_PER_SOURCE);
}

/* --- processes --- */

static void *map_shared(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    return at;
}

static void init_shared(struct conductor *c) {
    const struct options *o = &c->options;
    c->shared = map_shared(sizeof *c->shared + (o->processes + 1) * sizeof(struct result));
    c->shared->sent_to = map_shared(o->connections * sizeof *c->shared->sent_to);
    c->shared->done = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    c->shared->publisher = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    c->shared->from = c->shared->until = UINT64_MAX;
}

/* Workers get the signal mask from before. */
static void fork_all(struct conductor *c) {
    sigset_t child, before;
    c->processes = c->options.processes + c->options.probe;
    c->commands = must_realloc(NULL, c->processes * sizeof *c->commands);
    c->pids = must_realloc(NULL, c->processes * sizeof *c->pids);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);
    c->children = signalfd(-1, &child, SFD_CLOEXEC);
    for (unsigned i = 0; i < c->processes; i++) {
        c->commands[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        c->pids[i] = fork();
        if (c->pids[i] < 0)
            die("fork: %s", strerror(errno));
        if (c->pids[i] == 0) {
            sigprocmask(SIG_SETMASK, &before, NULL);
            worker_main(&c->options, c->shared, i, c->commands[i]);
        }
    }
}

static void send_command(struct conductor *c, unsigned i, enum command command) {
    c->shared->results[i].command = command;
    eventfd_write(c->commands[i], 1);
}

static void send_all(struct conductor *c, enum command command) {
    for (unsigned i = 0; i < c->options.processes; i++)
        send_command(c, i, command);
}

__attribute__((noreturn)) static void kill_all(struct conductor *c) {
    for (unsigned i = 0; i < c->processes; i++)
        kill(c->pids[i], SIGKILL);
    while (wait(NULL) > 0)
        ;
    exit(1);
}

/* Waits until it is `when`, or until so many workers are done (0: only for the time). */
static void wait_until(struct conductor *c, uint64_t when, unsigned workers) {
    struct pollfd fds[] = {{.fd = c->shared->done, .events = POLLIN},
                           {.fd = c->children, .events = POLLIN}};
    bool by_time = workers == 0;
    for (uint64_t now; (now = now_ns()) < when;) {
        eventfd_t count;
        struct timespec rest = {(time_t)((when - now) / NS_PER_S), (long)((when - now) % NS_PER_S)};
        ppoll(by_time ? fds + 1 : fds, by_time ? 1 : 2, &rest, NULL);
        if (fds[1].revents)
            kill_all(c);
        if (by_time || eventfd_read(c->shared->done, &count))
            continue;
        if (count >= workers)
            return;
        workers -= (unsigned)count;
    }
    if (by_time)
        return;
    fprintf(stderr, "bench_load: timeout: %u process(es) not done\n", workers);
    kill_all(c);
}

static void wait_for(struct conductor *c, unsigned workers) {
    wait_until(c, now_ns() + TIMEOUT_NS + (uint64_t)(c->options.drain * NS_PER_S), workers);
}

static void quit(struct conductor *c) {
    for (unsigned i = 0; i < c->processes; i++)
        send_command(c, i, COMMAND_QUIT);
    for (unsigned i = 0; i < c->processes; i++) {
        int status;
        if (waitpid(c->pids[i], &status, 0) != c->pids[i] || status)
            kill_all(c);
        c->pids[i] = 0;
    }
}

/* --- phases --- */

static void read_usage(struct conductor *c, struct usage *u) {
    pid_t self = getpid();
    u->at = now_ns();
    u->server = process_stats_cpu(c->options.pids, c->options.pid_count, NULL);
    u->client = process_stats_cpu(&self, 1, NULL);
}

static struct process_memory memory(struct conductor *c) {
    return process_stats_memory(c->options.pids, c->options.pid_count);
}

/* The modes burst and recover measure this phase. */
static void open_all(struct conductor *c) {
    const struct options *o = &c->options;
    if (o->probe) {
        send_command(c, o->processes, COMMAND_OPEN);
        wait_for(c, 1);
        send_command(c, o->processes, COMMAND_RUN);
        c->shared->probe_counts = o->mode >= MODE_IDLE;
    }
    c->report.memory_before = memory(c);
    read_usage(c, &c->report.opening);
    send_all(c, COMMAND_OPEN);
    wait_until(c, now_ns() + TIMEOUT_NS + o->connections * 5 * NS_PER_MS, o->processes);
    read_usage(c, &c->report.opened);
    if (o->mode >= MODE_BURST)
        c->shared->probe_counts = false;
    wait_until(c, now_ns() + (uint64_t)(o->settle * NS_PER_S), 0);
    c->report.memory_after = memory(c);
}

static void run_timed(struct conductor *c, unsigned workers) {
    const struct options *o = &c->options;
    struct shared *s = c->shared;
    s->start = now_ns() + 10 * NS_PER_MS;
    s->from = s->start + (uint64_t)(o->warmup * NS_PER_S);
    s->until = s->from + (uint64_t)(o->seconds * NS_PER_S);
    send_all(c, COMMAND_RUN);
    wait_until(c, s->from, 0);
    s->probe_counts = true;
    read_usage(c, &c->report.begin);
    wait_until(c, s->until, 0);
    read_usage(c, &c->report.end);
    s->probe_counts = false;
    c->report.measured_ns = s->until - s->from;
    wait_for(c, workers);
}

static void run_rounds(struct conductor *c, unsigned rounds) {
    c->shared->rounds = rounds;
    send_all(c, COMMAND_RUN);
    /* Each round may take up to --drain; a longer one is the last. */
    uint64_t most = (uint64_t)(c->options.drain * NS_PER_S) * rounds;
    wait_until(c, now_ns() + TIMEOUT_NS + most, 1);
}

/* For a number of messages, after a tenth as many (at least one) to warm up. */
static void run_counted(struct conductor *c) {
    struct shared *s = c->shared;
    run_rounds(c, (c->options.rounds + 9) / 10);
    read_usage(c, &c->report.begin);
    s->from = now_ns();
    s->probe_counts = true;
    run_rounds(c, c->options.rounds);
    read_usage(c, &c->report.end);
    s->probe_counts = false;
    c->report.measured_ns = s->ended - s->from;
}

static void run(struct conductor *c) {
    const struct options *o = &c->options;
    bool published = o->mode == MODE_FANOUT || o->mode == MODE_USERS;
    if (o->mode == MODE_FANOUT && o->rate == 0)
        run_counted(c);
    else if (o->mode < MODE_BURST)
        run_timed(c, published ? 1 : o->processes);
}

int main(int argc, char **argv) {
    static struct conductor c;
    options_parse(&c.options, argc, argv);
    plan(&c.options);
    for (size_t i = 0; i < c.options.pid_count; i++)
        if (kill(c.options.pids[i], 0) && errno == ESRCH)
            die("--pid %d: no such process", (int)c.options.pids[i]);
    init_shared(&c);
    fork_all(&c);
    open_all(&c);
    run(&c);
    quit(&c);
    free(c.commands);
    free(c.pids);
    return report_print(&c.report, &c.options, c.shared);
}
