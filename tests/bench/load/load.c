/* load.c - bench_load, a load generator for WebSocket servers (tests/bench/run.sh compares them
 * with it). This process conducts: it plans how many processes there must be, forks them, gives
 * orders, reads what the server uses at the moments between, and hands it all to report.c. It
 * sleeps while the others measure.
 *
 * No measured time contains the opening of connections, except where that is what is measured
 * (burst). Processes are told what to do by eventfds and shared memory; one that ends early has
 * failed, has said why, and takes all others with it. */
#include "client.h"
#include "report.h"
#include "say.h"

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

#define SPARE_DESCRIPTORS 96 /* the loop, publishing, ours and the library's */
/* There are 28,000 ports, but connect takes every other one first, and searches long when few of
 * those are left: at 14,000 a connection costs ten times as much. */
#define PORTS_OF_SOURCE 8000
#define PATIENCE_NS     (30 * NS_PER_S) /* for anything that clients do without a fixed time */

struct conductor {
    struct options options;
    struct shared *shared;
    unsigned processes; /* with the probe */
    int *orders;
    pid_t *pids;
    int children; /* signalfd */
    struct report report;
};

/* --- the plan --- */

static unsigned descriptors(void) {
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
    unsigned limit = descriptors();
    if (limit <= SPARE_DESCRIPTORS)
        die("a process may have only %u descriptors (ulimit -n)", limit);
    unsigned each = limit - SPARE_DESCRIPTORS, needed = divide_up(o->connections, each);
    if (o->processes && o->processes < needed)
        die("%u connections in %u processes: a process may have only %u descriptors (ulimit -n); "
            "%u processes are needed",
            o->connections, o->processes, limit, needed);
    if (!o->processes && needed > 1)
        fprintf(stderr, "bench_load: %u processes, because one may have only %u descriptors\n",
                needed, limit);
    if (!o->processes)
        o->processes = needed;
    if (o->connections < o->processes)
        o->processes = o->connections;
    if (!o->sources)
        o->sources = divide_up(o->connections, PORTS_OF_SOURCE);
}

/* --- processes --- */

static void *map_shared(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    return at;
}

static void share(struct conductor *c) {
    const struct options *o = &c->options;
    c->shared = map_shared(sizeof *c->shared + (o->processes + 1) * sizeof(struct result));
    c->shared->sent_to = map_shared(o->connections * sizeof *c->shared->sent_to);
    c->shared->arrived = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    c->shared->publisher = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    c->shared->from = c->shared->until = UINT64_MAX;
}

/* The clients get SIGCHLD as it was. */
static void fork_all(struct conductor *c) {
    sigset_t child, before;
    c->processes = c->options.processes + c->options.probe;
    c->orders = must_realloc(NULL, c->processes * sizeof *c->orders);
    c->pids = must_realloc(NULL, c->processes * sizeof *c->pids);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);
    c->children = signalfd(-1, &child, SFD_CLOEXEC);
    for (unsigned i = 0; i < c->processes; i++) {
        c->orders[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        c->pids[i] = fork();
        if (c->pids[i] < 0)
            die("fork: %s", strerror(errno));
        if (c->pids[i] == 0) {
            sigprocmask(SIG_SETMASK, &before, NULL);
            client_main(&c->options, c->shared, i, c->orders[i]);
        }
    }
}

static void order(struct conductor *c, unsigned i, enum command command) {
    c->shared->results[i].command = command;
    eventfd_write(c->orders[i], 1);
}

static void order_clients(struct conductor *c, enum command command) {
    for (unsigned i = 0; i < c->options.processes; i++)
        order(c, i, command);
}

__attribute__((noreturn)) static void give_up(struct conductor *c) {
    for (unsigned i = 0; i < c->processes; i++)
        kill(c->pids[i], SIGKILL);
    while (wait(NULL) > 0)
        ;
    exit(1);
}

/* Waits until it is `when`, or so many have arrived. */
static void wait_until(struct conductor *c, uint64_t when, unsigned arrivals) {
    struct pollfd fds[] = {{.fd = c->shared->arrived, .events = POLLIN},
                           {.fd = c->children, .events = POLLIN}};
    bool by_time = arrivals == 0;
    for (uint64_t now; (now = now_ns()) < when;) {
        eventfd_t count;
        struct timespec rest = {(time_t)((when - now) / NS_PER_S), (long)((when - now) % NS_PER_S)};
        ppoll(by_time ? fds + 1 : fds, by_time ? 1 : 2, &rest, NULL);
        if (fds[1].revents)
            give_up(c);
        if (by_time || eventfd_read(c->shared->arrived, &count))
            continue;
        if (count >= arrivals)
            return;
        arrivals -= (unsigned)count;
    }
    if (by_time)
        return;
    fprintf(stderr, "bench_load: %u process(es) did not get on in time\n", arrivals);
    give_up(c);
}

