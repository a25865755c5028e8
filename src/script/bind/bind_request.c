/* bind_request.c - req: the HTTP request of a handshake, an API call or an endpoint.
 *
 * One userdata holds a copy of everything, so a script may keep req over a wait or for ever. Query
 * arguments and cookies are parsed on access. */
#include "bind/bind_request.h"

#include "bind/bind.h"
#include "lua/args.h"
#include "lua/class.h"
#include "run/state.h"

#define REQUEST_MT "bellhop.req"

enum { BODY_VALUE = 1, PARAMS_VALUE, VALUE_COUNT = PARAMS_VALUE };

enum {
    F_METHOD = 1,
    F_PATH,
    F_QUERY,
    F_HOST,
    F_TENANT,
    F_IP,
    F_PORT,
    F_SUBPROTOCOLS,
    F_LISTENER,
    F_SECURE,
    F_TLS,
    F_BODY,
    F_PARAMS,
};
static const char *const fields[] = {"method", "path", "query",        "host",     "tenant",
                                     "ip",     "port", "subprotocols", "listener", "secure",
                                     "tls",    "body", "params",       NULL};

static size_t tls_bytes(const struct bh_request_tls *t) {
    size_t n = t->version.n + t->cipher.n + t->sni.n + t->subject.n;
    for (size_t i = 0; i < t->san_count; i++)
        n += t->sans[i].n;
    return n;
}

static size_t total_bytes(const struct bh_request *r) {
    size_t n = r->method.n + r->path.n + r->query.n + r->host.n + r->peer_ip.n + r->listener.n;
    for (size_t i = 0; i < r->header_count; i++)
        n += r->headers[i].name.n + r->headers[i].value.n;
    for (size_t i = 0; i < r->param_count; i++)
        n += r->params[i].name.n + r->params[i].value.n;
    return n + (r->tls ? tls_bytes(r->tls) : 0);
}

