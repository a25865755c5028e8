/* json_encode.c - Lua values to JSON, with rules for where the two differ.
 *
 * Lua has one empty table, JSON has two empty containers: {} is an object unless it carries the
 * array mark. The whole range of 64-bit integers is written; JavaScript loses digits beyond 2^53.
 *
 * An error is reported with the path to the value: on the way out, each level adds its key in
 * front. Cycles are found by comparing with the chain of tables that are being written, which the
 * depth limit bounds. Nothing raises: the caller's buffer may be alive. A table that is used many
 * times gives a long text, so its size is bounded, and the script's CPU limit is checked. */
#include "lua/json_value.h"
#include "lua/limits.h"

#include "bellhop/base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DOUBLE_EXACT 9007199254740992 /* 2^53 */
#define DEPTH_MAX    64               /* it recurses */

struct encoder {
    lua_State *L;
    struct bh_bytes *out;
    char *why;
    size_t max; /* bytes of out */
    bool for_tree;
    unsigned depth, steps;
    const void *chain[DEPTH_MAX];
};

static int encode(struct encoder *e, int index);

static int fail(struct encoder *e, const char *why) {
    snprintf(e->why, BH_JSON_WHY_MAX, ": %s", why);
    return BH_EINVAL;
}

static int fail_type(struct encoder *e, int type) {
    char why[80];
    snprintf(why, sizeof why, "a %s cannot be encoded as JSON", lua_typename(e->L, type));
    return fail(e, why);
}

/* A path that is too long loses its beginning; the reason always stays. */
static void prefix_path(struct encoder *e, const char *segment) {
    char rest[BH_JSON_WHY_MAX];
    if (strncmp(e->why, "...", 3) == 0)
        return;
    snprintf(rest, sizeof rest, "%s", e->why);
    if (strlen(rest) + strlen(segment) > BH_JSON_WHY_MAX - 60)
        segment = "...";
    snprintf(e->why, BH_JSON_WHY_MAX, "%.50s%.200s", segment, rest);
}

/* The shortest text that reads back as the same number. */
static int encode_float(struct encoder *e, double n) {
    char text[40];
    if (!isfinite(n))
        return fail(e, "NaN and infinity cannot be encoded as JSON");
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, n);
        if (strtod(text, NULL) == n)
            break;
    }
    bh_bytes_adds(e->out, text);
    return 0;
}

static int encode_number(struct encoder *e, int index) {
    if (!lua_isinteger(e->L, index))
        return encode_float(e, lua_tonumber(e->L, index));
    lua_Integer n = lua_tointeger(e->L, index);
    if (e->for_tree && (n > DOUBLE_EXACT || n < -DOUBLE_EXACT))
        return fail(e, "an integer beyond 2^53 would lose digits; write it as a string");
    bh_bytes_addf(e->out, "%lld", (long long)n);
    return 0;
}

/* Whether the script may not go on. */
static bool is_over_limit(struct encoder *e) {
    return ++e->steps % BH_JSON_TICK == 0 && bh_limits_reached(e->L);
}

static int fail_over_limit(struct encoder *e) {
    char text[BH_LIMITS_TEXT_MAX];
    bh_limits_text(bh_limits_reached_watch(bh_limits_of(e->L)), text);
    return fail(e, text);
}

static bool is_marked(struct encoder *e, int index, const void *key) {
    if (!lua_getmetatable(e->L, index))
        return false;
    lua_rawgetp(e->L, LUA_REGISTRYINDEX, key);
    bool same = lua_rawequal(e->L, -1, -2);
    lua_pop(e->L, 2);
    return same;
}

/* Whether the keys are exactly 1 to n. */
static bool is_list(struct encoder *e, int index, size_t n) {
    size_t count = 0;
    for (lua_pushnil(e->L); lua_next(e->L, index); count++) {
        lua_pop(e->L, 1);
        lua_Integer key = lua_isinteger(e->L, -1) ? lua_tointeger(e->L, -1) : 0;
        if (key < 1 || (size_t)key > n || is_over_limit(e)) {
            lua_pop(e->L, 1);
            return false;
        }
    }
    return count == n;
}

static int encode_array(struct encoder *e, int index) {
    size_t n = lua_rawlen(e->L, index);
    if (!is_list(e, index, n))
        return bh_limits_reached(e->L)
                   ? fail_over_limit(e)
                   : fail(e, "a table must be a list without holes, or have string keys only");
    bh_bytes_addc(e->out, '[');
    for (size_t i = 1; i <= n; i++) {
        char segment[32];
        if (i > 1)
            bh_bytes_addc(e->out, ',');
        lua_rawgeti(e->L, index, (lua_Integer)i);
        int error = encode(e, lua_gettop(e->L));
        lua_pop(e->L, 1);
        if (error) {
            snprintf(segment, sizeof segment, "[%zu]", i);
            prefix_path(e, segment);
            return error;
        }
    }
    bh_bytes_addc(e->out, ']');
    return 0;
}

