/* http_test.c - an HTTP server on the loop of the test, and the port with the result of each call.
 */
#include "http_test.h"

/* --- the server --- */

struct test_peer {
    struct bh_stream stream;
    struct test_server *server;
    struct bh_list node;
    struct bh_defer reap;
    struct bh_bytes in, out;
    bool waiting; /* has asked and not been answered */
    bool closes;  /* after what is in out */
};

static void test_peer_reap(struct bh_defer *d) {
    struct test_peer *p = BH_CONTAINER_OF(d, struct test_peer, reap);
    bh_bytes_free(&p->in);
    bh_bytes_free(&p->out);
    bh_free(p);
}

static void test_peer_close(struct test_peer *p) {
    if (!bh_stream_is_open(&p->stream))
        return;
    bh_stream_close(&p->stream);
    bh_list_unlink(&p->node);
    p->server->open--;
    p->server->waiting -= p->waiting;
    bh_defer(p->server->loop, BH_PHASE_REAP, &p->reap);
}

static void test_peer_flush(struct test_peer *p) {
    while (p->out.len) {
        struct iovec iov = {p->out.p, p->out.len};
        ssize_t n = bh_stream_write(&p->stream, &iov, 1);
        if (n == BH_EAGAIN || n == 0) {
            bh_stream_want_write(&p->stream);
            return;
        }
        if (n < 0) {
            test_peer_close(p);
            return;
        }
        bh_bytes_consume(&p->out, (size_t)n);
    }
    if (p->closes)
        test_peer_close(p);
}

static void test_peer_answer(struct test_peer *p, struct bh_slice bytes) {
    p->server->waiting -= p->waiting;
    p->waiting = false;
    p->closes = p->server->closes;
    bh_bytes_add(&p->out, bytes);
    test_peer_flush(p);
}

/* The length of the first request in the buffer, or 0 while it is not whole. */
static size_t test_request_length(const struct bh_bytes *in) {
    const char *end = memmem(in->p, in->len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - in->p) + 4;
    const char *length = memmem(in->p, head, "Content-Length: ", 16);
    size_t body = length ? strtoul(length + 16, NULL, 10) : 0;
    return in->len >= head + body ? head + body : 0;
}

static void test_peer_data(struct bh_stream *stream, unsigned char *data, size_t n) {
    struct test_peer *p = BH_CONTAINER_OF(stream, struct test_peer, stream);
    struct test_server *s = p->server;
    size_t length;
    bh_bytes_add(&p->in, bh_slice(data, n));
    while (bh_stream_is_open(stream) && (length = test_request_length(&p->in))) {
        s->requests++;
        s->waiting++;
        p->waiting = true;
        if (s->waiting > s->most_waiting)
            s->most_waiting = s->waiting;
        bh_bytes_clear(&s->last);
        bh_bytes_add(&s->last, bh_slice(p->in.p, length));
        bh_bytes_consume(&p->in, length);
        if (s->write)
            test_peer_answer(p, s->write(s, bh_bytes_slice(&s->last)));
        else if (s->answer)
            test_peer_answer(p, bh_slice_cstr(s->answer));
    }
}

static void test_peer_end(struct bh_stream *stream, int error) {
    test_peer_close(BH_CONTAINER_OF(stream, struct test_peer, stream));
}

static void test_peer_writable(struct bh_stream *stream) {
    test_peer_flush(BH_CONTAINER_OF(stream, struct test_peer, stream));
}

static const struct bh_stream_callbacks test_peer_callbacks = {
    .on_data = test_peer_data, .on_end = test_peer_end, .on_writable = test_peer_writable};

static void test_on_accept(void *ud, int fd, const struct bh_addr *from) {
    struct test_server *s = ud;
    struct test_peer *p = bh_calloc(1, sizeof *p);
    p->server = s;
    s->accepted++;
    s->open++;
    bh_list_append(&s->peers, &p->node);
    bh_defer_init(&p->reap, test_peer_reap);
    bh_stream_init(&p->stream, s->loop, fd, &test_peer_callbacks);
    if (s->tls)
        bh_tls_accept(&p->stream, s->tls, bh_slice(NULL, 0));
    bh_stream_read(&p->stream, true);
}

