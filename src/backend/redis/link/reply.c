/* reply.c - replies in an arena.
 *
 * hiredis creates objects through a table of functions. An array allocates all its elements at once
 * and each element is written into its place, so a reply is a struct bh_reply from the start. The
 * arena is a list of chunks that is emptied before the next reply; the first chunk is kept, so
 * small replies allocate nothing. A complete reply never shares the arena with a partial one,
 * because the parser is asked for one reply at a time.
 *
 * Limits: the bytes of one reply, the memory of one reply (which bounds the size that an array may
 * announce before its elements arrive), the length of a line. hiredis bounds the nesting. */
#include "link/reply.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <hiredis/hiredis.h>

#define CHUNK_MIN      4096
#define LINE_MAX_BYTES (64 * 1024)
/* The parser moves the rest of its buffer to the front; small portions keep that cheap. */
#define PORTION (16 * 1024)

struct bh_redis_chunk {
    struct bh_redis_chunk *next;
    size_t used, cap;
    _Alignas(max_align_t) char bytes[];
};

static void *arena_alloc(struct bh_redis_reader *r, size_t n) {
    n = (n + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
    struct bh_redis_chunk *c = r->chunks;
    if (!c || n > c->cap - c->used) {
        size_t cap = n > CHUNK_MIN ? n : CHUNK_MIN;
        if (cap > BH_REDIS_REPLY_ARENA_MAX - r->arena_bytes)
            return NULL;
        c = bh_try_malloc(sizeof *c + cap);
        if (!c)
            return NULL;
        *c = (struct bh_redis_chunk){.next = r->chunks, .cap = cap};
        r->chunks = c;
        r->arena_bytes += cap;
    }
    void *p = c->bytes + c->used;
    c->used += n;
    return p;
}

static void arena_clear(struct bh_redis_reader *r, size_t keep_below) {
    struct bh_redis_chunk *c = r->chunks;
    while (c && (c->next || c->cap > keep_below)) {
        struct bh_redis_chunk *next = c->next;
        r->arena_bytes -= c->cap;
        bh_free(c);
        c = next;
    }
    if (c)
        c->used = 0;
    r->chunks = c;
}

/* --- called by the parser --- */

static struct bh_reply *place(const redisReadTask *task, enum bh_reply_type type) {
    struct bh_reply *reply;
    if (task->parent)
        reply = (struct bh_reply *)((struct bh_reply *)task->parent->obj)->elements + task->idx;
    else
        reply = arena_alloc(task->privdata, sizeof *reply);
    if (reply)
        *reply = (struct bh_reply){.type = type};
    return reply;
}

static void *new_string(const redisReadTask *task, char *p, size_t n) {
    enum bh_reply_type type = task->type == REDIS_REPLY_ERROR    ? BH_REPLY_ERROR
                              : task->type == REDIS_REPLY_STATUS ? BH_REPLY_STATUS
                                                                 : BH_REPLY_STRING;
    struct bh_reply *reply = place(task, type);
    if (!reply || n >= BH_REDIS_REPLY_MAX)
        return NULL;
    char *copy = arena_alloc(task->privdata, n + 1);
    if (!copy)
        return NULL;
    memcpy(copy, p, n);
    copy[n] = '\0';
    reply->str = bh_slice(copy, n);
    return reply;
}

static void *new_elements(const redisReadTask *task, size_t count) {
    struct bh_reply *reply = place(task, BH_REPLY_ARRAY);
    if (!reply || count > BH_REDIS_REPLY_ARENA_MAX / sizeof *reply)
        return NULL;
    struct bh_reply *elements = arena_alloc(task->privdata, count * sizeof *elements);
    if (!elements)
        return NULL;
    reply->count = count;
    reply->elements = elements;
    return reply;
}

static void *new_integer(const redisReadTask *task, long long value) {
    struct bh_reply *reply = place(task, BH_REPLY_INTEGER);
    if (reply)
        reply->integer = value;
    return reply;
}

static void *new_nil(const redisReadTask *task) {
    return place(task, BH_REPLY_NIL);
}

static void free_nothing(void *object) {}

#if HIREDIS_MAJOR >= 1
static void *new_array(const redisReadTask *task, size_t count) {
    return new_elements(task, count);
}

static void *new_double(const redisReadTask *task, double value, char *p, size_t n) {
    return new_string(task, p, n);
}

static void *new_bool(const redisReadTask *task, int value) {
    return new_integer(task, value);
}
#else
static void *new_array(const redisReadTask *task, int count) {
    return count < 0 ? NULL : new_elements(task, (size_t)count);
}
#endif

static redisReplyObjectFunctions functions = {
    .createString = new_string,
    .createArray = new_array,
    .createInteger = new_integer,
    .createNil = new_nil,
    .freeObject = free_nothing,
#if HIREDIS_MAJOR >= 1
    .createDouble = new_double,
    .createBool = new_bool,
#endif
};

/* --- the reader --- */

void bh_redis_reader_init(struct bh_redis_reader *r) {
    *r = (struct bh_redis_reader){0};
}

void bh_redis_reader_deinit(struct bh_redis_reader *r) {
    if (r->parser)
        redisReaderFree(r->parser);
    arena_clear(r, 0);
    *r = (struct bh_redis_reader){0};
}

void bh_redis_reader_reset(struct bh_redis_reader *r) {
    bh_redis_reader_deinit(r);
    r->parser = redisReaderCreateWithFunctions(&functions);
    r->parser->privdata = r;
}

void bh_redis_reader_feed(struct bh_redis_reader *r, struct bh_slice bytes) {
    r->input = bytes;
}

static int fail(struct bh_redis_reader *r, int error, const char *why) {
    r->why = why;
    return error;
}

/* Without a line end the parser would search the same bytes again with each portion. */
static bool endless_line(const redisReader *p) {
    return p->len - p->pos > LINE_MAX_BYTES && !memchr(p->buf + p->pos, '\n', LINE_MAX_BYTES);
}

static int feed_portion(struct bh_redis_reader *r) {
    size_t n = r->input.n < PORTION ? r->input.n : PORTION;
    if (redisReaderFeed(r->parser, r->input.p, n) != REDIS_OK)
        return fail(r, BH_EPROTO, r->parser->errstr);
    r->input = bh_slice(r->input.p + n, r->input.n - n);
    r->incomplete += n;
    if (r->incomplete > BH_REDIS_REPLY_MAX)
        return fail(r, BH_ETOOBIG, "a reply is larger than 64 MiB");
    return 0;
}

int bh_redis_reader_next(struct bh_redis_reader *r, const struct bh_reply **out) {
    for (;;) {
        /* While a reply is incomplete, the arena holds its first part. */
        if (r->parser->ridx == -1)
            arena_clear(r, CHUNK_MIN);
        void *reply = NULL;
        if (redisReaderGetReply(r->parser, &reply) != REDIS_OK)
            return fail(r, BH_EPROTO, r->parser->errstr);
        if (reply) {
            r->incomplete = r->parser->len - r->parser->pos;
            *out = reply;
            return 1;
        }
        if (endless_line(r->parser))
            return fail(r, BH_EPROTO, "a line without an end");
        if (r->input.n == 0)
            return 0;
        int error = feed_portion(r);
        if (error)
            return error;
    }
}
