/* link.c - the life of one connection: states, output, replies, deadlines.
 *
 * One timer serves the current state. From RESOLVING to AUTH it is the connect deadline, of which
 * each address gets an equal share (ASKING has none: the locator tries until it succeeds). In READY
 * it checks the age of the oldest command, and sends a PING when there is none, so that a dead peer
 * is noticed on an idle link too. In BACKOFF it ends the pause. There is one way down, `drop`: it
 * closes, completes what was pending, calls the owner and arms the pause. Completions may queue new
 * commands or stop the link; after calling one, compare `connections` before going on.
 *
 * Pending commands are a ring in the order of sending. Each remembers the offset of its first byte,
 * so that a drop can tell commands that surely were not sent from those that may have been
 * executed. The reader is reset at the next connect and not in `drop`, because a drop may happen
 * inside a callback that still uses a reply of it. */
#include "link/link.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/tls.h"
#include "link/config.h"
#include "link/errors.h"
#include "link/handshake.h"
#include "link/metrics.h"
#include "link/resp.h"

#include <stdio.h>

#define RING_MIN 64
/* A larger buffer is freed when it is empty. */
#define KEEP_MAX        (1024 * 1024)
#define SERVER_TEXT_MAX (300 + BH_ADDR_TEXT_MAX)

static uint64_t backoff(const struct bh_redis_link *link) {
    uint64_t cap = link->config->backoff_max_ms, delay = link->config->backoff_min_ms;
    for (unsigned i = 1; i < link->attempts && delay < cap; i++)
        delay *= 2;
    if (delay > cap)
        delay = cap;
    return delay / 2 + bh_random_below((uint32_t)(delay / 2) + 1);
}

static uint64_t check_interval(const struct bh_redis_link *link) {
    const struct bh_redis_config *c = link->config;
    return c->probe_ms < c->command_timeout_ms ? c->probe_ms : c->command_timeout_ms;
}

static void set_state(struct bh_redis_link *link, enum bh_redis_link_state state) {
    if (link->state == BH_REDIS_READY)
        bh_metric_add(&bh_redis_metrics[BH_REDIS_LINKS_UP], -1);
    link->state = state;
    switch (state) {
    case BH_REDIS_IDLE:
    case BH_REDIS_ASKING:
        bh_timer_cancel(&link->timer);
        break;
    case BH_REDIS_RESOLVING:
        bh_timer_set(&link->timer, link->config->connect_timeout_ms);
        link->deadline_ms = link->timer.due_ms;
        break;
    case BH_REDIS_CONNECTING:
    case BH_REDIS_AUTH:
        break; /* the deadline stays */
    case BH_REDIS_READY:
        link->ready_ms = bh_loop_now(link->loop);
        link->settled = !link->callbacks->on_push;
        atomic_store(&link->down_reason, NULL);
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_LINKS_UP]);
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_CONNECTS]);
        if (link->callbacks->on_push)
            bh_timer_cancel(&link->timer);
        else
            bh_timer_set(&link->timer, check_interval(link));
        break;
    case BH_REDIS_BACKOFF:
        bh_timer_set(&link->timer, backoff(link));
        break;
    }
}

static uint64_t time_left(const struct bh_redis_link *link) {
    uint64_t now = bh_loop_now(link->loop);
    return link->timer.due_ms > now ? link->timer.due_ms - now : 0;
}

/* --- pending commands --- */

static void pending_push(struct bh_redis_link *link, const struct bh_redis_pending *p) {
    size_t cap = link->pending.ring ? link->pending.mask + 1 : 0;
    if (link->pending.count >= cap) {
        size_t grown = cap ? cap * 2 : RING_MIN;
        struct bh_redis_pending *ring = bh_malloc(grown * sizeof *ring);
        for (size_t i = 0; i < cap; i++)
            ring[i] = link->pending.ring[(link->pending.head + i) & link->pending.mask];
        bh_free(link->pending.ring);
        link->pending.ring = ring;
        link->pending.mask = grown - 1;
        link->pending.head = 0;
    }
    link->pending.ring[(link->pending.head + link->pending.count++) & link->pending.mask] = *p;
}

