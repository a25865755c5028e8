/* batch.c - POST /api/publish: many messages in one request.
 *
 * The body is a JSON array of objects: one target each ("user", "tenant", "topic" or "all": true),
 * "data" and the options of a single publish. `data` may be any JSON value; clients receive its
 * exact bytes from the body: {"a": 1.0} arrives with its blank and its ".0", and a string arrives
 * as JSON text, with its quotes and escapes. Ids are strings or integer literals; the digits of the
 * literal become the id, so 19 digits survive.
 *
 * The items are published at once and answered together, in their order; an error of one item does
 * not affect the others, also when it is not JSON, as long as it is clear where the item ends. Each
 * item in progress has a handle of its own; the batch lives until the
 * last one is done, also when its client has disconnected. */
#include "api/batch.h"

#include "api/endpoints.h"
#include "api/publish.h"

#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/filter.h"
#include "http/error_body.h"

#define ITEMS_MAX 1000

struct batch;

struct item {
    struct batch *batch;
    bh_handle handle;
    struct bh_bytes result; /* an object of the answer */
};

struct batch {
    struct bh_list node;
    struct bh_http_server *server;
    bh_handle request;
    size_t count, open;
    struct item items[];
};

/* --- results --- */

static void batch_free(struct batch *b) {
    for (size_t i = 0; i < b->count; i++) {
        bh_slots_remove(&b->server->batches->items, b->items[i].handle);
        bh_bytes_free(&b->items[i].result);
    }
    bh_list_unlink(&b->node);
    bh_free(b);
}

void bh_batches_init(struct bh_batches *b) {
    bh_slots_init(&b->items);
    bh_list_init(&b->list);
}

void bh_batches_deinit(struct bh_batches *b) {
    while (!bh_list_empty(&b->list))
        batch_free(BH_CONTAINER_OF(b->list.next, struct batch, node));
    bh_slots_deinit(&b->items);
}

static void answer(struct batch *b) {
    struct bh_http_conn *c = bh_http_conn_find(b->server, b->request);
    if (!c)
        return;
    struct bh_bytes body = {0};
    bh_bytes_addc(&body, '[');
    for (size_t i = 0; i < b->count; i++) {
        if (i)
            bh_bytes_adds(&body, ",\n");
        bh_bytes_add(&body, bh_bytes_slice(&b->items[i].result));
    }
    bh_bytes_adds(&body, "]\n");
    bh_http_conn_answer_json(c, 200, bh_bytes_slice(&body));
    bh_bytes_free(&body);
}

static void item_done(struct batch *b) {
    if (--b->open > 0)
        return;
    answer(b);
    batch_free(b);
}

static void item_failed(struct item *item, const char *code, struct bh_slice message) {
    bh_bytes_adds(&item->result, "{\"error\":");
    bh_http_error_object(&item->result, code, message);
    bh_bytes_addc(&item->result, '}');
}

static void on_published(void *ud, bh_handle handle, const struct bh_publish_result *result) {
    struct bh_batches *batches = ud;
    struct item *item = bh_slots_get(&batches->items, handle);
    if (!item)
        return;
    bh_slots_remove(&batches->items, handle);
    if (result->error == 0) {
        bh_api_published(result, &item->result);
    } else {
        struct bh_bytes message = {0};
        int status;
        const char *code;
        bh_api_publish_error(result, &status, &code, &message);
        item_failed(item, code, bh_bytes_slice(&message));
        bh_bytes_free(&message);
    }
    item_done(item->batch);
}

/* --- reading an item --- */

struct item_error {
    const char *code;
    const char *why;
};

static int reject(struct item_error *c, const char *code, const char *why) {
    *c = (struct item_error){code, why};
    return BH_EINVAL;
}

static int parse_target(struct bh_publish *p, bool *targeted, enum bh_topic_kind kind,
                        struct bh_slice id, const char *code, struct item_error *c) {
    const char *why;
    if (*targeted)
        return reject(c, "invalid_request",
                      "an item must have exactly one of user, tenant, topic, all");
    *targeted = true;
    return bh_topic_make(kind, id, &p->topic, &why) == 0 ? 0 : reject(c, code, why);
}

/* Appends the text of a string, or the digits of an integer literal. */
static int add_text(struct bh_json_value value, struct bh_bytes *out, struct item_error *c) {
    int64_t ignored;
    if (value.type == BH_JSON_STRING) {
        if (!bh_json_is_exact(value))
            return reject(c, "invalid_request", "half of a surrogate pair in an id or option");
        bh_json_string(value, out);
        return 0;
    }
    if (value.type != BH_JSON_NUMBER)
        return reject(c, "invalid_request", "ids and options must be strings or integers");
    if (bh_json_int64(value, &ignored) != 0)
        return reject(c, "invalid_request", "a number must be an integer of at most 2^63-1");
    bh_bytes_add(out, value.raw);
    return 0;
}

