/* test_history.c - the history of a single instance: against the model, and what it tells the
 * broker; its limits and its life. */
#include "bellhop/backend/memory.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "history_model.h"
#include "history_store.h"
#include "unit_test.h"

#define IDS_MS 3000

static const struct bh_history_rule rules[] = {
    {BH_SLICE("user:"), true, false, 5, 1, 10000, 60000, 1 << 20},
    {BH_SLICE("topic:"), true, false, 100, 1, 20000, 40000, 4000},
    {BH_SLICE("tenant:"), true, true, 1, 1, 5000, 10000, 1 << 20},
    {BH_SLICE("all"), false, false, 1000, 1, 4000, 8000, 1 << 20},
};

static const struct bh_history_config config = {
    .rules = rules, .rule_count = COUNT(rules), .ids_ms = IDS_MS};

static struct {
    struct bh_loop *loop;
    struct bh_mailbox *bus, *box;
    struct bh_broker *broker;
    struct bh_history *history;
    char brought[1024]; /* "<offset>:<payload> -<payload of a purge>@<offset> " */
    unsigned done;
    int error;
    struct bh_appended appended;
    struct bh_range *range;
    int64_t removed;
    char why[128];
} fx;

static void on_message(void *ud, struct bh_message *m) {
    size_t n = strlen(fx.brought);
    if (!(m->flags & BH_MESSAGE_POSITION))
        snprintf(fx.brought + n, sizeof fx.brought - n, "%.*s ", BH_SLICE_ARG(m->payload));
    else if (m->kind == BH_MESSAGE_PURGE)
        snprintf(fx.brought + n, sizeof fx.brought - n, "-%.*s@%u ", BH_SLICE_ARG(m->payload),
                 (unsigned)m->position.offset);
    else if (m->payload.n < 20)
        snprintf(fx.brought + n, sizeof fx.brought - n, "%u:%.*s ", (unsigned)m->position.offset,
                 BH_SLICE_ARG(m->payload));
    if (m->flags & BH_MESSAGE_POSITION)
        assert_true(m->position.epoch != 0 && m->stored_ms == (uint64_t)bh_clock_wall_ms());
}

static void on_subscribed(void *ud, struct bh_slice topic) {}
static void on_state(void *ud, unsigned shard, bool up) {}

static void up_with(uint64_t bytes_max) {
    static const struct bh_broker_sink sink = {on_message, on_subscribed, NULL, on_state, NULL};
    memset(&fx, 0, sizeof fx);
    bh_clock_fake(1000000, 1700000000000);
    fx.loop = bh_loop_new();
    fx.bus = bh_mailbox_new(fx.loop);
    fx.box = bh_mailbox_new(fx.loop);
    fx.broker = bh_memory_broker_new();
    fx.history = bh_memory_history_new(&config, fx.broker, bytes_max);
    assert_int_equal(fx.broker->vt->start(fx.broker, fx.loop, fx.bus, &sink), 0);
    assert_int_equal(fx.history->vt->start(fx.history, fx.loop), 0);
    assert_int_equal(fx.history->vt->worker_start(fx.history, 0, fx.loop, fx.box), 0);
}

static int up(void **state) {
    up_with(0);
    return 0;
}

static int down(void **state) {
    fx.history->vt->worker_stop(fx.history, 0);
    fx.history->vt->stop(fx.history);
    fx.broker->vt->stop(fx.broker);
    bh_range_unref(fx.range);
    fx.history->vt->free(fx.history);
    fx.broker->vt->free(fx.broker);
    bh_mailbox_free(fx.bus);
    bh_mailbox_free(fx.box);
    bh_loop_free(fx.loop);
    bh_clock_real();
    return 0;
}

static void tick(void) {
    for (int i = 0; i < 4; i++)
        bh_loop_tick(fx.loop, false);
}

static void pass(uint64_t ms) {
    bh_clock_fake_advance(ms);
    tick();
}

/* --- the model --- */

static void it_is_the_model(void **state) {
    for (int round = 0; round < 40; round++) {
        char topic[32];
        snprintf(topic, sizeof topic, "user:%d", round);
        struct model_play play = {.history = fx.history,
                                  .loop = fx.loop,
                                  .topic = topic,
                                  .rules = rules,
                                  .rule_count = COUNT(rules),
                                  .ids_ms = IDS_MS,
                                  .now_ms = bh_clock_ms,
                                  .pass = pass,
                                  .pass_max_ms = 20000};
        fx.brought[0] = '\0';
        model_play(&play, 3000);
    }
}

