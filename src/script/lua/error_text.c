/* error_text.c - error values as text: messages with hints, the fields of tables. */
#include "lua/error_text.h"

#include "lua/hints.h"

#include "bellhop/base/log.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#define TEXT_MAX   512
#define STRING_MAX 120

struct text {
    size_t n;
    bool full;
    char bytes[TEXT_MAX];
};

/* A part that does not fit is left out. */
__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t room = sizeof t->bytes - 8 - t->n; /* for the end of the text */
    int n = vsnprintf(t->bytes + t->n, room, format, args);
    va_end(args);
    t->full = t->full || n < 0 || (size_t)n >= room;
    if (t->full)
        t->bytes[t->n] = '\0';
    else
        t->n += (size_t)n;
}

static void add_value(struct text *t, lua_State *L, int index) {
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        add(t, lua_rawlen(L, index) > STRING_MAX ? "\"%.120s...\"" : "\"%.120s\"",
            lua_tostring(L, index));
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            add(t, "%lld", (long long)lua_tointeger(L, index));
        else
            add(t, "%.15g", lua_tonumber(L, index));
        return;
    case LUA_TBOOLEAN:
        add(t, "%s", lua_toboolean(L, index) ? "true" : "false");
        return;
    default:
        add(t, "(a %s)", lua_typename(L, lua_type(L, index)));
    }
}

/* Key and value are on top. */
static void add_field(struct text *t, lua_State *L) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    size_t start = t->n;
    add(t, t->bytes[start - 1] != '{' ? ", " : " ");
    if (key)
        add(t, "%.40s", key);
    else
        add_value(t, L, -2);
    add(t, " = ");
    if (key && bh_log_is_secret(key))
        add(t, "***");
    else
        add_value(t, L, -1);
    if (t->full)
        t->n = start;
}

static void add_table(struct text *t, lua_State *L, int index) {
    add(t, "an error object {");
    for (lua_pushnil(L); !t->full && lua_next(L, index); lua_pop(L, 1))
        add_field(t, L);
    snprintf(t->bytes + t->n, sizeof t->bytes - t->n, t->full ? " ... }" : " }");
}

const char *bh_error_text_push(lua_State *to, lua_State *L, int index) {
    struct text t = {.n = 0};
    char hint[BH_HINT_MAX];
    index = lua_absindex(L, index);
    int top = lua_gettop(L), type = lua_type(L, index);
    bool has_room = lua_checkstack(L, 8);
    if (type == LUA_TSTRING) {
        const char *message = lua_tostring(L, index);
        return lua_pushfstring(to, "%s%s", message, bh_hints_find(L, message, hint));
    }
    if (type == LUA_TTABLE && has_room)
        add_table(&t, L, index);
    else if (type == LUA_TNUMBER)
        add_value(&t, L, index);
    else if (type == LUA_TNIL)
        add(&t, "error(nil), an error without a message");
    else
        add(&t, "an error object of type %s", lua_typename(L, type));
    lua_settop(L, top);
    return lua_pushstring(to, t.bytes);
}
