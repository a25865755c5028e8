/* bind_message.c - msg: in on_publish a view of the publish, in on_deliver and on_offline of the
 * message.
 *
 * A view copies nothing, so fields that a hook does not read cost nothing. Outside of its hook a
 * msg raises an error. */
#include "bind/bind_message.h"

#include "bind/bind.h"
#include "bind/bind_publish.h"
#include "lua/args.h"
#include "lua/class.h"

#include "bellhop/base/error.h"
#include "bellhop/core/filter.h"

#define MSG_MT      "bellhop.msg"
#define DELIVERY_MT "bellhop.delivered.msg"

enum {
    F_KIND = 1,
    F_USER,
    F_TENANT,
    F_TOPIC,
    F_ALL,
    F_DATA,
    F_OPCODE,
    F_ID,
    F_EXCEPT,
    F_FILTER,
    F_STRATEGY,
    F_TTL,
    F_PRIORITY,
    F_SOURCE,
    F_HISTORY,
    F_COLLAPSE,
    F_POSITION,
};
static const char *const fields[] = {"kind",     "user",     "tenant",   "topic",  "all",
                                     "data",     "opcode",   "id",       "except", "filter",
                                     "strategy", "ttl",      "priority", "source", "history",
                                     "collapse", "position", NULL};

static void push_kind(lua_State *L, const struct bh_topic *topic) {
    static const char *const names[] = {"user", "tenant", "topic", "all"};
    lua_pushstring(L, names[topic->kind]);
}

/* The id, when the topic is of this kind. */
static void push_target(lua_State *L, const struct bh_topic *topic, enum bh_topic_kind kind) {
    if (topic->kind != kind)
        lua_pushnil(L);
    else if (kind == BH_TOPIC_ALL)
        lua_pushboolean(L, 1);
    else
        bh_push_slice(L, bh_topic_id(topic));
}

static void push_except(lua_State *L, uint64_t number) {
    char id[BH_CONNECTION_ID_LEN + 1];
    if (number == 0) {
        lua_pushnil(L);
        return;
    }
    bh_connection_id(number, id);
    lua_pushlstring(L, id, BH_CONNECTION_ID_LEN);
}

/* A copy: to change the filter, assign a table. */
void bh_push_filter(lua_State *L, struct bh_slice filter) {
    struct bh_tag pair;
    if (!filter.n) {
        lua_pushnil(L);
        return;
    }
    lua_newtable(L);
    while (bh_filter_next(&filter, &pair)) {
        bh_push_slice(L, pair.name);
        bh_push_slice(L, pair.value);
        lua_rawset(L, -3);
    }
}

/* nil: as the topic has it */
static void push_history(lua_State *L, unsigned history) {
    if (history == BH_PUBLISH_HISTORY_DEFAULT)
        lua_pushnil(L);
    else
        lua_pushboolean(L, history == BH_PUBLISH_HISTORY_ON);
}

/* What both kinds of msg have. */
struct common {
    const struct bh_topic *topic;
    struct bh_slice data, id, filter;
    unsigned opcode;
    uint64_t except;
};

/* False: not one of these fields. */
static bool push_common(lua_State *L, int field, const struct common *c) {
    switch (field) {
    case F_KIND:
        push_kind(L, c->topic);
        return true;
    case F_USER:
        push_target(L, c->topic, BH_TOPIC_USER);
        return true;
    case F_TENANT:
        push_target(L, c->topic, BH_TOPIC_TENANT);
        return true;
    case F_TOPIC:
        push_target(L, c->topic, BH_TOPIC_TOPIC);
        return true;
    case F_ALL:
        push_target(L, c->topic, BH_TOPIC_ALL);
        return true;
    case F_DATA:
        bh_push_slice(L, c->data);
        return true;
    case F_OPCODE:
        bh_push_opcode(L, c->opcode);
        return true;
    case F_ID:
        bh_push_optional(L, c->id);
        return true;
    case F_EXCEPT:
        push_except(L, c->except);
        return true;
    case F_FILTER:
        bh_push_filter(L, c->filter);
        return true;
    default:
        return false;
    }
}

/* --- on_publish --- */

