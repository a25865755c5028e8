/* test_upgrade.c - the paths of WebSockets, and the parameters that the hook gets. */
#include "edge_client.h"

static const struct bh_slice paths[] = {BH_SLICE("/app/*rest"), BH_SLICE("/app/:key"),
                                        BH_SLICE("/app/main"), BH_SLICE("/mine"), BH_SLICE("/*")};

static void begin(struct test *t, size_t count) {
    test_setup(t);
    t->config.ws_paths = paths;
    t->config.ws_path_count = count;
    t->hooks.present |= BH_HOOK_HTTP;
    t->response = (struct bh_response){.status = 200, .body = BH_SLICE("hello")};
    test_start(t);
}

static void opens(struct test *t, const char *upgrade, const char *params) {
    struct client c;
    snprintf(t->asked, sizeof t->asked, "nothing");
    dial(t, &c);
    send_text(&c, upgrade);
    expect_101(&c);
    assert_string_equal(t->asked, params);
    hang_up(&c);
}

static void answers(struct test *t, const char *request, const char *part) {
    struct client c;
    dial(t, &c);
    send_text(&c, request);
    expect_text(&c, part);
    hang_up(&c);
}

static void test_paths(void **state) {
    struct test t;
    begin(&t, 3);
    opens(&t, UPGRADE("/app/k-1") "\r\n", "key=k-1;");
    opens(&t, UPGRADE("/app/a%2Fb?x=1") "\r\n", "key=a%2Fb;");
    opens(&t, UPGRADE("/app/main") "\r\n", "");
    opens(&t, UPGRADE("/app/a/b") "\r\n", "rest=a/b;");
    answers(&t, UPGRADE("/app") "\r\n", "HTTP/1.1 404 ");
    answers(&t, UPGRADE("/ws") "\r\n", "HTTP/1.1 404 ");
    answers(&t, UPGRADE("/app/%zz") "\r\n", "HTTP/1.1 404 ");
    answers(&t, UPGRADE("/healthz") "\r\n", "HTTP/1.1 404 ");
    answers(&t, UPGRADE("/mine") "\r\n", "websocket.paths");
    test_end(&t);
}

/* Plain requests go to the routes first, so the same path can be both. */
static void test_beside_routes(void **state) {
    struct test t;
    begin(&t, 5);
    opens(&t, UPGRADE("/mine") "\r\n", "");
    answers(&t, "GET /mine HTTP/1.1\r\nHost: x\r\n\r\n", "hello");
    answers(&t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "ok\n");
    opens(&t, UPGRADE("/healthz") "\r\n", "*=healthz;");
    answers(&t, "GET /app/x HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 426 ");
    test_end(&t);
}

static void test_upgrade_required(void **state) {
    static const char version[] =
        "GET /app/x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    struct test t;
    begin(&t, 3);
    answers(&t, "GET /app/x HTTP/1.1\r\nHost: x\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade, keep-alive\r\n");
    answers(&t, "GET /app/x HTTP/1.0\r\nHost: x\r\n\r\n",
            "Upgrade: websocket\r\nConnection: upgrade, close\r\n");
    answers(&t, version, "Upgrade: websocket\r\nConnection: upgrade, close\r\n");
    answers(&t, version, "Sec-WebSocket-Version: 13\r\n");
    test_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_beside_routes),
        cmocka_unit_test(test_upgrade_required),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