static struct bh_redis_pending pending_shift(struct bh_redis_link *link) {
    struct bh_redis_pending p = link->pending.ring[link->pending.head];
    link->pending.head = (link->pending.head + 1) & link->pending.mask;
    link->pending.count--;
    return p;
}

static void complete_all(struct bh_redis_link *link, uint64_t sent, int error) {
    while (link->pending.count) {
        struct bh_redis_pending p = pending_shift(link);
        p.completion.fire(&p.completion, p.offset < sent ? error : BH_EUNAVAIL, NULL);
    }
    bh_free(link->pending.ring);
    memset(&link->pending, 0, sizeof link->pending);
}

/* --- down --- */

static void disconnect(struct bh_redis_link *link) {
    link->connections++;
    if (link->locator)
        link->locator->vt->stop(link->locator);
    if (link->resolve)
        bh_resolve_cancel(link->resolve);
    link->resolve = NULL;
    if (bh_stream_is_open(&link->stream))
        bh_stream_close(&link->stream);
    bh_defer_cancel(&link->flush);
    bh_bytes_free(&link->out);
    link->out_head = 0;
    link->awaiting = false;
}

static const char *server(const struct bh_redis_link *link, char out[SERVER_TEXT_MAX]) {
    const struct bh_redis_config *c = link->config;
    if (c->unix_path)
        snprintf(out, SERVER_TEXT_MAX, "unix:%s", c->unix_path);
    else if (!link->host && c->cluster)
        snprintf(out, SERVER_TEXT_MAX, "a master of the cluster");
    else if (!link->host)
        snprintf(out, SERVER_TEXT_MAX, "master %s of Sentinel", c->master);
    else
        snprintf(out, SERVER_TEXT_MAX, strchr(link->host, ':') ? "[%s]:%u" : "%s:%u", link->host,
                 link->port);
    const struct bh_addr *addr = bh_redis_addresses_current(&link->addresses);
    char text[BH_ADDR_TEXT_MAX];
    size_t n = strlen(out);
    if (addr) {
        bh_addr_format(addr, text);
        snprintf(out + n, SERVER_TEXT_MAX - n, " at %s", text);
    }
    return out;
}

/* The back-off grows with attempts that failed. One that settled has not, unless the server has
 * then rejected what the link is for: it would do so again at once. */
static unsigned count_failed(const struct bh_redis_link *link, int error) {
    bool ready = link->state == BH_REDIS_READY;
    bool lost = error == BH_EIO || error == BH_ECLOSED || error == BH_ETIMEDOUT;
    bool stable = ready && bh_loop_now(link->loop) - link->ready_ms >= link->config->backoff_max_ms;
    return stable || (ready && link->settled && lost) ? 1 : link->attempts + 1;
}

/* Not at once: a drop may happen inside a callback of the connection. */
static bool try_next_address(struct bh_redis_link *link, int error, const char *why) {
    bool connecting = link->state == BH_REDIS_CONNECTING || link->state == BH_REDIS_AUTH;
    char text[SERVER_TEXT_MAX];
    if (!connecting || bh_redis_addresses_left(&link->addresses) == 0)
        return false;
    bh_debug("trying the next address of Redis", bh_kv_str("link", link->name),
             bh_kv_str("server", server(link, text)), bh_kv_str("error", bh_strerror(error)),
             bh_kv_str("reason", why));
    disconnect(link);
    atomic_store(&link->down_reason, why);
    set_state(link, BH_REDIS_BACKOFF);
    bh_timer_set(&link->timer, 0);
    complete_all(link, link->sent, BH_EIO);
    return true;
}

