/* bind_jwt.c - bh.jwt.verify(token, options) and bh.jwt.sign(claims, options).
 *
 * The accepted algorithms must be named. There is no default, because a default could accept tokens
 * that nobody intended to accept. With `key`, secrets are used for HS* and PEM keys for all others;
 * a list that mixes both is refused, so a public key can never be used as a secret. In a key set
 * (`jwks`, a file) each key has its type, so there a list may mix them.
 *
 * Parsed keys are cached, since parsing a PEM costs more than a verification. So are key set files.
 * Both caches are tables of the Lua state. */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/class.h"
#include "lua/json_value.h"
#include "run/jwks_file.h"
#include "run/state.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/jwt.h"

#define KEY_MT     "bellhop.jwtkey"
#define FILE_MT    "bellhop.jwksfile"
#define KEYS_MAX   256
#define FILES_MAX  64
#define HMAC_ALGS  (BH_JWT_HS256 | BH_JWT_HS384 | BH_JWT_HS512)
#define LEEWAY_MAX 86400

static const char keys_cache_key, files_cache_key;

struct cached_key {
    struct bh_jwt_key *key;
};

static int key_gc(lua_State *L) {
    struct cached_key *cached = luaL_checkudata(L, 1, KEY_MT);
    bh_jwt_key_free(cached->key);
    cached->key = NULL;
    return 0;
}

struct cached_file {
    struct bh_jwks_file *file;
};

static int file_gc(lua_State *L) {
    struct cached_file *cached = luaL_checkudata(L, 1, FILE_MT);
    bh_jwks_file_free(cached->file);
    cached->file = NULL;
    return 0;
}

/* --- options --- */

const char *const bh_jwt_verify_options[] = {"alg",      "key",    "jwks",        "issuer",
                                             "audience", "leeway", "require_exp", NULL};
const char *const bh_jwt_sign_options[] = {"alg", "key", NULL};

static unsigned one_alg(lua_State *L, int index) {
    struct bh_slice name = {NULL, 0};
    if (lua_type(L, index) == LUA_TSTRING)
        name.p = lua_tolstring(L, index, &name.n);
    unsigned alg = bh_jwt_alg_from_name(name);
    if (!alg)
        luaL_error(L,
                   "option alg: unknown algorithm \"%s\"; use HS, RS or ES with 256, 384 or 512, "
                   "PS256 or EdDSA",
                   name.p ? name.p : luaL_typename(L, index));
    return alg;
}

static unsigned check_algs(lua_State *L) {
    unsigned algs = 0;
    if (lua_getfield(L, 2, "alg") != LUA_TTABLE) {
        if (lua_isnil(L, -1))
            luaL_error(L, "option alg is missing: name the algorithms to accept, for example "
                          "alg = \"HS256\" or alg = {\"RS256\", \"ES256\"}");
        algs = one_alg(L, -1);
    }
    for (size_t i = 1, n = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        algs |= one_alg(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (algs == 0)
        luaL_error(L, "option alg is an empty list");
    return algs;
}

/* --- keys --- */

static void parse_key(lua_State *L, bool secret, struct bh_slice text) {
    const char *why = "";
    struct cached_key *cached = lua_newuserdatauv(L, sizeof *cached, 0);
    cached->key = NULL;
    luaL_setmetatable(L, KEY_MT);
    if (secret)
        cached->key = bh_jwt_key_secret(text);
    else if (bh_jwt_key_pem(text, &cached->key, &why))
        luaL_error(L, "option key: %s", why);
}

/* Pushes the cache; empties it when it is full. */
static void push_cache(lua_State *L, const void *where, lua_Integer max) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, where);
    bool full = lua_rawgeti(L, -1, 1) == LUA_TNUMBER && lua_tointeger(L, -1) >= max;
    lua_pop(L, 1);
    if (!full)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, where);
}

/* Adds the value on top to the cache below it, under the name at that index. */
static void add_cached(lua_State *L, int name) {
    lua_pushvalue(L, name);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
    lua_rawgeti(L, -2, 1);
    lua_pushinteger(L, lua_tointeger(L, -1) + 1);
    lua_rawseti(L, -4, 1);
    lua_pop(L, 1);
}

/* Pushes the cached value of that name. False, and nothing is pushed: none. */
static bool push_cached(lua_State *L, int name) {
    lua_pushvalue(L, name);
    if (lua_rawget(L, -2) == LUA_TUSERDATA)
        return true;
    lua_pop(L, 1);
    return false;
}

/* Leaves the key's object on the stack, which keeps it alive. */
static const struct bh_jwt_key *check_key(lua_State *L, unsigned algs) {
    bool secret = (algs & HMAC_ALGS) != 0;
    char why[BH_JWT_WHY_MAX];
    struct bh_slice text = {NULL, 0};
    if (lua_getfield(L, 2, "key") == LUA_TSTRING)
        text.p = lua_tolstring(L, -1, &text.n);
    if (!text.n)
        luaL_error(L, "option key is missing: %s",
                   secret ? "the shared secret" : "the public key as PEM text");
    if (bh_jwt_secret_check(text.n, algs, why))
        luaL_error(L, "option key: %s", why);
    lua_pushstring(L, secret ? "secret " : "pem ");
    lua_pushvalue(L, -2);
    lua_concat(L, 2);
    int name = lua_gettop(L);
    push_cache(L, &keys_cache_key, KEYS_MAX);
    if (!push_cached(L, name)) {
        parse_key(L, secret, text);
        add_cached(L, name);
    }
    return ((struct cached_key *)lua_touserdata(L, -1))->key;
}

