/* listener.c - from a listening socket to accepted descriptors.
 *
 * The socket is level-triggered, so connections beyond the budget of one tick are reported again in
 * the next. Without a free descriptor a spare one is used (descriptors.c), or the owner gives up a
 * connection. When neither helps, trying on would spin, so the listener pauses and tries again.
 *
 * A unix socket is a file: one that a dead process left behind is removed before binding. Our own
 * is removed at the end, unless another process has replaced it. Thread: the loop's. */
#include "bellhop/io/listener.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "bellhop/io/timer.h"
#include "descriptors_internal.h"
#include "loop_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_BUDGET   64
#define CHECKED_EACH    8 /* whether the share of the tick is used up */
#define PAUSE_MS        100
#define LOG_INTERVAL_MS 1000

struct bh_listener {
    struct event event;
    struct bh_timer resume;
    struct bh_loop *loop;
    struct bh_addr addr;
    dev_t dev; /* the file of a unix socket */
    ino_t ino;
    int fd;
    uint64_t next_log_ms;
    uint64_t rate;   /* accepts a second, 0: no limit */
    uint64_t left;   /* accepts left; at most `rate` */
    uint64_t budget; /* of this tick */
    uint64_t filled_ms;
    bh_accept_cb on_accept;
    bool (*on_exhausted)(void *ud); /* NULL: nothing can be done */
    void *ud;
};

/* --- accepting --- */

static struct bh_metric metrics[] = {
    {"bellhop_io_accepts_total", NULL, "connections accepted", BH_COUNTER, 0},
    {"bellhop_io_accepts_delayed_total", NULL,
     "times that accepts_per_second left connections in the backlog", BH_COUNTER, 0},
    {"bellhop_io_accept_failures_total", NULL,
     "times that accepting paused for lack of descriptors or memory", BH_COUNTER, 0},
};
enum { ACCEPTED, DELAYED, FAILED };

