/* test_sentinel.c - a link that asks Sentinels for the master, and the watch over them; both sides
 * are fakes. */
#include "fake_redis.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "link/failover.h"

#define ROLE_MASTER  "+OK\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n+PONG\r\n"
#define ROLE_REPLICA "+OK\r\n*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$4\r\nsync\r\n:0\r\n+PONG\r\n"

struct fixture {
    struct bh_loop *loop;
    struct fake_redis sentinel, second, redis;
    struct bh_redis_config config;
    char list[128];
    struct bh_redis_link link;
    struct bh_redis_failover failover;
    unsigned ups, downs;
    const char *answer; /* of `sentinel`, to get-master-addr-by-name */
    char address[64];   /* the default answer */
};

static struct fixture *fx;

static void on_up(struct bh_redis_link *link) {
    fx->ups++;
}

static void on_down(struct bh_redis_link *link) {
    fx->downs++;
}

static const struct bh_redis_link_callbacks callbacks = {.on_up = on_up, .on_down = on_down};

static int setup(void **state) {
    fx = bh_calloc(1, sizeof *fx);
    fx->loop = bh_loop_new();
    fake_start(&fx->sentinel);
    fake_start(&fx->second);
    fake_start(&fx->redis);
    fx->sentinel.handshake = fx->second.handshake = FAKE_GOOD;
    fx->redis.handshake = ROLE_MASTER;
    snprintf(fx->list, sizeof fx->list, "127.0.0.1:%u", fx->sentinel.port);
    snprintf(fx->address, sizeof fx->address, "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%05u\r\n",
             fx->redis.port);
    fx->answer = fx->address;
    fx->config = (struct bh_redis_config){.sentinels = fx->list,
                                          .master = "mymaster",
                                          .channel_prefix = "notification:",
                                          .instance = "test",
                                          .connect_timeout_ms = 2000,
                                          .command_timeout_ms = 2000,
                                          .probe_ms = 500,
                                          .backoff_min_ms = 4,
                                          .backoff_max_ms = 32};
    bh_redis_failover_init(&fx->failover, &fx->config);
    return 0;
}

static int teardown(void **state) {
    bh_redis_failover_stop(&fx->failover);
    bh_redis_link_stop(&fx->link);
    bh_redis_failover_deinit(&fx->failover);
    fake_stop(&fx->sentinel);
    fake_stop(&fx->second);
    fake_stop(&fx->redis);
    bh_loop_tick(fx->loop, false);
    bh_loop_free(fx->loop);
    bh_free(fx);
    return 0;
}

static void start(void) {
    bh_redis_link_start(&fx->link, fx->loop, &fx->config, "test", &callbacks,
                        bh_redis_failover_locator(&fx->failover, fx->loop));
}

/* Always true. */
static bool pump_sentinel(struct fake_redis *f) {
    fake_pump(f);
    if (f->shaken && fake_heard(f, "get-master-addr-by-name\r\n$8\r\nmymaster\r\n")) {
        bh_bytes_clear(&f->in);
        fake_say(f, bh_slice_cstr(fx->answer));
    }
    return true;
}

static bool pump(void) {
    return pump_sentinel(&fx->sentinel) && pump_sentinel(&fx->second) && fake_pump(&fx->redis);
}

static bool is_ready(void) {
    return bh_redis_link_is_ready(&fx->link);
}

/* --- asking --- */

static void test_finds_the_master(void **state) {
    start();
    assert_int_equal(fx->link.state, BH_REDIS_ASKING);
    TICK_UNTIL(fx->loop, pump() && is_ready());
    assert_int_equal(fx->sentinel.accepted, 1);
    assert_int_equal(fx->redis.accepted, 1);
    TICK_UNTIL(fx->loop, pump() && fx->sentinel.fd < 0); /* the link has closed it */
    fake_hang_up(&fx->redis);
    TICK_UNTIL(fx->loop, pump() && fx->ups == 2);
    assert_int_equal(fx->sentinel.accepted, 2);
}

