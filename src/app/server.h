/* server.h - what the parts of a running instance share. Private to the application.
 *
 * Thread: the bus (the main thread), but for what of a lane is marked as the worker's own. */
#ifndef BELLHOP_APP_SERVER_H
#define BELLHOP_APP_SERVER_H

#include "app.h"

#include "bellhop/core/node.h"
#include "bellhop/edge/edge.h"
#include "bellhop/io/thread.h"
#include "bellhop/io/timer.h"
#include "bellhop/script/script.h"

#include <pthread.h>

enum bh_server_state {
    BH_SERVER_STARTING,
    BH_SERVER_SERVING,
    BH_SERVER_DRAINING,
    BH_SERVER_STOPPING,
};

struct bh_server;

struct bh_server_lane { /* a worker and all that is its own */
    struct bh_server *server;
    struct bh_thread *thread;
    struct bh_worker *worker;
    struct bh_script *script;
    struct bh_script *next; /* that a reload is making ready */
    struct bh_edge *edge;
    bool started, drained;
    bool aborted; /* the worker's own: it has been told to end */
};

struct bh_server {
    const struct bh_config *config;
    enum bh_server_state state;
    int status; /* of the process */
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_node *node;
    struct bh_app_edge edge;
    struct bh_tls *tls;
    struct bh_app_fetch fetch;
    struct bh_script_config script;
    struct bh_strings files;
    struct bh_shared *shared;
    char *lua_dir;
    char instance[BH_ID_MAX + 1];
    struct bh_server_lane *lanes;
    unsigned lane_count, started;
    struct bh_timer drain_timer;
    struct bh_timer ready_timer;
    bool was_ready;
    struct bh_signal *signals[3];

    unsigned generation; /* of the scripts that serve */
    struct {
        bool under_way, loading; /* loading: the thread is to be joined */
        pthread_t loader;
        unsigned waiting; /* lanes that have not answered */
        int error;
        char *why;
        struct bh_server_lane *asker; /* NULL: a signal */
        bh_handle handle;
    } reload;
};

/* --- mail between the bus and a worker --- */

struct bh_order {
    struct bh_mail mail;
    struct bh_server_lane *lane;
    int error;
    char *why; /* owned */
};

/* A mailbox that is closed takes none. */
void bh_order_post(struct bh_mailbox *to, struct bh_server_lane *lane, void (*fn)(struct bh_mail *),
                   int error, const char *why);
/* Frees the mail; `why` is the caller's. */
struct bh_order bh_order_open(struct bh_mail *mail);

/* Reads the scripts again. asker: the lane whose edge wants an answer, by its handle; or NULL. */
void bh_server_reload(struct bh_server *s, struct bh_server_lane *asker, bh_handle handle);
/* As bh_edge_config.reload, with the server as ud. */
void bh_server_ask_reload(void *ud, struct bh_worker *worker, bh_handle handle);
/* No worker runs any more. */
void bh_server_reload_stop(struct bh_server *s);

#endif
