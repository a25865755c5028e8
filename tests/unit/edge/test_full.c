/* test_full.c - an instance at connections_max: what it still serves, and for how long others may
 * hold the places for that. Also the addresses for administration. */
#include "edge_client.h"

#include <sys/socket.h>
#include <unistd.h>

#define KEY       "Authorization: Bearer first-key\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

#define PUBLISH(headers)                                                                           \
    "POST /api/broadcast?strategy=redis HTTP/1.1\r\nHost: x\r\n" headers                           \
    "Content-Length: 2\r\n\r\nhi"

struct full {
    struct test t;
    struct client holder; /* the one connection that there may be */
    struct client c;
};

static void begin(struct full *f, void (*configure)(struct test *t)) {
    *f = (struct full){0};
    test_setup(&f->t);
    f->t.config.connections_max = 1;
    f->t.hooks.present |= BH_HOOK_HTTP;
    f->t.response = (struct bh_response){.status = 200, .body = BH_SLICE("hello")};
    if (configure)
        configure(&f->t);
    test_start(&f->t);
    dial(&f->t, &f->holder);
}

static void end(struct full *f) {
    WAIT_FOR(&f->t, count_of(BH_EDGE_RESERVE) == 0);
    hang_up(&f->holder);
    test_end(&f->t);
}

static void expect_status(struct client *c, int status) {
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    expect_text(c, line);
    expect_end(c);
    assert_int_equal(times(c->got.p, "HTTP/1.1 "), 1);
    assert_has(c->got.p, "\r\nConnection: close\r\n");
}

/* Sends it on a connection of its own, which is over the limit, and closes that. */
static void ask(struct full *f, const char *request, int status, const char *part) {
    connect_only(&f->t, &f->c, 0);
    send_text(&f->c, request);
    expect_status(&f->c, status);
    assert_has(f->c.got.p, part);
    let_go(&f->c);
}

/* --- what is served --- */

static void test_health_and_metrics(void **state) {
    struct full f;
    begin(&f, NULL);
    int64_t before = count_of(BH_EDGE_RESERVE_OPENED);
    ask(&f, GET("/healthz"), 200, "ok\n");
    ask(&f, GET("/readyz"), 200, "\"ready\":true");
    ask(&f, GET("/metrics"), 200, "\nbellhop_edge_reserve_connections 1\n");
    ask(&f, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200, "Content-Length: 3\r\n");
    ask(&f, GET("/healthz") GET("/healthz"), 200, "ok\n"); /* one answer */
    assert_int_equal(count_of(BH_EDGE_RESERVE_OPENED), before + 5);
    assert_int_equal(count_of(BH_EDGE_SOCKETS), 1);
    end(&f);
}

static void test_anything_else(void **state) {
    static const char *const others[] = {
        GET("/nothing"),
        GET("/mine"),
        GET("/ws"),
        GET("/"),
        GET("/api/nothing"),
        UPGRADE("/ws") "\r\n",
        UPGRADE("/healthz") "\r\n",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        "OPTIONS /api/broadcast HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n"
        "Access-Control-Request-Method: POST\r\n\r\n",
        PUBLISH(""),
        PUBLISH("Authorization: Bearer third-key\r\n"),
        PUBLISH("Expect: 100-continue\r\n"),
    };
    struct full f;
    begin(&f, NULL);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ask(&f, others[i], 503, "\"too_many_connections\"");
    assert_string_equal(f.t.asked, "");
    ask(&f, "nonsense\r\n\r\n", 400, "bad_request");
    end(&f);
}

