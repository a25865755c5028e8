/* The interest map with a fake broker and the fake clock: interest, linger, and tickets that
 * complete exactly once. */
#include "interest_map.h"

#include "core_test.h"

#define LINGER 1000
#define FAR    (BH_SHARDS_MAX - 1) /* where the tenants are; all else is on shard 0 */

struct fake_broker {
    struct bh_broker broker;
    bool live_at_once;
    char calls[4096]; /* "+user:1 -user:1 " */
};

static struct fake_broker fake;
static struct bh_loop *loop;
static struct bh_interest_map map;

static void note_call(struct bh_broker *b, char sign, struct bh_slice topic) {
    struct fake_broker *f = (struct fake_broker *)b;
    size_t n = strlen(f->calls);
    snprintf(f->calls + n, sizeof f->calls - n, "%c%.*s ", sign, BH_SLICE_ARG(topic));
}

static bool on_subscribe(struct bh_broker *b, struct bh_slice topic) {
    note_call(b, '+', topic);
    return ((struct fake_broker *)b)->live_at_once;
}

static void on_unsubscribe(struct bh_broker *b, struct bh_slice topic) {
    note_call(b, '-', topic);
}

static unsigned on_shard_of(struct bh_broker *b, struct bh_slice topic) {
    return topic.p[0] == 't' ? FAR : 0;
}

static const struct bh_broker_vt fake_vt = {
    .name = "fake", .shared = true, .subscribe = on_subscribe, .unsubscribe = on_unsubscribe};

static const struct bh_broker_vt sharded_vt = {.name = "fake",
                                               .shared = true,
                                               .shard_of = on_shard_of,
                                               .subscribe = on_subscribe,
                                               .unsubscribe = on_unsubscribe};

static int setup(void **state) {
    bh_clock_fake(5000, 0);
    fake = (struct fake_broker){.broker.vt = &fake_vt};
    loop = bh_loop_new();
    bh_interest_map_init(&map, &fake.broker, loop, LINGER);
    bh_interest_map_state(&map, 0, true);
    return 0;
}

static int setup_sharded(void **state) {
    setup(state);
    fake.broker.vt = &sharded_vt;
    bh_interest_map_state(&map, FAR, true);
    return 0;
}

static int teardown(void **state) {
    bh_interest_map_deinit(&map);
    bh_loop_free(loop);
    bh_clock_real();
    return 0;
}

static void pass(uint64_t ms) {
    bh_clock_fake_advance(ms);
    bh_loop_tick(loop, false);
}

/* The calls to the broker since the last time. */
static void assert_calls(const char *expected) {
    assert_string_equal(fake.calls, expected);
    fake.calls[0] = '\0';
}

static const struct bh_slice one = {"user:1", 6}, two = {"user:2", 6}, all = {"all", 3},
                             far = {"tenant:7", 8};

/* --- interest --- */

static void the_first_worker_subscribes_and_no_other(void **state) {
    assert_int_equal(bh_interest_map_workers(&map, one), 0);
    bh_interest_map_add(&map, 3, one);
    assert_calls("+user:1 ");
    bh_interest_map_add(&map, 3, one);
    bh_interest_map_add(&map, 63, one);
    bh_interest_map_add(&map, 0, one);
    assert_calls("");
    assert_true(bh_interest_map_workers(&map, one) == (UINT64_C(1) << 63 | 1 << 3 | 1));
    assert_int_equal(bh_interest_map_workers(&map, two), 0);
    bh_interest_map_remove(&map, 3, one);
    bh_interest_map_remove(&map, 63, one);
    assert_int_equal(bh_interest_map_workers(&map, one), 1);
    pass(10 * LINGER);
    assert_calls("");
}

static void the_last_one_unsubscribes_after_the_linger_only(void **state) {
    bh_interest_map_add(&map, 0, one);
    bh_interest_map_remove(&map, 0, one);
    assert_int_equal(bh_interest_map_workers(&map, one), 0);
    bh_interest_map_remove(&map, 0, one); /* again: nothing */
    assert_calls("+user:1 ");
    pass(LINGER - 1);
    assert_calls("");
    pass(1);
    assert_calls("-user:1 ");
    assert_int_equal(map.entries.count, 0);
    pass(10 * LINGER);
    assert_calls("");
    bh_interest_map_add(&map, 0, one);
    assert_calls("+user:1 ");
}

