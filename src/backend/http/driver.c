/* driver.c - libcurl's multi handle, driven by a loop.
 *
 * libcurl names the sockets it waits for and the time of its next call; the driver watches them and
 * calls it. libcurl must not be entered from its own callbacks, and the end of a transfer calls
 * into scripts, which start and cancel other transfers. So both happen in the flush phase of the
 * tick, when libcurl is not on the stack. A delay of 0, libcurl's way to continue at once, is
 * deferred to the flush phase too. Thread: the loop's. */
#include "bellhop/io/watch.h"

#include "internal.h"

static void act(struct bh_http_driver *d, curl_socket_t socket, int events) {
    int running;
    curl_multi_socket_action(d->multi, socket, events, &running);
    bh_defer(d->loop, BH_PHASE_FLUSH, &d->ended);
}

static void on_ready(void *ud, int fd, unsigned ready) {
    act(ud, fd,
        (ready & BH_WATCH_READ ? CURL_CSELECT_IN : 0) |
            (ready & BH_WATCH_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(struct bh_timer *t) {
    act(BH_CONTAINER_OF(t, struct bh_http_driver, timer), CURL_SOCKET_TIMEOUT, 0);
}

static void on_kick(struct bh_defer *defer) {
    act(BH_CONTAINER_OF(defer, struct bh_http_driver, kick), CURL_SOCKET_TIMEOUT, 0);
}

static void on_ended(struct bh_defer *defer) {
    struct bh_http_driver *d = BH_CONTAINER_OF(defer, struct bh_http_driver, ended);
    d->on_ended(d);
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *ud, void *of_socket) {
    struct bh_http_driver *d = ud;
    struct bh_watch *watch = of_socket;
    if (what == CURL_POLL_REMOVE) {
        bh_watch_close(watch);
        curl_multi_assign(d->multi, socket, NULL);
        return 0;
    }
    if (!watch) {
        watch = bh_watch_new(d->loop, socket, on_ready, d);
        curl_multi_assign(d->multi, socket, watch);
    }
    unsigned wanted =
        (what & CURL_POLL_IN ? BH_WATCH_READ : 0u) | (what & CURL_POLL_OUT ? BH_WATCH_WRITE : 0u);
    return bh_watch_set(watch, wanted) ? -1 : 0;
}

static int on_timeout_change(CURLM *multi, long ms, void *ud) {
    struct bh_http_driver *d = ud;
    bh_timer_cancel(&d->timer);
    if (ms == 0)
        bh_defer(d->loop, BH_PHASE_FLUSH, &d->kick);
    else if (ms > 0)
        bh_timer_set(&d->timer, (uint64_t)ms);
    return 0;
}

void bh_http_driver_init(struct bh_http_driver *d, struct bh_loop *loop,
                         void (*ended)(struct bh_http_driver *d)) {
    *d = (struct bh_http_driver){.multi = curl_multi_init(), .loop = loop, .on_ended = ended};
    if (!d->multi)
        abort();
    bh_timer_init(&d->timer, loop, on_timer);
    bh_defer_init(&d->kick, on_kick);
    bh_defer_init(&d->ended, on_ended);
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETDATA, d);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERFUNCTION, on_timeout_change);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERDATA, d);
}

void bh_http_driver_deinit(struct bh_http_driver *d) {
    curl_multi_cleanup(d->multi);
    bh_timer_cancel(&d->timer);
    bh_defer_cancel(&d->kick);
    bh_defer_cancel(&d->ended);
}