/* A value may also be true or false, as in tags. */
static int parse_tag(struct bh_publish *p, struct bh_json_value key, struct bh_json_value value,
                     struct bh_bytes *text, struct item_error *c) {
    const char *why;
    bh_bytes_clear(text);
    bh_json_string(key, text);
    size_t name = text->len;
    if (value.type == BH_JSON_TRUE || value.type == BH_JSON_FALSE)
        bh_bytes_add(text, value.raw);
    else if (add_text(value, text, c))
        return reject(c, "invalid_option",
                      "values of a filter must be strings, integers, true or false");
    struct bh_slice both = bh_bytes_slice(text);
    if (bh_filter_add(&p->filter, bh_slice(both.p, name), bh_slice(both.p + name, both.n - name),
                      &why))
        return reject(c, "invalid_option", why);
    return 0;
}

static int parse_filter(struct bh_publish *p, struct bh_json_value object, struct bh_bytes *text,
                        struct item_error *c) {
    struct bh_json_value key, value;
    size_t cursor = 0;
    int error = 0;
    if (object.type != BH_JSON_OBJECT || p->filter)
        return reject(c, "invalid_option", "filter must be one object of names and values");
    while (!error && bh_json_next(object, &cursor, &key, &value))
        error = parse_tag(p, key, value, text, c);
    if (!error && !p->filter)
        error =
            reject(c, "invalid_option", "filter is empty: leave it out to reach all connections");
    return error;
}

/* history is true or false; the others are strings or integers. */
static int add_option(struct bh_slice key, struct bh_json_value value, struct bh_bytes *text,
                      struct item_error *c) {
    bool is_boolean = value.type == BH_JSON_TRUE || value.type == BH_JSON_FALSE;
    bh_bytes_clear(text);
    if (!is_boolean || !bh_slice_eq(key, BH_SLICE("history")))
        return add_text(value, text, c);
    bh_bytes_add(text, value.raw);
    return 0;
}

static int parse_member(struct bh_publish *p, bool *targeted, struct bh_slice key,
                        struct bh_json_value value, struct bh_bytes *text, struct item_error *c) {
    if (bh_slice_eq(key, BH_SLICE("data"))) {
        bh_publish_set_data(p, bh_buf_copy(value.raw));
        return 0;
    }
    if (bh_slice_eq(key, BH_SLICE("all"))) {
        if (value.type != BH_JSON_TRUE)
            return reject(c, "invalid_request", "all must be true");
        return parse_target(p, targeted, BH_TOPIC_ALL, bh_slice(NULL, 0), "invalid_request", c);
    }
    if (bh_slice_eq(key, BH_SLICE("filter")))
        return parse_filter(p, value, text, c);
    if (add_option(key, value, text, c) != 0)
        return BH_EINVAL;
    struct bh_slice id = bh_bytes_slice(text);
    if (bh_slice_eq(key, BH_SLICE("user")))
        return parse_target(p, targeted, BH_TOPIC_USER, id, "invalid_user", c);
    if (bh_slice_eq(key, BH_SLICE("tenant")))
        return parse_target(p, targeted, BH_TOPIC_TENANT, id, "invalid_tenant", c);
    if (bh_slice_eq(key, BH_SLICE("topic")))
        return parse_target(p, targeted, BH_TOPIC_TOPIC, id, "invalid_topic", c);
    const char *why;
    int error = bh_api_parse_option(p, key, id, &why);
    if (error == BH_ENOTFOUND)
        return reject(c, "unknown_member",
                      "members are user, tenant, topic, all, data, strategy, ttl, id, except, "
                      "filter, history, collapse");
    return error ? reject(c, "invalid_option", why) : 0;
}

static int read_item(struct bh_json_value object, struct bh_publish *p, struct item_error *c) {
    struct bh_bytes name = {0}, text = {0};
    struct bh_json_value key, value;
    bool targeted = false;
    size_t cursor = 0;
    int error = object.type == BH_JSON_OBJECT
                    ? 0
                    : reject(c, "invalid_request", "an item must be an object");
    while (!error && object.type == BH_JSON_OBJECT && bh_json_next(object, &cursor, &key, &value)) {
        bh_bytes_clear(&name);
        bh_json_string(key, &name);
        error = parse_member(p, &targeted, bh_bytes_slice(&name), value, &text, c);
    }
    if (!error && !targeted)
        error = reject(c, "invalid_request", "an item must have user, tenant, topic or all");
    if (!error && !p->data)
        error = reject(c, "invalid_request", "an item must have data");
    bh_bytes_free(&name);
    bh_bytes_free(&text);
    return error;
}

