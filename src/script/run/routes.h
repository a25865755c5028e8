/* routes.h - the endpoints that scripts have: http["POST /x/:id"] = function(req) ... end.
 *
 * All scripts of a state together, the most specific path first; of two scripts with the same
 * endpoint the first one has it. Owned by the state; thread: the worker's. */
#ifndef BELLHOP_SCRIPT_ROUTES_H
#define BELLHOP_SCRIPT_ROUTES_H

#include "bellhop/core/path.h"

#include <lua.h>

struct bh_script;

struct bh_script_route {
    char *path; /* the pattern */
    const char *file;
    int ref;        /* its function, in the registry */
    uint8_t method; /* which of the methods there are */
};

struct bh_routes {
    struct bh_script_route *list; /* pointers into it hold once everything is loaded */
    size_t count;
    char allow[64];
};

/* The value of a script's `http` is on top of L and stays there. Raises when it is not right. file
 * outlives the state. */
void bh_routes_take(lua_State *L, struct bh_script *s, const char *file);
/* NULL: there is none. HEAD finds what GET would. */
const struct bh_script_route *bh_routes_find(const struct bh_routes *r, struct bh_slice method,
                                             struct bh_slice path, struct bh_path_params *params);
/* The methods that a path takes, "GET, HEAD", until the next call; NULL: no such path. */
const char *bh_routes_allow(struct bh_routes *r, struct bh_slice path);
void bh_routes_free(struct bh_routes *r);

#endif
