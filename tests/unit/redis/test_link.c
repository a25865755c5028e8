/* test_link.c - one link against servers that misbehave. */
#include "fake_redis.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"

#include "link/commands.h"
#include "link/link.h"

struct fixture {
    struct bh_loop *loop;
    struct fake_redis fake;
    struct bh_redis_config config;
    struct bh_redis_link link;
    unsigned ups, downs;
};

static struct fixture *fx;

static void on_up(struct bh_redis_link *link) {
    fx->ups++;
}

static void on_down(struct bh_redis_link *link) {
    fx->downs++;
    assert_int_equal(link->pending.count, 0);
}

static const struct bh_redis_link_callbacks callbacks = {.on_up = on_up, .on_down = on_down};

static int setup(void **state) {
    fx = bh_calloc(1, sizeof *fx);
    fx->loop = bh_loop_new();
    fake_start(&fx->fake);
    fx->config = (struct bh_redis_config){.host = "127.0.0.1",
                                          .port = fx->fake.port,
                                          .channel_prefix = "notification:",
                                          .instance = "test",
                                          .connect_timeout_ms = 2000,
                                          .command_timeout_ms = 2000,
                                          .probe_ms = 500,
                                          .backoff_min_ms = 4,
                                          .backoff_max_ms = 32};
    return 0;
}

static int teardown(void **state) {
    bh_redis_link_stop(&fx->link);
    fake_stop(&fx->fake);
    bh_clock_real();
    bh_loop_free(fx->loop);
    bh_free(fx);
    return 0;
}

static void start(void) {
    bh_redis_link_start(&fx->link, fx->loop, &fx->config, "test", &callbacks, NULL);
}

static void start_well(void) {
    fx->fake.handshake = FAKE_GOOD;
    start();
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && bh_redis_link_is_ready(&fx->link));
}

/* On the fake clock, which the test moves. */
#define TICK(condition)                                                                            \
    do {                                                                                           \
        uint64_t until = test_now_ms() + TEST_DEADLINE_MS;                                         \
        while (fake_pump(&fx->fake) && !(condition)) {                                             \
            if (test_now_ms() > until)                                                             \
                fail_msg("not within %d ms: %s", TEST_DEADLINE_MS, #condition);                    \
            bh_loop_tick(fx->loop, false);                                                         \
        }                                                                                          \
    } while (0)

/* --- completions --- */

struct done {
    unsigned count;
    int error;
    int64_t integer;
    char text[64];
};

static void on_done(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct done *d = ud;
    d->count++;
    d->error = error;
    assert_int_equal(handle, 77);
    assert_true((error == 0) == (reply != NULL));
    if (reply && reply->type == BH_REPLY_INTEGER)
        d->integer = reply->integer;
    if (reply && reply->str.p)
        snprintf(d->text, sizeof d->text, "%s", reply->str.p);
}

static void command(struct done *d, const char *word) {
    struct bh_slice argv[] = {bh_slice_cstr(word), BH_SLICE("key")};
    bh_redis_command(&fx->link, 2, argv, on_done, d, 77);
}

/* --- up and down --- */

static void test_commands_complete_in_order(void **state) {
    struct done a = {0}, b = {0};
    start_well();
    assert_int_equal(fx->ups, 1);
    command(&a, "GET");
    command(&b, "INCR");
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fake_heard(&fx->fake, "INCR"));
    assert_true(
        bh_slice_eq(bh_bytes_slice(&fx->fake.in), BH_SLICE("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"
                                                           "*2\r\n$4\r\nINCR\r\n$3\r\nkey\r\n")));
    fake_say(&fx->fake, BH_SLICE("$3\r\nabc\r\n:4"));
    TICK_UNTIL(fx->loop, a.count);
    assert_string_equal(a.text, "abc");
    assert_int_equal(b.count, 0);
    fake_say(&fx->fake, BH_SLICE("2\r\n"));
    TICK_UNTIL(fx->loop, b.count);
    assert_int_equal(b.integer, 42);
    assert_int_equal(a.count, 1);
}

