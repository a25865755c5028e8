/* Streams: bytes both ways, back-pressure, every kind of end, and owners that call anything from
 * their callbacks. */
#include "io_test.h"

#include "bellhop/io/stream.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static struct bh_loop *loop;

/* An owner on the heap that frees itself in the reap phase, as stream.h requires. */
struct owner {
    struct bh_stream stream;
    struct bh_defer reap;
    unsigned datas, ends, writables;
    size_t bytes;
    int error;
    char text[64];
    /* what to do inside the callbacks */
    void (*in_data)(struct owner *);
    void (*in_end)(struct owner *);
    void (*in_writable)(struct owner *);
    struct owner *other;
    int spare_fd;
};

static unsigned reaped;

static void on_data(struct bh_stream *s, unsigned char *data, size_t n) {
    struct owner *o = BH_CONTAINER_OF(s, struct owner, stream);
    assert_true(bh_stream_is_open(s));
    assert_true(s->reading);
    assert_int_equal(o->ends, 0);
    assert_true(n > 0 && n <= BH_LOOP_READ_BUFFER);
    o->datas++;
    o->bytes += n;
    snprintf(o->text, sizeof o->text, "%.*s", (int)(n < 60 ? n : 60), (const char *)data);
    data[n - 1] ^= 0xff; /* the callee may change it in place */
    if (o->in_data)
        o->in_data(o);
}

static void on_end(struct bh_stream *s, int error) {
    struct owner *o = BH_CONTAINER_OF(s, struct owner, stream);
    assert_true(bh_stream_is_open(s));
    o->ends++;
    o->error = error;
    if (o->in_end)
        o->in_end(o);
}

static void on_writable(struct bh_stream *s) {
    struct owner *o = BH_CONTAINER_OF(s, struct owner, stream);
    assert_true(bh_stream_is_open(s));
    o->writables++;
    if (o->in_writable)
        o->in_writable(o);
}

static const struct bh_stream_callbacks callbacks = {
    .on_data = on_data, .on_end = on_end, .on_writable = on_writable};

static void on_reap(struct bh_defer *d) {
    struct owner *o = BH_CONTAINER_OF(d, struct owner, reap);
    assert_false(bh_stream_is_open(&o->stream));
    bh_free(o);
    reaped++;
}

static struct owner *owner_new(int fd) {
    struct owner *o = bh_calloc(1, sizeof *o);
    bh_defer_init(&o->reap, on_reap);
    bh_stream_init(&o->stream, loop, fd, &callbacks);
    return o;
}

static void owner_close(struct owner *o) {
    bh_stream_close(&o->stream);
    bh_defer(loop, BH_PHASE_REAP, &o->reap);
}

static int setup(void **state) {
    loop = bh_loop_new();
    reaped = 0;
    return 0;
}

static int teardown(void **state) {
    bh_loop_free(loop);
    return 0;
}

static void tick(void) {
    bh_loop_tick(loop, false);
}

static void ticks(int n) {
    while (n-- > 0)
        tick();
}

static void put(int fd, const char *text) {
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static ssize_t stream_puts(struct bh_stream *s, const char *text) {
    struct iovec iov = {(void *)text, strlen(text)};
    return bh_stream_write(s, &iov, 1);
}

/* --- reading --- */

static void reads_when_asked_to(void **state) {
    int fds[2];
    test_tcp_pair(fds);
    struct owner *o = owner_new(fds[1]);
    put(fds[0], "hello");
    ticks(3);
    assert_int_equal(o->datas, 0);
    bh_stream_read(&o->stream, true);
    bh_loop_tick(loop, true);
    assert_int_equal(o->datas, 1);
    assert_string_equal(o->text, "hello");
    bh_stream_read(&o->stream, false);
    put(fds[0], "later");
    ticks(3);
    assert_int_equal(o->datas, 1);
    bh_stream_read(&o->stream, true);
    bh_stream_read(&o->stream, false);
    bh_stream_read(&o->stream, true);
    bh_loop_tick(loop, true);
    assert_string_equal(o->text, "later");
    owner_close(o);
    close(fds[0]);
}

static void fill(int fd, size_t want) {
    char block[8192];
    memset(block, 'x', sizeof block);
    while (want > 0) {
        ssize_t n = write(fd, block, want < sizeof block ? want : sizeof block);
        if (n < 0)
            break;
        want -= (size_t)n;
    }
}

static void pause_reading(struct owner *o) {
    bh_stream_read(&o->stream, false);
}

static void pausing_inside_on_data_stops_at_once(void **state) {
    int fds[2];
    test_unix_pair(fds);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int));
    struct owner *o = owner_new(fds[1]);
    o->in_data = pause_reading;
    fill(fds[0], 200000);
    bh_stream_read(&o->stream, true);
    ticks(3);
    assert_int_equal(o->datas, 1);
    o->in_data = NULL;
    size_t before = o->bytes;
    bh_stream_read(&o->stream, true);
    ticks(10);
    assert_true(o->bytes > before);
    owner_close(o);
    close(fds[0]);
}

