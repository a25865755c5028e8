/* test_history.c - pages of the history over HTTP, and what is removed from it. The history is
 * fake: it keeps the last question, and answers when the test says so. */
#include "edge_client.h"

#include "bellhop/base/json.h"

#define KEY "Authorization: Bearer first-key\r\n"

struct fake {
    struct bh_history base;
    int pages, removes;
    struct bh_page_query query;
    struct bh_topic topic;
    struct bh_position position;
    bh_page_cb page_done;
    bh_removed_cb removed;
    void *ud;
    bh_handle handle;
};

struct world {
    struct test t;
    struct fake history;
    struct client api;
    struct bh_bytes answer;
};

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

static const struct bh_history_vt fake_vt = {.page = on_page, .remove = on_remove};

static void begin(struct world *w) {
    *w = (struct world){.history.base.vt = &fake_vt};
    test_begin(&w->t);
    bh_node_set_history(w->t.node, &w->history.base);
    dial(&w->t, &w->api);
}

static void end(struct world *w) {
    hang_up(&w->api);
    bh_node_set_history(w->t.node, NULL);
    bh_bytes_free(&w->answer);
    test_end(&w->t);
}

static void ask(struct world *w, const char *method, const char *target) {
    struct bh_bytes wire = {0};
    bh_bytes_addf(&wire, "%s %s HTTP/1.1\r\nHost: x\r\n" KEY "\r\n", method, target);
    send_bytes(&w->api, bh_bytes_slice(&wire));
    bh_bytes_free(&wire);
}

static int request(struct world *w, const char *method, const char *target) {
    ask(w, method, target);
    return take_response(&w->api, &w->answer);
}

static void ask_page(struct world *w, const char *target) {
    int before = w->history.pages;
    ask(w, "GET", target);
    WAIT_FOR(&w->t, w->history.pages > before);
}

static struct bh_message *message(uint64_t offset, enum bh_opcode opcode, struct bh_slice payload) {
    struct bh_message parts = {.kind = BH_MESSAGE_DATA,
                               .opcode = (uint8_t)opcode,
                               .flags = BH_MESSAGE_POSITION,
                               .position = {17, offset},
                               .stored_ms = TEST_WALL_MS + offset,
                               .id = BH_SLICE("m\"1"),
                               .payload = payload};
    const char *why;
    bh_topic_make(BH_TOPIC_USER, BH_SLICE("42"), &parts.topic, &why);
    return bh_message_new(&parts);
}

/* Takes over the references. */
static void give_page(struct world *w, size_t count, struct bh_message *const *messages, bool gap,
                      bool more) {
    struct fake *f = &w->history;
    struct bh_range *range = bh_range_new(count, messages);
    range->top = (struct bh_position){17, 9};
    f->page_done(f->ud, f->handle, 0, range, gap, more, NULL);
    bh_range_unref(range);
}

/* --- reading --- */

static void test_a_page(void **state) {
    struct world w;
    begin(&w);
    ask_page(&w, "/api/users/42/messages");
    assert_true(bh_slice_eq(bh_topic_name(&w.history.query.topic), BH_SLICE("user:42")));
    assert_int_equal(w.history.query.limit, 100);
    assert_int_equal(w.history.query.bytes, 1 << 20);
    assert_false(w.history.query.ascending);
    assert_int_equal(w.history.query.from.epoch, 0);
    struct bh_message *const messages[] = {
        message(9, BH_TEXT, BH_SLICE("{\"a\": 1.0}")),
        message(8, BH_TEXT, BH_SLICE("not \"JSON\"\n")),
        message(7, BH_BINARY, BH_SLICE("\x01\x02\xff")),
        message(6, BH_TEXT, BH_SLICE("")),
    };
    give_page(&w, 4, messages, false, true);
    assert_int_equal(take_response(&w.api, &w.answer), 200);
    assert_string_equal(
        w.answer.p,
        "{\"messages\":["
        "{\"id\":\"m\\\"1\",\"position\":\"17-9\",\"time\":\"2025-06-15T15:06:40.009Z\",\"data\":"
        "{\"a\": 1.0}},\n"
        "{\"id\":\"m\\\"1\",\"position\":\"17-8\",\"time\":\"2025-06-15T15:06:40.008Z\",\"data\":"
        "\"not \\\"JSON\\\"\\n\",\"encoding\":\"text\"},\n"
        "{\"id\":\"m\\\"1\",\"position\":\"17-7\",\"time\":\"2025-06-15T15:06:40.007Z\",\"data\":"
        "\"AQL/\",\"encoding\":\"base64\"},\n"
        "{\"id\":\"m\\\"1\",\"position\":\"17-6\",\"time\":\"2025-06-15T15:06:40.006Z\",\"data\":"
        "\"\",\"encoding\":\"text\"}],"
        "\"position\":\"17-9\",\"more\":true,\"gap\":false}\n");
    end(&w);
}

