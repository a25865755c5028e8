/* publisher.c - publishes messages, and checks that they are accepted.
 *
 * Redis and NATS take any number of commands in one connection, so the messages of one turn of the
 * loop are one write. HTTP has one request at a time in each connection of a pool; messages wait
 * for a free one. Answers are only checked for errors. */
#include "publisher.h"

#include "client.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS_MAX 64

struct link {
    struct source source;
    struct publisher *publisher;
    int fd;
    bool busy, blocked; /* HTTP: a response is due; the socket is full */
    struct bytes out;
    char line[256]; /* an incomplete answer of Redis or NATS */
    size_t line_len;
    struct bytes response; /* received so far, of HTTP */
};

struct queued {
    uint64_t stamp;
    unsigned number;
};

struct publisher {
    struct worker *worker;
    unsigned link_count;
    struct link links[LINKS_MAX];
    struct queued *queue; /* a ring */
    size_t first, count, room;
    char *scratch;
    size_t scratch_size;
};

static void write_out(struct link *link) {
    while (link->out.len) {
        ssize_t n = send(link->fd, link->out.at, link->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            die("publishing: %s", strerror(errno));
        link->out.len -= (size_t)n;
        memmove(link->out.at, link->out.at + n, link->out.len);
    }
    bool blocked = link->out.len > 0;
    if (blocked != link->blocked)
        worker_rewatch(link->publisher->worker, link->fd, &link->source,
                       blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    link->blocked = blocked;
}

/* --- Redis and NATS --- */

static void append(struct link *link, const char *text) {
    bytes_append(&link->out, text, strlen(text));
}

static void put_redis(struct link *link, unsigned number) {
    const struct payload *payload = &link->publisher->worker->payload;
    char head[96], *channel = link->publisher->scratch;
    size_t len = payload_expand(channel, link->publisher->scratch_size,
                                link->publisher->worker->options->publish_path, number, NULL);
    snprintf(head, sizeof head, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n", len);
    append(link, head);
    bytes_append(&link->out, channel, len);
    snprintf(head, sizeof head, "\r\n$%zu\r\n", payload->size);
    append(link, head);
    bytes_append(&link->out, payload->bytes, payload->size);
    append(link, "\r\n");
}

static void put_nats(struct link *link, unsigned number) {
    const struct payload *payload = &link->publisher->worker->payload;
    char size[32], *subject = link->publisher->scratch;
    size_t len = payload_expand(subject, link->publisher->scratch_size,
                                link->publisher->worker->options->publish_path, number, NULL);
    append(link, "PUB ");
    bytes_append(&link->out, subject, len);
    snprintf(size, sizeof size, " %zu\r\n", payload->size);
    append(link, size);
    bytes_append(&link->out, payload->bytes, payload->size);
    append(link, "\r\n");
}

static void answer_line(struct link *link) {
    if (link->line[0] == '-')
        die("publish failed: %s", link->line);
    if (strncmp(link->line, "PING", 4) == 0) {
        append(link, "PONG\r\n");
        write_out(link);
    }
}

static void read_lines(struct link *link, const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n') {
            link->line[link->line_len] = 0;
            answer_line(link);
            link->line_len = 0;
        } else if (link->line_len < sizeof link->line - 1)
            link->line[link->line_len++] = bytes[i];
    }
}

/* --- HTTP --- */

/* The body is expanded first: the head needs its length. */
static void put_http(struct link *link, unsigned number) {
    struct publisher *p = link->publisher;
    const struct options *o = p->worker->options;
    char head[1024], path[512];
    size_t body = payload_expand(p->scratch, p->scratch_size, o->body, number, &p->worker->payload);
    payload_expand(path, sizeof path, o->publish_path, number, NULL);
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n", path,
             o->publish_host, body);
    append(link, head);
    for (size_t i = 0; i < o->header_count; i++) {
        append(link, o->headers[i]);
        append(link, "\r\n");
    }
    append(link, "\r\n");
    bytes_append(&link->out, p->scratch, body);
    link->busy = true;
}

/* What follows `name` in the head, which ends at `body`; or NULL. */
static const char *find_field(const char *head, const char *body, const char *name) {
    const char *at = strcasestr(head, name);
    return at && at < body ? at + strlen(name) : NULL;
}

/* One response at a time is due. A chunked one has no trailers. */
static bool is_complete(const char *response, size_t len) {
    const char *body = strstr(response, "\r\n\r\n"), *length;
    if (!body)
        return false;
    body += 4;
    if (find_field(response, body, "\r\nTransfer-Encoding: chunked"))
        return strcmp(response + len - 7, "\r\n0\r\n\r\n") == 0;
    length = find_field(response, body, "\r\nContent-Length:");
    size_t expected = length ? strtoul(length, NULL, 10) : 0;
    size_t received = len - (size_t)(body - response);
    if (received > expected)
        die("publishing: an HTTP response without a request");
    return received == expected;
}

