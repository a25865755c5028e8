/* core_test.h - what the unit tests of core share beyond unit_test.h: topics and messages. */
#ifndef BELLHOP_TESTS_UNIT_CORE_TEST_H
#define BELLHOP_TESTS_UNIT_CORE_TEST_H

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/message.h"

#include "unit_test.h"

/* An id of n times the byte, at most 512; valid until the next call. */
struct bh_slice test_long_id(char byte, size_t n);
/* From a name such as "user:1". */
struct bh_topic test_topic(const char *name);
struct bh_message *test_message(const char *topic, const char *payload);

#endif
