/* Messages that take many steps to inflate: what a step is bounded by, many of them at once, the
 * line for places, and every way out of it. */
#include "bellhop/base/mem.h"
#include "ws_message_test.h"

#define READERS 100
#define MIB     (1u << 20)

/* --- messages --- */

static void add_bomb(struct bh_bytes *to, uint8_t opcode, char c, size_t n) {
    struct bh_bytes data = {0};
    bh_bytes_reserve(&data, n);
    memset(data.p, c, n);
    add_compressed(to, opcode, bh_slice(data.p, n));
    bh_bytes_free(&data);
}

/* --- connections --- */

struct connection {
    struct bh_ws_reader reader;
    struct bh_inflater *own;
    struct bh_slice bytes; /* an exact copy of what was received last */
    unsigned char *at;
    size_t n;
    struct bh_ws_event e;
    unsigned woken;
};

struct group {
    struct bh_inflaters inflaters;
    struct bh_ws_limits limits;
    struct connection all[READERS];
    int order[10 * READERS], woken; /* who was woken */
};

static struct group group;

static void on_wake(struct bh_ws_reader *r) {
    struct connection *c = BH_CONTAINER_OF(r, struct connection, reader);
    c->woken++;
    group.order[group.woken++] = (int)(c - group.all);
}

/* The odd ones take over when `mixed`. */
static void open_group(int n, bool mixed) {
    memset(&group, 0, sizeof group);
    bh_inflaters_init(&group.inflaters, on_wake);
    group.limits = (struct bh_ws_limits){16 * MIB, 1000, &group.inflaters};
    for (int i = 0; i < n; i++) {
        struct connection *c = &group.all[i];
        c->own = mixed && i % 2 ? bh_inflater_new(15, true) : NULL;
        bh_ws_reader_init(&c->reader, true, c->own);
    }
}

static void close_connection(struct connection *c) {
    bh_ws_reader_deinit(&c->reader);
    bh_inflater_free(c->own);
    c->own = NULL;
    if (c->bytes.p)
        test_exact_free(c->bytes);
    c->bytes = bh_slice(NULL, 0);
}

static void close_group(void) {
    for (int i = 0; i < READERS; i++)
        close_connection(&group.all[i]);
    assert_int_equal(group.inflaters.held, 0);
    assert_true(bh_list_empty(&group.inflaters.line));
    bh_inflaters_deinit(&group.inflaters);
}

static void receive(struct connection *c, struct bh_slice bytes) {
    if (c->bytes.p)
        test_exact_free(c->bytes);
    c->bytes = test_exact(bytes);
    c->at = (unsigned char *)c->bytes.p;
    c->n = bytes.n;
}

/* The rest of the received bytes lies elsewhere from now on. */
static void move_rest(struct connection *c) {
    struct bh_bytes rest = {0};
    bh_bytes_add(&rest, bh_slice(c->at, c->n));
    receive(c, bh_bytes_slice(&rest));
    bh_bytes_free(&rest);
}

static enum bh_ws_event_type next(struct connection *c) {
    bh_ws_reader_next(&c->reader, &group.limits, &c->at, &c->n, &c->e);
    return c->e.type;
}

/* Takes steps until something else; how many. They take no bytes. */
static unsigned finish(struct connection *c) {
    unsigned steps = 0;
    for (size_t n = c->n; next(c) == BH_WS_EV_AGAIN; n = c->n) {
        assert_true(steps == 0 || c->n == n);
        steps++;
    }
    return steps;
}

static void expect_repeated(const struct connection *c, uint8_t opcode, char what, size_t n) {
    assert_int_equal(c->e.type, BH_WS_EV_MESSAGE);
    assert_int_equal(c->e.opcode, opcode);
    assert_int_equal(c->e.data.n, n);
    if (n) /* as fast with a sanitizer */
        assert_true(c->e.data.p[0] == what && !memcmp(c->e.data.p, c->e.data.p + 1, n - 1));
}

/* --- steps --- */

