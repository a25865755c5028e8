/* edge_test.h - one instance with one worker on a loop that the test drives, and clients on real
 * loopback sockets. The clock is fake; the broker, the tracker and the hooks are below. */
#ifndef BELLHOP_TESTS_UNIT_EDGE_TEST_H
#define BELLHOP_TESTS_UNIT_EDGE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/edge/edge.h"
#include "local_tracker.h"

#include "limits/edge_metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEST_WALL_MS INT64_C(1750000000000)

enum test_answer { YES, NO, LATER };

struct test {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_node *node;
    struct bh_worker *worker;
    struct bh_edge *edge;
    struct bh_edge_config config;
    bool drained;
    bool proxy; /* the listener takes the PROXY protocol */

    struct bh_broker broker;
    const struct bh_broker_sink *sink;
    bool shared;        /* topics are live only when the test says so */
    int publish_error;  /* what the broker answers */
    bool publish_later; /* it answers when the test says so */
    int publishes;
    bh_broker_published_cb published;
    void *published_ud;
    bh_handle published_handle;
    struct local_tracker tracker;

    struct bh_hooks hooks;
    enum test_answer handshake, api, http;
    struct bh_slice page;        /* another path that the hooks have */
    struct bh_response response; /* of the endpoint at /mine, which takes GET and POST */
    bh_response_cb respond;
    char asked[256]; /* method, path and body of the last request to it; parameters of handshakes */
    int refuse_status;
    const char *refuse_body;
    struct bh_identity identity; /* of accepted clients */
    const char *protocol;
    struct bh_header result_header;
    enum bh_slow slow; /* what on_slow answers, if it is present */
    int asked_slow;
    char peer_ip[64]; /* of the last handshake */
    bh_handshake_cb handshake_done;
    bh_allowed_cb allowed;
    void *hook_ud;
    bh_handle hook_handle;
    int cancelled, opened, closed, messages;
    bool echo;
    unsigned close_code;
    char close_reason[128];
    struct bh_subscriber *last; /* the one that opened last */
};

static struct test *the_test; /* for callbacks without ud */

/* --- broker --- */

static int broker_start(struct bh_broker *b, struct bh_loop *bus, struct bh_mailbox *m,
                        const struct bh_broker_sink *sink) {
    the_test->sink = sink;
    sink->on_state(sink->ud, 0, true);
    return 0;
}
static bool broker_subscribe(struct bh_broker *b, struct bh_slice topic) {
    return !b->vt->shared;
}
static void broker_unsubscribe(struct bh_broker *b, struct bh_slice topic) {}
static void broker_stop(struct bh_broker *b) {}
static int broker_worker_start(struct bh_broker *b, unsigned worker, struct bh_loop *loop) {
    return 0;
}
static void broker_worker_stop(struct bh_broker *b, unsigned worker) {}
static void broker_publish(struct bh_broker *b, unsigned worker, struct bh_message *m,
                           bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct test *t = the_test;
    t->publishes++;
    t->published = done;
    t->published_ud = ud;
    t->published_handle = handle;
    if (!t->publish_later)
        done(ud, handle, t->publish_error, t->publish_error ? -1 : 2, "as the test says");
}
static int broker_ready(const struct bh_broker *b, const char **why) {
    *why = "as the test says";
    return the_test->publish_error ? BH_EUNAVAIL : 0;
}
static void broker_free(struct bh_broker *b) {}

#define TEST_BROKER(is_shared)                                                                     \
    {                                                                                              \
        "test", is_shared, broker_start, NULL, broker_subscribe, broker_unsubscribe, broker_stop,  \
            broker_worker_start, broker_worker_stop, broker_publish, broker_ready, broker_free     \
    }
static const struct bh_broker_vt alone_vt = TEST_BROKER(false);
static const struct bh_broker_vt shared_vt = TEST_BROKER(true);

/* --- hooks --- */

