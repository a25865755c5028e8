/* Server-sent events, read back as the HTML standard says (9.2.6). */
#include "bellhop/base/crypto.h"
#include "bellhop/proto/sse.h"
#include "proto_test.h"

/* --- a client: the steps of the standard, one character at a time --- */

struct reader {
    struct bh_bytes line, data, type, id;
    bool after_cr;
    /* of the last event that was dispatched: */
    int dispatched;
    struct bh_bytes got, got_type, last_id;
};

static void assign(struct bh_bytes *to, struct bh_slice s) {
    bh_bytes_clear(to);
    bh_bytes_add(to, s);
}

static void dispatch(struct reader *r) {
    assign(&r->last_id, bh_bytes_slice(&r->id));
    if (r->data.len) {
        r->dispatched++;
        assign(&r->got, bh_slice(r->data.p, r->data.len - 1));
        assign(&r->got_type, bh_bytes_slice(&r->type));
    }
    bh_bytes_clear(&r->data);
    bh_bytes_clear(&r->type);
}

static void process(struct reader *r) {
    struct bh_slice value = bh_bytes_slice(&r->line), name;
    if (value.n == 0) {
        dispatch(r);
        return;
    }
    if (*value.p == ':')
        return;
    bh_slice_split(&value, ':', &name);
    if (value.n && *value.p == ' ')
        value = bh_slice(value.p + 1, value.n - 1);
    if (bh_slice_eq(name, BH_SLICE("event"))) {
        assign(&r->type, value);
    } else if (bh_slice_eq(name, BH_SLICE("id"))) {
        assign(&r->id, value);
    } else if (bh_slice_eq(name, BH_SLICE("data"))) {
        bh_bytes_add(&r->data, value);
        bh_bytes_addc(&r->data, '\n');
    } else {
        assert_true(bh_slice_eq(name, BH_SLICE("retry")));
    }
}

static void read_char(struct reader *r, char c) {
    bool skip = r->after_cr && c == '\n';
    r->after_cr = c == '\r';
    if (skip)
        return;
    if (c != '\n' && c != '\r') {
        bh_bytes_addc(&r->line, c);
        return;
    }
    process(r);
    bh_bytes_clear(&r->line);
}

static void read_block(struct reader *r, struct bh_buf *b) {
    for (size_t i = 0; i < b->len; i++)
        read_char(r, (char)b->data[i]);
    assert_int_equal(r->line.len, 0);
    bh_buf_unref(b);
}

static void reader_free(struct reader *r) {
    struct bh_bytes *all[] = {&r->line, &r->data,     &r->type,    &r->id,
                              &r->got,  &r->got_type, &r->last_id, NULL};
    for (int i = 0; all[i]; i++)
        bh_bytes_free(all[i]);
}

static void assert_is(const struct bh_bytes *b, struct bh_slice expected) {
    assert_int_equal(b->len, expected.n);
    assert_true(bh_slice_eq(bh_bytes_slice(b), expected));
}

/* --- the blocks --- */

/* As a message is sent. */
static struct bh_buf *message(bool binary, struct bh_slice payload, struct bh_slice id) {
    struct bh_bytes block = {0};
    bh_sse_add_message(&block, binary, payload);
    if (id.n)
        bh_bytes_addf(&block, "id: %.*s\n", BH_SLICE_ARG(id));
    bh_bytes_addc(&block, '\n');
    struct bh_buf *b = bh_buf_copy(bh_bytes_slice(&block));
    bh_bytes_free(&block);
    return b;
}

static void assert_block(struct bh_buf *b, const char *expected) {
    assert_int_equal(b->len, strlen(expected));
    assert_memory_equal(b->data, expected, b->len);
    bh_buf_unref(b);
}