static void test_garbage(void **state) {
    fx->fake.greeting = "HTTP/1.1 400 Bad Request\r\n\r\n";
    start();
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fx->fake.accepted >= 4);
    assert_int_equal(fx->ups, 0);
    assert_int_equal(fx->downs, 0);
    assert_true(fx->link.attempts >= 3);
}

static void test_silence_while_connecting(void **state) {
    fx->config.connect_timeout_ms = 40;
    start();
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fx->fake.accepted >= 3);
    assert_int_equal(fx->ups, 0);
}

static void test_connection_refused(void **state) {
    close(fx->fake.listener);
    fx->fake.listener = -1;
    start();
    TICK_UNTIL(fx->loop, fx->link.attempts >= 4);
    assert_int_equal(fx->ups, 0);
}

static void test_no_such_socket(void **state) {
    fx->config.unix_path = "/nonexistent/redis.sock";
    start();
    TICK_UNTIL(fx->loop, fx->link.attempts >= 4);
}

static void test_stop_while_resolving(void **state) {
    fx->config.host = "bellhop-no-such-host.invalid";
    start();
    assert_int_equal(fx->link.state, BH_REDIS_RESOLVING);
    bh_redis_link_stop(&fx->link);
    assert_int_equal(fx->link.state, BH_REDIS_IDLE);
    bh_loop_tick(fx->loop, false);
}

static void test_backoff_is_capped_and_jittered(void **state) {
    bool differs = false;
    uint64_t first = 0;
    close(fx->fake.listener);
    fx->fake.listener = -1;
    fx->config.backoff_min_ms = 8;
    start();
    for (unsigned n = 1; n <= 8; n++) {
        TICK_UNTIL(fx->loop, fx->link.attempts == n && fx->link.state == BH_REDIS_BACKOFF);
        uint64_t now = bh_loop_now(fx->loop), due = fx->link.timer.due_ms;
        assert_true(due <= now + 32);
        if (n > 3 && !first)
            first = due - now;
        differs |= n > 3 && due - now != first;
    }
    assert_true(differs);
}

/* On the fake clock. A recovery ends the back-off, even if the next fault follows soon. */
static void test_a_fault_soon_after_a_recovery(void **state) {
    fx->config.backoff_min_ms = 50;
    fx->config.backoff_max_ms = 5000;
    fx->fake.greeting = "-ERR max number of clients reached\r\n";
    bh_clock_fake(100000, 0);
    start();
    for (unsigned n = 1; n <= 8; n++) {
        TICK(fx->link.state == BH_REDIS_BACKOFF && fx->link.attempts == n);
        bh_clock_fake_advance(5000);
    }
    fx->fake.greeting = NULL;
    fx->fake.handshake = FAKE_GOOD;
    TICK(fx->ups == 1);
    for (unsigned n = 1; n <= 3; n++) {
        bh_clock_fake_advance(1000);
        fake_hang_up(&fx->fake);
        TICK(fx->downs == n);
        assert_int_equal(fx->link.attempts, 1);
        assert_true(fx->link.timer.due_ms <= bh_clock_ms() + 50);
        bh_clock_fake_advance(50);
        TICK(fx->ups == n + 1);
    }
}

/* As a replica does: it answers the handshake, and then rejects what the link is for. */
static void test_rejections_back_off(void **state) {
    struct done d = {0};
    fx->config.backoff_min_ms = 50;
    fx->config.backoff_max_ms = 5000;
    bh_clock_fake(100000, 0);
    fx->fake.handshake = FAKE_GOOD;
    start();
    for (unsigned n = 1; n <= 4; n++) {
        TICK(fx->ups == n);
        command(&d, "GET");
        TICK(fake_heard(&fx->fake, "GET"));
        fake_say(&fx->fake, BH_SLICE("-READONLY You can't write against a read only replica.\r\n"));
        TICK(fx->downs == n);
        assert_int_equal(fx->link.attempts, n);
        bh_clock_fake_advance(5000);
    }
}

static void test_loading_is_not_up(void **state) {
    fx->fake.handshake = "+OK\r\n-LOADING Redis is loading the dataset in memory\r\n";
    start();
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fx->fake.accepted == 3);
    assert_int_equal(fx->ups, 0);
    fx->fake.handshake = FAKE_GOOD;
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fx->ups == 1);
}