static void complete_handshake(struct test *t, bh_handshake_cb done, void *ud, bh_handle handle,
                               bool yes) {
    struct bh_handshake_result w = {.status = t->refuse_status,
                                    .body = bh_slice_cstr(t->refuse_body)};
    if (yes) {
        w = (struct bh_handshake_result){.protocol = bh_slice_cstr(t->protocol)};
        assert_int_equal(bh_identity_new(&t->identity, &w.identity, NULL), 0);
    }
    w.headers = &t->result_header;
    w.header_count = t->result_header.name.n != 0;
    done(ud, handle, &w);
}
static bh_handle hook_handshake(struct bh_hooks *h, const struct bh_request *r,
                                bh_handshake_cb done, void *ud, bh_handle handle) {
    struct test *t = the_test;
    assert_true(bh_slice_starts(r->listener, BH_SLICE("127.0.0.1:")));
    snprintf(t->peer_ip, sizeof t->peer_ip, "%.*s", BH_SLICE_ARG(r->peer_ip));
    t->asked[0] = '\0';
    for (size_t i = 0; i < r->param_count; i++)
        snprintf(t->asked + strlen(t->asked), sizeof t->asked - strlen(t->asked), "%.*s=%.*s;",
                 BH_SLICE_ARG(r->params[i].name), BH_SLICE_ARG(r->params[i].value));
    t->handshake_done = done;
    t->hook_ud = ud;
    t->hook_handle = handle;
    if (t->handshake == LATER)
        return 77;
    complete_handshake(t, done, ud, handle, t->handshake == YES);
    return 0;
}
static void hook_cancel(struct bh_hooks *h, bh_handle ticket) {
    assert_int_equal(ticket, 77);
    the_test->cancelled++;
}
static bh_handle hook_api(struct bh_hooks *h, const struct bh_request *r, bh_allowed_cb done,
                          void *ud, bh_handle handle) {
    struct test *t = the_test;
    t->allowed = done;
    t->hook_ud = ud;
    t->hook_handle = handle;
    if (t->api == LATER)
        return 77;
    done(ud, handle, t->api == YES, t->refuse_status, bh_slice_cstr(t->refuse_body));
    return 0;
}
static int hook_route(struct bh_hooks *h, struct bh_slice method, struct bh_slice path,
                      const char **allow) {
    if (!bh_slice_starts(path, BH_SLICE("/mine")) && !bh_slice_eq(path, the_test->page) &&
        !bh_slice_starts(path, BH_SLICE("/api/mine")))
        return BH_ENOTFOUND;
    *allow = "GET, HEAD, POST";
    return memmem(*allow, strlen(*allow), method.p, method.n) ? 0 : BH_EINVAL;
}
static bh_handle hook_http(struct bh_hooks *h, const struct bh_request *r, struct bh_slice body,
                           bh_response_cb done, void *ud, bh_handle handle) {
    struct test *t = the_test;
    snprintf(t->asked, sizeof t->asked, "%.*s %.*s %.*s", BH_SLICE_ARG(r->method),
             BH_SLICE_ARG(r->path), BH_SLICE_ARG(body));
    t->respond = done;
    t->hook_ud = ud;
    t->hook_handle = handle;
    if (t->http == LATER)
        return 77;
    done(ud, handle, &t->response);
    return 0;
}
static void hook_open(struct bh_hooks *h, struct bh_subscriber *s) {
    the_test->opened++;
    the_test->last = s;
}
static void hook_message(struct bh_hooks *h, struct bh_subscriber *s, enum bh_opcode opcode,
                         struct bh_slice data) {
    the_test->messages++;
    if (the_test->echo)
        s->vt->send(s, opcode, data);
}
static void hook_close(struct bh_hooks *h, struct bh_subscriber *s, unsigned code,
                       struct bh_slice reason) {
    struct test *t = the_test;
    t->closed++;
    t->close_code = code;
    snprintf(t->close_reason, sizeof t->close_reason, "%.*s", BH_SLICE_ARG(reason));
    if (t->last == s)
        t->last = NULL;
}
static enum bh_slow hook_slow(struct bh_hooks *h, struct bh_subscriber *s, size_t queued,
                              enum bh_slow otherwise) {
    the_test->asked_slow++;
    assert_true(queued > 0);
    return the_test->slow;
}
static const struct bh_hooks_vt hooks_vt = {
    .slow = hook_slow,
    .handshake = hook_handshake,
    .cancel = hook_cancel,
    .api = hook_api,
    .open = hook_open,
    .message = hook_message,
    .close = hook_close,
    .route = hook_route,
    .http = hook_http,
};

/* --- the instance --- */

static const struct bh_slice api_keys_of_test[] = {BH_SLICE("first-key"), BH_SLICE("second-key")};

static const struct bh_slice ws_paths_of_test[] = {BH_SLICE("/ws")};

