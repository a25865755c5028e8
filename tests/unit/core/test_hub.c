/* The hub against a naive model, both directions asserted after each step; and everything that a
 * callback may do to the topic of the loop. */
#include "bellhop/core/hub.h"

#include "core_test.h"

#include <malloc.h>

enum { SUBSCRIBERS = 40, TOPICS = 12 };

static struct bh_hub hub;
static struct bh_subscriber subscribers[SUBSCRIBERS];
static bool model[SUBSCRIBERS][TOPICS];

static struct bh_slice topic_name(size_t t) {
    static char names[TOPICS][16];
    return bh_slice(names[t], (size_t)sprintf(names[t], "topic:%zu", t));
}

static int setup(void **state) {
    memset(subscribers, 0, sizeof subscribers);
    memset(model, 0, sizeof model);
    bh_hub_init(&hub);
    return 0;
}

static size_t members_in_model(size_t t) {
    size_t n = 0;
    for (size_t s = 0; s < SUBSCRIBERS; s++)
        n += model[s][t];
    return n;
}

static void join(size_t s, size_t t) {
    bool first = false, was_empty = members_in_model(t) == 0;
    struct bh_hub_topic *joined = bh_hub_join(&hub, &subscribers[s], topic_name(t), &first);
    assert_int_equal(joined != NULL, !model[s][t]);
    if (joined) {
        assert_ptr_equal(joined, bh_hub_find(&hub, topic_name(t)));
        assert_int_equal(first, was_empty);
    }
    model[s][t] = true;
}

static void leave(size_t s, size_t t) {
    bool last = false;
    int error = bh_hub_leave(&hub, &subscribers[s], topic_name(t), &last);
    assert_int_equal(error, model[s][t] ? 0 : BH_ENOTFOUND);
    model[s][t] = false;
    if (!error)
        assert_int_equal(last, members_in_model(t) == 0);
}

static int teardown(void **state) {
    for (size_t s = 0; s < SUBSCRIBERS; s++) {
        for (size_t t = 0; t < TOPICS; t++)
            if (model[s][t])
                leave(s, t);
        assert_int_equal(subscribers[s].link_cap, 0);
    }
    bh_hub_deinit(&hub);
    return 0;
}

static struct bh_subscriber *member(const struct bh_hub_topic *t, uint32_t i) {
    return t->cap_log2 == 0 ? t->one : t->many[i];
}

/* topic -> subscriber, subscriber -> topic and the model agree. */
static void assert_both_directions(void) {
    size_t topics = 0;
    for (size_t t = 0; t < TOPICS; t++) {
        const struct bh_hub_topic *topic = bh_hub_find(&hub, topic_name(t));
        size_t expected = members_in_model(t);
        topics += topic != NULL;
        if (hub.delivering != topic || !topic)
            assert_int_equal(topic != NULL, expected > 0);
        if (!topic)
            continue;
        assert_true(bh_slice_eq(bh_hub_topic_name(topic), topic_name(t)));
        assert_int_equal(topic->count, expected);
        assert_true(topic->used <= bh_hub_topic_capacity(topic) && topic->count <= topic->used);
        for (uint32_t i = 0; i < topic->used; i++) {
            const struct bh_subscriber *s = member(topic, i);
            if (!s) {
                assert_ptr_equal(hub.delivering, topic);
                continue;
            }
            assert_true(model[s - subscribers][t]);
            bool linked = false;
            for (unsigned l = 0; l < s->link_count; l++)
                linked |= bh_subscriber_links(s)[l].topic == topic &&
                          bh_subscriber_links(s)[l].index == i;
            assert_true(linked);
        }
    }
    assert_int_equal(hub.topics.count, topics);
    for (size_t s = 0; s < SUBSCRIBERS; s++) {
        size_t links = 0;
        for (size_t t = 0; t < TOPICS; t++)
            links += model[s][t];
        assert_int_equal(subscribers[s].link_count, links);
        for (unsigned l = 0; l < subscribers[s].link_count; l++) {
            const struct bh_link *link = &bh_subscriber_links(&subscribers[s])[l];
            assert_ptr_equal(member(link->topic, link->index), &subscribers[s]);
        }
    }
}

