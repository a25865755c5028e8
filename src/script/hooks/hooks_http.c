/* hooks_http.c - http["METHOD /path"]: endpoints of scripts.
 *
 * A request calls one function; there is no chain. on_tenant runs before it, as for all requests;
 * API keys and on_api do not apply. The function returns `status, headers, body`. A wrong
 * type, an invalid status or a header that belongs to the connection is an error of the script: it
 * is logged, and the client gets a 500 without details. nil is 404. */
#include "bind/bind_request.h"
#include "hooks/hooks.h"
#include "hooks/identity.h"
#include "lua/json_value.h"
#include "run/task_log.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"

#include <stdio.h>

struct reader {
    lua_State *L;
    struct bh_response response;
    struct bh_response_headers headers;
    struct bh_header all[BH_RESPONSE_HEADERS_MAX + 1];
    struct bh_bytes json; /* of a body that is a table */
    char why[BH_WHY_MAX];
};

/* --- responses --- */

static void respond(struct bh_task *t, const struct bh_response *response) {
    t->u.http.done(t->u.http.ud, t->u.http.handle, response);
}

static const struct bh_header json_type = {BH_SLICE("Content-Type"), BH_SLICE("application/json")};

#define JSON_RESPONSE(number, text)                                                                \
    (struct bh_response) {                                                                         \
        .status = (number), .headers = &json_type, .header_count = 1, .body = (text)               \
    }

#define ERROR(code, message)                                                                       \
    BH_SLICE("{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}\n")

static struct bh_response failure(void) {
    return JSON_RESPONSE(500, ERROR("script_error", "The endpoint failed; see the server's log."));
}

static void fail(struct bh_task *t) {
    struct bh_response no = failure();
    respond(t, &no);
}

static struct bh_response not_found(void) {
    return JSON_RESPONSE(404, ERROR("not_found", "not found"));
}

/* --- reading what a function returned --- */

static int wrong_type(struct reader *r, const char *what, int index) {
    snprintf(r->why, sizeof r->why, "an endpoint returns status, headers, body; %s, not a %s", what,
             luaL_typename(r->L, index));
    return BH_ESCRIPT;
}

static int read_status(struct reader *r, int index) {
    lua_Integer status = lua_isinteger(r->L, index) ? lua_tointeger(r->L, index) : 0;
    if (status == 0)
        return wrong_type(r, "the status must be an integer", index);
    if (status < 200 || status > 599) {
        snprintf(r->why, sizeof r->why, "the status of an endpoint must be 200 to 599");
        return BH_ESCRIPT;
    }
    r->response.status = (int)status;
    return 0;
}

/* Sets *typed when a Content-Type is among them. */
static int read_headers(struct reader *r, int index, bool *typed) {
    if (lua_isnil(r->L, index))
        return 0;
    if (!lua_istable(r->L, index))
        return wrong_type(r, "the headers must be a table or nil", index);
    int error = bh_response_headers_read(r->L, index, &r->headers, r->why);
    for (size_t i = 0; i < r->headers.count && !error; i++) {
        struct bh_slice name = r->headers.list[i].name;
        r->all[r->response.header_count++] = r->headers.list[i];
        *typed = *typed || bh_slice_caseeq(name, BH_SLICE("Content-Type"));
        if (bh_response_header_ok(name))
            continue;
        snprintf(r->why, sizeof r->why, "headers: %.*s is set by the server, not by an endpoint",
                 (int)(name.n < 64 ? name.n : 64), name.p);
        error = BH_ESCRIPT;
    }
    return error;
}

static int read_body(struct reader *r, int index, const char **type) {
    char why[BH_JSON_WHY_MAX];
    *type = NULL;
    if (lua_isnil(r->L, index))
        return 0;
    if (lua_type(r->L, index) == LUA_TSTRING) {
        r->response.body.p = lua_tolstring(r->L, index, &r->response.body.n);
        *type = "text/plain; charset=utf-8";
        return 0;
    }
    if (!lua_istable(r->L, index))
        return wrong_type(r, "the body must be a string, or a table to be sent as JSON", index);
    *type = "application/json";
    if (bh_json_encode(r->L, index, &r->json, why)) {
        snprintf(r->why, sizeof r->why, "the body cannot be encoded as JSON: %.200s", why);
        return BH_ESCRIPT;
    }
    r->response.body = bh_bytes_slice(&r->json);
    return 0;
}

static int read_response(struct reader *r, int first) {
    const char *type;
    bool typed = false;
    lua_settop(r->L, first + 2);
    r->response.headers = r->all;
    int error = read_status(r, first);
    if (!error)
        error = read_headers(r, first + 1, &typed);
    if (!error)
        error = read_body(r, first + 2, &type);
    if (!error && type && !typed)
        r->all[r->response.header_count++] =
            (struct bh_header){BH_SLICE("Content-Type"), bh_slice_cstr(type)};
    return error;
}

