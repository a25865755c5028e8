/* admission.h - may one more connection come in, and have all of them left?
 *
 * Sockets and addresses are counted for the whole process, because the kernel spreads the
 * connections of one client over all workers. The struct is one worker's, and so are the few places
 * for connections beyond the limits. Every successful acquire needs exactly one release. Thread:
 * the worker's. */
#ifndef BELLHOP_EDGE_ADMISSION_H
#define BELLHOP_EDGE_ADMISSION_H

#include "bellhop/edge/config.h"
#include "limits/holds.h"

enum bh_place {
    BH_PLACE_NONE,    /* holds none, or not any more */
    BH_PLACE_SOCKET,  /* one of server.connections_max */
    BH_PLACE_RESERVE, /* over it, or without descriptors: for health, metrics and the API */
    BH_PLACE_ADMIN,   /* came in through an address of server.admin_listen */
    BH_PLACE_REFUSAL, /* over a limit, until its 503 or 429 is sent */
    BH_PLACE_COUNT,
};

struct bh_admission {
    const struct bh_edge_config *config;
    struct bh_holds holds;
    size_t connections;            /* HTTP and WebSocket, until their memory is freed */
    size_t places[BH_PLACE_COUNT]; /* in use; SOCKET is not counted here */
    bool draining;                 /* set by the edge: no handshakes and publishes any more */
    void (*on_drained)(void *ud);
    void *drained_ud;
};

/* One more connection. False: SOCKET is over connections_max, or all BH_EDGE_PLACES of this worker
 * are in use. */
bool bh_admission_acquire(struct bh_admission *a, enum bh_place place);
void bh_admission_release(struct bh_admission *a, enum bh_place place);
void bh_admission_release_socket(void);
/* What an address counts as: one of IPv4, or a /64 of IPv6. Points into ip. */
struct bh_slice bh_admission_address_key(const struct bh_ip *ip);
/* One more connection from this address: false over connections_per_ip. */
bool bh_admission_acquire_address(const struct bh_admission *a, const struct bh_ip *ip);
void bh_admission_release_address(const struct bh_admission *a, const struct bh_ip *ip);

/* A connection of this worker was created, or freed. The last one to leave calls on_drained, so the
 * admission may be freed when _leave returns. */
void bh_admission_enter(struct bh_admission *a);
void bh_admission_leave(struct bh_admission *a);
/* From now on, on_drained is called once when no connection is left: by _leave or by
 * _check_drained, which the caller of _drain calls when it has told all connections. */
void bh_admission_drain(struct bh_admission *a, void (*on_drained)(void *ud), void *ud);
void bh_admission_check_drained(struct bh_admission *a);

#endif