static void a_return_within_the_linger_costs_nothing(void **state) {
    bh_interest_map_add(&map, 0, one);
    for (int i = 0; i < 10; i++) {
        bh_interest_map_remove(&map, 0, one);
        pass(LINGER - 1);
        bh_interest_map_add(&map, 1, one);
        bh_interest_map_add(&map, 0, one);
        bh_interest_map_remove(&map, 1, one);
        pass(LINGER - 1);
    }
    pass(10 * LINGER);
    assert_calls("+user:1 ");
    bh_interest_map_remove(&map, 0, one); /* the linger starts again */
    pass(LINGER - 1);
    assert_calls("");
    pass(1);
    assert_calls("-user:1 ");
}

static void each_lingers_for_its_own_time(void **state) {
    bh_interest_map_add(&map, 0, one);
    bh_interest_map_add(&map, 0, two);
    bh_interest_map_remove(&map, 0, one);
    pass(400);
    bh_interest_map_remove(&map, 0, two);
    assert_calls("+user:1 +user:2 ");
    pass(LINGER - 400);
    assert_calls("-user:1 ");
    pass(399);
    assert_calls("");
    pass(1);
    assert_calls("-user:2 ");
}

static void the_timer_survives_the_return_of_the_eldest(void **state) {
    bh_interest_map_add(&map, 0, one);
    bh_interest_map_add(&map, 0, two);
    bh_interest_map_remove(&map, 0, one);
    pass(400);
    bh_interest_map_remove(&map, 0, two);
    bh_interest_map_add(&map, 0, one);
    pass(LINGER);
    assert_calls("+user:1 +user:2 -user:2 ");
    assert_int_equal(bh_interest_map_workers(&map, one), 1);
}

static void what_is_unknown_may_be_removed(void **state) {
    bh_interest_map_remove(&map, 0, one);
    bh_interest_map_live(&map, one);
    assert_calls("");
    assert_int_equal(map.entries.count, 0);
}

static void a_pinned_topic_stays(void **state) {
    bh_interest_map_pin(&map, all);
    assert_calls("+all ");
    bh_interest_map_add(&map, 0, all);
    bh_interest_map_remove(&map, 0, all);
    pass(10 * LINGER);
    assert_calls("");
    assert_int_equal(bh_interest_map_workers(&map, all), 0);
}

static void pinning_ends_a_linger(void **state) {
    bh_interest_map_add(&map, 0, all);
    bh_interest_map_remove(&map, 0, all);
    bh_interest_map_pin(&map, all);
    pass(10 * LINGER);
    assert_calls("+all ");
}

/* --- tickets --- */

struct ticket {
    struct bh_interest_ticket ticket;
    struct bh_interest_waiter waiters[4];
    int completed;
};

static void on_live(struct bh_interest_ticket *t) {
    BH_CONTAINER_OF(t, struct ticket, ticket)->completed++;
}

static void wait_for(struct ticket *t, const struct bh_slice *topics, unsigned count) {
    *t = (struct ticket){.ticket = {.on_live = on_live, .waiters = t->waiters}};
    for (unsigned i = 0; i < count; i++)
        bh_interest_map_add(&map, 0, topics[i]);
    bh_interest_map_wait(&map, &t->ticket, topics, count);
}

static void a_ticket_completes_when_all_is_live(void **state) {
    struct ticket t;
    wait_for(&t, (struct bh_slice[]){one, two, all}, 3);
    bh_interest_map_live(&map, two);
    bh_interest_map_live(&map, two); /* twice counts once */
    bh_interest_map_live(&map, BH_SLICE("user:other"));
    bh_interest_map_live(&map, one);
    assert_int_equal(t.completed, 0);
    bh_interest_map_live(&map, all);
    assert_int_equal(t.completed, 1);
    bh_interest_map_live(&map, all);
    bh_interest_map_state(&map, 0, false);
    assert_int_equal(t.completed, 1);
}

static void what_is_live_is_not_waited_for(void **state) {
    struct ticket t;
    bh_interest_map_add(&map, 0, one);
    bh_interest_map_live(&map, one);
    wait_for(&t, &one, 1);
    assert_int_equal(t.completed, 1);
    fake.live_at_once = true;
    wait_for(&t, (struct bh_slice[]){one, two}, 2);
    assert_int_equal(t.completed, 1);
    wait_for(&t, NULL, 0);
    assert_int_equal(t.completed, 1);
}

