/* identity.h - reads an identity and response headers from what a hook returned. Never raises: all
 * accesses are raw. */
#ifndef BELLHOP_SCRIPT_IDENTITY_H
#define BELLHOP_SCRIPT_IDENTITY_H

#include "bind/bind_publish.h"
#include "run/state.h"

#define BH_RESPONSE_HEADERS_MAX 32

struct bh_response_headers {
    size_t count;
    struct bh_header list[BH_RESPONSE_HEADERS_MAX];
};

struct bh_admission {
    struct bh_identity *identity; /* the caller frees it */
    bool anonymous;               /* it is meant to have no user */
    struct bh_slice protocol;
    enum bh_compression compression;
    enum bh_format format;
    struct bh_response_headers headers;
};

extern const char *const bh_identity_keys[]; /* NULL at the end */

/* 0, or BH_ESCRIPT and why. The slices are valid while the values that this pushes are on L's
 * stack. */
int bh_admission_read(lua_State *L, int index, const struct bh_request *request,
                      struct bh_admission *out, char why[BH_WHY_MAX]);
/* A header value is a string, or a list of them for several headers of the same name (Set-Cookie).
 */
int bh_response_headers_read(lua_State *L, int index, struct bh_response_headers *out,
                             char why[BH_WHY_MAX]);

#endif
