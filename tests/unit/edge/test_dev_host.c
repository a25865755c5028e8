/* test_dev_host.c - with --dev: the names under which the server may be asked. */
#include "edge_client.h"
#include "limits/dev_host.h"
#include "unit_test.h"

static bool dev_host_ok(const char *host) {
    static const struct bh_slice origins[] = {BH_SLICE("localhost:*"), BH_SLICE("*"),
                                              BH_SLICE("null"), BH_SLICE("https://my.example"),
                                              BH_SLICE("*.wild.example:3000")};
    static const struct bh_slice cors[] = {BH_SLICE("file://"), BH_SLICE("[2001:db8::1]:*"),
                                           BH_SLICE("http://cors.example:8080")};
    const struct bh_edge_config config = {
        .origins = origins, .origin_count = 5, .cors = cors, .cors_count = 3};
    struct bh_slice exact = test_exact(bh_slice_cstr(host));
    bool ok = bh_dev_host_ok(&config, exact);
    test_exact_free(exact);
    return ok;
}

static void test_hosts_of_a_development_server(void **state) {
    static const char *const good[] = {
        "",
        "localhost",
        "LocalHost:8080",
        "localhost.:8080",
        "a.localhost",
        "a.b.LOCALHOST:1",
        "a.localhost.",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.0.0.1.:8080",
        "192.168.1.7:80",
        "[::1]",
        "[::1]:8080",
        "[FE80::1]:8080",
        "[::ffff:127.0.0.1]",
        "devbox",
        "gateway:8080",
        "my.example",
        "MY.Example:8080",
        "my.example.:8080",
        "a.wild.example",
        "a.b.wild.example:1",
        "cors.example",
    };
    static const char *const bad[] = {
        "evil.example",
        "EVIL.example:8080",
        "evil.example.",
        "evil.",
        ".",
        ":8080",
        "..",
        "localhost.evil.example",
        "evil.localhost.example:80",
        "evil-localhost.",
        "xlocalhost.",
        ".evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:8080",
        "127.0.0.1..",
        "127.1",
        "[::1].evil.example",
        "[::1]evil.example:80",
        "[evil.example]",
        "[::1.",
        "[]evil.example",
        "evil.example:localhost",
        "not-my.example",
        "sub.my.example",
        "my.example.evil.example",
        "wild.example",
        "evilwild.example",
        "null.evil",
        "*.example",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!dev_host_ok(good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (dev_host_ok(bad[i]))
            fail_msg("allowed: %s", bad[i]);
}

/* Whatever is asked, before a hook is. */
static void test_dns_rebinding(void **state) {
    static const struct {
        const char *request;
        bool refused;
    } cases[] = {
        {"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n", true},
        {"GET /mine HTTP/1.1\r\nHost: evil.example\r\n\r\n", true},
        {"GET /nothing HTTP/1.1\r\nHost: evil.example\r\n\r\n", true},
        {"GET /mine HTTP/1.0\r\nHost: evil.example\r\n\r\n", true},
        {"GET http://evil.example/mine HTTP/1.1\r\nHost: localhost\r\n\r\n", true},
        {"GET /api/users/42 HTTP/1.1\r\nHost: evil.example\r\n\r\n", true},
        {"OPTIONS /api/broadcast HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n"
         "Access-Control-Request-Method: POST\r\n\r\n",
         true},
        {"POST /api/broadcast HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1\r\n\r\nx", true},
        {"DELETE /api/users/42/connections HTTP/1.1\r\nHost: evil.example\r\n\r\n", true},
        {UPGRADE("http://evil.example/ws") "\r\n", true},
        {"GET http://localhost/mine HTTP/1.1\r\nHost: evil.example\r\n\r\n", false},
        {"GET /mine HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", false},
        {"GET /mine HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", false},
        {"GET /mine HTTP/1.0\r\n\r\n", false},
        {UPGRADE("http://a.localhost/ws") "\r\n", false},
    };
    for (int dev = 1; dev >= 0; dev--) {
        struct test t;
        struct client c;
        test_setup(&t);
        t.config.dev = dev;
        t.hooks.present |= BH_HOOK_API | BH_HOOK_HTTP;
        t.handshake = t.http = t.api = LATER;
        test_start(&t);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            bool refused = dev && cases[i].refused;
            int64_t before = count_of(BH_EDGE_LIMIT_ORIGIN);
            t.handshake_done = NULL;
            t.respond = NULL;
            t.allowed = NULL;
            dial(&t, &c);
            send_text(&c, cases[i].request);
            if (refused) {
                expect_text(&c, "\r\n\r\n");
                assert_has(c.got.p, "HTTP/1.1 403 ");
                expect_text(&c,
                            "to use this name, add it to websocket.origins or api.cors_origins");
                assert_null(t.handshake_done);
                assert_null(t.respond);
                assert_null(t.allowed);
            } else if (!cases[i].refused) {
                WAIT_FOR(&t, t.handshake_done || t.respond);
            }
            hang_up(&c);
            assert_int_equal(count_of(BH_EDGE_LIMIT_ORIGIN), before + refused);
        }
        test_end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts_of_a_development_server),
        cmocka_unit_test(test_dns_rebinding),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
