/* test_inbox.c - GET /inbox. */
#include "fake_history.h"

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
    expect_header(&w, "Access-Control-Allow-Credentials: true", true);
    take_response(&w.api, &w.answer);
    assert_int_equal(inbox(&w, "", "Origin: https://other.example\r\n"), 200);
    expect_header(&w, "Access-Control-Allow-Origin: https://other.example", true);
    expect_header(&w, "Access-Control-Allow-Credentials", false);
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
        cmocka_unit_test(test_inbox),
        cmocka_unit_test(test_inbox_shows_what_the_filter_allows),
        cmocka_unit_test(test_inbox_refused),
        cmocka_unit_test(test_inbox_of_a_developer),
        cmocka_unit_test(test_inbox_waits_for_the_hook),
        cmocka_unit_test(test_inbox_and_origins),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
