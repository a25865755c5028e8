/* A request for a WebSocket, up to the response: an accepted one keeps every rule, and no response
 * has a line that we did not write. */
#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/proto/ws_deflate.h"
#include "bellhop/proto/ws_handshake.h"
#include "fuzz.h"

static const struct bh_http_limits limits = {
    .head_bytes = 16384, .header_count = 100, .body_bytes = 1024};

static size_t count_lines(struct bh_slice s) {
    size_t lines = 0;
    for (size_t i = 0; i < s.n; i++)
        lines += s.p[i] == '\n';
    return lines;
}

#define ACCEPT "\r\nSec-WebSocket-Accept: "

static void check_accept(struct bh_slice answer) {
    unsigned char digest[3 * (28 + 3) / 4];
    const char *line = memmem(answer.p, answer.n, ACCEPT, sizeof ACCEPT - 1);
    CHECK(line && bh_base64_decode(bh_slice(line + sizeof ACCEPT - 1, 28), digest) == 20);
}

/* Exactly one header line of this name; its value. */
static struct bh_slice only(const struct bh_http_request *q, struct bh_slice name) {
    size_t lines = 0;
    for (size_t i = 0; i < q->header_count; i++)
        lines += bh_slice_caseeq(q->headers[i].name, name);
    CHECK(lines == 1);
    return bh_http_header(q->headers, q->header_count, name);
}

static void check_let_in(const struct bh_http_request *q) {
    unsigned char bytes[3 * (24 + 3) / 4];
    struct bh_slice key = only(q, BH_SLICE("Sec-WebSocket-Key"));
    CHECK(bh_slice_eq(q->method, BH_SLICE("GET")) && q->minor == 1 && q->upgrade && !q->body.n);
    CHECK(key.n == 24 && bh_base64_decode(key, bytes) == 16);
    CHECK(bh_slice_eq(only(q, BH_SLICE("Sec-WebSocket-Version")), BH_SLICE("13")));
}

static void check_agreement(const struct bh_ws_deflate_config *config,
                            const struct bh_ws_deflate *agreed) {
    CHECK(agreed->agreed && config->mode != BH_WS_DEFLATE_OFF);
    CHECK(agreed->server_bits >= 8 && agreed->server_bits <= config->window_bits);
    CHECK(agreed->client_bits >= 8 && agreed->client_bits <= 15);
    if (config->mode == BH_WS_DEFLATE_NO_TAKEOVER)
        CHECK(!agreed->server_takeover);
}

static bool is_shown(struct bh_slice answer, const char *parameter) {
    return memmem(answer.p, answer.n, parameter, strlen(parameter)) != NULL;
}

static void negotiate(const struct bh_http_request *q, uint8_t choice, struct bh_bytes *answer) {
    struct bh_ws_deflate_config config = {
        .mode = (enum bh_ws_deflate_mode)(choice % 3),
        .window_bits = (uint8_t)(9 + (choice >> 2) % 7),
        .level = 1,
    };
    struct bh_ws_deflate agreed = {0};
    if (!bh_ws_deflate_negotiate(q->headers, q->header_count, &config, &agreed, answer)) {
        CHECK(answer->len == 0 && !agreed.agreed);
        return;
    }
    struct bh_slice text = bh_bytes_slice(answer);
    check_agreement(&config, &agreed);
    CHECK(bh_slice_starts(text, BH_SLICE("permessage-deflate")) && fuzz_is_one_line(text));
    CHECK(agreed.server_takeover != is_shown(text, "server_no_context_takeover"));
    CHECK(agreed.server_bits == 15 || is_shown(text, "server_max_window_bits="));
    CHECK(agreed.client_bits == 15 || is_shown(text, "client_max_window_bits="));
}

static void answer(const struct bh_http_request *q, struct bh_slice protocol,
                   struct bh_slice extensions) {
    struct bh_bytes out = {0};
    int r = bh_ws_handshake_answer(&out, q, protocol, extensions, q->headers, q->header_count);
    if (r) {
        CHECK(r == BH_EINVAL && out.len == 0);
    } else {
        size_t extra = q->header_count + (protocol.n > 0) + (extensions.n > 0);
        struct bh_slice text = bh_bytes_slice(&out);
        CHECK(bh_slice_starts(text, BH_SLICE("HTTP/1.1 101 ")));
        check_accept(text);
        CHECK(count_lines(text) <= 6 + extra);
        CHECK(bh_slice_eq(bh_slice(text.p + text.n - 4, 4), BH_SLICE("\r\n\r\n")));
        CHECK(memmem(text.p, text.n - 4, "\r\n\r\n", 4) == NULL);
    }
    bh_bytes_free(&out);
}

static void offer(const struct bh_http_request *q, struct bh_slice extensions) {
    struct bh_http_list at = {0};
    struct bh_slice protocol;
    while (bh_http_next_element(q->headers, q->header_count, BH_SLICE("Sec-WebSocket-Protocol"),
                                &at, &protocol)) {
        CHECK(bh_ws_handshake_offers(q, protocol));
        answer(q, protocol, extensions);
    }
    answer(q, bh_slice(NULL, 0), extensions);
}

static void shake_hands(const struct bh_http_request *q, uint8_t choice) {
    int status = 0;
    const char *why = NULL;
    if (bh_ws_handshake_check(q, &status, &why)) {
        CHECK(why && (status == 400 || status == 405 || status == 426));
        return;
    }
    check_let_in(q);
    struct bh_bytes extensions = {0};
    negotiate(q, choice, &extensions);
    offer(q, bh_bytes_slice(&extensions));
    bh_bytes_free(&extensions);
    answer(q, q->path, q->query); /* values chosen by the peer */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    uint8_t choice = fuzz_byte(&in);
    struct bh_http1 *h = bh_http1_new(&limits);
    size_t used;
    enum bh_http1_event event = bh_http1_feed(h, in, &used);
    if (event == BH_HTTP1_REQUEST || event == BH_HTTP1_HEAD)
        shake_hands(bh_http1_request(h), choice);
    bh_http1_free(h);
    return 0;
}
