/* bind_request.h - the req object: a copy of the request that lives as long as a script holds it.
 * Its body and the table of its parameters are user values. */
#ifndef BELLHOP_SCRIPT_BIND_REQUEST_H
#define BELLHOP_SCRIPT_BIND_REQUEST_H

#include "run/state.h"

struct bh_lua_request {
    struct bh_request request; /* its slices point behind this struct */
    struct bh_request_tls tls; /* when request.tls is set */
    uint8_t tenant_len;        /* from on_tenant */
    char tenant[BH_ID_MAX];
};

/* body NULL: whoever asks has none to show (handshakes, on_api). */
struct bh_lua_request *bh_request_push(lua_State *L, const struct bh_request *from,
                                       const struct bh_slice *body);

#endif
