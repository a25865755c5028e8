/* hooks_request.c - on_tenant, on_handshake, on_api: admission.
 *
 * They fail closed: an error is 503 and ends the chain; a handshake that no script decides is 401.
 * on_tenant runs first and must not wait; its result is a field of the req that the others get. The
 * request is copied into the req, so the hooks may wait. */
#include "bind/bind_publish.h"
#include "bind/bind_request.h"
#include "hooks/hooks.h"
#include "hooks/identity.h"
#include "lua/args.h"
#include "run/task_log.h"

#include "bellhop/base/error.h"

#define BODY(code, message)                                                                        \
    BH_SLICE("{\"error\":{\"code\":\"" code "\",\"message\":\"" message "\"}}")

static const struct bh_slice failed_body =
    BODY("unavailable", "The policy failed; see the server's log.");
static const struct bh_slice no_user_body =
    BODY("forbidden", "The policy admitted this connection without a user.");
static const struct bh_slice unauthorized_body =
    BODY("unauthorized", "The policy did not admit this connection.");

/* --- refusals: false, status, body --- */

struct refusal {
    int status;
    struct bh_slice body;
};

/* Reads what follows the `false` at index first. False: wrong types. */
static bool read_refusal(lua_State *L, int first, int status, struct refusal *out) {
    lua_settop(L, first + 3 > lua_gettop(L) ? first + 3 : lua_gettop(L));
    *out = (struct refusal){.status = status};
    if (!lua_isnil(L, first + 1)) {
        lua_Integer given = lua_isinteger(L, first + 1) ? lua_tointeger(L, first + 1) : 0;
        if (given < 300 || given > 599)
            return false;
        out->status = (int)given;
    }
    if (lua_isnil(L, first + 2))
        return true;
    if (lua_type(L, first + 2) != LUA_TSTRING)
        return false;
    out->body.p = lua_tolstring(L, first + 2, &out->body.n);
    return true;
}

static const char refusal_help[] =
    "false, status, body: status must be an integer from 300 to 599, body a string";

static bool is_boolean(lua_State *L, int index, bool value) {
    return lua_isboolean(L, index) && lua_toboolean(L, index) == value;
}

/* --- on_tenant --- */

static void tenant_decided(struct bh_task *t) {
    struct bh_tenant_call *call = t->u.tenant;
    int first = t->argc + 1;
    struct refusal refusal;
    struct bh_slice id;
    const char *why = refusal_help;
    if (is_boolean(t->co, first, false)) {
        if (read_refusal(t->co, first, 404, &refusal)) {
            call->status = refusal.status;
            bh_bytes_add(&call->body, refusal.body);
            return;
        }
    } else {
        lua_settop(t->co, first);
        why = "on_tenant must return a tenant id, false with status and body, or nil";
        if (bh_id_from_lua(t->co, &id) && !bh_id_check(BH_ID_TENANT, id, &why)) {
            memcpy(call->req->tenant, id.p, id.n);
            call->req->tenant_len = (uint8_t)id.n;
            return;
        }
    }
    bh_task_log_error(t, why);
    call->ok = false;
}

static void tenant_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    if (outcome == BH_FAILED)
        t->u.tenant->ok = false;
    else if (outcome == BH_DECIDED)
        tenant_decided(t);
}

void bh_tenant_resolve(struct bh_script *s, lua_State *L, struct bh_tenant_call *call) {
    call->req = lua_touserdata(L, -1);
    if (bh_script_has(s, HOOK_TENANT)) {
        struct bh_task *t = bh_task_new(s, HOOK_TENANT, tenant_done);
        t->u.tenant = call;
        lua_pushvalue(L, -1);
        lua_xmove(L, t->co, 1);
        bh_task_run(t, 1);
    }
    if (!call->ok)
        call->status = 503;
}

struct bh_slice bh_tenant_body(const struct bh_tenant_call *call) {
    return call->ok ? bh_bytes_slice(&call->body) : failed_body;
}

/* --- on_handshake --- */

static void refuse(struct bh_task *t, int status, struct bh_slice body,
                   const struct bh_response_headers *headers) {
    struct bh_handshake_result result = {.status = status, .body = body};
    if (headers) {
        result.headers = headers->list;
        result.header_count = headers->count;
    }
    t->u.handshake.done(t->u.handshake.ud, t->u.handshake.handle, &result);
}

/* An identity without a user may be meant, or a claim that was missing. False: it is refused. */
static bool check_user(struct bh_task *t, const struct bh_admission *admission) {
    bool require_user = t->script->config->require_user;
    if (admission->identity->user.n || admission->anonymous)
        return true;
    bh_task_log_slip(t, require_user ? BH_SLIP_USER_REFUSED : BH_SLIP_NO_USER);
    return !require_user;
}

