/* admission.h - may one more connection come in, and have all of them left?
 *
 * Sockets and addresses are counted for the whole process, because the kernel spreads the
 * connections of one client over all workers. The struct is one worker's. Every successful acquire
 * needs exactly one release. Thread: the worker's. */
#ifndef BELLHOP_EDGE_ADMISSION_H
#define BELLHOP_EDGE_ADMISSION_H

#include "bellhop/edge/config.h"

struct bh_admission {
    const struct bh_edge_config *config;
    size_t connections; /* HTTP and WebSocket, until their memory is freed */
    size_t refusals;    /* connections over a limit whose 503 or 429 is being sent */
    bool draining;
    void (*on_drained)(void *ud);
    void *drained_ud;
};

/* One more socket in the process: false over connections_max. */
bool bh_admission_acquire_socket(const struct bh_admission *a);
void bh_admission_release_socket(void);
/* One more connection from this address: false over connections_per_ip. */
bool bh_admission_acquire_address(const struct bh_admission *a, const struct bh_ip *ip);
void bh_admission_release_address(const struct bh_admission *a, const struct bh_ip *ip);
/* May a connection over a limit stay until its refusal is sent? False when too many do already:
 * then it is only closed. */
bool bh_admission_acquire_refusal(struct bh_admission *a);
void bh_admission_release_refusal(struct bh_admission *a);

/* A connection of this worker was created, or freed. The last one to leave calls on_drained, so the
 * admission may be freed when _leave returns. */
void bh_admission_enter(struct bh_admission *a);
void bh_admission_leave(struct bh_admission *a);
/* From now on, on_drained is called once when no connection is left: by _leave or by
 * _check_drained, which the caller of _drain calls when it has told all connections. */
void bh_admission_drain(struct bh_admission *a, void (*on_drained)(void *ud), void *ud);
void bh_admission_check_drained(struct bh_admission *a);

#endif