/* --- appends --- */

static struct bh_message *message(const char *topic, const char *id, const char *payload) {
    struct bh_topic t;
    struct bh_message parts = {.opcode = BH_TEXT,
                               .topic = &t,
                               .flags = BH_MESSAGE_ECHO | BH_MESSAGE_DEDUP,
                               .id = bh_slice_cstr(id),
                               .payload = bh_slice_cstr(payload)};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &t), 0);
    return bh_message_new(&parts);
}

static void answered(int error, const char *why) {
    fx.done++;
    fx.error = error;
    snprintf(fx.why, sizeof fx.why, "%s", why ? why : "");
}

static void on_appended(void *ud, bh_handle handle, int error, const struct bh_appended *appended,
                        const char *why) {
    answered(error, why);
    assert_int_equal(handle, 7);
    assert_true((appended == NULL) == (error != 0));
    if (appended)
        fx.appended = *appended;
}

static void post_append(const char *topic, const char *id, const char *key, const char *payload) {
    struct bh_message *m = message(topic, id, payload);
    const struct bh_history_rule *rule = bh_history_rule_of(&config, m->topic);
    fx.history->vt->append(fx.history, 0, m, rule, bh_slice_cstr(key), on_appended, NULL, 7);
    bh_message_unref(m);
}

static struct bh_appended append(const char *topic, const char *id, const char *key,
                                 const char *payload) {
    fx.done = 0;
    post_append(topic, id, key, payload);
    tick();
    assert_int_equal(fx.done, 1);
    return fx.appended;
}

static void on_range(void *ud, bh_handle handle, int error, struct bh_range *range,
                     const char *why) {
    answered(error, why);
    bh_range_unref(fx.range);
    fx.range = error ? NULL : bh_range_ref(range);
}

static struct bh_range *read_behind(const char *topic, struct bh_position since) {
    struct bh_topic t;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &t), 0);
    fx.history->vt->read(fx.history, &t, bh_history_rule_of(&config, &t), since, 100, 10000,
                         on_range, NULL, 7);
    return fx.range;
}

static void on_removed(void *ud, bh_handle handle, int error, int64_t removed, const char *why) {
    answered(error, why);
    fx.removed = removed;
}

static int64_t remove_at(const char *topic, struct bh_position at) {
    struct bh_topic t;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &t), 0);
    fx.history->vt->remove(fx.history, 0, &t, at, on_removed, NULL, 7);
    tick();
    return fx.removed;
}

static void on_published(void *ud, bh_handle handle, int error, int64_t receivers,
                         const char *why) {}

/* Also when they are posted at once, with plain messages between them; and before the answers. */
static void appends_come_back_in_order(void **state) {
    struct bh_message *plain = message("user:1", "p", "plain");
    post_append("user:1", "a", "", "one");
    fx.broker->vt->publish(fx.broker, 0, plain, on_published, NULL, 0);
    post_append("user:1", "b", "", "two");
    bh_message_unref(plain);
    assert_string_equal(fx.brought, ""); /* never inside the call */
    assert_int_equal(fx.done, 0);
    tick();
    assert_string_equal(fx.brought, "1:one plain 2:two ");
    assert_int_equal(fx.done, 2);
    assert_int_equal(fx.appended.receivers, 1);
    assert_false(fx.appended.known);
}

static void what_the_instances_are_told(void **state) {
    append("user:1", "a", "", "one");
    append("user:1", "b", "k", "two");
    append("user:1", "c", "k", "three");
    append("user:1", "b", "k", "two"); /* known: nothing */
    assert_true(fx.appended.known);
    assert_int_equal(fx.appended.position.offset, 2);
    assert_int_equal(remove_at("user:1", (struct bh_position){0, 1}), 1);
    assert_int_equal(remove_at("user:1", (struct bh_position){0, 1}), 0);
    assert_int_equal(remove_at("user:1", (struct bh_position){0}), 1);
    assert_int_equal(remove_at("user:2", (struct bh_position){0}), 0); /* no stream */
    assert_string_equal(fx.brought, "1:one 2:two -2@2 3:three -1@3 -all@3 ");
}