static void test_the_api_with_a_key(void **state) {
    struct full f;
    begin(&f, NULL);
    ask(&f, PUBLISH(KEY), 200, "\"status\"");
    assert_int_equal(f.t.publishes, 1);
    connect_only(&f.t, &f.c, 0);
    send_text(&f.c, "POST /api/broadcast?strategy=redis HTTP/1.1\r\nHost: x\r\n" KEY
                    "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect_text(&f.c, "100 Continue");
    advance(&f.t, 5000); /* a client with a key has the usual time for its body */
    send_text(&f.c, "hi");
    expect_text(&f.c, "HTTP/1.1 200 ");
    expect_end(&f.c);
    let_go(&f.c);
    assert_int_equal(f.t.publishes, 2);
    f.t.config.dev = true;
    ask(&f, PUBLISH(""), 200, "\"status\"");
    end(&f);
}

static void test_the_hook_is_not_asked_without_a_key(void **state) {
    struct full f;
    begin(&f, NULL);
    f.t.hooks.present |= BH_HOOK_API;
    f.t.api = NO;
    f.t.refuse_status = 403;
    ask(&f, PUBLISH(""), 503, "too_many_connections");
    assert_null(f.t.allowed);
    ask(&f, PUBLISH(KEY), 403, "forbidden");
    assert_non_null(f.t.allowed);
    end(&f);
}

/* --- how long --- */

static void test_silence_and_slowness(void **state) {
    struct full f;
    struct client slow;
    begin(&f, NULL);
    connect_only(&f.t, &f.c, 0);
    connect_only(&f.t, &slow, 0);
    WAIT_FOR(&f.t, count_of(BH_EDGE_RESERVE) == 2);
    send_text(&slow, "GET /healthz HTTP/1.1\r\nHo");
    for (int i = 0; i < 3; i++) {
        advance(&f.t, 500);
        send_text(&slow, "s");
    }
    expect_nothing(&slow);
    expect_nothing(&f.c);
    advance(&f.t, 600);
    expect_status(&slow, 408);
    expect_end(&f.c);
    let_go(&slow);
    let_go(&f.c);
    end(&f);
}

/* All places are held by clients that send nothing; the oldest one goes. */
static void test_the_silent_make_room(void **state) {
    struct full f;
    struct client silent[BH_EDGE_PLACES];
    begin(&f, NULL);
    for (int i = 0; i < BH_EDGE_PLACES; i++) {
        connect_only(&f.t, &silent[i], 0);
        WAIT_FOR(&f.t, count_of(BH_EDGE_RESERVE) == i + 1);
    }
    int64_t before = count_of(BH_EDGE_RESERVE_EVICTED);
    for (int i = 0; i < 5; i++) {
        ask(&f, GET("/healthz"), 200, "ok\n");
        WAIT_FOR(&f.t, count_of(BH_EDGE_RESERVE) < BH_EDGE_PLACES);
    }
    assert_int_equal(count_of(BH_EDGE_RESERVE_EVICTED), before + 1);
    expect_status(&silent[0], 503);
    for (int i = 1; i < BH_EDGE_PLACES; i++)
        expect_nothing(&silent[i]);
    for (int i = 0; i < BH_EDGE_PLACES; i++)
        let_go(&silent[i]);
    end(&f);
}

static void test_the_answered_make_room(void **state) {
    struct full f;
    struct client rude[2 * BH_EDGE_PLACES];
    begin(&f, NULL);
    for (int i = 0; i < 2 * BH_EDGE_PLACES; i++) { /* they have their answer and stay */
        connect_only(&f.t, &rude[i], 0);
        send_text(&rude[i], GET("/metrics"));
        expect_text(&rude[i], "HTTP/1.1 200 ");
    }
    ask(&f, GET("/healthz"), 200, "ok\n");
    assert_in_range(count_of(BH_EDGE_RESERVE), 1, BH_EDGE_PLACES);
    for (int i = 0; i < 2 * BH_EDGE_PLACES; i++)
        let_go(&rude[i]);
    end(&f);
}

/* So that the server sees it while it waits for the hook. */
static void reset(struct client *c) {
    struct linger now = {.l_onoff = 1};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    let_go(c);
}

/* Those with a key are served to the end; who comes then is refused at once. */
static void test_the_busy_stay(void **state) {
    struct full f;
    struct client busy[BH_EDGE_PLACES];
    begin(&f, NULL);
    f.t.hooks.present |= BH_HOOK_API;
    f.t.api = LATER;
    for (int i = 0; i < BH_EDGE_PLACES; i++) {
        f.t.allowed = NULL;
        connect_only(&f.t, &busy[i], 0);
        send_text(&busy[i], PUBLISH(KEY));
        WAIT_FOR(&f.t, f.t.allowed);
    }
    connect_only(&f.t, &f.c, 0);
    expect_status(&f.c, 503);
    let_go(&f.c);
    f.t.allowed(f.t.hook_ud, f.t.hook_handle, true, 0, bh_slice(NULL, 0));
    expect_status(&busy[BH_EDGE_PLACES - 1], 200);
    ask(&f, GET("/healthz"), 200, "ok\n");
    for (int i = 0; i < BH_EDGE_PLACES; i++)
        reset(&busy[i]);
    end(&f);
}

/* --- other limits, other listeners --- */

static void two_per_address(struct test *t) {
    t->config.connections_per_ip = 2;
    t->admin = true;
}

static void test_the_limit_of_an_address(void **state) {
    struct full f;
    struct client second;
    begin(&f, two_per_address);
    connect_only(&f.t, &second, 0);
    WAIT_FOR(&f.t, count_of(BH_EDGE_RESERVE) == 1);
    ask(&f, GET("/healthz"), 429, "too_many_connections");
    connect_only(&f.t, &f.c, 1); /* not for administration */
    send_text(&f.c, GET("/healthz"));
    expect_text(&f.c, "HTTP/1.1 200 ");
    let_go(&f.c);
    let_go(&second);
    end(&f);
}

static struct bh_cidr loopback;

static void behind_a_proxy(struct test *t) {
    const char *why;
    assert_int_equal(bh_cidr_parse(BH_SLICE("127.0.0.0/8"), &loopback, &why), 0);
    t->proxy = true;
    t->config.trusted = &loopback;
    t->config.trusted_count = 1;
    t->config.connections_per_ip = 1;
}

#define HEADER "PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n"

static void test_a_proxy(void **state) {
    struct full f;
    struct client same;
    begin(&f, behind_a_proxy);
    ask(&f, HEADER GET("/healthz"), 200, "ok\n");
    ask(&f, HEADER UPGRADE("/ws") "\r\n", 503, "too_many_connections");
    connect_only(&f.t, &same, 0);
    send_text(&same, HEADER);
    ask(&f, HEADER GET("/healthz"), 429, "too_many_connections");
    ask(&f, "PROXY UNKNOWN\r\n" GET("/healthz"), 200, "ok\n");
    advance(&f.t, 2100); /* also for the header */
    expect_end(&same);
    let_go(&same);
    end(&f);
}

static void with_admin(struct test *t) {
    t->admin = true;
}

static void test_addresses_for_administration(void **state) {
    struct full f;
    struct bh_bytes body = {0};
    begin(&f, with_admin);
    connect_only(&f.t, &f.c, 1);
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {GET("/healthz"), 200},
        {GET("/readyz"), 200},
        {GET("/metrics"), 200},
        {GET("/"), 404},
        {GET("/mine"), 404},
        {GET("/ws"), 404},
        {GET("/api/users/42"), 404},
        {PUBLISH(KEY), 404},
        {"PUT /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) { /* on one connection */
        send_text(&f.c, cases[i].request);
        assert_int_equal(take_response(&f.c, &body), cases[i].status);
    }
    send_text(&f.c, UPGRADE("/ws") "\r\n");
    assert_int_equal(take_response(&f.c, &body), 404);
    assert_int_equal(count_of(BH_EDGE_SOCKETS), 1);
    assert_int_equal(count_of(BH_EDGE_RESERVE), 0);
    assert_int_equal(f.t.opened, 0);
    let_go(&f.c);
    bh_bytes_free(&body);
    end(&f);
}

static void test_the_idle_make_room_for_administration(void **state) {
    struct full f;
    struct client idle[BH_EDGE_PLACES];
    struct bh_bytes body = {0};
    begin(&f, with_admin);
    for (int i = 0; i < BH_EDGE_PLACES; i++) {
        connect_only(&f.t, &idle[i], 1);
        send_text(&idle[i], GET("/healthz"));
        assert_int_equal(take_response(&idle[i], &body), 200);
    }
    connect_only(&f.t, &f.c, 1);
    send_text(&f.c, GET("/healthz"));
    assert_int_equal(take_response(&f.c, &body), 200);
    expect_end(&idle[0]);
    expect_nothing(&idle[1]);
    for (int i = 0; i < BH_EDGE_PLACES; i++)
        let_go(&idle[i]);
    let_go(&f.c);
    bh_bytes_free(&body);
    end(&f);
}

static void on_drained(void *ud) {
    ((struct test *)ud)->drained = true;
}

static void test_a_drain(void **state) {
    struct full f;
    begin(&f, with_admin);
    connect_only(&f.t, &f.c, 0);
    struct client admin;
    connect_only(&f.t, &admin, 1);
    WAIT_FOR(&f.t, count_of(BH_EDGE_RESERVE) == 1);
    run_idle(&f.t);
    bh_edge_drain(f.t.edge, &(struct bh_edge_drain){.on_drained = on_drained, .ud = &f.t});
    expect_end(&f.c);
    expect_end(&admin);
    let_go(&f.c);
    let_go(&admin);
    WAIT_FOR(&f.t, f.t.drained);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_and_metrics),
        cmocka_unit_test(test_anything_else),
        cmocka_unit_test(test_the_api_with_a_key),
        cmocka_unit_test(test_the_hook_is_not_asked_without_a_key),
        cmocka_unit_test(test_silence_and_slowness),
        cmocka_unit_test(test_the_silent_make_room),
        cmocka_unit_test(test_the_answered_make_room),
        cmocka_unit_test(test_the_busy_stay),
        cmocka_unit_test(test_the_limit_of_an_address),
        cmocka_unit_test(test_a_proxy),
        cmocka_unit_test(test_addresses_for_administration),
        cmocka_unit_test(test_the_idle_make_room_for_administration),
        cmocka_unit_test(test_a_drain),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
