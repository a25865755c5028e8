/* ws_message_test.h - writing streams of client frames, and reading them, cut in every way, to a
 * transcript: "text DATA|", "ping DATA|", "close CODE REASON|", "error CODE|". */
#ifndef BELLHOP_TESTS_UNIT_PROTO_WS_MESSAGE_TEST_H
#define BELLHOP_TESTS_UNIT_PROTO_WS_MESSAGE_TEST_H

#include "bellhop/proto/ws_inflaters.h"
#include "bellhop/proto/ws_message.h"
#include "proto_test.h"

#define FIN  0x80
#define RSV1 0x40

extern const struct bh_ws_limits roomy;

/* What a connection has agreed to. */
enum compression { PLAIN, NO_TAKEOVER, TAKEOVER };

/* --- streams --- */

/* A header that claims `length` bytes, and a payload that may be shorter. */
void add_claim(struct bh_bytes *to, uint8_t first, uint64_t length, struct bh_slice data);
void add_frame(struct bh_bytes *to, uint8_t first, struct bh_slice data);
/* What a client sends for this message: its payload, and a frame of it. */
void compress(struct bh_bytes *to, struct bh_slice data);
void add_compressed(struct bh_bytes *to, uint8_t opcode, struct bh_slice data);
void add_close(struct bh_bytes *to, unsigned code, const char *reason);

/* --- transcripts --- */

/* Long data is written as its length and a checksum. */
void add_data(struct bh_bytes *to, struct bh_slice data);
void add_event(struct bh_bytes *to, const struct bh_ws_event *e);
/* Until the bytes are used up, with all steps of inflating; nothing may have to wait. */
void feed(struct bh_ws_reader *r, const struct bh_ws_limits *limits, struct bh_slice piece,
          struct bh_bytes *transcript);
/* By a reader of its own, with inflaters of its own. */
void read_cut(struct bh_slice stream, const struct bh_ws_limits *limits, enum compression how,
              int cut, struct bh_bytes *transcript);

#endif