static void one_peer_cannot_hold_the_loop(void **state) {
    int fds[2];
    test_unix_pair(fds);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){4 << 20}, sizeof(int));
    struct owner *o = owner_new(fds[1]);
    bh_stream_read(&o->stream, true);
    size_t sent = 0;
    char block[4096] = "";
    for (ssize_t n; sent < (1 << 20) && (n = write(fds[0], block, sizeof block)) > 0;)
        sent += (size_t)n;
    tick();
    assert_true(o->bytes > 0);
    assert_true(o->bytes <= 4 * BH_LOOP_READ_BUFFER);
    while (o->bytes < sent)
        bh_loop_tick(loop, true);
    assert_int_equal(o->bytes, sent);
    owner_close(o);
    close(fds[0]);
}

/* --- ends --- */

static void the_end_comes_once_and_writing_goes_on(void **state) {
    int fds[2];
    char text[16] = "";
    test_tcp_pair(fds);
    struct owner *o = owner_new(fds[1]);
    bh_stream_read(&o->stream, true);
    put(fds[0], "last words");
    shutdown(fds[0], SHUT_WR);
    ticks(5);
    assert_string_equal(o->text, "last words");
    assert_int_equal(o->ends, 1);
    assert_int_equal(o->error, 0);
    bh_stream_read(&o->stream, false);
    bh_stream_read(&o->stream, true);
    ticks(5);
    assert_int_equal(o->ends, 1);

    assert_int_equal(stream_puts(&o->stream, "goodbye"), 7); /* half open */
    assert_int_equal(read(fds[0], text, sizeof text), 7);
    bh_stream_want_write(&o->stream);
    tick();
    assert_int_equal(o->writables, 1);
    bh_stream_shutdown(&o->stream);
    assert_int_equal(read(fds[0], text, sizeof text), 0);
    owner_close(o);
    close(fds[0]);
}

static void a_reset_is_an_error(void **state) {
    int fds[2];
    test_tcp_pair(fds);
    struct owner *o = owner_new(fds[1]);
    bh_stream_read(&o->stream, true);
    test_reset(fds[0]);
    ticks(5);
    assert_int_equal(o->ends, 1);
    assert_int_equal(o->error, BH_EIO);
    assert_int_equal(o->datas, 0);
    owner_close(o);
}

static void fill_stream(struct bh_stream *s) {
    static char block[65536];
    struct iovec iov = {block, sizeof block};
    while (bh_stream_write(s, &iov, 1) > 0)
        continue;
}

static void a_reset_in_mid_write(void **state) {
    for (int reading = 0; reading < 2; reading++) {
        int fds[2];
        test_tcp_pair(fds);
        struct owner *o = owner_new(fds[1]);
        bh_stream_read(&o->stream, reading);
        fill_stream(&o->stream);
        assert_int_equal(stream_puts(&o->stream, "x"), BH_EAGAIN);
        bh_stream_want_write(&o->stream);
        ticks(3);
        assert_int_equal(o->writables, 0);
        test_reset(fds[0]);
        ticks(5);
        /* The first event reports it, once, and nothing spins. */
        assert_int_equal(o->writables + o->ends, 1);
        assert_int_equal(o->error, reading ? BH_EIO : 0);
        assert_int_equal(stream_puts(&o->stream, "x"), BH_ECLOSED);
        owner_close(o);
        tick();
    }
}

