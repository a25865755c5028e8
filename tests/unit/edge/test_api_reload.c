/* test_api_reload.c - POST /api/reload. */
#include "edge_client.h"

#define KEY "Authorization: Bearer first-key\r\n"

struct reload {
    struct test t;
    struct client c;
    struct bh_bytes answer;
    int asked;
    bh_handle handle;
    bool at_once;
};

static void on_reload(void *ud, struct bh_worker *worker, bh_handle handle) {
    struct reload *r = ud;
    assert_ptr_equal(worker, r->t.worker);
    r->asked++;
    r->handle = handle;
    if (r->at_once)
        bh_edge_reloaded(r->t.edge, handle, 0, 2, bh_slice(NULL, 0));
}

static void begin(struct reload *r, bool callback) {
    *r = (struct reload){.asked = 0};
    test_setup(&r->t);
    if (callback)
        r->t.config.reload = on_reload;
    r->t.config.reload_ud = r;
    test_start(&r->t);
    dial(&r->t, &r->c);
}

static void end(struct reload *r) {
    if (r->c.fd >= 0)
        hang_up(&r->c);
    bh_bytes_free(&r->answer);
    test_end(&r->t);
}

static void ask(struct reload *r, const char *headers) {
    char request[256];
    snprintf(request, sizeof request,
             "POST /api/reload HTTP/1.1\r\nHost: x\r\n%sContent-Length: 0\r\n\r\n", headers);
    send_text(&r->c, request);
}

static int reload(struct reload *r, int error, unsigned generation, const char *why) {
    int asked = r->asked;
    ask(r, KEY);
    WAIT_FOR(&r->t, r->asked == asked + 1);
    bh_edge_reloaded(r->t.edge, r->handle, error, generation, bh_slice_cstr(why));
    return take_response(&r->c, &r->answer);
}

static void test_outcomes(void **state) {
    struct reload r;
    begin(&r, true);
    assert_int_equal(reload(&r, 0, 3, ""), 200);
    assert_string_equal(r.answer.p, "{\"generation\":3}\n");
    assert_int_equal(reload(&r, BH_ESCRIPT, 3, "policy.lua:1: no\nstack traceback:\n\t[C]"), 500);
    assert_string_equal(r.answer.p,
                        "{\"error\":{\"code\":\"reload_failed\",\"message\":\"policy.lua:"
                        "1: no\\nstack traceback:\\n\\t[C]\"}}\n");
    assert_int_equal(reload(&r, BH_EEXIST, 3, ""), 409);
    assert_has(r.answer.p, "\"code\":\"reload_in_progress\"");
    r.at_once = true;
    ask(&r, KEY);
    assert_int_equal(take_response(&r.c, &r.answer), 200);
    end(&r);
}

static void test_wants_a_key(void **state) {
    struct reload r;
    begin(&r, true);
    ask(&r, "");
    assert_int_equal(take_response(&r.c, &r.answer), 401);
    assert_int_equal(r.asked, 0);
    send_text(&r.c, "GET /api/reload HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(take_response(&r.c, &r.answer), 405);
    end(&r);
}

static void test_not_available(void **state) {
    struct reload r;
    begin(&r, false);
    ask(&r, KEY);
    assert_int_equal(take_response(&r.c, &r.answer), 501);
    end(&r);
}

static void test_client_disconnects(void **state) {
    struct reload r;
    begin(&r, true);
    ask(&r, KEY);
    WAIT_FOR(&r.t, r.asked == 1);
    struct linger now = {1, 0};
    setsockopt(r.c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    hang_up(&r.c);
    bh_edge_reloaded(r.t.edge, r.handle, BH_ESCRIPT, 0, BH_SLICE("too late"));
    end(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_wants_a_key),
        cmocka_unit_test(test_not_available),
        cmocka_unit_test(test_client_disconnects),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
