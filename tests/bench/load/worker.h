/* worker.h - one worker process: an epoll loop in one thread, its share of the connections, and the
 * commands it gets from the conductor (load.c). All of it belongs to that process and its only
 * thread. */
#ifndef BELLHOP_BENCH_WORKER_H
#define BELLHOP_BENCH_WORKER_H

#include "options.h"
#include "payload.h"
#include "shared.h"

#include <stdbool.h>

struct worker;
struct client;

/* A descriptor in the loop; embedded in its owner. */
struct source {
    void (*ready)(struct source *source, uint32_t events);
};

/* A mode of bench_load. All but `tick` may be null; a mode that sets `batch` of a client has
 * `batch`. */
struct mode {
    bool counts_opened; /* it says itself when all is done that COMMAND_OPEN asks for */
    const char *(*path)(const struct client *client); /* null: that of the options */
    void (*init)(struct worker *worker);              /* before connections are opened */
    void (*run)(struct worker *worker);               /* COMMAND_RUN */
    /* A message arrived; its bytes are valid during the call only. */
    void (*message)(struct client *client, const uint8_t *bytes, size_t len);
    /* After the messages of one read. */
    void (*batch)(struct client *client);
    /* Each turn of the loop while the mode runs: sends due messages, sets wake_at, and calls
     * worker_done at the end. */
    void (*tick)(struct worker *worker);
    /* How many messages this client must have received at the end; null: none. */
    uint64_t (*expected)(const struct client *client);
    void (*end)(struct worker *worker); /* COMMAND_QUIT */
};

struct frames;
struct publisher;

struct worker {
    const struct options *options;
    struct shared *shared;
    struct result *result;
    const struct mode *mode;
    unsigned index;
    int epoll, commands; /* commands: an eventfd */
    struct source commands_source, publisher_source;
    bool running;
    uint64_t now;     /* at the start of this turn, and after each read */
    uint64_t wake_at; /* the next turn is no later than this */
    struct payload payload;
    struct client *clients;
    unsigned count, first; /* how many clients; the number of the first */
    unsigned begun, open;  /* clients that started to connect; that are open */
    unsigned window;       /* how many may be connecting at once */
    uint8_t *buffer;       /* for all reads */
    size_t buffer_size;
    void *tls;                     /* SSL_CTX */
    struct frames *frames;         /* echo */
    struct publisher *publisher;   /* first process only */
    uint64_t sequence;             /* open loop: messages sent so far */
    uint64_t last_stamp, notified; /* of the last publish; deliveries the publisher knows of */
    uint32_t rounds;               /* fanout: rounds that are left */
};

extern const struct mode mode_echo, mode_fanout, mode_users, mode_idle, mode_probe, mode_recover;

/* Runs a worker process to its end. */
__attribute__((noreturn)) void worker_main(const struct options *options, struct shared *shared,
                                           unsigned index, int commands);

/* A worker without clients. */
void worker_init(struct worker *worker, const struct options *options, struct shared *shared);
void worker_watch(struct worker *worker, int fd, struct source *source, uint32_t events);
void worker_rewatch(struct worker *worker, int fd, struct source *source, uint32_t events);

/* One turn of the loop: waits until something is ready or wake_at. */
void worker_poll(struct worker *worker);

/* Tells the conductor that the command is done; once for each command. */
void worker_done(struct worker *worker);

/* Called by a client when it is open; when the server closed it. */
void worker_on_open(struct worker *worker, struct client *client);
void worker_on_closed(struct worker *worker, struct client *client, const char *why);

/* Whether a message with this stamp, or one that arrives at this time, counts in the figures. */
static inline bool worker_measures(const struct worker *worker, uint64_t stamp) {
    return stamp >= worker->shared->from && stamp < worker->shared->until;
}

/* Whether --drain has passed since `last`; sets wake_at. */
bool worker_timed_out(struct worker *worker, uint64_t last);

/* Deliveries of all processes together. */
uint64_t worker_delivered_by_all(const struct worker *worker);

#endif
