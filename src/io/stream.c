/* stream.c - a socket as a stream of bytes.
 *
 * Each stream has one libevent event, registered for what the stream currently waits for: reading,
 * writing, both or nothing; only `update_interest` changes it. A stream that is put off stays
 * watched until it is ready again, because its turn usually comes first. A connection in progress
 * waits for writing only. Data passes through the loop's read buffer, so an idle stream costs no
 * memory beyond itself.
 *
 * Any callback may close the stream, pause it, or write. Its state is checked again after each one;
 * its memory is still valid, because owners free in the reap phase. Thread: the loop's. */
#include "bellhop/io/stream.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "bellhop/base/prefetch.h"
#include "debts.h"
#include "long_steps.h"
#include "loop_internal.h"
#include "stream_ops.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READ_ROUNDS 4

/* Microseconds. The average moves by an eighth, and one step counts for at most COST_MAX of it, so
 * a single step that the kernel interrupted does not make a stream costly, and one that alternates
 * between large and small steps does become so. A new stream is not known to be light: it is after
 * two small steps. */
#define COSTLY   60
#define COST_MAX 160
#define COST_NEW 70

/* How long CPU time is measured after a costly step, which is a system call for each step. */
#define SUSPECT_SHIFT 20 /* microseconds to about seconds */
#define SUSPECT_TIME  10

static struct bh_metric metrics[] = {
    {"bellhop_io_debts_total", NULL,
     "times that a connection was not read for a while after a step of more than 1 ms", BH_COUNTER,
     0},
    {"bellhop_io_long_waits_total", NULL,
     "times that a message or body of more than 256 KiB had to wait for those of others",
     BH_COUNTER, 0},
};
enum { DEBTS, LONG_WAITS };

