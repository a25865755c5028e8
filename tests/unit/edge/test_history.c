/* test_history.c - publishes to topics with history, pages of it over HTTP, and what is removed. */
#include "fake_history.h"

#include "bellhop/base/json.h"

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
        reset(&w.api);
        if (i == 0)
            give_page(&w, 100, messages, false, false);
        run(&w.t);
        dial(&w.t, &w.api);
    }
    ask_page(&w, "/api/users/42/messages"); /* is never answered */
    end(&w);
}

static void test_pages_wait_in_line(void **state) {
    enum { COUNT = 66 };
    struct world w;
    struct client clients[COUNT];
    begin(&w);
    for (int i = 0; i < COUNT; i++) {
        dial(&w.t, &clients[i]);
        send_text(&clients[i], "GET /api/users/42/messages HTTP/1.1\r\nHost: x\r\n" KEY "\r\n");
        run(&w.t);
    }
    WAIT_FOR(&w.t, w.history.pages == 64);
    run_idle(&w.t);
    assert_int_equal(w.history.pages, 64);
    reset(&clients[64]); /* waits in line, and leaves */
    give_page(&w, 0, NULL, false, false);
    WAIT_FOR(&w.t, w.history.pages == 65);
    give_page(&w, 0, NULL, false, false);
    assert_int_equal(take_response(&clients[65], &w.answer), 200);
    for (int i = 0; i < COUNT; i++)
        if (i != 64)
            hang_up(&clients[i]);
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

/* --- publishing --- */

static int post(struct world *w, const char *target) {
    struct bh_bytes wire = {0};
    bh_bytes_addf(&wire, "POST %s HTTP/1.1\r\nHost: x\r\n" KEY "Content-Length: 1\r\n\r\n1",
                  target);
    send_bytes(&w->api, bh_bytes_slice(&wire));
    bh_bytes_free(&wire);
    return take_response(&w->api, &w->answer);
}

static void test_publishing(void **state) {
    struct world w;
    begin(&w);
    assert_int_equal(post(&w, "/api/users/42/messages?id=a&collapse=a+b&ttl=5"), 200);
    assert_string_equal(w.answer.p, "{\"id\":\"a\",\"status\":\"stored\",\"strategy\":\"durable\","
                                    "\"position\":\"17-5\",\"instances\":0,\"local\":0}\n");
    assert_string_equal(w.history.collapse, "a b");
    w.history.known = true;
    assert_int_equal(post(&w, "/api/users/42/messages?id=a&strategy=durable&history=true"), 200);
    assert_string_equal(w.answer.p, "{\"id\":\"a\",\"status\":\"stored\",\"strategy\":\"durable\","
                                    "\"position\":\"17-5\",\"duplicate\":true}\n");
    assert_int_equal(post(&w, "/api/users/42/messages?id=b&history=false"), 200);
    assert_string_equal(w.answer.p,
                        "{\"id\":\"b\",\"status\":\"offline\",\"instances\":0,\"local\":0}\n");
    end(&w);
}

static void test_publishing_fails(void **state) {
    static const struct {
        int error, status;
        const char *code;
    } cases[] = {
        {BH_ENOMEM, 503, "history_full"},
        {BH_EUNAVAIL, 503, "broker_unavailable"},
        {BH_EIO, 503, "broker_unavailable"},
    };
    static const char *const refused[] = {
        "/api/users/42/messages?history=false&collapse=k", "/api/tenants/7/messages?collapse=k",
        "/api/tenants/7/messages?history=true", "/api/tenants/7/messages?strategy=durable"};
    struct world w;
    begin(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        w.history.error = cases[i].error;
        assert_int_equal(post(&w, "/api/users/42/messages?id=a"), cases[i].status);
        assert_has(w.answer.p, cases[i].code);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(post(&w, refused[i]), 400);
        assert_has(w.answer.p, "\"invalid_request\"");
    }
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
        cmocka_unit_test(test_pages_wait_in_line),
        cmocka_unit_test(test_removing),
        cmocka_unit_test(test_publishing),
        cmocka_unit_test(test_publishing_fails),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