static void writing_to_a_closed_peer_raises_nothing(void **state) {
    int fds[2];
    test_unix_pair(fds);
    struct owner *o = owner_new(fds[1]);
    close(fds[0]);
    assert_int_equal(stream_puts(&o->stream, "x"), BH_ECLOSED);
    char bytes[] = "ab";
    struct iovec iov[2] = {{bytes, 1}, {bytes + 1, 1}};
    assert_int_equal(bh_stream_write(&o->stream, iov, 2), BH_ECLOSED);
    tick();
    assert_int_equal(o->ends, 0);
    owner_close(o);
}

/* --- writing --- */

static void partial_writes_lose_nothing(void **state) {
    enum { TOTAL = 3 << 20 };
    int fds[2];
    test_tcp_pair(fds);
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &(int){20000}, sizeof(int));
    struct owner *o = owner_new(fds[1]);
    unsigned char *out = bh_malloc(TOTAL), *in = bh_malloc(TOTAL);
    uint64_t seed = 7;
    for (size_t i = 0; i < TOTAL; i++)
        out[i] = (unsigned char)test_random_from(&seed);
    size_t sent = 0, got = 0;
    unsigned asked = 0, partial = 0;
    while (got < TOTAL) {
        size_t left = TOTAL - sent, third = left / 3;
        struct iovec iov[3] = {{out + sent, third},
                               {out + sent + third, third},
                               {out + sent + 2 * third, left - 2 * third}};
        ssize_t n = bh_stream_write(&o->stream, iov, 3);
        if (n > 0) {
            sent += (size_t)n;
            partial += (size_t)n < left;
        } else if (left > 0) {
            assert_int_equal(n, BH_EAGAIN);
            bh_stream_want_write(&o->stream);
            bh_stream_want_write(&o->stream);
            asked++;
        }
        ssize_t r = read(fds[0], in + got, TOTAL - got);
        got += r > 0 ? (size_t)r : 0;
        while (o->writables < asked) {
            tick();
            r = read(fds[0], in + got, TOTAL - got);
            got += r > 0 ? (size_t)r : 0;
        }
        assert_int_equal(o->writables, asked); /* once for each request */
    }
    assert_true(partial > 0 && asked > 0);
    assert_memory_equal(in, out, TOTAL);
    bh_free(in);
    bh_free(out);
    owner_close(o);
    close(fds[0]);
}

static void odd_vectors(void **state) {
    int fds[2];
    test_unix_pair(fds);
    struct owner *o = owner_new(fds[1]);
    char byte = 'y';
    struct iovec iov[IOV_MAX + 100];
    for (int i = 0; i < IOV_MAX + 100; i++)
        iov[i] = (struct iovec){&byte, 1};
    assert_int_equal(bh_stream_write(&o->stream, iov, 0), 0);
    assert_int_equal(bh_stream_write(&o->stream, iov, IOV_MAX + 100), IOV_MAX);
    iov[0].iov_len = 0;
    assert_int_equal(bh_stream_write(&o->stream, iov, 1), 0);
    owner_close(o);
    close(fds[0]);
}

static void a_closed_stream_is_harmless(void **state) {
    int fds[2];
    test_unix_pair(fds);
    struct owner *o = owner_new(fds[1]);
    bh_stream_read(&o->stream, true);
    bh_stream_want_write(&o->stream);
    bh_stream_close(&o->stream);
    bh_stream_close(&o->stream);
    assert_false(bh_stream_is_open(&o->stream));
    assert_int_equal(stream_puts(&o->stream, "x"), BH_ECLOSED);
    bh_stream_read(&o->stream, true);
    bh_stream_want_write(&o->stream);
    bh_stream_shutdown(&o->stream);
    ticks(3);
    assert_int_equal(o->datas + o->ends + o->writables, 0);
    owner_close(o);
    close(fds[0]);
}

/* --- connecting --- */

