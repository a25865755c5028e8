/* bind_config.c - bh.config("a.b"): any value of the configuration, as Lua values; null is nil. */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/json_value.h"
#include "run/state.h"

static const struct bh_json *element(const struct bh_json *array, struct bh_slice index) {
    uint64_t n;
    if (bh_slice_u64(index, UINT32_MAX, &n) || n == 0)
        return NULL;
    const struct bh_json *c = bh_json_child(array);
    while (c && --n)
        c = bh_json_sibling(c);
    return c;
}

static const struct bh_json *member(const struct bh_json *object, struct bh_slice name) {
    const struct bh_json *c = bh_json_child(object);
    while (c && !bh_slice_eq(bh_slice_cstr(bh_json_name(c)), name))
        c = bh_json_sibling(c);
    return c;
}

static int config(lua_State *L) {
    const struct bh_json *node = bh_script_of(L)->config->config;
    struct bh_slice rest = bh_check_slice(L, 1), part;
    while (node && bh_slice_split(&rest, '.', &part)) {
        enum bh_json_type type = bh_json_type(node);
        node = type == BH_JSON_OBJECT  ? member(node, part)
               : type == BH_JSON_ARRAY ? element(node, part)
                                       : NULL;
    }
    if (node && bh_json_type(node) != BH_JSON_NULL)
        bh_json_push(L, node);
    else
        lua_pushnil(L);
    return 1;
}

void bh_bind_config(lua_State *L) {
    lua_pushcfunction(L, config);
    lua_setfield(L, -2, "config");
}
