/* test_outq.c - the out-queue with real socket pairs. */
#include "edge_test.h"

#include "bellhop/base/budget.h"
#include "client/outq.h"
#include "unit_test.h"

#include <sys/socket.h>
#include <unistd.h>

static void ignore_data(struct bh_stream *s, unsigned char *data, size_t n) {}
static void ignore_end(struct bh_stream *s, int error) {}
static void ignore_writable(struct bh_stream *s) {}
static const struct bh_stream_callbacks ignore = {
    .on_data = ignore_data, .on_end = ignore_end, .on_writable = ignore_writable};

struct pair {
    struct bh_loop *loop;
    struct bh_stream stream;
    int peer;
};

static void pair_open(struct pair *p) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    p->loop = bh_loop_new();
    bh_stream_init(&p->stream, p->loop, fds[0], &ignore);
    p->peer = fds[1];
}

static void pair_close(struct pair *p) {
    bh_stream_close(&p->stream);
    close(p->peer);
    bh_loop_free(p->loop);
}

static struct bh_buf *numbered(uint32_t n, size_t len) {
    struct bh_buf *b = bh_buf_new(len);
    for (size_t i = 0; i < len; i++)
        b->data[i] = (unsigned char)(n + i);
    return b;
}

static size_t drain_into(struct pair *p, struct bh_bytes *out) {
    char buffer[65536];
    ssize_t n;
    size_t all = 0;
    while ((n = recv(p->peer, buffer, sizeof buffer, 0)) > 0) {
        bh_bytes_add(out, bh_slice(buffer, (size_t)n));
        all += (size_t)n;
    }
    return all;
}

static void test_one_frame_needs_no_ring(void **state) {
    struct pair p;
    struct bh_outq q = {0};
    struct bh_buf *frame = numbered(1, 10);
    pair_open(&p);
    bh_outq_push(&q, bh_buf_ref(frame));
    assert_int_equal(q.cap, 0);
    assert_int_equal(q.bytes, 10);
    assert_int_equal(frame->refs, 2);
    assert_int_equal(bh_outq_flush(&q, &p.stream), 0);
    assert_int_equal(frame->refs, 1);
    assert_int_equal(q.bytes + q.count, 0);
    bh_buf_unref(frame);
    pair_close(&p);
}

static void test_order_is_kept_and_memory_is_freed(void **state) {
    struct pair p;
    struct bh_outq q = {0};
    struct bh_bytes want = {0}, got = {0};
    pair_open(&p);
    for (uint32_t i = 0; i < 300; i++) {
        struct bh_buf *b = numbered(i, 1 + i % 7);
        bh_bytes_add(&want, bh_buf_slice(b));
        bh_outq_push(&q, b);
    }
    assert_int_equal(bh_outq_flush(&q, &p.stream), 0);
    assert_int_equal(q.cap, 0);
    assert_null(q.ring);
    drain_into(&p, &got);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.p, want.p, want.len);
    bh_bytes_free(&want);
    bh_bytes_free(&got);
    pair_close(&p);
}

static void test_partial_writes(void **state) {
    struct pair p;
    struct bh_outq q = {0};
    struct bh_bytes want = {0}, got = {0};
    pair_open(&p);
    for (uint32_t i = 0; i < 50; i++) {
        struct bh_buf *b = numbered(i, 30000);
        bh_bytes_add(&want, bh_buf_slice(b));
        bh_outq_push(&q, b);
    }
    int rounds = 0;
    while (bh_outq_flush(&q, &p.stream) == BH_EAGAIN) {
        drain_into(&p, &got);
        assert_int_equal(q.bytes + got.len, want.len);
        rounds++;
    }
    drain_into(&p, &got);
    assert_true(rounds > 1);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.p, want.p, want.len);
    bh_bytes_free(&want);
    bh_bytes_free(&got);
    pair_close(&p);
}

static void test_front(void **state) {
    struct pair p;
    struct bh_bytes got = {0};
    pair_open(&p);
    for (int behind = 0; behind < 20; behind++) {
        struct bh_outq q = {0};
        for (int i = 0; i < behind; i++)
            bh_outq_push(&q, bh_buf_copy(BH_SLICE("b")));
        bh_outq_push_front(&q, bh_buf_copy(BH_SLICE("a")));
        assert_int_equal(bh_outq_flush(&q, &p.stream), 0);
        bh_bytes_clear(&got);
        drain_into(&p, &got);
        assert_int_equal(got.len, behind + 1);
        assert_int_equal(got.p[0], 'a');
        assert_true(behind == 0 || got.p[1] == 'b');
    }
    bh_bytes_free(&got);
    pair_close(&p);
}