static void connects(void **state) {
    struct bh_addr at;
    char text[8] = "";
    int listening = test_listen(&at);
    struct owner *o = owner_new(-1);
    assert_int_equal(bh_stream_connect(&o->stream, loop, &at, &callbacks), 0);
    assert_int_equal(o->writables, 0);
    assert_int_equal(stream_puts(&o->stream, "x"), BH_EAGAIN);
    bh_stream_read(&o->stream, true); /* takes effect when connected */
    bh_stream_want_write(&o->stream);
    while (o->writables == 0)
        bh_loop_tick(loop, true);
    ticks(3);
    assert_int_equal(o->writables, 1);
    int peer = accept(listening, NULL, NULL);
    assert_int_equal(stream_puts(&o->stream, "hi"), 2);
    assert_int_equal(read(peer, text, sizeof text), 2);
    put(peer, "ho");
    bh_loop_tick(loop, true);
    assert_string_equal(o->text, "ho");
    owner_close(o);
    close(peer);
    close(listening);
}

static void connecting_to_nobody(void **state) {
    struct bh_addr at;
    close(test_listen(&at)); /* a port that refuses */
    struct owner *o = owner_new(-1);
    int error = bh_stream_connect(&o->stream, loop, &at, &callbacks);
    assert_int_equal(error, 0);
    while (o->ends == 0)
        bh_loop_tick(loop, true);
    assert_int_equal(o->error, BH_EUNAVAIL);
    ticks(3);
    assert_int_equal(o->ends, 1);
    assert_int_equal(o->writables, 0);
    owner_close(o);

    struct bh_addr nowhere = test_addr("/no/such/socket");
    o = owner_new(-1);
    assert_int_equal(bh_stream_connect(&o->stream, loop, &nowhere, &callbacks), BH_EIO);
    assert_false(bh_stream_is_open(&o->stream));
    ticks(3);
    assert_int_equal(o->ends, 0);
    struct bh_addr nothing = {0};
    assert_int_equal(bh_stream_connect(&o->stream, loop, &nothing, &callbacks), BH_EIO);
    owner_close(o);
}

static void closing_while_connecting(void **state) {
    struct bh_addr at;
    int listening = test_listen(&at);
    struct owner *o = owner_new(-1);
    assert_int_equal(bh_stream_connect(&o->stream, loop, &at, &callbacks), 0);
    owner_close(o);
    ticks(3);
    assert_int_equal(reaped, 1);
    close(listening);
}

static struct bh_addr reconnect_to;

static void reconnect(struct owner *o) {
    bh_stream_close(&o->stream);
    o->in_end = NULL;
    assert_int_equal(bh_stream_connect(&o->stream, loop, &reconnect_to, &callbacks), 0);
    bh_stream_want_write(&o->stream);
}

static void reconnecting_inside_on_end(void **state) {
    int listening = test_listen(&reconnect_to), fds[2];
    test_tcp_pair(fds);
    struct owner *o = owner_new(fds[1]);
    o->in_end = reconnect;
    bh_stream_read(&o->stream, true);
    bh_stream_want_write(&o->stream); /* both events at once, for the old connection */
    close(fds[0]);
    tick();
    assert_int_equal(o->ends, 1);
    while (o->stream.connecting)
        bh_loop_tick(loop, true);
    assert_int_equal(o->writables, 1); /* the new one's success, nothing else */
    owner_close(o);
    close(listening);
}

/* --- owners that close inside callbacks --- */

static void close_self(struct owner *o) {
    owner_close(o);
}

static void close_other(struct owner *o) {
    if (o->other)
        owner_close(o->other);
    o->other = NULL;
}

static void closing_inside_on_data(void **state) {
    int fds[2];
    test_unix_pair(fds);
    struct owner *o = owner_new(fds[1]);
    o->in_data = close_self;
    bh_stream_read(&o->stream, true);
    bh_stream_want_write(&o->stream);
    fill(fds[0], 150000); /* more than one buffer */
    close(fds[0]);
    ticks(3);
    assert_int_equal(reaped, 1);
}

