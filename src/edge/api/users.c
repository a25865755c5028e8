/* users.c - the connections of users and tenants, and disconnecting a user.
 *
 *     GET    /api/users/{user}              {"online":...,"connections":[...],"as_of":...}
 *     GET    /api/tenants/{tenant}          {"connections":...,"as_of":...}
 *     POST   /api/users/online              {"users":["42",43]} -> {"online":{"42":true,...},...}
 *     DELETE /api/users/{user}/connections  ?code=&reason=
 *
 * "partial":true in an answer: connections of other instances may be missing, or have gone. Times
 * are RFC 3339, UTC, with milliseconds. A disconnect closes with 4000 "disconnected" unless
 * the query says otherwise: a private code, so that a client can tell it from a shutdown (1001) and
 * from an error. */
#include "api/api_time.h"
#include "api/endpoints.h"
#include "api/publish.h"

#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"

#define DISCONNECT_CODE   4000
#define DISCONNECT_REASON "disconnected"
#define REASON_MAX        123 /* of a close frame */

static const char *boolean(bool b) {
    return b ? "true" : "false";
}

static void fail_lookup(struct bh_http_conn *c, int error) {
    bh_http_conn_fail(c, 503, "tracker_unavailable", "the tracker did not answer: %s",
                      bh_strerror(error));
}

static bool refuse_query(struct bh_http_conn *c) {
    if (bh_http_conn_request(c)->query.n == 0)
        return false;
    bh_http_conn_fail(c, 400, "unknown_option", "this path has no query options");
    return true;
}

/* The id in the path, or false after answering. */
static bool parse_id(struct bh_http_conn *c, enum bh_id_kind kind, struct bh_slice *id) {
    const char *why;
    *id = c->param;
    if (bh_id_check(kind, c->param, &why) == 0)
        return true;
    bh_http_conn_fail(c, 400, kind == BH_ID_USER ? "invalid_user" : "invalid_tenant", "%s", why);
    return false;
}

/* NULL when nobody waits any more, or the lookup failed, which is then answered. */
static struct bh_http_conn *waiting_conn(void *ud, bh_handle handle, bool failed, int error) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c || !failed)
        return c;
    fail_lookup(c, error);
    return NULL;
}

/* Ends the object that body has begun, and frees it. */
static void answer_as_of(struct bh_http_conn *c, struct bh_bytes *body, bool partial,
                         int64_t as_of) {
    if (partial)
        bh_bytes_adds(body, ",\"partial\":true");
    bh_bytes_adds(body, ",\"as_of\":");
    bh_api_add_time(body, as_of);
    bh_bytes_adds(body, "}\n");
    bh_http_conn_answer_json(c, 200, bh_bytes_slice(body));
    bh_bytes_free(body);
}

/* --- one user --- */

static void add_connection(struct bh_bytes *out, const struct bh_connection_info *info) {
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(info->number, id);
    bh_bytes_adds(out, "{\"instance\":");
    bh_json_quote(out, info->instance);
    bh_bytes_addf(out, ",\"id\":\"%s\",\"tenant\":", id);
    if (info->tenant.n)
        bh_json_quote(out, info->tenant);
    else
        bh_bytes_adds(out, "null");
    bh_bytes_adds(out, ",\"opened_at\":");
    bh_api_add_time(out, info->opened_at);
    bh_bytes_addc(out, '}');
}

static void on_user(void *ud, bh_handle handle, int error, const struct bh_presence *users,
                    size_t count, int64_t as_of) {
    struct bh_http_conn *c = waiting_conn(ud, handle, error || count != 1, error);
    if (!c)
        return;
    struct bh_bytes body = {0};
    bh_bytes_addf(&body, "{\"online\":%s,\"connections\":[", boolean(users->count > 0));
    for (size_t i = 0; users->connections && i < users->count; i++) {
        if (i)
            bh_bytes_addc(&body, ',');
        add_connection(&body, &users->connections[i]);
    }
    bh_bytes_addc(&body, ']');
    answer_as_of(c, &body, users->uncertain, as_of);
}