static inline void test_setup(struct test *t) {
    *t = (struct test){.echo = true, .handshake = YES, .api = NO};
    the_test = t;
    t->config = (struct bh_edge_config){
        .backlog = 64,
        .api_keys = api_keys_of_test,
        .api_key_count = 2,
        .ws_paths = ws_paths_of_test,
        .ws_path_count = 1,
        .http_head_bytes = 8192,
        .http_body_bytes = 2 << 20,
        .http_idle_ms = 60000,
        .http_request_ms = 10000,
        .tls_handshake_ms = 9000,
        .handshake_ms = 7000,
        .message_bytes = 1 << 20,
        .fragments = 100,
        .ping_interval_ms = 25000,
        .pong_timeout_ms = 8000,
        .close_timeout_ms = 5000,
        .queue_bytes = 256 * 1024,
        .client_messages_refused = true,
    };
    t->identity.user = BH_SLICE("42");
    t->identity.tenant = BH_SLICE("7");
    t->hooks = (struct bh_hooks){&hooks_vt, BH_HOOK_HANDSHAKE | BH_HOOK_OPEN | BH_HOOK_MESSAGE |
                                                BH_HOOK_CLOSE};
}

static inline void test_start(struct test *t) {
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    bh_clock_fake(1000000, TEST_WALL_MS);
    t->broker.vt = t->shared ? &shared_vt : &alone_vt;
    t->tracker.base.vt = &local_tracker_vt;
    t->loop = bh_loop_new();
    t->mailbox = bh_mailbox_new(t->loop);
    struct bh_node_config config = {.instance = BH_SLICE("i-1"),
                                    .strategy = BH_STRATEGY_LOCAL_FIRST,
                                    .linger_ms = 1000,
                                    .payload_max = 1 << 20,
                                    .seen_max = 100,
                                    .seen_ms = 60000};
    t->node = bh_node_new(&config, &t->broker, &t->tracker.base, t->loop, t->mailbox);
    t->worker = bh_node_add_worker(t->node, t->loop, t->mailbox);
    t->worker->hooks = t->hooks.vt ? &t->hooks : NULL;
    assert_int_equal(bh_node_start(t->node), 0);
    t->edge = bh_edge_new(&t->config, t->worker);
    struct bh_edge_listen listen = {.proxy = t->proxy};
    const char *why;
    size_t which;
    assert_int_equal(bh_addr_parse(BH_SLICE("127.0.0.1:0"), &listen.address, &why), 0);
    assert_int_equal(bh_edge_listen(t->edge, &listen, 1, &which), 0);
}

static inline void test_begin(struct test *t) {
    test_setup(t);
    test_start(t);
}

static inline void run(struct test *t) {
    for (int i = 0; i < 6; i++)
        bh_loop_tick(t->loop, false);
}

/* The loopback takes its time now and then: what must come is waited for. */
#define WAIT_FOR(t, condition)                                                                     \
    do {                                                                                           \
        for (int wait_ = 0; wait_ < 5000 && !(condition); wait_++) {                               \
            run(t);                                                                                \
            if (!(condition))                                                                      \
                poll(NULL, 0, 1);                                                                  \
        }                                                                                          \
        assert_true(condition);                                                                    \
    } while (0)

/* For what must not come. */
static inline void give_it_time(struct test *t) {
    for (int i = 0; i < 8; i++) {
        run(t);
        poll(NULL, 0, 1);
    }
}

static inline void advance(struct test *t, uint64_t ms) {
    bh_clock_fake_advance(ms);
    run(t);
}

static inline void test_end(struct test *t) {
    bh_edge_abort(t->edge);
    run(t);
    bh_node_stop(t->node);
    bh_mailbox_close(t->mailbox);
    bh_mailbox_free(t->mailbox);
    if (t->published) /* as a broker's worker_stop does; a publish that is done ignores it */
        t->published(t->published_ud, t->published_handle, BH_EIO, -1, "stopped");
    bh_edge_free(t->edge);
    bh_node_free(t->node);
    bh_loop_free(t->loop);
    bh_clock_real();
}

/* --- clients --- */

struct client {
    struct test *test;
    int fd;
    struct bh_bytes got;
    bool ended, broken;
};

static inline int64_t count_of(enum bh_edge_metric metric) {
    return bh_metric_read(&bh_edge_metrics[metric]);
}

