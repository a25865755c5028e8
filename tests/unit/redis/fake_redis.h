/* fake_redis.h - a Redis that misbehaves on command: a listening socket that the test pumps. */
#ifndef BELLHOP_TESTS_FAKE_REDIS_H
#define BELLHOP_TESTS_FAKE_REDIS_H

#include "redis_server.h"

#include "bellhop/base/buf.h"

struct fake_redis {
    int listener;
    uint16_t port;
    int fd; /* the current connection, -1: none */
    unsigned accepted;
    struct bh_bytes in;    /* sent by this connection and not consumed by the test */
    const char *greeting;  /* sent when a connection is accepted; may be NULL */
    const char *handshake; /* answer to the PING that ends the handshake; NULL: none */
    bool shaken;
    bool deaf; /* does not read */
};

#define FAKE_GOOD "+OK\r\n+PONG\r\n" /* to CLIENT SETNAME and PING */

void fake_start(struct fake_redis *f);
void fake_stop(struct fake_redis *f);
/* To the current connection, if there is one. */
void fake_say(struct fake_redis *f, struct bh_slice s);
void fake_hang_up(struct fake_redis *f);
/* Accepts, reads, answers the handshake. Always true, so that it can be part of a condition. */
bool fake_pump(struct fake_redis *f);

/* How often text occurs in what the connection has sent. */
size_t fake_heard(const struct fake_redis *f, const char *text);

#endif