static void test_each_has_its_own_password(void **state) {
    fx->config.user = "joe";
    fx->config.password = "redis-secret";
    fx->config.sentinel_password = "sentinel-secret";
    fx->sentinel.handshake = fx->redis.handshake = NULL;
    start();
    TICK_UNTIL(fx->loop, pump() && fake_heard(&fx->sentinel, "PING"));
    assert_int_equal(fake_heard(&fx->sentinel, "AUTH\r\n$15\r\nsentinel-secret\r\n"), 1);
    assert_int_equal(fake_heard(&fx->sentinel, "redis-secret"), 0);
    assert_int_equal(fake_heard(&fx->sentinel, "ROLE"), 0);
    fx->sentinel.handshake = "+OK\r\n" FAKE_GOOD;
    TICK_UNTIL(fx->loop, pump() && fake_heard(&fx->redis, "PING"));
    assert_int_equal(fake_heard(&fx->redis, "joe\r\n$12\r\nredis-secret\r\n"), 1);
    assert_int_equal(fake_heard(&fx->redis, "sentinel-secret"), 0);
    assert_int_equal(fake_heard(&fx->redis, "ROLE"), 1);
}

/* None of these is an address; then a valid answer follows. */
static void test_bad_answers(void **state) {
    static const char *const bad[] = {
        "*-1\r\n",
        "$-1\r\n",
        "-ERR No such master with that name\r\n",
        "-NOPERM this user has no permissions\r\n",
        ":5\r\n",
        "*0\r\n",
        "*1\r\n$1\r\na\r\n",
        "*2\r\n:1\r\n:2\r\n",
        "*2\r\n$0\r\n\r\n$4\r\n6379\r\n",
        "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n",
        "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n65536\r\n",
        "*2\r\n$9\r\n127.0.0.1\r\n$2\r\n-1\r\n",
        "*2\r\n$9\r\n127.0.0.1\r\n$1\r\nx\r\n",
        "!\r\n",
    };
    start();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        unsigned before = fx->sentinel.accepted;
        fx->answer = bad[i];
        TICK_UNTIL(fx->loop, pump() && fx->sentinel.accepted >= before + 2);
        assert_int_equal(fx->redis.accepted, 0);
        assert_int_equal(fx->link.state, BH_REDIS_ASKING);
    }
    fx->answer = fx->address;
    TICK_UNTIL(fx->loop, pump() && is_ready());
}

static void test_name_with_a_nul(void **state) {
    start();
    TICK_UNTIL(fx->loop, fake_pump(&fx->sentinel) && fake_heard(&fx->sentinel, "mymaster\r\n"));
    fake_say(&fx->sentinel, BH_SLICE("*2\r\n$11\r\n127.0.0.1\0x\r\n$4\r\n6379\r\n"));
    TICK_UNTIL(fx->loop, pump() && fx->sentinel.accepted == 2);
    assert_null(fx->link.host);
}

static void test_answer_byte_by_byte(void **state) {
    start();
    TICK_UNTIL(fx->loop, fake_pump(&fx->sentinel) && fake_heard(&fx->sentinel, "mymaster\r\n"));
    for (const char *p = fx->address; *p; p++) {
        fake_say(&fx->sentinel, bh_slice(p, 1));
        bh_loop_tick(fx->loop, false);
    }
    TICK_UNTIL(fx->loop, pump() && is_ready());
}

/* Several rounds, because the link starts with either of the two. */
static void check_finds_it_by_the_second(uint16_t first) {
    snprintf(fx->list, sizeof fx->list, "127.0.0.1:%u,127.0.0.1:%u", first, fx->second.port);
    for (unsigned round = 1; round <= 6; round++) {
        start();
        TICK_UNTIL(fx->loop, fake_pump(&fx->sentinel) && pump_sentinel(&fx->second) &&
                                 fake_pump(&fx->redis) && is_ready());
        assert_int_equal(fx->second.accepted, round);
        bh_redis_link_stop(&fx->link);
        TICK_UNTIL(fx->loop, pump() && fx->redis.fd < 0 && fx->second.fd < 0);
    }
}

static void test_one_that_is_down(void **state) {
    check_finds_it_by_the_second(test_free_port());
}

static void test_one_that_is_silent(void **state) {
    fx->config.connect_timeout_ms = 60;
    fx->sentinel.handshake = NULL;
    check_finds_it_by_the_second(fx->sentinel.port);
}

static void test_one_that_is_silent_when_asked(void **state) {
    fx->config.command_timeout_ms = 60;
    check_finds_it_by_the_second(fx->sentinel.port);
}

