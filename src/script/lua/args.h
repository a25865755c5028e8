/* args.h - arguments and results of bindings: slices, ids, opcodes, close codes, nil and an error.
 *
 * Slices point into Lua strings and are valid while these are on the stack. */
#ifndef BELLHOP_SCRIPT_ARGS_H
#define BELLHOP_SCRIPT_ARGS_H

#include "bellhop/core/position.h"

#include <lauxlib.h>
#include <lua.h>

/* --- arguments --- */

/* A string argument; raises when it is not one. */
struct bh_slice bh_check_slice(lua_State *L, int arg);
/* The value on top as an id: a string, or an integer, which is replaced by its decimal text. False
 * for anything else. */
bool bh_id_from_lua(lua_State *L, struct bh_slice *out);
/* The value on top as the text of a tag or header: a string, a number, or a boolean as "true" and
 * "false". */
bool bh_text_from_lua(lua_State *L, struct bh_slice *out);
/* Raises unless the argument is a table whose keys are all among the names (NULL at the end). */
void bh_check_option_names(lua_State *L, int arg, const char *const *names);
#define BH_TIME_WHY_MAX 160
/* Whether it can be a time in Unix seconds: not a duration (before September 2001), and not
 * milliseconds. False: what it must be is in why. */
bool bh_time_ok(lua_Number n, char why[BH_TIME_WHY_MAX]);
/* Whether a close frame may carry the code. */
bool bh_close_code_ok(lua_Integer code);

/* --- values --- */

void bh_push_slice(lua_State *L, struct bh_slice s);
/* nil when it is empty */
void bh_push_optional(lua_State *L, struct bh_slice s);
/* "text" or "binary" */
void bh_push_opcode(lua_State *L, unsigned opcode);

/* "<epoch>-<offset>", or nil where there is none */
void bh_push_position(lua_State *L, struct bh_position position);

/* --- results: each returns how many values it has pushed --- */

/* nil, why */
int bh_push_error(lua_State *L, const char *why);
/* true, or nil and the text of the error number */
int bh_push_result(lua_State *L, int error);

#endif