static int visits[SUBSCRIBERS];

static void count_visit(struct bh_subscriber *s, void *ud) {
    visits[s - subscribers]++;
}

static void assert_loop_visits_the_members(size_t t) {
    memset(visits, 0, sizeof visits);
    assert_int_equal(bh_hub_foreach(&hub, topic_name(t), count_visit, NULL), members_in_model(t));
    for (size_t s = 0; s < SUBSCRIBERS; s++)
        assert_int_equal(visits[s], model[s][t]);
}

static void one_joins_and_leaves(void **state) {
    join(0, 0);
    join(0, 0); /* twice is refused */
    assert_both_directions();
    leave(1, 0);
    leave(0, 1);
    leave(0, 0);
    leave(0, 0);
    assert_both_directions();
    assert_null(bh_hub_find(&hub, topic_name(0)));
    assert_int_equal(bh_hub_foreach(&hub, topic_name(0), count_visit, NULL), 0);
}

static void agrees_with_a_model_under_churn(void **state) {
    for (int round = 0; round < 20000; round++) {
        size_t s = test_random() % SUBSCRIBERS, t = test_random() % TOPICS;
        bool growing = round / 1000 % 2 == 0; /* alternately fuller and emptier */
        if (test_random() % 4 == 0 ? !growing : growing)
            join(s, t);
        else
            leave(s, t);
        if (round % 7 == 0) {
            assert_both_directions();
            assert_loop_visits_the_members(t);
        }
    }
}

/* --- what a callback may do --- */

static void join_others(struct bh_subscriber *s, void *ud) {
    visits[s - subscribers]++;
    for (size_t i = 0; i < SUBSCRIBERS; i++)
        join(i, 0);
}

static void additions_are_not_visited(void **state) {
    memset(visits, 0, sizeof visits);
    join(3, 0);
    assert_int_equal(bh_hub_foreach(&hub, topic_name(0), join_others, NULL), 1);
    for (size_t i = 0; i < SUBSCRIBERS; i++)
        assert_int_equal(visits[i], i == 3);
    assert_both_directions();
    assert_loop_visits_the_members(0);
}

static void leave_self(struct bh_subscriber *s, void *ud) {
    visits[s - subscribers]++;
    leave((size_t)(s - subscribers), 0);
    assert_both_directions();
}