static void test_a_replica_is_rejected(void **state) {
    fx->redis.handshake = ROLE_REPLICA;
    start();
    TICK_UNTIL(fx->loop, pump() && fx->redis.accepted >= 3);
    assert_int_equal(fx->ups, 0);
    assert_true(fx->sentinel.accepted >= 3); /* asked again each time */
    assert_non_null(strstr(atomic_load(&fx->link.down_reason), "not a master"));
    fx->redis.handshake = ROLE_MASTER;
    TICK_UNTIL(fx->loop, pump() && is_ready());
    assert_null(atomic_load(&fx->link.down_reason));
}

static void test_role_not_permitted(void **state) {
    fx->redis.handshake = "+OK\r\n-NOPERM this user has no permissions to run 'role'\r\n+PONG\r\n";
    start();
    TICK_UNTIL(fx->loop, pump() && fx->redis.accepted >= 2);
    assert_int_equal(fx->ups, 0);
    assert_non_null(strstr(atomic_load(&fx->link.down_reason), "permission"));
}

static void test_stop_while_asking(void **state) {
    start();
    TICK_UNTIL(fx->loop, fake_pump(&fx->sentinel) && fake_heard(&fx->sentinel, "mymaster\r\n"));
    bh_redis_link_stop(&fx->link);
    fake_say(&fx->sentinel, bh_slice_cstr(fx->address));
    TICK_UNTIL(fx->loop, fake_pump(&fx->sentinel) && fx->sentinel.fd < 0);
    assert_int_equal(fx->redis.accepted, 0);
}

/* --- the watch --- */

/* `sentinel` answers the link, and `second` is watched: a fake has one connection. */
static void start_watched(void) {
    start();
    TICK_UNTIL(fx->loop, pump() && is_ready() && fx->sentinel.fd < 0);
    snprintf(fx->list, sizeof fx->list, "127.0.0.1:%u", fx->second.port);
    bh_redis_failover_start(&fx->failover, fx->loop);
    TICK_UNTIL(fx->loop, fake_pump(&fx->second) && fake_heard(&fx->second, "+switch-master\r\n"));
    assert_int_equal(fake_heard(&fx->second, "get-master-addr-by-name\r\n$8\r\nmymaster\r\n"), 1);
    bh_bytes_clear(&fx->second.in);
    snprintf(fx->list, sizeof fx->list, "127.0.0.1:%u", fx->sentinel.port);
}

static void say_subscribed(void) {
    fake_say(&fx->second, BH_SLICE("*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"));
}

static void say_switch(const char *text) {
    char bytes[256];
    int n = snprintf(bytes, sizeof bytes,
                     "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$%zu\r\n%s\r\n", strlen(text),
                     text);
    fake_say(&fx->second, bh_slice(bytes, (size_t)n));
}

static void test_moves_at_once(void **state) {
    struct fake_redis other;
    char text[128];
    fake_start(&other);
    other.handshake = ROLE_MASTER;
    start_watched();
    fake_say(&fx->second, bh_slice_cstr(fx->address));
    say_subscribed();
    for (int i = 0; i < 5; i++)
        bh_loop_tick(fx->loop, false);
    assert_true(is_ready()); /* it is there already */
    unsigned asked = fx->sentinel.accepted;
    snprintf(text, sizeof text, "mymaster 127.0.0.1 %u 127.0.0.1 %u", fx->redis.port, other.port);
    say_switch(text);
    TICK_UNTIL(fx->loop, fake_pump(&fx->second) && fake_pump(&other) && fx->ups == 2);
    assert_int_equal(fx->downs, 1);
    assert_int_equal(fx->sentinel.accepted, asked);
    assert_int_equal(fx->link.port, other.port);
    say_switch(text); /* a repetition has no effect */
    for (int i = 0; i < 5; i++)
        bh_loop_tick(fx->loop, false);
    assert_true(is_ready());
    fake_stop(&other);
}

/* The watch finds a Sentinel with newer data than the one that the link asked. */
static void test_moves_to_what_a_new_watch_hears(void **state) {
    struct fake_redis other;
    fake_start(&other);
    other.handshake = ROLE_MASTER;
    start_watched();
    snprintf(fx->address, sizeof fx->address, "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%05u\r\n",
             other.port);
    fake_say(&fx->second, bh_slice_cstr(fx->address));
    TICK_UNTIL(fx->loop, fake_pump(&fx->second) && fake_pump(&other) && fx->ups == 2);
    fake_stop(&other);
}