static void a_step_is_bounded_by_its_output(void **state) {
    struct bh_bytes s = {0};
    struct connection *c = &group.all[0];
    add_bomb(&s, BH_WS_BINARY, 'z', 16 * MIB);
    size_t bomb = s.len;
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("behind it"));
    open_group(1, false);
    receive(c, bh_bytes_slice(&s));
    size_t inflated = 0;
    unsigned steps = 0;
    while (next(c) == BH_WS_EV_AGAIN) {
        assert_in_range(c->e.inflated, 1, BH_INFLATE_STEP);
        assert_int_equal(group.inflaters.held, 1);
        inflated += c->e.inflated;
        steps++;
        if (steps % 50 == 1)
            move_rest(c);
    }
    inflated += c->e.inflated;
    expect_repeated(c, BH_WS_BINARY, 'z', 16 * MIB);
    assert_in_range(steps, 255, 257);
    assert_in_range(inflated, 16 * MIB - bomb, 16 * MIB);
    assert_int_equal(group.inflaters.held, 0); /* before the message is released */
    assert_int_equal(next(c), BH_WS_EV_PING);
    assert_slice(c->e.data, "behind it");
    assert_int_equal(next(c), BH_WS_EV_NONE);
    assert_null(c->reader.partial);
    close_group();
    bh_bytes_free(&s);
}

/* Empty blocks have no output. */
static void a_step_is_bounded_by_its_input(void **state) {
    struct bh_bytes s = {0}, payload = {0};
    struct connection *c = &group.all[0];
    for (int i = 0; i < 13000; i++)
        bh_bytes_add(&payload, bh_slice("\x00\x00\x00\xff\xff", 5));
    bh_bytes_addc(&payload, '\0');
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, bh_bytes_slice(&payload));
    open_group(1, false);
    receive(c, bh_bytes_slice(&s));
    assert_in_range(finish(c), 15, 100);
    expect_repeated(c, BH_WS_TEXT, 0, 0);
    assert_int_equal(c->e.inflated, 0);
    close_group();
    bh_bytes_free(&payload);
    bh_bytes_free(&s);
}

static void a_bad_byte_ends_it(void **state) {
    struct bh_bytes s = {0}, data = {0};
    struct connection *c = &group.all[0];
    test_repeat(&data, 'a', 2 * MIB);
    static const struct {
        size_t at;
        unsigned least, most;
    } bad[] = {{0, 0, 0}, {BH_INFLATE_STEP, 1, 1}, {MIB, 15, 17}, {2 * MIB - 1, 31, 33}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        data.p[bad[i].at] = '\xff';
        bh_bytes_clear(&s);
        add_compressed(&s, BH_WS_TEXT, bh_bytes_slice(&data));
        data.p[bad[i].at] = 'a';
        open_group(1, i % 2);
        receive(c, bh_bytes_slice(&s));
        assert_in_range(finish(c), bad[i].least, bad[i].most);
        assert_int_equal(c->e.type, BH_WS_EV_ERROR);
        assert_int_equal(c->e.code, 1007);
        assert_int_equal(group.inflaters.held, 0);
        assert_null(c->reader.partial);
        close_group();
    }
    bh_bytes_free(&data);
    bh_bytes_free(&s);
}

/* 65,536 is no multiple of 3. */
static void characters_go_on_in_the_next_step(void **state) {
    struct bh_bytes s = {0}, data = {0};
    struct connection *c = &group.all[0];
    for (int i = 0; i < 200000; i++)
        bh_bytes_adds(&data, "\xe2\x82\xac");
    add_compressed(&s, BH_WS_TEXT, bh_bytes_slice(&data));
    data.len--;
    add_compressed(&s, BH_WS_TEXT, bh_bytes_slice(&data));
    data.len++;
    open_group(1, false);
    receive(c, bh_bytes_slice(&s));
    assert_true(finish(c) > 5);
    assert_int_equal(c->e.type, BH_WS_EV_MESSAGE);
    assert_true(bh_slice_eq(c->e.data, bh_bytes_slice(&data)));
    assert_true(finish(c) > 5);
    assert_int_equal(c->e.type, BH_WS_EV_ERROR);
    assert_int_equal(c->e.code, 1007);
    close_group();
    bh_bytes_free(&data);
    bh_bytes_free(&s);
}

static void the_limit_ends_it(void **state) {
    struct bh_bytes s = {0};
    struct connection *c = &group.all[0];
    add_bomb(&s, BH_WS_BINARY, 'z', 16 * MIB);
    open_group(1, false);
    group.limits.message_bytes = MIB - 1;
    receive(c, bh_bytes_slice(&s));
    assert_in_range(finish(c), 15, 16);
    assert_int_equal(c->e.type, BH_WS_EV_ERROR);
    assert_int_equal(c->e.code, 1009);
    close_group();
    bh_bytes_free(&s);
}