void bh_api_user(struct bh_http_conn *c) {
    struct bh_slice user;
    if (!refuse_query(c) && parse_id(c, BH_ID_USER, &user))
        bh_node_lookup(c->server->worker, BH_LOOKUP_CONNECTIONS, &user, 1, on_user, c->server,
                       c->request);
}

/* --- a tenant --- */

static void on_tenant(void *ud, bh_handle handle, int error, const struct bh_presence *tenants,
                      size_t count, int64_t as_of) {
    struct bh_http_conn *c = waiting_conn(ud, handle, error || count != 1, error);
    if (!c)
        return;
    struct bh_bytes body = {0};
    bh_bytes_addf(&body, "{\"connections\":%zu", tenants->count);
    answer_as_of(c, &body, tenants->uncertain, as_of);
}

void bh_api_tenant(struct bh_http_conn *c) {
    struct bh_slice tenant;
    if (!refuse_query(c) && parse_id(c, BH_ID_TENANT, &tenant))
        bh_node_lookup(c->server->worker, BH_LOOKUP_TENANTS, &tenant, 1, on_tenant, c->server,
                       c->request);
}

/* --- many users --- */

/* The ids are in the connection's scratch memory, each with a newline after it, which no id may
 * contain; the result has their order. */
static void on_users(void *ud, bh_handle handle, int error, const struct bh_presence *users,
                     size_t count, int64_t as_of) {
    struct bh_http_conn *c = waiting_conn(ud, handle, error, error);
    if (!c)
        return;
    struct bh_bytes body = {0};
    struct bh_slice rest = bh_bytes_slice(&c->scratch), user;
    bh_bytes_adds(&body, "{\"online\":{");
    for (size_t i = 0; i < count && bh_slice_split(&rest, '\n', &user); i++) {
        if (i)
            bh_bytes_addc(&body, ',');
        bh_json_quote(&body, user);
        bh_bytes_addf(&body, ":%s", boolean(users[i].count > 0));
    }
    bh_bytes_addc(&body, '}');
    answer_as_of(c, &body, count > 0 && users->uncertain, as_of);
}

static int add_user(struct bh_json_value value, struct bh_bytes *out, const char **why) {
    size_t before = out->len;
    int64_t ignored;
    *why = value.type == BH_JSON_STRING ? "half of a surrogate pair"
                                        : "a user must be a string or an integer of at most 2^63-1";
    if (value.type == BH_JSON_STRING && bh_json_is_exact(value))
        bh_json_string(value, out);
    else if (value.type == BH_JSON_NUMBER && bh_json_int64(value, &ignored) == 0)
        bh_bytes_add(out, value.raw);
    else
        return BH_EINVAL;
    int error = bh_id_check(BH_ID_USER, bh_slice(out->p + before, out->len - before), why);
    bh_bytes_addc(out, '\n');
    return error;
}

/* Fills the scratch memory; the number of users, or -1 after answering. */
static int collect_users(struct bh_http_conn *c) {
    struct bh_slice body = bh_http_conn_request(c)->body;
    struct bh_json_error error;
    if (bh_json_check(body, &error) != 0) {
        bh_http_conn_fail(c, 400, "invalid_json", "at byte %zu: %s", error.offset, error.why);
        return -1;
    }
    struct bh_json_value root = bh_json_root(body), array, value;
    if (root.type != BH_JSON_OBJECT || !bh_json_member(root, BH_SLICE("users"), &array) ||
        array.type != BH_JSON_ARRAY) {
        bh_http_conn_fail(c, 400, "invalid_request", "the body must be {\"users\":[...]}");
        return -1;
    }
    size_t cursor = 0;
    for (int n = 0;; n++) {
        const char *why;
        if (!bh_json_next(array, &cursor, NULL, &value))
            return n;
        if (n == BH_LOOKUP_MAX) {
            bh_http_conn_fail(c, 400, "invalid_request", "at most %d users", BH_LOOKUP_MAX);
            return -1;
        }
        if (add_user(value, &c->scratch, &why) != 0) {
            bh_http_conn_fail(c, 400, "invalid_user", "users[%d]: %s", n, why);
            return -1;
        }
    }
}

