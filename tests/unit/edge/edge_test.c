/* edge_test.c - the fake broker, the fake hooks, and the life of the instance under test. */
#include "edge_test.h"

#include "bellhop/base/mem.h"

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
        "test", is_shared, broker_start, NULL, broker_subscribe, broker_unsubscribe, NULL,         \
            broker_stop, broker_worker_start, broker_worker_stop, broker_publish, broker_ready,    \
            broker_free                                                                            \
    }
static const struct bh_broker_vt alone_vt = TEST_BROKER(false);
static const struct bh_broker_vt shared_vt = TEST_BROKER(true);

/* --- hooks --- */

void complete_handshake(struct test *t, bh_handshake_cb done, void *ud, bh_handle handle,
                        bool yes) {
    struct bh_handshake_result w = {.status = t->refuse_status,
                                    .body = bh_slice_cstr(t->refuse_body)};
    if (yes) {
        w = (struct bh_handshake_result){.protocol = bh_slice_cstr(t->protocol),
                                         .compression = t->compression};
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
    if (t->on_http)
        t->on_http(t);
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
    if (the_test->on_message)
        the_test->on_message(the_test, s, data);
    else if (the_test->echo)
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

static const struct bh_slice sse_paths_of_test[] = {BH_SLICE("/sse"), BH_SLICE("/sse/:app")};

void test_setup(struct test *t) {
    *t = (struct test){.echo = true, .handshake = YES, .api = NO};
    the_test = t;
    t->config = (struct bh_edge_config){
        .backlog = 64,
        .api_keys = api_keys_of_test,
        .api_key_count = 2,
        .ws_paths = ws_paths_of_test,
        .ws_path_count = 1,
        .sse_paths = sse_paths_of_test,
        .sse_path_count = 2,
        .sse_retry_ms = 2000,
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

void test_start(struct test *t) {
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    bh_clock_fake(1000000, TEST_WALL_MS);
    t->broker.vt = t->shared ? &shared_vt : &alone_vt;
    t->tracker.base.vt = &local_tracker_vt;
    t->loop = bh_loop_new();
    t->mailbox = bh_mailbox_new(t->loop);
    static const struct bh_history_rule rules[] = {
        {.pattern = BH_SLICE("user:"), .prefix = true, .size = 100, .ttl_ms = 60000},
        {.pattern = BH_SLICE("topic:a/b/messages"), .size = 100, .ttl_ms = 60000},
        {.pattern = BH_SLICE("all"), .size = 100, .ttl_ms = 60000},
    };
    struct bh_node_config config = {.instance = BH_SLICE("i-1"),
                                    .history = {.rules = rules, .rule_count = 3},
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
    struct bh_edge_listen listen[2] = {{.proxy = t->proxy}, {.admin = true}};
    const char *why;
    size_t which;
    for (int i = 0; i < 2; i++)
        assert_int_equal(bh_addr_parse(BH_SLICE("127.0.0.1:0"), &listen[i].address, &why), 0);
    assert_int_equal(bh_edge_listen(t->edge, listen, t->admin ? 2 : 1, &which), 0);
}

void test_begin(struct test *t) {
    test_setup(t);
    test_start(t);
}

void run(struct test *t) {
    for (int i = 0; i < 6; i++)
        bh_loop_tick(t->loop, false);
}

void run_idle(struct test *t) {
    for (int i = 0; i < 8; i++) {
        run(t);
        poll(NULL, 0, 1);
    }
}

void advance(struct test *t, uint64_t ms) {
    bh_clock_fake_advance(ms);
    run(t);
}

void test_end(struct test *t) {
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

int register_metrics(void **state) {
    bh_edge_metrics_register();
    return 0;
}