static void accept_handshake(struct bh_task *t, int index) {
    struct bh_admission admission;
    char why[BH_WHY_MAX];
    const struct bh_lua_request *req = lua_touserdata(t->co, BH_TASK_BASE + 1);
    if (bh_admission_read(t->co, index, &req->request, &admission, why)) {
        bh_task_log_error(t, why);
        refuse(t, 503, failed_body, NULL);
        return;
    }
    if (!check_user(t, &admission)) {
        bh_identity_free(admission.identity);
        refuse(t, 403, no_user_body, NULL);
        return;
    }
    struct bh_handshake_result w = {.identity = admission.identity,
                                    .protocol = admission.protocol,
                                    .compression = admission.compression,
                                    .format = admission.format,
                                    .headers = admission.headers.list,
                                    .header_count = admission.headers.count};
    t->u.handshake.done(t->u.handshake.ud, t->u.handshake.handle, &w);
}

/* `false, status, body, headers` */
static void handshake_refused(struct bh_task *t, int first) {
    struct refusal refusal;
    struct bh_response_headers headers = {.count = 0};
    char why[BH_WHY_MAX];
    const char *error = NULL;
    if (!read_refusal(t->co, first, 401, &refusal))
        error = refusal_help;
    else if (!lua_isnil(t->co, first + 3) &&
             bh_response_headers_read(t->co, first + 3, &headers, why))
        error = why;
    if (error) {
        bh_task_log_error(t, error);
        refuse(t, 503, failed_body, NULL);
        return;
    }
    refuse(t, refusal.status, refusal.body, &headers);
}

static void handshake_undecided(struct bh_task *t) {
    bh_task_log_slip(t, BH_SLIP_NO_IDENTITY);
    refuse(t, 401, unauthorized_body, NULL);
}

static void handshake_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    int first = t->argc + 1;
    if (outcome == BH_CANCELLED)
        return;
    if (outcome == BH_FAILED)
        refuse(t, 503, failed_body, NULL);
    else if (outcome == BH_UNDECIDED)
        handshake_undecided(t);
    else if (lua_istable(t->co, first))
        accept_handshake(t, first);
    else if (is_boolean(t->co, first, false))
        handshake_refused(t, first);
    else {
        bh_task_log_error(t,
                          "on_handshake must return an identity table (for a connection without a "
                          "user { anonymous = true }), false with status and body, or nil");
        refuse(t, 503, failed_body, NULL);
    }
}

/* Runs the task with the req on top of s->L, which it pops. */
static bh_handle run_with_req(struct bh_script *s, struct bh_task *t) {
    lua_xmove(s->L, t->co, 1);
    bh_handle ticket = bh_task_ticket(t);
    bh_task_run(t, 1);
    return bh_slots_get(&s->script_worker->slots, ticket) ? ticket : 0;
}

bh_handle bh_hook_handshake(struct bh_hooks *h, const struct bh_request *request,
                            bh_handshake_cb done, void *ud, bh_handle handle) {
    struct bh_script *s = (struct bh_script *)h;
    struct bh_tenant_call call = {.ok = true};
    lua_checkstack(s->L, 4);
    bh_request_push(s->L, request, NULL);
    bh_tenant_resolve(s, s->L, &call);
    if (call.status) {
        struct bh_handshake_result no = {.status = call.status, .body = bh_tenant_body(&call)};
        lua_pop(s->L, 1);
        done(ud, handle, &no);
        bh_bytes_free(&call.body);
        return 0;
    }
    struct bh_task *t = bh_task_new(s, HOOK_HANDSHAKE, handshake_done);
    t->u.handshake.done = done;
    t->u.handshake.ud = ud;
    t->u.handshake.handle = handle;
    return run_with_req(s, t);
}

/* --- on_api --- */

static void allow(struct bh_task *t, bool allowed, int status, struct bh_slice body) {
    t->u.allowed.done(t->u.allowed.ud, t->u.allowed.handle, allowed, status, body);
}

static void api_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct refusal refusal;
    int first = t->argc + 1;
    if (outcome == BH_CANCELLED)
        return;
    if (outcome == BH_UNDECIDED)
        allow(t, false, 0, bh_slice(NULL, 0));
    else if (outcome == BH_FAILED)
        allow(t, false, 503, failed_body);
    else if (is_boolean(t->co, first, true))
        allow(t, true, 0, bh_slice(NULL, 0));
    else if (is_boolean(t->co, first, false) && read_refusal(t->co, first, 403, &refusal))
        allow(t, false, refusal.status, refusal.body);
    else {
        bh_task_log_error(t, "on_api must return true, false with status (300 to 599) and body, or "
                             "nil");
        allow(t, false, 503, failed_body);
    }
}

bh_handle bh_hook_api(struct bh_hooks *h, const struct bh_request *request, bh_allowed_cb done,
                      void *ud, bh_handle handle) {
    struct bh_script *s = (struct bh_script *)h;
    struct bh_tenant_call call = {.ok = true};
    lua_checkstack(s->L, 4);
    bh_request_push(s->L, request, NULL);
    bh_tenant_resolve(s, s->L, &call);
    if (call.status) {
        lua_pop(s->L, 1);
        done(ud, handle, false, call.status, bh_tenant_body(&call));
        bh_bytes_free(&call.body);
        return 0;
    }
    struct bh_task *t = bh_task_new(s, HOOK_API, api_done);
    t->u.allowed.done = done;
    t->u.allowed.ud = ud;
    t->u.allowed.handle = handle;
    return run_with_req(s, t);
}
