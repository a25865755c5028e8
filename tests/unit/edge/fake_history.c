/* fake_history.c - see the header. */
#include "fake_history.h"

static void on_page(struct bh_history *h, unsigned worker, const struct bh_page_query *query,
                    bh_page_cb done, void *ud, bh_handle handle) {
    struct fake *f = BH_CONTAINER_OF(h, struct fake, base);
    f->pages++;
    f->query = *query;
    f->page_done = done;
    f->ud = ud;
    f->handle = handle;
}

static void on_remove(struct bh_history *h, unsigned worker, const struct bh_topic *topic,
                      struct bh_position position, bh_removed_cb done, void *ud, bh_handle handle) {
    struct fake *f = BH_CONTAINER_OF(h, struct fake, base);
    f->removes++;
    f->topic = *topic;
    f->position = position;
    f->removed = done;
    f->ud = ud;
    f->handle = handle;
}

static void on_append(struct bh_history *h, unsigned worker, struct bh_message *m,
                      const struct bh_history_rule *rule, struct bh_slice collapse,
                      bh_appended_cb done, void *ud, bh_handle handle) {
    struct fake *f = BH_CONTAINER_OF(h, struct fake, base);
    struct bh_appended appended = {.position = {17, 5}, .receivers = 0, .known = f->known};
    snprintf(f->collapse, sizeof f->collapse, "%.*s", BH_SLICE_ARG(collapse));
    done(ud, handle, f->error, f->error ? NULL : &appended, NULL);
}

static const struct bh_history_vt fake_vt = {
    .append = on_append, .page = on_page, .remove = on_remove};

void begin(struct world *w) {
    *w = (struct world){.history.base.vt = &fake_vt};
    test_begin(&w->t);
    bh_node_set_history(w->t.node, &w->history.base);
    dial(&w->t, &w->api);
}

void end(struct world *w) {
    hang_up(&w->api);
    bh_node_set_history(w->t.node, NULL);
    bh_bytes_free(&w->answer);
    test_end(&w->t);
}

void ask(struct world *w, const char *method, const char *target) {
    struct bh_bytes wire = {0};
    bh_bytes_addf(&wire, "%s %s HTTP/1.1\r\nHost: x\r\n" KEY "\r\n", method, target);
    send_bytes(&w->api, bh_bytes_slice(&wire));
    bh_bytes_free(&wire);
}

int request(struct world *w, const char *method, const char *target) {
    ask(w, method, target);
    return take_response(&w->api, &w->answer);
}

void ask_page(struct world *w, const char *target) {
    int before = w->history.pages;
    ask(w, "GET", target);
    WAIT_FOR(&w->t, w->history.pages > before);
}

struct bh_message *message(uint64_t offset, enum bh_opcode opcode, struct bh_slice payload) {
    struct bh_message parts = {.kind = BH_MESSAGE_DATA,
                               .opcode = (uint8_t)opcode,
                               .flags = BH_MESSAGE_POSITION,
                               .position = {17, offset},
                               .stored_ms = TEST_WALL_MS + offset,
                               .id = BH_SLICE("m\"1"),
                               .payload = payload};
    struct bh_topic topic;
    const char *why;
    bh_topic_make(BH_TOPIC_USER, BH_SLICE("42"), &topic, &why);
    parts.topic = &topic;
    return bh_message_new(&parts);
}

void give_page(struct world *w, size_t count, struct bh_message *const *messages, bool gap,
               bool more) {
    struct fake *f = &w->history;
    struct bh_range *range = bh_range_new(count, messages);
    range->top = (struct bh_position){17, 9};
    f->page_done(f->ud, f->handle, 0, range, gap, more, NULL);
    bh_range_unref(range);
}

void reset(struct client *c) {
    struct linger linger = {.l_onoff = 1};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    hang_up(c);
}
