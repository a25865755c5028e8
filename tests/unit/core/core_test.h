/* core_test.h - what the unit tests of core share beyond unit_test.h: topics and messages. */
#ifndef BELLHOP_TESTS_UNIT_CORE_TEST_H
#define BELLHOP_TESTS_UNIT_CORE_TEST_H

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/message.h"

#include "unit_test.h"

/* An id of n times the byte. */
static inline struct bh_slice test_long_id(char byte, size_t n) {
    static char bytes[512];
    memset(bytes, byte, n);
    return bh_slice(bytes, n);
}

static inline struct bh_topic test_topic(const char *name) {
    struct bh_topic t;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(name), &t), 0);
    return t;
}

static inline struct bh_message *test_message(const char *topic, const char *payload) {
    struct bh_message parts = {.kind = BH_MESSAGE_DATA,
                               .opcode = BH_TEXT,
                               .topic = test_topic(topic),
                               .payload = bh_slice_cstr(payload)};
    return bh_message_new(&parts);
}

#endif
