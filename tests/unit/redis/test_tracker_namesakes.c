/* Registrations under one id: a predecessor that died, and another host with the same id. */
#include "cluster.h"

static struct bh_redis_namesakes *namesakes(struct instance *in) {
    return &inside(in)->namesakes;
}

static bool is_decided(struct instance *in) {
    return is_live(in) && namesakes(in)->done;
}

static long long registrations_left(void) {
    return test_redis_do(&cl->redis, "ZCARD ws:instances");
}

/* Its lease would run for ten minutes. */
static void a_restarted_instance_ends_the_lease_of_its_predecessor(void **state) {
    struct instance *a = open_live(0, "a"), *other = open_live(1, "other");
    come(a, "gone", "acme");
    come(a, "back", "acme");
    TICK_UNTIL(cl->loop, is_idle(a) && is_decided(a));
    crash(a);
    a = open_live(0, "a");
    come(a, "back", "acme");
    TICK_UNTIL(cl->loop, namesakes(a)->count == 1);
    assert_int_equal(online(other, "gone"), 1);
    TICK_UNTIL(cl->loop, registrations_left() == 2 && is_decided(a));
    assert_int_equal(online(other, "gone"), 0);
    assert_int_equal(online(other, "back"), 1);
    TICK_UNTIL(cl->loop, events("gone", false) == 1);
    settle(a);
    assert_int_equal(events("gone", true), 1);
    assert_int_equal(events("back", true), 1);
    assert_int_equal(events("back", false), 0);
    assert_int_equal(in_tenant(other, "acme"), 1);
}

static void several_predecessors_are_ended(void **state) {
    for (int i = 0; i < 3; i++) {
        struct instance *a = open_live(0, "a");
        come(a, "u", "");
        TICK_UNTIL(cl->loop, is_idle(a));
        crash(a);
    }
    struct instance *a = open_live(0, "a");
    TICK_UNTIL(cl->loop, registrations_left() == 1 && is_decided(a));
    TICK_UNTIL(cl->loop, events("u", false) == 1);
    assert_int_equal(events("u", true), 1);
}

static void check_both_live(struct instance *a, struct instance *b) {
    TICK_UNTIL(cl->loop, is_decided(a) && is_decided(b));
    assert_int_equal(namesakes(b)->count, 1);
    assert_true(namesakes(b)->seen[0].renews);
    assert_true(bh_slice_eq(bh_tracker_name(&namesakes(b)->seen[0].name),
                            bh_tracker_name(&registration(a)->name)));
    assert_int_equal(registrations_left(), 2);
    assert_int_equal(a->restores, 1);
    assert_int_equal(b->restores, 1);
}

static void a_host_with_the_same_id_keeps_its_lease(void **state) {
    struct instance *a = open_live(0, "a");
    come(a, "u", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    struct instance *b = open_live(1, "a");
    TICK_UNTIL(cl->loop, namesakes(b)->count == 1);
    check_both_live(a, b);
    assert_int_equal(online(b, "u"), 1);
    settle(b);
    assert_int_equal(events("u", false), 0);
}

/* Nobody can renew meanwhile. */
static void also_when_redis_stalls(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "a");
    TICK_UNTIL(cl->loop, namesakes(b)->count == 1);
    test_redis_do(&cl->redis, "CLIENT PAUSE 2500 ALL");
    check_both_live(a, b);
}

static void similar_ids_are_others(void **state) {
    struct instance *a = open_live(0, "a");
    open_live(1, "a~b");
    open_live(2, "ab");
    struct instance *b = open_live(3, "b");
    TICK_UNTIL(cl->loop, is_decided(a) && is_decided(b));
    assert_int_equal(namesakes(a)->count, 0);
    assert_int_equal(namesakes(b)->count, 0);
    assert_int_equal(registrations_left(), 4);
}

/* What a process had before it lost its link is no namesake. */
static void own_registrations_are_left_out(void **state) {
    struct instance *a = open_live(0, "a");
    TICK_UNTIL(cl->loop, is_decided(a));
    cut(a);
    mend(a);
    TICK_UNTIL(cl->loop, is_decided(a));
    assert_int_equal(namesakes(a)->count, 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_instances, teardown_instances)
    const struct CMUnitTest tests[] = {
        T(a_restarted_instance_ends_the_lease_of_its_predecessor),
        T(several_predecessors_are_ended),
        T(a_host_with_the_same_id_keeps_its_lease),
        T(also_when_redis_stalls),
        T(similar_ids_are_others),
        T(own_registrations_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
