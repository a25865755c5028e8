/* audit.h - whether Redis still has the connections that it has confirmed. Private to the tracker.
 * Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_AUDIT_H
#define BELLHOP_BACKEND_REDIS_AUDIT_H

#include "tracker/registration.h"

/* All zero but for the registration at first. */
struct bh_redis_audit {
    struct bh_redis_registration *registration;
    struct bh_bytes page; /* connections and their users, to be checked */
    char cursor[24];      /* of the page after it; "": from the beginning */
    bool in_flight;
};

void bh_redis_audit_clear(struct bh_redis_audit *audit);
/* Checks some more connections; when one is missing, the registration is lost. */
void bh_redis_audit_step(struct bh_redis_audit *audit);

#endif
