/* test_reply.c - replies whole, byte by byte and cut at random; hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bellhop/base/buf.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "link/reply.h"

/* A reply as text, so that a stream of them can be compared. */
static void show(struct bh_bytes *out, const struct bh_reply *r) {
    switch (r->type) {
    case BH_REPLY_NIL:
        bh_bytes_adds(out, "nil");
        break;
    case BH_REPLY_STRING:
    case BH_REPLY_STATUS:
    case BH_REPLY_ERROR:
        bh_bytes_addc(out, r->type == BH_REPLY_STRING   ? '$'
                           : r->type == BH_REPLY_STATUS ? '+'
                                                        : '-');
        bh_bytes_add(out, r->str);
        assert_int_equal(r->str.p[r->str.n], '\0');
        break;
    case BH_REPLY_INTEGER:
        bh_bytes_addf(out, ":%lld", (long long)r->integer);
        break;
    case BH_REPLY_ARRAY:
        bh_bytes_adds(out, "[");
        for (size_t i = 0; i < r->count; i++) {
            show(out, &r->elements[i]);
            bh_bytes_adds(out, ",");
        }
        bh_bytes_adds(out, "]");
        break;
    }
}

static int drain(struct bh_redis_reader *r, struct bh_bytes *out) {
    const struct bh_reply *reply;
    int got;
    while ((got = bh_redis_reader_next(r, &reply)) == 1) {
        show(out, reply);
        bh_bytes_addc(out, ';');
    }
    return got;
}

static const char stream[] = "+OK\r\n"
                             "-ERR no\r\n"
                             ":-9223372036854775808\r\n"
                             ":12\r\n"
                             "$-1\r\n"
                             "*-1\r\n"
                             "$0\r\n\r\n"
                             "$5\r\na\0\r\nb\r\n"
                             "*0\r\n"
                             "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$3\r\nabc\r\n"
                             "*2\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n-ERR in\r\n"
                             "+\r\n";
#define STREAM_LEN (sizeof stream - 1)
static const char expected[] = "+OK;-ERR no;:-9223372036854775808;:12;nil;nil;$;$a\0\r\nb;[];"
                               "[$message,$ch,$abc,];[[:1,[$x,],],-ERR in,];+;";

static void check(size_t (*next_cut)(size_t left)) {
    struct bh_redis_reader r;
    struct bh_bytes out = {0};
    bh_redis_reader_init(&r);
    bh_redis_reader_reset(&r);
    for (size_t at = 0; at < STREAM_LEN;) {
        size_t n = next_cut(STREAM_LEN - at);
        char *piece = bh_strndup(stream + at, n);
        bh_redis_reader_feed(&r, bh_slice(piece, n));
        assert_int_equal(drain(&r, &out), 0);
        bh_free(piece);
        at += n;
    }
    assert_true(bh_slice_eq(bh_bytes_slice(&out), bh_slice(expected, sizeof expected - 1)));
    bh_bytes_free(&out);
    bh_redis_reader_deinit(&r);
}

static size_t all(size_t left) {
    return left;
}

static size_t one(size_t left) {
    return 1;
}

static uint64_t seed = 1;

static size_t at_random(size_t left) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    size_t n = 1 + (seed >> 33) % 17;
    return n < left ? n : left;
}

static void test_cuts(void **state) {
    check(all);
    check(one);
    for (int i = 0; i < 200; i++)
        check(at_random);
}

static void test_large(void **state) {
    struct bh_redis_reader r;
    struct bh_bytes in = {0};
    const struct bh_reply *reply;
    size_t n = 5 * 1024 * 1024;
    bh_redis_reader_init(&r);
    bh_redis_reader_reset(&r);
    bh_bytes_addf(&in, "*2\r\n$%zu\r\n", n);
    for (size_t i = 0; i < n; i++)
        bh_bytes_addc(&in, (char)(i * 31));
    bh_bytes_adds(&in, "\r\n:7\r\n:8\r\n");
    bh_redis_reader_feed(&r, bh_bytes_slice(&in));
    assert_int_equal(bh_redis_reader_next(&r, &reply), 1);
    assert_int_equal(reply->count, 2);
    assert_int_equal(reply->elements[0].str.n, n);
    for (size_t i = 0; i < n; i += 4093)
        assert_int_equal(reply->elements[0].str.p[i], (char)(i * 31));
    assert_int_equal(reply->elements[1].integer, 7);
    assert_int_equal(bh_redis_reader_next(&r, &reply), 1);
    assert_int_equal(reply->integer, 8);
    assert_int_equal(bh_redis_reader_next(&r, &reply), 0);
    assert_true(r.arena_bytes <= 4096); /* the large chunk has been freed */
    bh_bytes_free(&in);
    bh_redis_reader_deinit(&r);
}