/* A fragmented message, and the same bytes again with the context taken over. */
static void suspended_after_fragments(void **state) {
    struct bh_bytes s = {0}, payload = {0}, data = {0};
    struct connection *c = &group.all[1];
    for (size_t i = 0; i < 300000; i++)
        bh_bytes_addc(&data, (char)('a' + test_random() % 26));
    compress(&payload, bh_bytes_slice(&data));
    for (size_t at = 0; at < payload.len; at += 50000) {
        size_t n = payload.len - at < 50000 ? payload.len - at : 50000;
        uint8_t first = at ? BH_WS_CONTINUATION : RSV1 | BH_WS_TEXT;
        add_frame(&s, at + n == payload.len ? FIN | first : first, bh_slice(payload.p + at, n));
        add_frame(&s, FIN | BH_WS_PING, BH_SLICE("between"));
    }
    open_group(2, true);
    for (int round = 0; round < 2; round++) {
        receive(c, bh_bytes_slice(&s));
        unsigned pings = 0;
        while (next(c) == BH_WS_EV_PING)
            pings++;
        assert_int_equal(c->e.type, BH_WS_EV_AGAIN);
        finish(c);
        assert_int_equal(c->e.type, BH_WS_EV_MESSAGE);
        assert_true(bh_slice_eq(c->e.data, bh_bytes_slice(&data)));
        assert_int_equal(next(c), BH_WS_EV_PING);
        assert_int_equal(next(c), BH_WS_EV_NONE);
        assert_int_equal(pings, (payload.len - 1) / 50000);
    }
    close_group();
    bh_bytes_free(&payload);
    bh_bytes_free(&data);
    bh_bytes_free(&s);
}

/* --- many at once --- */

/* Step by step in turn, with and without takeover, small messages in between. */
static void several_are_suspended_at_once(void **state) {
    struct bh_bytes s[4] = {{0}}, small = {0};
    open_group(5, true);
    add_compressed(&small, BH_WS_TEXT, BH_SLICE("small, small, small"));
    for (int i = 0; i < 4; i++) {
        add_bomb(&s[i], BH_WS_TEXT, (char)('a' + i), MIB + (size_t)i * 100000);
        add_compressed(&s[i], BH_WS_TEXT, BH_SLICE("small, small, small"));
        receive(&group.all[i], bh_bytes_slice(&s[i]));
    }
    for (int done = 0; done < 4;) {
        for (int i = 0; i < 4; i++) {
            struct connection *c = &group.all[i];
            if (c->e.type == BH_WS_EV_MESSAGE || next(c) == BH_WS_EV_AGAIN)
                continue;
            expect_repeated(c, BH_WS_TEXT, (char)('a' + i), MIB + (size_t)i * 100000);
            done++;
        }
        receive(&group.all[4], bh_bytes_slice(&small));
        assert_int_equal(next(&group.all[4]), BH_WS_EV_MESSAGE);
        assert_slice(group.all[4].e.data, "small, small, small");
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(next(&group.all[i]), BH_WS_EV_MESSAGE);
        assert_slice(group.all[i].e.data, "small, small, small");
        bh_bytes_free(&s[i]);
    }
    close_group();
    bh_bytes_free(&small);
}

/* All of them have the message; each gets as far as it can. */
static void receive_all(struct bh_slice bytes) {
    for (int i = 0; i < READERS; i++) {
        struct connection *c = &group.all[i];
        receive(c, bytes);
        assert_int_equal(next(c), i < BH_INFLATERS_PLACES ? BH_WS_EV_AGAIN : BH_WS_EV_WAIT);
        move_rest(c);
        assert_true(group.inflaters.held <= BH_INFLATERS_PLACES);
    }
}

static void a_hundred_at_once(void **state) {
    struct bh_bytes s = {0}, small = {0};
    add_bomb(&s, BH_WS_TEXT, 'x', 300000);
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("later"));
    add_compressed(&small, BH_WS_TEXT, BH_SLICE("small, small, small"));
    for (int mixed = 0; mixed < 2; mixed++) {
        struct connection other = {0};
        open_group(READERS, mixed);
        bh_ws_reader_init(&other.reader, true, NULL);
        receive_all(bh_bytes_slice(&s));
        assert_int_equal(next(&group.all[50]), BH_WS_EV_WAIT); /* calling early is harmless */
        assert_int_equal(next(&group.all[99]), BH_WS_EV_WAIT);
        for (int i = 0; i < READERS; i++) {
            struct connection *c = &group.all[i];
            receive(&other, bh_bytes_slice(&small)); /* a small one never waits */
            assert_int_equal(next(&other), BH_WS_EV_MESSAGE);
            finish(c);
            expect_repeated(c, BH_WS_TEXT, 'x', 300000);
            assert_int_equal(next(c), BH_WS_EV_PING);
            assert_int_equal(next(c), BH_WS_EV_NONE);
        }
        assert_int_equal(group.woken, READERS - BH_INFLATERS_PLACES);
        for (int i = 0; i < group.woken; i++)
            assert_int_equal(group.order[i], i + BH_INFLATERS_PLACES);
        close_connection(&other);
        close_group();
    }
    bh_bytes_free(&small);
    bh_bytes_free(&s);
}