void bh_stream_metrics_register(void) {
    bh_metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* --- plain sockets --- */

/* libc's recv and send are cancellation points, which cost a process with threads two locked
 * instructions per call; our threads are never cancelled. */
static ssize_t plain_read(struct bh_stream *s, void *p, size_t n) {
    ssize_t got;
    do
        got = syscall(SYS_recvfrom, s->fd, p, n, 0, NULL, NULL);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        return got;
    return errno == EAGAIN ? BH_EAGAIN : BH_EIO;
}

/* Copying small pieces together costs less than the kernel's walk over an iovec. */
static ssize_t send_joined(struct bh_stream *s, const struct iovec *iov, int count, size_t total) {
    unsigned char *at = s->loop->write_buffer;
    for (int i = 0; i < count; i++) {
        memcpy(at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    return syscall(SYS_sendto, s->fd, s->loop->write_buffer, total, MSG_NOSIGNAL, NULL, 0);
}

static ssize_t send_pieces(struct bh_stream *s, const struct iovec *iov, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    size_t total = 0;
    if (count == 1)
        return syscall(SYS_sendto, s->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL, NULL, 0);
    for (int i = 0; i < count && total <= BH_LOOP_WRITE_BUFFER; i++)
        total += iov[i].iov_len;
    if (total <= BH_LOOP_WRITE_BUFFER)
        return send_joined(s, iov, count, total);
    return sendmsg(s->fd, &message, MSG_NOSIGNAL);
}

static ssize_t plain_write(struct bh_stream *s, const struct iovec *iov, int count) {
    ssize_t sent;
    do
        sent = send_pieces(s, iov, count);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    return errno == EAGAIN ? BH_EAGAIN : BH_ECLOSED;
}

static void plain_shutdown(struct bh_stream *s) {
    shutdown(s->fd, SHUT_WR);
}

static void plain_close(struct bh_stream *s, bool abrupt) {
    close(s->fd);
}

const struct bh_stream_ops bh_stream_plain_ops = {
    .read = plain_read, .write = plain_write, .shutdown = plain_shutdown, .close = plain_close};

/* --- events --- */

static void on_event(evutil_socket_t fd, short what, void *arg);

static short wanted(const struct bh_stream *s) {
    if (s->connecting)
        return EV_WRITE;
    bool write = s->unsent || (s->writing && !s->handshaking);
    return (short)((s->reading && !s->ended && !s->muted ? EV_READ : 0) | (write ? EV_WRITE : 0));
}

/* Nearly all streams nearly always. These bits are compared in one go. */
static inline bool just_reads(const struct bh_stream *s) {
    return s->reading && !s->ended && !s->muted && !s->unsent && !s->writing && !s->connecting &&
           !s->has_input && s->watched == EV_READ;
}

static void watch(struct bh_stream *s, short want) {
    if (s->watched)
        event_del(&s->event);
    s->watched = (unsigned char)want;
    if (!want)
        return;
    event_assign(&s->event, bh_loop_base(s->loop), s->fd, (short)(want | EV_PERSIST), on_event, s);
    event_add(&s->event, NULL);
}

static void update_interest(struct bh_stream *s) {
    short want = wanted(s);
    if (want != s->watched)
        watch(s, want);
    if (want & EV_READ && s->has_input) /* a zero timeout fires once, in the next tick */
        event_add(&s->event, &(struct timeval){0, 0});
}

static void end(struct bh_stream *s, int error) {
    s->ended = 1;
    s->handshaking = 0;
    if (error)
        s->writing = s->unsent = 0; /* a broken socket always polls writable */
    update_interest(s);
    s->callbacks->on_end(s, error);
}

static void notify_writable(struct bh_stream *s) {
    s->writing = 0;
    update_interest(s);
    s->callbacks->on_writable(s);
}

static void finish_connect(struct bh_stream *s) {
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    s->connecting = 0;
    if (error) {
        end(s, error == ETIMEDOUT ? BH_ETIMEDOUT : BH_EUNAVAIL);
        return;
    }
    if (s->handshaking)
        update_interest(s); /* the owner waits for the end of the handshake */
    else
        notify_writable(s);
}

/* --- turns --- */

#define TURN 0x100 /* besides libevent's EV_READ and so on */

static void on_turn(struct bh_defer *d);

static struct bh_turn *turn_of(struct bh_stream *s) {
    if (!s->turn) {
        s->turn = bh_calloc(1, sizeof *s->turn);
        s->turn->stream = s;
        bh_defer_init(&s->turn->defer, on_turn);
    }
    return s->turn;
}

static void drop_turn(struct bh_stream *s) {
    if (!s->turn)
        return;
    bh_defer_cancel(&s->turn->defer);
    bh_free(s->turn);
    s->turn = NULL;
    s->muted = 0;
}

void bh_stream_put_off(struct bh_stream *s) {
    if (bh_stream_is_open(s) && !s->turn)
        bh_loop_put_off(s->loop, &turn_of(s)->defer);
}

int bh_stream_begin_long(struct bh_stream *s) {
    if (s->overdue) {
        s->overdue = 0;
        return BH_ETIMEDOUT;
    }
    if (bh_long_steps_begin(s->loop, s))
        return 0;
    bh_metric_inc(&metrics[LONG_WAITS]);
    bh_long_steps_wait(s->loop, turn_of(s));
    return BH_EAGAIN;
}

void bh_stream_end_long(struct bh_stream *s) {
    bh_long_steps_end(s->loop, s);
}

void bh_stream_indebt(struct bh_stream *s) {
    s->indebts = 1;
}

static uint16_t suspect_time(const struct bh_stream *s) {
    return (uint16_t)(s->loop->clock_us >> SUSPECT_SHIFT);
}

static void watch_suspect(struct bh_stream *s) {
    s->suspect = (uint16_t)(suspect_time(s) - s->suspected) <= SUSPECT_TIME;
    s->loop->share_cpu_us = bh_clock_thread_us();
}

static inline void begin_step(struct bh_stream *s) {
    s->loop->share_began_us = s->loop->clock_us; /* bh_loop_share_begin, inline */
    if (s != s->loop->long_steps.last)
        s->loop->long_steps.others = true;
    if (s->suspect)
        watch_suspect(s);
}

/* The kernel may have run another thread meanwhile, so time alone makes no debt: it makes a suspect
 * whose CPU time is measured from then on. */
static void check_debt(struct bh_stream *s) {
    uint64_t spent_us = s->suspect ? bh_clock_thread_us() - s->loop->share_cpu_us : 0;
    s->suspect = 1;
    s->suspected = suspect_time(s);
    if (spent_us <= BH_DEBT_FROM_US || !bh_stream_is_open(s))
        return;
    bh_metric_inc(&metrics[DEBTS]);
    bh_debts_add(s->loop, turn_of(s), spent_us);
    s->muted = 1;
}

static inline void end_step(struct bh_stream *s) {
    struct bh_loop *loop = s->loop;
    uint64_t took_us = (loop->clock_us = bh_clock_us()) - loop->share_began_us;
    unsigned counted = took_us < COST_MAX ? (unsigned)took_us : COST_MAX;
    s->cost = (unsigned char)(s->cost - s->cost / 8 + counted / 8);
    if (took_us > BH_DEBT_FROM_US && s->indebts)
        check_debt(s);
    if (!just_reads(s) && bh_stream_is_open(s))
        update_interest(s); /* also for the transport, which may have changed its bits */
}

static void on_turn(struct bh_defer *d) {
    struct bh_turn *turn = BH_CONTAINER_OF(d, struct bh_turn, defer);
    struct bh_stream *s = turn->stream;
    s->overdue |= turn->overdue;
    drop_turn(s);
    on_event(s->fd, TURN, s);
}

static bool has_to_wait(struct bh_stream *s, short what) {
    if (what != TURN && !s->turn && s->cost > COSTLY && s->callbacks->on_turn &&
        bh_loop_is_late(s->loop))
        bh_stream_put_off(s);
    if (s->turn)
        s->muted = 1;
    return s->turn;
}

/* --- events --- */

static void read_some(struct bh_stream *s) {
    unsigned char *buffer = bh_loop_read_buffer(s->loop);
    bh_prefetch(s, BH_STREAM_HOT_FROM, BH_STREAM_HOT_TO); /* while the kernel copies */
    for (int round = 0; round < READ_ROUNDS && bh_stream_is_open(s) && s->reading; round++) {
        if (round && (s->turn || bh_loop_share_used(s->loop)))
            return;
        bool handshaking = s->handshaking;
        ssize_t n = s->ops->read(s, buffer, BH_LOOP_READ_BUFFER);
        if (n == BH_EAGAIN && handshaking && !s->handshaking) {
            notify_writable(s);
            continue;
        }
        if (n == BH_EAGAIN)
            return;
        if (n <= 0) {
            end(s, (int)n);
            return;
        }
        s->callbacks->on_data(s, buffer, (size_t)n);
        if (n < BH_LOOP_READ_BUFFER)
            return;
    }
}

static void write_some(struct bh_stream *s) {
    if (s->unsent)
        s->ops->flush(s);
    if (!s->unsent && s->writing && !s->handshaking)
        notify_writable(s);
}

static void on_event(evutil_socket_t fd, short what, void *arg) {
    struct bh_stream *s = arg;
    bh_loop_enter(s->loop);
    if (what & EV_TIMEOUT)
        event_add(&s->event, NULL); /* a timeout removes the descriptor, too */
    if (s->connecting) {
        finish_connect(s);
        return;
    }
    begin_step(s);
    if (what == TURN)
        s->callbacks->on_turn(s);
    bool ready = what & (EV_READ | TURN) || s->has_input;
    if (ready && s->reading && !s->ended && !has_to_wait(s, what))
        read_some(s);
    if (what & EV_WRITE && bh_stream_is_open(s) && !s->connecting)
        write_some(s);
    end_step(s);
}

/* --- life --- */

void bh_stream_init(struct bh_stream *s, struct bh_loop *loop, int fd,
                    const struct bh_stream_callbacks *callbacks) {
    *s = (struct bh_stream){
        .loop = loop, .callbacks = callbacks, .ops = &bh_stream_plain_ops, .fd = fd};
    s->cost = callbacks->on_turn ? COST_NEW : 0;
    event_assign(&s->event, bh_loop_base(loop), fd, EV_READ | EV_PERSIST, on_event, s);
}

void bh_stream_set_ack_timeout(struct bh_stream *s, uint64_t ms) {
    int timeout = ms < INT_MAX ? (int)ms : INT_MAX;
    setsockopt(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout); /* not of AF_UNIX */
}

int bh_stream_connect(struct bh_stream *s, struct bh_loop *loop, const struct bh_addr *to,
                      const struct bh_stream_callbacks *callbacks) {
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bh_stream_init(s, loop, fd, callbacks);
    if (fd < 0)
        return BH_EIO;
    if (to->sa.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, &to->sa, to->len) < 0 && errno != EINPROGRESS && errno != EINTR) {
        bh_stream_close(s);
        return BH_EIO;
    }
    s->connecting = 1;
    update_interest(s);
    return 0;
}

void bh_stream_set_reading(struct bh_stream *s, bool on) {
    if (!bh_stream_is_open(s) || s->reading == on)
        return;
    s->reading = on;
    update_interest(s);
}

ssize_t bh_stream_write(struct bh_stream *s, const struct iovec *iov, int count) {
    if (!bh_stream_is_open(s))
        return BH_ECLOSED;
    if (s->connecting || s->handshaking)
        return BH_EAGAIN;
    if (count <= 0)
        return 0;
    ssize_t taken = s->ops->write(s, iov, count < IOV_MAX ? count : IOV_MAX);
    update_interest(s);
    return taken;
}

void bh_stream_want_write(struct bh_stream *s) {
    if (!bh_stream_is_open(s) || s->writing)
        return;
    s->writing = 1;
    update_interest(s);
}

void bh_stream_shutdown(struct bh_stream *s) {
    if (!bh_stream_is_open(s) || s->connecting)
        return;
    s->ops->shutdown(s);
    update_interest(s);
}

static void close_stream(struct bh_stream *s, bool abrupt) {
    if (!bh_stream_is_open(s))
        return;
    event_del(&s->event);
    drop_turn(s);
    bh_long_steps_end(s->loop, s);
    s->ops->close(s, abrupt);
    s->fd = -1;
    s->reading = s->writing = s->connecting = 0;
    s->handshaking = s->unsent = s->has_input = 0;
    s->watched = 0;
    s->ended = 1;
}

void bh_stream_close(struct bh_stream *s) {
    close_stream(s, false);
}

void bh_stream_reset(struct bh_stream *s) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (bh_stream_is_open(s))
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close_stream(s, true);
}

/* The new event is added before the old one is removed: both are the same descriptor, so libevent
 * makes no system call. */
void bh_stream_move(struct bh_stream *to, struct bh_stream *from,
                    const struct bh_stream_callbacks *callbacks) {
    bh_stream_init(to, from->loop, from->fd, callbacks);
    to->ops = from->ops;
    to->tls = from->tls;
    to->reading = from->reading;
    to->handshaking = from->handshaking;
    to->unsent = from->unsent;
    to->has_input = from->has_input;
    to->turn = from->turn;
    to->muted = from->muted;
    to->cost = from->cost;
    to->suspect = from->suspect;
    to->suspected = from->suspected;
    if (to->turn)
        to->turn->stream = to;
    update_interest(to);
    event_del(&from->event);
    from->tls = NULL;
    from->turn = NULL;
    from->fd = -1;
    from->reading = from->writing = from->handshaking = from->unsent = from->has_input = 0;
    from->watched = 0;
    from->ended = 1;
}