static void test_options(void **state) {
    static const struct {
        const char *query;
        uint64_t epoch, offset;
        unsigned limit;
        bool ascending;
    } cases[] = {
        {"", 0, 0, 100, false},
        {"?limit=1000", 0, 0, 1000, false},
        {"?order=asc&limit=1", 0, 0, 1, true},
        {"?since=17-3", 17, 3, 100, true},
        {"?since=17-0&order=asc", 17, 0, 100, true},
        {"?order=desc&since=17-3", 17, 3, 100, false},
    };
    static const char *const targets[] = {
        "/api/users/42/messages", "/api/topics/a/b/messages/messages", "/api/broadcast/messages"};
    struct world w;
    begin(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char target[128];
        snprintf(target, sizeof target, "%s%s", targets[i % 3], cases[i].query);
        ask_page(&w, target);
        assert_int_equal(w.history.query.from.epoch, cases[i].epoch);
        assert_int_equal(w.history.query.from.offset, cases[i].offset);
        assert_int_equal(w.history.query.limit, cases[i].limit);
        assert_int_equal(w.history.query.ascending, cases[i].ascending);
        give_page(&w, 0, NULL, true, false);
        assert_int_equal(take_response(&w.api, &w.answer), 200);
        assert_string_equal(
            w.answer.p, "{\"messages\":[],\"position\":\"17-9\",\"more\":false,\"gap\":true}\n");
    }
    end(&w);
}

