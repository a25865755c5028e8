/* bind_conn.c - conn: fields and methods.
 *
 * After the connection has closed, methods return nil, "closed", and the fields stay readable (from
 * the snapshot that lua_conn.c takes). */
#include "bind/bind.h"
#include "bind/bind_publish.h"
#include "lua/args.h"
#include "lua/class.h"
#include "lua/json_value.h"
#include "run/lua_conn.h"

#include "bellhop/base/error.h"
#include "bellhop/core/recovery.h"

#include <math.h>

enum {
    F_ID = 1,
    F_TENANT,
    F_USER,
    F_DEVICE,
    F_PROTOCOL,
    F_IP,
    F_OPENED_AT,
    F_EXPIRES,
    F_TAGS,
    F_VARS,
    F_QUEUED,
    F_CLOSED,
    F_POSITION,
};
static const char *const fields[] = {"id",     "tenant",    "user",     "device", "protocol",
                                     "ip",     "opened_at", "expires",  "tags",   "vars",
                                     "queued", "closed",    "position", NULL};

static struct bh_lua_conn *check(lua_State *L) {
    return luaL_checkudata(L, 1, BH_LUA_CONN_MT);
}

static int closed(lua_State *L) {
    return bh_push_error(L, "closed");
}

/* --- fields --- */

static void push_tags(lua_State *L, const struct bh_identity *id) {
    lua_createtable(L, 0, (int)id->tag_count);
    for (size_t i = 0; i < id->tag_count; i++) {
        bh_push_slice(L, id->tags[i].name);
        bh_push_slice(L, id->tags[i].value);
        lua_rawset(L, -3);
    }
}

/* The script's own values. From now on the object is pinned until the connection closes. */
static void push_vars(lua_State *L, struct bh_lua_conn *c) {
    if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
    c->vars = true;
    if (!c->closed)
        bh_lua_conn_pin(c);
}

static void push_ip(lua_State *L, const struct bh_lua_conn *c, struct bh_subscriber *sub) {
    char buffer[64];
    if (sub)
        bh_push_optional(L, sub->vt->ip(sub, buffer));
    else
        bh_push_optional(L, c->closed ? c->closed->ip : bh_slice(NULL, 0));
}

static void push_protocol(lua_State *L, const struct bh_lua_conn *c, struct bh_subscriber *sub) {
    if (sub)
        bh_push_optional(L, sub->vt->protocol(sub));
    else
        bh_push_optional(L, c->closed ? c->closed->protocol : bh_slice(NULL, 0));
}

static void push_id(lua_State *L, const struct bh_lua_conn *c) {
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(c->number, id);
    lua_pushlstring(L, id, BH_CONNECTION_ID_LEN);
}

static void push_expires(lua_State *L, const struct bh_identity *id) {
    if (id->expires)
        lua_pushinteger(L, id->expires);
    else
        lua_pushnil(L);
}

/* Where a client that resumes is in its streams. */
static void push_place(lua_State *L, const struct bh_subscriber *sub) {
    char text[BH_RESUME_TEXT_MAX + 1];
    if (sub && sub->resumption)
        lua_pushlstring(L, text, bh_subscriber_resume_text(sub, text));
    else
        lua_pushnil(L);
}

