/* test_round_robin.c - limits, round-robin over hosts, timeouts, and cancelled requests. */
#include "http_test.h"

#include <errno.h>
#include <netinet/in.h>

static int setup(void **state) {
    struct test_env *w = malloc(sizeof *w);
    test_env_open(w, NULL);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    test_env_close(*state);
    free(*state);
    return 0;
}

static unsigned begin(struct test_env *w, struct bh_slice url) {
    return test_send_request(w, &(struct bh_fetch_request){.url = url});
}

static void test_limit_of_a_host(void **state) {
    struct test_env *w = *state;
    w->config.per_host = 3;
    test_env_start(w);
    for (int i = 0; i < 10; i++)
        begin(w, test_plain(w, "/"));
    test_until(w, w->server.waiting == 3);
    for (int i = 0; i < 5; i++)
        bh_loop_tick(w->loop, false);
    assert_int_equal(w->server.accepted, 3);
    while (w->ended < 10) {
        test_answer_all(&w->server, OK_ANSWER);
        unsigned ended = w->ended;
        test_until(w, w->ended > ended && (w->server.waiting || w->ended == 10));
    }
    assert_int_equal(w->server.most_waiting, 3);
    assert_int_equal(w->server.accepted, 3);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(w->results[i].status, 200);
}

/* localhost and 127.0.0.1 are two hosts here, and the second does not wait for the first. */
static void test_limit_of_all(void **state) {
    struct test_env *w = *state;
    w->config.per_host = 2;
    w->config.total = 3;
    test_env_start(w);
    for (int i = 0; i < 4; i++)
        begin(w, test_plain(w, "/first"));
    for (int i = 0; i < 2; i++)
        begin(w, test_url(w, "http", "localhost", "/second"));
    test_until(w, w->server.waiting == 3);
    assert_int_equal(w->server.accepted, 3);
    while (w->ended < 6) {
        test_answer_all(&w->server, OK_ANSWER);
        unsigned ended = w->ended;
        test_until(w, w->ended > ended && (w->server.waiting || w->ended == 6));
    }
    assert_int_equal(w->server.most_waiting, 3);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(w->results[i].status, 200);
}

static void test_queue_is_full(void **state) {
    struct test_env *w = *state;
    w->config.per_host = 1;
    w->config.queue = 2;
    test_env_start(w);
    for (int i = 0; i < 3; i++)
        assert_true(w->handles[begin(w, test_plain(w, "/"))] != 0);
    unsigned number = begin(w, test_plain(w, "/"));
    assert_int_equal(w->handles[number], 0);
    assert_int_equal(w->results[number].error, BH_EAGAIN);
    assert_string_equal(w->results[number].why, "too many requests are queued");
    /* another host has its own room */
    number = begin(w, test_url(w, "http", "localhost", "/"));
    assert_true(w->handles[number] != 0);
    w->server.answer = OK_ANSWER;
    test_until(w, w->ended == 5);
}

static void test_many_at_once(void **state) {
    struct test_env *w = *state;
    w->server.answer = OK_ANSWER;
    test_env_start(w);
    for (int i = 0; i < 600; i++)
        begin(w, test_plain(w, "/"));
    test_until(w, w->ended == 600);
    for (unsigned i = 0; i < 600; i++) {
        assert_int_equal(w->results[i].calls, 1);
        assert_int_equal(w->results[i].status, 200);
    }
    assert_true(w->server.accepted <= 32);
    assert_int_equal(w->server.requests, 600);
}

static void test_silent_server(void **state) {
    struct test_env *w = *state;
    test_env_start(w);
    struct test_result *r =
        test_fetch(w, &(struct bh_fetch_request){.url = test_plain(w, "/"), .timeout_ms = 60});
    assert_int_equal(r->error, BH_ETIMEDOUT);
    assert_string_equal(r->why, "timeout");
    test_until(w, w->server.open == 0); /* nobody may get the late answer */
}

static void test_default_timeout(void **state) {
    struct test_env *w = *state;
    w->config.timeout_ms = 60;
    test_env_start(w);
    struct test_result *r = test_fetch(w, &(struct bh_fetch_request){.url = test_plain(w, "/")});
    assert_int_equal(r->error, BH_ETIMEDOUT);
}

