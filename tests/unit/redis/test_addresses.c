/* test_addresses.c - a name with several addresses: which is tried, in what order, and how often.
 * The system's resolver is replaced by one with made-up names. */
#include "fake_redis.h"

#include "bellhop/base/mem.h"

#include "link/addresses.h"
#include "link/link.h"

#include <netdb.h>

/* --- the list --- */

static struct bh_addr addr(const char *text) {
    struct bh_addr a = {0};
    const char *why;
    assert_int_equal(bh_addr_parse(bh_slice_cstr(text), &a, &why), 0);
    return a;
}

static void check_next(struct bh_redis_addresses *a, const char *expected) {
    char text[BH_ADDR_TEXT_MAX];
    assert_true(bh_redis_addresses_left(a) > 0);
    bh_addr_format(bh_redis_addresses_next(a), text);
    assert_string_equal(text, expected);
}

static void test_all_in_turn(void **state) {
    struct bh_redis_addresses a = {0};
    struct bh_addr list[] = {addr("[::1]:1"), addr("1.0.0.2:1"), addr("1.0.0.3:1")};
    for (int i = 0; i < 2; i++) {
        bh_redis_addresses_begin(&a, list, 3);
        check_next(&a, "[::1]:1");
        check_next(&a, "1.0.0.2:1");
        check_next(&a, "1.0.0.3:1");
        assert_int_equal(bh_redis_addresses_left(&a), 0);
        bh_redis_addresses_end(&a, true);
        bh_redis_addresses_end(&a, true);
        assert_int_equal(bh_redis_addresses_left(&a), 0);
    }
    bh_redis_addresses_reset(&a);
}

static void test_begins_behind_the_failed_one(void **state) {
    struct bh_redis_addresses a = {0};
    struct bh_addr list[] = {addr("1.0.0.1:1"), addr("1.0.0.2:1"), addr("1.0.0.3:1")};
    struct bh_addr turned[] = {list[1], list[2], list[0]};
    bh_redis_addresses_begin(&a, list, 3);
    check_next(&a, "1.0.0.1:1");
    bh_redis_addresses_end(&a, true);
    bh_redis_addresses_begin(&a, turned, 3); /* the name server turns its list */
    check_next(&a, "1.0.0.2:1");
    check_next(&a, "1.0.0.3:1");
    check_next(&a, "1.0.0.1:1");
    bh_redis_addresses_end(&a, true);
    bh_redis_addresses_begin(&a, list + 1, 2); /* it is no longer in the list */
    check_next(&a, "1.0.0.2:1");
    bh_redis_addresses_reset(&a);
}

static void test_begins_with_the_one_that_served(void **state) {
    struct bh_redis_addresses a = {0};
    struct bh_addr list[] = {addr("1.0.0.1:1"), addr("1.0.0.2:1")};
    bh_redis_addresses_begin(&a, list, 2);
    check_next(&a, "1.0.0.1:1");
    check_next(&a, "1.0.0.2:1");
    bh_redis_addresses_end(&a, false);
    bh_redis_addresses_begin(&a, list, 2);
    check_next(&a, "1.0.0.2:1");
    check_next(&a, "1.0.0.1:1");
    bh_redis_addresses_reset(&a);
}

/* --- a link --- */

static const char *hosts[4]; /* what each name resolves to; NULL ends it */

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **out) {
    *out = NULL;
    for (size_t i = 3; i-- > 0;) {
        if (!hosts[i])
            continue;
        struct addrinfo *one = calloc(1, sizeof *one);
        struct sockaddr_in *to = calloc(1, sizeof *to);
        *to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
        inet_pton(AF_INET, hosts[i], &to->sin_addr);
        *one = (struct addrinfo){.ai_family = AF_INET,
                                 .ai_addr = (struct sockaddr *)to,
                                 .ai_addrlen = sizeof *to,
                                 .ai_next = *out};
        *out = one;
    }
    return *out ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list) {
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list->ai_addr);
        free(list);
        list = next;
    }
}

static struct {
    struct bh_loop *loop;
    struct fake_redis fake; /* on 127.0.0.1 */
    struct bh_redis_config config;
    struct bh_redis_link link;
    unsigned ups, downs, failures;
} fx;

static void on_up(struct bh_redis_link *link) {
    fx.ups++;
}

static void on_down(struct bh_redis_link *link) {
    fx.downs++;
}