static void closing_inside_on_end(void **state) {
    int fds[2];
    test_unix_pair(fds);
    struct owner *o = owner_new(fds[1]);
    o->in_end = close_self;
    bh_stream_read(&o->stream, true);
    bh_stream_want_write(&o->stream);
    close(fds[0]);
    ticks(3);
    assert_int_equal(reaped, 1);
}

static void closing_inside_on_writable(void **state) {
    int fds[2];
    test_unix_pair(fds);
    struct owner *o = owner_new(fds[1]);
    o->in_writable = close_self;
    bh_stream_want_write(&o->stream);
    ticks(3);
    assert_int_equal(reaped, 1);
    close(fds[0]);
}

static void closing_when_connected_or_not(void **state) {
    struct bh_addr good, bad;
    int listening = test_listen(&good);
    close(test_listen(&bad));
    struct owner *o[2] = {owner_new(-1), owner_new(-1)};
    bh_stream_connect(&o[0]->stream, loop, &good, &callbacks);
    bh_stream_connect(&o[1]->stream, loop, &bad, &callbacks);
    for (int i = 0; i < 2; i++) {
        o[i]->in_writable = close_self;
        o[i]->in_end = close_self;
    }
    while (reaped < 2)
        bh_loop_tick(loop, true);
    close(listening);
}

static void closing_another_that_is_ready_too(void **state) {
    int a[2], b[2];
    test_unix_pair(a);
    test_unix_pair(b);
    struct owner *one = owner_new(a[1]), *two = owner_new(b[1]);
    one->other = two;
    two->other = one;
    one->in_data = two->in_data = close_other;
    bh_stream_read(&one->stream, true);
    bh_stream_read(&two->stream, true);
    put(a[0], "x");
    put(b[0], "x");
    tick();
    assert_int_equal(reaped, 1); /* the first to run closed the other, which got no callback */
    put(a[0], "y");
    close(a[0]);
    close(b[0]);
    struct owner *left = one->other ? two : one;
    left->other = NULL;
    left->in_data = NULL;
    owner_close(left);
}

/* Takes the descriptor number of the stream that has just closed, within the same tick. */
static void replace_self(struct owner *o) {
    int old = o->stream.fd;
    owner_close(o);
    assert_int_equal(dup3(o->spare_fd, old, O_CLOEXEC), old);
    close(o->spare_fd);
    bh_stream_init(&o->other->stream, loop, old, &callbacks);
    bh_stream_read(&o->other->stream, true);
}

static void a_descriptor_number_comes_back_in_the_same_tick(void **state) {
    int a[2], b[2];
    test_unix_pair(a);
    test_unix_pair(b);
    struct owner *old = owner_new(a[1]), *new = owner_new(-1);
    old->other = new;
    old->spare_fd = b[1];
    old->in_data = replace_self;
    bh_stream_read(&old->stream, true);
    put(a[0], "old");
    tick();
    assert_int_equal(reaped, 1);
    put(b[0], "new");
    bh_loop_tick(loop, true);
    assert_string_equal(new->text, "new");
    owner_close(new);
    close(a[0]);
    close(b[0]);
}

/* --- moving and resetting --- */

static void moving_goes_on_under_another_owner(void **state) {
    int fds[2];
    char text[8] = "";
    test_tcp_pair(fds);
    struct owner *old = owner_new(fds[1]), *new = owner_new(-1);
    bh_stream_read(&old->stream, true);
    bh_stream_want_write(&old->stream);
    put(fds[0], "on the way");
    bh_stream_move(&new->stream, &old->stream, &callbacks);
    assert_false(bh_stream_is_open(&old->stream));
    assert_int_equal(stream_puts(&old->stream, "x"), BH_ECLOSED);
    owner_close(old);
    ticks(3);
    assert_int_equal(reaped, 1);
    assert_string_equal(new->text, "on the way"); /* reading is on as it was */
    assert_int_equal(new->writables, 0);          /* no request is inherited */
    assert_int_equal(stream_puts(&new->stream, "new"), 3);
    assert_int_equal(read(fds[0], text, sizeof text), 3);
    owner_close(new);
    assert_int_equal(read(fds[0], text, sizeof text), 0);
    close(fds[0]);
}

