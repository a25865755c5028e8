/* test_holds.c - what is charged, who is closed when the budget is exceeded, and deadlines. The
 * connections are holds of the test's own. */
#include "edge_test.h"
#include "unit_test.h"

#include "limits/holds.h"

#define KIB 1024

struct conn {
    struct bh_hold hold;
    char name;
    uint64_t progress;
};

static struct bh_loop *loop;
static struct bh_holds holds;
static char closed[1024], stalled[64]; /* names, in order */
static struct bh_hold *also;           /* ended by the next one that is closed */

static struct conn *of(struct bh_hold *h) {
    return BH_CONTAINER_OF(h, struct conn, hold);
}

static void note(char *list, char name) {
    size_t n = strlen(list);
    list[n] = name;
    list[n + 1] = '\0';
}

static void on_excess(struct bh_hold *h) {
    note(closed, of(h)->name);
    if (also)
        bh_hold_end(also);
    also = NULL;
    bh_hold_end(h);
}

static void on_stalled(struct bh_hold *h) {
    note(stalled, of(h)->name);
    bh_hold_end(h);
}

static uint64_t progress(const struct bh_hold *h) {
    return BH_CONTAINER_OF(h, const struct conn, hold)->progress;
}

static const struct bh_hold_ops ops = {.kind = BH_BUDGET_MESSAGES,
                                       .charges_queue = true,
                                       .on_excess = on_excess,
                                       .on_stalled = on_stalled,
                                       .progress = progress};

static int setup(void **state) {
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    bh_clock_fake(1000, TEST_WALL_MS);
    closed[0] = stalled[0] = '\0';
    loop = bh_loop_new();
    bh_holds_init(&holds, loop, 30000);
    bh_budget_set_limit(1000 * KIB);
    return 0;
}

/* Every test ends its holds. */
static int teardown(void **state) {
    bh_holds_deinit(&holds);
    bh_loop_free(loop);
    bh_clock_real();
    bh_budget_set_limit(0);
    bh_budget_settle();
    return bh_budget_used() == 0 ? 0 : -1;
}

static struct conn *open_as(struct conn *c, char name, const char *user, const char *ip) {
    struct bh_ip address = {0};
    if (ip)
        assert_int_equal(bh_ip_parse(bh_slice_cstr(ip), &address), 0);
    *c = (struct conn){.name = name};
    bh_hold_init(&c->hold, &holds, &ops, bh_hold_owner(bh_slice_cstr(user), &address));
    return c;
}

static void tick(uint64_t ms) {
    bh_clock_fake_advance(ms);
    bh_loop_tick(loop, false);
}

/* An unfinished message of so many KiB, a moment after the one before. */
static void hold(struct conn *c, size_t kib) {
    bh_clock_fake_advance(1);
    bh_hold_wait(&c->hold);
    bh_hold_set(&c->hold, kib * KIB, 0, 0, true);
}

static void end_all(struct conn *conns, size_t count) {
    for (size_t i = 0; i < count; i++)
        bh_hold_end(&conns[i].hold);
}

/* --- the sum --- */

static int64_t used(enum bh_budget_kind kind) {
    bh_budget_settle();
    return bh_budget_used_by(kind);
}

static void each_part_is_charged(void **state) {
    struct conn c;
    open_as(&c, 'a', "u", NULL);
    bh_hold_set(&c.hold, 1, 20, 300, true);
    assert_int_equal(used(BH_BUDGET_MESSAGES), 1);
    assert_int_equal(used(BH_BUDGET_HELD), 20);
    assert_int_equal(used(BH_BUDGET_QUEUES), 300);
    bh_hold_set(&c.hold, 5, 0, 300, true);
    assert_int_equal(used(BH_BUDGET_MESSAGES), 5);
    assert_int_equal(used(BH_BUDGET_HELD), 0);
    bh_hold_end(&c.hold);
    assert_int_equal(used(BH_BUDGET_QUEUES), 0);
    assert_int_equal(bh_budget_used(), 0);
    bh_hold_end(&c.hold);
}

static void a_queue_may_be_charged_elsewhere(void **state) {
    static const struct bh_hold_ops shared = {.kind = BH_BUDGET_BODIES};
    struct bh_hold h;
    bh_hold_init(&h, &holds, &shared, 1);
    bh_hold_set(&h, 7, 0, 300, true);
    assert_int_equal(used(BH_BUDGET_BODIES), 7);
    assert_int_equal(used(BH_BUDGET_QUEUES), 0);
    bh_hold_end(&h);
}

/* --- who is closed --- */

static void nobody_within_the_budget(void **state) {
    struct conn c;
    hold(open_as(&c, 'a', "u", NULL), 1000);
    tick(1);
    tick(1000);
    assert_string_equal(closed, "");
    bh_hold_end(&c.hold);
}