static void wait_for(struct conductor *c, unsigned arrivals) {
    wait_until(c, now_ns() + PATIENCE_NS + (uint64_t)(c->options.drain * NS_PER_S), arrivals);
}

static void quit(struct conductor *c) {
    for (unsigned i = 0; i < c->processes; i++)
        order(c, i, COMMAND_QUIT);
    for (unsigned i = 0; i < c->processes; i++) {
        int status;
        if (waitpid(c->pids[i], &status, 0) != c->pids[i] || status)
            give_up(c);
        c->pids[i] = 0;
    }
}

/* --- phases --- */

static void use(struct conductor *c, struct usage *u) {
    pid_t self = getpid();
    u->at = now_ns();
    u->server = process_stats_cpu(c->options.pids, c->options.pid_count, NULL);
    u->client = process_stats_cpu(&self, 1, NULL);
}

static struct process_memory memory(struct conductor *c) {
    return process_stats_memory(c->options.pids, c->options.pid_count);
}

/* Also how long it took, which is what a burst is about. */
static void open_all(struct conductor *c) {
    const struct options *o = &c->options;
    if (o->probe) {
        order(c, o->processes, COMMAND_OPEN);
        wait_for(c, 1);
        order(c, o->processes, COMMAND_RUN);
        c->shared->probe_counts = o->mode == MODE_IDLE || o->mode == MODE_BURST;
    }
    c->report.memory_before = memory(c);
    use(c, &c->report.opening);
    order_clients(c, COMMAND_OPEN);
    wait_until(c, now_ns() + PATIENCE_NS + o->connections * 5 * NS_PER_MS, o->processes);
    use(c, &c->report.opened);
    if (o->mode == MODE_BURST)
        c->shared->probe_counts = false;
    wait_until(c, now_ns() + (uint64_t)(o->settle * NS_PER_S), 0);
    c->report.memory_after = memory(c);
}

/* For a fixed time. */
static void run_timed(struct conductor *c, unsigned arrivals) {
    const struct options *o = &c->options;
    struct shared *s = c->shared;
    s->start = now_ns() + 10 * NS_PER_MS;
    s->from = s->start + (uint64_t)(o->warmup * NS_PER_S);
    s->until = s->from + (uint64_t)(o->seconds * NS_PER_S);
    order_clients(c, COMMAND_RUN);
    wait_until(c, s->from, 0);
    s->probe_counts = true;
    use(c, &c->report.begin);
    wait_until(c, s->until, 0);
    use(c, &c->report.end);
    s->probe_counts = false;
    c->report.measured_ns = s->until - s->from;
    wait_for(c, arrivals);
}

static void run_rounds(struct conductor *c, unsigned rounds) {
    c->shared->rounds = rounds;
    order_clients(c, COMMAND_RUN);
    /* Each may take as long as it is waited for, and none comes after one that took longer. */
    uint64_t most = (uint64_t)(c->options.drain * NS_PER_S) * rounds;
    wait_until(c, now_ns() + PATIENCE_NS + most, 1);
}

/* For a number of messages; a tenth of them, at least one, goes before. */
static void run_counted(struct conductor *c) {
    struct shared *s = c->shared;
    run_rounds(c, (c->options.rounds + 9) / 10);
    use(c, &c->report.begin);
    s->from = now_ns();
    s->probe_counts = true;
    run_rounds(c, c->options.rounds);
    use(c, &c->report.end);
    s->probe_counts = false;
    c->report.measured_ns = s->ended - s->from;
}

static void run(struct conductor *c) {
    const struct options *o = &c->options;
    bool published = o->mode == MODE_FANOUT || o->mode == MODE_USERS;
    if (o->mode == MODE_FANOUT && o->rate == 0)
        run_counted(c);
    else if (o->mode != MODE_BURST)
        run_timed(c, published ? 1 : o->processes);
}

int main(int argc, char **argv) {
    static struct conductor c;
    options_parse(&c.options, argc, argv);
    plan(&c.options);
    for (size_t i = 0; i < c.options.pid_count; i++)
        if (kill(c.options.pids[i], 0) && errno == ESRCH)
            die("there is no process %d", (int)c.options.pids[i]);
    share(&c);
    fork_all(&c);
    open_all(&c);
    run(&c);
    quit(&c);
    free(c.orders);
    free(c.pids);
    return report_print(&c.report, &c.options, c.shared);
}