/* --- ways out --- */

static void leaving_serves_the_next(void **state) {
    struct bh_bytes s = {0};
    add_bomb(&s, BH_WS_BINARY, 'x', 300000);
    for (int way = 0; way < 4; way++) {
        open_group(READERS, way % 2);
        receive_all(bh_bytes_slice(&s));
        for (int i = 0; i < READERS; i += 3) {
            struct connection *c = &group.all[i];
            if (way < 2)
                close_connection(c);
            else
                bh_ws_reader_discard(&c->reader);
        }
        for (int i = 0; i < READERS; i++) {
            struct connection *c = &group.all[i];
            if (i % 3 == 0)
                continue;
            finish(c);
            expect_repeated(c, BH_WS_BINARY, 'x', 300000);
        }
        assert_int_equal(group.inflaters.held, 0);
        for (int i = 1; i < group.woken; i++) /* nobody was woken who had left, nor twice */
            assert_true(group.order[i] > group.order[i - 1]);
        close_group();
    }
    bh_bytes_free(&s);
}

/* As a server ends: one after the other, while others wait. */
static void closing_all(void **state) {
    struct bh_bytes s = {0};
    add_bomb(&s, BH_WS_BINARY, 'x', MIB);
    open_group(READERS, true);
    receive_all(bh_bytes_slice(&s));
    close_group();
    bh_bytes_free(&s);
}

static void errors_serve_the_next(void **state) {
    struct bh_bytes s = {0}, data = {0};
    test_repeat(&data, 'x', 300000);
    data.p[200000] = '\xff';
    add_compressed(&s, BH_WS_TEXT, bh_bytes_slice(&data));
    open_group(READERS, true);
    receive_all(bh_bytes_slice(&s));
    for (int i = 0; i < READERS; i++) {
        finish(&group.all[i]);
        assert_int_equal(group.all[i].e.code, 1007);
    }
    assert_int_equal(group.woken, READERS - BH_INFLATERS_PLACES);
    assert_int_equal(group.inflaters.held, 0);
    close_group();
    bh_bytes_free(&data);
    bh_bytes_free(&s);
}

static void a_released_message(void **state) {
    struct bh_bytes s = {0};
    struct connection *c = &group.all[0];
    add_bomb(&s, BH_WS_BINARY, 'x', MIB);
    add_frame(&s, BH_WS_TEXT, BH_SLICE("begin"));
    open_group(1, false);
    receive(c, bh_bytes_slice(&s));
    finish(c);
    assert_non_null(c->reader.partial);
    bh_ws_reader_release(&c->reader);
    assert_null(c->reader.partial);
    assert_int_equal(next(c), BH_WS_EV_NONE);
    bh_ws_reader_release(&c->reader); /* what is unfinished stays */
    assert_non_null(c->reader.partial);
    close_group();
    bh_bytes_free(&s);
}

/* --- discarding --- */

static void discarding_finds_the_close_frame(void **state) {
    struct bh_bytes bomb = {0}, s = {0};
    struct connection *c = &group.all[0];
    add_bomb(&bomb, BH_WS_TEXT, 'x', MIB);
    for (size_t begin = 0; begin < 4; begin++) {
        bh_bytes_clear(&s);
        if (begin == 1)
            bh_bytes_add(&s, bh_bytes_slice(&bomb)); /* suspended */
        if (begin == 2)
            add_frame(&s, BH_WS_TEXT, BH_SLICE("a fragment ")); /* unfinished */
        if (begin == 3)
            add_claim(&s, BH_WS_BINARY, 100, BH_SLICE("part of a frame"));
        open_group(1, false);
        receive(c, bh_bytes_slice(&s));
        assert_int_equal(next(c), begin == 1 ? BH_WS_EV_AGAIN : BH_WS_EV_NONE);
        bh_ws_reader_discard(&c->reader);
        assert_int_equal(group.inflaters.held, 0);
        bh_bytes_clear(&s);
        if (begin == 3)
            test_repeat(&s, 'x', 100 - strlen("part of a frame"));
        if (begin >= 2)
            add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("\xff its end"));
        bh_bytes_add(&s, bh_bytes_slice(&bomb));
        add_frame(&s, FIN | BH_WS_PING, BH_SLICE("ping"));
        add_frame(&s, RSV1 | BH_WS_BINARY, BH_SLICE("no"));
        add_frame(&s, FIN | BH_WS_PONG, BH_SLICE("pong"));
        add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("DEFLATE"));
        add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("\xff"));
        add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("text"));
        add_close(&s, 1000, "bye");
        receive(c, bh_bytes_slice(&s));
        assert_int_equal(next(c), BH_WS_EV_PING);
        assert_int_equal(next(c), BH_WS_EV_PONG);
        assert_int_equal(next(c), BH_WS_EV_CLOSE);
        assert_int_equal(c->e.code, 1000);
        assert_int_equal(next(c), BH_WS_EV_NONE);
        assert_null(c->reader.partial);
        close_group();
    }
    bh_bytes_free(&bomb);
    bh_bytes_free(&s);
}

