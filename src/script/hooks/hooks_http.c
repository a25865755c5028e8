/* hooks_http.c - http["METHOD /path"]: endpoints of the scripts' own.
 *
 * A request has one function and no chain. on_tenant is asked before it, as for everything that
 * comes in; the API's keys and on_api are not. What the function returns is `status, headers,
 * body`, and nothing in it is guessed: a wrong type, a status that is none or a header that belongs
 * to the connection is the script's mistake, logged, and 500 for the client, who is told no more
 * than that. nil is 404, so that a function can say that there is no such thing. */
#include "bind/bind_request.h"
#include "hooks/hooks.h"
#include "hooks/identity.h"
#include "lua/json_value.h"
#include "run/sched.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"

#include <stdio.h>

struct reader {
    lua_State *L;
    struct bh_response response;
    struct bh_answer_headers headers;
    struct bh_header all[BH_ANSWER_HEADERS_MAX + 1];
    struct bh_bytes json; /* of a body that is a table */
    char why[BH_WHY_MAX];
};

/* --- answers --- */

static void respond(struct bh_task *t, const struct bh_response *response) {
    t->u.http.done(t->u.http.ud, t->u.http.handle, response);
}

static const struct bh_header json_type = {BH_SLICE("Content-Type"), BH_SLICE("application/json")};

#define JSON_ANSWER(number, text)                                                                  \
    (struct bh_response) {                                                                         \
        .status = (number), .headers = &json_type, .header_count = 1, .body = (text)               \
    }

#define ERROR(code, message)                                                                       \
    BH_SLICE("{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}\n")

static struct bh_response failure(void) {
    return JSON_ANSWER(500,
                       ERROR("script_error", "The endpoint failed; the server's log says why."));
}

static void fail(struct bh_task *t) {
    struct bh_response no = failure();
    respond(t, &no);
}

static struct bh_response not_found(void) {
    return JSON_ANSWER(404, ERROR("not_found", "there is nothing at this path"));
}

/* --- reading what a function returned --- */

static int wrong(struct reader *r, const char *what, int index) {
    snprintf(r->why, sizeof r->why, "an endpoint returns status, headers, body; %s, not a %s", what,
             luaL_typename(r->L, index));
    return BH_ESCRIPT;
}

static int read_status(struct reader *r, int index) {
    lua_Integer status = lua_isinteger(r->L, index) ? lua_tointeger(r->L, index) : 0;
    if (status == 0)
        return wrong(r, "the status is an integer", index);
    if (status < 200 || status > 599) {
        snprintf(r->why, sizeof r->why, "the status of an endpoint is from 200 to 599");
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
        return wrong(r, "the headers are a table, or nil", index);
    int error = bh_answer_headers_read(r->L, index, &r->headers, r->why);
    for (size_t i = 0; i < r->headers.count && !error; i++) {
        struct bh_slice name = r->headers.list[i].name;
        r->all[r->response.header_count++] = r->headers.list[i];
        *typed = *typed || bh_slice_caseeq(name, BH_SLICE("Content-Type"));
        if (bh_response_header_ok(name))
            continue;
        snprintf(r->why, sizeof r->why,
                 "headers: %.*s belongs to the connection, not to the answer",
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
        return wrong(r, "the body is a string, or a table that becomes JSON", index);
    *type = "application/json";
    if (bh_json_encode(r->L, index, &r->json, why)) {
        snprintf(r->why, sizeof r->why, "the body cannot be JSON: %.200s", why);
        return BH_ESCRIPT;
    }
    r->response.body = bh_bytes_slice(&r->json);
    return 0;
}

static int read_answer(struct reader *r, int first) {
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

static void answer(struct bh_task *t) {
    struct reader r = {.L = t->co};
    if (read_answer(&r, t->argc + 1)) {
        bh_task_log_error(t, r.why);
        fail(t);
    } else {
        respond(t, &r.response);
    }
    bh_bytes_free(&r.json);
}

static void http_end(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct bh_response none = not_found();
    if (outcome == BH_DECIDED)
        answer(t);
    else if (outcome == BH_NO_OPINION)
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

/* on_tenant's word is final; its text becomes an error's message unless it is an object itself. */
static void refuse_tenant(const struct bh_tenant_call *call, bh_response_cb done, void *ud,
                          bh_handle handle) {
    struct bh_slice text = bh_tenant_body(call);
    struct bh_bytes body = {0};
    if (bh_json_check(text, NULL) || bh_json_root(text).type != BH_JSON_OBJECT) {
        bh_bytes_adds(&body, "{\"error\":{\"code\":\"refused\",\"message\":");
        bh_json_quote(&body, text);
        bh_bytes_adds(&body, "}}\n");
        text = bh_bytes_slice(&body);
    }
    done(ud, handle, &JSON_ANSWER(call->status, text));
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

/* The req on top of L, or false: a client chooses how large a body is, so that there is no room for
 * it must end this request and nothing else. */
static bool take_request(struct bh_script *s, const struct bh_request *request,
                         struct bh_slice body) {
    struct incoming in = {request, body};
    lua_checkstack(s->L, 4);
    lua_pushcfunction(s->L, push_request);
    lua_pushlightuserdata(s->L, &in);
    if (lua_pcall(s->L, 1, 1, 0) == LUA_OK)
        return true;
    bh_script_count_error(HOOK_HTTP);
    BH_LOG_LIMITED(BH_LOG_ERROR, "a request was not shown to the script",
                   bh_kv_int("body_bytes", (int64_t)body.n),
                   bh_kv_str("error", lua_tostring(s->L, -1)));
    lua_pop(s->L, 1);
    return false;
}

/* The req is on top of s->L, which it pops. */
static bh_handle run_route(struct bh_script *s, const struct bh_script_route *route,
                           bh_response_cb done, void *ud, bh_handle handle) {
    struct bh_task *t = bh_task_new(s, HOOK_HTTP, http_end);
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
    if (!route || !take_request(s, &with_params, body)) {
        struct bh_response no = route ? failure() : not_found();
        done(ud, handle, &no);
        return 0;
    }
    bh_tenant_ask(s, s->L, &call);
    if (call.status == 0)
        return run_route(s, route, done, ud, handle);
    lua_pop(s->L, 1);
    refuse_tenant(&call, done, ud, handle);
    bh_bytes_free(&call.body);
    return 0;
}
