/* Lookups of users: from the hubs of all workers, each completes once. */
#include "node_test.h"

struct found {
    int count, error;
    bh_handle handle;
    size_t users;
    size_t connections[8];
    char text[512]; /* "instance/tenant/index " for each connection of the first user */
    int64_t as_of;
    bool uncertain;
};

static void describe(struct found *f, const struct bh_connection_info *c) {
    int index = -1;
    for (size_t i = 0; i < COUNT(subs); i++)
        if (subs[i].s.number == c->number)
            index = (int)i;
    assert_int_equal(c->opened_at, subs[index].s.opened_at);
    size_t n = strlen(f->text);
    snprintf(f->text + n, sizeof f->text - n, "%.*s/%.*s/%d ", BH_SLICE_ARG(c->instance),
             BH_SLICE_ARG(c->tenant), index);
}

static void on_found(void *ud, bh_handle handle, int error, const struct bh_presence *users,
                     size_t count, int64_t as_of) {
    struct found *f = ud;
    f->count++;
    f->error = error;
    f->handle = handle;
    f->users = count;
    f->as_of = as_of;
    f->uncertain = count && users[0].uncertain;
    for (size_t u = 0; u < count && u < COUNT(f->connections); u++)
        f->connections[u] = users[u].count;
    for (size_t i = 0; count && users[0].connections && i < users[0].count; i++)
        describe(f, &users[0].connections[i]);
}

static struct found look_up(unsigned w, const char *const *names, size_t count, bool connections) {
    struct found f = {0};
    struct bh_slice users[8] = {{0}};
    for (size_t i = 0; i < count; i++)
        users[i] = test_exact(bh_slice_cstr(names[i]));
    bh_node_lookup_local(worker[w], connections ? BH_LOOKUP_CONNECTIONS : BH_LOOKUP_ONLINE, users,
                         count, on_found, &f, 5);
    for (size_t i = 0; i < count; i++)
        test_exact_free(users[i]); /* borrowed during the call */
    settle();
    assert_int_equal(f.count, 1);
    assert_int_equal(f.handle, 5);
    return f;
}

static int up_1(void **state) {
    node_up(1, true);
    return 0;
}

static int up_3(void **state) {
    node_up(3, true);
    return 0;
}

static void counts_over_all_workers(void **state) {
    const char *const names[] = {"1", "nobody", "2", "1"};
    opened(0, &subs[0], "1");
    opened(1, &subs[1], "1");
    opened(2, &subs[2], "1");
    opened(2, &subs[3], "1");
    opened(1, &subs[4], "2");
    for (unsigned w = 0; w < 3; w++) {
        struct found f = look_up(w, names, 4, false);
        assert_int_equal(f.error, 0);
        assert_int_equal(f.users, 4);
        assert_int_equal(f.connections[0], 4);
        assert_int_equal(f.connections[1], 0);
        assert_int_equal(f.connections[2], 1);
        assert_int_equal(f.connections[3], 4);
        assert_int_equal(f.as_of, 1700000000000);
        assert_string_equal(f.text, "");
    }
    bh_node_close(worker[1], &subs[1].s, 1000, BH_SLICE(""));
    assert_int_equal(look_up(0, names, 4, false).connections[0], 3);
}

static void tells_of_the_connections(void **state) {
    const char *const names[] = {"1"};
    struct answer a = {0};
    for (unsigned i = 0; i < 3; i++)
        opened(i, &subs[i], "1");
    bh_node_open(worker[0], &subs[3].s, identity("1", NULL, NULL), on_joined, &a, 1);
    struct found f = look_up(2, names, 1, true);
    assert_string_equal(f.text, "i1/7/0 i1//3 i1/7/1 i1/7/2 ");
    for (unsigned i = 4; i < 8; i++) /* the room for them grows */
        opened(0, &subs[i], "1");
    f = look_up(0, names, 1, true);
    assert_int_equal(f.connections[0], 8);
    assert_string_equal(f.text, "i1/7/0 i1//3 i1/7/4 i1/7/5 i1/7/6 i1/7/7 i1/7/1 i1/7/2 ");
}

static void asking_for_nobody(void **state) {
    struct found f = look_up(0, NULL, 0, true);
    assert_int_equal(f.error, 0);
    assert_int_equal(f.users, 0);
}

static void a_bad_id_is_refused(void **state) {
    const char *const names[] = {"1", "a b"};
    struct found f = look_up(0, names, 2, true);
    assert_int_equal(f.error, BH_EINVAL);
    assert_int_equal(f.users, 0);
}

static void as_many_as_one_may_ask_for(void **state) {
    static struct bh_slice users[BH_LOOKUP_MAX];
    struct found f = {0};
    opened(0, &subs[0], "1");
    for (size_t i = 0; i < COUNT(users); i++)
        users[i] = BH_SLICE("1");
    bh_node_lookup_local(worker[0], BH_LOOKUP_CONNECTIONS, users, COUNT(users), on_found, &f, 5);
    settle();
    assert_int_equal(f.users, BH_LOOKUP_MAX);
    assert_int_equal(f.connections[7], 1);
}

/* --- through the tracker --- */

static void fake_lookup(struct bh_tracker *t, struct bh_worker *w, enum bh_lookup what,
                        const struct bh_slice *users, size_t count, bh_tracker_cb done, void *ud,
                        bh_handle handle) {
    struct bh_presence presence = {.count = 17};
    assert_ptr_equal(w, worker[0]);
    assert_int_equal(count, 1);
    assert_slice(users[0], "1");
    done(ud, handle, 0, &presence, 1, 123);
}

