/* dialect.h - what is spoken inside the connection. Stateless: all state is the phone's. */
#ifndef BELLHOP_BENCH_DIALECT_H
#define BELLHOP_BENCH_DIALECT_H

#include "phone.h"

struct dialect {
    bool websocket;
    /* Begins the greeting; calls phone_opened, now or from `take`. */
    void (*greet)(struct phone *phone);
    /* Bytes that have come, which begin where the last call ended; whole: a WebSocket message ends
     * with them. Returns how many are done with; the rest comes again with what follows. Messages
     * go to the mode. */
    size_t (*take)(struct phone *phone, const uint8_t *bytes, size_t len, bool whole);
};

extern const struct dialect dialects[DIALECTS];

#endif