void bh_redis_link_drop(struct bh_redis_link *link, int error, const char *why) {
    if (link->state == BH_REDIS_IDLE || link->state == BH_REDIS_BACKOFF ||
        try_next_address(link, error, why))
        return;
    char text[SERVER_TEXT_MAX];
    const char *where = server(link, text);
    bool was_ready = link->state == BH_REDIS_READY;
    link->attempts = count_failed(link, error);
    /* Where a server has closed the connection, one is still likely to be. */
    bh_redis_addresses_end(&link->addresses,
                           !was_ready || (error != BH_EIO && error != BH_ECLOSED));
    disconnect(link);
    atomic_store(&link->down_reason, why);
    set_state(link, BH_REDIS_BACKOFF);
    if (was_ready)
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_DROPS]);
    bh_warn_limited(was_ready ? "Redis link lost" : "no link to Redis",
                    bh_kv_str("link", link->name), bh_kv_str("server", where),
                    bh_kv_str("error", bh_strerror(error)), bh_kv_str("reason", why),
                    bh_kv_int("attempt", link->attempts),
                    bh_kv_int("next_attempt_ms", (int64_t)time_left(link)));
    complete_all(link, link->sent, error == BH_ETIMEDOUT ? BH_ETIMEDOUT : BH_EIO);
    if (link->state != BH_REDIS_BACKOFF)
        return;
    if (was_ready)
        link->callbacks->on_down(link);
    else if (link->callbacks->on_failed)
        link->callbacks->on_failed(link);
}

/* --- output --- */

/* By the clock and not by the tick's time: a long tick of this process is no silence of Redis. */
static void restart_deadline(struct bh_redis_link *link) {
    link->awaiting = link->pending.count > 0;
    link->awaiting_ms = bh_clock_ms();
}

static void note_answer(struct bh_redis_link *link) {
    restart_deadline(link);
    atomic_store_explicit(&link->heard_ms, link->awaiting_ms, memory_order_relaxed);
}

static void sent_everything(struct bh_redis_link *link) {
    link->out_head = 0;
    if (link->out.cap > KEEP_MAX)
        bh_bytes_free(&link->out);
    else
        bh_bytes_clear(&link->out);
}

static void write_out(struct bh_redis_link *link) {
    while (link->out_head < link->out.len) {
        struct iovec iov = {link->out.p + link->out_head, link->out.len - link->out_head};
        ssize_t n = bh_stream_write(&link->stream, &iov, 1);
        if (n == BH_EAGAIN) {
            bh_stream_want_write(&link->stream);
            return;
        }
        if (n < 0) {
            bh_redis_link_drop(link, BH_EIO, "connection to Redis lost while writing");
            return;
        }
        link->out_head += (size_t)n;
        link->sent += (uint64_t)n;
        if (!link->awaiting)
            restart_deadline(link);
    }
    sent_everything(link);
}

static void on_flush(struct bh_defer *d) {
    write_out(BH_CONTAINER_OF(d, struct bh_redis_link, flush));
}

static const char *rejection(const struct bh_redis_link *link, size_t bound) {
    if (link->state != BH_REDIS_READY && link->state != BH_REDIS_AUTH)
        return "not connected to Redis";
    if (bound > BH_REDIS_OUT_MAX || link->out.len - link->out_head > BH_REDIS_OUT_MAX - bound ||
        link->pending.count >= BH_REDIS_PENDING_MAX)
        return "the queue to Redis is full";
    return NULL;
}

char *bh_redis_link_begin(struct bh_redis_link *link, size_t bound, const char **why) {
    *why = rejection(link, bound);
    if (*why)
        return NULL;
    if (link->out_head > link->out.len / 2 && bound > link->out.cap - link->out.len) {
        bh_bytes_consume(&link->out, link->out_head);
        link->out_head = 0;
    }
    bh_bytes_reserve(&link->out, bound);
    return link->out.p + link->out.len;
}

void bh_redis_link_commit(struct bh_redis_link *link, const char *end,
                          const struct bh_redis_completion *completion) {
    if (completion)
        pending_push(link, &(struct bh_redis_pending){.completion = *completion,
                                                      .offset = link->sent + link->out.len -
                                                                link->out_head});
    link->out.len = (size_t)(end - link->out.p);
    /* A socket that is not writable calls on_writable; the end of the tick would be too early. */
    if (!link->stream.writing)
        bh_defer(link->loop, BH_PHASE_FLUSH, &link->flush);
}