static void many_wait_for_one(void **state) {
    struct ticket t[3];
    wait_for(&t[0], &one, 1);
    wait_for(&t[1], (struct bh_slice[]){one, two}, 2);
    wait_for(&t[2], &one, 1);
    bh_interest_map_live(&map, one);
    assert_int_equal(t[0].completed, 1);
    assert_int_equal(t[1].completed, 0);
    assert_int_equal(t[2].completed, 1);
    bh_interest_map_live(&map, two);
    assert_int_equal(t[1].completed, 1);
}

static void while_it_is_down_nobody_waits(void **state) {
    struct ticket t, late;
    wait_for(&t, (struct bh_slice[]){one, two}, 2);
    bh_interest_map_live(&map, one);
    bh_interest_map_state(&map, 0, false);
    assert_int_equal(t.completed, 1);
    wait_for(&late, &one, 1);
    assert_int_equal(late.completed, 1);
    bh_interest_map_state(&map, 0, false);
    assert_int_equal(t.completed + late.completed, 2);
}

static void after_a_reconnect_live_must_be_told_again(void **state) {
    struct ticket t;
    bh_interest_map_add(&map, 0, one);
    bh_interest_map_live(&map, one);
    bh_interest_map_state(&map, 0, false);
    bh_interest_map_state(&map, 0, true);
    wait_for(&t, &one, 1);
    assert_int_equal(t.completed, 0);
    bh_interest_map_live(&map, one);
    assert_int_equal(t.completed, 1);
    assert_calls("+user:1 "); /* the broker itself subscribes again */
}

static void a_topic_that_is_lost_alone_must_be_told_again(void **state) {
    struct ticket before, during, other;
    wait_for(&before, (struct bh_slice[]){one, two}, 2);
    bh_interest_map_live(&map, two);
    bh_interest_map_lost(&map, two);
    bh_interest_map_lost(&map, one); /* it was not live yet */
    bh_interest_map_lost(&map, BH_SLICE("user:other"));
    assert_false(bh_interest_map_subscribed(&map, two));
    assert_int_equal(before.completed, 0);
    wait_for(&during, &two, 1);
    wait_for(&other, &all, 1);
    bh_interest_map_live(&map, all);
    assert_int_equal(other.completed, 1);
    bh_interest_map_live(&map, one);
    assert_int_equal(before.completed, 1); /* `two` was live once for it */
    assert_int_equal(during.completed, 0);
    bh_interest_map_live(&map, two);
    assert_true(bh_interest_map_subscribed(&map, two));
    assert_int_equal(during.completed, 1);
    assert_calls("+user:1 +user:2 +all ");
}

static void a_lost_topic_goes_with_its_interest_and_its_shard(void **state) {
    struct ticket t;
    bh_interest_map_add(&map, 0, one);
    bh_interest_map_live(&map, one);
    bh_interest_map_lost(&map, one);
    bh_interest_map_remove(&map, 0, one);
    pass(LINGER);
    assert_calls("+user:1 -user:1 ");
    bh_interest_map_lost(&map, one);
    wait_for(&t, &two, 1);
    bh_interest_map_lost(&map, two);
    bh_interest_map_state(&map, 0, false);
    assert_int_equal(t.completed, 1);
}

static void who_waits_for_a_topic_that_goes_is_released(void **state) {
    struct ticket t, both;
    wait_for(&t, &one, 1);
    wait_for(&both, (struct bh_slice[]){two, one}, 2);
    bh_interest_map_remove(&map, 0, one);
    pass(LINGER);
    assert_int_equal(t.completed, 1);
    assert_int_equal(both.completed, 1);
    bh_interest_map_live(&map, two); /* its waiter there is gone, too */
    assert_int_equal(both.completed, 1);
}

static void after_the_stop_nothing_is_asked(void **state) {
    struct ticket t;
    bh_interest_map_add(&map, 0, two);
    bh_interest_map_remove(&map, 0, two);
    wait_for(&t, &one, 1);
    bh_interest_map_stop(&map);
    assert_int_equal(t.completed, 1);
    pass(10 * LINGER);
    assert_calls("+user:2 +user:1 ");
    bh_interest_map_stop(&map);
}