static void the_oldest_of_the_largest_owner(void **state) {
    struct conn c[6];
    hold(open_as(&c[0], 'a', "small", NULL), 300);
    hold(open_as(&c[1], 'b', "large", NULL), 200);
    hold(open_as(&c[2], 'c', "large", NULL), 100);
    hold(open_as(&c[3], 'd', "other", NULL), 250);
    hold(open_as(&c[4], 'e', "large", NULL), 100);
    tick(1);
    assert_string_equal(closed, "");
    hold(open_as(&c[5], 'f', "large", NULL), 100);
    tick(1);
    assert_string_equal(closed, "b");
    end_all(c, COUNT(c));
}

/* One after the other, until there is room; then another owner may be the largest. */
static void until_there_is_room(void **state) {
    struct conn c[10];
    for (int i = 0; i < 8; i++)
        hold(open_as(&c[i], (char)('a' + i), i < 5 ? "large" : "other", NULL), 125);
    hold(open_as(&c[8], 'x', "third", NULL), 240);
    tick(1);
    assert_string_equal(closed, "ab"); /* 625, 375 and 240 */
    hold(open_as(&c[9], 'y', "third", NULL), 250);
    tick(1);
    assert_string_equal(closed, "abx");
    end_all(c, COUNT(c));
}

static void addresses_of_anonymous_clients(void **state) {
    struct conn c[4];
    hold(open_as(&c[0], 'a', "", "10.0.0.1"), 300);
    hold(open_as(&c[1], 'b', "", "2001:db8::1"), 200);
    hold(open_as(&c[2], 'c', "", "2001:db8::2"), 200); /* the same /64 */
    hold(open_as(&c[3], 'd', "10.0.0.1", NULL), 310);  /* a user is no address */
    tick(1);
    assert_string_equal(closed, "b");
    end_all(c, COUNT(c));
}

static void queues_after_messages_the_largest_first(void **state) {
    struct conn c[4];
    const size_t queued[] = {200 * KIB, 500 * KIB, 290 * KIB};
    for (int i = 0; i < 3; i++)
        bh_hold_set(&open_as(&c[i], (char)('a' + i), "u", NULL)->hold, 0, 0, queued[i], true);
    hold(open_as(&c[3], 'm', "u", NULL), 100);
    tick(1);
    assert_string_equal(closed, "m");
    bh_hold_set(&open_as(&c[3], 'n', "v", NULL)->hold, 0, 0, 100 * KIB, true);
    tick(1);
    assert_string_equal(closed, "mb");
    end_all(c, COUNT(c));
}

