/* client.c - a connection, from its socket to whole messages.
 *
 * All clients of a process read into one buffer of that process. Bytes that a read leaves over
 * (part of a frame, part of a message) are kept by the client and put before the bytes of its next
 * read. The buffer holds, in this order: the stream, which is the unframed beginning of a message;
 * bytes that are still framed; and the bytes of this read. Unframing moves payloads only when a
 * message comes in fragments.
 *
 * A send is one system call; bytes that the socket does not take are queued. Connections are closed
 * by RST, so that no port stays in TIME_WAIT. */
#include "client.h"

#include "frame.h"
#include "output.h"
#include "protocol.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* A fixed key, so the expected answer is a constant. */
#define KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static const struct protocol *protocol_of(const struct client *client) {
    const struct worker *worker = client->worker;
    return &protocols[worker->mode == &mode_probe ? PROTOCOL_RAW : worker->options->protocol];
}

void bytes_append(struct bytes *b, const void *from, size_t len) {
    if (b->len + len > b->room) {
        b->room = (b->len + len) * 2;
        b->at = must_realloc(b->at, b->room);
    }
    if (len)
        memcpy(b->at + b->len, from, len);
    b->len += len;
}

void stamps_push(struct stamps *s, uint64_t stamp) {
    if (s->count == s->room) {
        uint32_t room = s->room ? s->room * 2 : 4;
        uint64_t *at = must_realloc(NULL, room * sizeof *at);
        for (uint32_t i = 0; i < s->count; i++)
            at[i] = s->at[(s->first + i) & (s->room - 1)];
        free(s->at);
        *s = (struct stamps){at, 0, s->count, room};
    }
    s->at[(s->first + s->count++) & (s->room - 1)] = stamp;
}

uint64_t stamps_pop(struct stamps *s) {
    if (!s->count)
        return 0;
    uint64_t stamp = s->at[s->first];
    s->first = (s->first + 1) & (s->room - 1);
    s->count--;
    return stamp;
}

/* --- ends --- */

void client_drop(struct client *client) {
    struct linger reset = {.l_onoff = 1};
    if (client->state == CLIENT_NEW || client->state == CLIENT_CLOSED)
        return;
    client->state = CLIENT_CLOSED;
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(client->fd);
    SSL_free(client->ssl);
    free(client->carry.at);
    free(client->out.at);
    free(client->stamps.at);
    client->carry = client->out = (struct bytes){0};
    client->stamps = (struct stamps){0};
}

static void on_end(struct client *client, const char *why) {
    if (client->state == CLIENT_CLOSED)
        return;
    worker_on_closed(client->worker, client, why);
    client_drop(client);
}

/* --- sending --- */

static void set_events(struct client *client, uint32_t events) {
    if (client->events == events)
        return;
    client->events = events;
    worker_rewatch(client->worker, client->fd, &client->source, events);
}

