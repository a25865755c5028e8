/* json_value.h - JSON to Lua values and back. No Lua code runs: all accesses to tables are raw. */
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
/* Marks the table on top as an array. */
void bh_json_mark_array(lua_State *L);
/* A tree of the configuration. null becomes lightuserdata NULL; an empty array gets the mark. */
void bh_json_push(lua_State *L, const struct bh_json *node);

/* What becomes of an integer beyond 64 bits; STRING: of any number that Lua cannot hold. */
enum bh_json_big { BH_JSON_BIG_ERROR, BH_JSON_BIG_FLOAT, BH_JSON_BIG_STRING };

/* Pushes the value of the text, with the types of bh_json_push; integers of 64 bits are exact. The
 * text must be on the stack. Returns 1; or 2 for nil and why. Raises when the script has reached a
 * limit. */
int bh_json_decode(lua_State *L, struct bh_slice text, enum bh_json_big big);
/* The same for one value of the text (see bh_json_find), without building tables: of a container,
 * or with raw of any value, its bytes, and "array", "object", ... Returns 0 when it is missing. */
int bh_json_peek(lua_State *L, struct bh_slice text, struct bh_slice path, enum bh_json_big big,
                 bool raw);
/* Appends the text of the value at index. 0, or BH_EINVAL with why, which begins with the path of
 * the value ("a.b[3]: ..."); out may hold a part of the text then. Does not raise. */
int bh_json_encode(lua_State *L, int index, struct bh_bytes *out, char why[BH_JSON_WHY_MAX]);
/* The same for bh_json_parse, which keeps integers as doubles: those beyond 2^53 are refused. */
int bh_json_encode_for_tree(lua_State *L, int index, struct bh_bytes *out,
                            char why[BH_JSON_WHY_MAX]);

#endif