static void refuse(struct bh_slice bytes, int error) {
    struct bh_redis_reader r;
    struct bh_bytes out = {0};
    bh_redis_reader_init(&r);
    bh_redis_reader_reset(&r);
    bh_redis_reader_feed(&r, bytes);
    assert_int_equal(drain(&r, &out), error);
    assert_non_null(r.why);
    bh_bytes_free(&out);
    bh_redis_reader_deinit(&r);
}

static void test_no_replies(void **state) {
    refuse(BH_SLICE("HTTP/1.1 400 Bad Request\r\n\r\n"), BH_EPROTO);
    refuse(BH_SLICE("\0\0\0\0"), BH_EPROTO);
    refuse(BH_SLICE("$-2\r\n"), BH_EPROTO);
    refuse(BH_SLICE("*-7\r\n"), BH_EPROTO);
    refuse(BH_SLICE("$99999999999999999999\r\n"), BH_EPROTO);
    refuse(BH_SLICE("*2147483647\r\n"), BH_EPROTO);
    refuse(BH_SLICE("*1000000\r\n*1000000\r\n*1000000\r\n"), BH_EPROTO);
    refuse(BH_SLICE("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"),
           BH_EPROTO);
}

static void test_endless(void **state) {
    struct bh_bytes in = {0};
    bh_bytes_addc(&in, '+');
    for (size_t i = 0; i < 200 * 1024; i++)
        bh_bytes_addc(&in, 'a');
    refuse(bh_bytes_slice(&in), BH_EPROTO);

    bh_bytes_clear(&in);
    bh_bytes_adds(&in, "$9223372036854775000\r\n");
    bh_bytes_reserve(&in, BH_REDIS_REPLY_MAX + 1);
    memset(in.p + in.len, 'x', BH_REDIS_REPLY_MAX + 1);
    in.len += BH_REDIS_REPLY_MAX + 1;
    refuse(bh_bytes_slice(&in), BH_ETOOBIG);
    bh_bytes_free(&in);
}

static void test_noise(void **state) {
    for (int round = 0; round < 2000; round++) {
        char bytes[sizeof stream];
        struct bh_redis_reader r;
        struct bh_bytes out = {0};
        memcpy(bytes, stream, sizeof bytes);
        for (int i = 0; i < 3; i++) {
            at_random(1);
            bytes[(seed >> 33) % STREAM_LEN] = (char)(seed >> 20);
        }
        bh_redis_reader_init(&r);
        bh_redis_reader_reset(&r);
        bh_redis_reader_feed(&r, bh_slice(bytes, STREAM_LEN));
        drain(&r, &out);
        bh_bytes_free(&out);
        bh_redis_reader_deinit(&r);
    }
}

static void test_no_memory(void **state) {
    struct bh_redis_reader r;
    struct bh_bytes out = {0};
    bh_redis_reader_init(&r);
    bh_redis_reader_reset(&r);
    bh_mem_fail_nth(1);
    bh_redis_reader_feed(&r, BH_SLICE("+OK\r\n"));
    assert_int_equal(drain(&r, &out), BH_EPROTO);
    bh_mem_fail_nth(0);
    bh_redis_reader_reset(&r);
    bh_redis_reader_feed(&r, BH_SLICE("+OK\r\n"));
    assert_int_equal(drain(&r, &out), 0);
    assert_true(bh_slice_eq(bh_bytes_slice(&out), BH_SLICE("+OK;")));
    bh_bytes_free(&out);
    bh_redis_reader_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),       cmocka_unit_test(test_large),
        cmocka_unit_test(test_no_replies), cmocka_unit_test(test_endless),
        cmocka_unit_test(test_noise),      cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