void bh_listener_metrics_register(void) {
    bh_metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static void pause_for(struct bh_listener *l, uint64_t ms) {
    event_del(&l->event);
    bh_timer_set(&l->resume, ms);
}

static void pause_accepting(struct bh_listener *l, int error) {
    uint64_t now = bh_loop_now(l->loop);
    if (now >= l->next_log_ms) {
        l->next_log_ms = now + LOG_INTERVAL_MS;
        bh_warn("cannot accept connections", bh_kv_str("reason", strerror(error)),
                bh_kv_int("pause_ms", PAUSE_MS));
    }
    bh_metric_inc(&metrics[FAILED]);
    pause_for(l, PAUSE_MS);
}

/* The number of connections that may be accepted now. */
static uint64_t allowance(struct bh_listener *l) {
    if (l->rate == 0)
        return ACCEPT_BUDGET;
    uint64_t now = bh_loop_now(l->loop), elapsed = now - l->filled_ms;
    uint64_t gained = elapsed < 1000 ? elapsed * l->rate / 1000 : l->rate;
    if (gained) {
        l->left = l->left + gained < l->rate ? l->left + gained : l->rate;
        l->filled_ms = now;
    }
    return l->left < ACCEPT_BUDGET ? l->left : ACCEPT_BUDGET;
}

void bh_listener_limit(struct bh_listener *l, uint64_t per_second) {
    l->rate = l->left = per_second;
    l->filled_ms = bh_loop_now(l->loop);
}

static void on_resume(struct bh_timer *t) {
    event_add(&BH_CONTAINER_OF(t, struct bh_listener, resume)->event, NULL);
}

/* accept(2) also reports errors of a single connection; the next one may be fine. */
static bool concerns_one_connection(int error) {
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM: /* a firewall */
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

/* accept(2) takes a descriptor first, so without one it fails also if no connection waits. */
static bool is_idle(const struct bh_listener *l) {
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

static bool make_room(struct bh_listener *l) {
    return bh_descriptors_lend() || (l->on_exhausted && l->on_exhausted(l->ud));
}

/* False: no further attempt now. */
static bool handle_error(struct bh_listener *l, int error) {
    if (error == EAGAIN)
        return false;
    if (concerns_one_connection(error))
        return true;
    if (error == EMFILE || error == ENFILE) {
        if (is_idle(l))
            return false;
        if (make_room(l))
            return true;
    }
    pause_accepting(l, error);
    return false;
}

static void accept_some(struct bh_listener *l) {
    for (; l->budget > 0; l->budget--) {
        struct bh_addr peer;
        peer.len = sizeof peer.storage;
        int fd = accept4(l->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (handle_error(l, errno))
                continue;
            return;
        }
        l->left -= l->rate != 0;
        bh_metric_inc(&metrics[ACCEPTED]);
        l->on_accept(l->ud, fd, &peer);
        if (l->budget % CHECKED_EACH == 0 && bh_loop_share_used(l->loop))
            return;
    }
}

static void on_event(evutil_socket_t listening, short what, void *arg) {
    struct bh_listener *l = arg;
    bh_loop_enter(l->loop);
    bh_descriptors_restore();
    l->budget = allowance(l);
    if (l->budget == 0) {
        bh_metric_inc(&metrics[DELAYED]);
        pause_for(l, l->rate < 1000 ? 1000 / l->rate : 1);
        return;
    }
    bh_loop_share_begin(l->loop);
    accept_some(l);
    bh_loop_read_clock(l->loop);
}

/* --- opening --- */

static const char *path_of(const struct bh_addr *a) {
    return ((const struct sockaddr_un *)&a->storage)->sun_path;
}

static bool is_refused(const struct bh_addr *a) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool refused = fd >= 0 && connect(fd, &a->sa, a->len) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

/* True if the path was a socket without a listener. Else errno is EADDRINUSE. */
static bool remove_stale_socket(const struct bh_addr *a) {
    struct stat st;
    bool removed = lstat(path_of(a), &st) == 0 && S_ISSOCK(st.st_mode) && is_refused(a) &&
                   unlink(path_of(a)) == 0;
    errno = EADDRINUSE;
    return removed;
}

/* Removes only the file that we created, not one that has replaced it. */
static void remove_own_socket(const struct bh_listener *l) {
    struct stat st;
    if (lstat(path_of(&l->addr), &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(path_of(&l->addr));
}

/* Accepted sockets inherit TCP_NODELAY, so it is set once, here. */
static int open_tcp(const struct bh_addr *a) {
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (a->sa.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    return fd;
}

static int bind_unix(struct bh_listener *l) {
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return -1;
    int result = bind(l->fd, &l->addr.sa, l->addr.len);
    if (result != 0 && errno == EADDRINUSE && remove_stale_socket(&l->addr))
        result = bind(l->fd, &l->addr.sa, l->addr.len);
    if (result != 0)
        return -1;
    struct stat st;
    if (lstat(path_of(&l->addr), &st) == 0) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    return 0;
}

static int bind_tcp(struct bh_listener *l) {
    l->fd = open_tcp(&l->addr);
    if (l->fd < 0)
        return -1;
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    return bind(l->fd, &l->addr.sa, l->addr.len);
}

/* "Every interface" on a machine without IPv6 means the IPv4 ones. */
static bool fall_back_to_v4(struct bh_listener *l) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&l->addr.storage;
    if (l->addr.sa.sa_family != AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) ||
        (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
        return false;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = v6->sin6_port};
    memcpy(&l->addr.storage, &v4, sizeof v4);
    l->addr.len = sizeof v4;
    if (l->fd >= 0)
        close(l->fd);
    return true;
}

static int bind_any(struct bh_listener *l) {
    if (l->addr.sa.sa_family == AF_UNIX)
        return bind_unix(l);
    int result = bind_tcp(l);
    return result != 0 && fall_back_to_v4(l) ? bind_tcp(l) : result;
}

static int open_error(void) {
    switch (errno) {
    case EADDRINUSE:
        return BH_EEXIST;
    case EACCES:
    case EPERM:
        return BH_EDENIED;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return BH_EUNAVAIL;
    case ENOENT: /* the directory of a unix socket */
        return BH_ENOTFOUND;
    default:
        return BH_EIO;
    }
}

static void destroy(struct bh_listener *l) {
    if (l->addr.sa.sa_family == AF_UNIX)
        remove_own_socket(l);
    if (l->fd >= 0)
        close(l->fd);
    bh_free(l);
}

int bh_listener_open(struct bh_listener **out, struct bh_loop *loop, const struct bh_addr *address,
                     int backlog, bh_accept_cb on_accept, void *ud) {
    struct bh_listener *l = bh_malloc(sizeof *l);
    *l = (struct bh_listener){
        .loop = loop, .addr = *address, .fd = -1, .on_accept = on_accept, .ud = ud};
    bh_timer_init(&l->resume, loop, on_resume);
    if (bind_any(l) != 0 || listen(l->fd, backlog) != 0) {
        int error = open_error();
        destroy(l);
        return error;
    }
    l->addr.len = sizeof l->addr.storage;
    getsockname(l->fd, &l->addr.sa, &l->addr.len);
    event_assign(&l->event, bh_loop_base(loop), l->fd, EV_READ | EV_PERSIST, on_event, l);
    event_add(&l->event, NULL);
    *out = l;
    return 0;
}

void bh_listener_on_exhausted(struct bh_listener *l, bool (*on_exhausted)(void *ud)) {
    l->on_exhausted = on_exhausted;
}

/* The present attempt, and one more. */
void bh_listener_yield(struct bh_listener *l) {
    if (l->budget > 2)
        l->budget = 2;
}

/* A unix socket is not bound for a test, that would leave a file. */
static int probe_directory(const struct bh_addr *a) {
    const char *path = path_of(a);
    char directory[sizeof((struct sockaddr_un *)0)->sun_path];
    snprintf(directory, sizeof directory, "%.*s", (int)(strrchr(path, '/') - path), path);
    return access(*directory ? directory : "/", W_OK | X_OK) == 0 ? 0 : open_error();
}

int bh_listener_probe(const struct bh_addr *address) {
    struct bh_listener l = {.addr = *address};
    if (address->sa.sa_family == AF_UNIX)
        return probe_directory(address);
    l.fd = open_tcp(&l.addr);
    int error = l.fd < 0 || bind(l.fd, &l.addr.sa, l.addr.len) != 0 ? open_error() : 0;
    if (error == BH_EUNAVAIL && fall_back_to_v4(&l)) {
        l.fd = open_tcp(&l.addr);
        error = l.fd < 0 || bind(l.fd, &l.addr.sa, l.addr.len) != 0 ? open_error() : 0;
    }
    if (l.fd >= 0)
        close(l.fd);
    return error;
}

const struct bh_addr *bh_listener_addr(const struct bh_listener *l) {
    return &l->addr;
}

void bh_listener_close(struct bh_listener *l) {
    if (!l)
        return;
    bh_timer_cancel(&l->resume);
    event_del(&l->event);
    destroy(l);
}