static void test_unasked_answer(void **state) {
    start_well();
    fake_say(&fx->fake, BH_SLICE("+surprise\r\n"));
    TICK_UNTIL(fx->loop, fx->downs == 1);
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fx->ups == 2);
}

/* --- commands --- */

static void test_closed_within_a_reply(void **state) {
    struct done sent = {0}, unsent = {0};
    start_well();
    command(&sent, "GET");
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fake_heard(&fx->fake, "GET"));
    fake_say(&fx->fake, BH_SLICE("$10\r\nabc"));
    fake_hang_up(&fx->fake);
    command(&unsent, "GET");
    bh_redis_link_drop(&fx->link, BH_EIO, "test");
    assert_int_equal(sent.count, 1);
    assert_int_equal(sent.error, BH_EIO);
    assert_int_equal(unsent.count, 1);
    assert_int_equal(unsent.error, BH_EUNAVAIL);
    command(&unsent, "GET");
    assert_int_equal(unsent.count, 2);
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fx->ups == 2);
    assert_int_equal(sent.count, 1);
}

static void test_eof_within_a_reply(void **state) {
    struct done d = {0};
    start_well();
    command(&d, "GET");
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fake_heard(&fx->fake, "GET"));
    fake_say(&fx->fake, BH_SLICE("*2\r\n$10\r\nabc"));
    fake_hang_up(&fx->fake);
    TICK_UNTIL(fx->loop, d.count);
    assert_int_equal(d.error, BH_EIO);
    assert_int_equal(fx->downs, 1);
}

static void test_huge_announced_length(void **state) {
    struct done d = {0};
    fx->config.command_timeout_ms = 60;
    start_well();
    command(&d, "GET");
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fake_heard(&fx->fake, "GET"));
    fake_say(&fx->fake, BH_SLICE("$9223372036854775000\r\nabc"));
    TICK_UNTIL(fx->loop, d.count);
    assert_int_equal(d.error, BH_ETIMEDOUT);
    assert_int_equal(d.count, 1);
}

static void test_garbage_instead_of_a_reply(void **state) {
    struct done d = {0};
    start_well();
    command(&d, "GET");
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fake_heard(&fx->fake, "GET"));
    fake_say(&fx->fake, BH_SLICE("!!\r\n"));
    TICK_UNTIL(fx->loop, d.count);
    assert_int_equal(d.error, BH_EIO);
}

static void test_silence_on_an_idle_link(void **state) {
    fx->config.command_timeout_ms = 50;
    fx->config.probe_ms = 20;
    start_well();
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fx->downs == 1);
    assert_true(fx->fake.accepted == 1);
}

static void test_ping_keeps_an_idle_link(void **state) {
    fx->config.command_timeout_ms = 1000;
    fx->config.probe_ms = 10;
    start_well();
    for (int i = 0; i < 5; i++) {
        TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fake_heard(&fx->fake, "PING"));
        bh_bytes_clear(&fx->fake.in);
        fake_say(&fx->fake, BH_SLICE("+PONG\r\n"));
    }
    assert_int_equal(fx->downs, 0);
}

static void test_queue_is_bounded(void **state) {
    struct done d = {0};
    size_t n = 1024 * 1024, taken = 0;
    char *value = bh_calloc(1, n);
    struct bh_slice argv[] = {BH_SLICE("SET"), BH_SLICE("key"), bh_slice(value, n)};
    fx->config.command_timeout_ms = 60000; /* more than the test needs on a busy machine */
    start_well();
    fx->fake.deaf = true;
    while (d.count == 0) {
        bh_redis_command(&fx->link, 3, argv, on_done, &d, 77);
        bh_loop_tick(fx->loop, false);
        assert_true(++taken < 200);
    }
    assert_int_equal(d.error, BH_EUNAVAIL);
    assert_true(taken > 60);
    assert_true(fx->link.out.len - fx->link.out_head <= BH_REDIS_OUT_MAX);
    bh_redis_link_drop(&fx->link, BH_EIO, "test");
    assert_int_equal(d.count, taken);
    bh_free(value);
}

