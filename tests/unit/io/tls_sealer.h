/* tls_sealer.h - records of TLS 1.3 that no library sends: empty ones, alerts that mean nothing.
 * One connection at a time; its client must not send anything else. */
#ifndef BELLHOP_TESTS_UNIT_TLS_SEALER_H
#define BELLHOP_TESTS_UNIT_TLS_SEALER_H

#include "tls_test.h"

enum tls_sealer_type { TLS_SEALER_ALERT = 21, TLS_SEALER_DATA = 23 };

/* A client and a server after the handshake. */
void tls_sealer_open(struct test_client *c, struct test_owner *o);
/* Appends the client's next record; at most 32 bytes. */
void tls_sealer_add(struct bh_bytes *out, enum tls_sealer_type type, const char *p, size_t n);

#endif
