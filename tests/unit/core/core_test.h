/* core_test.h - what the unit tests of core share: cmocka with what it wants included before it,
 * repeatable random numbers, comparing bytes, making topics and messages. */
#ifndef BELLHOP_TESTS_UNIT_CORE_TEST_H
#define BELLHOP_TESTS_UNIT_CORE_TEST_H

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static inline uint32_t test_random(void) {
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

#define assert_slice(slice, text)                                                                  \
    do {                                                                                           \
        struct bh_slice slice_here = (slice);                                                      \
        assert_int_equal(slice_here.n, strlen(text));                                              \
        assert_memory_equal(slice_here.n ? slice_here.p : "", text, strlen(text));                 \
    } while (0)

/* The bytes as a fresh heap block of exactly their size, so that reading past them is caught. */
static inline struct bh_slice test_exact(struct bh_slice s) {
    char *p = malloc(s.n ? s.n : 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return bh_slice(p, s.n);
}

static inline void test_exact_free(struct bh_slice s) {
    free((char *)s.p);
}

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
