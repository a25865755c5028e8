/* hints.c - notes of look-ups that found nothing, and what they say about an error.
 *
 * The note is in the registry: it costs a look-up that fails a few stores, and any other nothing.
 * Lua's messages have the form "<place>:<line>: attempt to <do> a nil value (<kind> '<name>')". */
#include "lua/hints.h"

#include "bellhop/base/suggest.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS_MAX 128
#define KEY_MAX     32

static const char owner_key, members_key, missing_key,
    line_key;              /* of the note, by their addresses */
static const char api_key; /* bh */

/* --- notes --- */

static int line_of_caller(lua_State *L) {
    lua_Debug ar;
    return lua_getstack(L, 1, &ar) && lua_getinfo(L, "l", &ar) ? ar.currentline : -1;
}

static void store(lua_State *L, const void *key, int index) {
    lua_pushvalue(L, index);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void bh_hints_note(lua_State *L, int owner, int members) {
    if (lua_type(L, 2) != LUA_TSTRING || lua_rawlen(L, 2) > KEY_MAX)
        return;
    store(L, &owner_key, owner);
    store(L, &members_key, members);
    store(L, &missing_key, 2);
    lua_pushinteger(L, line_of_caller(L));
    lua_rawsetp(L, LUA_REGISTRYINDEX, &line_key);
}

static int note_missing(lua_State *L) {
    lua_settop(L, 2);
    bh_hints_note(L, lua_upvalueindex(1), lua_upvalueindex(2));
    return 0;
}

void bh_hints_watch(lua_State *L, int index, const char *owner) {
    int table = lua_absindex(L, index);
    lua_createtable(L, 0, 1);
    lua_pushstring(L, owner);
    lua_pushvalue(L, table);
    lua_pushcclosure(L, note_missing, 2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, table);
    if (strcmp(owner, "bh") == 0)
        store(L, &api_key, table);
}

/* --- the message of an error --- */

struct place {
    int line;
    char kind[12];
    char name[KEY_MAX + 1];
};

static bool read_message(const char *message, struct place *p) {
    const char *attempt = strstr(message, ": attempt to "), *line = attempt;
    const char *value = attempt ? strstr(attempt, " a nil value (") : NULL;
    if (!value || sscanf(value, " a nil value (%11[a-z] '%32[^']')", p->kind, p->name) != 2)
        return false;
    while (line > message && line[-1] >= '0' && line[-1] <= '9')
        line--;
    p->line = atoi(line);
    return true;
}

/* Reads the keys of the table on top, which it pops. The strings belong to the table. */
static void read_keys(lua_State *L, const char *names[MEMBERS_MAX + 1]) {
    int table = lua_gettop(L);
    size_t n = 0;
    for (lua_pushnil(L); n < MEMBERS_MAX && lua_next(L, table); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING)
            names[n++] = lua_tostring(L, -2);
    names[n] = NULL;
    lua_settop(L, table - 1);
}

/* What the sandbox leaves out. */
static const char *instead_of(const char *name) {
    static const char *const left_out[][2] = {
        {"io", "scripts have no io: use bh.log for output, bh.shared or bh.redis to keep data"},
        {"debug", "scripts have no debug library"},
        {"package", "scripts have no package library; require finds modules beside the scripts"},
        {"dofile", "scripts have no dofile; use require"},
        {"loadfile", "scripts have no loadfile; use require"},
        {"bh", "did you mean: local bh = require \"bellhop\"?"},
        {"bellhop", "did you mean: local bellhop = require \"bellhop\"?"},
    };
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (strcmp(left_out[i][0], name) == 0)
            return left_out[i][1];
    return NULL;
}

static void hint_of_global(lua_State *L, const char *name, char out[BH_HINT_MAX]) {
    const char *names[MEMBERS_MAX + 1] = {NULL};
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &api_key) == LUA_TTABLE)
        read_keys(L, names);
    else
        lua_pop(L, 1);
    for (const char **member = names; *member; member++) {
        if (strcmp(*member, name) == 0) {
            snprintf(out, BH_HINT_MAX, "; did you mean bh.%s?", name);
            return;
        }
    }
    lua_pushglobaltable(L);
    read_keys(L, names);
    const char *similar = bh_suggest(name, names);
    if (similar)
        snprintf(out, BH_HINT_MAX, "; did you mean %s?", similar);
}

static bool is_noted(lua_State *L, const struct place *p) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &missing_key);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &line_key);
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    bool noted = strcmp(name, p->name) == 0 && lua_tointeger(L, -1) == p->line;
    lua_pop(L, 2);
    return noted;
}

static const char *more_about(const char *owner, const char *name) {
    if (strcmp(owner, "os") != 0)
        return "";
    return strcmp(name, "getenv") == 0 ? "; bh.config has the settings"
                                       : ", only time, date, clock and difftime";
}

/* An error of a member that is missing. */
static void hint_of_member(lua_State *L, const struct place *p, char out[BH_HINT_MAX]) {
    const char *names[MEMBERS_MAX + 1];
    lua_rawgetp(L, LUA_REGISTRYINDEX, &owner_key);
    const char *owner = lua_tostring(L, -1);
    bool is_object = strcmp(p->kind, "method") == 0 && strncmp(owner, "bh", 2) != 0;
    char dot = is_object ? ':' : '.';
    lua_rawgetp(L, LUA_REGISTRYINDEX, &members_key);
    read_keys(L, names);
    const char *similar = bh_suggest(p->name, names);
    if (similar)
        snprintf(out, BH_HINT_MAX, "; did you mean %s%c%s?", owner, dot, similar);
    else
        snprintf(out, BH_HINT_MAX, "; there is no %s%c%s in scripts%s", owner, dot, p->name,
                 more_about(owner, p->name));
    lua_pop(L, 1);
}

const char *bh_hints_find(lua_State *L, const char *message, char out[BH_HINT_MAX]) {
    struct place p;
    out[0] = '\0';
    if (!read_message(message, &p) || !lua_checkstack(L, 8))
        return out;
    bool is_member = strcmp(p.kind, "method") == 0 || strcmp(p.kind, "field") == 0;
    const char *instead = is_member ? NULL : instead_of(p.name);
    if (instead)
        snprintf(out, BH_HINT_MAX, "; %s", instead);
    else if (strcmp(p.kind, "global") == 0)
        hint_of_global(L, p.name, out);
    else if (is_member && is_noted(L, &p))
        hint_of_member(L, &p, out);
    return out;
}
