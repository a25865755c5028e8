/* bind_http.c - bh.http.fetch(url, options): waits for the response.
 *
 * Misuse (an unknown option, a wrong type) raises; what depends on data (a URL, the value of a
 * header, the network) is returned as nil and a message.
 *
 * The function that waits keeps a guard on its stack, a to-be-closed value: however the task
 * finishes (a response, an error, a time-out, cancelled with its connection), the guard cancels the
 * request when it is still pending.
 *
 * A response arrives outside of any protected call and may be large, so its table is built under
 * one, on the state's own stack; when there is not enough memory, the script gets an error instead.
 */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/class.h"
#include "lua/json_value.h"
#include "run/sched.h"

#include "bellhop/base/error.h"
#include "bellhop/base/suggest.h"

#include <math.h>
#include <stdio.h>

#define GUARD_MT    "bellhop.fetch"
#define HEADERS_MAX 1024

/* The frame of http_fetch; FLAT: header names and values, one after the other. */
enum { URL = 1, OPTIONS, FLAT };

/* --- options: each reads the value on top --- */

struct options {
    struct bh_fetch_request request;
    bool has_json;
};

static int wrong_type(lua_State *L, const char *must) {
    return luaL_error(L, "bh.http.fetch: %s, not a %s", must,
                      lua_type(L, -1) == LUA_TNUMBER ? "number of this kind"
                                                     : luaL_typename(L, -1));
}

static void set_method(lua_State *L, struct options *o) {
    if (lua_type(L, -1) != LUA_TSTRING)
        wrong_type(L, "method must be a string");
    o->request.method.p = lua_tolstring(L, -1, &o->request.method.n);
}

static void set_body(lua_State *L, struct options *o) {
    if (lua_type(L, -1) != LUA_TSTRING)
        wrong_type(L, "body must be a string (json encodes a table)");
    o->request.body.p = lua_tolstring(L, -1, &o->request.body.n);
    o->request.has_body = true;
}

static void set_json(lua_State *L, struct options *o) {
    o->has_json = true; /* encoded later: other options also use the encoder's buffer */
}

static double read_number(lua_State *L, double above, double most, const char *must) {
    lua_Number n = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (!(n > above && n <= most))
        wrong_type(L, must);
    return n;
}

static void set_timeout(lua_State *L, struct options *o) {
    double s = read_number(L, 0, (double)BH_FETCH_TIMEOUT_MAX_MS / 1000,
                           "timeout must be a number of seconds, at most 600");
    o->request.timeout_ms = (uint64_t)ceil(s * 1000);
}

static void set_max_bytes(lua_State *L, struct options *o) {
    o->request.max_bytes = (size_t)ceil(
        read_number(L, 0, BH_FETCH_BYTES_MAX, "max_bytes must be a number from 1 to 64 MiB"));
}

static void set_follow(lua_State *L, struct options *o) {
    static const char must[] = "follow must be a number of redirects, from 0 to 10";
    if (!lua_isinteger(L, -1))
        wrong_type(L, must);
    o->request.redirects = (unsigned)read_number(L, -0.5, BH_FETCH_REDIRECTS_MAX, must);
}

/* Adds the strings at name and value; numbers become strings. */
static void add_header(lua_State *L, int name, int value) {
    lua_Integer n = (lua_Integer)lua_rawlen(L, FLAT);
    int type = lua_type(L, value);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(L, "bh.http.fetch: headers: %s must be a string, a number, or a list of them",
                   lua_tostring(L, name));
    if (n >= 2 * HEADERS_MAX)
        luaL_error(L, "bh.http.fetch: headers: too many");
    lua_pushvalue(L, name);
    lua_rawseti(L, FLAT, n + 1);
    lua_pushvalue(L, value);
    lua_tostring(L, -1);
    lua_rawseti(L, FLAT, n + 2);
}