static void test_slow_reader_gets_everything(void **state) {
    struct done d = {0};
    size_t n = 256 * 1024;
    char *value = bh_malloc(n);
    memset(value, 'v', n);
    struct bh_slice argv[] = {BH_SLICE("SET"), BH_SLICE("key"), bh_slice(value, n)};
    start_well();
    fx->fake.deaf = true;
    for (int i = 0; i < 64; i++) {
        bh_redis_command(&fx->link, 3, argv, on_done, &d, 77);
        bh_loop_tick(fx->loop, false);
    }
    assert_true(fx->link.stream.writing);
    fx->fake.deaf = false;
    size_t each = strlen("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$262144\r\n") + n + 2;
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fx->fake.in.len == 64 * each);
    for (int i = 0; i < 64; i++) {
        assert_memory_equal(fx->fake.in.p + (size_t)i * each, "*3\r\n$3\r\nSET\r\n", 13);
        fake_say(&fx->fake, BH_SLICE("+OK\r\n"));
    }
    TICK_UNTIL(fx->loop, d.count == 64);
    assert_int_equal(fx->link.out.len, 0);
    assert_true(fx->link.out.cap <= 1024 * 1024);
    bh_free(value);
}

static void stop_inside(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    (*(unsigned *)ud)++;
    bh_redis_link_stop(&fx->link);
}

static void test_stop_inside_a_completion(void **state) {
    unsigned count = 0;
    struct done d = {0};
    struct bh_slice argv[] = {BH_SLICE("GET"), BH_SLICE("key")};
    start_well();
    bh_redis_command(&fx->link, 2, argv, stop_inside, &count, 77);
    command(&d, "GET");
    TICK_UNTIL(fx->loop, fake_pump(&fx->fake) && fake_heard(&fx->fake, "GET") == 2);
    fake_say(&fx->fake, BH_SLICE("$1\r\na\r\n$1\r\nb\r\n"));
    TICK_UNTIL(fx->loop, count == 1);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EIO);
    assert_int_equal(fx->link.state, BH_REDIS_IDLE);
    assert_int_equal(fx->downs, 0);
}

static void test_stop_inside_a_drop(void **state) {
    unsigned count = 0;
    struct done d = {0};
    struct bh_slice argv[] = {BH_SLICE("GET"), BH_SLICE("key")};
    start_well();
    bh_redis_command(&fx->link, 2, argv, stop_inside, &count, 77);
    command(&d, "GET");
    bh_redis_link_drop(&fx->link, BH_EIO, "test");
    assert_int_equal(count, 1);
    assert_int_equal(d.count, 1);
    assert_int_equal(fx->link.state, BH_REDIS_IDLE);
}

static void again(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    if (++*(unsigned *)ud < 3)
        bh_redis_command(&fx->link, 1, (struct bh_slice[]){BH_SLICE("TIME")}, again, ud, 77);
}

static void test_retry_inside_a_drop(void **state) {
    unsigned count = 0;
    start_well();
    bh_redis_command(&fx->link, 1, (struct bh_slice[]){BH_SLICE("TIME")}, again, &count, 77);
    bh_redis_link_drop(&fx->link, BH_EIO, "test");
    assert_int_equal(count, 3); /* each retry fails at once: the link is down */
}

static void test_stop_sends_what_is_gathered(void **state) {
    struct done d = {0};
    start_well();
    command(&d, "GET");
    bh_redis_link_stop(&fx->link);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EIO);
    char got[64] = "";
    assert_true(recv(fx->fake.fd, got, sizeof got - 1, 0) > 0);
    assert_non_null(strstr(got, "GET"));
}

/* --- refused commands --- */