/* The same for the path on top of the stack. */
static const struct bh_jwks *check_file(lua_State *L) {
    const char *path = lua_tostring(L, -1), *why;
    int name = lua_gettop(L);
    if (!*path || strlen(path) != lua_rawlen(L, -1))
        luaL_error(L, "option jwks is not a path");
    push_cache(L, &files_cache_key, FILES_MAX);
    if (!push_cached(L, name)) {
        struct cached_file *cached = lua_newuserdatauv(L, sizeof *cached, 0);
        cached->file = NULL;
        luaL_setmetatable(L, FILE_MT);
        cached->file = bh_jwks_file_new(path);
        add_cached(L, name);
    }
    const struct bh_jwks *keys =
        bh_jwks_file_keys(((struct cached_file *)lua_touserdata(L, -1))->file, &why);
    if (!keys)
        luaL_error(L, "option jwks: %s", why);
    return keys;
}

/* One of `key` and `jwks`. */
static void check_keys(lua_State *L, struct bh_jwt_rules *rules) {
    int type = lua_getfield(L, 2, "jwks");
    if (type == LUA_TNIL) {
        if ((rules->algs & HMAC_ALGS) && (rules->algs & ~(unsigned)HMAC_ALGS))
            luaL_error(L, "option alg mixes HS* (a shared secret) with others (a public key); "
                          "verify with one key at a time");
        rules->key = check_key(L, rules->algs);
        return;
    }
    if (type != LUA_TSTRING)
        luaL_error(L, "option jwks must be the path of a file, not a %s", luaL_typename(L, -1));
    if (lua_getfield(L, 2, "key") != LUA_TNIL)
        luaL_error(L, "options key and jwks exclude each other");
    lua_pop(L, 1);
    rules->keys = check_file(L);
}

/* --- functions --- */

static const char *optional_string(lua_State *L, const char *name) {
    int type = lua_getfield(L, 2, name);
    if (type != LUA_TNIL && type != LUA_TSTRING)
        luaL_error(L, "option %s must be a string", name);
    return lua_tostring(L, -1); /* stays on the stack */
}

/* In milliseconds. */
static int64_t optional_leeway(lua_State *L) {
    lua_getfield(L, 2, "leeway");
    lua_Number n = lua_isnil(L, -1) ? 0 : lua_isnumber(L, -1) ? lua_tonumber(L, -1) : -1;
    if (!(n >= 0 && n <= LEEWAY_MAX))
        luaL_error(L, "option leeway must be a number of seconds, at most a day");
    return (int64_t)(n * 1000);
}

static int jwt_verify(lua_State *L) {
    struct bh_script *s = bh_script_of(L);
    struct bh_slice token = bh_check_slice(L, 1);
    struct bh_jwt_rules rules = {0};
    const char *why = "";
    bh_check_option_names(L, 2, bh_jwt_verify_options);
    rules.algs = check_algs(L);
    rules.issuer = optional_string(L, "issuer");
    rules.audience = optional_string(L, "audience");
    rules.leeway_ms = optional_leeway(L);
    lua_getfield(L, 2, "require_exp");
    rules.require_exp = lua_toboolean(L, -1);
    rules.now_ms = bh_clock_wall_ms();
    check_keys(L, &rules); /* last: reading an option may run Lua code, which may reload the set */
    bh_bytes_clear(&s->scratch);
    if (bh_jwt_verify(token, &rules, &s->scratch, &why))
        return bh_push_error(L, why);
    bh_push_slice(L, bh_bytes_slice(&s->scratch)); /* which decoding may free */
    return bh_json_decode(L, bh_check_slice(L, -1), BH_JSON_BIG_STRING);
}

static int jwt_sign(lua_State *L) {
    struct bh_script *s = bh_script_of(L);
    char why[BH_JSON_WHY_MAX];
    luaL_checktype(L, 1, LUA_TTABLE);
    bh_check_option_names(L, 2, bh_jwt_sign_options);
    unsigned algs = check_algs(L);
    luaL_argcheck(L, (algs & HMAC_ALGS) && !(algs & (algs - 1)), 2,
                  "alg must be one of HS256, HS384, HS512");
    const struct bh_jwt_key *key = check_key(L, algs);
    bh_bytes_clear(&s->scratch);
    if (bh_json_encode(L, 1, &s->scratch, why))
        return bh_push_error(L, why);
    bh_push_slice(L, bh_bytes_slice(&s->scratch));
    bh_bytes_clear(&s->scratch);
    int error = bh_jwt_sign(algs, key, bh_check_slice(L, -1), &s->scratch);
    if (error)
        return bh_push_error(L, bh_strerror(error));
    bh_push_slice(L, bh_bytes_slice(&s->scratch));
    return 1;
}

static const luaL_Reg functions[] = {{"verify", jwt_verify}, {"sign", jwt_sign}, {NULL, NULL}};

static void new_class(lua_State *L, const char *name, lua_CFunction gc) {
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

void bh_bind_jwt(lua_State *L) {
    new_class(L, KEY_MT, key_gc);
    new_class(L, FILE_MT, file_gc);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &keys_cache_key);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &files_cache_key);
    bh_set_module(L, "jwt", functions);
}