/* Strings, and in a table marked as an object integers as text. */
static int encode_key(struct encoder *e, bool marked, char segment[48]) {
    struct bh_slice name;
    if (lua_type(e->L, -2) == LUA_TSTRING) {
        name.p = lua_tolstring(e->L, -2, &name.n);
        snprintf(segment, 48, ".%.40s", name.p);
        bh_json_quote(e->out, name);
        return 0;
    }
    if (marked && lua_isinteger(e->L, -2)) {
        long long n = (long long)lua_tointeger(e->L, -2);
        snprintf(segment, 48, "[%lld]", n);
        bh_bytes_addf(e->out, "\"%lld\"", n);
        return 0;
    }
    return fail(e, "keys must be strings (bh.json.object(t) writes integer keys as text)");
}

static int encode_object(struct encoder *e, int index, bool marked) {
    char segment[48] = "";
    bool first = true;
    bh_bytes_addc(e->out, '{');
    for (lua_pushnil(e->L); lua_next(e->L, index); lua_pop(e->L, 1)) {
        if (!first)
            bh_bytes_addc(e->out, ',');
        first = false;
        int error = encode_key(e, marked, segment);
        if (error)
            return error;
        bh_bytes_addc(e->out, ':');
        error = encode(e, lua_gettop(e->L));
        if (error) {
            prefix_path(e, segment);
            return error;
        }
    }
    bh_bytes_addc(e->out, '}');
    return 0;
}

static int encode_table(struct encoder *e, int index) {
    const void *self = lua_topointer(e->L, index);
    for (unsigned i = 0; i < e->depth; i++)
        if (e->chain[i] == self)
            return fail(e, "the table contains itself");
    if (e->depth == DEPTH_MAX || !lua_checkstack(e->L, 8))
        return fail(e, "tables are nested too deep");
    e->chain[e->depth++] = self;
    int error;
    if (is_marked(e, index, &bh_json_array_key))
        error = encode_array(e, index);
    else if (is_marked(e, index, &bh_json_object_key))
        error = encode_object(e, index, true);
    else if (lua_rawlen(e->L, index) > 0)
        error = encode_array(e, index);
    else
        error = encode_object(e, index, false);
    e->depth--;
    return error;
}

static int encode(struct encoder *e, int index) {
    struct bh_slice s;
    if (e->out->len > e->max)
        return fail(e, "the text would be larger than 16 MiB");
    if (is_over_limit(e))
        return fail_over_limit(e);
    int type = lua_type(e->L, index);
    switch (type) {
    case LUA_TNIL:
        bh_bytes_adds(e->out, "null");
        return 0;
    case LUA_TBOOLEAN:
        bh_bytes_adds(e->out, lua_toboolean(e->L, index) ? "true" : "false");
        return 0;
    case LUA_TNUMBER:
        return encode_number(e, index);
    case LUA_TSTRING:
        s.p = lua_tolstring(e->L, index, &s.n);
        bh_json_quote(e->out, s);
        return 0;
    case LUA_TTABLE:
        return encode_table(e, index);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(e->L, index) == NULL) {
            bh_bytes_adds(e->out, "null");
            return 0;
        }
        return fail_type(e, type);
    default:
        return fail_type(e, type);
    }
}

static int encode_whole(struct encoder *e, int index) {
    int top = lua_gettop(e->L);
    char *why = e->why;
    int error = encode(e, lua_absindex(e->L, index));
    lua_settop(e->L, top);
    size_t skip = !error || strncmp(why, "...", 3) == 0 ? 0 : why[0] == ':' ? 2 : why[0] == '.';
    memmove(why, why + skip, error ? strlen(why + skip) + 1 : 0); /* no separator before the path */
    return error;
}

int bh_json_encode(lua_State *L, int index, struct bh_bytes *out, char why[BH_JSON_WHY_MAX]) {
    struct encoder e = {.L = L, .out = out, .why = why, .max = out->len + BH_JSON_TEXT_MAX};
    return encode_whole(&e, index);
}

int bh_json_encode_for_tree(lua_State *L, int index, struct bh_bytes *out,
                            char why[BH_JSON_WHY_MAX]) {
    struct encoder e = {
        .L = L, .out = out, .why = why, .max = out->len + BH_JSON_TEXT_MAX, .for_tree = true};
    return encode_whole(&e, index);
}
