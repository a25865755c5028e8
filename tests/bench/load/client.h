/* client.h - one client process: an epoll loop in one thread, its share of the connections, and the
 * orders it gets from the conductor. Everything here belongs to that process and its only thread.
 */
#ifndef BELLHOP_BENCH_CLIENT_H
#define BELLHOP_BENCH_CLIENT_H

#include "options.h"
#include "payload.h"
#include "shared.h"

#include <stdbool.h>

struct client;
struct phone;

/* Something with a descriptor in the loop; embedded. */
struct source {
    void (*ready)(struct source *source, uint32_t events);
};

/* A mode of bench_load. All but `tick` may be null; who sets `batch` of a phone has `batch`. */
struct mode {
    void (*init)(struct client *client); /* before connections are opened */
    void (*run)(struct client *client);  /* COMMAND_RUN */
    /* One message has come; the bytes are gone when this returns. */
    void (*message)(struct phone *phone, const uint8_t *bytes, size_t len);
    /* After the messages of one read. */
    void (*batch)(struct phone *phone);
    /* Once each turn of the loop while it runs: sends what is due, sets wake_at, and calls
     * client_arrive when it is over. */
    void (*tick)(struct client *client);
    /* How many messages this phone must have got, at the end; null: none. */
    uint64_t (*expected)(const struct phone *phone);
    void (*end)(struct client *client); /* COMMAND_QUIT */
};

struct frames;
struct publisher;

struct client {
    const struct options *options;
    struct shared *shared;
    struct result *result;
    const struct mode *mode;
    unsigned index;
    int epoll, orders; /* the latter: an eventfd */
    struct source orders_source, publisher_source;
    bool running;
    uint64_t now;     /* when this turn's events were read, and at each read */
    uint64_t wake_at; /* the loop turns at this time at the latest */
    struct payload payload;
    struct phone *phones;
    unsigned count, first; /* phones, and the number of the first */
    unsigned begun, open;  /* phones that have begun to connect; that have done so */
    unsigned window;       /* how many may be on their way */
    uint8_t *buffer;       /* of all reads */
    size_t buffer_size;
    void *tls;                   /* SSL_CTX */
    struct frames *frames;       /* echo */
    struct publisher *publisher; /* of the first process */
    uint64_t sequence;           /* messages that were due so far */
    uint64_t last_stamp, told;   /* of what is published; delivered, so the publisher knows */
    uint32_t rounds;             /* fanout: that are still to come */
};

extern const struct mode mode_echo, mode_fanout, mode_users, mode_still, mode_probe;

/* Runs a client process to its end. */
__attribute__((noreturn)) void client_main(const struct options *options, struct shared *shared,
                                           unsigned index, int orders);

/* Prepares `client` for phones, without any; for the probe, too. */
void client_init(struct client *client, const struct options *options, struct shared *shared);
void client_watch(struct client *client, int fd, struct source *source, uint32_t events);
void client_rewatch(struct client *client, int fd, struct source *source, uint32_t events);

/* One turn of the loop: waits until something is ready or wake_at. */
void client_turn(struct client *client);

/* Tells the conductor that the order is carried out; once for each. */
void client_arrive(struct client *client);

/* Called by phones: it is open; the server has closed it. */
void client_on_open(struct client *client, struct phone *phone);
void client_on_closed(struct client *client, struct phone *phone, const char *why);

/* Whether this stamp's latency counts, and whether what arrives now does. */
static inline bool client_measures(const struct client *client, uint64_t stamp) {
    return stamp >= client->shared->from && stamp < client->shared->until;
}

/* Whether what was sent up to `last` has been waited for long enough; sets wake_at. */
bool client_gives_up(struct client *client, uint64_t last);

/* What all processes together have done. */
uint64_t client_delivered_in_all(const struct client *client);

#endif