static inline void dial_with(struct test *t, struct client *c, int receive_buffer) {
    *c = (struct client){.test = t, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (receive_buffer)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const struct bh_addr *a = bh_edge_address(t->edge, 0);
    int64_t before = count_of(BH_EDGE_SOCKETS) + count_of(BH_EDGE_LIMIT_CONNECTIONS);
    assert_int_equal(connect(c->fd, &a->sa, a->len), 0);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    WAIT_FOR(t, count_of(BH_EDGE_SOCKETS) + count_of(BH_EDGE_LIMIT_CONNECTIONS) > before);
}

static inline void dial(struct test *t, struct client *c) {
    dial_with(t, c, 0);
}

/* Until the server has let go of it. */
static inline void hang_up(struct client *c) {
    int64_t before = count_of(BH_EDGE_SOCKETS);
    close(c->fd);
    c->fd = -1;
    bh_bytes_free(&c->got);
    for (int i = 0; i < 100 && count_of(BH_EDGE_SOCKETS) == before; i++) {
        run(c->test);
        poll(NULL, 0, 1);
    }
}

/* Sends, and goes on when the server's kernel has it (as far as it takes it). */
static inline void say(struct client *c, struct bh_slice bytes) {
    int unsent = 1;
    for (int patience = 0; bytes.n > 0 && patience < 10000; patience++) {
        ssize_t n = send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        if (n > 0)
            bytes = bh_slice(bytes.p + n, bytes.n - (size_t)n);
        bh_loop_tick(c->test->loop, false);
    }
    for (int i = 0; i < 60 && unsent > 0; i++) {
        run(c->test);
        if (ioctl(c->fd, SIOCOUTQ, &unsent) != 0 || unsent == 0)
            break;
        poll(NULL, 0, 1);
    }
    run(c->test);
}

static inline void say_text(struct client *c, const char *text) {
    say(c, bh_slice_cstr(text));
}

/* Takes what there is; a NUL stands behind it. */
static inline void hear(struct client *c) {
    char buffer[65536];
    ssize_t n = 1;
    while (n > 0 && !c->ended && !c->broken) {
        run(c->test);
        n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n > 0)
            bh_bytes_add(&c->got, bh_slice(buffer, (size_t)n));
        c->ended = n == 0;
        c->broken = n < 0 && errno != EAGAIN;
    }
    bh_bytes_addc(&c->got, '\0');
    c->got.len--;
}

static inline bool hears(struct client *c, const char *text) {
    hear(c);
    return strstr(c->got.p, text) != NULL;
}

static inline void expect_text(struct client *c, const char *text) {
    for (int i = 0; i < 3000 && !hears(c, text) && !c->ended && !c->broken; i++)
        poll(NULL, 0, 1);
    if (!hears(c, text))
        fail_msg("no \"%s\" in \"%s\"", text, c->got.p);
}

static inline bool is_over(struct client *c) {
    hear(c);
    return c->ended || c->broken;
}

static inline void expect_end(struct client *c) {
    WAIT_FOR(c->test, is_over(c));
}

static inline void expect_silence(struct client *c) {
    give_it_time(c->test);
    hear(c);
    assert_int_equal(c->got.len, 0);
    assert_false(c->ended || c->broken);
}

static inline void assert_has(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("no \"%s\" in \"%s\"", part, text);
}

