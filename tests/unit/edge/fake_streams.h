/* fake_streams.h - streams of which the test says where they are, in place of core/recovery.h: all
 * clients are at the same positions. For tests that tests/CMakeLists.txt links with --wrap. */
#ifndef BELLHOP_TESTS_UNIT_FAKE_STREAMS_H
#define BELLHOP_TESTS_UNIT_FAKE_STREAMS_H

#include "bellhop/core/recovery.h"

struct fake_streams {
    struct bh_resume at;
    uint64_t moves;
    bool shared;            /* clients may share texts */
    bool hold;              /* nobody is recovered before the test says so, with vt->recovered */
    bool recovered;         /* what bh_subscriber_is_recovered says */
    struct bh_resume since; /* of the client that opened last; count 0: none */
};

extern struct fake_streams streams;

void fake_streams_reset(void);
/* Moves a topic's position. */
void fake_streams_set(const char *topic, uint64_t epoch, uint64_t offset);
/* The next message of a stream; moves its position. */
struct bh_message *fake_streams_next(const char *topic, const char *payload);

#endif
