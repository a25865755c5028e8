/* server.h - the running instance, shared by serve.c and reload.c.
 *
 * Thread: the bus (the main thread), except fields that are marked as the worker's own. */
#ifndef BELLHOP_APP_SERVER_H
#define BELLHOP_APP_SERVER_H

#include "app.h"
#include "app_mail.h"
#include "give_back.h"

#include "bellhop/core/node.h"
#include "bellhop/edge/edge.h"
#include "bellhop/io/thread.h"
#include "bellhop/io/timer.h"
#include "bellhop/script/script.h"

#include <pthread.h>

enum bh_server_state {
    BH_SERVER_STARTING,
    BH_SERVER_SERVING,
    BH_SERVER_DELAYING, /* the stop has begun: see stop.h */
    BH_SERVER_DRAINING,
    BH_SERVER_STOPPING,
};

struct bh_server;

struct bh_server_worker { /* a worker with everything that belongs to its thread */
    struct bh_server *server;
    struct bh_thread *thread;
    struct bh_worker *worker;
    struct bh_script *script;
    struct bh_script *next; /* prepared by a reload */
    struct bh_edge *edge;
    struct bh_give_back give_back; /* the worker's own */
    struct bh_timer finish_timer;  /* likewise */
    bool started;
    bool aborted; /* the worker's own: its edge is closed, its thread stops */
};

struct bh_server {
    const struct bh_config *config;
    enum bh_server_state state;
    int status; /* of the process */
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_history *history; /* NULL: no topic is a stream */
    struct bh_node *node;
    struct bh_app_settings settings;
    struct bh_script_config script;
    struct bh_strings files;
    struct bh_shared *shared;
    char *lua_dir;
    char instance[BH_ID_MAX + 1];
    struct bh_server_worker *workers;
    unsigned worker_count, started;
    struct { /* workers read all but the timer and `waiting` */
        struct bh_timer timer;
        uint64_t until_ms;
        unsigned waiting; /* workers that have not finished the step */
        size_t step;
        uint64_t left_ms; /* of server.drain_timeout, when the step began */
        size_t clients;   /* then */
    } stop;
    struct bh_timer ready_timer;
    bool was_ready;
    struct bh_give_back_watch give_back;
    struct bh_signal *signals[3];

    unsigned generation; /* of the current scripts */
    struct {
        bool running, loading; /* loading: the thread has to be joined */
        pthread_t loader;
        unsigned waiting; /* workers that have not answered yet */
        int error;
        char *why;
        struct bh_server_worker *requester; /* NULL: a signal */
        bh_handle handle;
    } reload;
};

/* Reads the scripts again. requester: the worker whose edge is answered, by its handle; or NULL. */
void bh_server_reload(struct bh_server *s, struct bh_server_worker *requester, bh_handle handle);
/* As bh_edge_config.reload, with the server as ud. */
void bh_server_ask_reload(void *ud, struct bh_worker *worker, bh_handle handle);
/* No worker runs any more. */
void bh_server_reload_stop(struct bh_server *s);

#endif