static void send_response(struct bh_task *t) {
    struct reader r = {.L = t->co};
    if (read_response(&r, t->argc + 1)) {
        bh_task_log_error(t, r.why);
        fail(t);
    } else {
        respond(t, &r.response);
    }
    bh_bytes_free(&r.json);
}

static void http_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct bh_response none = not_found();
    if (outcome == BH_UNDECIDED && lua_gettop(t->co) == t->argc)
        bh_task_log_slip(t, BH_SLIP_NO_RESPONSE);
    if (outcome == BH_DECIDED)
        send_response(t);
    else if (outcome == BH_UNDECIDED)
        respond(t, &none);
    else if (outcome == BH_FAILED)
        fail(t);
}

/* --- the port --- */

int bh_hook_route(struct bh_hooks *h, struct bh_slice method, struct bh_slice path,
                  const char **allow) {
    struct bh_script *s = (struct bh_script *)h;
    struct bh_path_params params;
    if (bh_routes_find(&s->routes, method, path, &params))
        return 0;
    *allow = bh_routes_allow(&s->routes, path);
    return *allow ? BH_EINVAL : BH_ENOTFOUND;
}

/* on_tenant refused. Its text becomes the message of an error, unless it is a JSON object. */
static void respond_refused(const struct bh_tenant_call *call, bh_response_cb done, void *ud,
                            bh_handle handle) {
    struct bh_slice text = bh_tenant_body(call);
    struct bh_bytes body = {0};
    if (bh_json_check(text, NULL) || bh_json_root(text).type != BH_JSON_OBJECT) {
        bh_bytes_adds(&body, "{\"error\":{\"code\":\"refused\",\"message\":");
        bh_json_quote(&body, text);
        bh_bytes_adds(&body, "}}\n");
        text = bh_bytes_slice(&body);
    }
    done(ud, handle, &JSON_RESPONSE(call->status, text));
    bh_bytes_free(&body);
}

struct incoming {
    const struct bh_request *request;
    struct bh_slice body;
};

static int push_request(lua_State *L) {
    const struct incoming *in = lua_touserdata(L, 1);
    bh_request_push(L, in->request, &in->body);
    return 1;
}

/* Pushes the req on s->L; false: not enough memory. The client chooses the size of the body, so
 * this must fail only the request. */
static bool make_request(struct bh_script *s, const struct bh_script_route *route,
                         const struct bh_request *request, struct bh_slice body) {
    struct incoming in = {request, body};
    lua_checkstack(s->L, 4);
    lua_pushcfunction(s->L, push_request);
    lua_pushlightuserdata(s->L, &in);
    if (lua_pcall(s->L, 1, 1, 0) == LUA_OK)
        return true;
    bh_script_count_error(HOOK_HTTP);
    BH_LOG_LIMITED(BH_LOG_ERROR, "not enough memory to pass a request to the script",
                   bh_kv_str("endpoint", route->name), bh_kv_int("body_bytes", (int64_t)body.n),
                   bh_kv_str("error", lua_tostring(s->L, -1)));
    lua_pop(s->L, 1);
    return false;
}

/* The req is on top of s->L, which it pops. */
static bh_handle run_route(struct bh_script *s, const struct bh_script_route *route,
                           bh_response_cb done, void *ud, bh_handle handle) {
    struct bh_task *t = bh_task_new(s, HOOK_HTTP, http_done);
    t->u.http.done = done;
    t->u.http.ud = ud;
    t->u.http.handle = handle;
    t->u.http.route = route;
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, route->ref);
    lua_xmove(s->L, t->co, 1);
    bh_handle ticket = bh_task_ticket(t);
    bh_task_run(t, 2);
    return bh_slots_get(&s->script_worker->slots, ticket) ? ticket : 0;
}

bh_handle bh_hook_http(struct bh_hooks *h, const struct bh_request *request, struct bh_slice body,
                       bh_response_cb done, void *ud, bh_handle handle) {
    struct bh_script *s = (struct bh_script *)h;
    struct bh_tenant_call call = {.ok = true};
    struct bh_path_params params;
    struct bh_request with_params = *request;
    const struct bh_script_route *route =
        bh_routes_find(&s->routes, request->method, request->path, &params);
    with_params.params = params.list;
    with_params.param_count = route ? params.count : 0;
    if (!route || !make_request(s, route, &with_params, body)) {
        struct bh_response no = route ? failure() : not_found();
        done(ud, handle, &no);
        return 0;
    }
    bh_tenant_resolve(s, s->L, &call);
    if (call.status == 0)
        return run_route(s, route, done, ud, handle);
    lua_pop(s->L, 1);
    respond_refused(&call, done, ud, handle);
    bh_bytes_free(&call.body);
    return 0;
}
