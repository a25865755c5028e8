/* phone.c - a connection, from its socket to whole messages.
 *
 * All phones of a process read into the process's one buffer. What is left of a read (part of a
 * frame, part of a message) is kept by the phone until the next one, before whose bytes it is put.
 * So the buffer holds, in this order: the stream, which is the unframed beginning of a message;
 * what is not unframed yet; and what is read. Unframing moves payloads only when they do not follow
 * one another, which is when a message comes in fragments.
 *
 * Sending is one system call for whatever is given at once; what the socket does not take waits for
 * it. Closing is by RST, so that no port of ours waits for a minute. */
#include "phone.h"

#include "dialect.h"
#include "frame.h"
#include "say.h"

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

/* The answer that this key asks for was worked out beforehand. */
#define KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static const struct dialect *dialect_of(const struct phone *phone) {
    return &dialects[phone->client->options->dialect];
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

void phone_drop(struct phone *phone) {
    struct linger reset = {.l_onoff = 1};
    if (phone->state == PHONE_NEW || phone->state == PHONE_CLOSED)
        return;
    phone->state = PHONE_CLOSED;
    setsockopt(phone->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(phone->fd);
    SSL_free(phone->ssl);
    free(phone->carry.at);
    free(phone->out.at);
    free(phone->stamps.at);
    phone->carry = phone->out = (struct bytes){0};
    phone->stamps = (struct stamps){0};
}

static void ended(struct phone *phone, const char *why) {
    if (phone->state == PHONE_CLOSED)
        return;
    client_on_closed(phone->client, phone, why);
    phone_drop(phone);
}

/* --- sending --- */

static void listen_for(struct phone *phone, uint32_t events) {
    if (phone->events == events)
        return;
    phone->events = events;
    client_rewatch(phone->client, phone->fd, &phone->source, events);
}

/* How much the socket takes; 0 when it is full; less when it is broken. */
static ssize_t put(struct phone *phone, const void *bytes, size_t len) {
    if (!phone->ssl) {
        ssize_t n = send(phone->fd, bytes, len, MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    ERR_clear_error();
    int n = SSL_write(phone->ssl, bytes, (int)len);
    if (n > 0)
        return n;
    int error = SSL_get_error(phone->ssl, n);
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
}

void phone_send(struct phone *phone, const void *bytes, size_t len) {
    if (phone->state == PHONE_CLOSED)
        return;
    if (phone->out.len) {
        bytes_append(&phone->out, bytes, len);
        return;
    }
    ssize_t n = put(phone, bytes, len);
    if (n == (ssize_t)len)
        return;
    /* That it is broken is found when it is read. */
    if (n < 0)
        phone->error = errno;
    bytes_append(&phone->out, (const uint8_t *)bytes + (n > 0 ? n : 0),
                 len - (size_t)(n > 0 ? n : 0));
    listen_for(phone, EPOLLIN | EPOLLOUT);
}

static void flush(struct phone *phone) {
    ssize_t n = phone->out.len ? put(phone, phone->out.at, phone->out.len) : 0;
    if (n > 0) {
        phone->out.len -= (size_t)n;
        memmove(phone->out.at, phone->out.at + n, phone->out.len);
    }
    if (!phone->out.len)
        listen_for(phone, EPOLLIN);
}

void phone_send_frame(struct phone *phone, uint8_t opcode, const void *bytes, size_t len) {
    uint8_t out[FRAME_HEAD_MAX + 4096];
    size_t head = frame_head(out, opcode, len);
    frame_copy_masked(out + head, bytes, len, 0);
    phone_send(phone, out, head + len);
}

/* --- reading --- */

static void closed(struct phone *phone, const struct frame *f) {
    char why[192];
    unsigned code = f->len < 2 ? 1005 : (unsigned)f->payload[0] << 8 | f->payload[1];
    snprintf(why, sizeof why, "the server closes with %u %.*s", code,
             f->len < 2 ? 0 : (int)f->len - 2, (const char *)f->payload + 2);
    ended(phone, why);
}

static void answer_ping(struct phone *phone, const struct frame *f) {
    struct client *client = phone->client;
    if (client_measures(client, client->now))
        client->result->pings_measured++;
    phone_send_frame(phone, FRAME_PONG, f->payload, f->len);
}

/* One frame of control. */
static void control(struct phone *phone, const struct frame *f) {
    if (f->opcode == FRAME_PING)
        answer_ping(phone, f);
    else if (f->opcode == FRAME_PONG && phone->on_pong)
        phone->on_pong(phone, f->payload, f->len);
    else if (f->opcode == FRAME_CLOSE)
        closed(phone, f);
}

/* `stream` and `raw` say where the two begin and are moved to what is left. */
static void unframe(struct phone *phone, uint8_t *b, size_t *stream, size_t *raw, size_t end) {
    const struct dialect *dialect = dialect_of(phone);
    size_t from = *stream, to = *raw;
    struct frame f;
    while (phone->state != PHONE_CLOSED && frame_read(&f, b + *raw, end - *raw)) {
        *raw += f.total;
        if (f.odd)
            ended(phone, "a frame that nobody asked for");
        else if (f.opcode >= FRAME_CLOSE)
            control(phone, &f);
        else {
            size_t at = (size_t)(f.payload - b);
            if (from == to)
                from = to = at;
            else
                memmove(b + to, f.payload, f.len);
            to += f.len;
            from += dialect->take(phone, b + from, to - from, f.fin);
        }
    }
    memmove(b + *raw - (to - from), b + from, to - from);
    *stream = *raw - (to - from);
}

/* The response to the upgrade, if it is whole: how long it is; 0 if not. */
static size_t upgraded(struct phone *phone, const uint8_t *b, size_t len) {
    const uint8_t *end = memmem(b, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (memcmp(b, "HTTP/1.1 101", 12) != 0 ||
        !memmem(b, (size_t)(end - b), ACCEPT, sizeof ACCEPT - 1))
        die("connection %u: no WebSocket: %.*s", phone->number, (int)strcspn((const char *)b, "\r"),
            (const char *)b);
    return (size_t)(end - b) + 4;
}

/* Where the stream begins in what is left of the buffer, [*stream, *raw) and [*raw, end). */
static void consume(struct phone *phone, uint8_t *b, size_t *stream, size_t *raw, size_t end) {
    if (phone->state == PHONE_UPGRADING) {
        size_t head = upgraded(phone, b, end);
        if (!head)
            return;
        *stream = *raw = head;
        phone->state = PHONE_GREETING;
        dialect_of(phone)->greet(phone);
    }
    if (dialect_of(phone)->websocket) {
        unframe(phone, b, stream, raw, end);
        return;
    }
    *stream += dialect_of(phone)->take(phone, b + *stream, end - *stream, false);
    *raw = end;
}

static ssize_t get(struct phone *phone, uint8_t *to, size_t room) {
    if (!phone->ssl) {
        ssize_t n = recv(phone->fd, to, room, 0);
        return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    ERR_clear_error();
    int n = SSL_read(phone->ssl, to, (int)room);
    if (n > 0)
        return n;
    int error = SSL_get_error(phone->ssl, n);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void read_once(struct phone *phone) {
    struct client *client = phone->client;
    uint8_t *b = client->buffer;
    size_t kept = phone->carry.len, stream = 0, raw = phone->carried_stream;
    if (kept)
        memcpy(b, phone->carry.at, kept);
    errno = 0;
    ssize_t n = get(phone, b + kept, client->buffer_size - kept);
    if (n <= 0) {
        if (n < 0)
            ended(phone, phone->error ? strerror(phone->error)
                         : errno      ? strerror(errno)
                                      : "the connection has ended");
        return;
    }
    client->now = now_ns();
    size_t end = kept + (size_t)n;
    consume(phone, b, &stream, &raw, end);
    if (phone->state == PHONE_CLOSED)
        return;
    phone->carry.len = 0;
    phone->carried_stream = raw - stream;
    if (end > stream)
        bytes_append(&phone->carry, b + stream, end - stream);
    if (phone->carry.len == client->buffer_size)
        ended(phone, "a message is larger than any that was sent");
    if (phone->batch && phone->state != PHONE_CLOSED)
        client->mode->batch(phone);
}

/* --- becoming open --- */

static void request_upgrade(struct phone *phone) {
    const struct options *o = phone->client->options;
    char text[2048], path[1024];
    payload_expand(path, sizeof path, o->path, phone->number, NULL);
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
                     path, o->host);
    phone->state = PHONE_UPGRADING;
    phone_send(phone, text, (size_t)n);
}

static void begin(struct phone *phone) {
    if (dialect_of(phone)->websocket) {
        request_upgrade(phone);
        return;
    }
    phone->state = PHONE_GREETING;
    dialect_of(phone)->greet(phone);
}

static void step_tls(struct phone *phone) {
    ERR_clear_error();
    int result = SSL_do_handshake(phone->ssl);
    if (result == 1) {
        listen_for(phone, EPOLLIN);
        begin(phone);
        return;
    }
    int error = SSL_get_error(phone->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        listen_for(phone, EPOLLIN);
    else if (error == SSL_ERROR_WANT_WRITE)
        listen_for(phone, EPOLLIN | EPOLLOUT);
    else
        die("connection %u: TLS: %s", phone->number, ERR_reason_error_string(ERR_get_error()));
}

static void connected(struct phone *phone) {
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(phone->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        die("connection %u: %s", phone->number, strerror(error));
    if (phone->client->tls) {
        phone->state = PHONE_TLS;
        phone->ssl = SSL_new(phone->client->tls);
        SSL_set_fd(phone->ssl, phone->fd);
        SSL_set_connect_state(phone->ssl);
        step_tls(phone);
        return;
    }
    listen_for(phone, EPOLLIN);
    begin(phone);
}

static void ready(struct source *source, uint32_t events) {
    struct phone *phone = (struct phone *)source;
    switch (phone->state) {
    case PHONE_CONNECTING:
        connected(phone);
        return;
    case PHONE_TLS:
        step_tls(phone);
        return;
    case PHONE_CLOSED:
        return;
    default:
        if (events & EPOLLOUT)
            flush(phone);
        if (!(events & ~(uint32_t)EPOLLOUT))
            return;
        do
            read_once(phone);
        while (phone->state != PHONE_CLOSED && phone->ssl && SSL_pending(phone->ssl) > 0);
    }
}

void phone_opened(struct phone *phone) {
    if (phone->state != PHONE_GREETING)
        return;
    phone->state = PHONE_OPEN;
    client_on_open(phone->client, phone);
}

/* The address is ours only where there are several: others may be connected from anywhere. */
static void bind_source(struct phone *phone) {
    unsigned sources = phone->client->options->sources;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int yes = 1;
    if (sources < 2)
        return;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + phone->number % sources);
    setsockopt(phone->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(phone->fd, (struct sockaddr *)&from, sizeof from))
        die("connection %u: bind: %s", phone->number, strerror(errno));
}

void phone_start(struct phone *phone, struct client *client, unsigned number) {
    const struct options *o = client->options;
    const struct sockaddr_in *to = &o->addresses[(number - 1) % o->address_count];
    int yes = 1;
    bool asks_first = dialects[o->dialect].websocket && !client->tls;
    *phone = (struct phone){.source = {ready}, .client = client, .number = number};
    phone->state = PHONE_CONNECTING;
    phone->events = asks_first ? EPOLLIN : EPOLLIN | EPOLLOUT;
    phone->begun = now_ns();
    phone->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (phone->fd < 0)
        die("connection %u: %s", number, strerror(errno));
    setsockopt(phone->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    bind_source(phone);
    if (connect(phone->fd, (const struct sockaddr *)to, sizeof *to) && errno != EINPROGRESS)
        die("connection %u: %s", number, strerror(errno));
    client_watch(client, phone->fd, &phone->source, phone->events);
    /* On loopback it is connected by now; if not, the request waits like all that is sent. */
    if (asks_first)
        request_upgrade(phone);
}
