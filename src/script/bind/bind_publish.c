/* bind_publish.c - bh.publish and bh.publish_wait, and the fields of a publish.
 *
 * Reading never raises, because the result of on_message is read outside of any protected call; the
 * bindings turn misuse into an error themselves. A publish that the node refuses before it returns
 * is reported to the caller; a later failure is logged, since nobody waits for it. bh.publish calls
 * that are still on the C stack are found by a serial number, so a completion needs no pointer.
 * Those of bh.publish_wait are found by the task's wait, and return what the HTTP API returns. */
#include "bind/bind_publish.h"

#include "bind/bind.h"
#include "lua/args.h"
#include "run/lua_conn.h"
#include "run/sched.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/suggest.h"
#include "bellhop/core/filter.h"

#include <math.h>
#include <stdio.h>

/* --- fields: each reads the value on top --- */

struct field {
    const char *name;
    int (*set)(lua_State *L, struct bh_publish_request *r, char *why);
};

static int wrong_type(lua_State *L, char *why, const char *must) {
    snprintf(why, BH_WHY_MAX, "%s, not a %s", must,
             lua_type(L, -1) == LUA_TNUMBER ? "number of this kind" : luaL_typename(L, -1));
    return BH_ESCRIPT;
}

static int set_target(lua_State *L, struct bh_publish_request *r, enum bh_topic_kind kind,
                      char *why) {
    static const char *const names[] = {"user", "tenant", "topic", "all"};
    struct bh_slice id = {NULL, 0};
    const char *reason = "";
    char must[64];
    snprintf(must, sizeof must, "%s must be %s", names[kind],
             kind == BH_TOPIC_ALL ? "true" : "a string or an integer");
    if (kind == BH_TOPIC_ALL ? !lua_isboolean(L, -1) || !lua_toboolean(L, -1)
                             : !bh_id_from_lua(L, &id))
        return wrong_type(L, why, must);
    r->targets++;
    if (!bh_topic_make(kind, id, &r->p.topic, &reason))
        return 0;
    snprintf(why, BH_WHY_MAX, "%s: %s", names[kind], reason);
    return BH_EINVAL;
}

static int set_user(lua_State *L, struct bh_publish_request *r, char *why) {
    return set_target(L, r, BH_TOPIC_USER, why);
}

static int set_tenant(lua_State *L, struct bh_publish_request *r, char *why) {
    return set_target(L, r, BH_TOPIC_TENANT, why);
}

static int set_topic(lua_State *L, struct bh_publish_request *r, char *why) {
    return set_target(L, r, BH_TOPIC_TOPIC, why);
}

static int set_all(lua_State *L, struct bh_publish_request *r, char *why) {
    return set_target(L, r, BH_TOPIC_ALL, why);
}

static struct bh_lua_conn *conn_on_top(lua_State *L) {
    return luaL_testudata(L, -1, BH_LUA_CONN_MT);
}

static struct bh_subscriber *find_number(struct bh_worker *w, uint64_t number) {
    struct bh_subscriber *sub;
    uint32_t cursor = 0;
    while ((sub = bh_slots_next(&w->subscribers, &cursor)))
        if (sub->number == number)
            return sub;
    return NULL;
}

static int set_conn(lua_State *L, struct bh_publish_request *r, char *why) {
    struct bh_slice id;
    struct bh_lua_conn *c = conn_on_top(L);
    uint64_t number;
    r->targets++;
    if (c) {
        r->to = bh_lua_conn_subscriber(c);
    } else if (bh_id_from_lua(L, &id)) {
        if (bh_connection_number(id, &number)) {
            snprintf(why, BH_WHY_MAX, "conn: not a connection id");
            return BH_EINVAL;
        }
        r->to = find_number(bh_script_of(L)->worker, number);
    } else {
        return wrong_type(L, why, "conn must be a conn or a connection id");
    }
    if (r->to)
        return 0;
    snprintf(why, BH_WHY_MAX, c ? "closed" : "conn: no such connection on this worker");
    return BH_EINVAL;
}

