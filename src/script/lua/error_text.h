/* error_text.h - the text of an error value for the log.
 *
 * A message stays as it is and may get a hint (hints.h). Of a table its fields are shown, as far as
 * they are short data and not named like secrets; of anything else its type. Thread: the one that
 * runs L. */
#ifndef BELLHOP_SCRIPT_ERROR_TEXT_H
#define BELLHOP_SCRIPT_ERROR_TEXT_H

#include <lua.h>

/* Pushes the text on `to`, which may be L. No Lua code runs. */
const char *bh_error_text_push(lua_State *to, lua_State *L, int index);

#endif