bool bh_redis_link_send(struct bh_redis_link *link, size_t argc, const struct bh_slice *argv,
                        const struct bh_redis_completion *completion) {
    const char *why;
    size_t bound = BH_RESP_HEAD_MAX;
    for (size_t i = 0; i < argc; i++)
        bound += BH_RESP_BULK_MAX(argv[i].n);
    char *p = bh_redis_link_begin(link, bound, &why);
    if (!p)
        return false;
    p = bh_resp_head(p, '*', argc);
    for (size_t i = 0; i < argc; i++)
        p = bh_resp_bulk(p, argv[i]);
    bh_redis_link_commit(link, p, completion);
    return true;
}

/* --- replies --- */

static void complete_next(struct bh_redis_link *link, const struct bh_reply *reply) {
    unsigned connection = link->connections;
    bool was_ready = link->state == BH_REDIS_READY;
    const char *why =
        reply->type == BH_REPLY_ERROR ? bh_redis_wrong_server(reply->str, link->locator) : NULL;
    struct bh_redis_pending p = pending_shift(link);
    p.completion.fire(&p.completion, 0, reply);
    if (why && was_ready && link->connections == connection)
        bh_redis_link_drop(link, BH_EUNAVAIL, why);
}

static void take_reply(struct bh_redis_link *link, const struct bh_reply *reply) {
    if (link->pending.count) {
        complete_next(link, reply);
    } else if (link->callbacks->on_push && link->state == BH_REDIS_READY) {
        link->callbacks->on_push(link, reply);
    } else {
        bh_redis_link_drop(link, BH_EPROTO, "protocol error from Redis: a reply without a command");
    }
}

/* The reader's reason may be text of the reader itself, so it is logged and not kept. */
static void drop_malformed(struct bh_redis_link *link, int error) {
    bh_warn_limited("protocol error from Redis", bh_kv_str("link", link->name),
                    bh_kv_str("reason", link->reader.why));
    bh_redis_link_drop(link, error, "protocol error from Redis");
}

static void on_data(struct bh_stream *s, unsigned char *data, size_t n) {
    struct bh_redis_link *link = BH_CONTAINER_OF(s, struct bh_redis_link, stream);
    unsigned connection = link->connections;
    bool answered = false;
    const struct bh_reply *reply;
    bh_redis_reader_feed(&link->reader, bh_slice(data, n));
    int got;
    while ((got = bh_redis_reader_next(&link->reader, &reply)) == 1) {
        answered = true;
        take_reply(link, reply);
        if (link->connections != connection)
            return;
    }
    if (got < 0)
        drop_malformed(link, got);
    else if (answered)
        note_answer(link);
}

/* The next attempt reads the files again: they may have been corrected. */
static void tls_failed(struct bh_redis_link *link) {
    bh_warn_limited("TLS to Redis failed", bh_kv_str("link", link->name),
                    bh_kv_str("reason", bh_tls_failure(&link->stream)));
    bh_tls_connector_unref(link->tls);
    link->tls = NULL;
    bh_redis_link_drop(link, BH_EPROTO, "TLS to Redis failed; see the log");
}

static void on_end(struct bh_stream *s, int error) {
    struct bh_redis_link *link = BH_CONTAINER_OF(s, struct bh_redis_link, stream);
    bool refused = link->state == BH_REDIS_CONNECTING && (!s->tls || error == BH_EUNAVAIL);
    if (error == BH_EPROTO)
        tls_failed(link);
    else
        bh_redis_link_drop(link, error ? error : BH_ECLOSED,
                           refused ? "connection to Redis refused" : "Redis closed the connection");
}

/* --- the handshake --- */

static void become_ready(struct bh_redis_link *link) {
    char text[SERVER_TEXT_MAX];
    set_state(link, BH_REDIS_READY);
    BH_LOG(link->callbacks->quiet ? BH_LOG_DEBUG : BH_LOG_INFO, NULL, "Redis link up",
           bh_kv_str("link", link->name), bh_kv_str("server", server(link, text)));
    link->callbacks->on_up(link);
}

static void on_step(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct bh_redis_link *link = c->ud;
    enum bh_redis_step step = (enum bh_redis_step)c->handle;
    const char *why;
    if (error)
        return; /* the link has been dropped */
    error = bh_redis_handshake_check(step, link->config, link->name, reply, &why);
    if (error)
        bh_redis_link_drop(link, error, why);
    else if (step == BH_REDIS_STEP_PING)
        become_ready(link);
}

