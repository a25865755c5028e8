/* Opening handshakes: valid ones, each error, and the response byte for byte. */
#include "bellhop/proto/ws_handshake.h"

#include "bellhop/base/error.h"
#include "proto_test.h"

#define H(n, v)                                                                                    \
    {                                                                                              \
        {n, sizeof(n) - 1}, {                                                                      \
            v, sizeof(v) - 1                                                                       \
        }                                                                                          \
    }

#define KEY "dGhlIHNhbXBsZSBub25jZQ==" /* RFC 6455's own example */

/* Parses "line\r\n..." into a request, of which a body may follow, and checks it; 0 or the status.
 */
static int check(const char *head) {
    static const struct bh_http_limits limits = {8192, 50, 1000};
    struct bh_http1 *h = bh_http1_new(&limits);
    size_t used;
    enum bh_http1_event event = bh_http1_feed(h, bh_slice_cstr(head), &used);
    assert_true(event == BH_HTTP1_REQUEST || event == BH_HTTP1_HEAD);
    int status = 0;
    const char *why = NULL;
    int r = bh_ws_handshake_check(bh_http1_request(h), &status, &why);
    assert_int_equal(r, status ? BH_EPROTO : 0);
    assert_int_equal(status != 0, why != NULL);
    bh_http1_free(h);
    return status;
}

#define UPGRADE                                                                                    \
    "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"

static void the_example_of_the_rfc(void **state) {
    assert_int_equal(check(UPGRADE VERSION "Sec-WebSocket-Key: " KEY "\r\n\r\n"), 0);
}

static void bad_keys(void **state) {
    static const char *const keys[] = {
        "",
        "Sec-WebSocket-Key:\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEy\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n",
        "Sec-WebSocket-Key: dGhl!HNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==dGhl\r\n",
        "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Key: " KEY "\r\n",
    };
    for (size_t i = 0; i < COUNT(keys); i++) {
        char head[500];
        snprintf(head, sizeof head, UPGRADE VERSION "%s\r\n", keys[i]);
        assert_int_equal(check(head), 400);
    }
}

static void other_refusals(void **state) {
#define REST VERSION "Sec-WebSocket-Key: " KEY "\r\n"
    static const struct {
        const char *head;
        int status;
    } vectors[] = {
        {"POST / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" REST "\r\n",
         405},
        {"GET / HTTP/1.1\r\nHost: h\r\n" REST "\r\n", 426},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n" REST "\r\n", 426},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n" REST "\r\n", 400},
        {"GET / HTTP/1.0\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" REST "\r\n",
         400},
        {UPGRADE REST "Content-Length: 1\r\n\r\nx", 400},
        {UPGRADE "Sec-WebSocket-Key: " KEY "\r\n\r\n", 400},
        {UPGRADE REST VERSION "\r\n", 400},
        {UPGRADE "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", 426},
        {UPGRADE "Sec-WebSocket-Version: 13, 8\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", 426},
        {UPGRADE "Sec-WebSocket-Version: 013\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", 426},
    };
    for (size_t i = 0; i < COUNT(vectors); i++)
        assert_int_equal(check(vectors[i].head), vectors[i].status);
}

static void what_the_client_offers(void **state) {
    static const struct bh_header headers[] = {
        H("Upgrade", "WebSocket"),
        H("Connection", "Upgrade"),
        H("Sec-WebSocket-Version", "13"),
        H("Sec-WebSocket-Key", KEY),
        H("Sec-WebSocket-Protocol", "chat, Super"),
        H("Sec-WebSocket-Protocol", "last"),
    };
    const struct bh_http_request request = {.method = BH_SLICE("GET"),
                                            .headers = headers,
                                            .header_count = COUNT(headers),
                                            .minor = 1,
                                            .upgrade = true};
    int status;
    const char *why;
    assert_int_equal(bh_ws_handshake_check(&request, &status, &why), 0);
    assert_true(bh_ws_handshake_offers(&request, BH_SLICE("chat")));
    assert_true(bh_ws_handshake_offers(&request, BH_SLICE("Super")));
    assert_true(bh_ws_handshake_offers(&request, BH_SLICE("last")));
    assert_false(bh_ws_handshake_offers(&request, BH_SLICE("super")));
    assert_false(bh_ws_handshake_offers(&request, BH_SLICE("cha")));
    assert_false(bh_ws_handshake_offers(&request, BH_SLICE("")));
}

#define ANSWER                                                                                     \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"            \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static const struct bh_header key_line = H("Sec-WebSocket-Key", KEY);
static const struct bh_http_request asked = {.headers = &key_line, .header_count = 1};

static void answers(void **state) {
    struct bh_bytes out = {0};
    struct bh_slice none = bh_slice(NULL, 0);
    assert_int_equal(bh_ws_handshake_answer(&out, &asked, none, none, NULL, 0), 0);
    assert_bytes(&out, ANSWER "\r\n");
    bh_bytes_clear(&out);
    static const struct bh_header more[] = {H("X-Id", "7")};
    assert_int_equal(bh_ws_handshake_answer(&out, &asked, BH_SLICE("chat"),
                                            BH_SLICE("permessage-deflate"), more, 1),
                     0);
    assert_bytes(&out, ANSWER "Sec-WebSocket-Protocol: chat\r\n"
                              "Sec-WebSocket-Extensions: permessage-deflate\r\nX-Id: 7\r\n\r\n");
    bh_bytes_free(&out);
}

static void answers_that_must_not_be_sent(void **state) {
    struct bh_bytes out = {0};
    struct bh_slice none = bh_slice(NULL, 0), bad = BH_SLICE("a\r\nb: c");
    static const struct bh_header bad_value = H("A", "b\r\nc: d"), bad_name = H("A\n", "b");
    assert_int_equal(bh_ws_handshake_answer(&out, &asked, bad, none, NULL, 0), BH_EINVAL);
    assert_int_equal(bh_ws_handshake_answer(&out, &asked, none, bad, NULL, 0), BH_EINVAL);
    assert_int_equal(bh_ws_handshake_answer(&out, &asked, none, none, &bad_value, 1), BH_EINVAL);
    assert_int_equal(bh_ws_handshake_answer(&out, &asked, none, none, &bad_name, 1), BH_EINVAL);
    assert_int_equal(out.len, 0);
    bh_bytes_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_rfc),
        cmocka_unit_test(bad_keys),
        cmocka_unit_test(other_refusals),
        cmocka_unit_test(what_the_client_offers),
        cmocka_unit_test(answers),
        cmocka_unit_test(answers_that_must_not_be_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
