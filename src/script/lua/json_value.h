/* json_value.h - Lua values to JSON and back. Neither way runs Lua code (all accesses are raw). */
#ifndef BELLHOP_SCRIPT_JSON_VALUE_H
#define BELLHOP_SCRIPT_JSON_VALUE_H

#include "bellhop/base/json.h"

#include <lauxlib.h>
#include <lua.h>

#define BH_JSON_WHY_MAX  256
#define BH_JSON_TEXT_MAX ((size_t)16 * 1024 * 1024) /* what a script may encode or decode */

/* Keys in the registry of the metatables that mark arrays and objects. */
extern const char bh_json_array_key, bh_json_object_key;

/* Once in each state that uses the others. */
void bh_json_make_marks(lua_State *L);
/* null becomes lightuserdata NULL, an empty array is marked. */
void bh_json_push(lua_State *L, const struct bh_json *node);
/* Appends the text of the value at index. 0, or BH_EINVAL with why, which names the place
 * ("a.b[3]: ..."); out may hold a part then. */
int bh_json_encode(lua_State *L, int index, struct bh_bytes *out, char why[BH_JSON_WHY_MAX]);

#endif