static int set_data(lua_State *L, struct bh_publish_request *r, char *why) {
    size_t n;
    if (lua_istable(L, -1)) {
        snprintf(why, BH_WHY_MAX, "data must be a string; encode a table with bh.json.encode(t)");
        return BH_ESCRIPT;
    }
    if (lua_type(L, -1) != LUA_TSTRING)
        return wrong_type(L, why, "data must be a string");
    const char *text = lua_tolstring(L, -1, &n);
    struct bh_buf *data = bh_buf_try_new(n);
    if (!data) {
        snprintf(why, BH_WHY_MAX, "data: out of memory");
        return BH_EINVAL;
    }
    memcpy(data->data, text, n);
    bh_publish_set_data(&r->p, data);
    return 0;
}

static int set_opcode(lua_State *L, struct bh_publish_request *r, char *why) {
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    bool binary = strcmp(name, "binary") == 0;
    if (!binary && strcmp(name, "text") != 0)
        return wrong_type(L, why, "opcode must be \"text\" or \"binary\"");
    r->p.opcode = binary ? BH_BINARY : BH_TEXT;
    return 0;
}

static int set_binary(lua_State *L, struct bh_publish_request *r, char *why) {
    if (!lua_isboolean(L, -1))
        return wrong_type(L, why, "binary must be true or false");
    r->p.opcode = lua_toboolean(L, -1) ? BH_BINARY : BH_TEXT;
    return 0;
}

static int set_strategy(lua_State *L, struct bh_publish_request *r, char *why) {
    struct bh_slice name;
    enum bh_strategy strategy;
    const char *reason = "";
    if (lua_type(L, -1) != LUA_TSTRING)
        return wrong_type(L, why, "strategy must be a string");
    name.p = lua_tolstring(L, -1, &name.n);
    if (bh_strategy_parse(name, &strategy, &reason)) {
        snprintf(why, BH_WHY_MAX, "strategy: %s", reason);
        return BH_ESCRIPT;
    }
    r->p.strategy = (uint8_t)strategy;
    return 0;
}

static int set_ttl(lua_State *L, struct bh_publish_request *r, char *why) {
    lua_Number ttl = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (!(ttl >= 0 && ttl <= UINT32_MAX))
        return wrong_type(L, why, "ttl must be a number of seconds (0: for ever)");
    r->p.ttl_s = (uint32_t)ceil(ttl);
    return 0;
}

static int set_id(lua_State *L, struct bh_publish_request *r, char *why) {
    struct bh_slice id;
    const char *reason = "";
    if (!bh_id_from_lua(L, &id))
        return wrong_type(L, why, "id must be a string or an integer");
    if (bh_id_check(BH_ID_MESSAGE, id, &reason)) {
        snprintf(why, BH_WHY_MAX, "id: %s", reason);
        return BH_EINVAL;
    }
    memcpy(r->p.id, id.p, id.n);
    r->p.id[id.n] = '\0';
    r->p.id_len = (uint8_t)id.n;
    r->p.id_given = true;
    return 0;
}

static int set_except(lua_State *L, struct bh_publish_request *r, char *why) {
    struct bh_slice id;
    struct bh_lua_conn *c = conn_on_top(L);
    if (c) {
        r->p.except = c->number;
        return 0;
    }
    if (!bh_id_from_lua(L, &id))
        return wrong_type(L, why, "except must be a conn or a connection id");
    if (!bh_connection_number(id, &r->p.except))
        return 0;
    snprintf(why, BH_WHY_MAX, "except: not a connection id");
    return BH_EINVAL;
}

/* The pair on top, name below value. */
static int add_tag(lua_State *L, struct bh_buf **filter, char *why) {
    struct bh_slice name, value;
    const char *reason = "";
    if (lua_type(L, -2) != LUA_TSTRING || !bh_text_from_lua(L, &value)) {
        snprintf(why, BH_WHY_MAX,
                 "filter must be a table of names and values (strings, numbers, booleans)");
        return BH_ESCRIPT;
    }
    name.p = lua_tolstring(L, -2, &name.n);
    if (!bh_filter_add(filter, name, value, &reason))
        return 0;
    snprintf(why, BH_WHY_MAX, "filter: %s", reason);
    return BH_EINVAL;
}

