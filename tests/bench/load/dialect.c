/* dialect.c - the dialects: raw WebSocket messages; NATS, whose protocol is a stream that WebSocket
 * frames cut anywhere; Centrifugo's JSON, objects on a line each; and bytes without WebSocket.
 *
 * They are read only as far as it takes to find the payload: a NATS message by its length, a
 * publication of Centrifugo by the payload's marker up to the quote behind it. */
#include "dialect.h"

#include "frame.h"
#include "say.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void message(struct phone *phone, const uint8_t *bytes, size_t len) {
    if (phone->client->mode->message)
        phone->client->mode->message(phone, bytes, len);
}

static bool begins(const uint8_t *bytes, size_t len, const char *text) {
    size_t n = strlen(text);
    return len >= n && memcmp(bytes, text, n) == 0;
}

static void refused(const uint8_t *bytes, size_t len) {
    die("the server refuses: %.*s", (int)(len < 300 ? len : 300), (const char *)bytes);
}

/* --- raw --- */

static size_t raw_take(struct phone *phone, const uint8_t *bytes, size_t len, bool whole) {
    if (!whole)
        return 0;
    message(phone, bytes, len);
    return len;
}

/* --- tcp --- */

static size_t tcp_take(struct phone *phone, const uint8_t *bytes, size_t len, bool whole) {
    size_t size = phone->client->payload.size, done = 0;
    for (; len - done >= size; done += size)
        message(phone, bytes + done, size);
    return done;
}

/* --- NATS --- */

static void nats_greet(struct phone *phone) {
    char text[512] = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\"}\r\n", name[256];
    size_t len = strlen(text);
    if (phone->client->options->channel) {
        payload_expand(name, sizeof name, phone->client->options->channel, phone->number, NULL);
        len += (size_t)snprintf(text + len, sizeof text - len, "SUB %.250s 1\r\n", name);
    }
    len += (size_t)snprintf(text + len, sizeof text - len, "PING\r\n");
    phone_send_frame(phone, FRAME_BINARY, text, len);
}

/* The whole of a MSG, whose line (without its end) is n bytes long; 0 while it is not all there. */
static size_t nats_message(struct phone *phone, const uint8_t *bytes, size_t len, size_t n) {
    size_t size = 0, head = n + 2;
    const uint8_t *space = memrchr(bytes, ' ', n);
    for (const uint8_t *at = space + 1; at < bytes + n; at++)
        size = size * 10 + (size_t)(*at - '0');
    if (len - head < size + 2)
        return 0;
    message(phone, bytes + head, size);
    return head + size + 2;
}

static size_t nats_line(struct phone *phone, const uint8_t *bytes, size_t len, size_t n) {
    if (begins(bytes, n, "MSG "))
        return nats_message(phone, bytes, len, n);
    if (begins(bytes, n, "PING"))
        phone_send_frame(phone, FRAME_BINARY, "PONG\r\n", 6);
    else if (begins(bytes, n, "PONG"))
        phone_opened(phone);
    else if (begins(bytes, n, "-ERR"))
        refused(bytes, n);
    return n + 2;
}

static size_t nats_take(struct phone *phone, const uint8_t *bytes, size_t len, bool whole) {
    size_t done = 0;
    const uint8_t *end;
    while ((end = memchr(bytes + done, '\n', len - done)) && end > bytes + done) {
        size_t took = nats_line(phone, bytes + done, len - done, (size_t)(end - bytes) - done - 1);
        if (!took)
            break;
        done += took;
    }
    return done;
}

/* --- Centrifugo --- */

static void centrifugo_greet(struct phone *phone) {
    char text[512] = "{\"id\":1,\"connect\":{}}", name[256];
    size_t len = strlen(text);
    if (phone->client->options->channel) {
        payload_expand(name, sizeof name, phone->client->options->channel, phone->number, NULL);
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "\n{\"id\":2,\"subscribe\":{\"channel\":\"%.250s\"}}", name);
    }
    phone_send_frame(phone, FRAME_TEXT, text, len);
}

static void centrifugo_push(struct phone *phone, const uint8_t *line, size_t n) {
    const uint8_t *from = memmem(line, n, "\"" PAYLOAD_MARKER, PAYLOAD_MARKER_LEN + 1);
    if (!from || !memmem(line, n, "\"pub\"", 5))
        return;
    from++;
    const uint8_t *end = memchr(from, '"', (size_t)(line + n - from));
    if (end)
        message(phone, from, (size_t)(end - from));
}

static void centrifugo_line(struct phone *phone, const uint8_t *line, size_t n) {
    if (begins(line, n, "{\"push\""))
        centrifugo_push(phone, line, n);
    else if (n == 2)
        phone_send_frame(phone, FRAME_TEXT, "{}", 2);
    else if (memmem(line, n, "\"error\"", 7))
        refused(line, n);
    else if (begins(line, n, phone->client->options->channel ? "{\"id\":2," : "{\"id\":1,"))
        phone_opened(phone);
}

static size_t centrifugo_take(struct phone *phone, const uint8_t *bytes, size_t len, bool whole) {
    if (!whole)
        return 0;
    for (const uint8_t *at = bytes, *all = bytes + len; at < all;) {
        const uint8_t *end = memchr(at, '\n', (size_t)(all - at));
        size_t n = (size_t)((end ? end : all) - at);
        if (n)
            centrifugo_line(phone, at, n);
        at += n + 1;
    }
    return len;
}

const struct dialect dialects[DIALECTS] = {
    [DIALECT_RAW] = {true, phone_opened, raw_take},
    [DIALECT_NATS] = {true, nats_greet, nats_take},
    [DIALECT_CENTRIFUGO] = {true, centrifugo_greet, centrifugo_take},
    [DIALECT_TCP] = {false, phone_opened, tcp_take},
};