static void move_to_other(struct owner *o) {
    bh_stream_move(&o->other->stream, &o->stream, &callbacks);
    bh_stream_read(&o->other->stream, true);
    owner_close(o);
}

static void moving_inside_on_data(void **state) {
    int fds[2];
    test_unix_pair(fds);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int));
    struct owner *old = owner_new(fds[1]), *new = owner_new(-1);
    old->other = new;
    old->in_data = move_to_other;
    bh_stream_read(&old->stream, true);
    fill(fds[0], 150000); /* more than one buffer */
    tick();
    assert_int_equal(reaped, 1);
    ticks(5);
    assert_int_equal(new->bytes, 150000 - BH_LOOP_READ_BUFFER);
    close(fds[0]);
    ticks(3);
    assert_int_equal(new->ends, 1);
    owner_close(new);
}

static void resetting_drops_what_the_peer_does_not_read(void **state) {
    int fds[2];
    char block[8192];
    ssize_t n;
    test_tcp_pair(fds);
    struct owner *o = owner_new(fds[1]);
    fill_stream(&o->stream);
    bh_stream_reset(&o->stream);
    bh_stream_reset(&o->stream);
    assert_false(bh_stream_is_open(&o->stream));
    while ((n = read(fds[0], block, sizeof block)) > 0) /* what had arrived */
        continue;
    assert_int_equal(n, -1);
    assert_int_equal(errno, ECONNRESET);
    ticks(3);
    assert_int_equal(o->ends, 0);
    owner_close(o);
    close(fds[0]);
}

/* --- anything in any order --- */

/* Each side sends the numbers 0, 1, 2, ... as bytes modulo 251 and checks what it gets. */
struct side {
    struct bh_stream stream;
    struct side *peer;
    size_t sent, got;
    bool ended;
};

static uint64_t seed = 99;

static void send_some(struct side *s) {
    char bytes[3000];
    size_t n = test_random_from(&seed) % sizeof bytes;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)((s->sent + i) % 251);
    size_t half = n / 2;
    struct iovec iov[2] = {{bytes, half}, {bytes + half, n - half}};
    ssize_t taken = bh_stream_write(&s->stream, iov, 2);
    if (taken > 0)
        s->sent += (size_t)taken;
}

static void do_anything(struct side *s) {
    switch (test_random_from(&seed) % 9) {
    case 0:
        bh_stream_read(&s->stream, false);
        break;
    case 1:
    case 2:
        bh_stream_read(&s->stream, true);
        break;
    case 3:
        bh_stream_want_write(&s->stream);
        break;
    case 4:
        if (test_random_from(&seed) % 50 == 0)
            bh_stream_close(&s->stream);
        break;
    case 5:
        if (test_random_from(&seed) % 50 == 0)
            bh_stream_shutdown(&s->stream);
        break;
    case 6:
        bh_stream_put_off(&s->stream);
        break;
    default:
        send_some(s);
    }
}

static void chaos_data(struct bh_stream *stream, unsigned char *data, size_t n) {
    struct side *s = BH_CONTAINER_OF(stream, struct side, stream);
    assert_true(bh_stream_is_open(stream) && stream->reading && !s->ended);
    assert_false(bh_stream_is_put_off(stream));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(data[i], (s->got + i) % 251);
    s->got += n;
    do_anything(s);
    do_anything(s->peer);
}

static void chaos_end(struct bh_stream *stream, int error) {
    struct side *s = BH_CONTAINER_OF(stream, struct side, stream);
    assert_true(bh_stream_is_open(stream) && !s->ended);
    s->ended = true;
    do_anything(s);
}

static void chaos_writable(struct bh_stream *stream) {
    struct side *s = BH_CONTAINER_OF(stream, struct side, stream);
    assert_true(bh_stream_is_open(stream));
    do_anything(s->peer);
    do_anything(s);
}

static void chaos_turn(struct bh_stream *stream) {
    struct side *s = BH_CONTAINER_OF(stream, struct side, stream);
    assert_true(bh_stream_is_open(stream) && !bh_stream_is_put_off(stream));
    do_anything(s);
}