/* Bytes written; 0 when the socket is full; negative on an error. */
static ssize_t write_some(struct client *client, const void *bytes, size_t len) {
    if (!client->ssl) {
        ssize_t n = send(client->fd, bytes, len, MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    ERR_clear_error();
    int n = SSL_write(client->ssl, bytes, (int)len);
    if (n > 0)
        return n;
    int error = SSL_get_error(client->ssl, n);
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
}

void client_send(struct client *client, const void *bytes, size_t len) {
    if (client->state == CLIENT_CLOSED)
        return;
    if (client->out.len) {
        bytes_append(&client->out, bytes, len);
        return;
    }
    ssize_t n = write_some(client, bytes, len);
    if (n == (ssize_t)len)
        return;
    /* The next read reports the error. */
    if (n < 0)
        client->error = errno;
    bytes_append(&client->out, (const uint8_t *)bytes + (n > 0 ? n : 0),
                 len - (size_t)(n > 0 ? n : 0));
    set_events(client, EPOLLIN | EPOLLOUT);
}

static void flush(struct client *client) {
    ssize_t n = client->out.len ? write_some(client, client->out.at, client->out.len) : 0;
    if (n > 0) {
        client->out.len -= (size_t)n;
        memmove(client->out.at, client->out.at + n, client->out.len);
    }
    if (!client->out.len)
        set_events(client, EPOLLIN);
}

void client_send_frame(struct client *client, uint8_t opcode, const void *bytes, size_t len) {
    uint8_t out[FRAME_HEAD_MAX + 4096];
    size_t head = frame_head(out, opcode, len);
    frame_copy_masked(out + head, bytes, len, 0);
    client_send(client, out, head + len);
}

/* --- reading --- */

static void on_close_frame(struct client *client, const struct frame *f) {
    char why[192];
    unsigned code = f->len < 2 ? 1005 : (unsigned)f->payload[0] << 8 | f->payload[1];
    snprintf(why, sizeof why, "the server closes with %u %.*s", code,
             f->len < 2 ? 0 : (int)f->len - 2, (const char *)f->payload + 2);
    on_end(client, why);
}

static void answer_ping(struct client *client, const struct frame *f) {
    struct worker *worker = client->worker;
    if (worker_measures(worker, worker->now))
        worker->result->pings_measured++;
    client_send_frame(client, FRAME_PONG, f->payload, f->len);
}

static void on_control_frame(struct client *client, const struct frame *f) {
    if (f->opcode == FRAME_PING)
        answer_ping(client, f);
    else if (f->opcode == FRAME_PONG && client->on_pong)
        client->on_pong(client, f->payload, f->len);
    else if (f->opcode == FRAME_CLOSE)
        on_close_frame(client, f);
}

/* `stream` and `raw` are where the stream and the framed bytes begin; both are moved forward. */
static void unframe(struct client *client, uint8_t *b, size_t *stream, size_t *raw, size_t end) {
    const struct protocol *protocol = protocol_of(client);
    size_t from = *stream, to = *raw;
    struct frame f;
    while (client->state != CLIENT_CLOSED && frame_read(&f, b + *raw, end - *raw)) {
        *raw += f.total;
        if (f.invalid)
            on_end(client, "a frame that is masked or has a reserved bit set");
        else if (f.opcode >= FRAME_CLOSE)
            on_control_frame(client, &f);
        else {
            size_t at = (size_t)(f.payload - b);
            if (from == to)
                from = to = at;
            else
                memmove(b + to, f.payload, f.len);
            to += f.len;
            from += protocol->parse(client, b + from, to - from, f.fin);
        }
    }
    memmove(b + *raw - (to - from), b + from, to - from);
    *stream = *raw - (to - from);
}

/* The length of the response to the upgrade; 0 while it is incomplete. */
static size_t parse_upgrade(struct client *client, const uint8_t *b, size_t len) {
    const uint8_t *end = memmem(b, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (memcmp(b, "HTTP/1.1 101", 12) != 0 ||
        !memmem(b, (size_t)(end - b), ACCEPT, sizeof ACCEPT - 1))
        die("connection %u: no WebSocket: %.*s", client->number,
            (int)strcspn((const char *)b, "\r"), (const char *)b);
    return (size_t)(end - b) + 4;
}

/* Afterwards [*stream, *raw) is the stream that is left and [*raw, end) is still framed. */
static void consume(struct client *client, uint8_t *b, size_t *stream, size_t *raw, size_t end) {
    if (client->state == CLIENT_UPGRADING) {
        size_t head = parse_upgrade(client, b, end);
        if (!head)
            return;
        *stream = *raw = head;
        client->state = CLIENT_HANDSHAKE;
        protocol_of(client)->handshake(client);
    }
    if (protocol_of(client)->websocket) {
        unframe(client, b, stream, raw, end);
        return;
    }
    *stream += protocol_of(client)->parse(client, b + *stream, end - *stream, false);
    *raw = end;
}

static ssize_t read_some(struct client *client, uint8_t *to, size_t room) {
    if (!client->ssl) {
        ssize_t n = recv(client->fd, to, room, 0);
        return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    ERR_clear_error();
    int n = SSL_read(client->ssl, to, (int)room);
    if (n > 0)
        return n;
    int error = SSL_get_error(client->ssl, n);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void read_once(struct client *client) {
    struct worker *worker = client->worker;
    uint8_t *b = worker->buffer;
    size_t kept = client->carry.len, stream = 0, raw = client->carried_stream;
    if (kept)
        memcpy(b, client->carry.at, kept);
    errno = 0;
    ssize_t n = read_some(client, b + kept, worker->buffer_size - kept);
    if (n <= 0) {
        if (n < 0)
            on_end(client, client->error ? strerror(client->error)
                           : errno       ? strerror(errno)
                                         : "the server closed the connection");
        return;
    }
    worker->now = now_ns();
    size_t end = kept + (size_t)n;
    consume(client, b, &stream, &raw, end);
    if (client->state == CLIENT_CLOSED)
        return;
    client->carry.len = 0;
    client->carried_stream = raw - stream;
    if (end > stream)
        bytes_append(&client->carry, b + stream, end - stream);
    if (client->carry.len == worker->buffer_size)
        on_end(client, "a message is larger than the buffer");
    if (client->batch && client->state != CLIENT_CLOSED)
        worker->mode->batch(client);
}

/* --- opening --- */

void client_path(const struct client *client, char *out, size_t room) {
    const struct worker *worker = client->worker;
    const char *path = worker->mode->path ? worker->mode->path(client) : worker->options->path;
    payload_expand(out, room, path, client->number, NULL);
}

static void request_upgrade(struct client *client) {
    const struct options *o = client->worker->options;
    char text[2048], path[1024];
    client_path(client, path, sizeof path);
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
                     path, o->host);
    client->state = CLIENT_UPGRADING;
    client_send(client, text, (size_t)n);
}

static void on_transport_open(struct client *client) {
    if (protocol_of(client)->websocket) {
        request_upgrade(client);
        return;
    }
    client->state = CLIENT_HANDSHAKE;
    protocol_of(client)->handshake(client);
}

static void step_tls(struct client *client) {
    ERR_clear_error();
    int result = SSL_do_handshake(client->ssl);
    if (result == 1) {
        set_events(client, EPOLLIN);
        on_transport_open(client);
        return;
    }
    int error = SSL_get_error(client->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        set_events(client, EPOLLIN);
    else if (error == SSL_ERROR_WANT_WRITE)
        set_events(client, EPOLLIN | EPOLLOUT);
    else
        die("connection %u: TLS: %s", client->number, ERR_reason_error_string(ERR_get_error()));
}

static void on_connected(struct client *client) {
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        die("connection %u: %s", client->number, strerror(error));
    if (client->worker->tls) {
        client->state = CLIENT_TLS;
        client->ssl = SSL_new(client->worker->tls);
        SSL_set_fd(client->ssl, client->fd);
        SSL_set_connect_state(client->ssl);
        step_tls(client);
        return;
    }
    set_events(client, EPOLLIN);
    on_transport_open(client);
}

static void ready(struct source *source, uint32_t events) {
    struct client *client = (struct client *)source;
    switch (client->state) {
    case CLIENT_CONNECTING:
        on_connected(client);
        return;
    case CLIENT_TLS:
        step_tls(client);
        return;
    case CLIENT_CLOSED:
        return;
    default:
        if (events & EPOLLOUT)
            flush(client);
        if (!(events & ~(uint32_t)EPOLLOUT))
            return;
        do
            read_once(client);
        while (client->state != CLIENT_CLOSED && client->ssl && SSL_pending(client->ssl) > 0);
    }
}

void client_opened(struct client *client) {
    if (client->state != CLIENT_HANDSHAKE)
        return;
    client->state = CLIENT_OPEN;
    worker_on_open(client->worker, client);
}

/* Only where several source addresses are needed; otherwise the kernel chooses one. */
static void bind_source(struct client *client) {
    unsigned sources = client->worker->options->sources;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int yes = 1;
    if (sources < 2)
        return;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + client->number % sources);
    setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(client->fd, (struct sockaddr *)&from, sizeof from))
        die("connection %u: bind: %s", client->number, strerror(errno));
}

void client_start(struct client *client, struct worker *worker, unsigned number) {
    const struct options *o = worker->options;
    const struct sockaddr_in *to = &o->addresses[(number - 1) % o->address_count];
    int yes = 1;
    *client = (struct client){.source = {ready}, .worker = worker, .number = number};
    bool early_request = protocol_of(client)->websocket && !worker->tls;
    client->state = CLIENT_CONNECTING;
    client->events = early_request ? EPOLLIN : EPOLLIN | EPOLLOUT;
    client->begun = now_ns();
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        die("connection %u: %s", number, strerror(errno));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    bind_source(client);
    if (connect(client->fd, (const struct sockaddr *)to, sizeof *to) && errno != EINPROGRESS)
        die("connection %u: %s", number, strerror(errno));
    worker_watch(worker, client->fd, &client->source, client->events);
    /* On loopback the socket is connected by now; if not, the request is queued. */
    if (early_request)
        request_upgrade(client);
}
