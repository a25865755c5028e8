/* routes.h - endpoints of scripts: http["POST /x/:id"] = function(req) ... end.
 *
 * One table for all scripts of a state, the most specific path first; when two scripts have the
 * same endpoint, the first script's is used. Owned by the state. Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_ROUTES_H
#define BELLHOP_SCRIPT_ROUTES_H

#include "bellhop/core/path.h"

#include <lua.h>

struct bh_script;

struct bh_script_route {
    char *name;       /* "POST /x/:id" */
    const char *path; /* the pattern, a part of the name */
    const char *file;
    int ref;        /* its function, in the registry */
    uint8_t method; /* index into the list of methods */
};

struct bh_routes {
    struct bh_script_route *list; /* does not move after loading */
    size_t count;
    char allow[64];
};

/* The value of a script's `http` is on top of L and stays there. Raises when it is not valid. file
 * must outlive the state. */
void bh_routes_add(lua_State *L, struct bh_script *s, const char *file);
/* NULL: none. HEAD also finds an endpoint of GET. */
const struct bh_script_route *bh_routes_find(const struct bh_routes *r, struct bh_slice method,
                                             struct bh_slice path, struct bh_path_params *params);
/* The methods of a path ("GET, HEAD"), valid until the next call; NULL: no such path. */
const char *bh_routes_allow(struct bh_routes *r, struct bh_slice path);
void bh_routes_free(struct bh_routes *r);

#endif
