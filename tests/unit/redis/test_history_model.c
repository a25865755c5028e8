/* test_history_model.c - random operations on a real Redis and on the model of a stream. Time does
 * not pass in it: that of Redis cannot be moved. */
#include "history_test.h"

#include "history_model.h"

static const struct bh_history_rule rules[] = {
    {.size = 5, .revision = 1, .ttl_ms = 3600000, .position_ttl_ms = 7200000, .bytes = 1 << 20},
    {.size = 100, .revision = 1, .ttl_ms = 3600000, .position_ttl_ms = 7200000, .bytes = 4000},
    {.size = 1000, .revision = 1, .ttl_ms = 3600000, .position_ttl_ms = 7200000, .bytes = 1 << 20},
};
static const struct bh_history_rule latest[] = {
    {.size = 1,
     .revision = 1,
     .ttl_ms = 3600000,
     .position_ttl_ms = 7200000,
     .bytes = 1 << 20,
     .latest = true},
};

static uint64_t now_ms(void) {
    return 1000;
}

static void play(const char *topic, const struct bh_history_rule *some, size_t count,
                 unsigned steps) {
    struct model_play play = {.history = hx.base,
                              .loop = fx->g.loop,
                              .topic = topic,
                              .rules = some,
                              .rule_count = count,
                              .ids_ms = hx.config.ids_ms,
                              .now_ms = now_ms};
    model_play(&play, steps);
}

static void play_all(void) {
    open_history();
    for (int round = 0; round < 10; round++) {
        char topic[32];
        snprintf(topic, sizeof topic, "user:%d", round);
        play(topic, rules, sizeof rules / sizeof *rules, 1000);
        snprintf(topic, sizeof topic, "user:latest-%d", round);
        play(topic, latest, 1, 200);
    }
}

static void test_it_is_the_model(void **state) {
    play_all();
}

static void test_it_is_the_model_by_scripts(void **state) {
    play_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_is_the_model, setup_history, teardown_history),
        cmocka_unit_test_setup_teardown(test_it_is_the_model_by_scripts, setup_old_history,
                                        teardown_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
