/* routes.c - the table of endpoints: filled while scripts are loaded, only read afterwards.
 *
 * It is sorted in the order of the search, so a look-up takes the first match: by how specific the
 * path is, HEAD before GET (which also answers HEAD), then in the order of the scripts. A key with
 * a mistake would be an endpoint that is never called, so each key is checked exactly. */
#include "run/routes.h"

#include "run/state.h"

#include "bellhop/base/mem.h"
#include "bellhop/base/suggest.h"

#include <stdio.h>
#include <string.h>

enum { GET, HEAD };
static const char *const methods[] = {[GET] = "GET", [HEAD] = "HEAD", "POST",    "PUT",
                                      "PATCH",       "DELETE",        "OPTIONS", NULL};

/* --- loading --- */

static int method_number(struct bh_slice name) {
    for (int i = 0; methods[i]; i++)
        if (bh_slice_eq(name, bh_slice_cstr(methods[i])))
            return i;
    return -1;
}

static int bad_key(lua_State *L, const char *file, const char *key, const char *why) {
    return luaL_error(L, "%s: http[\"%s\"]: %s", file, key, why);
}

static int bad_method(lua_State *L, const char *file, const char *key, struct bh_slice method) {
    char name[16], hint[64];
    snprintf(name, sizeof name, "%.*s", BH_SLICE_ARG(method));
    for (char *c = name; *c; c++)
        *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
    return luaL_error(L,
                      "%s: http[\"%s\"]: unknown method%s (the methods are GET, HEAD, POST, PUT, "
                      "PATCH, DELETE and OPTIONS)",
                      file, key, bh_suggest_phrase(name, methods, hint, sizeof hint));
}

/* Splits "POST /x/:id"; raises when the key is not like that. */
static struct bh_script_route parse_key(lua_State *L, const char *file, struct bh_slice *path) {
    struct bh_slice method;
    const char *why;
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "%s: http has a key that is a %s; keys are like \"POST /x/:id\"", file,
                   luaL_typename(L, -2));
    const char *key = lua_tolstring(L, -2, &path->n);
    path->p = key;
    if (!bh_slice_split(path, ' ', &method) || !path->p)
        bad_key(L, file, key, "a key is method, one space and path, like \"POST /x/:id\"");
    int number = method_number(method);
    if (number < 0)
        bad_method(L, file, key, method);
    if (bh_path_check(*path, &why))
        bad_key(L, file, key, why);
    if (!lua_isfunction(L, -1))
        luaL_error(L, "%s: http[\"%s\"] must be a function, not a %s", file, key,
                   luaL_typename(L, -1));
    return (struct bh_script_route){.file = file, .method = (uint8_t)number};
}

static const struct bh_script_route *same_route(const struct bh_routes *r, unsigned method,
                                                struct bh_slice path) {
    for (size_t i = 0; i < r->count; i++)
        if (r->list[i].method == method && bh_path_same(bh_slice_cstr(r->list[i].path), path))
            return &r->list[i];
    return NULL;
}

static bool is_before(const struct bh_script_route *a, const struct bh_script_route *b) {
    int order = bh_path_compare(bh_slice_cstr(a->path), bh_slice_cstr(b->path));
    return order < 0 || (order == 0 && a->method == HEAD && b->method != HEAD);
}

static void insert(struct bh_routes *r, const struct bh_script_route *route) {
    size_t i = r->count++;
    r->list = bh_realloc(r->list, r->count * sizeof *r->list);
    for (; i > 0 && is_before(route, &r->list[i - 1]); i--)
        r->list[i] = r->list[i - 1];
    r->list[i] = *route;
}

/* Key and function are on top. */
static void add_route(lua_State *L, struct bh_script *s, const char *file) {
    struct bh_slice path;
    struct bh_script_route route = parse_key(L, file, &path);
    /* A pattern is checked as a path: if ":id" is taken there, so is every value of it. */
    if (s->config->path_is_taken && s->config->path_is_taken(path))
        bad_key(L, file, lua_tostring(L, -2), "bellhop itself answers at this path");
    const struct bh_script_route *other = same_route(&s->routes, route.method, path);
    if (other && other->file == file)
        luaL_error(L, "%s: http[\"%s\"] and http[\"%s %s\"] are the same endpoint", file,
                   lua_tostring(L, -2), methods[other->method], other->path);
    if (other)
        return;
    lua_pushvalue(L, -1);
    route.ref = luaL_ref(L, LUA_REGISTRYINDEX);
    route.name = bh_strdup(lua_tostring(L, -2));
    route.path = strchr(route.name, ' ') + 1;
    insert(&s->routes, &route);
    s->hooks.present |= bh_script_hook_bit(HOOK_HTTP);
}

void bh_routes_add(lua_State *L, struct bh_script *s, const char *file) {
    if (!lua_istable(L, -1))
        luaL_error(L,
                   "%s: http must be a table, for example http = { [\"POST /x/:id\"] = "
                   "function(req) return 204 end }; it is a %s",
                   file, luaL_typename(L, -1));
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
        add_route(L, s, file);
}

/* --- finding --- */

static bool answers(const struct bh_script_route *route, int method) {
    return route->method == method || (route->method == GET && method == HEAD);
}

const struct bh_script_route *bh_routes_find(const struct bh_routes *r, struct bh_slice method,
                                             struct bh_slice path, struct bh_path_params *params) {
    int number = method_number(method);
    for (size_t i = 0; i < r->count; i++)
        if (answers(&r->list[i], number) &&
            bh_path_match(bh_slice_cstr(r->list[i].path), path, params))
            return &r->list[i];
    return NULL;
}

const char *bh_routes_allow(struct bh_routes *r, struct bh_slice path) {
    struct bh_path_params params;
    unsigned found = 0;
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++)
        if (bh_path_match(bh_slice_cstr(r->list[i].path), path, &params))
            found |= 1u << r->list[i].method;
    found |= (found & 1u << GET) << HEAD;
    for (int i = 0; methods[i]; i++)
        if (found & 1u << i)
            n += (size_t)snprintf(r->allow + n, sizeof r->allow - n, "%s%s", n ? ", " : "",
                                  methods[i]);
    return n ? r->allow : NULL;
}

void bh_routes_free(struct bh_routes *r) {
    for (size_t i = 0; i < r->count; i++)
        bh_free(r->list[i].name);
    bh_free(r->list);
    *r = (struct bh_routes){0};
}
