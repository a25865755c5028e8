/* attack.c - hostile clients for fairness.lua, which measures honest ones beside them.
 *
 *     bench_attack KIND CONNECTIONS SECONDS PORT
 *
 * Each connection is a thread that sends as fast as the server reads, discards the answers, and
 * connects again when it is closed. Prints how much it sent. Uses nothing of bellhop. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define BLOCK         (64 * 1024)
#define INFLATED      (16 * 1024 * 1024)
#define MESSAGE       "\x81\x94\0\0\0\0" /* text, 20 bytes, masked with zeros */ "01234567890123456789"
#define MESSAGE_LEN   (sizeof MESSAGE - 1)
#define REQUEST(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define UPGRADE                                                                                    \
    "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                 \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

struct attack {
    const char *name;
    const char *first;     /* sent once */
    const char *repeated;  /* then this, over and over */
    size_t repeated_len;   /* 0: a string */
    unsigned per_second;   /* blocks of each connection; 0: as many as possible */
    void (*make)(struct attack *a);
    bool (*connected)(int fd); /* instead of all that */
    char *block;
    size_t block_len;
};

static struct sockaddr_in server = {.sin_family = AF_INET};
static double end_at;
static atomic_long sent, connections;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- what is sent --- */

static void make_block(struct attack *a) {
    size_t n = a->repeated_len ? a->repeated_len : strlen(a->repeated);
    a->block = malloc(BLOCK);
    for (; a->block_len + n <= BLOCK; a->block_len += n)
        memcpy(a->block + a->block_len, a->repeated, n);
}

/* One compressed frame of a few KiB. */
static void make_inflating(struct attack *a, const char *head, const char *unit, const char *tail) {
    z_stream z = {0};
    size_t n = INFLATED, room = BLOCK, unit_len = strlen(unit);
    unsigned char *plain = malloc(n), *frame = malloc(room);
    size_t at = strlen(head);
    memcpy(plain, head, at);
    for (; at + unit_len + strlen(tail) < n; at += unit_len)
        memcpy(plain + at, unit, unit_len);
    memcpy(plain + at, tail, strlen(tail));
    deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    z.next_in = plain;
    z.avail_in = (unsigned)(at + strlen(tail));
    z.next_out = frame + 8;
    z.avail_out = (unsigned)room - 8;
    deflate(&z, Z_SYNC_FLUSH);
    size_t payload = room - 8 - z.avail_out - 4;
    deflateEnd(&z);
    free(plain);
    memcpy(frame, (unsigned char[]){0xc1, 0xfe, (unsigned char)(payload >> 8), (unsigned char)payload, 0, 0, 0, 0}, 8);
    a->block = (char *)frame;
    a->block_len = payload + 8;
}

static void make_inflating_zeros(struct attack *a) {
    make_inflating(a, "", "0000000000000000", "");
}

static void make_inflating_list(struct attack *a) {
    make_inflating(a, "[", "[],[],[],[],", "0]");
}

/* --- kinds --- */

static SSL *tls_connect(int fd) {
    static SSL_CTX *context;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!context)
        context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    pthread_mutex_unlock(&lock);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

static bool attack_keys(int fd) {
    SSL *ssl = tls_connect(fd);
    while (ssl && now() < end_at && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 &&
           SSL_do_handshake(ssl) == 1)
        sent++;
    SSL_free(ssl);
    return true;
}

static bool attack_handshakes(int fd) {
    SSL *ssl = tls_connect(fd);
    sent++;
    SSL_free(ssl);
    return true;
}

static struct attack attacks[] = {
    {"messages", .first = UPGRADE "\r\n", .repeated = MESSAGE, .repeated_len = MESSAGE_LEN, .make = make_block},
    {"metrics", .first = "", .repeated = REQUEST("/metrics"), .make = make_block},
    {"route", .first = "", .repeated = REQUEST("/slow"), .make = make_block},
    {"inflate", .first = UPGRADE "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", .make = make_inflating_zeros, .per_second = 20},
    {"json", .first = UPGRADE "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", .make = make_inflating_list, .per_second = 20},
    {"keys", .connected = attack_keys},
    {"handshakes", .connected = attack_handshakes},
};

/* --- a connection --- */

static bool put(int fd, const char *p, size_t n, size_t *at) {
    ssize_t done = send(fd, p + *at, n - *at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (done < 0)
        return errno == EAGAIN;
    *at = (*at + (size_t)done) % n;
    sent += done;
    return true;
}

static bool drain(int fd, char *buffer) {
    ssize_t got = recv(fd, buffer, BLOCK, MSG_DONTWAIT);
    return got > 0 || (got < 0 && errno == EAGAIN);
}

static void flood(const struct attack *a, int fd) {
    char *buffer = malloc(BLOCK);
    size_t at = 0, n = strlen(a->first);
    double due = now();
    bool ok = !n || send(fd, a->first, n, MSG_NOSIGNAL) == (ssize_t)n;
    ok = ok && (!n || recv(fd, buffer, BLOCK, 0) > 0);
    while (ok && now() < end_at) {
        bool may_send = !a->per_second || at || now() >= due;
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (may_send ? POLLOUT : 0))};
        if (poll(&p, 1, 5) < 0)
            break;
        if (p.revents & POLLOUT) {
            due += at == 0 && a->per_second ? 1.0 / a->per_second : 0;
            ok = put(fd, a->block, a->block_len, &at);
        }
        if (p.revents & ~POLLOUT)
            ok = ok && drain(fd, buffer);
    }
    free(buffer);
}

static void *run(void *arg) {
    const struct attack *a = arg;
    while (now() < end_at) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 2}, sizeof(struct timeval));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){.tv_sec = 2}, sizeof(struct timeval));
        if (connect(fd, (struct sockaddr *)&server, sizeof server) == 0) {
            connections++;
            if (a->connected)
                a->connected(fd);
            else
                flood(a, fd);
        } else {
            usleep(1000);
        }
        close(fd);
    }
    return NULL;
}

int main(int argc, char **argv) {
    struct attack *a = NULL;
    for (size_t i = 0; argc == 5 && i < sizeof attacks / sizeof *attacks; i++)
        if (!strcmp(attacks[i].name, argv[1]))
            a = &attacks[i];
    if (!a) {
        fprintf(stderr, "usage: bench_attack KIND CONNECTIONS SECONDS PORT; kinds:");
        for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
            fprintf(stderr, " %s", attacks[i].name);
        fprintf(stderr, "\n");
        return 2;
    }
    int count = atoi(argv[2]);
    signal(SIGPIPE, SIG_IGN);
    server.sin_port = htons((uint16_t)atoi(argv[4]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    end_at = now() + atof(argv[3]);
    if (a->make)
        a->make(a);
    pthread_t *threads = calloc((size_t)count, sizeof *threads);
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, a))
            return 1;
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    printf("sent %ld\nattack_connections %ld\n", (long)sent, (long)connections);
    return 0;
}