static const struct bh_stream_callbacks chaos = {chaos_data, chaos_end, chaos_writable, chaos_turn};

static void pair_open(struct side pair[2], bool tcp) {
    int fds[2];
    if (tcp)
        test_tcp_pair(fds);
    else
        test_unix_pair(fds);
    for (int i = 0; i < 2; i++) {
        pair[i] = (struct side){.peer = &pair[1 - i]};
        bh_stream_init(&pair[i].stream, loop, fds[i], &chaos);
    }
}

/* With both ends open, all that was sent arrives once reading is on. */
static void pair_drain(struct side pair[2]) {
    for (int i = 0; i < 2; i++)
        while (bh_stream_is_open(&pair[0].stream) && bh_stream_is_open(&pair[1].stream) &&
               !pair[i].ended && pair[i].got < pair[1 - i].sent) {
            bh_stream_read(&pair[i].stream, true);
            bh_loop_tick(loop, true);
        }
}

static void anything_in_any_order(void **state) {
    enum { PAIRS = 20, ROUNDS = 20000 };
    static struct side sides[PAIRS][2];
    size_t received = 0;
    for (int i = 0; i < PAIRS; i++)
        pair_open(sides[i], i % 2);
    for (int round = 0; round < ROUNDS; round++) {
        struct side *pair = sides[test_random_from(&seed) % PAIRS];
        do_anything(&pair[test_random_from(&seed) % 2]);
        if (round % 4 == 0)
            tick();
        if (!bh_stream_is_open(&pair[0].stream) && !bh_stream_is_open(&pair[1].stream)) {
            received += pair[0].got + pair[1].got;
            pair_open(pair, round % 2);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        pair_drain(sides[i]);
        bh_stream_close(&sides[i][0].stream);
        bh_stream_close(&sides[i][1].stream);
    }
    assert_true(received > 0);
}

/* Its window is closed: it never acknowledges the rest. */
static void a_peer_that_acknowledges_nothing_is_gone(void **state) {
    static char block[65536];
    struct iovec iov = {block, sizeof block};
    int fds[2];
    test_tcp_pair(fds);
    struct owner *o = owner_new(fds[1]);
    bh_stream_set_ack_timeout(&o->stream, 50);
    bh_stream_read(&o->stream, true);
    while (bh_stream_write(&o->stream, &iov, 1) > 0)
        ;
    for (int i = 0; i < 20000 && !o->ends; i++) {
        tick();
        poll(NULL, 0, 1);
    }
    assert_int_equal(o->ends, 1);
    assert_int_equal(o->error, BH_EIO);
    owner_close(o);
    close(fds[0]);
}

static void an_acknowledgement_timeout_of_a_unix_socket_is_none(void **state) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    struct owner *o = owner_new(fds[1]);
    bh_stream_set_ack_timeout(&o->stream, 50);
    assert_int_equal(stream_puts(&o->stream, "hello"), 5);
    owner_close(o);
    close(fds[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_when_asked_to, setup, teardown),
        cmocka_unit_test_setup_teardown(pausing_inside_on_data_stops_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(one_peer_cannot_hold_the_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_comes_once_and_writing_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_in_mid_write, setup, teardown),
        cmocka_unit_test_setup_teardown(writing_to_a_closed_peer_raises_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(partial_writes_lose_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_acknowledges_nothing_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(an_acknowledgement_timeout_of_a_unix_socket_is_none, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(odd_vectors, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_stream_is_harmless, setup, teardown),
        cmocka_unit_test_setup_teardown(connects, setup, teardown),
        cmocka_unit_test_setup_teardown(connecting_to_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_while_connecting, setup, teardown),
        cmocka_unit_test_setup_teardown(reconnecting_inside_on_end, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_inside_on_data, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_inside_on_end, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_inside_on_writable, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_when_connected_or_not, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_another_that_is_ready_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_descriptor_number_comes_back_in_the_same_tick, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(moving_goes_on_under_another_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(moving_inside_on_data, setup, teardown),
        cmocka_unit_test_setup_teardown(resetting_drops_what_the_peer_does_not_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(anything_in_any_order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
