/* Decoding to Lua values accepts what the scanner accepts (but for numbers that do not fit), and
 * gives the values that the scanner's readers see; encoding them gives a text with the same values.
 */
#include "lua/json_value.h"

#include "bellhop/base/error.h"
#include "fuzz.h"

static void check_value(lua_State *L, struct bh_json_value expected);

static void check_string(lua_State *L, struct bh_json_value expected) {
    struct bh_slice s;
    CHECK(lua_type(L, -1) == LUA_TSTRING);
    s.p = lua_tolstring(L, -1, &s.n);
    CHECK(bh_json_equals(expected, s));
}

static void check_number(lua_State *L, struct bh_json_value expected) {
    int64_t integer;
    double number;
    if (bh_json_int64(expected, &integer) == 0) {
        CHECK(lua_isinteger(L, -1) && lua_tointeger(L, -1) == integer);
        return;
    }
    CHECK(bh_json_double(expected, &number) == 0 && lua_tonumber(L, -1) == number);
}

static void check_array(lua_State *L, struct bh_json_value expected) {
    struct bh_json_value each;
    lua_Integer n = 0;
    for (size_t cursor = 0; bh_json_next(expected, &cursor, NULL, &each); lua_pop(L, 1)) {
        lua_rawgeti(L, -1, ++n);
        check_value(L, each);
    }
    CHECK((lua_Integer)lua_rawlen(L, -1) == n);
    CHECK(lua_getmetatable(L, -1) == (n == 0));
    lua_pop(L, n == 0);
}

static void check_object(lua_State *L, struct bh_json_value expected) {
    struct bh_json_value value;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        struct bh_slice name;
        CHECK(lua_type(L, -2) == LUA_TSTRING);
        name.p = lua_tolstring(L, -2, &name.n);
        CHECK(bh_json_member(expected, name, &value));
        check_value(L, value);
    }
    struct bh_bytes name = {0};
    struct bh_json_value key;
    for (size_t cursor = 0; bh_json_next(expected, &cursor, &key, &value); lua_pop(L, 1)) {
        bh_bytes_clear(&name);
        bh_json_string(key, &name);
        lua_pushlstring(L, name.p, name.len);
        CHECK(lua_rawget(L, -2) != LUA_TNIL);
    }
    bh_bytes_free(&name);
}

/* The value on top. */
static void check_value(lua_State *L, struct bh_json_value expected) {
    luaL_checkstack(L, 8, NULL);
    switch (expected.type) {
    case BH_JSON_NULL:
        CHECK(lua_islightuserdata(L, -1) && !lua_touserdata(L, -1));
        return;
    case BH_JSON_FALSE:
    case BH_JSON_TRUE:
        CHECK(lua_isboolean(L, -1) && lua_toboolean(L, -1) == (expected.type == BH_JSON_TRUE));
        return;
    case BH_JSON_NUMBER:
        check_number(L, expected);
        return;
    case BH_JSON_STRING:
        check_string(L, expected);
        return;
    case BH_JSON_ARRAY:
    case BH_JSON_OBJECT:
        CHECK(lua_istable(L, -1));
        (expected.type == BH_JSON_ARRAY ? check_array : check_object)(L, expected);
    }
}

/* Of decoded values, encoding refuses only those that are nested deeper than it goes. */
static void check_encode(lua_State *L) {
    char why[BH_JSON_WHY_MAX];
    struct bh_bytes text = {0};
    if (bh_json_encode(L, -1, &text, why))
        CHECK(strstr(why, "nested too deep"));
    else
        CHECK(bh_json_check(bh_bytes_slice(&text), NULL) == 0);
    bh_bytes_free(&text);
}

static void check_decode(lua_State *L, struct bh_slice text, enum bh_json_big big) {
    int results = bh_json_decode(L, text, big);
    bool valid = bh_json_check(text, NULL) == 0;
    if (results == 2) {
        const char *why = lua_tostring(L, -1);
        CHECK(lua_isnil(L, -2) &&
              (!valid || strstr(why, "number") || strstr(why, "integer") || strstr(why, "deep")));
    } else {
        CHECK(results == 1 && valid);
        if (big != BH_JSON_BIG_STRING)
            check_value(L, bh_json_root(text));
        check_encode(L);
    }
    lua_settop(L, 0);
}

static int protected(lua_State *L) {
    struct bh_slice text = *(struct bh_slice *)lua_touserdata(L, 1);
    bh_json_make_marks(L);
    lua_settop(L, 0);
    for (int big = BH_JSON_BIG_ERROR; big <= BH_JSON_BIG_STRING; big++)
        check_decode(L, text, (enum bh_json_big)big);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = fuzz_exact(bh_slice(data, size));
    struct bh_slice text = bh_slice(copy, size);
    lua_State *L = luaL_newstate();
    lua_pushcfunction(L, protected);
    lua_pushlightuserdata(L, &text);
    CHECK(lua_pcall(L, 1, 0, 0) == LUA_OK);
    lua_close(L);
    free(copy);
    return 0;
}