static void push_field(lua_State *L, struct bh_lua_conn *c, int field) {
    struct bh_subscriber *sub = bh_lua_conn_readable(c);
    const struct bh_identity *id = bh_lua_conn_identity(c);
    switch (field) {
    case F_ID:
        push_id(L, c);
        return;
    case F_TENANT:
        bh_push_optional(L, id->tenant);
        return;
    case F_USER:
        bh_push_optional(L, id->user);
        return;
    case F_DEVICE:
        bh_push_optional(L, id->device);
        return;
    case F_PROTOCOL:
        push_protocol(L, c, sub);
        return;
    case F_IP:
        push_ip(L, c, sub);
        return;
    case F_OPENED_AT:
        lua_pushnumber(L, (double)c->opened_at / 1000);
        return;
    case F_EXPIRES:
        push_expires(L, id);
        return;
    case F_TAGS:
        push_tags(L, id);
        return;
    case F_VARS:
        push_vars(L, c);
        return;
    case F_QUEUED:
        lua_pushinteger(L, sub ? (lua_Integer)sub->vt->queued(sub) : 0);
        return;
    case F_CLOSED:
        lua_pushboolean(L, !bh_lua_conn_subscriber(c));
        return;
    case F_POSITION:
        push_place(L, sub);
        return;
    default:
        lua_pushnil(L);
        return;
    }
}

static int conn_index(lua_State *L) {
    struct bh_lua_conn *c = check(L);
    int field = bh_class_member(L);
    if (field >= 0)
        push_field(L, c, field);
    return 1;
}

static int conn_newindex(lua_State *L) {
    return luaL_error(L, "conn.%s cannot be set; keep your own values in conn.vars",
                      luaL_tolstring(L, 2, NULL));
}

/* --- methods --- */

static enum bh_opcode check_opcode(lua_State *L, int arg) {
    static const char *const names[] = {"text", "binary", NULL};
    if (lua_isboolean(L, arg))
        return lua_toboolean(L, arg) ? BH_BINARY : BH_TEXT;
    return luaL_checkoption(L, arg, "text", names) == 0 ? BH_TEXT : BH_BINARY;
}

static int conn_send(lua_State *L) {
    struct bh_subscriber *sub = bh_lua_conn_subscriber(check(L));
    if (lua_istable(L, 2))
        return luaL_error(L, "conn:send needs a string; use conn:send_json for a table");
    struct bh_slice data = bh_check_slice(L, 2);
    enum bh_opcode opcode = check_opcode(L, 3);
    return sub ? bh_push_result(L, sub->vt->send(sub, opcode, data)) : closed(L);
}

static int conn_send_json(lua_State *L) {
    struct bh_script *s = bh_script_of(L);
    struct bh_subscriber *sub = bh_lua_conn_subscriber(check(L));
    char why[BH_JSON_WHY_MAX];
    luaL_checkany(L, 2);
    bh_bytes_clear(&s->scratch);
    if (bh_json_encode(L, 2, &s->scratch, why))
        return bh_push_error(L, why);
    if (!sub)
        return closed(L);
    return bh_push_result(L, sub->vt->send(sub, BH_TEXT, bh_bytes_slice(&s->scratch)));
}

static int conn_close(lua_State *L) {
    struct bh_subscriber *sub = bh_lua_conn_subscriber(check(L));
    lua_Integer code = luaL_optinteger(L, 2, 1000);
    struct bh_slice reason;
    reason.p = luaL_optlstring(L, 3, "", &reason.n);
    luaL_argcheck(L, bh_close_code_ok(code), 2,
                  "a close code is 1000 to 1014 or 3000 to 4999, and not 1004, 1005, 1006");
    if (!sub)
        return closed(L);
    sub->vt->close(sub, (unsigned)code, reason);
    return bh_push_result(L, 0);
}

static struct bh_slice check_topic(lua_State *L, int arg) {
    struct bh_slice topic;
    lua_settop(L, arg);
    if (!bh_id_from_lua(L, &topic))
        luaL_typeerror(L, arg, "topic id (a string)");
    return topic;
}

static void on_joined(void *ud, bh_handle wait, int error) {
    struct bh_task *t = bh_task_waiting(ud, wait);
    if (!t)
        return;
    if (error && error != BH_EEXIST) {
        bh_task_answer_error(t, bh_strerror(error));
        return;
    }
    lua_pushboolean(t->co, 1);
    bh_task_answer(t, 1);
}