/* An empty table is refused: {platform = x} with x nil would reach all connections. */
static int set_filter(lua_State *L, struct bh_publish_request *r, char *why) {
    int table = lua_gettop(L), error = 0;
    struct bh_buf *filter = NULL;
    if (!lua_isnil(L, -1) && (!lua_istable(L, -1) || !lua_checkstack(L, 4)))
        return wrong_type(L, why, "filter must be a table of tags");
    if (lua_istable(L, -1)) {
        for (lua_pushnil(L); !error && lua_next(L, table); lua_pop(L, 1))
            error = add_tag(L, &filter, why);
        lua_settop(L, table);
        if (!error && !filter) {
            snprintf(why, BH_WHY_MAX,
                     "filter has no tags (is a value nil?); leave it out to reach all connections");
            error = BH_ESCRIPT;
        }
    }
    if (error) {
        bh_buf_unref(filter);
        return error;
    }
    bh_buf_unref(r->p.filter);
    r->p.filter = filter;
    return 0;
}

static int set_priority(lua_State *L, struct bh_publish_request *r, char *why) {
    lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
    if (n < 0 || n > UINT8_MAX)
        return wrong_type(L, why, "priority must be an integer from 0 to 255");
    r->p.priority = (uint8_t)n;
    return 0;
}

static int set_history(lua_State *L, struct bh_publish_request *r, char *why) {
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        return wrong_type(L, why, "history must be true or false");
    r->p.history = lua_isnil(L, -1)       ? BH_PUBLISH_HISTORY_DEFAULT
                   : lua_toboolean(L, -1) ? BH_PUBLISH_HISTORY_ON
                                          : BH_PUBLISH_HISTORY_OFF;
    return 0;
}

static int set_collapse(lua_State *L, struct bh_publish_request *r, char *why) {
    struct bh_slice key;
    const char *reason = "";
    if (lua_isnil(L, -1)) {
        bh_buf_unref(r->p.collapse);
        r->p.collapse = NULL;
        return 0;
    }
    if (!bh_id_from_lua(L, &key))
        return wrong_type(L, why, "collapse must be a string or an integer");
    if (!bh_publish_set_collapse(&r->p, key, &reason))
        return 0;
    snprintf(why, BH_WHY_MAX, "%s", reason);
    return BH_EINVAL;
}

static const struct field fields[] = {
    {"user", set_user},
    {"tenant", set_tenant},
    {"topic", set_topic},
    {"all", set_all},
    {"conn", set_conn},
    {"data", set_data},
    {"opcode", set_opcode},
    {"binary", set_binary},
    {"strategy", set_strategy},
    {"ttl", set_ttl},
    {"id", set_id},
    {"except", set_except},
    {"filter", set_filter},
    {"priority", set_priority},
    {"history", set_history},
    {"collapse", set_collapse},
};
#define FIELD_COUNT (sizeof fields / sizeof *fields)

const char *bh_publish_field(size_t i) {
    return i < FIELD_COUNT ? fields[i].name : NULL;
}

static int unknown_field(const char *name, char *why) {
    const char *names[FIELD_COUNT + 1] = {NULL};
    char hint[64];
    for (size_t i = 0; i < FIELD_COUNT; i++)
        names[i] = fields[i].name;
    snprintf(why, BH_WHY_MAX, "a publish has no field \"%.40s\"%s", name,
             bh_suggest_phrase(name, names, hint, sizeof hint));
    return BH_ESCRIPT;
}

int bh_publish_set(lua_State *L, const char *name, struct bh_publish_request *r,
                   char why[BH_WHY_MAX]) {
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (strcmp(fields[i].name, name) == 0)
            return fields[i].set(L, r, why);
    return unknown_field(name, why);
}

