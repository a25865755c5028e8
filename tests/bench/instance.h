/* instance.h - a whole instance with one worker in this thread, and its clients, for hot_paths.c.
 *
 * Bus and worker share a loop that is ticked by hand. The rest is as in production: the memory
 * broker and tracker, the edge on a loopback listener, scripts. Any failure ends the program. */
#ifndef BELLHOP_BENCH_INSTANCE_H
#define BELLHOP_BENCH_INSTANCE_H

#include "bellhop/core/node.h"
#include "bellhop/edge/edge.h"
#include "bellhop/script/script.h"

#include <sys/types.h>

struct instance {
    struct bh_defer work; /* of instance_tick_with */
    void (*fn)(void *ud);
    void *ud;
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_node *node;
    struct bh_worker *worker;
    struct bh_edge_config edge_config;
    struct bh_edge *edge;
    struct bh_script_config script_config;
    const char *policy;
    struct bh_script *script;
};

/* policy: a path below the project's root, or NULL: then anybody may connect, and messages of
 * clients are dropped. */
void instance_open(struct instance *in, const char *policy);
/* The same without a policy and with topics that are streams. */
void instance_open_with_history(struct instance *in, struct bh_history *history,
                                const struct bh_history_config *rules);
/* After all clients are closed. */
void instance_close(struct instance *in);
/* Runs fn inside a tick, as all code of a worker runs: the loop's time is set. */
void instance_tick_with(struct instance *in, void (*fn)(void *ud), void *ud);

/* --- a WebSocket client in this process --- */

struct client {
    struct instance *instance;
    int fd;
    size_t expected; /* bytes still to be read */
};

void client_open(struct client *c, struct instance *in);
void client_close(struct client *c);
/* In one write. The next blocking tick reads it. */
void client_send(struct client *c, struct bh_slice bytes);
/* Takes what it is expected. */
void client_receive(struct client *c);

/* Appends one masked text frame; the payload is at most 125 bytes, or from 126 to 65535. */
void client_add_frame(struct bh_bytes *out, struct bh_slice payload);

/* --- many clients, in a second process without valgrind --- */

struct crowd {
    pid_t pid;
    int leash; /* closing it ends the process */
};

/* Opens users u0, u1, ... They never read. */
#define CROWD_WS   "/ws?"
#define CROWD_JSON "/ws?format=json&"
#define CROWD_SSE  "/sse?"
void crowd_open(struct crowd *c, struct instance *in, unsigned count, const char *path);
void crowd_close(struct crowd *c, struct instance *in);
/* The main function of the second process, which crowd_open starts with `--crowd COUNT PORT PATH`.
 */
int crowd_main(unsigned count, unsigned port, const char *path);

#endif
