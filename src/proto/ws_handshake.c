/* ws_handshake.c - the upgrade from HTTP to WebSocket: checks the request, writes the response.
 * Pure functions over a parsed request. The digest is the costly part and is computed single_value
 * for the response, not in the check. */
#include "bellhop/proto/ws_handshake.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "http1_line.h"
#include "http1_write.h"

#define GUID      "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_BYTES 16
#define KEY_CHARS 24 /* 16 bytes in base64 */
#define ACCEPT    28
#define ROOM      512 /* enough for most responses: one allocation */

static int fail(int *status, const char **why, int code, const char *reason) {
    *status = code;
    *why = reason;
    return BH_EPROTO;
}

/* The value of a header that must occur exactly once; p == NULL otherwise. */
static struct bh_slice single_value(const struct bh_http_request *request, struct bh_slice name) {
    struct bh_slice value = bh_slice(NULL, 0);
    for (size_t i = 0; i < request->header_count; i++) {
        if (!bh_slice_caseeq(request->headers[i].name, name))
            continue;
        if (value.p)
            return bh_slice(NULL, 0);
        value = request->headers[i].value;
    }
    return value;
}

static bool is_key(struct bh_slice key) {
    unsigned char bytes[3 * (KEY_CHARS + 3) / 4];
    return key.n == KEY_CHARS && bh_base64_decode(key, bytes) == KEY_BYTES;
}

static void accept_key(struct bh_slice key, char accept[ACCEPT]) {
    char text[KEY_CHARS + sizeof GUID - 1];
    unsigned char digest[BH_DIGEST_MAX];
    memcpy(text, key.p, KEY_CHARS);
    memcpy(text + KEY_CHARS, GUID, sizeof GUID - 1);
    int n = bh_digest("sha1", bh_slice(text, sizeof text), digest);
    bh_base64_encode(bh_slice(digest, (size_t)n), accept);
}

int bh_ws_handshake_check(const struct bh_http_request *request, int *status, const char **why) {
    const struct bh_header *headers = request->headers;
    size_t count = request->header_count;
    if (!bh_slice_eq(request->method, BH_SLICE("GET")))
        return fail(status, why, 405, "a WebSocket is opened with GET");
    if (!bh_http_has_token(headers, count, BH_SLICE("Upgrade"), BH_SLICE("websocket")))
        return fail(status, why, 426, "this is a WebSocket endpoint");
    if (!request->upgrade)
        return fail(status, why, 400,
                    "a WebSocket needs HTTP/1.1, Connection: upgrade and no body");
    struct bh_slice version = single_value(request, BH_SLICE("Sec-WebSocket-Version"));
    if (!version.p)
        return fail(status, why, 400, "there must be one Sec-WebSocket-Version");
    if (!bh_slice_eq(version, BH_SLICE("13")))
        return fail(status, why, 426, "Sec-WebSocket-Version must be 13");
    if (!is_key(single_value(request, BH_SLICE("Sec-WebSocket-Key"))))
        return fail(status, why, 400, "Sec-WebSocket-Key must be 16 bytes in base64");
    return 0;
}

/* Subprotocol names, unlike most tokens of HTTP, are case-sensitive. */
bool bh_ws_handshake_offers(const struct bh_http_request *request, struct bh_slice protocol) {
    struct bh_http_list at = {0};
    struct bh_slice offered;
    while (bh_http_next_element(request->headers, request->header_count,
                                BH_SLICE("Sec-WebSocket-Protocol"), &at, &offered))
        if (bh_slice_eq(offered, protocol))
            return true;
    return false;
}

int bh_ws_handshake_answer(struct bh_bytes *out, const struct bh_http_request *request,
                           struct bh_slice protocol, struct bh_slice extensions,
                           const struct bh_header *headers, size_t header_count) {
    if (!bh_http1_is_value(protocol) || !bh_http1_is_value(extensions) ||
        !bh_http1_headers_ok(headers, header_count))
        return BH_EINVAL;
    char accept[ACCEPT];
    accept_key(
        bh_http_header(request->headers, request->header_count, BH_SLICE("Sec-WebSocket-Key")),
        accept);
    bh_bytes_reserve(out, ROOM);
    bh_bytes_add(out, BH_SLICE("HTTP/1.1 101 Switching Protocols\r\n"
                               "Upgrade: websocket\r\nConnection: Upgrade\r\n"));
    bh_http1_write_header(out, BH_SLICE("Sec-WebSocket-Accept"), bh_slice(accept, sizeof accept));
    if (protocol.n)
        bh_http1_write_header(out, BH_SLICE("Sec-WebSocket-Protocol"), protocol);
    if (extensions.n)
        bh_http1_write_header(out, BH_SLICE("Sec-WebSocket-Extensions"), extensions);
    bh_http1_write_headers(out, headers, header_count);
    bh_bytes_add(out, BH_SLICE("\r\n"));
    return 0;
}