struct bh_lua_msg *bh_msg_push(lua_State *L, struct bh_publish *p) {
    struct bh_lua_msg *msg = lua_newuserdatauv(L, sizeof *msg, 0);
    msg->p = p;
    luaL_setmetatable(L, MSG_MT);
    return msg;
}

static struct bh_publish *check_msg(lua_State *L) {
    struct bh_lua_msg *msg = luaL_checkudata(L, 1, MSG_MT);
    if (!msg->p)
        luaL_error(L, "this msg is no longer valid: it can be used only while its on_publish runs");
    return msg->p;
}

static int msg_index(lua_State *L) {
    static const char *const sources[] = {
        [BH_SOURCE_HTTP] = "http", [BH_SOURCE_SCRIPT] = "script", [BH_SOURCE_CLIENT] = "client"};
    const struct bh_publish *p = check_msg(L);
    int field = bh_class_member(L);
    const struct common c = {.topic = &p->topic,
                             .data = bh_buf_slice(p->data),
                             .id = bh_slice(p->id, p->id_len),
                             .filter = bh_buf_slice(p->filter),
                             .opcode = p->opcode,
                             .except = p->except};
    if (push_common(L, field, &c))
        return 1;
    switch (field) {
    case F_STRATEGY:
        lua_pushstring(L, bh_strategy_name(p->strategy));
        return 1;
    case F_TTL:
        lua_pushinteger(L, p->ttl_s);
        return 1;
    case F_PRIORITY:
        lua_pushinteger(L, p->priority);
        return 1;
    case F_SOURCE:
        lua_pushstring(L, sources[p->source]);
        return 1;
    case F_HISTORY:
        push_history(L, p->history);
        return 1;
    case F_COLLAPSE:
        bh_push_optional(L, bh_buf_slice(p->collapse));
        return 1;
    default:
        lua_pushnil(L);
        return 1;
    }
}

static int msg_newindex(lua_State *L) {
    struct bh_publish *p = check_msg(L);
    const char *name = luaL_checkstring(L, 2);
    char why[BH_WHY_MAX];
    struct bh_publish_request r;
    int field = bh_class_member(L);
    lua_settop(L, 3);
    bh_publish_move(&r.p, p);
    r.to = NULL;
    r.targets = 0;
    if (field == F_KIND || field == F_SOURCE || field == F_POSITION || strcmp(name, "conn") == 0)
        return luaL_error(L, "msg.%s cannot be changed", name);
    if (bh_publish_set(L, name, &r, why))
        return luaL_error(L, "msg: %s", why);
    bh_publish_move(p, &r.p);
    return 0;
}

/* --- on_deliver --- */

struct bh_lua_delivery *bh_delivery_push_new(lua_State *L) {
    struct bh_lua_delivery *delivery = lua_newuserdatauv(L, sizeof *delivery, 0);
    delivery->m = delivery->owned = NULL;
    luaL_setmetatable(L, DELIVERY_MT);
    return delivery;
}

static int delivery_index(lua_State *L) {
    const struct bh_lua_delivery *delivery = luaL_checkudata(L, 1, DELIVERY_MT);
    const struct bh_message *m = delivery->m;
    int field = bh_class_member(L);
    if (!m)
        return luaL_error(L,
                          "this msg is no longer valid: it can be used only while its hook runs");
    const struct common c = {.topic = m->topic,
                             .data = m->payload,
                             .id = m->id,
                             .filter = m->filter,
                             .opcode = m->opcode,
                             .except = m->except};
    if (field == F_POSITION)
        bh_push_position(L, m->position);
    else if (!push_common(L, field, &c))
        lua_pushnil(L);
    return 1;
}

static int delivery_gc(lua_State *L) {
    struct bh_lua_delivery *delivery = luaL_checkudata(L, 1, DELIVERY_MT);
    bh_message_unref(delivery->owned);
    delivery->m = delivery->owned = NULL;
    return 0;
}

void bh_bind_message(lua_State *L) {
    bh_class_new(L, MSG_MT, NULL, fields, msg_index, msg_newindex);
    bh_class_new(L, DELIVERY_MT, NULL, fields, delivery_index, NULL);
    lua_pushcfunction(L, delivery_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 2);
}