static void read_response(struct link *link, const char *bytes, size_t len) {
    struct bytes *response = &link->response;
    unsigned status;
    bytes_append(response, bytes, len);
    bytes_append(response, "", 1); /* for the functions on strings */
    if (!is_complete((char *)response->at, --response->len))
        return;
    if (sscanf((char *)response->at, "HTTP/1.%*1u %u", &status) != 1)
        die("publishing: not an HTTP response");
    if (status / 100 != 2)
        die("publish failed: HTTP status %u", status);
    response->len = 0;
    link->busy = false;
}

static void put(struct link *link, unsigned number, uint64_t stamp) {
    struct worker *worker = link->publisher->worker;
    payload_stamp(&worker->payload, stamp);
    switch (worker->options->publish) {
    case PUBLISH_HTTP:
        put_http(link, number);
        break;
    case PUBLISH_REDIS:
        put_redis(link, number);
        break;
    default:
        put_nats(link, number);
    }
}

static struct link *free_link(struct publisher *p) {
    for (unsigned i = 0; i < p->link_count; i++)
        if (!p->links[i].busy)
            return &p->links[i];
    return NULL;
}

static void send_queued(struct publisher *p) {
    struct link *link;
    while (p->count && (link = free_link(p))) {
        const struct queued *next = &p->queue[p->first];
        put(link, next->number, next->stamp);
        p->first = (p->first + 1) % p->room;
        p->count--;
        write_out(link);
    }
}

static void ready(struct source *source, uint32_t events) {
    struct link *link = (struct link *)source;
    char buffer[16384];
    if (events & EPOLLOUT)
        write_out(link);
    ssize_t n = recv(link->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("publishing: connection closed");
    if (link->publisher->worker->options->publish != PUBLISH_HTTP) {
        read_lines(link, buffer, (size_t)n);
        return;
    }
    read_response(link, buffer, (size_t)n);
    send_queued(link->publisher);
}

/* --- the interface --- */

void publisher_send(struct publisher *p, unsigned number, uint64_t stamp) {
    struct link *link = p->count ? NULL : free_link(p);
    if (link) {
        put(link, number, stamp);
        return;
    }
    if (p->count == p->room) {
        size_t room = p->room ? p->room * 2 : 64;
        struct queued *queue = must_realloc(NULL, room * sizeof *queue);
        for (size_t i = 0; i < p->count; i++)
            queue[i] = p->queue[(p->first + i) % p->room];
        free(p->queue);
        p->queue = queue;
        p->first = 0;
        p->room = room;
    }
    p->queue[(p->first + p->count++) % p->room] = (struct queued){stamp, number};
}

void publisher_flush(struct publisher *p) {
    for (unsigned i = 0; i < p->link_count; i++)
        if (p->links[i].out.len && !p->links[i].blocked)
            write_out(&p->links[i]);
}

static void open_link(struct publisher *p, struct link *link) {
    const struct options *o = p->worker->options;
    int yes = 1;
    link->source.ready = ready;
    link->publisher = p;
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(link->fd, (const struct sockaddr *)&o->publish_address, sizeof o->publish_address))
        die("publishing to %s: %s", o->publish_host, strerror(errno));
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(link->fd, F_SETFL, O_NONBLOCK);
    worker_watch(p->worker, link->fd, &link->source, EPOLLIN);
    if (o->publish == PUBLISH_NATS)
        append(link, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\"}\r\n");
}

/* One connection for pipelines, and for messages published one after another. */
static unsigned links_wanted(const struct options *o) {
    if (o->publish != PUBLISH_HTTP || (o->mode == MODE_FANOUT && o->rate == 0))
        return 1;
    return o->mode == MODE_USERS && o->in_flight < LINKS_MAX ? o->in_flight : LINKS_MAX;
}

bool publisher_keeps_order(const struct options *o) {
    return links_wanted(o) == 1;
}

struct publisher *publisher_new(struct worker *worker) {
    const struct options *o = worker->options;
    struct publisher *p = must_realloc(NULL, sizeof *p);
    memset(p, 0, sizeof *p);
    p->worker = worker;
    p->link_count = links_wanted(o);
    p->scratch_size = payload_expand(NULL, 0, o->body, UINT32_MAX, &worker->payload) +
                      payload_expand(NULL, 0, o->publish_path, UINT32_MAX, NULL) + 1;
    p->scratch = must_realloc(NULL, p->scratch_size);
    for (unsigned i = 0; i < p->link_count; i++)
        open_link(p, &p->links[i]);
    publisher_flush(p);
    return p;
}
