/* Streams that take turns: put off, read again, moved, closed, indebted, with long steps. */
#include "io_test.h"

#include "bellhop/base/error.h"
#include "bellhop/io/stream.h"

#include <string.h>

static struct bh_loop *loop;

struct owner {
    struct bh_stream stream;
    unsigned datas, turns, ends;
    size_t bytes;
    unsigned takes_us;    /* each data */
    bool put_off_in_data; /* once */
    void (*in_turn)(struct owner *o);
};

static struct owner *of(struct bh_stream *s) {
    return BH_CONTAINER_OF(s, struct owner, stream);
}

static void on_data(struct bh_stream *s, unsigned char *data, size_t n) {
    struct owner *o = of(s);
    assert_false(bh_stream_is_put_off(s));
    o->datas++;
    o->bytes += n;
    bh_clock_fake_advance_us(o->takes_us);
    if (o->put_off_in_data)
        bh_stream_put_off(s);
    o->put_off_in_data = false;
}

static void on_end(struct bh_stream *s, int error) {
    of(s)->ends++;
}

static void on_writable(struct bh_stream *s) {}

static void on_turn(struct bh_stream *s) {
    struct owner *o = of(s);
    assert_false(bh_stream_is_put_off(s));
    o->turns++;
    if (o->in_turn)
        o->in_turn(o);
}

static const struct bh_stream_callbacks callbacks = {on_data, on_end, on_writable, on_turn};

static int setup(void **state) {
    bh_clock_fake(1000, 0);
    loop = bh_loop_new();
    return 0;
}

static int teardown(void **state) {
    bh_loop_free(loop);
    bh_clock_real();
    return 0;
}

static void open_pair(struct owner *o, int *peer) {
    int fds[2];
    test_unix_pair(fds);
    *peer = fds[0];
    *o = (struct owner){0};
    bh_stream_init(&o->stream, loop, fds[1], &callbacks);
    bh_stream_read(&o->stream, true);
}

static void close_pair(struct owner *o, int peer) {
    bh_stream_close(&o->stream);
    close(peer);
    bh_loop_tick(loop, false);
}

static void put(int fd, size_t n) {
    static const char bytes[256 * 1024];
    assert_int_equal(write(fd, bytes, n), n);
}

static void tick(void) {
    bh_loop_tick(loop, false);
}

static void data_comes_with_the_turn(void **state) {
    struct owner o;
    int peer;
    open_pair(&o, &peer);
    put(peer, 10);
    bh_stream_put_off(&o.stream);
    bh_stream_put_off(&o.stream); /* twice is once */
    assert_true(bh_stream_is_put_off(&o.stream));
    tick();
    assert_int_equal(o.turns, 1);
    assert_int_equal(o.datas, 1);
    put(peer, 10);
    bh_loop_tick(loop, true); /* watched again */
    assert_int_equal(o.turns, 1);
    assert_int_equal(o.datas, 2);
    close_pair(&o, peer);
}

static void a_turn_without_reading(void **state) {
    struct owner o;
    int peer;
    open_pair(&o, &peer);
    put(peer, 10);
    bh_stream_put_off(&o.stream);
    bh_stream_read(&o.stream, false);
    tick();
    tick();
    assert_int_equal(o.turns, 1);
    assert_int_equal(o.datas, 0);
    bh_stream_read(&o.stream, true);
    bh_loop_tick(loop, true);
    assert_int_equal(o.datas, 1);
    close_pair(&o, peer);
}

static void put_off_again(struct owner *o) {
    if (o->turns < 3)
        bh_stream_put_off(&o->stream);
}

static void no_data_while_put_off(void **state) {
    struct owner o;
    int peer;
    open_pair(&o, &peer);
    put(peer, 200 * 1024); /* more than one buffer */
    o.put_off_in_data = true;
    o.in_turn = put_off_again;
    tick();
    assert_int_equal(o.datas, 1);
    for (int i = 0; i < 5 && o.turns < 3; i++) {
        assert_int_equal(o.datas, 1);
        bh_loop_tick(loop, true);
    }
    for (int i = 0; i < 5; i++)
        tick();
    assert_int_equal(o.bytes, 200 * 1024);
    close_pair(&o, peer);
}