static void what_is_stored(void **state) {
    struct bh_message *m = message("user:1", "a", "one");
    m->expires_ms = bh_clock_ms() + 500;
    m->except = 9;
    fx.history->vt->append(fx.history, 0, m, &rules[0], bh_slice(NULL, 0), on_appended, NULL, 7);
    tick();
    assert_int_equal(atomic_load(&m->refs), 1);
    bh_message_unref(m);
    struct bh_position zero = {fx.appended.position.epoch, 0};
    const struct bh_message *got = read_behind("user:1", zero)->messages[0];
    assert_int_equal(got->kind, BH_MESSAGE_DATA);
    assert_int_equal(got->opcode, BH_TEXT);
    assert_int_equal(got->flags, BH_MESSAGE_ECHO | BH_MESSAGE_POSITION);
    assert_int_equal(got->except, 9);
    assert_true(got->expires_ms == bh_clock_ms() + 500);
    assert_true(got->stored_ms == (uint64_t)bh_clock_wall_ms());
    assert_true(bh_position_eq(got->position, fx.appended.position));
    assert_slice(got->id, "a");
    assert_slice(got->payload, "one");
}

static void another_start_is_another_epoch(void **state) {
    struct bh_position old = append("user:1", "a", "", "one").position;
    down(NULL);
    up_with(0); /* at the same time of the clock */
    struct bh_range *r = read_behind("user:1", old);
    assert_int_equal(r->outcome, BH_HISTORY_GAP);
    assert_true(r->top.epoch != old.epoch);
    assert_int_equal(r->top.offset, 0);
    assert_int_equal(read_behind("user:1", (struct bh_position){0})->outcome, BH_HISTORY_NEW);
    assert_int_equal(append("user:1", "a", "", "one").position.offset, 1);
    assert_true(fx.appended.position.epoch == fx.range->top.epoch);
}

static void a_revision_is_another_epoch(void **state) {
    struct bh_history_store st;
    struct bh_history_news news = {0};
    struct bh_appended first, second;
    struct bh_range *r;
    const char *why;
    struct bh_history_rule two[2] = {rules[0], rules[0]};
    struct bh_history_config other = {.rules = two, .rule_count = 2, .ids_ms = IDS_MS};
    two[1].revision = 2;
    bh_history_store_init(&st, &other, 0);
    struct bh_message *m = message("user:1", "", "x");
    for (int i = 0; i < 2; i++) {
        struct bh_appended *to = i ? &second : &first;
        assert_int_equal(
            bh_history_store_append(&st, m, &two[i], bh_slice(NULL, 0), 5, to, &news, &why), 0);
        bh_message_unref(news.message);
    }
    assert_int_equal(second.position.offset, 2);
    assert_true(second.position.epoch != first.position.epoch);
    struct bh_position at[] = {
        first.position, {second.position.epoch, 0}, {second.position.epoch, 1}, second.position};
    static const enum bh_history_outcome outcomes[] = {BH_HISTORY_GAP, BH_HISTORY_GAP,
                                                       BH_HISTORY_OK, BH_HISTORY_OK};
    for (size_t i = 0; i < COUNT(at); i++) {
        assert_int_equal(
            bh_history_store_read(&st, m->topic, &two[1], at[i], 10, 10000, 5, &r, &why), 0);
        assert_int_equal(r->outcome, outcomes[i]);
        bh_range_unref(r);
    }
    bh_message_unref(m);
    bh_history_store_deinit(&st);
}

/* What is kept longer because nothing has looked is not seen. */
static void the_exact_times(void **state) {
    struct bh_position at = append("user:1", "", "", "one").position;
    struct bh_position zero = {at.epoch, 0};
    bh_clock_fake_advance(rules[0].ttl_ms);
    assert_int_equal(read_behind("user:1", zero)->count, 1);
    bh_clock_fake_advance(1);
    assert_int_equal(read_behind("user:1", zero)->outcome, BH_HISTORY_GAP);
    assert_int_equal(read_behind("user:1", at)->outcome, BH_HISTORY_OK);
    bh_clock_fake_advance(rules[0].position_ttl_ms - rules[0].ttl_ms - 1);
    assert_int_equal(read_behind("user:1", at)->outcome, BH_HISTORY_OK);
    bh_clock_fake_advance(1);
    assert_int_equal(read_behind("user:1", at)->outcome, BH_HISTORY_GAP);
    assert_true(fx.range->top.epoch > at.epoch && fx.range->top.offset == 0);
}

/* --- limits --- */