static void on_failed(struct bh_redis_link *link) {
    fx.failures++;
}

static const struct bh_redis_link_callbacks callbacks = {
    .on_up = on_up, .on_down = on_down, .on_failed = on_failed};

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    memset(hosts, 0, sizeof hosts);
    fx.loop = bh_loop_new();
    fake_start(&fx.fake);
    fx.fake.handshake = FAKE_GOOD;
    fx.config = (struct bh_redis_config){.host = "several.test",
                                         .port = fx.fake.port,
                                         .instance = "test",
                                         .connect_timeout_ms = 5000,
                                         .command_timeout_ms = 5000,
                                         .probe_ms = 5000,
                                         .backoff_min_ms = 4,
                                         .backoff_max_ms = 32};
    return 0;
}

static int teardown(void **state) {
    bh_redis_link_stop(&fx.link);
    fake_stop(&fx.fake);
    bh_loop_free(fx.loop);
    return 0;
}

static void start(void) {
    bh_redis_link_start(&fx.link, fx.loop, &fx.config, "test", &callbacks, NULL);
}

#define UNTIL(condition) TICK_UNTIL(fx.loop, fake_pump(&fx.fake) && (condition))

static void test_the_second_one_listens(void **state) {
    hosts[0] = "127.0.0.9";
    hosts[1] = "127.0.0.1";
    start();
    UNTIL(fx.ups == 1);
    assert_int_equal(fx.failures, 0); /* it was one attempt */
    assert_int_equal(fx.link.attempts, 0);
}

static void test_the_first_one_is_silent(void **state) {
    int deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(fx.fake.port)};
    inet_pton(AF_INET, "127.0.0.9", &at.sin_addr);
    assert_int_equal(bind(deaf, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(deaf, 4), 0);
    fx.config.connect_timeout_ms = 400;
    hosts[0] = "127.0.0.9";
    hosts[1] = "127.0.0.1";
    start();
    UNTIL(fx.ups == 1 || fx.failures);
    assert_int_equal(fx.failures, 0);
    close(deaf);
}

static void test_nobody_listens(void **state) {
    hosts[0] = "127.0.0.9";
    hosts[1] = "127.0.0.8";
    hosts[2] = "127.0.0.7";
    start();
    UNTIL(fx.failures == 2);
    assert_int_equal(fx.link.attempts, 2);
    hosts[2] = "127.0.0.1";
    UNTIL(fx.ups == 1);
}

static void test_a_rejection_moves_on(void **state) {
    hosts[0] = hosts[1] = "127.0.0.1";
    fx.fake.handshake = "+OK\r\n-LOADING Redis is loading the dataset in memory\r\n";
    start();
    UNTIL(fx.fake.accepted == 2);
    assert_int_equal(fx.failures, 0);
    UNTIL(fx.failures == 1);
    fx.fake.handshake = FAKE_GOOD;
    UNTIL(fx.ups == 1);
}

static void test_a_lost_link_returns_to_its_address(void **state) {
    hosts[0] = "127.0.0.9";
    hosts[1] = "127.0.0.1";
    start();
    UNTIL(fx.ups == 1);
    fake_hang_up(&fx.fake);
    UNTIL(fx.downs == 1 && fx.link.state == BH_REDIS_CONNECTING);
    assert_int_equal(bh_redis_addresses_left(&fx.link.addresses), 1);
    UNTIL(fx.ups == 2);
    assert_int_equal(bh_redis_addresses_left(&fx.link.addresses), 1); /* 127.0.0.9 */
}

static void test_stop_between_addresses(void **state) {
    hosts[0] = "127.0.0.9";
    hosts[1] = "127.0.0.8";
    start();
    UNTIL(fx.link.state == BH_REDIS_BACKOFF);
    bh_redis_link_stop(&fx.link);
    assert_int_equal(fx.link.state, BH_REDIS_IDLE);
    bh_loop_tick(fx.loop, false);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_in_turn),
        cmocka_unit_test(test_begins_behind_the_failed_one),
        cmocka_unit_test(test_begins_with_the_one_that_served),
        T(test_the_second_one_listens),
        T(test_the_first_one_is_silent),
        T(test_nobody_listens),
        T(test_a_rejection_moves_on),
        T(test_a_lost_link_returns_to_its_address),
        T(test_stop_between_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