static void discarding_byte_by_byte(void **state) {
    struct bh_bytes s = {0}, transcript = {0};
    struct connection *c = &group.all[0];
    add_frame(&s, BH_WS_TEXT, BH_SLICE("be"));
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("ping"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("gin"));
    add_compressed(&s, BH_WS_TEXT, BH_SLICE("compressed"));
    add_frame(&s, FIN | BH_WS_BINARY, BH_SLICE("binary"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("out of place"));
    open_group(1, false);
    bh_ws_reader_discard(&c->reader);
    for (size_t i = 0; i < s.len; i++)
        feed(&c->reader, &group.limits, bh_slice(s.p + i, 1), &transcript);
    assert_bytes(&transcript, "ping ping|error 1002|");
    close_group();
    bh_bytes_free(&transcript);
    bh_bytes_free(&s);
}

/* A hook closes the connection while it has the message. */
static void discarding_keeps_what_is_lent(void **state) {
    struct bh_bytes s = {0};
    struct connection *c = &group.all[0];
    add_bomb(&s, BH_WS_BINARY, 'x', MIB);
    add_close(&s, 1000, "");
    open_group(1, false);
    receive(c, bh_bytes_slice(&s));
    finish(c);
    bh_ws_reader_discard(&c->reader);
    expect_repeated(c, BH_WS_BINARY, 'x', MIB);
    assert_int_equal(next(c), BH_WS_EV_CLOSE);
    close_group();
    bh_bytes_free(&s);
}

/* --- memory --- */

/* Each allocation fails in turn: also one in line, and one that begins again. */
static void without_memory(void **state) {
    struct bh_bytes s = {0};
    add_bomb(&s, BH_WS_TEXT, 'x', 300000);
    bool refused = true;
    for (unsigned nth = 1; refused; nth++) {
        refused = false;
        open_group(READERS, false);
        bh_mem_fail_nth(nth);
        for (int i = 0; i < BH_INFLATERS_PLACES + 2; i++) {
            receive(&group.all[i], bh_bytes_slice(&s));
            next(&group.all[i]);
        }
        for (int i = 0; i < BH_INFLATERS_PLACES + 2; i++) {
            struct connection *c = &group.all[i];
            if (c->e.type == BH_WS_EV_AGAIN || c->e.type == BH_WS_EV_WAIT)
                finish(c);
            if (c->e.type == BH_WS_EV_ERROR) {
                assert_int_equal(c->e.code, 1011);
                assert_false(refused);
                refused = true;
            } else {
                expect_repeated(c, BH_WS_TEXT, 'x', 300000);
            }
        }
        bh_mem_fail_nth(0);
        assert_true(refused || nth > 100);
        nth += nth > 20 ? 4 : 0;
        close_group();
    }
    bh_bytes_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_is_bounded_by_its_output),
        cmocka_unit_test(a_step_is_bounded_by_its_input),
        cmocka_unit_test(a_bad_byte_ends_it),
        cmocka_unit_test(characters_go_on_in_the_next_step),
        cmocka_unit_test(the_limit_ends_it),
        cmocka_unit_test(suspended_after_fragments),
        cmocka_unit_test(several_are_suspended_at_once),
        cmocka_unit_test(a_hundred_at_once),
        cmocka_unit_test(leaving_serves_the_next),
        cmocka_unit_test(closing_all),
        cmocka_unit_test(errors_serve_the_next),
        cmocka_unit_test(a_released_message),
        cmocka_unit_test(discarding_finds_the_close_frame),
        cmocka_unit_test(discarding_byte_by_byte),
        cmocka_unit_test(discarding_keeps_what_is_lent),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