static void offsets_end(void **state) {
    struct bh_history_store st;
    struct bh_history_news news = {0};
    struct bh_appended a;
    const char *why = "";
    struct bh_message *m = message("user:1", "", "x");
    bh_history_store_init(&st, &config, 0);
    bh_history_store_append(&st, m, rules, bh_slice(NULL, 0), 5, &a, &news, &why);
    bh_message_unref(news.message);
    bh_history_store_set_top(&st, m->topic, BH_POSITION_END - 2);
    assert_int_equal(bh_history_store_append(&st, m, rules, bh_slice(NULL, 0), 5, &a, &news, &why),
                     0);
    bh_message_unref(news.message);
    assert_true(a.position.offset == BH_POSITION_END - 1);
    assert_int_equal(bh_history_store_append(&st, m, rules, bh_slice(NULL, 0), 5, &a, &news, &why),
                     BH_ETOOBIG);
    assert_string_equal(why, "the offset of this stream has reached 2^53");
    assert_true(bh_history_store_top(&st, m->topic, 5).offset == BH_POSITION_END - 1);
    bh_message_unref(m);
    bh_history_store_deinit(&st);
}

static void appends_are_refused_when_it_is_full(void **state) {
    char topic[32];
    int i;
    down(NULL);
    up_with(20000);
    struct bh_position first = append("user:0", "", "", "x").position;
    for (i = 1; i < 1000 && fx.error == 0; i++) {
        snprintf(topic, sizeof topic, "user:%d", i);
        append(topic, "", "", "some payload");
    }
    assert_true(i > 20 && i < 200);
    assert_int_equal(fx.error, BH_ENOMEM);
    assert_string_equal(fx.why, "the streams of this instance use all of history.memory_bytes");
    assert_int_equal(read_behind("user:0", first)->outcome, BH_HISTORY_OK);
    read_behind("user:none", (struct bh_position){0});
    assert_int_equal(fx.error, BH_EUNAVAIL);
    remove_at("user:0", (struct bh_position){0}); /* without messages it can go */
    assert_int_equal(read_behind("user:0", first)->outcome, BH_HISTORY_OK);
    for (i = 0, fx.error = 0; i < 10 && fx.error == 0; i++)
        append("topic:1", "", "", "some payload");
    assert_true(i > 1);
    read_behind("user:0", first);
    assert_int_equal(fx.error, BH_EUNAVAIL); /* it is gone, and there is no room for it */
    pass(rules[1].ttl_ms + 2000);
    append("user:new", "", "", "x");
    assert_int_equal(fx.error, 0);
}

static void ids_are_bounded(void **state) {
    struct bh_history_store st;
    struct bh_history_news news = {0};
    struct bh_appended a;
    char id[32];
    const char *why;
    bh_history_store_init(&st, &config, 0);
    for (int i = 0; i <= BH_HISTORY_IDS_MAX + 1000; i++) {
        snprintf(id, sizeof id, "%d", i);
        struct bh_message *m = message("user:1", id, "x");
        bh_history_store_append(&st, m, rules, bh_slice(NULL, 0), 5, &a, &news, &why);
        bh_message_unref(m);
        bh_message_unref(news.message);
    }
    assert_int_equal(st.ids.count, BH_HISTORY_IDS_MAX);
    bh_history_store_deinit(&st);
}

static void what_has_expired_costs_nothing(void **state) {
    struct bh_history_store st;
    struct bh_history_news news;
    struct bh_appended a;
    struct bh_range *r;
    char text[32];
    const char *why;
    bh_history_store_init(&st, &config, 0);
    for (uint64_t now = 0; now < 5000; now++) {
        static const char *const kinds[] = {"user", "topic", "tenant"};
        snprintf(text, sizeof text, "%s:%u", kinds[now % 3], test_random() % 100);
        struct bh_message *m = message(text, text, "x");
        const struct bh_history_rule *rule = bh_history_rule_of(&config, m->topic);
        news = (struct bh_history_news){0};
        if (now % 7 == 0) {
            bh_history_store_read(&st, m->topic, rule, (struct bh_position){0}, 1, 1, now, &r,
                                  &why);
            bh_range_unref(r);
        } else {
            bh_history_store_append(&st, m, rule, bh_slice_cstr(now % 5 ? "" : text), now, &a,
                                    &news, &why);
        }
        bh_message_unref(m);
        bh_message_unref(news.purge);
        bh_message_unref(news.message);
    }
    assert_true(st.bytes > 0);
    while (!bh_history_store_sweep(&st, 10, 5000 + 20001))
        ;
    assert_int_equal(st.keys.count, 0);
    assert_int_equal(st.ids.count, 0);
    assert_true(st.streams.count > 0);
    while (!bh_history_store_sweep(&st, 10, 5000 + 60001))
        ;
    assert_int_equal(st.streams.count, 0);
    assert_int_equal(st.bytes, 0);
    bh_history_store_deinit(&st);
}

