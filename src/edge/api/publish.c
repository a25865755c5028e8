/* publish.c - publishing one message: POST
 * /api/{users/{user},tenants/{tenant},topics/{topic}}/messages and POST /api/broadcast.
 *
 * The body is the payload, byte for byte. The Content-Type says whether it is text or binary; where
 * it says neither, valid UTF-8 is text. Options are in the query: strategy, ttl (seconds), id
 * (an idempotency key), except (a connection id), filter (name:value, once for each tag that a
 * receiver must have), history and collapse. An unknown option is an error, because a misspelt
 * option that is ignored does harm unnoticed. */
#include "api/publish.h"

#include "api/endpoints.h"

#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/utf8.h"
#include "bellhop/core/filter.h"

#define VALUE_MAX 1024 /* escaped; a filter is the longest */

/* --- the query --- */

static int parse_ttl(struct bh_publish *p, struct bh_slice value, const char **why) {
    uint64_t seconds;
    *why = "ttl must be an integer of seconds, at most 4294967";
    int error = bh_slice_u64(value, BH_API_TTL_MAX, &seconds);
    if (!error)
        p->ttl_s = (uint32_t)seconds;
    return error;
}

static int parse_id(struct bh_publish *p, struct bh_slice value, const char **why) {
    int error = bh_id_check(BH_ID_MESSAGE, value, why);
    if (error)
        return error;
    memcpy(p->id, value.p, value.n);
    p->id_len = (uint8_t)value.n;
    p->id_given = true;
    return 0;
}

static int parse_strategy(struct bh_publish *p, struct bh_slice value, const char **why) {
    enum bh_strategy strategy;
    int error = bh_strategy_parse(value, &strategy, why);
    if (!error)
        p->strategy = (uint8_t)strategy;
    return error;
}

static int parse_except(struct bh_publish *p, struct bh_slice value, const char **why) {
    *why = "except must be a connection id (header Bellhop-Connection of the handshake)";
    return bh_connection_number(value, &p->except);
}

/* The first colon ends the name. */
static int parse_filter(struct bh_publish *p, struct bh_slice value, const char **why) {
    struct bh_slice name;
    *why = "filter must be name:value, a tag and its value";
    if (!bh_slice_split(&value, ':', &name) || !value.p)
        return BH_EINVAL;
    return bh_filter_add(&p->filter, name, value, why);
}

static int parse_history(struct bh_publish *p, struct bh_slice value, const char **why) {
    bool on = bh_slice_eq(value, BH_SLICE("true"));
    *why = "history must be true or false";
    if (!on && !bh_slice_eq(value, BH_SLICE("false")))
        return BH_EINVAL;
    p->history = on ? BH_PUBLISH_HISTORY_ON : BH_PUBLISH_HISTORY_OFF;
    return 0;
}

int bh_api_parse_option(struct bh_publish *p, struct bh_slice name, struct bh_slice value,
                        const char **why) {
    if (bh_slice_eq(name, BH_SLICE("strategy")))
        return parse_strategy(p, value, why);
    if (bh_slice_eq(name, BH_SLICE("ttl")))
        return parse_ttl(p, value, why);
    if (bh_slice_eq(name, BH_SLICE("id")))
        return parse_id(p, value, why);
    if (bh_slice_eq(name, BH_SLICE("except")))
        return parse_except(p, value, why);
    if (bh_slice_eq(name, BH_SLICE("filter")))
        return parse_filter(p, value, why);
    if (bh_slice_eq(name, BH_SLICE("history")))
        return parse_history(p, value, why);
    if (bh_slice_eq(name, BH_SLICE("collapse")))
        return bh_publish_set_collapse(p, value, why);
    *why = "options are strategy, ttl, id, except, filter, history, collapse";
    return BH_ENOTFOUND;
}

/* False after answering. */
static bool parse_query(struct bh_http_conn *c, struct bh_publish *p) {
    struct bh_slice query = bh_http_conn_request(c)->query, name, value;
    while (bh_http_next_arg(&query, &name, &value)) {
        char decoded[VALUE_MAX];
        const char *why = "the value is too long or has an invalid escape";
        int n = value.n <= sizeof decoded ? bh_slice_urldecode(value, true, decoded) : BH_ETOOBIG;
        int error = n < 0 ? n : bh_api_parse_option(p, name, bh_slice(decoded, (size_t)n), &why);
        if (error == 0)
            continue;
        bh_http_conn_fail(c, 400, error == BH_ENOTFOUND ? "unknown_option" : "invalid_option",
                          "query \"%.*s\": %s", BH_SLICE_ARG(name), why);
        return false;
    }
    return true;
}

/* --- the answer --- */

