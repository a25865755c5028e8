/* test_twins.c - which of the messages without an id that several links bring pass. */
#include "unit_test.h"

#include "bellhop/base/error.h"
#include "cluster/twins.h"

enum { OLD, NEW, NEWER };

static struct bh_redis_twins twins;
static uint64_t now_ms = 5000;

static bool bring(bool note, unsigned link, const char *topic, struct bh_slice payload,
                  uint8_t opcode) {
    struct bh_topic to;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &to), 0);
    struct bh_message m = {
        .topic = &to, .opcode = opcode, .flags = BH_MESSAGE_RAW, .payload = payload};
    return (note ? bh_redis_twins_note : bh_redis_twins_pass)(&twins, &m, link, now_ms);
}

static bool note(unsigned link, const char *payload) {
    return bring(true, link, "user:42", bh_slice_cstr(payload), BH_TEXT);
}

static bool pass(unsigned link, const char *payload) {
    return bring(false, link, "user:42", bh_slice_cstr(payload), BH_TEXT);
}

static int setup(void **state) {
    bh_redis_twins_init(&twins);
    return 0;
}

static int teardown(void **state) {
    bh_redis_twins_clear(&twins);
    return 0;
}

static void test_the_second_is_dropped(void **state) {
    assert_true(note(OLD, "a"));
    assert_false(pass(NEW, "a"));
    assert_true(pass(NEW, "b"));
    assert_true(note(OLD, ""));
    assert_false(pass(NEW, ""));
}

/* In whatever order the links bring them. */
static void test_published_twice_passes_twice(void **state) {
    assert_true(note(OLD, "a"));
    assert_true(note(OLD, "a"));
    assert_false(pass(NEW, "a"));
    assert_false(pass(NEW, "a"));
    assert_true(pass(NEW, "a"));
    assert_false(note(OLD, "a"));
    assert_true(note(OLD, "a"));
}

static void test_three_links(void **state) {
    assert_true(note(OLD, "a"));
    assert_false(note(NEW, "a"));
    assert_true(note(NEW, "a"));
    assert_false(pass(NEWER, "a"));
    assert_false(pass(NEWER, "a"));
    assert_false(note(OLD, "a"));
    assert_true(pass(NEWER, "a"));
}

/* Beyond the links of an entry all passes. */
static void test_too_many_links(void **state) {
    assert_true(note(0, "a"));
    for (unsigned link = 1; link < 4; link++)
        assert_false(note(link, "a"));
    assert_true(note(4, "a"));
    assert_true(pass(5, "a"));
    assert_true(note(0, "a"));
    assert_false(note(1, "a"));
}

static void test_what_makes_a_twin(void **state) {
    struct bh_slice payload = BH_SLICE("a");
    assert_true(bring(true, OLD, "user:42", payload, BH_TEXT));
    assert_true(bring(false, NEW, "user:43", payload, BH_TEXT));
    assert_true(bring(false, NEW, "topic:42", payload, BH_TEXT));
    assert_true(bring(false, NEW, "user:42", payload, BH_BINARY));
    assert_true(bring(false, NEW, "user:42", bh_slice("a\0", 2), BH_TEXT));
    assert_false(bring(false, NEW, "user:42", payload, BH_TEXT));
}

/* Counted from the first one, however many follow. */
static void test_age(void **state) {
    assert_true(note(OLD, "a"));
    now_ms += BH_REDIS_TWIN_MS;
    assert_false(pass(NEW, "a"));
    assert_true(pass(NEW, "a"));
    now_ms++;
    assert_true(pass(NEWER, "a"));
    assert_int_equal(twins.known.count, 0);
    assert_true(note(OLD, "a"));
    assert_false(pass(NEW, "a"));
}

static void test_the_new_link_alone_costs_nothing(void **state) {
    for (unsigned i = 0; i < 3; i++)
        assert_true(pass(NEW, "a"));
    assert_int_equal(twins.known.count, 0);
}

static void test_bound(void **state) {
    char payload[16];
    for (unsigned i = 0; i < BH_REDIS_TWINS_MAX + 10; i++) {
        snprintf(payload, sizeof payload, "%u", i);
        assert_true(note(OLD, payload));
    }
    assert_int_equal(twins.known.count, BH_REDIS_TWINS_MAX);
    assert_true(pass(NEW, payload));
    assert_false(pass(NEW, "0"));
    assert_true(note(OLD, "0")); /* those that are known go on being counted */
    now_ms += BH_REDIS_TWIN_MS + 1;
    assert_true(note(OLD, payload));
    assert_int_equal(twins.known.count, 1);
    assert_false(pass(NEW, payload));
}

static void test_clear(void **state) {
    assert_true(note(OLD, "a"));
    bh_redis_twins_clear(&twins);
    assert_true(pass(NEW, "a"));
    assert_true(note(OLD, "a"));
    assert_false(pass(NEW, "a"));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_the_second_is_dropped),
        T(test_published_twice_passes_twice),
        T(test_three_links),
        T(test_too_many_links),
        T(test_what_makes_a_twin),
        T(test_age),
        T(test_the_new_link_alone_costs_nothing),
        T(test_bound),
        T(test_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
