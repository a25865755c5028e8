/* instance.h - a whole instance of one worker in this thread, and clients of it: what the counts of
 * hot_paths.c are taken of.
 *
 * Bus and worker share the loop, which is ticked by hand; all else is what serves in production:
 * the memory broker and tracker, the edge on a loopback listener, scripts. Any failure ends the
 * program. */
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

/* policy: a file below the project's root, or NULL. Without one everybody may connect, as in
 * --dev, and what clients say is dropped. */
void instance_open(struct instance *in, const char *policy);
/* Its clients have been closed. */
void instance_close(struct instance *in);
/* A tick in which fn is run, as all code of a worker is: the time is known then. */
void instance_tick_with(struct instance *in, void (*fn)(void *ud), void *ud);

/* --- a WebSocket client in this process --- */

struct client {
    struct instance *instance;
    int fd;
    size_t owed; /* bytes that are to come and have not been read */
};

void client_open(struct client *c, struct instance *in);
void client_close(struct client *c);
/* In one piece. A tick that may block finds it. */
void client_says(struct client *c, struct bh_slice bytes);
/* Takes what it is owed. */
void client_hears(struct client *c);

/* Appends one masked text frame; the payload is at most 125 bytes, or from 126 to 65535. */
void client_add_frame(struct bh_bytes *out, struct bh_slice payload);

/* --- many, in a process of their own, which does not run under valgrind --- */

struct crowd {
    pid_t pid;
    int leash; /* they go when it is closed */
};

/* Users u0, u1, ...: all of them are open afterwards. They never read. */
void crowd_open(struct crowd *c, struct instance *in, unsigned count);
void crowd_close(struct crowd *c, struct instance *in);
/* What the program does when it is started again with the arguments that crowd_open gives it:
 * `--crowd COUNT PORT`. */
int crowd_main(unsigned count, unsigned port);

#endif
