/* identity.h - from on_handshake's answer to an identity. Never raises: every access is raw. */
#ifndef BELLHOP_SCRIPT_IDENTITY_H
#define BELLHOP_SCRIPT_IDENTITY_H

#include "bind/bind_publish.h"
#include "run/state.h"

#define BH_ANSWER_HEADERS_MAX 32

struct bh_answer_headers {
    size_t count;
    struct bh_header list[BH_ANSWER_HEADERS_MAX];
};

struct bh_admission {
    struct bh_identity *identity; /* the caller's */
    struct bh_slice protocol;
    struct bh_answer_headers headers;
};

extern const char *const bh_identity_keys[]; /* NULL at the end */

/* A header's value is a string, or a list of them for several headers of that name (Set-Cookie).
 * The slices live as long as what is pushed on L's stack (which it leaves there). 0 or BH_ESCRIPT;
 * why says what to do. */
int bh_admission_read(lua_State *L, int index, const struct bh_request *request,
                      struct bh_admission *out, char why[BH_WHY_MAX]);
int bh_answer_headers_read(lua_State *L, int index, struct bh_answer_headers *out,
                           char why[BH_WHY_MAX]);

#endif