static void send_handshake(struct bh_redis_link *link) {
    for (int step = 0; step < BH_REDIS_STEPS; step++) {
        struct bh_slice argv[BH_REDIS_STEP_ARGS];
        char text[BH_REDIS_STEP_TEXT];
        struct bh_redis_completion c = {.fire = on_step, .ud = link, .handle = (bh_handle)step};
        size_t argc = bh_redis_handshake_command((enum bh_redis_step)step, link->config, link->name,
                                                 link->locator != NULL, argv, text);
        if (argc)
            bh_redis_link_send(link, argc, argv, &c);
    }
}

static void on_writable(struct bh_stream *s) {
    struct bh_redis_link *link = BH_CONTAINER_OF(s, struct bh_redis_link, stream);
    if (link->state != BH_REDIS_CONNECTING) {
        write_out(link);
        return;
    }
    set_state(link, BH_REDIS_AUTH);
    bh_stream_read(&link->stream, true);
    send_handshake(link);
}

static const struct bh_stream_callbacks stream_callbacks = {
    .on_data = on_data, .on_end = on_end, .on_writable = on_writable};

/* --- up --- */

/* 0, or BH_EINVAL: the TLS files cannot be used. */
static int read_tls_files(struct bh_redis_link *link) {
    char *error;
    if (link->tls || bh_redis_config_tls(link->config, &link->tls, &error) == 0)
        return 0;
    BH_LOG_LIMITED(BH_LOG_ERROR, "TLS files for Redis are unusable", bh_kv_str("link", link->name),
                   bh_kv_str("reason", error));
    bh_free(error);
    return BH_EINVAL;
}

static void connect_to_next(struct bh_redis_link *link) {
    uint64_t now = bh_loop_now(link->loop);
    uint64_t left_ms = link->deadline_ms > now ? link->deadline_ms - now : 0;
    set_state(link, BH_REDIS_CONNECTING);
    bh_timer_set(&link->timer, left_ms / bh_redis_addresses_left(&link->addresses));
    link->sent = 0;
    bh_redis_reader_reset(&link->reader);
    const struct bh_addr *addr = bh_redis_addresses_next(&link->addresses);
    if (link->config->tls && read_tls_files(link) != 0) {
        bh_redis_link_drop(link, BH_EINVAL, "TLS files for Redis are unusable; see the log");
    } else if (bh_stream_connect(&link->stream, link->loop, addr, &stream_callbacks) != 0) {
        bh_redis_link_drop(link, BH_EUNAVAIL, "connection to Redis refused");
    } else if (link->config->tls) {
        bh_tls_connect(&link->stream, link->tls, link->host);
        bh_stream_read(&link->stream, true);
    }
}

static void connect_to(struct bh_redis_link *link, const struct bh_addr *list, size_t count) {
    bh_redis_addresses_begin(&link->addresses, list, count);
    connect_to_next(link);
}

static void on_resolved(void *ud, int error, const struct bh_addr *list, size_t count) {
    struct bh_redis_link *link = ud;
    link->resolve = NULL;
    if (error)
        bh_redis_link_drop(link, error, "cannot resolve the host name of Redis");
    else
        connect_to(link, list, count);
}

static void connect_to_path(struct bh_redis_link *link) {
    struct bh_addr addr;
    const char *why;
    set_state(link, BH_REDIS_RESOLVING);
    if (bh_addr_parse(bh_slice_cstr(link->config->unix_path), &addr, &why) != 0)
        bh_redis_link_drop(link, BH_EINVAL, why);
    else
        connect_to(link, &addr, 1);
}

static void go_to(struct bh_redis_link *link, const char *host, uint16_t port) {
    link->host = host;
    link->port = port;
    set_state(link, BH_REDIS_RESOLVING);
    link->resolve = bh_resolve(link->loop, host, port, on_resolved, link);
}

/* With TLS the locator needs the files, too. */
static void ask_locator(struct bh_redis_link *link) {
    set_state(link, BH_REDIS_ASKING);
    link->host = NULL;
    if (link->config->tls && read_tls_files(link) != 0)
        bh_redis_link_drop(link, BH_EINVAL, "TLS files for Redis are unusable; see the log");
    else
        link->locator->vt->ask(link->locator, link);
}