static void all_leave_while_visited(void **state) {
    for (size_t n = 1; n <= SUBSCRIBERS; n++) {
        memset(visits, 0, sizeof visits);
        for (size_t i = 0; i < n; i++)
            join(i, 0);
        assert_int_equal(bh_hub_foreach(&hub, topic_name(0), leave_self, NULL), n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(visits[i], 1);
        assert_null(bh_hub_find(&hub, topic_name(0)));
        assert_both_directions();
    }
}

static void leave_everybody(struct bh_subscriber *s, void *ud) {
    visits[s - subscribers]++;
    for (size_t i = 0; i < SUBSCRIBERS; i++)
        for (size_t t = 0; t < TOPICS; t++)
            leave(i, t);
}

static void who_has_left_is_not_visited(void **state) {
    memset(visits, 0, sizeof visits);
    for (size_t i = 0; i < SUBSCRIBERS; i++) {
        join(i, 0);
        join(i, 1);
    }
    assert_int_equal(bh_hub_foreach(&hub, topic_name(0), leave_everybody, NULL), 1);
    assert_int_equal(hub.topics.count, 0);
    assert_both_directions();
}

static void leave_and_return(struct bh_subscriber *s, void *ud) {
    size_t i = (size_t)(s - subscribers);
    visits[i]++;
    leave(i, 0);
    join(i, 0);
}

static void who_leaves_and_returns_is_visited_once(void **state) {
    for (size_t n = 1; n <= 9; n++) {
        memset(visits, 0, sizeof visits);
        for (size_t i = 0; i < n; i++)
            join(i, 0);
        assert_int_equal(bh_hub_foreach(&hub, topic_name(0), leave_and_return, NULL), n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(visits[i], 1);
        assert_both_directions();
        assert_loop_visits_the_members(0);
    }
}

static void loop_again(struct bh_subscriber *s, void *ud) {
    assert_int_equal(bh_hub_foreach(&hub, topic_name(0), count_visit, NULL), BH_EAGAIN);
    assert_int_equal(bh_hub_foreach(&hub, topic_name(1), count_visit, NULL), BH_EAGAIN);
}

static void a_loop_inside_a_loop_is_refused(void **state) {
    memset(visits, 0, sizeof visits);
    join(0, 0);
    join(1, 0);
    join(2, 1);
    assert_int_equal(bh_hub_foreach(&hub, topic_name(0), loop_again, NULL), 2);
    for (size_t i = 0; i < SUBSCRIBERS; i++)
        assert_int_equal(visits[i], 0);
    assert_loop_visits_the_members(0); /* afterwards it works again */
}

static void do_anything(struct bh_subscriber *s, void *ud) {
    assert_true(model[s - subscribers][*(size_t *)ud]);
    visits[s - subscribers]++;
    for (unsigned n = test_random() % 6; n > 0; n--) {
        size_t i = test_random() % SUBSCRIBERS;
        size_t t = test_random() % 2 ? *(size_t *)ud : test_random() % TOPICS;
        if (test_random() % 2)
            join(i, t);
        else
            leave(i, t);
    }
}

static void agrees_with_a_model_under_churn_inside_loops(void **state) {
    for (int round = 0; round < 3000; round++) {
        size_t t = test_random() % TOPICS;
        for (size_t i = 0; i < SUBSCRIBERS; i++)
            if (test_random() % (unsigned)(round % 9 + 1) == 0)
                join(i, t);
        bool before[SUBSCRIBERS];
        for (size_t i = 0; i < SUBSCRIBERS; i++)
            before[i] = model[i][t];
        memset(visits, 0, sizeof visits);
        int visited = bh_hub_foreach(&hub, topic_name(t), do_anything, &t), sum = 0;
        for (size_t i = 0; i < SUBSCRIBERS; i++) {
            assert_true(visits[i] <= before[i]);
            sum += visits[i];
        }
        assert_int_equal(visited, sum);
        assert_both_directions();
        for (size_t i = 0; i < SUBSCRIBERS; i++)
            if (test_random() % 3 == 0)
                leave(i, t);
        assert_both_directions();
    }
}

static void one_subscriber_in_all_the_topics_it_may_have(void **state) {
    enum { MANY = BH_SUBSCRIBER_TOPICS_MAX };
    struct bh_subscriber s = {0};
    char name[32];
    bool first, last;
    for (unsigned i = 0; i < MANY; i++) {
        struct bh_slice topic = bh_slice(name, (size_t)sprintf(name, "topic:many/%u", i));
        assert_non_null(bh_hub_join(&hub, &s, topic, &first));
        assert_true((s.link_cap ? s.link_cap : BH_SUBSCRIBER_TOPICS_FEW) >= s.link_count);
    }
    while (s.link_count) {
        struct bh_hub_topic *t = bh_subscriber_links(&s)[s.link_count - 1].topic;
        struct bh_topic copy;
        assert_int_equal(bh_topic_parse(bh_hub_topic_name(t), &copy), 0);
        assert_int_equal(bh_hub_leave(&hub, &s, bh_topic_name(&copy), &last), 0);
        assert_true(last);
    }
    assert_int_equal(hub.topics.count, 0);
}

static void memory_comes_back_after_ten_thousand(void **state) {
    enum { MANY = 10000 };
    struct bh_subscriber *many = calloc(MANY, sizeof *many);
    bool first, last;
    size_t before = mallinfo2().uordblks; /* 0 under a sanitizer, which has a leak check */
    for (int i = 0; i < MANY; i++) {
        char name[32];
        struct bh_slice own = bh_slice(name, (size_t)sprintf(name, "user:%d", i));
        assert_non_null(bh_hub_join(&hub, &many[i], own, &first));
        assert_true(first);
        assert_non_null(bh_hub_join(&hub, &many[i], BH_SLICE("all"), &first));
        assert_int_equal(first, i == 0);
    }
    assert_int_equal(hub.topics.count, MANY + 1);
    const struct bh_hub_topic *all = bh_hub_find(&hub, BH_SLICE("all"));
    assert_int_equal(all->count, MANY);
    for (int i = 0; i < MANY; i++) {
        char name[32];
        struct bh_slice own = bh_slice(name, (size_t)sprintf(name, "user:%d", i));
        assert_int_equal(bh_hub_leave(&hub, &many[i], own, &last), 0);
        assert_true(last);
        if (i == MANY - 10)
            assert_true(bh_hub_topic_capacity(all) <= 64); /* it shrinks */
        assert_int_equal(bh_hub_leave(&hub, &many[i], BH_SLICE("all"), &last), 0);
        assert_int_equal(many[i].link_cap, 0);
    }
    assert_true(last);
    assert_int_equal(hub.topics.count, 0);
    assert_true(mallinfo2().uordblks <= before + 8192);
    free(many);
}

static void leaves_what_it_is_linked_to_without_the_names(void **state) {
    for (size_t t = 0; t < 4; t++)
        join(0, t);
    join(1, 2);
    while (subscribers[0].link_count) {
        struct bh_slice name = bh_hub_topic_name(
            bh_subscriber_links(&subscribers[0])[subscribers[0].link_count - 1].topic);
        bool last = false;
        size_t t = 0;
        while (!bh_slice_eq(topic_name(t), name))
            t++;
        bh_hub_leave_last(&hub, &subscribers[0], &last);
        model[0][t] = false;
        assert_int_equal(last, t != 2);
        assert_both_directions();
    }
    assert_int_equal(hub.topics.count, 1);
}

/* Of lengths that differ in the high byte only, too. */
static void names_of_all_lengths(void **state) {
    char bytes[BH_TOPIC_NAME_MAX];
    struct bh_subscriber s = {0};
    bool first, last;
    memset(bytes, '%', sizeof bytes);
    for (size_t n = 1; n <= sizeof bytes; n++) {
        struct bh_hub_topic *t = bh_hub_join(&hub, &s, bh_slice(bytes, n), &first);
        assert_true(bh_slice_eq(bh_hub_topic_name(t), bh_slice(bytes, n)));
        assert_true(first);
    }
    for (size_t n = 1; n <= sizeof bytes; n++) {
        assert_int_equal(bh_hub_leave(&hub, &s, bh_slice(bytes, n), &last), 0);
        assert_true(last);
    }
    assert_int_equal(hub.topics.count, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_joins_and_leaves),
        TEST(leaves_what_it_is_linked_to_without_the_names),
        TEST(agrees_with_a_model_under_churn),
        TEST(additions_are_not_visited),
        TEST(all_leave_while_visited),
        TEST(who_has_left_is_not_visited),
        TEST(who_leaves_and_returns_is_visited_once),
        TEST(a_loop_inside_a_loop_is_refused),
        TEST(agrees_with_a_model_under_churn_inside_loops),
        TEST(one_subscriber_in_all_the_topics_it_may_have),
        TEST(memory_comes_back_after_ten_thousand),
        TEST(names_of_all_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