static void deinit_completes_what_waits(void **state) {
    struct ticket t;
    wait_for(&t, (struct bh_slice[]){one, two}, 2);
    bh_interest_map_deinit(&map);
    assert_int_equal(t.completed, 1);
    bh_interest_map_init(&map, &fake.broker, loop, LINGER);
}

/* Freed in its own callback, as the header allows. */
static int freed;

static void on_live_free(struct bh_interest_ticket *t) {
    freed++;
    free(t->waiters);
    free(t);
}

static void a_ticket_may_be_freed_when_it_completes(void **state) {
    const struct bh_slice topics[] = {one, two, all};
    freed = 0;
    for (int i = 0; i < 50; i++) {
        struct bh_interest_ticket *t = calloc(1, sizeof *t);
        t->waiters = calloc(3, sizeof *t->waiters);
        t->on_live = on_live_free;
        for (unsigned n = 0; n < 3; n++)
            bh_interest_map_add(&map, 0, topics[n]);
        bh_interest_map_wait(&map, t, topics, 3);
        if (i % 10 == 9) {
            bh_interest_map_state(&map, 0, false);
            bh_interest_map_state(&map, 0, true);
        } else if (i % 10 == 4) {
            for (unsigned n = 0; n < 3; n++)
                bh_interest_map_live(&map, topics[n]);
        }
    }
    assert_int_equal(freed, 50);
}

/* --- shards --- */

static void a_shard_takes_only_its_topics_down(void **state) {
    struct ticket t;
    bh_interest_map_add(&map, 0, one);
    bh_interest_map_add(&map, 0, far);
    bh_interest_map_live(&map, one);
    bh_interest_map_live(&map, far);
    bh_interest_map_state(&map, FAR, false);
    assert_true(bh_interest_map_subscribed(&map, one));
    assert_false(bh_interest_map_subscribed(&map, far));
    bh_interest_map_state(&map, FAR, true);
    assert_false(bh_interest_map_subscribed(&map, far));
    wait_for(&t, (struct bh_slice[]){one, far}, 2);
    assert_int_equal(t.completed, 0);
    bh_interest_map_live(&map, far);
    assert_int_equal(t.completed, 1);
    bh_interest_map_state(&map, 0, false);
    assert_false(bh_interest_map_subscribed(&map, one));
    assert_true(bh_interest_map_subscribed(&map, far));
}

static void only_topics_of_a_dead_shard_are_not_waited_for(void **state) {
    struct ticket t, dead;
    bh_interest_map_state(&map, FAR, false);
    wait_for(&dead, &far, 1);
    assert_int_equal(dead.completed, 1);
    wait_for(&t, (struct bh_slice[]){far, one, far}, 3);
    assert_int_equal(t.completed, 0);
    bh_interest_map_live(&map, one);
    assert_int_equal(t.completed, 1);
}

static void a_shard_that_dies_ends_the_wait_for_its_topics(void **state) {
    struct ticket here, there, both, twice;
    wait_for(&here, &one, 1);
    wait_for(&there, &far, 1);
    wait_for(&both, (struct bh_slice[]){far, one}, 2);
    wait_for(&twice, (struct bh_slice[]){far, far}, 2);
    bh_interest_map_state(&map, FAR, false);
    assert_int_equal(there.completed, 1);
    assert_int_equal(twice.completed, 1);
    assert_int_equal(here.completed + both.completed, 0);
    bh_interest_map_live(&map, far); /* nothing waits there any more */
    bh_interest_map_state(&map, FAR, false);
    assert_int_equal(here.completed + both.completed, 0);
    bh_interest_map_state(&map, 0, false);
    assert_int_equal(here.completed, 1);
    assert_int_equal(both.completed, 1);
    assert_int_equal(there.completed + twice.completed, 2);
}

/* Tickets wait again for a shard that is back while another is still down. */
static void each_shard_has_its_own_state(void **state) {
    struct ticket t, up;
    bh_interest_map_state(&map, 0, false);
    bh_interest_map_state(&map, FAR, false);
    wait_for(&t, (struct bh_slice[]){one, far}, 2);
    assert_int_equal(t.completed, 1);
    bh_interest_map_state(&map, FAR, true);
    wait_for(&up, (struct bh_slice[]){one, far}, 2);
    assert_int_equal(up.completed, 0);
    bh_interest_map_live(&map, far);
    assert_int_equal(up.completed, 1);
}