/* The time in the line counts, and who leaves it makes room. */
static void test_timeout_in_the_queue(void **state) {
    struct test_env *w = *state;
    w->config.per_host = 1;
    test_env_start(w);
    unsigned first = begin(w, test_plain(w, "/"));
    test_until(w, w->server.waiting == 1);
    struct test_result *r =
        test_fetch(w, &(struct bh_fetch_request){.url = test_plain(w, "/"), .timeout_ms = 60});
    assert_int_equal(r->error, BH_ETIMEDOUT);
    assert_int_equal(w->results[first].calls, 0);
    test_answer_all(&w->server, OK_ANSWER);
    test_until(w, w->results[first].calls);
    assert_int_equal(w->server.requests, 1);
}

/* A listening socket whose backlog is full takes no connection. */
static void test_connect_timeout(void **state) {
    struct test_env *w = *state;
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    int fds[4];
    char url[64];
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(&at,
           &(struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
           sizeof(struct sockaddr_in));
    assert_int_equal(bind(listening, (struct sockaddr *)&at, sizeof(struct sockaddr_in)), 0);
    assert_int_equal(listen(listening, 0), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&at, &n), 0);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(connect(fds[i], (struct sockaddr *)&at, n) == 0 || errno == EINPROGRESS);
    }
    w->config.connect_timeout_ms = 80;
    test_env_start(w);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", ntohs(((struct sockaddr_in *)&at)->sin_port));
    struct test_result *r = test_fetch(w, &(struct bh_fetch_request){.url = bh_slice_cstr(url)});
    assert_int_equal(r->error, BH_ETIMEDOUT);
    assert_string_equal(r->why, "timeout: no connection to 127.0.0.1");
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
    close(listening);
}

/* --- cancel --- */

static void test_cancel(void **state) {
    struct test_env *w = *state;
    w->config.per_host = 1;
    test_env_start(w);
    unsigned active = begin(w, test_plain(w, "/")), waiting = begin(w, test_plain(w, "/")),
             next = begin(w, test_plain(w, "/next"));
    test_until(w, w->server.waiting == 1);
    w->fetch->vt->cancel(w->fetch, w->handles[waiting]);
    w->fetch->vt->cancel(w->fetch, w->handles[active]);
    w->fetch->vt->cancel(w->fetch, w->handles[active]); /* again: nothing */
    w->fetch->vt->cancel(w->fetch, 0);
    test_until(w, w->server.requests == 2);
    test_until(w, w->server.open == 1); /* the connection of the cancelled request is closed */
    test_answer_all(&w->server, OK_ANSWER);
    test_until(w, w->ended == 1);
    assert_int_equal(w->results[next].status, 200);
    assert_int_equal(w->results[active].calls + w->results[waiting].calls, 0);
    w->fetch->vt->cancel(w->fetch, w->handles[next]);
}

/* All answers come in one tick; the first one's callback cancels the others. */
static void cancel_others(struct test_env *w, struct test_result *r) {
    for (unsigned i = 0; i < w->begun; i++)
        if (&w->results[i] != r)
            w->fetch->vt->cancel(w->fetch, w->handles[i]);
}

static void test_cancel_in_a_callback(void **state) {
    struct test_env *w = *state;
    test_env_start(w);
    w->in_done = cancel_others;
    for (int i = 0; i < 8; i++)
        begin(w, test_plain(w, "/"));
    test_until(w, w->server.waiting == 8);
    test_answer_all(&w->server, OK_ANSWER);
    test_until(w, w->ended);
    for (int i = 0; i < 20; i++)
        bh_loop_tick(w->loop, false);
    assert_int_equal(w->ended, 1);
}

static void begin_another(struct test_env *w, struct test_result *r) {
    if (w->begun < 50)
        begin(w, test_plain(w, "/"));
}

static void test_begin_in_a_callback(void **state) {
    struct test_env *w = *state;
    w->server.answer = OK_ANSWER;
    test_env_start(w);
    w->in_done = begin_another;
    begin(w, test_plain(w, "/"));
    test_until(w, w->ended == 50);
    assert_int_equal(w->server.accepted, 1);
}