static void test_drop_keeps_a_frame_that_has_begun(void **state) {
    struct pair p;
    struct bh_outq q = {0};
    struct bh_bytes got = {0};
    pair_open(&p);
    bh_outq_push(&q, numbered(0, 4 << 20));
    bh_outq_push(&q, numbered(9, 100));
    bh_outq_push(&q, numbered(9, 100));
    assert_int_equal(bh_outq_flush(&q, &p.stream), BH_EAGAIN);
    bh_outq_drop_unsent(&q);
    assert_int_equal(q.count, 1);
    assert_int_equal(q.bytes + q.offset, 4 << 20);
    do
        drain_into(&p, &got);
    while (bh_outq_flush(&q, &p.stream) == BH_EAGAIN);
    drain_into(&p, &got);
    assert_int_equal(got.len, 4 << 20);

    bh_outq_push(&q, numbered(1, 5));
    bh_outq_push(&q, numbered(1, 5));
    bh_outq_drop_unsent(&q);
    assert_int_equal(q.count + q.bytes + q.cap, 0);
    bh_bytes_free(&got);
    pair_close(&p);
}

static struct bh_buf *tagged(unsigned char first, uint16_t tag) {
    struct bh_buf *b = numbered(first, 1);
    b->tag = tag;
    return b;
}

/* A tag counts before the first byte, whose bit 3 is that of control frames. */
static void test_drop_oldest_gives_the_tag(void **state) {
    struct bh_outq q = {0};
    uint16_t tag = 1;
    bh_outq_push(&q, tagged(0x89, 0));
    bh_outq_push(&q, tagged(0x81, BH_OUTQ_KEEP));
    bh_outq_push(&q, tagged(0x81, 7));
    bh_outq_push(&q, tagged(0x88, 0));
    bh_outq_push(&q, tagged('i', 9));
    bh_outq_push(&q, tagged(0x81, 0));
    const uint16_t expected[] = {7, 9, 0};
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(bh_outq_drop_oldest(&q, &tag));
        assert_int_equal(tag, expected[i]);
    }
    assert_false(bh_outq_drop_oldest(&q, &tag));
    assert_int_equal(q.count, 3);
    assert_int_equal(q.bytes, 3);
    bh_outq_clear(&q);
}

/* Two queues share the first frame; each frame is charged once, until it is freed. */
static void test_what_waits_is_charged_once(void **state) {
    struct bh_outq one = {0}, two = {0};
    struct bh_buf *shared = numbered(1, 90000);
    bh_outq_push(&one, bh_buf_ref(shared));
    bh_outq_push(&two, shared);
    bh_outq_push(&two, numbered(2, 10000));
    assert_int_equal(bh_outq_share(&one), 45000);
    assert_int_equal(bh_outq_share(&two), 55000);
    bh_outq_count(&one);
    bh_outq_count(&two);
    bh_outq_count(&two);
    bh_budget_settle();
    assert_in_range(bh_budget_used_by(BH_BUDGET_QUEUES), 100000, 100200);
    bh_outq_clear(&one);
    bh_budget_settle();
    assert_in_range(bh_budget_used_by(BH_BUDGET_QUEUES), 100000, 100200);
    assert_int_equal(bh_outq_share(&two), 100000);
    bh_outq_clear(&two);
    bh_budget_settle();
    assert_int_equal(bh_budget_used_by(BH_BUDGET_QUEUES), 0);
    assert_int_equal(bh_outq_share(&two), 0);
}

static void test_broken_peer(void **state) {
    struct pair p;
    struct bh_outq q = {0};
    pair_open(&p);
    close(p.peer);
    bh_outq_push(&q, numbered(1, 5));
    assert_int_equal(bh_outq_flush(&q, &p.stream), BH_ECLOSED);
    bh_outq_clear(&q);
    p.peer = -1;
    pair_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_frame_needs_no_ring),
        cmocka_unit_test(test_order_is_kept_and_memory_is_freed),
        cmocka_unit_test(test_partial_writes),
        cmocka_unit_test(test_front),
        cmocka_unit_test(test_drop_keeps_a_frame_that_has_begun),
        cmocka_unit_test(test_drop_oldest_gives_the_tag),
        cmocka_unit_test(test_what_waits_is_charged_once),
        cmocka_unit_test(test_broken_peer),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