static void publish_item(struct item *item, struct bh_json_value object) {
    struct bh_http_server *s = item->batch->server;
    struct bh_publish p;
    bh_publish_init(&p, BH_SOURCE_HTTP);
    p.opcode = BH_TEXT;
    struct item_error error;
    if (read_item(object, &p, &error) != 0) {
        bh_publish_release(&p);
        item_failed(item, error.code, bh_slice_cstr(error.why));
        item_done(item->batch);
        return;
    }
    item->handle = bh_slots_add(&s->batches->items, item);
    bh_node_publish(s->worker, &p, on_published, s->batches, item->handle);
}

static struct batch *batch_new(struct bh_http_conn *c, size_t count) {
    struct batch *b = bh_calloc(1, sizeof *b + count * sizeof(struct item));
    b->server = c->server;
    b->request = c->request;
    b->count = count;
    b->open = count + 1; /* one more, until all items have been started */
    for (size_t i = 0; i < count; i++)
        b->items[i].batch = b;
    bh_list_append(&c->server->batches->list, &b->node);
    return b;
}

/* --- bodies that are not JSON --- */

/* Replaces what only one value can have wrong: the content of strings, numbers and words. What is
 * left is the structure. */
static void mask_values(struct bh_bytes text) {
    bool in_string = false;
    for (char *p = text.p, *end = p + text.len; p < end; p++) {
        if (*p == '"')
            in_string = !in_string;
        else if (in_string && *p == '\\' && end - p > 1)
            *p++ = 'x', *p = 'x';
        else if (in_string)
            *p = 'x';
        else if (!strchr("{}[]:, \t\r\n", *p))
            *p = '1';
    }
}

/* The structure of a body that is not JSON; false if that has a fault, too. */
static bool copy_structure(struct bh_slice body, struct bh_bytes *out) {
    bh_bytes_add(out, body);
    mask_values(*out);
    return bh_json_check(bh_bytes_slice(out), NULL) == 0;
}

static void check_and_publish(struct item *item, struct bh_slice text, size_t offset) {
    struct bh_json_error error;
    if (bh_json_check(text, &error) == 0) {
        publish_item(item, bh_json_root(text));
        return;
    }
    struct bh_bytes why = {0};
    bh_bytes_addf(&why, "at byte %zu: %s", offset + error.offset, error.why);
    item_failed(item, "invalid_json", bh_bytes_slice(&why));
    bh_bytes_free(&why);
    item_done(item->batch);
}

/* --- the request --- */

static size_t count_elements(struct bh_json_value array) {
    struct bh_json_value value;
    size_t cursor = 0, n = 0;
    while (bh_json_next(array, &cursor, NULL, &value))
        n++;
    return n;
}

/* structure: the body itself, or its structure if it is not JSON. */
static void publish_all(struct bh_http_conn *c, struct bh_slice body, struct bh_slice structure) {
    struct bh_json_value array = bh_json_root(structure), element;
    size_t count = array.type == BH_JSON_ARRAY ? count_elements(array) : 0, cursor = 0;
    if (array.type != BH_JSON_ARRAY || count > ITEMS_MAX) {
        bh_http_conn_fail(c, 400, "invalid_request",
                          "the body must be an array of at most %d objects", ITEMS_MAX);
        return;
    }
    struct batch *b = batch_new(c, count);
    for (size_t i = 0; bh_json_next(array, &cursor, NULL, &element); i++) {
        size_t offset = (size_t)(element.raw.p - structure.p);
        if (structure.p == body.p)
            publish_item(&b->items[i], element);
        else
            check_and_publish(&b->items[i], bh_slice(body.p + offset, element.raw.n), offset);
    }
    item_done(b);
}

void bh_api_batch(struct bh_http_conn *c) {
    struct bh_slice body = bh_http_conn_request(c)->body;
    struct bh_bytes structure = {0};
    struct bh_json_error error;
    if (bh_http_conn_request(c)->query.n)
        bh_http_conn_fail(c, 400, "unknown_option",
                          "a batch has no query options; set them in its items");
    else if (bh_json_check(body, &error) == 0)
        publish_all(c, body, body);
    else if (copy_structure(body, &structure))
        publish_all(c, body, bh_bytes_slice(&structure));
    else
        bh_http_conn_fail(c, 400, "invalid_json", "at byte %zu: %s", error.offset, error.why);
    bh_bytes_free(&structure);
}