static inline int times(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

/* The length of the response that got begins with, and its body; 0 while it is not whole. */
static inline size_t whole_response(const struct client *c, struct bh_slice *body) {
    const char *end = c->got.p ? strstr(c->got.p, "\r\n\r\n") : NULL;
    if (!end)
        return 0;
    const char *header = strcasestr(c->got.p, "\r\ncontent-length:");
    *body = bh_slice(end + 4, header && header < end ? strtoul(header + 17, NULL, 10) : 0);
    size_t n = (size_t)(body->p - c->got.p) + body->n;
    return c->got.len >= n ? n : 0;
}

static inline bool has_response(struct client *c) {
    struct bh_slice body;
    if (whole_response(c, &body))
        return true;
    hear(c);
    return whole_response(c, &body) > 0;
}

/* The next response: its status; the body is copied out, a NUL behind it. */
static inline int take_response(struct client *c, struct bh_bytes *out) {
    struct bh_slice body;
    WAIT_FOR(c->test, has_response(c));
    size_t n = whole_response(c, &body);
    int status = 0;
    sscanf(c->got.p, "HTTP/1.1 %d", &status);
    bh_bytes_clear(out);
    bh_bytes_add(out, body);
    bh_bytes_addc(out, '\0');
    out->len--;
    bh_bytes_consume(&c->got, n);
    bh_bytes_addc(&c->got, '\0');
    c->got.len--;
    return status;
}

/* --- WebSocket clients --- */

#define UPGRADE(target)                                                                            \
    "GET " target " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"          \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static inline void add_frame_raw(struct bh_bytes *out, uint8_t first, struct bh_slice payload) {
    static const unsigned char mask[4] = {0x11, 0xa2, 0x33, 0xc4};
    bh_bytes_addc(out, (char)first);
    if (payload.n < 126) {
        bh_bytes_addc(out, (char)(0x80 | payload.n));
    } else if (payload.n < 65536) {
        bh_bytes_addc(out, (char)(0x80 | 126));
        bh_bytes_addc(out, (char)(payload.n >> 8));
        bh_bytes_addc(out, (char)payload.n);
    } else {
        bh_bytes_addc(out, (char)(0x80 | 127));
        for (int i = 7; i >= 0; i--)
            bh_bytes_addc(out, (char)((uint64_t)payload.n >> (8 * i)));
    }
    bh_bytes_add(out, bh_slice(mask, 4));
    for (size_t i = 0; i < payload.n; i++)
        bh_bytes_addc(out, (char)((unsigned char)payload.p[i] ^ mask[i % 4]));
}

static inline void say_frame(struct client *c, uint8_t first, struct bh_slice payload) {
    struct bh_bytes out = {0};
    add_frame_raw(&out, first, payload);
    say(c, bh_bytes_slice(&out));
    bh_bytes_free(&out);
}

/* The length of the frame that got begins with, and its payload; 0 while it is not whole. */
static inline size_t whole_frame(const struct client *c, struct bh_slice *payload) {
    const unsigned char *p = (const unsigned char *)c->got.p;
    if (c->got.len < 2)
        return 0;
    size_t head = p[1] == 127 ? 10 : p[1] == 126 ? 4 : 2, n = p[1];
    if (c->got.len < head)
        return 0;
    if (head > 2)
        n = 0;
    for (size_t i = 2; i < head; i++)
        n = n << 8 | p[i];
    *payload = bh_slice(p + head, n);
    return c->got.len >= head + n ? head + n : 0;
}

static inline bool has_frame(struct client *c) {
    struct bh_slice payload;
    if (whole_frame(c, &payload))
        return true;
    hear(c);
    return whole_frame(c, &payload) > 0;
}

/* The next frame: its opcode, or -1 at the end; the payload is copied out, a NUL behind it. */
static inline int take_frame(struct client *c, struct bh_bytes *out) {
    struct bh_slice payload;
    WAIT_FOR(c->test, has_frame(c) || c->ended || c->broken);
    size_t n = whole_frame(c, &payload);
    if (n == 0)
        return -1;
    int opcode = c->got.p[0] & 0x0f;
    assert_int_equal(c->got.p[0] & 0xf0, 0x80);
    assert_int_equal(c->got.p[1] & 0x80, 0);
    bh_bytes_clear(out);
    bh_bytes_add(out, payload);
    bh_bytes_addc(out, '\0');
    out->len--;
    bh_bytes_consume(&c->got, n);
    return opcode;
}

static inline void expect_frame(struct client *c, int opcode, struct bh_slice payload) {
    struct bh_bytes got = {0};
    assert_int_equal(take_frame(c, &got), opcode);
    assert_int_equal(got.len, payload.n);
    if (payload.n)
        assert_memory_equal(got.p, payload.p, payload.n);
    bh_bytes_free(&got);
}

static inline void expect_close(struct client *c, unsigned code, const char *reason) {
    struct bh_bytes got = {0};
    assert_int_equal(take_frame(c, &got), 8);
    assert_true(got.len >= 2);
    assert_int_equal((unsigned char)got.p[0] << 8 | (unsigned char)got.p[1], code);
    if (reason)
        assert_string_equal(got.p + 2, reason);
    bh_bytes_free(&got);
}

static inline void say_close(struct client *c, unsigned code) {
    char payload[2] = {(char)(code >> 8), (char)code};
    say_frame(c, 0x88, bh_slice(payload, 2));
}

static inline void expect_101(struct client *c) {
    expect_text(c, "\r\n\r\n");
    if (strncmp(c->got.p, "HTTP/1.1 101", 12) != 0)
        fail_msg("no 101 but \"%s\"", c->got.p);
    bh_bytes_consume(&c->got, (size_t)(strstr(c->got.p, "\r\n\r\n") + 4 - c->got.p));
}

static inline void open_ws(struct test *t, struct client *c) {
    dial(t, c);
    say_text(c, UPGRADE("/ws") "\r\n");
    expect_101(c);
}

static int register_metrics(void **state) {
    bh_edge_metrics_register();
    return 0;
}

#endif
