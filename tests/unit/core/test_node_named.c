/* test_node_named.c - topics that a client names: who decides, and what a refusal does. The fakes
 * are those of node_test.h; on_subscribe's answers are held and given by the tests. */
#include "bellhop/base/error.h"
#include "node_test.h"

static char refused[128]; /* "topic:b 403 why; " */

static void on_refused(struct bh_subscriber *s, struct bh_slice topic, int status,
                       struct bh_slice why) {
    assert_non_null(s->identity);
    snprintf(refused + strlen(refused), sizeof refused - strlen(refused), "%.*s %d %.*s; ",
             BH_SLICE_ARG(topic), status, BH_SLICE_ARG(why));
}

static struct bh_subscriber_vt vt;

static int up(void **state) {
    node_up(1, false);
    vt = sub_vt;
    vt.refused = on_refused;
    subs[0].s.vt = &vt;
    refused[0] = '\0';
    return 0;
}

/* topics: "a b c", of which the last ones are named, and the last ones of these gained. */
static void open_named(const char *topics, uint16_t named, uint16_t gained, struct answer *a) {
    struct bh_slice rest = bh_slice_cstr(topics), list[8], part;
    struct bh_identity parts = {.user = BH_SLICE("42"),
                                .topics = list,
                                .named = named,
                                .gained = gained},
                       *id;
    while (bh_slice_split(&rest, ' ', &part))
        list[parts.topic_count++] = part;
    assert_int_equal(bh_identity_new(&parts, &id, NULL), 0);
    *a = (struct answer){0};
    bh_node_open(worker[0], &subs[0].s, id, on_joined, a, 77);
    settle();
}

static void answer(bool allowed, int status, const char *why) {
    hooks.held_allowed(hooks.held_ud, hooks.held_handle, allowed, status, bh_slice_cstr(why));
    settle();
}

static void what_the_identity_had_needs_no_opinion(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    open_named("a b", 1, 0, &a);
    assert_answer(a, 0);
    assert_string_equal(hooks.log, "ask topic:a; ask topic:b; ");
    assert_int_equal(subs[0].s.link_count, 4);
    assert_string_equal(refused, "");
}

static void what_it_had_not_needs_a_yes(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    hooks.hold = true;
    open_named("a b", 1, 1, &a);
    answer(true, 0, NULL);
    answer(true, 200, NULL);
    assert_answer(a, 0);
    assert_int_equal(subs[0].s.link_count, 4);
}

static void no_opinion_refuses_it(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    open_named("a b c", 2, 2, &a);
    assert_answer(a, BH_EDENIED);
    assert_string_equal(hooks.log, "ask topic:a; ask topic:b; ");
    assert_string_equal(refused, "topic:b 403 ; ");
    assert_int_equal(subs[0].s.link_count, 0);
}

static void without_the_hook_it_is_refused(void **state) {
    struct answer a;
    open_named("a b", 2, 1, &a);
    assert_answer(a, BH_EDENIED);
    assert_string_equal(refused, "topic:b 403 ; ");
    assert_int_equal(worker[0]->hub.topics.count, 0);
}

static void a_no_is_told_with_its_reason(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    hooks.hold = true;
    open_named("a b c", 2, 1, &a);
    answer(false, 403, "the identity's own is left out");
    answer(false, 404, "no such topic");
    assert_answer(a, BH_EDENIED);
    assert_string_equal(refused, "topic:b 404 no such topic; ");
}

/* Which topics are the named ones is counted from the end. */
static void one_that_is_left_out_moves_no_other(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    hooks.hold = true;
    open_named("a b c", 1, 1, &a);
    answer(false, 403, NULL);
    answer(true, 0, NULL);
    answer(true, 0, NULL);
    assert_answer(a, BH_EDENIED);
    assert_string_equal(hooks.log, "ask topic:a; ask topic:b; ask topic:c; ");
    assert_string_equal(refused, "topic:c 403 ; ");
}

static void nobody_is_told_when_it_has_gone(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    hooks.hold = true;
    open_named("a", 1, 1, &a);
    bh_node_close(worker[0], &subs[0].s, 1001, BH_SLICE(""));
    answer(false, 403, NULL);
    assert_answer(a, BH_ECLOSED);
    assert_string_equal(refused, "");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, up, node_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_the_identity_had_needs_no_opinion),
        TEST(what_it_had_not_needs_a_yes),
        TEST(no_opinion_refuses_it),
        TEST(without_the_hook_it_is_refused),
        TEST(a_no_is_told_with_its_reason),
        TEST(one_that_is_left_out_moves_no_other),
        TEST(nobody_is_told_when_it_has_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