static void test_server_open(struct test_server *s, struct bh_loop *loop, struct bh_tls *tls) {
    struct bh_addr at;
    const char *why;
    *s = (struct test_server){.loop = loop, .tls = tls};
    bh_list_init(&s->peers);
    assert_int_equal(bh_addr_parse(BH_SLICE("127.0.0.1:0"), &at, &why), 0);
    assert_int_equal(bh_listener_open(&s->listener, loop, &at, 1024, test_on_accept, s), 0);
}

unsigned test_server_port(const struct test_server *s) {
    return bh_addr_port(bh_listener_addr(s->listener));
}

void test_answer_all(struct test_server *s, const char *answer) {
    struct bh_list *node = s->peers.next;
    while (node != &s->peers) {
        struct test_peer *p = BH_CONTAINER_OF(node, struct test_peer, node);
        node = node->next;
        if (p->waiting)
            test_peer_answer(p, bh_slice_cstr(answer));
    }
}

void test_server_drop_all(struct test_server *s) {
    while (!bh_list_empty(&s->peers))
        test_peer_close(BH_CONTAINER_OF(s->peers.next, struct test_peer, node));
}

static void test_server_close(struct test_server *s) {
    test_server_drop_all(s);
    bh_listener_close(s->listener);
    bh_bytes_free(&s->last);
}

/* --- the port --- */

static void test_on_done(void *ud, bh_handle number, int error, const char *why,
                         const struct bh_fetch_response *response) {
    struct test_env *w = ud;
    struct test_result *r = &w->results[number];
    r->calls++;
    r->error = error;
    w->ended++;
    snprintf(r->why, sizeof r->why, "%s", error ? why : "");
    assert_true((error == 0) == (response != NULL));
    if (response) {
        r->status = response->status;
        bh_bytes_add(&r->body, response->body);
        for (size_t i = 0; i < response->header_count; i++)
            bh_bytes_addf(&r->headers, "%.*s=%.*s\n", BH_SLICE_ARG(response->headers[i].name),
                          BH_SLICE_ARG(response->headers[i].value));
        bh_bytes_addc(&r->headers, '\0');
    }
    if (w->in_done)
        w->in_done(w, r);
}

void test_env_open(struct test_env *w, struct bh_tls *tls) {
    *w = (struct test_env){.loop = bh_loop_new()};
    w->config = (struct bh_http_config){.timeout_ms = TEST_SECONDS * 1000,
                                        .connect_timeout_ms = TEST_SECONDS * 1000,
                                        .max_bytes = 1 << 20,
                                        .per_host = 32,
                                        .total = 256,
                                        .queue = 10000};
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    signal(SIGPIPE, SIG_IGN);
    test_server_open(&w->server, w->loop, tls);
}

void test_env_start(struct test_env *w) {
    w->fetch = bh_http_fetch_new(&w->config, w->loop);
}

void test_env_close(struct test_env *w) {
    bh_http_fetch_free(w->fetch);
    test_server_close(&w->server);
    bh_loop_free(w->loop);
    for (unsigned i = 0; i < w->begun; i++) {
        bh_bytes_free(&w->results[i].headers);
        bh_bytes_free(&w->results[i].body);
    }
}

unsigned test_send_request(struct test_env *w, const struct bh_fetch_request *r) {
    unsigned number = w->begun++;
    assert_true(number < TEST_CALLS);
    w->handles[number] = w->fetch->vt->call(w->fetch, r, test_on_done, w, number);
    return number;
}

void test_nothing(struct bh_timer *t) {}

struct test_result *test_fetch(struct test_env *w, const struct bh_fetch_request *r) {
    unsigned number = test_send_request(w, r);
    test_until(w, w->results[number].calls);
    return &w->results[number];
}

struct bh_slice test_url(const struct test_env *w, const char *scheme, const char *host,
                         const char *path) {
    static char urls[4][256];
    static unsigned next;
    char *url = urls[next++ % 4];
    int n = snprintf(url, sizeof urls[0], "%s://%s:%u%s", scheme, host,
                     test_server_port(&w->server), path);
    return bh_slice(url, (size_t)n);
}

struct bh_slice test_plain(const struct test_env *w, const char *path) {
    return test_url(w, "http", "127.0.0.1", path);
}
