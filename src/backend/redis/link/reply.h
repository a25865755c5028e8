/* reply.h - bytes from Redis in, struct bh_reply out; resumable at any byte.
 *
 * hiredis parses; the replies are built straight into an arena of the reader, so nothing is
 * converted and nothing is freed one by one. Embed it. Thread: its owner's. */
#ifndef BELLHOP_BACKEND_REDIS_REPLY_H
#define BELLHOP_BACKEND_REDIS_REPLY_H

#include "bellhop/core/redis.h"

/* The limits of one reply, on the wire and in memory; more is a protocol error. */
#define BH_REDIS_REPLY_MAX       (64u * 1024 * 1024)
#define BH_REDIS_REPLY_ARENA_MAX (128u * 1024 * 1024)

struct redisReader;
struct bh_redis_chunk;

struct bh_redis_reader {
    struct redisReader *parser;
    struct bh_redis_chunk *chunks; /* the newest first; the oldest is kept for the next reply */
    size_t arena_bytes;
    size_t incomplete; /* bytes fed since the last reply */
    struct bh_slice input;
    const char *why;
};

void bh_redis_reader_init(struct bh_redis_reader *r);
void bh_redis_reader_deinit(struct bh_redis_reader *r);
/* For a new connection. */
void bh_redis_reader_reset(struct bh_redis_reader *r);
/* Hands in bytes that must live until bh_redis_reader_next has returned 0 or an error. */
void bh_redis_reader_feed(struct bh_redis_reader *r, struct bh_slice bytes);
/* 1 with *out, valid until the next call; 0 when the bytes are used up; BH_EPROTO or BH_ETOOBIG
 * with r->why. Strings are NUL-terminated beyond their length. */
int bh_redis_reader_next(struct bh_redis_reader *r, const struct bh_reply **out);

#endif
