/* proxy.h - a TCP proxy in front of Redis that can withhold what Redis sends to subscribers: a
 * connection that is up and delivers nothing. The test pumps it. */
#ifndef BELLHOP_TESTS_PROXY_H
#define BELLHOP_TESTS_PROXY_H

#include "redis_server.h"

#define PROXY_MAX 64

struct proxy {
    int listener;
    uint16_t port, target;
    bool deafen; /* connections that have subscribed receive nothing any more */
    bool all;    /* not only those */
    bool hold;   /* it waits instead, until this is unset */
    struct {
        int client, server; /* -1: closed */
        bool subscriber, deaf, late;
    } links[PROXY_MAX];
    size_t count;
    size_t withheld; /* bytes */
};

void proxy_start(struct proxy *p, uint16_t target);
void proxy_stop(struct proxy *p);
/* Always true, so that it can be part of a condition. */
bool proxy_pump(struct proxy *p);

#endif