/* --- the whole table --- */

static int check_whole(const struct bh_publish_request *r, char *why) {
    const char *must = NULL;
    if (r->targets != 1)
        must = "name exactly one target: user, tenant, topic, all = true, or conn";
    else if (!r->p.data)
        must = "data is missing";
    else if (r->to && (r->p.history == BH_PUBLISH_HISTORY_ON || r->p.collapse))
        must = "what is sent to a conn has no history and replaces nothing";
    if (!must)
        return 0;
    snprintf(why, BH_WHY_MAX, "publish: %s", must);
    return BH_ESCRIPT;
}

int bh_publish_read(lua_State *L, int index, struct bh_publish_request *out, char why[BH_WHY_MAX]) {
    int top = lua_gettop(L), error = 0;
    bh_publish_init(&out->p, BH_SOURCE_SCRIPT);
    out->p.opcode = BH_TEXT;
    out->to = NULL;
    out->targets = 0;
    lua_checkstack(L, 8);
    lua_pushnil(L);
    while (!error && lua_next(L, index)) {
        error = lua_type(L, -2) == LUA_TSTRING ? bh_publish_set(L, lua_tostring(L, -2), out, why)
                                               : unknown_field("(not a string)", why);
        lua_pop(L, 1);
    }
    if (!error)
        error = check_whole(out, why);
    if (error)
        bh_publish_release(&out->p);
    lua_settop(L, top);
    return error;
}

/* --- sending --- */

struct bh_publish_call {
    struct bh_publish_call *outer;
    uint64_t serial;
    int error;
    struct bh_publish *p; /* gets the id, which on_publish may have changed */
    char *why;
};

static const char *why_of(const struct bh_publish_result *result) {
    return result->why ? result->why : bh_strerror(result->error);
}

static void log_failure(const struct bh_publish_result *result) {
    bh_warn_limited("publish failed", bh_kv_str("error", why_of(result)),
                    bh_kv_slice("id", result->id));
}

static void on_published(void *ud, bh_handle serial, const struct bh_publish_result *result) {
    const struct bh_script_worker *sw = bh_script_worker_of(ud);
    struct bh_publish_call *call = sw ? sw->publish_calls : NULL;
    while (call && call->serial != serial)
        call = call->outer;
    if (!result->error) {
        if (call && result->id.n <= BH_MESSAGE_ID_MAX) {
            memcpy(call->p->id, result->id.p, result->id.n);
            call->p->id_len = (uint8_t)result->id.n;
        }
        return;
    }
    if (!call) {
        log_failure(result);
        return;
    }
    call->error = result->error;
    snprintf(call->why, BH_WHY_MAX, "%s", why_of(result));
}

/* on_publish does not run for what it publishes itself. */
static bool is_inside_hook(const struct bh_script *s) {
    const struct bh_task *t = bh_script_current(s);
    return t && t->hook == HOOK_PUBLISH;
}

static int send_to_node(struct bh_script *s, struct bh_publish_request *r, char *why) {
    struct bh_script_worker *sw = s->script_worker;
    struct bh_publish_call call = {sw->publish_calls, ++sw->publish_serial, 0, &r->p, why};
    r->p.skip_hook = is_inside_hook(s);
    sw->publish_calls = &call;
    bh_node_publish(s->worker, &r->p, on_published, s->worker, call.serial);
    sw->publish_calls = call.outer;
    return call.error;
}

/* *sent: whether the filter matches the connection. */
static int send_to_conn(struct bh_publish_request *r, bool *sent, char *why) {
    int error = 0;
    *sent = !r->p.filter || bh_filter_matches(bh_buf_slice(r->p.filter), r->to->identity);
    if (*sent)
        error = r->to->vt->send(r->to, r->p.opcode, bh_buf_slice(r->p.data));
    bh_publish_release(&r->p);
    if (error)
        snprintf(why, BH_WHY_MAX, "%s", bh_strerror(error));
    return error;
}

