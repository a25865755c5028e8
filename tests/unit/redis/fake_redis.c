/* fake_redis.c - a Redis that misbehaves on command. */
#include "fake_redis.h"

#include <errno.h>
#include <netinet/tcp.h>

void fake_start(struct fake_redis *f) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    *f = (struct fake_redis){.fd = -1};
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &len), 0);
    f->port = ntohs(at.sin_port);
}

void fake_say(struct fake_redis *f, struct bh_slice s) {
    if (f->fd >= 0 && s.n)
        assert_int_equal(send(f->fd, s.p, s.n, MSG_NOSIGNAL), (ssize_t)s.n);
}

void fake_hang_up(struct fake_redis *f) {
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    f->shaken = false;
    bh_bytes_clear(&f->in);
}

void fake_stop(struct fake_redis *f) {
    fake_hang_up(f);
    if (f->listener >= 0)
        close(f->listener);
    bh_bytes_free(&f->in);
}

static void fake_read(struct fake_redis *f) {
    ssize_t n;
    do {
        bh_bytes_reserve(&f->in, 64 * 1024 + 1);
        n = recv(f->fd, f->in.p + f->in.len, 64 * 1024, MSG_DONTWAIT);
        if (n > 0)
            f->in.len += (size_t)n;
        f->in.p[f->in.len] = '\0';
    } while (n > 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        fake_hang_up(f);
}

bool fake_pump(struct fake_redis *f) {
    if (f->fd < 0) {
        f->fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (f->fd < 0)
            return true;
        f->accepted++;
        setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (f->greeting)
            fake_say(f, bh_slice_cstr(f->greeting));
    }
    if (!f->deaf)
        fake_read(f);
    if (f->fd >= 0 && !f->shaken && f->handshake && f->in.len &&
        memmem(f->in.p, f->in.len, "PING\r\n", 6)) {
        f->shaken = true;
        bh_bytes_clear(&f->in);
        fake_say(f, bh_slice_cstr(f->handshake));
    }
    return true;
}

size_t fake_heard(const struct fake_redis *f, const char *text) {
    size_t count = 0, n = strlen(text);
    const char *end = f->in.p + f->in.len;
    for (const char *at = f->in.p; at && (at = memmem(at, (size_t)(end - at), text, n)); at += n)
        count++;
    return count;
}