void bh_api_publish_error(const struct bh_publish_result *r, int *status, const char **code,
                          struct bh_bytes *message) {
    const char *why = r->why ? r->why : bh_strerror(r->error);
    switch (r->error) {
    case BH_EINVAL:
        *status = 400, *code = "invalid_request";
        break;
    case BH_EUTF8:
        *status = 400, *code = "invalid_utf8";
        break;
    case BH_ETOOBIG:
        *status = 413, *code = "too_large";
        break;
    case BH_EDENIED:
        *status = 403, *code = "refused";
        break;
    case BH_ESCRIPT:
        *status = 500, *code = "script_error";
        break;
    case BH_ENOMEM:
        if (r->strategy == BH_STRATEGY_DURABLE)
            *status = 503, *code = "history_full";
        else
            *status = 500, *code = "internal_error";
        break;
    case BH_EUNAVAIL:
    case BH_EIO:
        *status = 503, *code = "broker_unavailable";
        bh_bytes_addf(
            message,
            "the broker did not accept the message (%s); connections of this instance may "
            "have received it; retry with id=%.*s to avoid duplicates",
            why, BH_SLICE_ARG(r->id));
        return;
    default:
        *status = 500, *code = "internal_error";
        break;
    }
    bh_bytes_adds(message, why);
}

static void add_position(const struct bh_publish_result *r, struct bh_bytes *out) {
    char text[BH_POSITION_TEXT_MAX + 1];
    bh_position_format(r->position, text);
    bh_bytes_addf(out, ",\"strategy\":\"%s\",\"position\":\"%s\"", bh_strategy_name(r->strategy),
                  text);
}

void bh_api_published(const struct bh_publish_result *r, struct bh_bytes *out) {
    bh_bytes_adds(out, "{\"id\":");
    bh_json_quote(out, r->id);
    bh_bytes_addf(out, ",\"status\":\"%s\"", bh_publish_status_name(r));
    if (r->position.epoch)
        add_position(r, out);
    if (r->duplicate)
        bh_bytes_adds(out, ",\"duplicate\":true");
    else
        bh_bytes_addf(out, ",\"instances\":%lld,\"local\":%lld", (long long)r->instances,
                      (long long)r->local);
    bh_bytes_addc(out, '}');
}

static void on_published(void *ud, bh_handle handle, const struct bh_publish_result *result) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c)
        return;
    struct bh_bytes body = {0};
    int status;
    const char *code;
    if (result->error) {
        bh_api_publish_error(result, &status, &code, &body);
        bh_http_conn_fail(c, status, code, "%.*s", BH_SLICE_ARG(bh_bytes_slice(&body)));
    } else {
        bh_api_published(result, &body);
        bh_bytes_addc(&body, '\n');
        bh_http_conn_answer_json(c, 200, bh_bytes_slice(&body));
    }
    bh_bytes_free(&body);
}

/* --- publishing --- */

/* The media type, without its parameters. */
static struct bh_slice content_type(const struct bh_http_request *r) {
    struct bh_slice rest = bh_http_header(r->headers, r->header_count, BH_SLICE("Content-Type"));
    struct bh_slice type;
    return bh_slice_split(&rest, ';', &type) ? bh_slice_trim(type) : bh_slice(NULL, 0);
}

static bool is_text(struct bh_slice type) {
    const struct bh_slice text = BH_SLICE("text/"), json = BH_SLICE("+json");
    if (type.n >= text.n && bh_slice_caseeq(bh_slice(type.p, text.n), text))
        return true;
    return bh_slice_caseeq(type, BH_SLICE("application/json")) ||
           (type.n > json.n && bh_slice_caseeq(bh_slice(type.p + type.n - json.n, json.n), json));
}

/* 0, or BH_EUTF8 when the type promises text. */
static int choose_opcode(const struct bh_http_request *r, struct bh_publish *p) {
    struct bh_slice type = content_type(r);
    p->opcode = BH_BINARY;
    if (bh_slice_caseeq(type, BH_SLICE("application/octet-stream")))
        return 0;
    if (!bh_utf8_valid(r->body))
        return is_text(type) ? BH_EUTF8 : 0;
    p->opcode = BH_TEXT;
    return 0;
}

static void publish(struct bh_http_conn *c, enum bh_topic_kind kind, const char *bad_id) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    struct bh_publish p;
    const char *why;
    bh_publish_init(&p, BH_SOURCE_HTTP);
    if (bh_topic_make(kind, c->param, &p.topic, &why) != 0) {
        bh_http_conn_fail(c, 400, bad_id, "%s", why);
        return;
    }
    if (!parse_query(c, &p)) {
        bh_publish_release(&p);
        return;
    }
    if (choose_opcode(r, &p) != 0) {
        bh_http_conn_fail(c, 400, "invalid_utf8",
                          "text and JSON must be valid UTF-8; for a binary message send "
                          "Content-Type: application/octet-stream");
        bh_publish_release(&p);
        return;
    }
    bh_publish_set_data(&p, bh_buf_copy(r->body));
    p.utf8_checked = p.opcode == BH_TEXT;
    bh_node_publish(c->server->worker, &p, on_published, c->server, c->request);
}

void bh_api_user_message(struct bh_http_conn *c) {
    publish(c, BH_TOPIC_USER, "invalid_user");
}

void bh_api_tenant_message(struct bh_http_conn *c) {
    publish(c, BH_TOPIC_TENANT, "invalid_tenant");
}

void bh_api_topic_message(struct bh_http_conn *c) {
    publish(c, BH_TOPIC_TOPIC, "invalid_topic");
}

void bh_api_broadcast(struct bh_http_conn *c) {
    publish(c, BH_TOPIC_ALL, "invalid_request");
}