static void set_headers(lua_State *L, struct options *o) {
    int table = lua_gettop(L), name = table + 1, value = table + 2;
    if (!lua_istable(L, table))
        wrong_type(L, "headers must be a table");
    for (lua_pushnil(L); lua_next(L, table); lua_settop(L, name)) {
        if (lua_type(L, name) != LUA_TSTRING)
            luaL_error(L, "bh.http.fetch: headers: names must be strings");
        if (!lua_istable(L, value)) {
            add_header(L, name, value);
            continue;
        }
        for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, value); i <= n; i++) {
            lua_rawgeti(L, value, i);
            add_header(L, name, value + 1);
            lua_settop(L, value);
        }
    }
}

static const struct {
    const char *name;
    void (*set)(lua_State *L, struct options *o);
} fields[] = {
    {"method", set_method}, {"headers", set_headers}, {"body", set_body},
    {"json", set_json},     {"timeout", set_timeout}, {"max_bytes", set_max_bytes},
    {"follow", set_follow},
};
#define FIELD_COUNT (sizeof fields / sizeof *fields)

const char *bh_fetch_option(size_t i) {
    return i < FIELD_COUNT ? fields[i].name : NULL;
}

static int refuse_unknown(lua_State *L, const char *name) {
    const char *names[FIELD_COUNT + 1] = {NULL};
    char hint[64], short_name[41];
    for (size_t i = 0; i < FIELD_COUNT; i++)
        names[i] = fields[i].name;
    snprintf(short_name, sizeof short_name, "%s", name);
    return luaL_error(L, "bh.http.fetch has no option \"%s\"%s", short_name,
                      bh_suggest_phrase(name, names, hint, sizeof hint));
}

static void read_option(lua_State *L, struct options *o) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(not a string)";
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (strcmp(fields[i].name, name) == 0) {
            fields[i].set(L, o);
            return;
        }
    refuse_unknown(L, name);
}

static void read_options(lua_State *L, struct options *o) {
    if (lua_isnil(L, OPTIONS))
        return;
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, OPTIONS); lua_pop(L, 1))
        read_option(L, o);
    if (o->has_json && o->request.has_body)
        luaL_error(L, "bh.http.fetch: body and json exclude each other");
}

/* --- the request, whose strings are in the frame --- */

static struct bh_slice slice_at(lua_State *L, lua_Integer i) {
    struct bh_slice s;
    lua_rawgeti(L, FLAT, i);
    s.p = lua_tolstring(L, -1, &s.n);
    lua_pop(L, 1);
    return s;
}

/* Leaves the array on the stack. */
static void build_headers(lua_State *L, struct options *o) {
    lua_Integer count = (lua_Integer)lua_rawlen(L, FLAT) / 2;
    bool typed = false;
    struct bh_header *all = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *all, 0);
    for (lua_Integer i = 0; i < count; i++) {
        all[i].name = slice_at(L, 2 * i + 1);
        all[i].value = slice_at(L, 2 * i + 2);
        typed = typed || bh_slice_caseeq(all[i].name, BH_SLICE("content-type"));
    }
    if (o->has_json && !typed)
        all[count++] = (struct bh_header){BH_SLICE("Content-Type"), BH_SLICE("application/json")};
    o->request.headers = all;
    o->request.header_count = (size_t)count;
}

/* Leaves the text on the stack; false: the error text. */
static bool encode_json(lua_State *L, struct options *o) {
    struct bh_bytes *scratch = &bh_script_of(L)->scratch;
    char why[BH_JSON_WHY_MAX];
    if (!o->has_json)
        return true;
    lua_getfield(L, OPTIONS, "json");
    bh_bytes_clear(scratch);
    if (bh_json_encode(L, lua_gettop(L), scratch, why)) {
        lua_pushfstring(L, "json: %s", why);
        return false;
    }
    bh_push_slice(L, bh_bytes_slice(scratch));
    o->request.body.p = lua_tolstring(L, -1, &o->request.body.n);
    o->request.has_body = true;
    return true;
}

/* --- the guard --- */