static void the_tracker_is_asked(void **state) {
    struct bh_tracker_vt vt = local_tracker_vt;
    struct local_tracker asked = {.base = {.vt = &vt}};
    vt.lookup = fake_lookup;
    struct bh_slice user = BH_SLICE("1");
    struct found f = {0};
    node_up_with(1, true, BH_STRATEGY_LOCAL_FIRST, &asked.base);
    bh_node_lookup(worker[0], BH_LOOKUP_ONLINE, &user, 1, on_found, &f, 6);
    assert_int_equal(f.count, 1);
    assert_int_equal(f.handle, 6);
    assert_int_equal(f.connections[0], 17);
    assert_int_equal(f.as_of, 123);
    node_down();
}

/* The tracker does not know the connections of this instance for sure, and leaves them out; of
 * names from `certain_from` on it does. */
static size_t certain_from = SIZE_MAX;

static void uncertain_lookup(struct bh_tracker *t, struct bh_worker *w, enum bh_lookup what,
                             const struct bh_slice *names, size_t count, bh_tracker_cb done,
                             void *ud, bh_handle handle) {
    struct bh_presence found[8] = {{0}};
    struct bh_slice instance = test_exact(BH_SLICE("far")), tenant = test_exact(BH_SLICE("9"));
    struct bh_connection_info infos[3];
    for (size_t i = 0; i < COUNT(infos); i++)
        infos[i] =
            (struct bh_connection_info){instance, tenant, subs[4].s.number, subs[4].s.opened_at};
    for (size_t u = 0; u < count; u++)
        found[u] =
            (struct bh_presence){u ? 0 : COUNT(infos), what == BH_LOOKUP_CONNECTIONS ? infos : NULL,
                                 .uncertain = u < certain_from};
    done(ud, handle, 0, found, count, 123);
    test_exact_free(instance);
    test_exact_free(tenant);
}

static struct bh_tracker_vt uncertain_vt;
static struct local_tracker uncertain = {.base = {.vt = &uncertain_vt}};

static void uncertain_up(unsigned workers) {
    uncertain_vt = local_tracker_vt;
    uncertain_vt.lookup = uncertain_lookup;
    node_up_with(workers, true, BH_STRATEGY_LOCAL_FIRST, &uncertain.base);
    opened(0, &subs[0], "1");
    opened(workers - 1, &subs[1], "1");
    opened(0, &subs[2], "2");
    opened(0, &subs[4], "4");
}

static struct found ask(enum bh_lookup what, const struct bh_slice *names, size_t count) {
    struct found f = {0};
    bh_node_lookup(worker[0], what, names, count, on_found, &f, 6);
    settle();
    assert_int_equal(f.count, 1);
    assert_int_equal(f.handle, 6);
    assert_int_equal(f.error, 0);
    assert_int_equal(f.users, count);
    assert_int_equal(f.as_of, 123);
    assert_true(f.uncertain);
    return f;
}

static void own_connections_are_added_to_an_uncertain_answer(void **state) {
    struct bh_slice users[] = {BH_SLICE("1"), BH_SLICE("2"), BH_SLICE("nobody")};
    uncertain_up(3);
    struct found f = ask(BH_LOOKUP_ONLINE, users, 3);
    assert_int_equal(f.connections[0], 5);
    assert_int_equal(f.connections[1], 1);
    assert_int_equal(f.connections[2], 0);
    f = ask(BH_LOOKUP_CONNECTIONS, users, 3);
    assert_int_equal(f.connections[0], 5);
    assert_int_equal(f.connections[1], 1);
    assert_string_equal(f.text, "far/9/4 far/9/4 far/9/4 i1/7/0 i1/7/1 ");
    node_down();
}

static void to_certain_names_none_are_added(void **state) {
    struct bh_slice users[] = {BH_SLICE("1"), BH_SLICE("2"), BH_SLICE("2")};
    certain_from = 2;
    uncertain_up(3);
    struct found f = ask(BH_LOOKUP_ONLINE, users, 3);
    assert_int_equal(f.connections[0], 5);
    assert_int_equal(f.connections[1], 1);
    assert_int_equal(f.connections[2], 0);
    f = ask(BH_LOOKUP_CONNECTIONS, users, 3);
    assert_int_equal(f.connections[1], 1);
    assert_int_equal(f.connections[2], 0);
    node_down();
    certain_from = SIZE_MAX;
}

/* As in Redis, which does not know connections without a user. */
static void of_tenants_only_connections_of_users_are_added(void **state) {
    struct bh_slice tenant = BH_SLICE("7");
    uncertain_up(1);
    opened(0, &subs[3], "");
    struct found f = ask(BH_LOOKUP_TENANTS, &tenant, 1);
    assert_int_equal(f.connections[0], 3 + 4);
    node_down();
}

static void an_uncertain_answer_in_flight_is_freed_by_the_stop(void **state) {
    struct bh_slice user = BH_SLICE("1");
    struct found f = {0};
    uncertain_up(3);
    bh_node_lookup(worker[0], BH_LOOKUP_ONLINE, &user, 1, on_found, &f, 6);
    node_down();
    assert_int_equal(f.count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counts_over_all_workers, up_3, node_teardown),
        cmocka_unit_test_setup_teardown(tells_of_the_connections, up_3, node_teardown),
        cmocka_unit_test_setup_teardown(asking_for_nobody, up_1, node_teardown),
        cmocka_unit_test_setup_teardown(a_bad_id_is_refused, up_1, node_teardown),
        cmocka_unit_test_setup_teardown(as_many_as_one_may_ask_for, up_1, node_teardown),
        cmocka_unit_test(the_tracker_is_asked),
        cmocka_unit_test(own_connections_are_added_to_an_uncertain_answer),
        cmocka_unit_test(to_certain_names_none_are_added),
        cmocka_unit_test(of_tenants_only_connections_of_users_are_added),
        cmocka_unit_test(an_uncertain_answer_in_flight_is_freed_by_the_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
