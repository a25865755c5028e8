/* script_test.h - an environment for scripts: a worker with the real core around it, a broker that
 * echoes, a tracker and a Redis that answer when the test tells them to, and clients that record
 * what they receive. One thread, a fake clock. */
#ifndef BELLHOP_TESTS_UNIT_SCRIPT_TEST_H
#define BELLHOP_TESTS_UNIT_SCRIPT_TEST_H

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"
#include "bellhop/io/loop.h"
#include "bellhop/script/script.h"
#include "local_tracker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST_WALL_MS INT64_C(1700000000000)

/* One instance; every message comes back at once. */
struct test_broker {
    struct bh_broker base;
    struct bh_broker_sink sink;
    unsigned published;
};

/* Keeps the last call; the test answers. */
struct test_redis_port {
    struct bh_redis base;
    struct bh_bytes command; /* the arguments, separated by spaces */
    unsigned calls;
    bh_reply_cb done;
    void *ud;
    bh_handle handle;
    const struct bh_reply *at_once; /* answers before the call returns */
};

/* --- the environment --- */

struct env {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct test_broker broker;
    struct local_tracker tracker;
    struct test_redis_port redis;
    struct bh_node *node;
    struct bh_worker *worker;
    struct bh_json *tree;
    struct bh_script_config config;
    struct bh_script *script;
    char *error;  /* of the load or of on_init */
    bool started; /* on_init has succeeded */
    int init_calls;
    char dir[32];
    char *files[8];
};

void env_open(struct env *env);
void env_close(struct env *env);

/* Runs what is due now. */
void env_run_due(struct env *env);
void env_advance(struct env *env, uint64_t ms);

/* A file in env->dir. */
void env_write(struct env *env, const char *name, const char *text);
/* The configuration that bh.config reads. */
void env_config(struct env *env, const char *json);

/* Loads env->files. */
int env_load_files(struct env *env, size_t count);
/* Loads sources as a.lua, b.lua, ... (NULL at the end) and starts them. Returns the result of the
 * load; the result of on_init is in env. */
int env_load(struct env *env, const char *const *sources);
#define ENV_LOAD(env, ...) env_load(env, (const char *const[]){__VA_ARGS__, NULL})
/* For bh_script_start: records the result. */
void env_on_init(void *ud, int error, const char *why);
void env_close_script(struct env *env);

/* --- clients --- */

struct client {
    struct bh_subscriber sub;
    char **sent; /* what it was sent */
    uint8_t *opcodes;
    unsigned sent_count;
    unsigned code; /* of the close that was requested; 0: none */
    char reason[128];
    bool paused, opened;
    struct env *env;
};

extern const struct bh_subscriber_vt client_vt;

/* Opens a connection and runs on_open. */
void client_open(struct env *env, struct client *p, const char *user);
/* The client owns the identity. */
void client_open_as(struct env *env, struct client *p, struct bh_identity *identity);
/* For bh_node_open: runs on_open. */
void client_on_open(void *ud, bh_handle handle, int error);
void client_sends(struct client *p, const char *text);
void client_sends_bytes(struct client *p, unsigned opcode, struct bh_slice data);
/* The connection has closed. */
void client_closed(struct client *p, unsigned code, const char *reason);
/* Forgets what it was sent. */
void client_forget(struct client *p);
void client_free(struct client *p);
/* The last message that it was sent. */
const char *client_last(const struct client *p);

/* --- results of handshakes and API calls --- */

struct answer {
    int calls;
    int status;
    char *body;
    char protocol[64];
    enum bh_compression compression;
    enum bh_format format;
    struct bh_identity *identity;
    unsigned header_count;
    char header[128]; /* the first, "name: value" */
    bool allowed;
};

void on_handshake_result(void *ud, bh_handle handle, const struct bh_handshake_result *r);
void answer_allowed(void *ud, bh_handle handle, bool allowed, int status, struct bh_slice body);
void answer_free(struct answer *a);

#endif
