/* bind_request.h - req: a copy of an HTTP request that lives as long as a script holds it. The body
 * and the table of parameters are user values. */
#ifndef BELLHOP_SCRIPT_BIND_REQUEST_H
#define BELLHOP_SCRIPT_BIND_REQUEST_H

#include "run/state.h"

struct bh_lua_request {
    struct bh_request request; /* its slices point to the bytes after this struct */
    struct bh_request_tls tls; /* when request.tls is set */
    uint8_t tenant_len;        /* from on_tenant */
    char tenant[BH_ID_MAX];
};

/* body NULL: the hook gets none (handshakes, on_api). */
struct bh_lua_request *bh_request_push(lua_State *L, const struct bh_request *from,
                                       const struct bh_slice *body);

#endif
