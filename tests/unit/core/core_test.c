/* core_test.c - see the header. */
#include "core_test.h"

struct bh_slice test_long_id(char byte, size_t n) {
    static char bytes[512];
    memset(bytes, byte, n);
    return bh_slice(bytes, n);
}

struct bh_topic test_topic(const char *name) {
    struct bh_topic t;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(name), &t), 0);
    return t;
}

struct bh_message *test_message(const char *topic, const char *payload) {
    struct bh_topic to = test_topic(topic);
    struct bh_message parts = {.kind = BH_MESSAGE_DATA,
                               .opcode = BH_TEXT,
                               .topic = &to,
                               .payload = bh_slice_cstr(payload)};
    return bh_message_new(&parts);
}
