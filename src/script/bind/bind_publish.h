/* bind_publish.h - the table of bh.publish{...}, which on_message may also return. */
#ifndef BELLHOP_SCRIPT_BIND_PUBLISH_H
#define BELLHOP_SCRIPT_BIND_PUBLISH_H

#include "run/state.h"

#define BH_WHY_MAX 256

struct bh_publish_request {
    struct bh_publish p;      /* owns its references until it is sent */
    struct bh_subscriber *to; /* only to this connection, without a topic; or NULL */
    unsigned targets;         /* how many were given */
};

/* Reads the table without raising. 0 (then it must be sent), BH_EINVAL for invalid values, which
 * may come from clients, or BH_ESCRIPT for misuse; the reason is in why. */
int bh_publish_read(lua_State *L, int index, struct bh_publish_request *out, char why[BH_WHY_MAX]);
/* Sends it and sets r->p.id. 0, or the error when it was refused at once. */
int bh_publish_send(struct bh_script *s, struct bh_publish_request *r, char why[BH_WHY_MAX]);
/* The table that bh.publish_wait returns; the result has no error. */
void bh_publish_push_result(lua_State *L, const struct bh_publish_result *result);

/* Sets one field from the value on top (an integer id is replaced by its text). Results as for
 * bh_publish_read. */
int bh_publish_set(lua_State *L, const char *name, struct bh_publish_request *r,
                   char why[BH_WHY_MAX]);

/* The name of the i-th field, from 0; NULL: no more. */
const char *bh_publish_field(size_t i);

#endif
