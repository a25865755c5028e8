/* spec_private.h - the parts of `bellhop test`: worlds, phones, and the bridge to Lua. */
#ifndef BELLHOP_SCRIPT_SPEC_PRIVATE_H
#define BELLHOP_SCRIPT_SPEC_PRIVATE_H

#include "bellhop/base/json.h"
#include "bellhop/io/timer.h"
#include "bellhop/spec/spec.h"

#include <lua.h>

#define BH_SPEC_WALL_MS INT64_C(1700000000000) /* when each world begins */
#define BH_SPEC_FILES   8

struct bh_spec_world {
    const struct bh_spec_config *config;
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_node *node;
    struct bh_worker *worker;
    struct bh_json *tree;
    struct bh_script_config script_config;
    struct bh_script *script;
    char *files[BH_SPEC_FILES];
    char *error; /* of the load or of on_init */
    bool started;
    struct bh_redis redis; /* answers come from the spec */
    lua_State *L;          /* the spec's, while it calls */
    int redis_ref;         /* its function; LUA_NOREF: there is no Redis */
    struct bh_list calls;  /* to Redis, not yet answered */
    struct bh_fetch fetch;
    int fetch_ref;
    bh_handle fetch_number;
    struct bh_list fetches;
    int phones; /* open ones: the world must outlive them */
};

/* --- spec_world.c --- */

/* tree: taken over. 0, or the error is in w->error; close it in both cases. */
int bh_spec_world_open(struct bh_spec_world *w, const struct bh_spec_config *config,
                       struct bh_json *tree, size_t files);
/* The same files anew; NULL or the error, which is the world's. */
const char *bh_spec_world_reload(struct bh_spec_world *w);
void bh_spec_world_close(struct bh_spec_world *w);
/* Lets time go by, and everything happen that is due. */
void bh_spec_world_advance(struct bh_spec_world *w, uint64_t ms);
/* Everything that is due now. */
void bh_spec_world_settle(struct bh_spec_world *w);

/* --- spec_phone.c --- */

struct bh_spec_sent {
    uint8_t opcode;
    size_t len;
    char *data;
};

struct bh_spec_phone {
    struct bh_subscriber subscriber;
    struct bh_spec_world *world;
    struct bh_timer expiry;
    struct bh_spec_sent *sent;
    size_t sent_count;
    size_t queued; /* as the spec says */
    unsigned code; /* of the close that the policy or the core has asked for; 0: none */
    char reason[128];
    char ip[64], protocol[64];
    bool open;
};

/* identity: taken over. */
void bh_spec_phone_open(struct bh_spec_phone *p, struct bh_spec_world *w,
                        struct bh_identity *identity);
void bh_spec_phone_says(struct bh_spec_phone *p, unsigned opcode, struct bh_slice data);
/* The client goes, or what was asked for is done. */
void bh_spec_phone_close(struct bh_spec_phone *p, unsigned code, struct bh_slice reason);
void bh_spec_phone_free(struct bh_spec_phone *p);

/* --- spec_redis.c --- */

void bh_spec_redis_init(struct bh_spec_world *w);
/* Answers what has been asked, by the spec's function. */
void bh_spec_redis_answer(struct bh_spec_world *w);
void bh_spec_redis_clear(struct bh_spec_world *w);

/* --- spec_members.c --- */

/* core.names(): lists of names by what they are of. */
int bh_spec_names(lua_State *L);
/* On L: for each class of the script's state a table, member = "function" or "field". */
void bh_spec_push_members(lua_State *L, const struct bh_script *s);

/* --- spec_fetch.c --- */

void bh_spec_fetch_init(struct bh_spec_world *w);
void bh_spec_fetch_answer(struct bh_spec_world *w);
void bh_spec_fetch_clear(struct bh_spec_world *w);

/* --- spec_bridge.c --- */

/* luaopen of bellhop.test.core; its upvalue is the struct bh_spec_config. */
int bh_spec_open_core(lua_State *L);

#endif
