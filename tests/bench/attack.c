/* attack.c - hostile clients, beside which fairness.lua measures honest ones.
 *
 *     bench_attack KIND CONNECTIONS SECONDS PORT
 *
 * Each connection is a thread that sends as fast as the server reads, discards the answers, and
 * connects again when it is closed. Most kinds send one block over and over, after an upgrade if
 * they need one; those over TLS have a function of their own. Uses nothing of bellhop. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define BLOCK     (64 * 1024)
#define INFLATED  (16 * 1024 * 1024)
#define TIMEOUT_S 2
#define MESSAGE                                                                                    \
    "\x81\x94\0\0\0\0"                                                                             \
    "{\"n\":12345678901234}" /* text, masked with zeros */
#define REQUEST(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define UPGRADE                                                                                    \
    "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                 \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define DEFLATE "Sec-WebSocket-Extensions: permessage-deflate\r\n"

struct block {
    char *p;
    size_t n;
};

struct kind {
    const char *name;
    struct block (*block)(void);
    const char *upgrade; /* sent first; NULL: nothing */
    double pause_s;      /* between two blocks */
    void (*tls)(SSL *ssl);
};

static const struct kind *kind;
static struct block block;
static SSL_CTX *context;
static struct sockaddr_in server = {.sin_family = AF_INET};
static double end_at;
static atomic_long sent, connections;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- what is sent --- */

static void *allocate(size_t n) {
    void *p = malloc(n);
    if (!p)
        abort();
    return p;
}

static struct block repeat(const char *unit, size_t n) {
    struct block b = {allocate(BLOCK), 0};
    for (; b.n + n <= BLOCK; b.n += n)
        memcpy(b.p + b.n, unit, n);
    return b;
}

static struct block messages(void) {
    return repeat(MESSAGE, sizeof MESSAGE - 1);
}

static struct block metrics(void) {
    return repeat(REQUEST("/metrics"), sizeof REQUEST("/metrics") - 1);
}

static struct block requests(void) {
    return repeat(REQUEST("/work"), sizeof REQUEST("/work") - 1);
}

/* A compressed text message of INFLATED bytes, in one frame; about 16 KB. */
static struct block deflated(const unsigned char *plain) {
    enum { HEAD = 8, TAIL = 4 };
    struct block b = {allocate(BLOCK), HEAD};
    z_stream z = {.next_in = (unsigned char *)plain,
                  .avail_in = INFLATED,
                  .next_out = (unsigned char *)b.p + HEAD,
                  .avail_out = BLOCK - HEAD};
    deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    deflate(&z, Z_SYNC_FLUSH);
    size_t payload = BLOCK - HEAD - z.avail_out - TAIL;
    deflateEnd(&z);
    unsigned char head[HEAD] = {0xc1, 0xfe, (unsigned char)(payload >> 8), (unsigned char)payload};
    memcpy(b.p, head, HEAD);
    b.n += payload;
    return b;
}

static struct block inflating(void) {
    unsigned char *plain = allocate(INFLATED);
    memset(plain, '0', INFLATED);
    struct block b = deflated(plain);
    free(plain);
    return b;
}

/* [[],[],[], ... []] */
static struct block json(void) {
    unsigned char *plain = allocate(INFLATED);
    size_t at = 0;
    plain[at++] = '[';
    for (; at + 3 < INFLATED - 3; at += 3)
        memcpy(plain + at, "[],", 3);
    memset(plain + at, ' ', INFLATED - at);
    memcpy(plain + at, "[]]", 3);
    struct block b = deflated(plain);
    free(plain);
    return b;
}

/* --- over TLS --- */

static void update_keys(SSL *ssl) {
    while (now() < end_at && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 &&
           SSL_do_handshake(ssl) == 1)
        sent++;
}

static void only_handshake(SSL *ssl) {
    sent++;
}

static void over_tls(int fd) {
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1)
        kind->tls(ssl);
    SSL_free(ssl);
}

/* --- a connection --- */

static const struct kind kinds[] = {
    {.name = "messages", .block = messages, .upgrade = UPGRADE "\r\n"},
    {.name = "metrics", .block = metrics},
    {.name = "requests", .block = requests},
    {.name = "inflating", .block = inflating, .upgrade = UPGRADE DEFLATE "\r\n", .pause_s = 0.05},
    {.name = "json", .block = json, .upgrade = UPGRADE DEFLATE "\r\n", .pause_s = 0.05},
    {.name = "keys", .tls = update_keys},
    {.name = "handshakes", .tls = only_handshake},
};

static bool upgrade(int fd, char *buffer) {
    if (!kind->upgrade)
        return true;
    send(fd, kind->upgrade, strlen(kind->upgrade), MSG_NOSIGNAL);
    return recv(fd, buffer, BLOCK, 0) > 0;
}

static bool send_some(int fd, size_t *at) {
    ssize_t n = send(fd, block.p + *at, block.n - *at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN;
    *at = (*at + (size_t)n) % block.n;
    sent += n;
    return true;
}

static bool discard(int fd, char *buffer) {
    ssize_t n = recv(fd, buffer, BLOCK, MSG_DONTWAIT);
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static void flood(int fd) {
    char *buffer = allocate(BLOCK);
    size_t at = 0;
    double due = 0;
    bool open = upgrade(fd, buffer);
    while (open && now() < end_at) {
        bool is_due = at > 0 || now() >= due;
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (is_due ? POLLOUT : 0))};
        poll(&p, 1, 5);
        if (p.revents & POLLOUT && at == 0)
            due = now() + kind->pause_s;
        if (p.revents & POLLOUT)
            open = send_some(fd, &at);
        if (p.revents & ~POLLOUT)
            open = open && discard(fd, buffer);
    }
    free(buffer);
}

static void *run(void *unused) {
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    while (now() < end_at) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0) {
            usleep(1000);
        } else {
            connections++;
            (kind->tls ? over_tls : flood)(fd);
        }
        close(fd);
    }
    return NULL;
}

/* --- start --- */

static void attack(unsigned count) {
    pthread_t *threads = allocate(count * sizeof *threads);
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, NULL))
            abort();
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

static int usage(void) {
    fprintf(stderr, "usage: bench_attack KIND CONNECTIONS SECONDS PORT; kinds:");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        fprintf(stderr, " %s", kinds[i].name);
    fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc == 5 && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, argv[1]) == 0)
            kind = &kinds[i];
    if (!kind)
        return usage();
    signal(SIGPIPE, SIG_IGN);
    server.sin_port = htons((uint16_t)atoi(argv[4]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    context = SSL_CTX_new(TLS_client_method());
    if (kind->block)
        block = kind->block();
    end_at = now() + atof(argv[3]);
    attack((unsigned)atoi(argv[2]));
    free(block.p);
    SSL_CTX_free(context);
    printf("attack_sent %ld\nattack_connections %ld\n", sent, connections);
    return 0;
}