static void without_memory(void **state) {
    struct bh_history_store st;
    struct bh_history_news news = {0};
    struct bh_appended a;
    const char *why;
    struct bh_message *m = message("user:1", "", "x");
    bh_history_store_init(&st, &config, 0);
    bh_history_store_append(&st, m, rules, BH_SLICE("k"), 5, &a, &news, &why);
    bh_message_unref(news.message);
    for (unsigned nth = 1; nth <= 3; nth++) { /* the message, the tombstone, the news of it */
        bh_mem_fail_nth(nth);
        int error = bh_history_store_append(&st, m, rules, BH_SLICE("k"), 5, &a, &news, &why);
        bh_mem_fail_nth(0);
        assert_int_equal(error, BH_ENOMEM);
    }
    assert_int_equal(bh_history_store_top(&st, m->topic, 5).offset, 1);
    bh_message_unref(m);
    bh_history_store_deinit(&st);
}

/* --- life --- */

static void before_the_start(void **state) {
    struct bh_broker *young = bh_memory_broker_new();
    struct bh_history *h = bh_memory_history_new(&config, young, 0);
    struct bh_message *m = message("user:1", "", "x");
    h->vt->worker_start(h, 0, fx.loop, fx.box);
    h->vt->append(h, 0, m, rules, bh_slice(NULL, 0), on_appended, NULL, 7);
    assert_int_equal(fx.done, 1);
    assert_int_equal(fx.error, BH_EUNAVAIL);
    bh_message_unref(m);
    h->vt->worker_stop(h, 0);
    h->vt->free(h);
    young->vt->free(young);
}

static void a_worker_that_stops_completes_all(void **state) {
    post_append("user:1", "", "", "one");
    remove_at("user:1", (struct bh_position){0});
    fx.done = 0;
    post_append("user:1", "", "", "two");
    post_append("user:1", "", "", "three");
    fx.history->vt->worker_stop(fx.history, 0);
    assert_int_equal(fx.done, 2);
    assert_int_equal(fx.error, BH_EIO);
    post_append("user:1", "", "", "late");
    assert_int_equal(fx.done, 3);
    assert_int_equal(fx.error, BH_EUNAVAIL);
    tick(); /* they are appended, and nobody is told again */
    assert_int_equal(fx.done, 3);
    assert_non_null(strstr(fx.brought, "3:three"));
}

static void nothing_is_done_after_the_stop(void **state) {
    post_append("user:1", "", "", "one");
    fx.history->vt->stop(fx.history);
    tick();
    assert_string_equal(fx.brought, "");
    assert_int_equal(fx.done, 0);
    fx.history->vt->worker_stop(fx.history, 0);
    assert_int_equal(fx.done, 1);
}

static void requests_outlive_the_history(void **state) {
    post_append("user:1", "", "", "one");
    bh_mailbox_close(fx.box); /* the answer cannot be posted */
    tick();
    assert_string_equal(fx.brought, "1:one ");
    post_append("user:1", "", "", "two");
}

static void a_closed_bus(void **state) {
    bh_mailbox_close(fx.bus);
    post_append("user:1", "", "", "one");
    assert_int_equal(fx.done, 1);
    assert_int_equal(fx.error, BH_EUNAVAIL);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_is_the_model),
        TEST(appends_come_back_in_order),
        TEST(what_the_instances_are_told),
        TEST(what_is_stored),
        TEST(another_start_is_another_epoch),
        TEST(a_revision_is_another_epoch),
        TEST(the_exact_times),
        TEST(offsets_end),
        TEST(appends_are_refused_when_it_is_full),
        TEST(ids_are_bounded),
        TEST(what_has_expired_costs_nothing),
        TEST(without_memory),
        TEST(before_the_start),
        TEST(a_worker_that_stops_completes_all),
        TEST(nothing_is_done_after_the_stop),
        TEST(requests_outlive_the_history),
        TEST(a_closed_bus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
