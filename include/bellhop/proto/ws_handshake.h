/* ws_handshake.h - the opening handshake of RFC 6455 section 4.2, server side. No state. */
#ifndef BELLHOP_PROTO_WS_HANDSHAKE_H
#define BELLHOP_PROTO_WS_HANDSHAKE_H

#include "bellhop/proto/http1.h"

/* Checks a request for a WebSocket: GET, HTTP/1.1, Upgrade: websocket, Connection: upgrade, a
 * 16-byte base64 key (exactly one), version 13. 0, or BH_EPROTO with the HTTP status (400; 405
 * other methods; 426 no upgrade, other versions) and a sentence. A 426 must have
 * Sec-WebSocket-Version: 13. */
int bh_ws_handshake_check(const struct bh_http_request *request, int *status, const char **why);

/* True when the client offered this subprotocol. */
bool bh_ws_handshake_offers(const struct bh_http_request *request, struct bh_slice protocol);

/* Appends the 101 response to a request that passed the check. protocol and extensions may be
 * empty; headers are additional ones. 0, or BH_EINVAL for control characters in a header. */
int bh_ws_handshake_answer(struct bh_bytes *out, const struct bh_http_request *request,
                           struct bh_slice protocol, struct bh_slice extensions,
                           const struct bh_header *headers, size_t header_count);

#endif
