/* protocol.h - the protocol inside the connection. Stateless: all state is the client's. */
#ifndef BELLHOP_BENCH_PROTOCOL_H
#define BELLHOP_BENCH_PROTOCOL_H

#include "client.h"

struct protocol {
    bool websocket;
    /* Starts the handshake; client_opened is called here or from `parse`. */
    void (*handshake)(struct client *client);
    /* Bytes of the stream, from where the last call ended; whole: a WebSocket message ends with
     * them. Returns how many were consumed; the rest comes again with the bytes that follow.
     * Messages go to the mode. */
    size_t (*parse)(struct client *client, const uint8_t *bytes, size_t len, bool whole);
};

extern const struct protocol protocols[PROTOCOLS];

#endif
