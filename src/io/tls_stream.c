/* tls_stream.c - TLS as a transport of a stream, for both sides.
 *
 * OpenSSL never sees the socket, only a BIO of ours:
 *
 *     socket -> recv, one chunk -> BIO -> SSL_read -> the caller's buffer
 *     iovec -> pieces of one record -> SSL_write -> BIO -> send, the rest to `pending` -> socket
 *
 * Reading does one recv per wake-up into the loop's buffer for ciphertext, and runs OpenSSL until
 * it has consumed that chunk. A chunk and the unfinished record before it fit into the caller's
 * buffer once decrypted (48 + 16 KiB), so OpenSSL never holds plaintext back, and a short read
 * means "drained", as stream.c expects. Bytes after the last message of the handshake are kept in
 * `early`, so that the owner is notified of the handshake before it gets data.
 *
 * Writing always succeeds for OpenSSL, so the rule that a failed SSL_write must be repeated with
 * the same bytes never applies. What the kernel does not take waits in `pending`; meanwhile nothing
 * more is encrypted, so it holds one record, or a flight of the handshake. All bytes of that record
 * but one are reported as taken, the last one only when the whole record is with the kernel: then
 * the owner may close.
 *
 * A record without data costs the peer nothing: an empty one, an alert, a KeyUpdate, for which both
 * sides compute new keys and we answer. OpenSSL returns after each of them (no
 * SSL_MODE_AUTO_RETRY), and a connection that sends too many is ended before more are read.
 *
 * A broken socket is not an error for OpenSSL: further output is dropped, and what the peer sent
 * before is still read. Thread: the loop's. */
#include "tls_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "loop_internal.h"
#include "stream_ops.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE_MAX        (16 * 1024) /* the plaintext of one record */
#define PENDING_MAX      (64 * 1024)
#define NO_PLAINTEXT_MAX (256 * 1024)

/* In each COUNTED_MS. */
#define COUNTED_MS        10000
#define KEY_UPDATES_MAX   16
#define EMPTY_RECORDS_MAX 64

static struct bh_metric metrics[] = {
    {"bellhop_io_tls_handshakes_total", NULL, "TLS handshakes completed", BH_COUNTER, 0},
    {"bellhop_io_tls_handshakes_failed_total", NULL,
     "connections that sent something but did not complete the TLS handshake", BH_COUNTER, 0},
    {"bellhop_io_tls_resumed_total", NULL, "TLS handshakes that resumed a session", BH_COUNTER, 0},
    {"bellhop_io_tls_floods_total", NULL,
     "TLS connections ended for too many key updates or records without data", BH_COUNTER, 0},
};
enum { COMPLETED, FAILED, RESUMED, FLOODS };