struct guard {
    struct bh_fetch *fetch;
    bh_handle call; /* 0: not pending */
};

static int cancel_request(lua_State *L) {
    struct guard *g = luaL_checkudata(L, 1, GUARD_MT);
    bh_handle call = g->call;
    g->call = 0;
    if (call)
        g->fetch->vt->cancel(g->fetch, call);
    return 0;
}

static struct guard *push_guard(lua_State *L, struct bh_fetch *fetch) {
    struct guard *g = lua_newuserdatauv(L, sizeof *g, 0);
    *g = (struct guard){fetch, 0};
    luaL_setmetatable(L, GUARD_MT);
    lua_toclose(L, -1);
    return g;
}

/* --- the response --- */

/* Adds to the table of headers on top. Values of the same name are joined with ", ", except
 * cookies, whose dates contain commas: these become a list. */
static void push_header(lua_State *L, const struct bh_header *h) {
    bh_push_slice(L, h->name);
    lua_pushvalue(L, -1);
    bool there = lua_rawget(L, -3) != LUA_TNIL;
    if (bh_slice_eq(h->name, BH_SLICE("set-cookie"))) {
        if (!there) {
            lua_pop(L, 1);
            lua_newtable(L);
        }
        bh_push_slice(L, h->value);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    } else if (there) {
        lua_pushliteral(L, ", ");
        bh_push_slice(L, h->value);
        lua_concat(L, 3);
    } else {
        lua_pop(L, 1);
        bh_push_slice(L, h->value);
    }
    lua_rawset(L, -3);
}

static int make_response(lua_State *L) {
    const struct bh_fetch_response *r = lua_touserdata(L, 1);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, r->status);
    lua_setfield(L, -2, "status");
    bh_push_slice(L, r->body);
    lua_setfield(L, -2, "body");
    lua_newtable(L);
    for (size_t i = 0; i < r->header_count; i++)
        push_header(L, &r->headers[i]);
    lua_setfield(L, -2, "headers");
    return 1;
}

static void answer_response(struct bh_task *t, const struct bh_fetch_response *response) {
    lua_State *L = t->script->L;
    int top = lua_gettop(L);
    lua_checkstack(L, 4);
    lua_pushcfunction(L, make_response);
    lua_pushlightuserdata(L, (void *)response);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_settop(L, top);
        bh_task_answer_error(t, "not enough memory for the response");
        return;
    }
    lua_checkstack(t->co, 4);
    lua_xmove(L, t->co, 1);
    bh_task_answer(t, 1);
}

static void on_response(void *ud, bh_handle wait, int error, const char *why,
                        const struct bh_fetch_response *response) {
    struct bh_task *t = bh_task_waiting(ud, wait);
    if (!t)
        return;
    if (error)
        bh_task_answer_error(t, why);
    else
        answer_response(t, response);
}

/* --- fetch --- */

static int http_fetch(lua_State *L) {
    struct bh_task *t = bh_task_may_wait(L, "bh.http.fetch");
    struct bh_worker *w = t->script->worker;
    struct options o = {.request.url = bh_check_slice(L, URL)};
    lua_settop(L, OPTIONS);
    lua_newtable(L);
    read_options(L, &o);
    if (!w->fetch)
        return bh_push_error(L, "no HTTP client is available");
    if (!encode_json(L, &o))
        return bh_push_error(L, lua_tostring(L, -1));
    build_headers(L, &o);
    struct guard *guard = push_guard(L, w->fetch);
    bh_handle wait = bh_task_wait(t, 0, NULL);
    guard->call = w->fetch->vt->call(w->fetch, &o.request, on_response, w, wait);
    return bh_task_yield(L, t);
}

static const luaL_Reg functions[] = {{"fetch", http_fetch}, {NULL, NULL}};

void bh_bind_http(lua_State *L) {
    luaL_newmetatable(L, GUARD_MT);
    lua_pushcfunction(L, cancel_request);
    lua_setfield(L, -2, "__close");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    bh_set_module(L, "http", functions);
}