static int conn_subscribe(lua_State *L) {
    struct bh_lua_conn *c = check(L);
    struct bh_subscriber *sub = bh_lua_conn_subscriber(c);
    struct bh_slice topic = check_topic(L, 2);
    struct bh_task *t = bh_task_may_wait(L, "conn:subscribe");
    if (!sub)
        return closed(L);
    bh_handle wait = bh_task_wait(t, 0, NULL);
    t->joining = c->handle;
    bh_list_append(&c->script->script_worker->joining, &t->in_joining);
    bh_node_subscribe(sub->worker, sub, topic, on_joined, sub->worker, wait);
    return bh_task_yield(L, t);
}

static int conn_unsubscribe(lua_State *L) {
    struct bh_subscriber *sub = bh_lua_conn_subscriber(check(L));
    struct bh_slice topic = check_topic(L, 2);
    return sub ? bh_push_result(L, bh_node_unsubscribe(sub->worker, sub, topic)) : closed(L);
}

static int conn_topics(lua_State *L) {
    struct bh_subscriber *sub = bh_lua_conn_subscriber(check(L));
    struct bh_slice prefix = BH_SLICE("topic:");
    lua_Integer n = 0;
    if (!sub)
        return closed(L);
    lua_newtable(L);
    for (unsigned i = 0; i < sub->link_count; i++) {
        struct bh_slice name = bh_hub_topic_name(bh_subscriber_links(sub)[i].topic);
        if (!bh_slice_starts(name, prefix))
            continue;
        lua_pushlstring(L, name.p + prefix.n, name.n - prefix.n);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int conn_set_expiry(lua_State *L) {
    struct bh_subscriber *sub = bh_lua_conn_subscriber(check(L));
    lua_Number at = luaL_optnumber(L, 2, 0);
    char why[BH_TIME_WHY_MAX];
    if (at != 0 && !bh_time_ok(at, why))
        return luaL_error(L, "conn:set_expiry needs nil for never, or %s", why);
    if (!sub || !sub->identity)
        return closed(L);
    sub->identity->expires = (int64_t)ceil(at);
    return bh_push_result(L, 0);
}

static int conn_allow(lua_State *L) {
    struct bh_lua_conn *c = check(L);
    struct bh_slice name = bh_check_slice(L, 2);
    lua_Number rate = luaL_checknumber(L, 3), burst = luaL_optnumber(L, 4, fmax(rate, 1));
    bool allowed = false;
    luaL_argcheck(L, name.n <= 64, 2, "a name of at most 64 bytes");
    luaL_argcheck(L, rate >= 0 && rate <= 1e9, 3, "a rate per second, 0 to 1e9");
    luaL_argcheck(L, burst >= 1 && burst <= 1e9, 4, "a burst, 1 to 1e9");
    if (!bh_lua_conn_subscriber(c))
        return closed(L);
    if (bh_lua_conn_allow(c, name, rate, burst, &allowed))
        return luaL_error(L,
                          "conn:allow: a connection has at most 16 names; do not build them from "
                          "what clients send");
    lua_pushboolean(L, allowed);
    return 1;
}

static int conn_tostring(lua_State *L) {
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(check(L)->number, id);
    lua_pushfstring(L, "conn %s", id);
    return 1;
}

static const luaL_Reg methods[] = {
    {"send", conn_send},           {"send_json", conn_send_json},     {"close", conn_close},
    {"subscribe", conn_subscribe}, {"unsubscribe", conn_unsubscribe}, {"topics", conn_topics},
    {"allow", conn_allow},         {"set_expiry", conn_set_expiry},   {NULL, NULL},
};

void bh_bind_conn(lua_State *L) {
    bh_class_new(L, BH_LUA_CONN_MT, methods, fields, conn_index, conn_newindex);
    lua_pushcfunction(L, conn_tostring);
    lua_setfield(L, -2, "__tostring");
    bh_lua_conn_set_gc(L);
    lua_pop(L, 1);
}