static void the_stop_completes_the_tickets_of_all_shards(void **state) {
    struct ticket here, there, both;
    wait_for(&here, &one, 1);
    wait_for(&there, &far, 1);
    wait_for(&both, (struct bh_slice[]){far, one}, 2);
    bh_interest_map_stop(&map);
    assert_int_equal(here.completed, 1);
    assert_int_equal(there.completed, 1);
    assert_int_equal(both.completed, 1);
}

static void names_of_all_lengths(void **state) {
    char bytes[BH_TOPIC_NAME_MAX];
    memset(bytes, '%', sizeof bytes);
    for (size_t n = 1; n <= sizeof bytes; n++)
        bh_interest_map_add(&map, n % 64, bh_slice(bytes, n));
    for (size_t n = 1; n <= sizeof bytes; n++) {
        bh_interest_map_live(&map, bh_slice(bytes, n));
        assert_true(bh_interest_map_workers(&map, bh_slice(bytes, n)) == UINT64_C(1) << n % 64);
        assert_true(bh_interest_map_subscribed(&map, bh_slice(bytes, n)));
        bh_interest_map_remove(&map, n % 64, bh_slice(bytes, n));
    }
    pass(2 * LINGER);
    for (size_t n = 1; n <= sizeof bytes; n++)
        assert_false(bh_interest_map_subscribed(&map, bh_slice(bytes, n)));
}

static void on_added(void *ud, struct bh_slice topic, bool live) {
    note_call(&fake.broker, live ? '!' : '?', topic);
}

static void on_gone(void *ud, struct bh_slice topic) {
    note_call(&fake.broker, '.', topic);
}

static void an_observer_hears_what_is_subscribed(void **state) {
    map.observer = (struct bh_interest_observer){on_added, on_gone, NULL};
    bh_interest_map_add(&map, 0, BH_SLICE("user:1"));
    bh_interest_map_add(&map, 1, BH_SLICE("user:1"));
    fake.live_at_once = true;
    bh_interest_map_pin(&map, BH_SLICE("all"));
    bh_interest_map_remove(&map, 0, BH_SLICE("user:1"));
    bh_interest_map_remove(&map, 1, BH_SLICE("user:1"));
    assert_string_equal(fake.calls, "+user:1 ?user:1 +all !all ");
    bh_clock_fake_advance(LINGER + 4);
    bh_loop_tick(loop, false);
    assert_string_equal(fake.calls, "+user:1 ?user:1 +all !all -user:1 .user:1 ");
}

#define SHARDED(fn) cmocka_unit_test_setup_teardown(fn, setup_sharded, teardown)
#define TEST(fn)    cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_first_worker_subscribes_and_no_other),
        TEST(an_observer_hears_what_is_subscribed),
        TEST(the_last_one_unsubscribes_after_the_linger_only),
        TEST(a_return_within_the_linger_costs_nothing),
        TEST(each_lingers_for_its_own_time),
        TEST(the_timer_survives_the_return_of_the_eldest),
        TEST(what_is_unknown_may_be_removed),
        TEST(a_pinned_topic_stays),
        TEST(pinning_ends_a_linger),
        TEST(a_ticket_completes_when_all_is_live),
        TEST(what_is_live_is_not_waited_for),
        TEST(many_wait_for_one),
        TEST(while_it_is_down_nobody_waits),
        TEST(after_a_reconnect_live_must_be_told_again),
        TEST(a_topic_that_is_lost_alone_must_be_told_again),
        TEST(a_lost_topic_goes_with_its_interest_and_its_shard),
        TEST(who_waits_for_a_topic_that_goes_is_released),
        TEST(after_the_stop_nothing_is_asked),
        TEST(deinit_completes_what_waits),
        TEST(a_ticket_may_be_freed_when_it_completes),
        TEST(names_of_all_lengths),
        SHARDED(a_shard_takes_only_its_topics_down),
        SHARDED(only_topics_of_a_dead_shard_are_not_waited_for),
        SHARDED(a_shard_that_dies_ends_the_wait_for_its_topics),
        SHARDED(each_shard_has_its_own_state),
        SHARDED(the_stop_completes_the_tickets_of_all_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