static void close_it(struct owner *o) {
    bh_stream_close(&o->stream);
}

static void closing_while_put_off(void **state) {
    struct owner a, b;
    int peers[2];
    open_pair(&a, &peers[0]);
    open_pair(&b, &peers[1]);
    bh_stream_put_off(&a.stream);
    bh_stream_put_off(&b.stream);
    bh_stream_close(&a.stream);
    assert_false(bh_stream_is_put_off(&a.stream));
    bh_stream_put_off(&a.stream); /* closed: nothing happens */
    b.in_turn = close_it;
    put(peers[1], 10);
    tick();
    assert_int_equal(a.turns, 0);
    assert_int_equal(b.turns, 1);
    assert_int_equal(b.datas, 0);
    close_pair(&a, peers[0]);
    close_pair(&b, peers[1]);
}

static void moving_while_put_off(void **state) {
    struct owner o, other = {0};
    int peer;
    open_pair(&o, &peer);
    put(peer, 10);
    bh_stream_put_off(&o.stream);
    bh_stream_move(&other.stream, &o.stream, &callbacks);
    assert_false(bh_stream_is_put_off(&o.stream));
    assert_true(bh_stream_is_put_off(&other.stream));
    tick();
    assert_int_equal(o.turns, 0);
    assert_int_equal(other.turns, 1);
    assert_int_equal(other.datas, 1);
    close_pair(&other, peer);
}

static void freeing_the_loop_while_put_off(void **state) {
    struct owner o;
    int peer;
    struct bh_loop *before = loop;
    loop = bh_loop_new();
    open_pair(&o, &peer);
    o.in_turn = close_it;
    bh_stream_put_off(&o.stream);
    bh_loop_free(loop);
    assert_int_equal(o.turns, 1);
    close(peer);
    loop = before;
}

static void one_step(struct owner *o, int peer) {
    unsigned before = o->datas;
    put(peer, 1);
    for (int i = 0; i < 3 && o->datas == before; i++)
        tick();
    assert_int_equal(o->datas, before + 1);
}

static void costly_streams_wait_behind_others(void **state) {
    struct owner costly, light;
    int peers[2];
    open_pair(&costly, &peers[0]);
    open_pair(&light, &peers[1]);
    costly.takes_us = 240;
    for (int i = 0; i < 5; i++) {
        one_step(&costly, peers[0]);
        one_step(&light, peers[1]);
    }
    assert_int_equal(costly.turns, 0); /* nobody was waiting */
    bh_stream_put_off(&light.stream);
    put(peers[0], 1);
    tick();
    assert_int_equal(light.turns, 1);
    assert_int_equal(costly.turns, 1);
    assert_int_equal(costly.datas, 6);
    bh_stream_put_off(&costly.stream);
    put(peers[1], 1);
    light.turns = 0;
    tick();
    assert_int_equal(light.turns, 0); /* served at once */
    assert_int_equal(light.datas, 6);
    close_pair(&costly, peers[0]);
    close_pair(&light, peers[1]);
}

static void debts_are_waited_off(void **state) {
    struct owner o;
    int peer;
    open_pair(&o, &peer);
    o.takes_us = 3000;
    one_step(&o, peer);
    one_step(&o, peer); /* not indebted: its owner has not asked for it */
    one_step(&o, peer);
    bh_stream_indebt(&o.stream);
    one_step(&o, peer); /* the first one makes it a suspect */
    one_step(&o, peer); /* 2 ms too much */
    assert_true(bh_stream_is_put_off(&o.stream));
    put(peer, 1);
    for (int ms = 0; ms < 19; ms++) {
        tick();
        assert_int_equal(o.datas, 5);
        bh_clock_fake_advance(1);
    }
    for (int i = 0; i < 3; i++) {
        bh_clock_fake_advance(1);
        tick();
    }
    assert_int_equal(o.datas, 6);
    bh_stream_close(&o.stream); /* in debt again */
    bh_clock_fake_advance(2000);
    close_pair(&o, peer);
}