static void test_bad_requests(void **state) {
    static const struct {
        const char *method, *target;
        int status;
        const char *code;
    } cases[] = {
        {"GET", "/api/users/42/messages?limit=0", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?limit=1001", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?limit=-1", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?order=up", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?since=", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?since=17", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?since=_-1", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?since=0-1", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?since=9007199254740992-1", 400, "invalid_option"},
        {"GET", "/api/users/42/messages?sinse=17-3", 400, "unknown_option"},
        {"GET", "/api/users/a%20b/messages", 400, "invalid_user"},
        {"GET", "/api/tenants/7/messages", 404, "no_history"},
        {"GET", "/api/topics/a/b/messages", 404, "no_history"},
        {"DELETE", "/api/tenants/7/messages", 404, "no_history"},
        {"DELETE", "/api/tenants/7/messages/17-3", 404, "no_history"},
        {"DELETE", "/api/users/42/messages?all", 400, "unknown_option"},
        {"DELETE", "/api/users/42/messages/17", 400, "invalid_position"},
        {"DELETE", "/api/users/42/messages/17-0", 400, "invalid_position"},
        {"DELETE", "/api/users/42/messages/all", 400, "invalid_position"},
        {"GET", "/api/users/42/messages/17-3", 405, "method_not_allowed"},
    };
    struct world w;
    begin(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(request(&w, cases[i].method, cases[i].target), cases[i].status);
        assert_has(w.answer.p, cases[i].code);
    }
    assert_int_equal(w.history.pages + w.history.removes, 0);
    bh_node_set_history(w.t.node, NULL);
    assert_int_equal(request(&w, "GET", "/api/users/42/messages"), 404);
    assert_has(w.answer.p, "see `history` in the configuration");
    send_text(&w.api, "GET /api/users/42/messages HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(take_response(&w.api, &w.answer), 401);
    end(&w);
}

static void test_what_is_not_shown(void **state) {
    struct world w;
    begin(&w);
    ask_page(&w, "/api/users/42/messages");
    struct bh_message *messages[] = {message(9, BH_TEXT, BH_SLICE("1")),
                                     message(8, BH_TEXT, BH_SLICE("2")),
                                     message(7, BH_TEXT, BH_SLICE("3"))};
    messages[0]->kind = BH_MESSAGE_TOMBSTONE;
    messages[1]->expires_ms = bh_clock_ms();
    give_page(&w, 3, messages, false, false);
    assert_int_equal(take_response(&w.api, &w.answer), 200);
    assert_int_equal(times(w.answer.p, "\"data\""), 1);
    assert_has(w.answer.p, "\"data\":3}]");
    end(&w);
}

static void test_the_history_fails(void **state) {
    struct world w;
    begin(&w);
    struct fake *f = &w.history;
    ask_page(&w, "/api/users/42/messages");
    f->page_done(f->ud, f->handle, BH_EUNAVAIL, NULL, false, false, NULL);
    assert_int_equal(take_response(&w.api, &w.answer), 503);
    assert_has(w.answer.p, "\"history_unavailable\"");
    assert_has(w.answer.p, "unavailable\"}");
    ask_page(&w, "/api/users/42/messages");
    f->page_done(f->ud, f->handle, BH_EDENIED, NULL, false, false, "NOPERM");
    assert_int_equal(take_response(&w.api, &w.answer), 503);
    assert_has(w.answer.p, "NOPERM");
    end(&w);
}

/* A thousand messages of a KiB take many turns; one request among them is answered meanwhile. */
static void test_a_large_page(void **state) {
    enum { COUNT = 1000, EACH = 1024 };
    static struct bh_message *messages[COUNT];
    struct bh_bytes text = {0};
    struct world w;
    begin(&w);
    bh_bytes_adds(&text, "\"");
    for (int i = 0; i < EACH - 2; i++)
        bh_bytes_addc(&text, 'x');
    bh_bytes_adds(&text, "\"");
    for (size_t i = 0; i < COUNT; i++)
        messages[i] = message(COUNT - i, BH_TEXT, bh_bytes_slice(&text));
    ask_page(&w, "/api/users/42/messages?limit=1000");
    give_page(&w, COUNT, messages, false, false);
    assert_int_equal(take_response(&w.api, &w.answer), 200);
    assert_int_equal(times(w.answer.p, "\"data\":\"xxx"), COUNT);
    assert_int_equal(bh_json_check(bh_bytes_slice(&w.answer), NULL), 0);
    bh_bytes_free(&text);
    end(&w);
}

/* The client leaves: before the history answers, and while the page is being written. */
static void test_a_client_that_leaves(void **state) {
    struct world w;
    struct bh_message *messages[100];
    begin(&w);
    for (int i = 0; i < 2; i++) {
        ask_page(&w, "/api/users/42/messages");
        for (size_t m = 0; m < 100; m++)
            messages[m] = message(100 - m, BH_TEXT, BH_SLICE("1"));
        if (i == 1)
            give_page(&w, 100, messages, false, false);
        struct linger linger = {.l_onoff = 1};
        setsockopt(w.api.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        hang_up(&w.api);
        if (i == 0)
            give_page(&w, 100, messages, false, false);
        run(&w.t);
        dial(&w.t, &w.api);
    }
    ask_page(&w, "/api/users/42/messages"); /* is never answered */
    end(&w);
}

/* --- removing --- */

static void expect_remove(struct world *w, const char *target, const char *topic, uint64_t epoch,
                          uint64_t offset) {
    int before = w->history.removes;
    ask(w, "DELETE", target);
    WAIT_FOR(&w->t, w->history.removes > before);
    assert_true(bh_slice_eq(bh_topic_name(&w->history.topic), bh_slice_cstr(topic)));
    assert_int_equal(w->history.position.epoch, epoch);
    assert_int_equal(w->history.position.offset, offset);
}

static int give_removed(struct world *w, int error, int64_t count) {
    struct fake *f = &w->history;
    f->removed(f->ud, f->handle, error, count, NULL);
    return take_response(&w->api, &w->answer);
}

static void test_removing(void **state) {
    struct world w;
    begin(&w);
    expect_remove(&w, "/api/users/42/messages", "user:42", 0, 0);
    assert_int_equal(give_removed(&w, 0, 17), 200);
    assert_string_equal(w.answer.p, "{\"removed\":17}\n");
    expect_remove(&w, "/api/topics/a/b/messages/messages", "topic:a/b/messages", 0, 0);
    assert_int_equal(give_removed(&w, 0, 0), 200);
    expect_remove(&w, "/api/topics/a/b/messages/messages/17-3", "topic:a/b/messages", 17, 3);
    assert_int_equal(give_removed(&w, 0, 1), 200);
    assert_string_equal(w.answer.p, "{\"removed\":1}\n");
    expect_remove(&w, "/api/broadcast/messages/17-4", "all", 17, 4);
    assert_int_equal(give_removed(&w, 0, 0), 404);
    assert_has(w.answer.p, "\"not_found\"");
    expect_remove(&w, "/api/users/a%2Fb/messages/17-4", "user:a/b", 17, 4);
    assert_int_equal(give_removed(&w, BH_EIO, 0), 503);
    assert_has(w.answer.p, "\"history_unavailable\"");
    end(&w);
}

/* --- the inbox --- */

static int inbox(struct world *w, const char *query, const char *headers) {
    struct bh_bytes wire = {0};
    int before = w->history.pages;
    bh_bytes_addf(&wire, "GET /inbox%s HTTP/1.1\r\nHost: x\r\n%s\r\n", query, headers);
    send_bytes(&w->api, bh_bytes_slice(&wire));
    bh_bytes_free(&wire);
    WAIT_FOR(&w->t, w->history.pages > before || has_response(&w->api));
    if (w->history.pages == before)
        return take_response(&w->api, &w->answer);
    struct bh_message *messages[] = {message(9, BH_TEXT, BH_SLICE("1"))};
    give_page(w, 1, messages, false, false);
    WAIT_FOR(&w->t, has_response(&w->api));
    return 200;
}

/* The head of the answer, which is still to be taken. */
static void expect_header(struct world *w, const char *header, bool there) {
    if ((strstr(w->api.got.p, header) != NULL) != there)
        fail_msg("%s: %s", header, w->api.got.p);
}

static void test_inbox(void **state) {
    struct world w;
    begin(&w);
    w.t.result_header = (struct bh_header){BH_SLICE("Set-Cookie"), BH_SLICE("a=b")};
    assert_int_equal(inbox(&w, "?token=x&limit=5&order=asc&since=17-3", ""), 200);
    assert_true(bh_slice_eq(bh_topic_name(&w.history.query.topic), BH_SLICE("user:42")));
    assert_int_equal(w.history.query.limit, 5);
    assert_int_equal(w.history.query.from.offset, 3);
    expect_header(&w, "Set-Cookie: a=b", true);
    expect_header(&w, "Cache-Control: no-store", true);
    expect_header(&w, "Content-Type: application/json", true);
    assert_int_equal(take_response(&w.api, &w.answer), 200);
    assert_has(w.answer.p, "\"data\":1}],\"position\":\"17-9\"");
    end(&w);
}

static void test_inbox_shows_what_the_filter_allows(void **state) {
    static const struct bh_tag tags[] = {{BH_SLICE("os"), BH_SLICE("ios")}};
    static const char ios[] = "\x02\x00\x03osios", web[] = "\x02\x00\x03osweb";
    struct world w;
    begin(&w);
    w.t.identity.tags = tags;
    w.t.identity.tag_count = 1;
    ask(&w, "GET", "/inbox");
    WAIT_FOR(&w.t, w.history.pages == 1);
    struct bh_message *messages[3] = {message(9, BH_TEXT, BH_SLICE("1")),
                                      message(8, BH_TEXT, BH_SLICE("2")),
                                      message(7, BH_TEXT, BH_SLICE("3"))};
    messages[0]->filter = bh_slice(ios, sizeof ios - 1);
    messages[1]->filter = bh_slice(web, sizeof web - 1);
    give_page(&w, 3, messages, false, false);
    assert_int_equal(take_response(&w.api, &w.answer), 200);
    assert_int_equal(times(w.answer.p, "\"data\""), 2);
    assert_has(w.answer.p, "\"filter\":{\"os\":\"ios\"},\"data\":1}");
    assert_has(w.answer.p, "\"data\":3}");
    end(&w);
}

static void test_inbox_refused(void **state) {
    struct world w;
    begin(&w);
    assert_int_equal(inbox(&w, "?limit=0", ""), 400);
    assert_int_equal(inbox(&w, "?since=x", ""), 400);
    w.t.handshake = NO;
    w.t.refuse_status = 401;
    w.t.refuse_body = "who are you?";
    assert_int_equal(inbox(&w, "", ""), 401);
    assert_has(w.answer.p, "who are you?");
    w.t.handshake = YES;
    w.t.identity.expires = TEST_WALL_MS / 1000;
    assert_int_equal(inbox(&w, "", ""), 401);
    assert_has(w.answer.p, "has expired");
    w.t.identity.expires = 0;
    w.t.identity.user = bh_slice(NULL, 0);
    assert_int_equal(inbox(&w, "", ""), 403);
    assert_has(w.answer.p, "only a user");
    w.t.identity.user = BH_SLICE("42");
    w.t.hooks.present |= BH_HOOK_DELIVER;
    assert_int_equal(inbox(&w, "", ""), 403);
    assert_has(w.answer.p, "on_deliver");
    w.t.hooks.present &= ~(unsigned)BH_HOOK_DELIVER;
    bh_node_set_history(w.t.node, NULL);
    assert_int_equal(inbox(&w, "", ""), 404);
    assert_has(w.answer.p, "no_history");
    w.t.hooks.present &= ~(unsigned)BH_HOOK_HANDSHAKE;
    assert_int_equal(inbox(&w, "?user=42", ""), 401);
    end(&w);
}

static void test_inbox_of_a_developer(void **state) {
    struct world w;
    begin(&w);
    w.t.hooks.present &= ~(unsigned)BH_HOOK_HANDSHAKE;
    w.t.config.dev = true;
    assert_int_equal(inbox(&w, "?user=7&limit=3", ""), 200);
    assert_true(bh_slice_eq(bh_topic_name(&w.history.query.topic), BH_SLICE("user:7")));
    assert_int_equal(take_response(&w.api, &w.answer), 200);
    assert_int_equal(inbox(&w, "?user=a%20b", ""), 400);
    assert_int_equal(inbox(&w, "?tenant=7", ""), 403);
    end(&w);
}

/* The hook waits, and the client leaves: the hook is cancelled. */
static void test_inbox_waits_for_the_hook(void **state) {
    struct world w;
    begin(&w);
    w.t.handshake = LATER;
    ask(&w, "GET", "/inbox");
    WAIT_FOR(&w.t, w.t.handshake_done);
    bh_handshake_cb done = w.t.handshake_done;
    complete_handshake(&w.t, done, w.t.hook_ud, w.t.hook_handle, true);
    WAIT_FOR(&w.t, w.history.pages == 1);
    give_page(&w, 0, NULL, false, false);
    assert_int_equal(take_response(&w.api, &w.answer), 200);
    w.t.handshake_done = NULL;
    ask(&w, "GET", "/inbox");
    WAIT_FOR(&w.t, w.t.handshake_done);
    hang_up(&w.api);
    WAIT_FOR(&w.t, w.t.cancelled == 1);
    complete_handshake(&w.t, done, w.t.hook_ud, w.t.hook_handle, true);
    run(&w.t);
    assert_int_equal(w.history.pages, 1);
    dial(&w.t, &w.api);
    end(&w);
}

static void test_inbox_and_origins(void **state) {
    static const struct bh_slice origins[] = {BH_SLICE("https://app.example")};
    static const struct bh_slice cors[] = {BH_SLICE("https://other.example")};
    struct world w;
    begin(&w);
    w.t.config.origins = origins;
    w.t.config.origin_count = 1;
    w.t.config.cors = cors;
    w.t.config.cors_count = 1;
    assert_int_equal(inbox(&w, "", "Origin: https://app.example\r\n"), 200);
    expect_header(&w, "Access-Control-Allow-Origin: https://app.example", true);
    take_response(&w.api, &w.answer);
    assert_int_equal(inbox(&w, "", "Origin: https://other.example\r\n"), 200);
    expect_header(&w, "Access-Control-Allow-Origin: https://other.example", true);
    take_response(&w.api, &w.answer);
    assert_int_equal(inbox(&w, "", ""), 200);
    expect_header(&w, "Access-Control-Allow-Origin", false);
    take_response(&w.api, &w.answer);
    assert_int_equal(inbox(&w, "", "Origin: https://evil.example\r\n"), 403);
    send_text(&w.api, "OPTIONS /inbox HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\n"
                      "Access-Control-Request-Method: GET\r\n\r\n");
    WAIT_FOR(&w.t, has_response(&w.api));
    expect_header(&w, "Access-Control-Allow-Headers: Authorization", true);
    assert_int_equal(take_response(&w.api, &w.answer), 204);
    /* the API is not opened by websocket.origins */
    send_text(&w.api, "GET /api/users/42/messages HTTP/1.1\r\nHost: x\r\n" KEY
                      "Origin: https://app.example\r\n\r\n");
    WAIT_FOR(&w.t, w.history.pages == 4);
    give_page(&w, 0, NULL, false, false);
    WAIT_FOR(&w.t, has_response(&w.api));
    expect_header(&w, "Access-Control-Allow-Origin", false);
    take_response(&w.api, &w.answer);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_what_is_not_shown),
        cmocka_unit_test(test_the_history_fails),
        cmocka_unit_test(test_a_large_page),
        cmocka_unit_test(test_a_client_that_leaves),
        cmocka_unit_test(test_removing),
        cmocka_unit_test(test_inbox),
        cmocka_unit_test(test_inbox_shows_what_the_filter_allows),
        cmocka_unit_test(test_inbox_refused),
        cmocka_unit_test(test_inbox_of_a_developer),
        cmocka_unit_test(test_inbox_waits_for_the_hook),
        cmocka_unit_test(test_inbox_and_origins),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
