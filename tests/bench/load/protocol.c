/* protocol.c - the protocols: raw WebSocket messages; NATS, a byte stream that WebSocket frames
 * split anywhere; Centrifugo, JSON objects on a line each; plain TCP; and server-sent events.
 *
 * They are parsed only as far as needed to find the payload: a NATS message by its length, a
 * publication of Centrifugo by the payload's marker and the next quote. */
#include "protocol.h"

#include "frame.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void message(struct client *client, const uint8_t *bytes, size_t len) {
    if (client->worker->mode->message)
        client->worker->mode->message(client, bytes, len);
}

static bool begins(const uint8_t *bytes, size_t len, const char *text) {
    size_t n = strlen(text);
    return len >= n && memcmp(bytes, text, n) == 0;
}

__attribute__((noreturn)) static void die_refused(const uint8_t *bytes, size_t len) {
    die("the server answered with an error: %.*s", (int)(len < 300 ? len : 300),
        (const char *)bytes);
}

/* --- raw --- */

static size_t raw_parse(struct client *client, const uint8_t *bytes, size_t len, bool whole) {
    if (!whole)
        return 0;
    message(client, bytes, len);
    return len;
}

/* --- tcp --- */

static size_t tcp_parse(struct client *client, const uint8_t *bytes, size_t len, bool whole) {
    size_t size = client->worker->payload.size, done = 0;
    for (; len - done >= size; done += size)
        message(client, bytes + done, size);
    return done;
}

/* --- NATS --- */

static void nats_handshake(struct client *client) {
    char text[512] = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\"}\r\n", name[256];
    size_t len = strlen(text);
    if (client->worker->options->channel) {
        payload_expand(name, sizeof name, client->worker->options->channel, client->number, NULL);
        len += (size_t)snprintf(text + len, sizeof text - len, "SUB %.250s 1\r\n", name);
    }
    len += (size_t)snprintf(text + len, sizeof text - len, "PING\r\n");
    client_send_frame(client, FRAME_BINARY, text, len);
}

/* The length of a MSG, whose first line (without its end) has n bytes; 0 while it is incomplete. */
static size_t nats_message(struct client *client, const uint8_t *bytes, size_t len, size_t n) {
    size_t size = 0, head = n + 2;
    const uint8_t *space = memrchr(bytes, ' ', n);
    for (const uint8_t *at = space + 1; at < bytes + n; at++)
        size = size * 10 + (size_t)(*at - '0');
    if (len - head < size + 2)
        return 0;
    message(client, bytes + head, size);
    return head + size + 2;
}

static size_t nats_line(struct client *client, const uint8_t *bytes, size_t len, size_t n) {
    if (begins(bytes, n, "MSG "))
        return nats_message(client, bytes, len, n);
    if (begins(bytes, n, "PING"))
        client_send_frame(client, FRAME_BINARY, "PONG\r\n", 6);
    else if (begins(bytes, n, "PONG"))
        client_opened(client);
    else if (begins(bytes, n, "-ERR"))
        die_refused(bytes, n);
    return n + 2;
}

static size_t nats_parse(struct client *client, const uint8_t *bytes, size_t len, bool whole) {
    size_t done = 0;
    const uint8_t *end;
    while ((end = memchr(bytes + done, '\n', len - done)) && end > bytes + done) {
        size_t took = nats_line(client, bytes + done, len - done, (size_t)(end - bytes) - done - 1);
        if (!took)
            break;
        done += took;
    }
    return done;
}

/* --- Centrifugo --- */

static void centrifugo_handshake(struct client *client) {
    char text[512] = "{\"id\":1,\"connect\":{}}", name[256];
    size_t len = strlen(text);
    if (client->worker->options->channel) {
        payload_expand(name, sizeof name, client->worker->options->channel, client->number, NULL);
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "\n{\"id\":2,\"subscribe\":{\"channel\":\"%.250s\"}}", name);
    }
    client_send_frame(client, FRAME_TEXT, text, len);
}

static void centrifugo_push(struct client *client, const uint8_t *line, size_t n) {
    const uint8_t *from = memmem(line, n, "\"" PAYLOAD_MARKER, PAYLOAD_MARKER_LEN + 1);
    if (!from || !memmem(line, n, "\"pub\"", 5))
        return;
    from++;
    const uint8_t *end = memchr(from, '"', (size_t)(line + n - from));
    if (end)
        message(client, from, (size_t)(end - from));
}

static void centrifugo_line(struct client *client, const uint8_t *line, size_t n) {
    if (begins(line, n, "{\"push\""))
        centrifugo_push(client, line, n);
    else if (n == 2)
        client_send_frame(client, FRAME_TEXT, "{}", 2);
    else if (memmem(line, n, "\"error\"", 7))
        die_refused(line, n);
    else if (begins(line, n, client->worker->options->channel ? "{\"id\":2," : "{\"id\":1,"))
        client_opened(client);
}

static size_t centrifugo_parse(struct client *client, const uint8_t *bytes, size_t len,
                               bool whole) {
    if (!whole)
        return 0;
    for (const uint8_t *at = bytes, *all = bytes + len; at < all;) {
        const uint8_t *end = memchr(at, '\n', (size_t)(all - at));
        size_t n = (size_t)((end ? end : all) - at);
        if (n)
            centrifugo_line(client, at, n);
        at += n + 1;
    }
    return len;
}

/* --- server-sent events --- */

static void sse_handshake(struct client *client) {
    char text[2048], path[1024];
    client_path(client, path, sizeof path);
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path,
                     client->worker->options->host);
    client_send(client, text, (size_t)n);
}

static size_t sse_head(struct client *client, const uint8_t *bytes, size_t len) {
    const uint8_t *end = memmem(bytes, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (!begins(bytes, len, "HTTP/1.1 200"))
        die_refused(bytes, len);
    client_opened(client);
    return (size_t)(end - bytes) + 4;
}

/* Chunk lines, if there are any, are part of the next event: the mode looks for its marker. */
static size_t sse_parse(struct client *client, const uint8_t *bytes, size_t len, bool whole) {
    size_t done = client->state == CLIENT_OPEN ? 0 : sse_head(client, bytes, len);
    const uint8_t *end;
    while (client->state == CLIENT_OPEN && (end = memmem(bytes + done, len - done, "\n\n", 2))) {
        size_t n = (size_t)(end - bytes) - done + 2;
        message(client, bytes + done, n);
        done += n;
    }
    return done;
}

const struct protocol protocols[PROTOCOLS] = {
    [PROTOCOL_RAW] = {true, client_opened, raw_parse},
    [PROTOCOL_NATS] = {true, nats_handshake, nats_parse},
    [PROTOCOL_CENTRIFUGO] = {true, centrifugo_handshake, centrifugo_parse},
    [PROTOCOL_TCP] = {false, client_opened, tcp_parse},
    [PROTOCOL_SSE] = {false, sse_handshake, sse_parse},
};