/* Measuring CPU time costs a system call, so it ends when a stream has long been light. */
static void suspicion_ends(void **state) {
    struct owner o;
    int peer;
    open_pair(&o, &peer);
    bh_stream_indebt(&o.stream);
    o.takes_us = 3000;
    one_step(&o, peer);
    o.takes_us = 0;
    bh_clock_fake_advance(9000);
    one_step(&o, peer);
    o.takes_us = 3000;
    one_step(&o, peer);
    assert_true(bh_stream_is_put_off(&o.stream));
    bh_clock_fake_advance(12000);
    tick();
    o.takes_us = 0;
    one_step(&o, peer);
    o.takes_us = 3000;
    one_step(&o, peer);
    assert_false(bh_stream_is_put_off(&o.stream));
    close_pair(&o, peer);
}

/* Debtors come back in order, and none waits longer than a second. */
static void debtors_wait_in_line(void **state) {
    enum { MANY = 8 };
    static struct owner owners[MANY];
    int peers[MANY];
    for (int i = 0; i < MANY; i++) {
        open_pair(&owners[i], &peers[i]);
        bh_stream_indebt(&owners[i].stream);
        owners[i].takes_us = 41000;
        one_step(&owners[i], peers[i]);
    }
    for (int i = 0; i < MANY; i++) { /* the first has to wait 400 ms, the third 1200 */
        one_step(&owners[i], peers[i]);
        owners[i].takes_us = 0;
        put(peers[i], 1);
    }
    for (int ms = 0; ms < 1000; ms++) {
        tick();
        for (int i = 1; i < MANY; i++)
            assert_true(owners[i].datas <= owners[i - 1].datas);
        bh_clock_fake_advance(1);
    }
    tick();
    tick();
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(owners[i].datas, 3);
        close_pair(&owners[i], peers[i]);
    }
}

/* --- long steps --- */

#define TRIO 3

static struct owner trio[TRIO];
static int trio_peers[TRIO], begun[TRIO];

static void open_trio(void) {
    for (int i = 0; i < TRIO; i++) {
        open_pair(&trio[i], &trio_peers[i]);
        begun[i] = 1;
    }
}

static void close_trio(void) {
    for (int i = 0; i < TRIO; i++)
        close_pair(&trio[i], trio_peers[i]);
}

static void begin_in_turn(struct owner *o) {
    begun[o - trio] = bh_stream_begin_long(&o->stream);
}

static void wait_in_line(int i) {
    trio[i].in_turn = begin_in_turn;
    assert_int_equal(bh_stream_begin_long(&trio[i].stream), BH_EAGAIN);
    assert_true(bh_stream_is_put_off(&trio[i].stream));
}

static void pass(unsigned ms) {
    for (unsigned i = 0; i < ms; i++) {
        bh_clock_fake_advance(1);
        tick();
        tick();
    }
}

static void long_steps_take_turns(void **state) {
    open_trio();
    assert_int_equal(bh_stream_begin_long(&trio[0].stream), 0);
    assert_int_equal(bh_stream_begin_long(&trio[0].stream), 0); /* again */
    wait_in_line(1);
    wait_in_line(2);
    put(trio_peers[1], 1);
    pass(10);
    assert_int_equal(trio[1].turns + trio[1].datas, 0);
    bh_stream_end_long(&trio[1].stream); /* has none: nothing happens */
    pass(1);
    assert_int_equal(trio[1].turns, 0);
    assert_int_equal(bh_stream_begin_long(&trio[0].stream), 0); /* what it takes counts from here */
    bh_stream_end_long(&trio[0].stream);
    pass(2);
    assert_int_equal(begun[1], 0);
    assert_int_equal(trio[1].datas, 1);
    assert_int_equal(trio[2].turns, 0);
    bh_stream_close(&trio[1].stream);
    pass(2);
    assert_int_equal(begun[2], 0);
    close_trio();
    open_trio();
    assert_int_equal(bh_stream_begin_long(&trio[0].stream), 0); /* nothing is left of them */
    close_trio();
}