void bh_api_users_online(struct bh_http_conn *c) {
    int n = refuse_query(c) ? -1 : collect_users(c);
    if (n < 0)
        return;
    struct bh_slice *users = bh_malloc(((size_t)n + 1) * sizeof *users);
    struct bh_slice rest = bh_bytes_slice(&c->scratch);
    for (int i = 0; i < n; i++)
        bh_slice_split(&rest, '\n', &users[i]);
    bh_node_lookup(c->server->worker, BH_LOOKUP_ONLINE, users, (size_t)n, on_users, c->server,
                   c->request);
    bh_free(users);
}

/* --- disconnecting --- */

static bool is_disconnect_code(uint64_t code) {
    return code == 1000 || code == 1001 || code == 1008 || (code >= 3000 && code <= 4999);
}

struct close_frame {
    uint64_t code;
    char reason[REASON_MAX * 3];
    int reason_len;
};

static int parse_argument(struct close_frame *f, struct bh_slice name, struct bh_slice value,
                          const char **why) {
    if (bh_slice_eq(name, BH_SLICE("code"))) {
        *why = "code must be 1000, 1001, 1008 or 3000..4999";
        return bh_slice_u64(value, 4999, &f->code) == 0 && is_disconnect_code(f->code) ? 0
                                                                                       : BH_EINVAL;
    }
    *why = "options are code, reason";
    if (!bh_slice_eq(name, BH_SLICE("reason")))
        return BH_ENOTFOUND;
    *why = "reason must be UTF-8 of at most 123 bytes";
    f->reason_len =
        value.n <= sizeof f->reason ? bh_slice_urldecode(value, true, f->reason) : BH_ETOOBIG;
    return f->reason_len < 0 || f->reason_len > REASON_MAX ||
                   !bh_utf8_valid(bh_slice(f->reason, (size_t)f->reason_len))
               ? BH_EINVAL
               : 0;
}

/* False after answering. */
static bool parse_query(struct bh_http_conn *c, struct close_frame *f) {
    struct bh_slice query = bh_http_conn_request(c)->query, name, value;
    *f = (struct close_frame){DISCONNECT_CODE, DISCONNECT_REASON, sizeof DISCONNECT_REASON - 1};
    while (bh_http_next_arg(&query, &name, &value)) {
        const char *why;
        int error = parse_argument(f, name, value, &why);
        if (error == 0)
            continue;
        bh_http_conn_fail(c, 400, error == BH_ENOTFOUND ? "unknown_option" : "invalid_option",
                          "query \"%.*s\": %s", BH_SLICE_ARG(name), why);
        return false;
    }
    return true;
}

static void on_disconnected(void *ud, bh_handle handle, const struct bh_publish_result *result) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c)
        return;
    if (result->error) {
        struct bh_bytes message = {0};
        int status;
        const char *code;
        bh_api_publish_error(result, &status, &code, &message);
        bh_http_conn_fail(c, status, code, "%.*s", BH_SLICE_ARG(bh_bytes_slice(&message)));
        bh_bytes_free(&message);
        return;
    }
    bh_http_conn_answer_json(c, 200, BH_SLICE("{\"status\":\"disconnecting\"}\n"));
}

void bh_api_disconnect(struct bh_http_conn *c) {
    struct bh_slice user;
    struct close_frame f;
    if (parse_id(c, BH_ID_USER, &user) && parse_query(c, &f))
        bh_node_disconnect(c->server->worker, user, (unsigned)f.code,
                           bh_slice(f.reason, (size_t)f.reason_len), on_disconnected, c->server,
                           c->request);
}