static void blocks_byte_for_byte(void **state) {
    struct bh_slice none = bh_slice(NULL, 0), id = BH_SLICE("1.x:2-3");
    assert_block(message(false, BH_SLICE("hi"), none), "data: hi\n\n");
    assert_block(message(false, BH_SLICE("hi"), id), "data: hi\nid: 1.x:2-3\n\n");
    assert_block(message(false, none, none), "data: \n\n");
    assert_block(message(false, BH_SLICE("a\nb\r\nc\rd\n\r"), none),
                 "data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: \n\n");
    assert_block(message(true, BH_SLICE("\0\xff\n"), id),
                 "event: binary\ndata: AP8K\nid: 1.x:2-3\n\n");
    assert_block(message(true, none, none), "event: binary\ndata: \n\n");
    assert_block(bh_sse_event(BH_SLICE("gap"), BH_SLICE("user:42"), id),
                 "event: gap\ndata: user:42\nid: 1.x:2-3\n\n");
    assert_block(bh_sse_event(BH_SLICE("close"), BH_SLICE("4000 \nbye"), none),
                 "event: close\ndata: 4000 \ndata: bye\n\n");
    assert_block(bh_sse_id(id), "id: 1.x:2-3\n\n");
    assert_block(bh_sse_comment(), ":\n\n");
    assert_block(bh_sse_retry(12345), "retry: 12345\n\n");
}

/* What the standard makes of it: each break becomes LF. */
static void expect_data(struct bh_bytes *out, struct bh_slice payload) {
    bh_bytes_clear(out);
    for (size_t i = 0; i < payload.n; i++) {
        char c = payload.p[i];
        if (c == '\n' && i && payload.p[i - 1] == '\r')
            continue;
        bh_bytes_addc(out, c == '\r' ? '\n' : c);
    }
}

static void any_text_comes_back(void **state) {
    static const char alphabet[] = "\n\r: aid\0\xc3\xa9";
    struct reader r = {0};
    struct bh_bytes expected = {0};
    for (int i = 1; i <= 20000; i++) {
        char text[24], id[8];
        size_t n = (size_t)test_random() % sizeof text;
        for (size_t k = 0; k < n; k++)
            text[k] = alphabet[(size_t)test_random() % (sizeof alphabet - 1)];
        int id_len = snprintf(id, sizeof id, "%d", i);
        read_block(&r, message(false, bh_slice(text, n), bh_slice(id, (size_t)id_len)));
        expect_data(&expected, bh_slice(text, n));
        assert_int_equal(r.dispatched, i);
        assert_is(&r.got, bh_bytes_slice(&expected));
        assert_is(&r.got_type, BH_SLICE(""));
        assert_is(&r.last_id, bh_slice(id, (size_t)id_len));
    }
    bh_bytes_free(&expected);
    reader_free(&r);
}

static void binary_comes_back(void **state) {
    struct reader r = {0};
    unsigned char bytes[256], back[300];
    for (int i = 0; i < 256; i++)
        bytes[i] = (unsigned char)i;
    for (size_t n = 0; n <= sizeof bytes; n += 5) {
        read_block(&r, message(true, bh_slice(bytes, n), bh_slice(NULL, 0)));
        assert_is(&r.got_type, BH_SLICE("binary"));
        assert_int_equal(bh_base64_decode(bh_bytes_slice(&r.got), back), n);
        assert_memory_equal(back, bytes, n);
    }
    reader_free(&r);
}

static void an_id_alone_is_remembered_and_dispatches_nothing(void **state) {
    struct reader r = {0};
    read_block(&r, bh_sse_retry(1000));
    read_block(&r, bh_sse_id(BH_SLICE("1.a")));
    assert_int_equal(r.dispatched, 0);
    assert_is(&r.last_id, BH_SLICE("1.a"));
    read_block(&r, bh_sse_comment());
    read_block(&r, message(false, BH_SLICE("no id"), bh_slice(NULL, 0)));
    read_block(&r, bh_sse_event(BH_SLICE("close"), BH_SLICE("4000"), bh_slice(NULL, 0)));
    assert_int_equal(r.dispatched, 2);
    assert_is(&r.got_type, BH_SLICE("close"));
    assert_is(&r.last_id, BH_SLICE("1.a"));
    read_block(&r, bh_sse_event(BH_SLICE("gap"), BH_SLICE("all"), BH_SLICE("1.b")));
    assert_is(&r.got, BH_SLICE("all"));
    assert_is(&r.last_id, BH_SLICE("1.b"));
    reader_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_byte_for_byte),
        cmocka_unit_test(any_text_comes_back),
        cmocka_unit_test(binary_comes_back),
        cmocka_unit_test(an_id_alone_is_remembered_and_dispatches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
