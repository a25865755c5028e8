/* phone.h - a connection to the server: it connects, shakes hands, greets in its dialect, and then
 * gives each message to the mode. It owns its socket; it lives in its client's array. */
#ifndef BELLHOP_BENCH_PHONE_H
#define BELLHOP_BENCH_PHONE_H

#include "client.h"

#include <openssl/types.h>

enum phone_state {
    PHONE_NEW,
    PHONE_CONNECTING,
    PHONE_TLS,
    PHONE_UPGRADING,
    PHONE_GREETING, /* the dialect's own */
    PHONE_OPEN,
    PHONE_CLOSED,
};

struct bytes {
    uint8_t *at;
    size_t len, room;
};

/* Stamps of the messages that are on their way, oldest first. */
struct stamps {
    uint64_t *at;
    uint32_t first, count, room; /* room: a power of two */
};

struct phone {
    struct source source;
    struct client *client;
    SSL *ssl;
    int fd;
    uint32_t events;
    int error; /* of a send */
    enum phone_state state;
    unsigned number; /* from 1 on, over all processes */
    uint64_t begun;
    struct bytes carry;    /* what was read and is not whole yet: ... */
    size_t carried_stream; /* ... so much of a message, then what is not unframed yet */
    struct bytes out;      /* what the socket did not take */
    void (*on_pong)(struct phone *phone, const uint8_t *bytes, size_t len); /* may be null */
    /* The mode's: */
    uint64_t sent, received, last_stamp;
    uint32_t batch;
    struct stamps stamps;
};

/* Begins to connect; client_on_open follows, or the process ends with a message. */
void phone_start(struct phone *phone, struct client *client, unsigned number);

/* Sends bytes as they are, now or when the socket takes them. Nothing on a closed one. */
void phone_send(struct phone *phone, const void *bytes, size_t len);

/* Sends one frame; len is at most 4096 bytes. */
void phone_send_frame(struct phone *phone, uint8_t opcode, const void *bytes, size_t len);

/* From a dialect: the greeting is over. */
void phone_opened(struct phone *phone);

/* Resets the connection and frees what it holds; the client hears nothing. */
void phone_drop(struct phone *phone);

void bytes_append(struct bytes *b, const void *from, size_t len);
void stamps_push(struct stamps *s, uint64_t stamp);

/* The oldest; 0 when there is none. */
uint64_t stamps_pop(struct stamps *s);

#endif
