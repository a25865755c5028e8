/* json_value.h - JSON to Lua values and back. No Lua code runs: all accesses are raw. */
#ifndef BELLHOP_SCRIPT_JSON_VALUE_H
#define BELLHOP_SCRIPT_JSON_VALUE_H

#include "bellhop/base/json.h"

#include <lauxlib.h>
#include <lua.h>

#define BH_JSON_WHY_MAX 256
#define BH_JSON_TEXT_MAX                                                                           \
    ((size_t)16 * 1024 * 1024) /* the longest text that a script may encode or decode */

/* Registry keys of the metatables that mark arrays and objects. */
extern const char bh_json_array_key, bh_json_object_key;

/* Before the other functions, once for each state. */
void bh_json_make_marks(lua_State *L);
/* null becomes lightuserdata NULL; an empty array gets the mark. */
void bh_json_push(lua_State *L, const struct bh_json *node);
/* Appends the text of the value at index. 0, or BH_EINVAL with why, which begins with the path of
 * the value ("a.b[3]: ..."); out may hold a part of the text then. */
int bh_json_encode(lua_State *L, int index, struct bh_bytes *out, char why[BH_JSON_WHY_MAX]);

#endif
