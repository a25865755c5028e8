/* quotas.h - the limits of connections that a client counts for, whatever protocol it speaks: of
 * its address, its user and its tenant. Thread: the worker's. */
#ifndef BELLHOP_EDGE_CLIENT_QUOTAS_H
#define BELLHOP_EDGE_CLIENT_QUOTAS_H

#include "limits/admission.h"

/* NULL, or why not: a sentence for the client; then nothing is acquired. forwarded: the address of
 * a client behind a trusted proxy, which counts for it from here on; others (NULL) have counted
 * since they were accepted. */
const char *bh_quotas_acquire(const struct bh_admission *admission, const struct bh_ip *forwarded,
                              const struct bh_identity *identity);
/* Of user and tenant; the address is the connection's. */
void bh_quotas_release(const struct bh_edge_config *config, const struct bh_identity *identity);
/* Are limits of its own in the identity? */
bool bh_identity_is_limited(const struct bh_identity *identity);

#endif