static void make_id(struct bh_publish *p) {
    if (p->id_len)
        return;
    bh_id_unique(p->id);
    p->id_len = BH_UNIQUE_ID_LEN;
}

int bh_publish_send(struct bh_script *s, struct bh_publish_request *r, char why[BH_WHY_MAX]) {
    bool sent;
    make_id(&r->p);
    return r->to ? send_to_conn(r, &sent, why) : send_to_node(s, r, why);
}

/* Reads the table of argument 1; misuse raises. */
static int read_argument(lua_State *L, const char *function, struct bh_publish_request *r,
                         char *why) {
    luaL_checktype(L, 1, LUA_TTABLE);
    int error = bh_publish_read(L, 1, r, why);
    return error == BH_ESCRIPT ? luaL_error(L, "%s: %s", function, why) : error;
}

static int publish(lua_State *L) {
    struct bh_publish_request r;
    char why[BH_WHY_MAX];
    bh_script_check_started(L, "bh.publish");
    if (read_argument(L, "bh.publish", &r, why) || bh_publish_send(bh_script_of(L), &r, why))
        return bh_push_error(L, why);
    lua_pushlstring(L, r.p.id, r.p.id_len);
    return 1;
}

/* --- waiting for the result --- */

void bh_publish_push_result(lua_State *L, const struct bh_publish_result *result) {
    lua_createtable(L, 0, 6);
    bh_push_slice(L, result->id);
    lua_setfield(L, -2, "id");
    lua_pushstring(L, bh_publish_status_name(result));
    lua_setfield(L, -2, "status");
    if (result->position.epoch) {
        lua_pushstring(L, bh_strategy_name(result->strategy));
        lua_setfield(L, -2, "strategy");
        bh_push_position(L, result->position);
        lua_setfield(L, -2, "position");
    }
    if (result->duplicate) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "duplicate");
        return;
    }
    lua_pushinteger(L, (lua_Integer)result->instances);
    lua_setfield(L, -2, "instances");
    lua_pushinteger(L, (lua_Integer)result->local);
    lua_setfield(L, -2, "local");
}

static void on_result(void *ud, bh_handle wait, const struct bh_publish_result *result) {
    struct bh_task *t = bh_task_waiting(ud, wait);
    if (!t && result->error)
        log_failure(result);
    if (!t)
        return;
    if (result->error) {
        bh_task_answer_error(t, why_of(result));
        return;
    }
    lua_checkstack(t->co, 4);
    bh_publish_push_result(t->co, result);
    bh_task_answer(t, 1);
}

static int wait_for_conn(lua_State *L, struct bh_publish_request *r, char *why) {
    bool sent;
    if (send_to_conn(r, &sent, why))
        return bh_push_error(L, why);
    struct bh_publish_result result = {.id = bh_slice(r->p.id, r->p.id_len),
                                       .status = sent ? BH_PUBLISH_DELIVERED : BH_PUBLISH_OFFLINE,
                                       .instances = sent,
                                       .local = sent};
    bh_publish_push_result(L, &result);
    return 1;
}

static int publish_wait(lua_State *L) {
    struct bh_publish_request r;
    char why[BH_WHY_MAX];
    struct bh_task *t = bh_task_may_wait(L, "bh.publish_wait");
    struct bh_worker *w = t->script->worker;
    if (read_argument(L, "bh.publish_wait", &r, why))
        return bh_push_error(L, why);
    make_id(&r.p);
    if (r.to)
        return wait_for_conn(L, &r, why);
    r.p.skip_hook = is_inside_hook(t->script);
    bh_node_publish(w, &r.p, on_result, w, bh_task_wait(t, 0, NULL));
    return bh_task_yield(L, t);
}

void bh_bind_publish(lua_State *L) {
    lua_pushcfunction(L, publish);
    lua_setfield(L, -2, "publish");
    lua_pushcfunction(L, publish_wait);
    lua_setfield(L, -2, "publish_wait");
}