static void test_ends_the_pause(void **state) {
    char text[128];
    fx->config.backoff_max_ms = fx->config.backoff_min_ms = 60000;
    start_watched();
    fake_hang_up(&fx->redis);
    TICK_UNTIL(fx->loop, fx->downs == 1);
    assert_int_equal(fx->link.state, BH_REDIS_BACKOFF);
    fx->config.backoff_min_ms = 4;
    snprintf(text, sizeof text, "mymaster x 1 127.0.0.1 %u", fx->redis.port);
    fake_say(&fx->second, BH_SLICE("*2\r\n$1\r\nx\r\n$1\r\n1\r\n"));
    say_switch(text);
    TICK_UNTIL(fx->loop, pump() && fx->ups == 2);
}

static void test_malformed_news(void **state) {
    static const char *const strange[] = {"othermaster 1.1.1.1 1 127.0.0.1 1",
                                          "mymaster 1.1.1.1 1 127.0.0.1", "mymaster", "",
                                          "mymaster2 1.1.1.1 1 127.0.0.1 1"};
    static const char *const fatal[] = {"mymaster 1.1.1.1 1 127.0.0.1 0",
                                        "mymaster 1.1.1.1 1 127.0.0.1 65536",
                                        "mymaster 1.1.1.1 1  1", "mymaster 1.1.1.1 1 a 1 1"};
    start_watched();
    fake_say(&fx->second, bh_slice_cstr(fx->address));
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        say_switch(strange[i]);
    for (int i = 0; i < 10; i++)
        bh_loop_tick(fx->loop, false);
    fake_pump(&fx->second);
    assert_true(fx->second.fd >= 0);
    snprintf(fx->list, sizeof fx->list, "127.0.0.1:%u", fx->second.port);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        unsigned before = fx->second.accepted;
        say_switch(fatal[i]); /* drops that Sentinel */
        TICK_UNTIL(fx->loop,
                   pump_sentinel(&fx->second) && fx->second.accepted > before && fx->second.shaken);
    }
    assert_int_equal(fx->downs, 0);
}

static void test_silent_watch_is_dropped(void **state) {
    fx->config.command_timeout_ms = 250;
    fx->config.probe_ms = 60000;
    start_watched();
    snprintf(fx->list, sizeof fx->list, "127.0.0.1:%u", fx->second.port);
    fake_say(&fx->second, bh_slice_cstr(fx->address));
    say_subscribed();
    TICK_UNTIL(fx->loop, fake_pump(&fx->second) && fake_heard(&fx->second, "PING\r\n"));
    fake_say(&fx->second, BH_SLICE("*2\r\n$4\r\npong\r\n$0\r\n\r\n"));
    bh_bytes_clear(&fx->second.in);
    TICK_UNTIL(fx->loop, fake_pump(&fx->second) && fake_heard(&fx->second, "PING\r\n"));
    assert_int_equal(fx->second.accepted, 1);
    TICK_UNTIL(fx->loop, fake_pump(&fx->second) && fx->second.accepted == 2);
}

static void test_stop_with_news_under_way(void **state) {
    struct bh_redis_link *link = &fx->link;
    char text[128];
    start_watched();
    fake_say(&fx->second, bh_slice_cstr(fx->address));
    snprintf(text, sizeof text, "mymaster x 1 127.0.0.1 %u", fx->second.port);
    say_switch(text);
    TICK_UNTIL(fx->loop, fx->failover.master.port == fx->second.port);
    bh_redis_link_stop(link);
    memset(link, 0xee, sizeof *link); /* freed, as far as the code may know */
    for (int i = 0; i < 5; i++)
        bh_loop_tick(fx->loop, false);
    memset(link, 0, sizeof *link);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_finds_the_master),
        T(test_each_has_its_own_password),
        T(test_bad_answers),
        T(test_name_with_a_nul),
        T(test_answer_byte_by_byte),
        T(test_one_that_is_down),
        T(test_one_that_is_silent),
        T(test_one_that_is_silent_when_asked),
        T(test_a_replica_is_rejected),
        T(test_role_not_permitted),
        T(test_stop_while_asking),
        T(test_moves_at_once),
        T(test_moves_to_what_a_new_watch_hears),
        T(test_ends_the_pause),
        T(test_malformed_news),
        T(test_silent_watch_is_dropped),
        T(test_stop_with_news_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