/* Too small to count for their owner: the oldest of all. */
static void many_small_ones(void **state) {
    static struct conn c[600];
    for (size_t i = 0; i < COUNT(c); i++)
        hold(open_as(&c[i], (char)('a' + i % 26), "u", NULL), 2);
    for (int i = 0; i < 20; i++)
        tick(1);
    assert_int_equal(used(BH_BUDGET_MESSAGES), 1000 * KIB);
    assert_int_equal(strlen(closed), 100);
    assert_memory_equal(closed, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", 52);
    end_all(c, COUNT(c));
}

/* Closing it would not help: the next owner is the largest. */
static void one_that_may_not_be_closed(void **state) {
    struct conn c[3];
    bh_hold_set(&open_as(&c[0], 'a', "u", NULL)->hold, 700 * KIB, 0, 0, false);
    hold(open_as(&c[1], 'b', "v", NULL), 200);
    hold(open_as(&c[2], 'c', "v", NULL), 200);
    tick(1);
    assert_string_equal(closed, "b");
    end_all(c, COUNT(c));
}

static void closing_one_may_end_another(void **state) {
    struct conn c[3];
    for (int i = 0; i < 3; i++)
        hold(open_as(&c[i], (char)('a' + i), "u", NULL), 600);
    also = &c[1].hold;
    tick(1);
    assert_string_equal(closed, "a");
    assert_int_equal(used(BH_BUDGET_MESSAGES), 600 * KIB);
    end_all(c, COUNT(c));
}

/* Another worker has grown, and this one holds what is too much. */
static void the_sweep_sees_it_too(void **state) {
    struct conn c;
    hold(open_as(&c, 'a', "u", NULL), 900);
    tick(1);
    bh_budget_charge(BH_BUDGET_MESSAGES, 200 * KIB);
    tick(1);
    assert_string_equal(closed, "");
    tick(200);
    assert_string_equal(closed, "a");
    bh_budget_charge(BH_BUDGET_MESSAGES, -200 * KIB);
}

static void the_largest_owner_is_elsewhere(void **state) {
    struct bh_holds other;
    struct conn here, there;
    bh_holds_init(&other, loop, 0);
    hold(open_as(&here, 'a', "u", NULL), 300);
    bh_hold_init(&open_as(&there, 'z', "v", NULL)->hold, &other, &ops,
                 bh_hold_owner(BH_SLICE("v"), NULL));
    bh_hold_set(&there.hold, 800 * KIB, 0, 0, true);
    tick(200);
    assert_string_equal(closed, "z"); /* by its own worker, not by this one */
    bh_hold_end(&here.hold);
    bh_holds_deinit(&other);
}

/* --- deadlines --- */

static void get_on(struct conn *c, uint64_t bytes) {
    c->progress += bytes;
    bh_hold_wait(&c->hold);
}

static void a_message_that_stands_still(void **state) {
    struct conn c;
    hold(open_as(&c, 'a', "u", NULL), 1);
    tick(29000);
    assert_string_equal(stalled, "");
    tick(1100);
    assert_string_equal(stalled, "a");
}

static void a_byte_now_and_then_is_not_enough(void **state) {
    struct conn c;
    hold(open_as(&c, 'a', "u", NULL), 1);
    for (int s = 0; s < 29; s++) {
        get_on(&c, 1);
        tick(1000);
    }
    assert_string_equal(stalled, "");
    tick(1100);
    assert_string_equal(stalled, "a");
}

static void ten_kib_a_second_are(void **state) {
    struct conn c;
    hold(open_as(&c, 'a', "u", NULL), 1);
    for (int s = 0; s < 300; s++) {
        get_on(&c, BH_HOLD_RATE + 1);
        tick(1000);
    }
    assert_string_equal(stalled, "");
    tick(28000);
    assert_string_equal(stalled, "");
    tick(2100);
    assert_string_equal(stalled, "a");
}

/* What came fast gives no more than the whole time. */
static void a_burst_is_no_credit(void **state) {
    struct conn c;
    hold(open_as(&c, 'a', "u", NULL), 1);
    get_on(&c, 1000 * BH_HOLD_RATE);
    tick(29000);
    assert_string_equal(stalled, "");
    tick(1100);
    assert_string_equal(stalled, "a");
}

static void half_of_it_lasts_twice_as_long(void **state) {
    struct conn c;
    int s = 0;
    hold(open_as(&c, 'a', "u", NULL), 1);
    for (; !*stalled && s < 1000; s++) {
        get_on(&c, BH_HOLD_RATE / 2);
        tick(1000);
    }
    assert_in_range(s, 58, 62);
}

static void a_complete_message_has_no_deadline(void **state) {
    struct conn c;
    hold(open_as(&c, 'a', "u", NULL), 1);
    bh_hold_wait_no_more(&c.hold);
    tick(100000);
    assert_string_equal(stalled, "");
    bh_hold_wait(&c.hold); /* the next one */
    tick(29000);
    assert_string_equal(stalled, "");
    tick(1100);
    assert_string_equal(stalled, "a");
}

static void the_time_stands_still_while_paused(void **state) {
    struct conn c;
    hold(open_as(&c, 'a', "u", NULL), 1);
    tick(20000);
    bh_hold_pause(&c.hold, true);
    tick(20000);
    tick(100000);
    bh_hold_pause(&c.hold, false);
    tick(29000);
    assert_string_equal(stalled, "");
    tick(1100);
    assert_string_equal(stalled, "a");
}

static void paused_before_it_begins(void **state) {
    struct conn c;
    open_as(&c, 'a', "u", NULL);
    bh_hold_pause(&c.hold, true);
    hold(&c, 1);
    tick(100000);
    assert_string_equal(stalled, "");
    bh_hold_pause(&c.hold, false);
    tick(31000);
    assert_string_equal(stalled, "a");
}

static void no_limit(void **state) {
    struct conn c;
    holds.message_ms = 0;
    hold(open_as(&c, 'a', "u", NULL), 1);
    get_on(&c, 1);
    tick(10000000);
    assert_string_equal(stalled, "");
    bh_hold_end(&c.hold);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_part_is_charged),
        TEST(a_queue_may_be_charged_elsewhere),
        TEST(nobody_within_the_budget),
        TEST(the_oldest_of_the_largest_owner),
        TEST(until_there_is_room),
        TEST(addresses_of_anonymous_clients),
        TEST(queues_after_messages_the_largest_first),
        TEST(many_small_ones),
        TEST(one_that_may_not_be_closed),
        TEST(closing_one_may_end_another),
        TEST(the_sweep_sees_it_too),
        TEST(the_largest_owner_is_elsewhere),
        TEST(a_message_that_stands_still),
        TEST(a_byte_now_and_then_is_not_enough),
        TEST(ten_kib_a_second_are),
        TEST(a_burst_is_no_credit),
        TEST(half_of_it_lasts_twice_as_long),
        TEST(a_complete_message_has_no_deadline),
        TEST(the_time_stands_still_while_paused),
        TEST(paused_before_it_begins),
        TEST(no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
