/* bridge.c - the Lua module `bellhop.test.core`, on which lua/bellhop/test.lua is built.
 *
 * Its functions are plain; test.lua adds defaults and convenience. */
#include "bridge.h"
#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/jwt.h"
#include "bellhop/base/suggest.h"
#include "lua/json_value.h"

/* core.encode(value) -> JSON */
static int core_encode(lua_State *L) {
    struct bh_bytes out = {0};
    char why[BH_JSON_WHY_MAX];
    luaL_checkany(L, 1);
    int error = bh_json_encode(L, 1, &out, why);
    if (!error)
        lua_pushlstring(L, out.p, out.len);
    bh_bytes_free(&out);
    return error ? luaL_error(L, "%s", why) : 1;
}

/* core.decode(json) -> value; or nil and the reason */
static int core_decode(lua_State *L) {
    return bh_json_decode(L, bh_spec_check_slice(L, 1), BH_JSON_BIG_ERROR);
}

/* core.jwt(claims, secret) -> a token signed with HS256; claims are JSON */
static int core_jwt(lua_State *L) {
    struct bh_bytes out = {0};
    struct bh_slice claims = bh_spec_check_slice(L, 1);
    struct bh_slice secret = bh_spec_check_slice(L, 2);
    char why[BH_JWT_WHY_MAX];
    if (bh_jwt_secret_check(secret.n, BH_JWT_HS256, why))
        return luaL_error(L, "cannot sign: %s", why);
    struct bh_jwt_key *key = bh_jwt_key_secret(secret);
    int error = bh_jwt_sign(BH_JWT_HS256, key, claims, &out);
    bh_jwt_key_free(key);
    lua_pushlstring(L, out.p, out.len);
    bh_bytes_free(&out);
    return error ? luaL_error(L, "cannot sign: %s", bh_strerror(error)) : 1;
}

/* core.sha1(text) -> hexadecimal; Redis names its scripts so */
static int core_sha1(lua_State *L) {
    unsigned char digest[BH_DIGEST_MAX];
    char hex[2 * BH_DIGEST_MAX];
    int n = bh_digest("sha1", bh_spec_check_slice(L, 1), digest);
    bh_hex_encode(bh_slice(digest, (size_t)n), hex);
    lua_pushlstring(L, hex, 2 * (size_t)n);
    return 1;
}

/* core.suggest(unknown, words) -> `; did you mean "x"?`, or "" */
static int core_suggest(lua_State *L) {
    char hint[128];
    const char *unknown = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t count = (size_t)lua_rawlen(L, 2);
    const char **words = lua_newuserdatauv(L, (count + 1) * sizeof *words, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        words[i] = luaL_checkstring(L, -1); /* the table keeps it alive */
        lua_pop(L, 1);
    }
    words[count] = NULL;
    lua_pushstring(L, bh_suggest_phrase(unknown, words, hint, sizeof hint));
    return 1;
}

static const luaL_Reg functions[] = {{"env", bh_spec_new_env}, {"jwt", core_jwt},
                                     {"sha1", core_sha1},      {"suggest", core_suggest},
                                     {"names", bh_spec_names}, {"encode", core_encode},
                                     {"decode", core_decode},  {NULL, NULL}};

int bh_spec_open_core(lua_State *L) {
    const struct bh_spec_config *config = bh_spec_config_of(L);
    bh_json_make_marks(L);
    bh_spec_open_env(L);
    bh_spec_open_client(L);
    luaL_newlib(L, functions);
    lua_pushinteger(L, BH_SPEC_WALL_MS / 1000);
    lua_setfield(L, -2, "now");
    lua_pushstring(L, config->script->lua_dir);
    lua_setfield(L, -2, "lua_dir");
    bh_json_push(L, config->script->config);
    lua_setfield(L, -2, "config");
    return 1;
}