static void long_steps_are_waited_off(void **state) {
    static const struct {
        unsigned took_us, wait_ms;
    } cases[] = {{900, 0}, {3000, 20}, {5000, 40}, {15000, 2040}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_trio();
        assert_int_equal(bh_stream_begin_long(&trio[0].stream), 0);
        bh_clock_fake_advance_us(cases[i].took_us);
        bh_stream_end_long(&trio[0].stream);
        put(trio_peers[2], 1); /* has to wait for it */
        tick();
        tick();
        if (cases[i].wait_ms > 0) {
            wait_in_line(0);
            wait_in_line(1);
            pass(cases[i].wait_ms - 2);
            assert_int_equal(trio[0].turns, 0);
        }
        pass(3);
        assert_int_equal(cases[i].wait_ms ? begun[0] : bh_stream_begin_long(&trio[0].stream), 0);
        assert_int_equal(trio[1].turns, 0);
        close_trio();
    }
}

static void long_steps_that_delay_nobody(void **state) {
    open_trio();
    for (int i = 0; i < 4; i++) {
        struct bh_stream *s = &trio[i % 2].stream;
        assert_int_equal(bh_stream_begin_long(s), 0);
        bh_clock_fake_advance_us(50000);
        bh_stream_end_long(s);
        put(trio_peers[i % 2], 1);
        tick();
        bh_clock_fake_advance(1);
        put(trio_peers[2], 1); /* later */
        tick();
        tick();
    }
    assert_int_equal(bh_stream_begin_long(&trio[0].stream), 0);
    bh_clock_fake_advance_us(50000);
    bh_stream_end_long(&trio[0].stream);
    wait_in_line(0); /* it is not known yet */
    pass(5);
    assert_int_equal(begun[0], 0);
    close_trio();
}

/* Who has waited too long is refused once, and may then begin as others. */
static void the_line_is_bounded(void **state) {
    open_trio();
    assert_int_equal(bh_stream_begin_long(&trio[0].stream), 0);
    wait_in_line(1);
    pass(20000);
    wait_in_line(2);
    bh_stream_close(&trio[2].stream);
    pass(9990);
    assert_int_equal(trio[1].turns, 0);
    pass(20);
    assert_int_equal(begun[1], BH_ETIMEDOUT);
    assert_int_equal(bh_stream_begin_long(&trio[1].stream), BH_EAGAIN);
    assert_int_equal(bh_stream_begin_long(&trio[0].stream), 0);
    bh_stream_end_long(&trio[0].stream);
    pass(2);
    assert_int_equal(begun[1], 0);
    close_trio();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(data_comes_with_the_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(a_turn_without_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(no_data_while_put_off, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_while_put_off, setup, teardown),
        cmocka_unit_test_setup_teardown(moving_while_put_off, setup, teardown),
        cmocka_unit_test_setup_teardown(freeing_the_loop_while_put_off, setup, teardown),
        cmocka_unit_test_setup_teardown(costly_streams_wait_behind_others, setup, teardown),
        cmocka_unit_test_setup_teardown(debts_are_waited_off, setup, teardown),
        cmocka_unit_test_setup_teardown(suspicion_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(debtors_wait_in_line, setup, teardown),
        cmocka_unit_test_setup_teardown(long_steps_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(long_steps_are_waited_off, setup, teardown),
        cmocka_unit_test_setup_teardown(long_steps_that_delay_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(the_line_is_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
