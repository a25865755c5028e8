/* bind_message.h - the msg objects: the one of on_publish can be changed, the other only read. */
#ifndef BELLHOP_SCRIPT_BIND_MESSAGE_H
#define BELLHOP_SCRIPT_BIND_MESSAGE_H

#include "run/state.h"

struct bh_lua_msg {
    struct bh_publish *p; /* NULL when the hook has finished */
};

struct bh_lua_delivery {
    struct bh_message *m;     /* NULL when its hook has finished */
    struct bh_message *owned; /* a reference to m, when the hook may wait */
};

/* A table of names and values; nil: none. */
void bh_push_filter(lua_State *L, struct bh_slice filter);

struct bh_lua_msg *bh_msg_push(lua_State *L, struct bh_publish *p);
struct bh_lua_delivery *bh_delivery_push_new(lua_State *L);

#endif
