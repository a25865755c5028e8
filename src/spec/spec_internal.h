/* spec_internal.h - the parts of `bellhop test`: environments, clients, and the fake servers.
 *
 * An environment owns everything that a policy runs in. Clients belong to the spec and must be
 * closed before their environment. All functions are called on the only thread, with the spec's
 * Lua state in env->L. */
#ifndef BELLHOP_SPEC_SPEC_INTERNAL_H
#define BELLHOP_SPEC_SPEC_INTERNAL_H

#include "bellhop/base/json.h"
#include "bellhop/core/recovery.h"
#include "bellhop/io/timer.h"
#include "bellhop/spec/spec.h"

#include <lua.h>

#define BH_SPEC_WALL_MS INT64_C(1700000000000) /* the time at which each environment starts */
#define BH_SPEC_FILES   8

struct bh_spec_env {
    const struct bh_spec_config *config;
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_history *history; /* NULL: no rules */
    struct bh_history_rule rules[BH_HISTORY_RULES_MAX];
    struct bh_node *node;
    struct bh_worker *worker;
    struct bh_json *tree;
    struct bh_script_config script_config;
    struct bh_script *script;
    char *files[BH_SPEC_FILES];
    char *error; /* of the load or of on_init */
    bool open;
    bool started;
    lua_State *L; /* the state or coroutine of the spec that makes the current call */
    struct bh_redis redis;
    int redis_ref;         /* the spec's function; LUA_NOREF: no Redis is configured */
    struct bh_list calls;  /* Redis commands without a reply */
    struct bh_fetch fetch; /* the HTTP client */
    int fetch_ref;
    bh_handle fetch_number;
    struct bh_list fetches;
    int clients; /* open ones */
};

/* --- env.c --- */

/* Takes ownership of tree. On error env->error says why. Close it in both cases. */
int bh_spec_env_open(struct bh_spec_env *env, const struct bh_spec_config *config,
                     struct bh_json *tree, size_t files);
/* Loads the files again. Returns NULL, or the error, which the environment owns. */
const char *bh_spec_env_reload(struct bh_spec_env *env);
void bh_spec_env_close(struct bh_spec_env *env);
/* Moves the clock and runs everything that becomes due. */
void bh_spec_env_advance(struct bh_spec_env *env, uint64_t ms);
/* Runs everything that is due now. */
void bh_spec_env_run_due(struct bh_spec_env *env);
/* Moves the clock until *done, for 40 s at most. */
void bh_spec_env_wait(struct bh_spec_env *env, const bool *done);

/* --- client.c --- */

struct bh_spec_sent {
    uint8_t opcode;
    size_t len;
    char *data;
    struct bh_position position; /* epoch 0: none */
};

/* What a client that resumes was told about a topic. */
struct bh_spec_note {
    char *topic;
    const char *gap; /* why; NULL: it was rewound */
};

enum bh_spec_recovered { BH_SPEC_RECOVERED_UNKNOWN, BH_SPEC_RECOVERED_NO, BH_SPEC_RECOVERED_YES };

struct bh_spec_client {
    struct bh_subscriber subscriber;
    struct bh_spec_env *env;
    struct bh_timer expiry;
    struct bh_spec_sent *sent;
    size_t sent_count;
    struct bh_spec_note *notes;
    size_t note_count;
    enum bh_spec_recovered recovered;
    char position[BH_RESUME_TEXT_MAX + 1]; /* of a client that resumes, when it closed */
    size_t queued;                         /* the spec sets it */
    unsigned code; /* of the close that the policy or the core requested; 0: none */
    char reason[128];
    char ip[64], protocol[64];
    bool accepted; /* by the handshake */
    bool resumes;
    bool open;
};

/* Takes ownership of identity. since: where it was, for one that resumes; NULL: it does not. */
void bh_spec_client_open(struct bh_spec_client *client, struct bh_spec_env *env,
                         struct bh_identity *identity, const struct bh_resume *since);
/* Messages of a topic are missing for it; why: one of BH_GAP_... */
void bh_spec_client_gap(struct bh_spec_client *client, struct bh_slice topic, const char *why);
/* Where it is in its streams: what it would give back. NUL-terminated; empty: it does not resume.
 */
void bh_spec_client_position(const struct bh_spec_client *client, char out[BH_RESUME_TEXT_MAX + 1]);
/* A message from the client. */
void bh_spec_client_message(struct bh_spec_client *client, unsigned opcode, struct bh_slice data);
/* The client disconnects. */
void bh_spec_client_close(struct bh_spec_client *client, unsigned code, struct bh_slice reason);
void bh_spec_client_free(struct bh_spec_client *client);

/* --- redis.c --- */

void bh_spec_redis_init(struct bh_spec_env *env);
/* Calls the spec's function for each waiting command. */
void bh_spec_redis_answer(struct bh_spec_env *env);
void bh_spec_redis_clear(struct bh_spec_env *env);

/* --- fetch.c --- */

void bh_spec_fetch_init(struct bh_spec_env *env);
/* Calls the spec's function for each waiting request. */
void bh_spec_fetch_answer(struct bh_spec_env *env);
void bh_spec_fetch_clear(struct bh_spec_env *env);

/* --- members.c --- */

/* core.names(): for each kind of name (hooks, options) the list of names. */
int bh_spec_names(lua_State *L);
/* Pushes on L, for each class of the script's state, {member = "function" or "field"}. */
void bh_spec_push_members(lua_State *L, const struct bh_script *s);

#endif
