/* history.c - the history of a topic, for backends.
 *
 *     GET    /api/{users|tenants|topics}/{id}/messages  ?since=&limit=&order=
 *     DELETE /api/{users|tenants|topics}/{id}/messages             all: {"removed":17}
 *     DELETE /api/{users|tenants|topics}/{id}/messages/{position}  one: {"removed":1}, or 404
 *
 * The same at /api/broadcast/messages, for broadcasts. A topic that is no stream has none of these:
 * 404 `no_history`. */
#include "api/endpoints.h"
#include "api/page.h"

#include "bellhop/base/error.h"

static const char *const bad_id[] = {
    [BH_TOPIC_USER] = "invalid_user",
    [BH_TOPIC_TENANT] = "invalid_tenant",
    [BH_TOPIC_TOPIC] = "invalid_topic",
    [BH_TOPIC_ALL] = "invalid_request",
};

static enum bh_topic_kind kind_of(struct bh_slice path) {
    if (bh_slice_starts(path, BH_SLICE("/api/users/")))
        return BH_TOPIC_USER;
    if (bh_slice_starts(path, BH_SLICE("/api/tenants/")))
        return BH_TOPIC_TENANT;
    return bh_slice_starts(path, BH_SLICE("/api/topics/")) ? BH_TOPIC_TOPIC : BH_TOPIC_ALL;
}

/* The topic in the path, which has a history; false after answering. */
static bool find_topic(struct bh_http_conn *c, struct bh_topic *topic) {
    enum bh_topic_kind kind = kind_of(bh_http_conn_request(c)->path);
    const char *why;
    if (bh_topic_make(kind, c->param, topic, &why) == 0)
        return bh_page_has_history(c, topic);
    bh_http_conn_fail(c, 400, bad_id[kind], "%s", why);
    return false;
}

/* --- reading --- */

static void fail_option(struct bh_http_conn *c, int error, struct bh_slice name, const char *why) {
    bh_http_conn_fail(c, 400, error == BH_ENOTFOUND ? "unknown_option" : "invalid_option",
                      "query \"%.*s\": %s", BH_SLICE_ARG(name), why);
}

void bh_api_history(struct bh_http_conn *c) {
    struct bh_slice query = bh_http_conn_request(c)->query, name, value;
    struct bh_page_options options;
    struct bh_topic topic;
    const char *why;
    bh_page_options_init(&options);
    while (bh_http_next_arg(&query, &name, &value)) {
        int error = bh_page_option(&options, name, value, &why);
        if (error) {
            fail_option(c, error, name, why);
            return;
        }
    }
    if (find_topic(c, &topic))
        bh_page_answer(c, &topic, &options, NULL);
}

/* --- removing --- */

static void answer_removed(struct bh_http_conn *c, int64_t removed) {
    struct bh_bytes body = {0};
    bh_bytes_addf(&body, "{\"removed\":%lld}\n", (long long)removed);
    bh_http_conn_answer_json(c, 200, bh_bytes_slice(&body));
    bh_bytes_free(&body);
}

static void on_all_removed(void *ud, bh_handle handle, int error, int64_t removed,
                           const char *why) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (c && error)
        bh_page_fail(c, error, why);
    else if (c)
        answer_removed(c, removed);
}

static void on_one_removed(void *ud, bh_handle handle, int error, int64_t removed,
                           const char *why) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (c && !error && removed == 0)
        bh_http_conn_fail(c, 404, "not_found", "the history has no message at this position");
    else
        on_all_removed(ud, handle, error, removed, why);
}

/* position NULL: all. */
static void remove_messages(struct bh_http_conn *c, const struct bh_position *position) {
    static const struct bh_position all;
    struct bh_worker *w = c->server->worker;
    struct bh_topic topic;
    if (bh_http_conn_request(c)->query.n) {
        bh_http_conn_fail(c, 400, "unknown_option", "this path has no query options");
        return;
    }
    if (!find_topic(c, &topic))
        return;
    struct bh_history *history = bh_node_history(w->node);
    history->vt->remove(history, w->index, &topic, position ? *position : all,
                        position ? on_one_removed : on_all_removed, c->server, c->request);
}

/* The position is the last segment of the path. */
void bh_api_history_remove(struct bh_http_conn *c) {
    struct bh_slice rest = bh_http_conn_request(c)->path, text;
    struct bh_position position;
    while (bh_slice_split(&rest, '/', &text)) {
    }
    if (bh_position_parse(text, &position) == 0 && position.offset != 0)
        remove_messages(c, &position);
    else
        bh_http_conn_fail(c, 400, "invalid_position",
                          "the path ends with the position of a message, <epoch>-<offset>");
}

void bh_api_history_purge(struct bh_http_conn *c) {
    remove_messages(c, NULL);
}
