/* page.c - asks the history for a page, and writes it as JSON.
 *
 *     {"messages":[{"id":"...","position":"<epoch>-<offset>","time":"...","data":...}],
 *      "position":"<epoch>-<offset>","more":false,"gap":false}
 *
 * `data` is the payload as it is when it is JSON; else "encoding" says what it is: "text", or
 * "base64" for a binary message. `position` is that of the newest message of the stream, from where
 * a client may resume; null where nothing was ever published.
 *
 * A page has up to a MiB, and checking and quoting it takes milliseconds. So it is written message
 * by message, for the loop's share of a tick each time. The page is found by its handle; the
 * request may have ended meanwhile: a page whose client has left ends at its next step. */
#include "api/page.h"

#include "api/api_time.h"

#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/filter.h"
#include "client/data.h"
#include "http/http_conn.h"

struct page {
    struct bh_pages *pages;
    bh_handle self;
    struct bh_http_server *server;
    bh_handle request;
    struct bh_page_query query;
    bool running;
    struct bh_list in_line;       /* while it is not running */
    struct bh_identity *identity; /* NULL: no filter is judged */
    struct bh_range *range;
    bool gap, more;
    size_t next; /* of the range's messages */
    bool any;    /* was written */
    struct bh_bytes body;
    struct bh_defer step;
};

/* --- life --- */

static void run(struct page *p) {
    p->running = true;
    p->pages->running++;
    bh_loop_put_off(p->server->loop, &p->step);
}

static void stop(struct page *p) {
    struct bh_list *next = NULL;
    if (p->running && --p->pages->running < BH_PAGES_AT_ONCE)
        next = bh_list_shift(&p->pages->waiting);
    if (next)
        run(BH_CONTAINER_OF(next, struct page, in_line));
}

static void page_free(struct page *p) {
    stop(p);
    bh_list_unlink(&p->in_line);
    bh_defer_cancel(&p->step);
    bh_slots_remove(&p->pages->open, p->self);
    bh_identity_free(p->identity);
    bh_range_unref(p->range);
    bh_bytes_free(&p->body);
    bh_free(p);
}

void bh_pages_init(struct bh_pages *p) {
    bh_slots_init(&p->open);
    bh_list_init(&p->waiting);
    p->running = 0;
}

void bh_pages_deinit(struct bh_pages *p) {
    uint32_t cursor = 0;
    struct page *page;
    while ((page = bh_slots_next(&p->open, &cursor)))
        page_free(page);
    bh_slots_deinit(&p->open);
}

/* --- one message --- */

static void add_position(struct bh_bytes *out, struct bh_position position) {
    char text[BH_POSITION_TEXT_MAX + 1];
    bh_position_format(position, text);
    bh_bytes_addf(out, ",\"position\":\"%s\"", text);
}

static void add_filter(struct bh_bytes *out, struct bh_slice filter) {
    struct bh_tag pair;
    char before = '{';
    if (!filter.n)
        return;
    bh_bytes_adds(out, ",\"filter\":");
    while (bh_filter_next(&filter, &pair)) {
        bh_bytes_addc(out, before);
        bh_json_quote(out, pair.name);
        bh_bytes_addc(out, ':');
        bh_json_quote(out, pair.value);
        before = ',';
    }
    bh_bytes_addc(out, '}');
}

static void add_message(struct bh_bytes *out, const struct bh_message *m) {
    bh_bytes_adds(out, "{\"id\":");
    if (m->id.n)
        bh_json_quote(out, m->id);
    else
        bh_bytes_adds(out, "null");
    add_position(out, m->position);
    if (m->stored_ms) {
        bh_bytes_adds(out, ",\"time\":");
        bh_api_add_time(out, (int64_t)m->stored_ms);
    }
    add_filter(out, m->filter);
    bh_bytes_addc(out, ',');
    bh_client_add_data(out, m->opcode, m->payload);
    bh_bytes_addc(out, '}');
}

static bool is_visible(const struct page *p, const struct bh_message *m) {
    return m->kind == BH_MESSAGE_DATA && !bh_message_expired(m, bh_loop_now(p->server->loop)) &&
           (!p->identity || !m->filter.n || bh_filter_matches(m->filter, p->identity));
}

/* --- the page --- */

static size_t read_headers(const struct bh_http_conn *c, struct bh_header *headers, size_t most) {
    struct bh_slice rest = bh_bytes_slice(&c->scratch), name, value;
    size_t n = 0;
    while (n < most && bh_slice_split(&rest, '\n', &name) && bh_slice_split(&rest, '\n', &value))
        headers[n++] = (struct bh_header){name, value};
    return n;
}

static void finish(struct page *p, struct bh_http_conn *c) {
    struct bh_header headers[BH_HTTP_HEADERS_MAX];
    size_t n = read_headers(c, headers, BH_HTTP_HEADERS_MAX);
    bh_bytes_addc(&p->body, ']');
    if (p->range->top.epoch)
        add_position(&p->body, p->range->top);
    else
        bh_bytes_adds(&p->body, ",\"position\":null");
    bh_bytes_addf(&p->body, ",\"more\":%s,\"gap\":%s}\n", p->more ? "true" : "false",
                  p->gap ? "true" : "false");
    bh_http_conn_answer(c, 200, "application/json", headers, n, bh_bytes_slice(&p->body));
    page_free(p);
}