static void try_connect(struct bh_redis_link *link) {
    const struct bh_redis_config *c = link->config;
    if (bh_redis_addresses_left(&link->addresses) > 0)
        connect_to_next(link);
    else if (link->locator)
        ask_locator(link);
    else if (c->unix_path)
        connect_to_path(link);
    else
        go_to(link, c->host, c->port);
}

void bh_redis_link_found(struct bh_redis_link *link, const char *host, uint16_t port) {
    go_to(link, host, port);
}

void bh_redis_link_move(struct bh_redis_link *link, const char *host, uint16_t port) {
    bool paused = link->state == BH_REDIS_BACKOFF;
    if (link->state == BH_REDIS_IDLE)
        return;
    if (!paused && link->host && link->port == port && strcmp(link->host, host) == 0)
        return; /* it is there, or on its way */
    link->attempts = 0;
    bh_redis_addresses_reset(&link->addresses);
    if (paused)
        bh_timer_set(&link->timer, backoff(link));
    else
        bh_redis_link_drop(link, BH_EUNAVAIL, "the master has moved");
    if (link->state == BH_REDIS_BACKOFF)
        link->locator->vt->note(link->locator, host, port);
}

/* --- deadlines --- */

static void on_pong(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {}

void bh_redis_link_ping(struct bh_redis_link *link) {
    static const struct bh_slice ping = BH_SLICE("PING");
    static const struct bh_redis_completion completion = {.fire = on_pong};
    if (link->pending.count == 0)
        bh_redis_link_send(link, 1, &ping, &completion);
}

static void check_deadline(struct bh_redis_link *link) {
    uint64_t now = bh_loop_now(link->loop), limit = link->config->command_timeout_ms;
    uint64_t waited = link->awaiting && now > link->awaiting_ms ? now - link->awaiting_ms : 0;
    uint64_t pause = check_interval(link);
    if (waited >= limit) {
        bh_redis_link_drop(link, BH_ETIMEDOUT, "timeout: no answer from Redis");
        return;
    }
    bh_redis_link_ping(link);
    bh_timer_set(&link->timer, limit - waited < pause ? limit - waited : pause);
    if (link->callbacks->on_check)
        link->callbacks->on_check(link);
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_link *link = BH_CONTAINER_OF(t, struct bh_redis_link, timer);
    if (link->state == BH_REDIS_READY)
        check_deadline(link);
    else if (link->state == BH_REDIS_BACKOFF)
        try_connect(link);
    else
        bh_redis_link_drop(link, BH_ETIMEDOUT, "timeout: connecting to Redis");
}

/* --- life --- */

void bh_redis_link_start(struct bh_redis_link *link, struct bh_loop *loop,
                         const struct bh_redis_config *config, const char *name,
                         const struct bh_redis_link_callbacks *callbacks,
                         struct bh_redis_locator *locator) {
    link->config = config;
    link->callbacks = callbacks;
    link->locator = locator;
    link->loop = loop;
    link->stream = (struct bh_stream){.fd = -1};
    link->attempts = 0;
    atomic_store(&link->down_reason, NULL);
    snprintf(link->name, sizeof link->name, "%s", name);
    bh_timer_init(&link->timer, loop, on_timer);
    bh_defer_init(&link->flush, on_flush);
    bh_redis_reader_init(&link->reader);
    try_connect(link);
}

void bh_redis_link_stop(struct bh_redis_link *link) {
    if (link->state == BH_REDIS_IDLE)
        return;
    if (link->state == BH_REDIS_READY)
        write_out(link);
    disconnect(link);
    set_state(link, BH_REDIS_IDLE);
    complete_all(link, link->sent, BH_EIO);
    bh_redis_reader_deinit(&link->reader);
    bh_redis_addresses_reset(&link->addresses);
    bh_tls_connector_unref(link->tls);
    if (link->locator)
        link->locator->vt->free(link->locator);
    link->tls = NULL;
    link->locator = NULL;
    link->host = NULL;
}