static void test_refused_commands(void **state) {
    static const char *const refused[] = {"SUBSCRIBE a",
                                          "psubscribe a",
                                          "SSUBSCRIBE a",
                                          "Unsubscribe",
                                          "PUNSUBSCRIBE",
                                          "SUNSUBSCRIBE",
                                          "MONITOR",
                                          "SELECT 1",
                                          "AUTH x",
                                          "HELLO 3",
                                          "QUIT",
                                          "RESET",
                                          "MULTI",
                                          "EXEC",
                                          "DISCARD",
                                          "WATCH a",
                                          "UNWATCH",
                                          "BLPOP a 0",
                                          "brpop a 0",
                                          "BRPOPLPUSH a b 0",
                                          "BLMOVE a b LEFT LEFT 0",
                                          "BLMPOP 0 1 a LEFT",
                                          "BZPOPMIN a 0",
                                          "BZPOPMAX a 0",
                                          "BZMPOP 0 1 a MIN",
                                          "WAIT 1 0",
                                          "WAITAOF 1 1 0",
                                          "CLIENT REPLY OFF",
                                          "client reply skip",
                                          "CLIENT SETNAME x",
                                          "XREAD BLOCK 0 STREAMS a $",
                                          "XREADGROUP GROUP g c COUNT 1 block 5 STREAMS a >",
                                          "SHUTDOWN",
                                          "SYNC",
                                          "PSYNC ? -1",
                                          ""};
    static const char *const allowed[] = {"GET a",
                                          "CLIENT LIST",
                                          "CLIENT",
                                          "XREAD COUNT 1 STREAMS BLOCK 0",
                                          "XREADGROUP GROUP g c STREAMS a >",
                                          "EVAL x 0",
                                          "PUBLISH a b",
                                          "SET SUBSCRIBE 1",
                                          "LPOP a"};
    for (size_t pass = 0; pass < 2; pass++) {
        size_t count = pass ? sizeof allowed / sizeof *allowed : sizeof refused / sizeof *refused;
        for (size_t i = 0; i < count; i++) {
            const char *text = pass ? allowed[i] : refused[i];
            struct bh_slice rest = bh_slice_cstr(text), argv[16];
            size_t argc = 0;
            while (rest.n && bh_slice_split(&rest, ' ', &argv[argc]))
                argc++;
            if (!bh_redis_command_refused(argc, argv) != (pass == 1))
                fail_msg("%s", text);
        }
    }
    struct done d = {0};
    start_well();
    command(&d, "SUBSCRIBE");
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, 0);
    assert_non_null(strstr(d.text, "SUBSCRIBE was not sent: it changes the connection"));
}

/* --- no password in the log --- */

static void test_password_is_never_logged(void **state) {
    char text[16384] = "";
    FILE *log = tmpfile();
    int saved = dup(STDERR_FILENO);
    dup2(fileno(log), STDERR_FILENO);
    fx->config.password = "hunter2";
    fx->fake.handshake =
        "-ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n+OK\r\n"
        "+PONG\r\n";
    start();
    while (fx->fake.accepted < 3) {
        fake_pump(&fx->fake);
        bh_loop_tick(fx->loop, false);
    }
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(log);
    size_t n = fread(text, 1, sizeof text - 1, log);
    fclose(log);
    assert_true(n > 0);
    assert_non_null(strstr(text, "AUTH rejected by Redis"));
    assert_null(strstr(text, "hunter2"));
    assert_int_equal(fx->ups, 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_commands_complete_in_order),
        T(test_garbage),
        T(test_silence_while_connecting),
        T(test_connection_refused),
        T(test_no_such_socket),
        T(test_stop_while_resolving),
        T(test_backoff_is_capped_and_jittered),
        T(test_a_fault_soon_after_a_recovery),
        T(test_rejections_back_off),
        T(test_loading_is_not_up),
        T(test_unasked_answer),
        T(test_closed_within_a_reply),
        T(test_eof_within_a_reply),
        T(test_huge_announced_length),
        T(test_garbage_instead_of_a_reply),
        T(test_silence_on_an_idle_link),
        T(test_ping_keeps_an_idle_link),
        T(test_queue_is_bounded),
        T(test_slow_reader_gets_everything),
        T(test_stop_inside_a_completion),
        T(test_stop_inside_a_drop),
        T(test_retry_inside_a_drop),
        T(test_stop_sends_what_is_gathered),
        T(test_refused_commands),
        T(test_password_is_never_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