/* At least one message; false: the share of this tick is used. */
static bool write_some(struct page *p) {
    while (p->next < p->range->count) {
        const struct bh_message *m = p->range->messages[p->next++];
        if (!is_visible(p, m))
            continue;
        bh_bytes_adds(&p->body, p->any ? ",\n" : "");
        add_message(&p->body, m);
        p->any = true;
        if (bh_loop_share_used(p->server->loop))
            return false;
    }
    return true;
}

static void on_page(void *ud, bh_handle handle, int error, struct bh_range *range, bool gap,
                    bool more, const char *why) {
    struct page *p = bh_slots_get(&((struct bh_pages *)ud)->open, handle);
    struct bh_http_conn *c = p ? bh_http_conn_find(p->server, p->request) : NULL;
    if (c && !error) {
        p->range = bh_range_ref(range);
        p->gap = gap;
        p->more = more;
        bh_bytes_adds(&p->body, "{\"messages\":[");
        bh_loop_put_off(p->server->loop, &p->step);
        return;
    }
    if (c)
        bh_page_fail(c, error, why);
    if (p)
        page_free(p);
}

static void ask_history(struct page *p) {
    struct bh_worker *w = p->server->worker;
    struct bh_history *history = bh_node_history(w->node);
    history->vt->page(history, w->index, &p->query, on_page, p->pages, p->self);
}

static void on_step(struct bh_defer *d) {
    struct page *p = BH_CONTAINER_OF(d, struct page, step);
    struct bh_http_conn *c = bh_http_conn_find(p->server, p->request);
    if (!c)
        page_free(p);
    else if (!p->range)
        ask_history(p);
    else if (write_some(p))
        finish(p, c);
    else
        bh_loop_put_off(p->server->loop, &p->step);
}

void bh_page_answer(struct bh_http_conn *c, const struct bh_topic *topic,
                    const struct bh_page_options *options, struct bh_identity *identity) {
    struct bh_http_server *s = c->server;
    if (!bh_page_has_history(c, topic)) {
        bh_identity_free(identity);
        return;
    }
    struct page *p = bh_calloc(1, sizeof *p);
    p->query = (struct bh_page_query){
        .topic = *topic,
        .from = options->since,
        .ascending = options->ordered ? options->ascending : options->since.epoch != 0,
        .limit = options->limit,
        .bytes = BH_PAGE_BYTES,
    };
    p->pages = s->pages;
    p->server = s;
    p->request = c->request;
    p->identity = identity;
    bh_list_init(&p->in_line);
    bh_defer_init(&p->step, on_step);
    p->self = bh_slots_add(&s->pages->open, p);
    if (s->pages->running < BH_PAGES_AT_ONCE)
        run(p);
    else
        bh_list_append(&s->pages->waiting, &p->in_line);
}

/* --- options --- */

void bh_page_options_init(struct bh_page_options *o) {
    *o = (struct bh_page_options){.limit = BH_PAGE_LIMIT};
}

static int parse_limit(struct bh_page_options *o, struct bh_slice value, const char **why) {
    uint64_t limit;
    *why = "limit must be 1 to 1000";
    if (bh_slice_u64(value, BH_PAGE_LIMIT_MAX, &limit) != 0 || limit == 0)
        return BH_EINVAL;
    o->limit = (uint32_t)limit;
    return 0;
}

static int parse_order(struct bh_page_options *o, struct bh_slice value, const char **why) {
    *why = "order must be asc (oldest first) or desc (newest first)";
    o->ordered = true;
    o->ascending = bh_slice_eq(value, BH_SLICE("asc"));
    return o->ascending || bh_slice_eq(value, BH_SLICE("desc")) ? 0 : BH_EINVAL;
}

int bh_page_option(struct bh_page_options *o, struct bh_slice name, struct bh_slice value,
                   const char **why) {
    if (bh_slice_eq(name, BH_SLICE("limit")))
        return parse_limit(o, value, why);
    if (bh_slice_eq(name, BH_SLICE("order")))
        return parse_order(o, value, why);
    *why = "options are since, limit, order";
    if (!bh_slice_eq(name, BH_SLICE("since")))
        return BH_ENOTFOUND;
    *why = "since must be the position of a message, <epoch>-<offset>";
    return bh_position_parse(value, &o->since);
}

/* --- errors --- */

bool bh_page_has_history(struct bh_http_conn *c, const struct bh_topic *topic) {
    if (bh_node_stream_rule(c->server->worker->node, topic))
        return true;
    bh_http_conn_fail(c, 404, "no_history",
                      "%.*s has no history; see `history` in the configuration",
                      BH_SLICE_ARG(bh_topic_name(topic)));
    return false;
}

void bh_page_fail(struct bh_http_conn *c, int error, const char *why) {
    bh_http_conn_fail(c, 503, "history_unavailable", "the history did not answer: %s",
                      why ? why : bh_strerror(error));
}
