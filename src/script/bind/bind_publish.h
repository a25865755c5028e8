/* bind_publish.h - the table of bh.publish{...} and of on_message's answer, field by field. */
#ifndef BELLHOP_SCRIPT_BIND_PUBLISH_H
#define BELLHOP_SCRIPT_BIND_PUBLISH_H

#include "run/state.h"

#define BH_WHY_MAX 256

struct bh_publish_request {
    struct bh_publish p;      /* its references are owned until it is sent */
    struct bh_subscriber *to; /* for this connection alone, without a topic; or NULL */
    unsigned targets;         /* how many were named */
};

/* Reads the table without raising. 0 (then it must be sent); BH_EINVAL for values that may come
 * from outside, BH_ESCRIPT for misuse; why says it. */
int bh_publish_read(lua_State *L, int index, struct bh_publish_request *out, char why[BH_WHY_MAX]);
/* Sends it; r->p.id is the message's id afterwards. 0 unless it was refused at once. */
int bh_publish_send(struct bh_script *s, struct bh_publish_request *r, char why[BH_WHY_MAX]);

/* One field from the value on top (which an id may replace by its text): as bh_publish_read. Fields
 * of bh.publish only: conn. */
int bh_publish_set(lua_State *L, const char *name, struct bh_publish_request *r,
                   char why[BH_WHY_MAX]);

/* Their names, from 0; NULL at the end. */
const char *bh_publish_field(size_t i);

#endif
