/* client.h - a connection to the server: it connects, upgrades, does the handshake of its protocol
 * (protocol.h), and then gives each message to the mode. It owns its socket and lives in the array
 * of its worker. */
#ifndef BELLHOP_BENCH_CLIENT_H
#define BELLHOP_BENCH_CLIENT_H

#include "worker.h"

#include <openssl/types.h>

enum client_state {
    CLIENT_NEW,
    CLIENT_CONNECTING,
    CLIENT_TLS,
    CLIENT_UPGRADING,
    CLIENT_HANDSHAKE, /* of the protocol inside the connection */
    CLIENT_OPEN,
    CLIENT_CLOSED,
};

struct bytes {
    uint8_t *at;
    size_t len, room;
};

/* Stamps of the messages in flight, oldest first. */
struct stamps {
    uint64_t *at;
    uint32_t first, count, room; /* room: a power of two */
};

struct client {
    struct source source;
    struct worker *worker;
    SSL *ssl;
    int fd;
    uint32_t events;
    int error; /* errno of a failed send */
    enum client_state state;
    unsigned number; /* from 1, over all processes */
    uint64_t begun;
    struct bytes carry;    /* bytes left over by the last read: ... */
    size_t carried_stream; /* ... this many of the stream, then framed ones */
    struct bytes out;      /* not yet sent */
    void (*on_pong)(struct client *client, const uint8_t *bytes, size_t len); /* may be null */
    /* for the mode: */
    uint64_t sent, received, last_stamp;
    uint32_t batch;
    struct stamps stamps;
};

/* Starts to connect. worker_on_open follows, or the process ends with a message. */
void client_start(struct client *client, struct worker *worker, unsigned number);

/* Sends bytes as they are, now or when the socket is writable. Does nothing once closed. */
void client_send(struct client *client, const void *bytes, size_t len);

/* Sends one frame; len is at most 4096 bytes. */
void client_send_frame(struct client *client, uint8_t opcode, const void *bytes, size_t len);

/* The path of its request. */
void client_path(const struct client *client, char *out, size_t room);

/* Called by the protocol: its handshake is done. */
void client_opened(struct client *client);

/* Resets the connection and frees its memory, without a callback. */
void client_drop(struct client *client);

void bytes_append(struct bytes *b, const void *from, size_t len);
void stamps_push(struct stamps *s, uint64_t stamp);

/* The oldest; 0 if there is none. */
uint64_t stamps_pop(struct stamps *s);

#endif