void bh_tls_metrics_register(void) {
    bh_metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* --- between OpenSSL and the socket --- */

/* Returns the bytes that the kernel took. */
static size_t send_some(struct bh_tls_conn *c, const char *p, size_t n) {
    ssize_t sent;
    do
        sent = send(c->fd, p, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return (size_t)sent;
    c->broken = errno != EAGAIN;
    return 0;
}

static bool has_unsent(const struct bh_tls_conn *c) {
    return c->pending.len > 0 && !c->broken;
}

static void flush_pending(struct bh_tls_conn *c) {
    if (has_unsent(c))
        bh_bytes_consume(&c->pending, send_some(c, c->pending.p, c->pending.len));
    if (has_unsent(c))
        return;
    bh_bytes_free(&c->pending);
    if (c->fin_due)
        shutdown(c->fd, SHUT_WR);
    c->fin_due = false;
}

static int bio_write(BIO *bio, const char *p, int n) {
    struct bh_tls_conn *c = BIO_get_data(bio);
    size_t total = (size_t)n, sent = 0;
    BIO_clear_retry_flags(bio);
    if (c->broken)
        return n;
    if (!c->pending.len)
        sent = send_some(c, p, total);
    if (c->broken || sent == total)
        return n;
    if (c->pending.len + total - sent > PENDING_MAX)
        return -1; /* the peer makes us answer and does not read */
    bh_bytes_add(&c->pending, bh_slice(p + sent, total - sent));
    return n;
}

static int bio_read(BIO *bio, char *out, int n) {
    struct bh_tls_conn *c = BIO_get_data(bio);
    size_t part = c->in_left < (size_t)n ? c->in_left : (size_t)n;
    BIO_clear_retry_flags(bio);
    if (part == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(out, c->in, part);
    c->in += part;
    c->in_left -= part;
    return (int)part;
}

static long bio_ctrl(BIO *bio, int command, long number, void *p) {
    return command == BIO_CTRL_FLUSH; /* the only one that OpenSSL requires */
}

static BIO_METHOD *bio_method;

static void make_bio_method(void) {
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "bellhop");
    if (!bio_method)
        abort();
    BIO_meth_set_write(bio_method, bio_write);
    BIO_meth_set_read(bio_method, bio_read);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

static BIO *new_bio(struct bh_tls_conn *c) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = BIO_new(bio_method);
    if (bio) {
        BIO_set_data(bio, c);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* --- input --- */

static unsigned char *buffer_of(struct bh_loop *loop) {
    if (!loop->tls_buffer)
        loop->tls_buffer = bh_malloc(BH_LOOP_TLS_BUFFER);
    return loop->tls_buffer;
}

static ssize_t take_early(struct bh_tls_conn *c, unsigned char *buffer) {
    size_t n = c->early.len < BH_LOOP_TLS_BUFFER ? c->early.len : BH_LOOP_TLS_BUFFER;
    memcpy(buffer, c->early.p, n);
    bh_bytes_consume(&c->early, n);
    if (!c->early.len)
        bh_bytes_free(&c->early);
    return (ssize_t)n;
}

/* > 0: the size of the chunk; 0 at the end; BH_EAGAIN; BH_EIO. */
static ssize_t next_chunk(struct bh_stream *s, struct bh_tls_conn *c) {
    unsigned char *buffer = buffer_of(c->loop);
    ssize_t n = c->early.len ? take_early(c, buffer)
                             : bh_stream_plain_ops.read(s, buffer, BH_LOOP_TLS_BUFFER);
    if (n > 0) {
        c->in = buffer;
        c->in_left = (size_t)n;
        c->begun = true;
    }
    return n;
}

/* The next stream uses the loop's buffer: what is left of the chunk goes to the front of `early`.
 */
static void keep_rest(struct bh_tls_conn *c) {
    struct bh_bytes rest = {0};
    if (!c->in_left)
        return;
    bh_bytes_add(&rest, bh_slice(c->in, c->in_left));
    bh_bytes_add(&rest, bh_bytes_slice(&c->early));
    bh_bytes_free(&c->early);
    c->early = rest;
    c->in_left = 0;
}

static ssize_t set_over(struct bh_tls_conn *c, int outcome) {
    c->over = true;
    c->outcome = outcome;
    c->in_left = 0;
    bh_bytes_free(&c->early);
    if (outcome != 0 || !c->established)
        c->broken = true;
    return outcome;
}

/* --- the handshake --- */

static const char *describe_failure(const struct bh_tls_conn *c) {
    unsigned long error = ERR_peek_error();
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    const char *text = bh_tls_reason();
    if (reason == SSL_R_HTTP_REQUEST)
        return "the peer sent plain HTTP to a TLS port";
    if (reason == SSL_R_WRONG_VERSION_NUMBER && c->client && !c->established)
        return "the server does not speak TLS on this port, or only an old version";
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return X509_verify_cert_error_string(SSL_get_verify_result(c->ssl));
    return text;
}

static void log_failure(const struct bh_tls_conn *c, const char *message) {
    char text[BH_ADDR_TEXT_MAX] = "";
    struct bh_addr peer = {.len = sizeof peer.storage};
    if (getpeername(c->fd, &peer.sa, &peer.len) == 0)
        bh_addr_format_ip(&peer, text);
    bh_info_limited("tls connection failed", bh_kv_str("what", message),
                    bh_kv_str("reason", c->failure), bh_kv_str("peer", text));
}

/* The result of reading after OpenSSL has failed. */
static ssize_t outcome_of(struct bh_tls_conn *c, int result, const char *what) {
    switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return BH_EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return set_over(c, 0);
    case SSL_ERROR_SSL:
        c->failure = describe_failure(c);
        log_failure(c, what);
        flush_pending(c); /* the alert */
        return set_over(c, BH_EPROTO);
    default:
        ERR_clear_error();
        return set_over(c, BH_EIO);
    }
}

static ssize_t do_handshake(struct bh_stream *s, struct bh_tls_conn *c) {
    ERR_clear_error();
    int result = SSL_do_handshake(c->ssl);
    if (result != 1)
        return outcome_of(c, result, "handshake");
    c->established = true;
    s->handshaking = 0;
    bh_metric_inc(&metrics[COMPLETED]);
    if (SSL_session_reused(c->ssl))
        bh_metric_inc(&metrics[RESUMED]);
    return BH_EAGAIN;
}

/* --- the operations --- */

static void set_stream_bits(struct bh_stream *s, const struct bh_tls_conn *c) {
    s->unsent = has_unsent(c);
    s->has_input = c->early.len > 0 || c->over || c->first;
}

/* --- data --- */

static void on_message(int is_write, int version, int content_type, const void *p, size_t n,
                       SSL *ssl, void *arg) {
    struct bh_tls_conn *c = arg;
    if (is_write)
        return;
    if (content_type == SSL3_RT_HEADER)
        c->records++;
    else if (content_type == SSL3_RT_HANDSHAKE && n &&
             *(const unsigned char *)p == SSL3_MT_KEY_UPDATE)
        c->key_updates++;
}

/* A record counts as empty until its data comes, which may be later. */
static void count_empty(struct bh_tls_conn *c, uint32_t records, uint32_t with_data) {
    uint64_t now = bh_loop_now(c->loop);
    if (now - c->counted_ms >= COUNTED_MS) {
        c->counted_ms = now;
        c->key_updates = c->empty_records = 0;
    }
    uint32_t seen = c->empty_records + records;
    c->empty_records = seen - (with_data < seen ? with_data : seen);
}

static bool is_flood(struct bh_tls_conn *c) {
    if (c->key_updates > KEY_UPDATES_MAX)
        c->failure = "too many key updates";
    else if (c->empty_records > EMPTY_RECORDS_MAX)
        c->failure = "too many records without data";
    else
        return false;
    bh_metric_inc(&metrics[FLOODS]);
    log_failure(c, "data");
    return true;
}

/* Reads until the chunk is used up. The outcome of that; *total bytes were data. */
static ssize_t decrypt_all(struct bh_tls_conn *c, unsigned char *p, size_t n, size_t *total) {
    while (*total < n) {
        size_t part = 0;
        uint32_t before = c->records;
        int ok = SSL_read_ex(c->ssl, p + *total, n - *total, &part);
        *total += part;
        if (!ok || c->records - before != 1) {
            count_empty(c, c->records - before, (uint32_t)ok);
            if (is_flood(c))
                return set_over(c, BH_EPROTO);
        }
        if (!ok && (!c->in_left || SSL_get_error(c->ssl, ok) != SSL_ERROR_WANT_READ))
            return outcome_of(c, ok, "data");
    }
    return (ssize_t)n;
}

static ssize_t decrypt(struct bh_tls_conn *c, unsigned char *p, size_t n) {
    size_t total = 0, chunk = c->in_left;
    ERR_clear_error();
    ssize_t outcome = decrypt_all(c, p, n, &total);
    if (total == n)
        return (ssize_t)n;
    c->no_plaintext = total ? 0 : c->no_plaintext + (uint32_t)chunk;
    if (c->no_plaintext > NO_PLAINTEXT_MAX)
        outcome = set_over(c, BH_EIO);
    return total ? (ssize_t)total : outcome;
}

static ssize_t read_chunk(struct bh_stream *s, struct bh_tls_conn *c, void *p, size_t n) {
    if (c->first) {
        c->first = false;
        return do_handshake(s, c);
    }
    ssize_t got = next_chunk(s, c);
    if (got == BH_EAGAIN)
        return BH_EAGAIN;
    if (got <= 0)
        return set_over(c, (int)got);
    ssize_t result = c->established ? decrypt(c, p, n) : do_handshake(s, c);
    keep_rest(c);
    return result;
}

static ssize_t tls_read(struct bh_stream *s, void *p, size_t n) {
    struct bh_tls_conn *c = s->tls;
    ssize_t result;
    if (c->over)
        result = c->outcome;
    else
        result = read_chunk(s, c, p, n);
    set_stream_bits(s, c);
    return result;
}

/* A position in a vector. */
struct cursor {
    const struct iovec *iov;
    int count;
    size_t offset;
};

static void advance(struct cursor *at, size_t n) {
    at->offset += n;
    while (at->count && at->offset >= at->iov->iov_len) {
        at->offset -= at->iov->iov_len;
        at->iov++;
        at->count--;
    }
}

/* The plaintext of one record: one part of the vector in place, or several copied together. */
static struct bh_slice next_piece(const struct cursor *at, unsigned char *scratch) {
    size_t filled = 0, offset = at->offset;
    for (int i = 0; i < at->count && filled < PIECE_MAX; i++, offset = 0) {
        const char *p = (const char *)at->iov[i].iov_base + offset;
        size_t left = at->iov[i].iov_len - offset, room = PIECE_MAX - filled;
        size_t n = left < room ? left : room;
        if (i == 0 && (n == PIECE_MAX || at->count == 1))
            return bh_slice(p, n);
        memcpy(scratch + filled, p, n);
        filled += n;
    }
    return bh_slice(scratch, filled);
}

static size_t encrypt(struct bh_tls_conn *c, struct cursor *at) {
    size_t taken = 0, part;
    ERR_clear_error();
    while (at->count && !c->pending.len && !c->broken) {
        struct bh_slice piece = next_piece(at, buffer_of(c->loop));
        if (!SSL_write_ex(c->ssl, piece.p, piece.n, &part)) {
            ERR_clear_error();
            c->broken = true;
            break;
        }
        advance(at, part);
        taken += part;
    }
    return taken;
}

static ssize_t tls_write(struct bh_stream *s, const struct iovec *iov, int count) {
    struct bh_tls_conn *c = s->tls;
    struct cursor at = {iov, count, 0};
    advance(&at, 0);
    flush_pending(c);
    s->unsent = has_unsent(c);
    if (c->broken)
        return BH_ECLOSED;
    if (!at.count)
        return 0;
    if (s->unsent)
        return BH_EAGAIN;
    size_t taken = c->held;
    advance(&at, taken);
    c->held = false;
    taken += encrypt(c, &at);
    s->unsent = has_unsent(c);
    if (c->broken)
        return BH_ECLOSED;
    c->held = s->unsent && taken > 1;
    return (ssize_t)(taken - c->held);
}

static void tls_flush(struct bh_stream *s) {
    flush_pending(s->tls);
    set_stream_bits(s, s->tls);
}

static void send_close_notify(struct bh_tls_conn *c) {
    if (!c->established || c->broken || SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN)
        return;
    ERR_clear_error();
    if (SSL_shutdown(c->ssl) < 0)
        ERR_clear_error();
}

static void tls_shutdown(struct bh_stream *s) {
    struct bh_tls_conn *c = s->tls;
    send_close_notify(c);
    c->fin_due = true;
    flush_pending(c);
    set_stream_bits(s, c);
}

static void tls_close(struct bh_stream *s, bool abrupt) {
    struct bh_tls_conn *c = s->tls;
    if (!abrupt) {
        send_close_notify(c);
        flush_pending(c);
    }
    if (c->begun && !c->established)
        bh_metric_inc(&metrics[FAILED]);
    close(c->fd);
    SSL_free(c->ssl);
    c->release(c);
    bh_bytes_free(&c->early);
    bh_bytes_free(&c->pending);
    bh_free(c);
    s->tls = NULL;
}

static const struct bh_stream_ops tls_ops = {.read = tls_read,
                                             .write = tls_write,
                                             .flush = tls_flush,
                                             .shutdown = tls_shutdown,
                                             .close = tls_close};

struct bh_tls_conn *bh_tls_transport(struct bh_stream *s, SSL *ssl, struct bh_slice early) {
    struct bh_tls_conn *c = bh_calloc(1, sizeof *c);
    BIO *bio = new_bio(c);
    c->loop = s->loop;
    c->fd = s->fd;
    if (ssl && bio) {
        c->ssl = ssl;
        SSL_set_bio(ssl, bio, bio);
        SSL_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
        SSL_set_msg_callback(ssl, on_message);
        SSL_set_msg_callback_arg(ssl, c);
        bh_bytes_add(&c->early, early);
    } else {
        SSL_free(ssl);
        BIO_free(bio);
        set_over(c, BH_EIO);
    }
    s->tls = c;
    s->ops = &tls_ops;
    s->handshaking = 1;
    set_stream_bits(s, c);
    return c;
}

const char *bh_tls_failure(const struct bh_stream *s) {
    const struct bh_tls_conn *c = s->tls;
    return c && c->failure ? c->failure : "unknown reason";
}