/* --- freeing the client --- */

static void test_free_in_flight(void **state) {
    struct test_env *w = *state;
    w->config.per_host = 2;
    test_env_start(w);
    for (int i = 0; i < 5; i++)
        begin(w, test_plain(w, "/"));
    begin(w, BH_SLICE("http://name.invalid/"));
    test_until(w, w->server.waiting == 2);
    bh_http_fetch_free(w->fetch);
    w->fetch = NULL;
    unsigned ended = w->ended; /* the name that does not exist may have failed before */
    test_until(w, w->server.open == 0);
    assert_int_equal(w->ended, ended);
    assert_true(ended <= 1);
}

static void test_free_at_once(void **state) {
    struct test_env *w = *state;
    test_env_start(w);
    begin(w, test_plain(w, "/"));
    begin(w, BH_SLICE("http://name.invalid/"));
}

/* --- which addresses --- */

static void test_addresses(void **state) {
    struct test_env *w = *state;
    struct bh_cidr loopback, other;
    const char *why;
    bh_cidr_parse(BH_SLICE("127.0.0.0/8"), &loopback, &why);
    bh_cidr_parse(BH_SLICE("192.0.2.0/24"), &other, &why);
    const struct {
        const struct bh_cidr *allow, *deny;
        bool good;
    } cases[] = {{NULL, NULL, true},       {NULL, &loopback, false}, {NULL, &other, true},
                 {&other, NULL, false},    {&loopback, NULL, true},  {&loopback, &loopback, false},
                 {&loopback, &other, true}};
    w->server.answer = OK_ANSWER;
    for (size_t i = 0; i < COUNT(cases); i++) {
        bh_http_fetch_free(w->fetch);
        w->config.allow = cases[i].allow;
        w->config.allow_count = cases[i].allow != NULL;
        w->config.deny = cases[i].deny;
        w->config.deny_count = cases[i].deny != NULL;
        test_env_start(w);
        struct test_result *r =
            test_fetch(w, &(struct bh_fetch_request){.url = test_plain(w, "/")});
        assert_int_equal(r->error, cases[i].good ? 0 : BH_EDENIED);
        if (!cases[i].good)
            assert_contains(r->why, "the address of 127.0.0.1 is not allowed");
    }
}

static void test_environment_is_ignored(void **state) {
    struct test_env *w = *state;
    w->server.answer = OK_ANSWER;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    test_env_start(w);
    struct test_result *r = test_fetch(w, &(struct bh_fetch_request){.url = test_plain(w, "/")});
    unsetenv("http_proxy");
    assert_int_equal(r->status, 200);
}

static void test_proxy(void **state) {
    struct test_env *w = *state;
    char proxy[64];
    w->server.answer = OK_ANSWER;
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u", test_server_port(&w->server));
    w->config.proxy = proxy;
    w->config.no_proxy = "127.0.0.1";
    test_env_start(w);
    struct test_result *r =
        test_fetch(w, &(struct bh_fetch_request){.url = BH_SLICE("http://name.invalid/x")});
    assert_int_equal(r->status, 200);
    assert_true(bh_slice_starts(bh_bytes_slice(&w->server.last),
                                BH_SLICE("GET http://name.invalid/x HTTP/1.1\r\n")));
    test_fetch(w, &(struct bh_fetch_request){.url = test_plain(w, "/direct")});
    assert_true(bh_slice_starts(bh_bytes_slice(&w->server.last), BH_SLICE("GET /direct ")));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_limit_of_a_host),
        TEST(test_limit_of_all),
        TEST(test_queue_is_full),
        TEST(test_many_at_once),
        TEST(test_silent_server),
        TEST(test_default_timeout),
        TEST(test_timeout_in_the_queue),
        TEST(test_connect_timeout),
        TEST(test_cancel),
        TEST(test_cancel_in_a_callback),
        TEST(test_begin_in_a_callback),
        TEST(test_free_in_flight),
        TEST(test_free_at_once),
        TEST(test_addresses),
        TEST(test_environment_is_ignored),
        TEST(test_proxy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
