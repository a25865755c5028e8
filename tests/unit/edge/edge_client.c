/* edge_client.c - clients of the instance under test. */
#include "edge_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int64_t count_of(enum bh_edge_metric metric) {
    return bh_metric_read(&bh_edge_metrics[metric]);
}

void dial_with(struct test *t, struct client *c, int receive_buffer) {
    *c = (struct client){.test = t, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (receive_buffer)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const struct bh_addr *a = bh_edge_address(t->edge, 0);
    int64_t before = count_of(BH_EDGE_SOCKETS) + count_of(BH_EDGE_LIMIT_CONNECTIONS);
    assert_int_equal(connect(c->fd, &a->sa, a->len), 0);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    WAIT_FOR(t, count_of(BH_EDGE_SOCKETS) + count_of(BH_EDGE_LIMIT_CONNECTIONS) > before);
}

void dial(struct test *t, struct client *c) {
    dial_with(t, c, 0);
}

void hang_up(struct client *c) {
    int64_t before = count_of(BH_EDGE_SOCKETS);
    close(c->fd);
    c->fd = -1;
    bh_bytes_free(&c->got);
    for (int i = 0; i < 100 && count_of(BH_EDGE_SOCKETS) == before; i++) {
        run(c->test);
        poll(NULL, 0, 1);
    }
}

void connect_only(struct test *t, struct client *c, size_t listener) {
    *c = (struct client){.test = t, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const struct bh_addr *a = bh_edge_address(t->edge, listener);
    assert_int_equal(connect(c->fd, &a->sa, a->len), 0);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

void let_go(struct client *c) {
    close(c->fd);
    c->fd = -1;
    bh_bytes_free(&c->got);
}

void send_bytes(struct client *c, struct bh_slice bytes) {
    int unsent = 1;
    for (int patience = 0; bytes.n > 0 && patience < 10000; patience++) {
        ssize_t n = send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        if (n > 0)
            bytes = bh_slice(bytes.p + n, bytes.n - (size_t)n);
        bh_loop_tick(c->test->loop, false);
    }
    for (int i = 0; i < 60 && unsent > 0; i++) {
        run(c->test);
        if (ioctl(c->fd, SIOCOUTQ, &unsent) != 0 || unsent == 0)
            break;
        poll(NULL, 0, 1);
    }
    run(c->test);
}

void send_text(struct client *c, const char *text) {
    send_bytes(c, bh_slice_cstr(text));
}

void receive(struct client *c) {
    char buffer[65536];
    ssize_t n = 1;
    while (n > 0 && !c->ended && !c->broken) {
        run(c->test);
        n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n > 0)
            bh_bytes_add(&c->got, bh_slice(buffer, (size_t)n));
        c->ended = n == 0;
        c->broken = n < 0 && errno != EAGAIN;
    }
    bh_bytes_addc(&c->got, '\0');
    c->got.len--;
}

static bool has_received(struct client *c, const char *text) {
    receive(c);
    return strstr(c->got.p, text) != NULL;
}

void expect_text(struct client *c, const char *text) {
    for (int i = 0; i < 3000 && !has_received(c, text) && !c->ended && !c->broken; i++)
        poll(NULL, 0, 1);
    if (!has_received(c, text))
        fail_msg("no \"%s\" in \"%s\"", text, c->got.p);
}

static bool has_ended(struct client *c) {
    receive(c);
    return c->ended || c->broken;
}

void expect_end(struct client *c) {
    WAIT_FOR(c->test, has_ended(c));
}

void expect_nothing(struct client *c) {
    run_idle(c->test);
    receive(c);
    assert_int_equal(c->got.len, 0);
    assert_false(c->ended || c->broken);
}

void assert_has(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("no \"%s\" in \"%s\"", part, text);
}

int times(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

size_t whole_response(const struct client *c, struct bh_slice *body) {
    const char *end = c->got.p ? strstr(c->got.p, "\r\n\r\n") : NULL;
    if (!end)
        return 0;
    const char *header = strcasestr(c->got.p, "\r\ncontent-length:");
    *body = bh_slice(end + 4, header && header < end ? strtoul(header + 17, NULL, 10) : 0);
    size_t n = (size_t)(body->p - c->got.p) + body->n;
    return c->got.len >= n ? n : 0;
}

bool has_response(struct client *c) {
    struct bh_slice body;
    if (whole_response(c, &body))
        return true;
    receive(c);
    return whole_response(c, &body) > 0;
}

int take_response(struct client *c, struct bh_bytes *out) {
    struct bh_slice body;
    WAIT_FOR(c->test, has_response(c));
    size_t n = whole_response(c, &body);
    int status = 0;
    sscanf(c->got.p, "HTTP/1.1 %d", &status);
    bh_bytes_clear(out);
    bh_bytes_add(out, body);
    bh_bytes_addc(out, '\0');
    out->len--;
    bh_bytes_consume(&c->got, n);
    bh_bytes_addc(&c->got, '\0');
    c->got.len--;
    return status;
}

/* --- WebSocket clients --- */

void add_frame_raw(struct bh_bytes *out, uint8_t first, struct bh_slice payload) {
    static const unsigned char mask[4] = {0x11, 0xa2, 0x33, 0xc4};
    bh_bytes_addc(out, (char)first);
    if (payload.n < 126) {
        bh_bytes_addc(out, (char)(0x80 | payload.n));
    } else if (payload.n < 65536) {
        bh_bytes_addc(out, (char)(0x80 | 126));
        bh_bytes_addc(out, (char)(payload.n >> 8));
        bh_bytes_addc(out, (char)payload.n);
    } else {
        bh_bytes_addc(out, (char)(0x80 | 127));
        for (int i = 7; i >= 0; i--)
            bh_bytes_addc(out, (char)((uint64_t)payload.n >> (8 * i)));
    }
    bh_bytes_add(out, bh_slice(mask, 4));
    for (size_t i = 0; i < payload.n; i++)
        bh_bytes_addc(out, (char)((unsigned char)payload.p[i] ^ mask[i % 4]));
}

void send_frame(struct client *c, uint8_t first, struct bh_slice payload) {
    struct bh_bytes out = {0};
    add_frame_raw(&out, first, payload);
    send_bytes(c, bh_bytes_slice(&out));
    bh_bytes_free(&out);
}

size_t whole_frame(const struct client *c, struct bh_slice *payload) {
    const unsigned char *p = (const unsigned char *)c->got.p;
    if (c->got.len < 2)
        return 0;
    size_t head = p[1] == 127 ? 10 : p[1] == 126 ? 4 : 2, n = p[1];
    if (c->got.len < head)
        return 0;
    if (head > 2)
        n = 0;
    for (size_t i = 2; i < head; i++)
        n = n << 8 | p[i];
    *payload = bh_slice(p + head, n);
    return c->got.len >= head + n ? head + n : 0;
}

bool has_frame(struct client *c) {
    struct bh_slice payload;
    if (whole_frame(c, &payload))
        return true;
    receive(c);
    return whole_frame(c, &payload) > 0;
}

int take_frame(struct client *c, struct bh_bytes *out) {
    struct bh_slice payload;
    WAIT_FOR(c->test, has_frame(c) || c->ended || c->broken);
    size_t n = whole_frame(c, &payload);
    if (n == 0)
        return -1;
    int opcode = c->got.p[0] & 0x0f;
    assert_int_equal(c->got.p[0] & 0xf0, 0x80);
    assert_int_equal(c->got.p[1] & 0x80, 0);
    bh_bytes_clear(out);
    bh_bytes_add(out, payload);
    bh_bytes_addc(out, '\0');
    out->len--;
    bh_bytes_consume(&c->got, n);
    return opcode;
}

void expect_frame(struct client *c, int opcode, struct bh_slice payload) {
    struct bh_bytes got = {0};
    assert_int_equal(take_frame(c, &got), opcode);
    assert_int_equal(got.len, payload.n);
    if (payload.n)
        assert_memory_equal(got.p, payload.p, payload.n);
    bh_bytes_free(&got);
}

void expect_close(struct client *c, unsigned code, const char *reason) {
    struct bh_bytes got = {0};
    assert_int_equal(take_frame(c, &got), 8);
    assert_true(got.len >= 2);
    assert_int_equal((unsigned char)got.p[0] << 8 | (unsigned char)got.p[1], code);
    if (reason)
        assert_string_equal(got.p + 2, reason);
    bh_bytes_free(&got);
}

void send_close(struct client *c, unsigned code) {
    char payload[2] = {(char)(code >> 8), (char)code};
    send_frame(c, 0x88, bh_slice(payload, 2));
}

void expect_101(struct client *c) {
    expect_text(c, "\r\n\r\n");
    if (strncmp(c->got.p, "HTTP/1.1 101", 12) != 0)
        fail_msg("no 101 but \"%s\"", c->got.p);
    bh_bytes_consume(&c->got, (size_t)(strstr(c->got.p, "\r\n\r\n") + 4 - c->got.p));
}

void open_ws(struct test *t, struct client *c) {
    dial(t, c);
    send_text(c, UPGRADE("/ws") "\r\n");
    expect_101(c);
}

void upgrade(struct test *t, struct client *c, const char *headers, int receive_buffer) {
    dial_with(t, c, receive_buffer);
    send_text(c, UPGRADE("/ws"));
    send_text(c, headers);
    send_text(c, "\r\n");
}

void expect_open(struct client *c, const char *extension) {
    expect_text(c, "\r\n\r\n");
    assert_has(c->got.p, "HTTP/1.1 101 ");
    if (extension)
        assert_has(c->got.p, extension);
    else
        assert_null(strstr(c->got.p, "Sec-WebSocket-Extensions"));
    bh_bytes_consume(&c->got, (size_t)(strstr(c->got.p, "\r\n\r\n") + 4 - c->got.p));
    bh_bytes_addc(&c->got, '\0');
    c->got.len--;
}
