/* hints.h - "did you mean" for Lua's errors about nil: conn:sned, bh.metric.counter, io.open.
 *
 * A member that does not exist is nil, so that scripts can test for it. The error comes when nil is
 * called or indexed, and it has the key only. So a look-up that finds nothing leaves a note of the
 * owner, the key and the line; an error for the same key at the same line names the owner and the
 * member that resembles the key. Thread: the one that runs L. */
#ifndef BELLHOP_SCRIPT_HINTS_H
#define BELLHOP_SCRIPT_HINTS_H

#include <lua.h>

#define BH_HINT_MAX 256

/* In __index, for a key (argument 2) that was not found. The stack indexes of the owner's name and
 * of the table that has its members. */
void bh_hints_note(lua_State *L, int owner, int members);
/* From now on such look-ups in the table at index leave notes. */
void bh_hints_watch(lua_State *L, int index, const char *owner);
/* What to append to the message of an error, or "". Returns out. Does not raise. */
const char *bh_hints_find(lua_State *L, const char *message, char out[BH_HINT_MAX]);

#endif