static struct bh_slice copy_slice(char **at, struct bh_slice s) {
    struct bh_slice copy = bh_slice(*at, s.n);
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

static void copy_tls(struct bh_lua_request *req, const struct bh_request_tls *from,
                     struct bh_slice *sans, char **at) {
    req->tls = *from;
    req->tls.version = copy_slice(at, from->version);
    req->tls.cipher = copy_slice(at, from->cipher);
    req->tls.sni = copy_slice(at, from->sni);
    req->tls.subject = copy_slice(at, from->subject);
    for (size_t i = 0; i < from->san_count; i++)
        sans[i] = copy_slice(at, from->sans[i]);
    req->tls.sans = sans;
    req->request.tls = &req->tls;
}

struct bh_lua_request *bh_request_push(lua_State *L, const struct bh_request *from,
                                       const struct bh_slice *body) {
    size_t san_count = from->tls ? from->tls->san_count : 0;
    size_t array = from->header_count * sizeof(struct bh_header);
    array += from->param_count * sizeof(struct bh_path_param);
    array += san_count * sizeof(struct bh_slice);
    struct bh_lua_request *req =
        lua_newuserdatauv(L, sizeof *req + array + total_bytes(from), VALUE_COUNT);
    struct bh_header *headers = (struct bh_header *)(req + 1);
    struct bh_path_param *params = (struct bh_path_param *)(headers + from->header_count);
    char *at = (char *)(req + 1) + array;
    req->request = *from;
    req->tenant_len = 0;
    req->request.method = copy_slice(&at, from->method);
    req->request.path = copy_slice(&at, from->path);
    req->request.query = copy_slice(&at, from->query);
    req->request.host = copy_slice(&at, from->host);
    req->request.peer_ip = copy_slice(&at, from->peer_ip);
    req->request.listener = copy_slice(&at, from->listener);
    for (size_t i = 0; i < from->header_count; i++) {
        headers[i].name = copy_slice(&at, from->headers[i].name);
        headers[i].value = copy_slice(&at, from->headers[i].value);
    }
    req->request.headers = headers;
    for (size_t i = 0; i < from->param_count; i++) {
        params[i].name = copy_slice(&at, from->params[i].name);
        params[i].value = copy_slice(&at, from->params[i].value);
    }
    req->request.params = params;
    if (from->tls)
        copy_tls(req, from->tls, (struct bh_slice *)(params + from->param_count), &at);
    if (body) {
        bh_push_slice(L, *body);
        lua_setiuservalue(L, -2, BODY_VALUE);
    }
    luaL_setmetatable(L, REQUEST_MT);
    return req;
}

static const struct bh_lua_request *self(lua_State *L) {
    return bh_class_self(L, bh_script_of(L)->request_class, REQUEST_MT);
}

static const struct bh_request *check(lua_State *L) {
    return &self(L)->request;
}

/* --- fields --- */

static void push_subprotocols(lua_State *L, const struct bh_request *r) {
    lua_Integer n = 0;
    lua_newtable(L);
    for (size_t i = 0; i < r->header_count; i++) {
        struct bh_slice rest = r->headers[i].value, part;
        if (!bh_slice_caseeq(r->headers[i].name, BH_SLICE("Sec-WebSocket-Protocol")))
            continue;
        while (bh_slice_split(&rest, ',', &part)) {
            bh_push_slice(L, bh_slice_trim(part));
            lua_rawseti(L, -2, ++n);
        }
    }
}

static void set_slice(lua_State *L, const char *name, struct bh_slice value) {
    bh_push_optional(L, value);
    lua_setfield(L, -2, name);
}

static void push_tls(lua_State *L, const struct bh_request_tls *t) {
    if (!t) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 6);
    set_slice(L, "version", t->version);
    set_slice(L, "cipher", t->cipher);
    set_slice(L, "sni", t->sni);
    set_slice(L, "subject", t->subject);
    lua_pushboolean(L, t->verified);
    lua_setfield(L, -2, "verified");
    lua_createtable(L, (int)t->san_count, 0);
    for (size_t i = 0; i < t->san_count; i++) {
        bh_push_slice(L, t->sans[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "san");
}

static bool is_escaped(struct bh_slice raw) {
    return raw.n && (memchr(raw.p, '%', raw.n) || memchr(raw.p, '+', raw.n));
}

/* Decodes into the state's scratch buffer if needed; false: a bad escape. */
static bool decode(struct bh_script *s, struct bh_slice raw, bool plus_is_space,
                   struct bh_slice *out) {
    *out = raw;
    if (!is_escaped(raw))
        return true;
    bh_bytes_clear(&s->scratch);
    bh_bytes_reserve(&s->scratch, raw.n + 1);
    int n = bh_slice_urldecode(raw, plus_is_space, s->scratch.p);
    *out = bh_slice(s->scratch.p, n > 0 ? (size_t)n : 0);
    return n >= 0;
}

/* Created on first access. */
static void push_params(lua_State *L, const struct bh_request *r) {
    struct bh_slice value;
    if (lua_getiuservalue(L, 1, PARAMS_VALUE) != LUA_TNIL)
        return;
    lua_createtable(L, 0, (int)r->param_count);
    for (size_t i = 0; i < r->param_count; i++) {
        bh_push_slice(L, r->params[i].name);
        decode(bh_script_of(L), r->params[i].value, false, &value);
        bh_push_slice(L, value);
        lua_rawset(L, -3);
    }
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, PARAMS_VALUE);
}

/* The req is argument 1. */
static void push_field(lua_State *L, const struct bh_lua_request *req, int field) {
    const struct bh_request *r = &req->request;
    switch (field) {
    case F_METHOD:
        bh_push_slice(L, r->method);
        return;
    case F_PATH:
        bh_push_slice(L, r->path);
        return;
    case F_QUERY:
        bh_push_slice(L, r->query);
        return;
    case F_HOST:
        bh_push_slice(L, r->host);
        return;
    case F_TENANT:
        bh_push_optional(L, bh_slice(req->tenant, req->tenant_len));
        return;
    case F_IP:
        bh_push_slice(L, r->peer_ip);
        return;
    case F_PORT:
        lua_pushinteger(L, r->peer_port);
        return;
    case F_SUBPROTOCOLS:
        push_subprotocols(L, r);
        return;
    case F_LISTENER:
        bh_push_slice(L, r->listener);
        return;
    case F_SECURE:
        lua_pushboolean(L, r->secure);
        return;
    case F_TLS:
        push_tls(L, r->tls);
        return;
    case F_BODY:
        lua_getiuservalue(L, 1, BODY_VALUE);
        return;
    case F_PARAMS:
        push_params(L, r);
        return;
    default:
        lua_pushnil(L);
        return;
    }
}

/* Methods are accessed most, and check the req themselves. */
static int request_index(lua_State *L) {
    int field = bh_class_member(L);
    if (field >= 0)
        push_field(L, self(L), field);
    return 1;
}

/* --- methods --- */

/* The raw value of the next argument with this name. */
static bool next_arg(struct bh_script *s, struct bh_slice *rest, struct bh_slice name,
                     struct bh_slice *value) {
    struct bh_slice pair, key;
    while (bh_slice_split(rest, '&', &pair)) {
        struct bh_slice raw = pair, decoded;
        if (!bh_slice_split(&raw, '=', &key))
            continue;
        *value = raw.p ? raw : bh_slice("", 0);
        if (key.n >= name.n && decode(s, key, true, &decoded) && bh_slice_eq(decoded, name))
            return true;
    }
    return false;
}

static int request_arg(lua_State *L) {
    struct bh_slice rest = check(L)->query, value;
    struct bh_script *s = bh_script_of(L);
    if (!next_arg(s, &rest, bh_check_slice(L, 2), &value) || !decode(s, value, true, &value))
        return 0;
    bh_push_slice(L, value);
    return 1;
}

static int request_args(lua_State *L) {
    struct bh_slice rest = check(L)->query, name = bh_check_slice(L, 2), value;
    struct bh_script *s = bh_script_of(L);
    lua_Integer n = 0;
    lua_newtable(L);
    while (next_arg(s, &rest, name, &value)) {
        if (!decode(s, value, true, &value))
            continue;
        bh_push_slice(L, value);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* Several headers of one name are joined with commas (RFC 9110, 5.3). */
static int request_header(lua_State *L) {
    const struct bh_request *r = check(L);
    struct bh_slice name = bh_check_slice(L, 2);
    int found = 0;
    for (size_t i = 0; i < r->header_count; i++) {
        if (!bh_slice_caseeq(r->headers[i].name, name))
            continue;
        if (found++)
            lua_pushliteral(L, ", ");
        bh_push_slice(L, r->headers[i].value);
        if (found > 1)
            lua_concat(L, 3);
    }
    return found ? 1 : 0;
}

static bool find_cookie(struct bh_slice header, struct bh_slice name, struct bh_slice *value) {
    struct bh_slice pair, key;
    while (bh_slice_split(&header, ';', &pair)) {
        struct bh_slice rest = bh_slice_trim(pair);
        if (!bh_slice_split(&rest, '=', &key) || !rest.p || !bh_slice_eq(key, name))
            continue;
        *value = rest;
        if (rest.n >= 2 && rest.p[0] == '"' && rest.p[rest.n - 1] == '"')
            *value = bh_slice(rest.p + 1, rest.n - 2);
        return true;
    }
    return false;
}

static int request_cookie(lua_State *L) {
    const struct bh_request *r = check(L);
    struct bh_slice name = bh_check_slice(L, 2), value;
    for (size_t i = 0; i < r->header_count; i++) {
        if (bh_slice_caseeq(r->headers[i].name, BH_SLICE("Cookie")) &&
            find_cookie(r->headers[i].value, name, &value)) {
            bh_push_slice(L, value);
            return 1;
        }
    }
    return 0;
}

static int request_json(lua_State *L) {
    check(L);
    enum bh_json_big big = bh_check_json_options(L, 2);
    if (lua_getiuservalue(L, 1, BODY_VALUE) != LUA_TSTRING)
        return bh_push_error(L, "this request has no body here");
    return bh_json_decode(L, bh_check_slice(L, -1), big);
}

static const luaL_Reg methods[] = {
    {"arg", request_arg},       {"args", request_args}, {"header", request_header},
    {"cookie", request_cookie}, {"json", request_json}, {NULL, NULL},
};

void bh_bind_request(lua_State *L) {
    bh_class_new(L, REQUEST_MT, methods, fields, request_index, NULL);
    bh_script_of(L)->request_class = lua_topointer(L, -1);
    lua_pop(L, 1);
}
