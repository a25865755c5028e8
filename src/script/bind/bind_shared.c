/* bind_shared.c - bh.shared.NAME:get, set, add, incr, cas: values that the workers of an instance
 * share.
 */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/class.h"
#include "run/shared.h"
#include "run/state.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"

#include <math.h>

#define STORE_MT       "bellhop.shared"
#define STORE_NAME_MAX 64
#define KEY_MAX        512
#define TTL_MAX        (10 * 366 * 86400.0)

struct store {
    size_t len;
    char name[STORE_NAME_MAX + 1]; /* and the separator */
};

/* "<name>\0<key>", in the buffer. */
static struct bh_slice check_key(lua_State *L, char buffer[STORE_NAME_MAX + 1 + KEY_MAX]) {
    const struct store *store = luaL_checkudata(L, 1, STORE_MT);
    struct bh_slice key = bh_check_slice(L, 2);
    luaL_argcheck(L, key.n <= KEY_MAX, 2, "a key of at most 512 bytes");
    memcpy(buffer, store->name, store->len + 1);
    memcpy(buffer + store->len + 1, key.p, key.n);
    return bh_slice(buffer, store->len + 1 + key.n);
}

static struct bh_shared_value check_value(lua_State *L, int arg) {
    struct bh_shared_value v = {.type = BH_SHARED_NIL};
    switch (lua_type(L, arg)) {
    case LUA_TNIL:
    case LUA_TNONE:
        break;
    case LUA_TSTRING:
        v.type = BH_SHARED_STRING;
        v.string = bh_check_slice(L, arg);
        break;
    case LUA_TBOOLEAN:
        v.type = BH_SHARED_BOOL;
        v.boolean = lua_toboolean(L, arg);
        break;
    case LUA_TNUMBER:
        v.type = lua_isinteger(L, arg) ? BH_SHARED_INTEGER : BH_SHARED_DOUBLE;
        v.integer = lua_tointeger(L, arg);
        v.number = lua_tonumber(L, arg);
        break;
    default:
        luaL_argerror(
            L, arg,
            lua_pushfstring(L, "a string, a number or a boolean, not a %s%s", luaL_typename(L, arg),
                            lua_istable(L, arg) ? "; encode it with bh.json.encode" : ""));
    }
    return v;
}

static uint64_t check_ttl(lua_State *L, int arg) {
    lua_Number s = luaL_optnumber(L, arg, 0);
    luaL_argcheck(L, s >= 0 && s <= TTL_MAX, arg, "seconds, or nil for no expiry");
    return (uint64_t)ceil(s * 1000);
}

static void push_value(lua_State *L, const struct bh_shared_value *v) {
    switch (v->type) {
    case BH_SHARED_STRING:
        bh_push_slice(L, v->string);
        return;
    case BH_SHARED_INTEGER:
        lua_pushinteger(L, v->integer);
        return;
    case BH_SHARED_DOUBLE:
        lua_pushnumber(L, v->number);
        return;
    case BH_SHARED_BOOL:
        lua_pushboolean(L, v->boolean);
        return;
    default:
        lua_pushnil(L);
    }
}

static int failed(lua_State *L, int error) {
    switch (error) {
    case BH_ENOMEM:
        return bh_push_error(L, "the shared memory is full (script.shared_memory)");
    case BH_EEXIST:
        return bh_push_error(L, "exists");
    case BH_ENOTFOUND:
        return bh_push_error(L, "changed");
    case BH_EINVAL:
        return bh_push_error(L, "not an integer");
    default:
        return bh_push_error(L, "out of range");
    }
}

static int result(lua_State *L, int error) {
    return error ? failed(L, error) : bh_push_result(L, 0);
}

static struct bh_shared *shared_of(lua_State *L) {
    return bh_script_of(L)->config->shared;
}

static int store_get(lua_State *L) {
    char buffer[STORE_NAME_MAX + 1 + KEY_MAX];
    struct bh_script *s = bh_script_of(L);
    struct bh_shared_value v;
    bh_bytes_clear(&s->scratch);
    bh_shared_get(shared_of(L), check_key(L, buffer), bh_clock_wall_ms(), &v, &s->scratch);
    push_value(L, &v);
    return 1;
}

static int store_set(lua_State *L) {
    char buffer[STORE_NAME_MAX + 1 + KEY_MAX];
    struct bh_slice key = check_key(L, buffer);
    struct bh_shared_value v = check_value(L, 3);
    return result(L, bh_shared_set(shared_of(L), key, &v, check_ttl(L, 4), bh_clock_wall_ms()));
}

static int store_add(lua_State *L) {
    char buffer[STORE_NAME_MAX + 1 + KEY_MAX];
    struct bh_slice key = check_key(L, buffer);
    luaL_argcheck(L, !lua_isnoneornil(L, 3), 3, "a value");
    struct bh_shared_value v = check_value(L, 3);
    return result(L, bh_shared_add(shared_of(L), key, &v, check_ttl(L, 4), bh_clock_wall_ms()));
}

static int store_incr(lua_State *L) {
    char buffer[STORE_NAME_MAX + 1 + KEY_MAX];
    struct bh_slice key = check_key(L, buffer);
    int64_t value;
    lua_Integer by = luaL_optinteger(L, 3, 1);
    int error = bh_shared_incr(shared_of(L), key, by, check_ttl(L, 4), bh_clock_wall_ms(), &value);
    if (error)
        return failed(L, error);
    lua_pushinteger(L, value);
    return 1;
}

static int store_cas(lua_State *L) {
    char buffer[STORE_NAME_MAX + 1 + KEY_MAX];
    struct bh_slice key = check_key(L, buffer);
    struct bh_shared_value expected = check_value(L, 3), v = check_value(L, 4);
    return result(
        L, bh_shared_cas(shared_of(L), key, &expected, &v, check_ttl(L, 5), bh_clock_wall_ms()));
}

static const luaL_Reg methods[] = {
    {"get", store_get},   {"set", store_set}, {"add", store_add},
    {"incr", store_incr}, {"cas", store_cas}, {NULL, NULL},
};

/* bh.shared.NAME: created on first access, then a plain field. */
static int shared_index(lua_State *L) {
    struct bh_slice name = bh_check_slice(L, 2);
    if (name.n == 0 || name.n > STORE_NAME_MAX || memchr(name.p, '\0', name.n))
        return luaL_error(L, "the name of a shared store must have 1 to 64 bytes");
    struct store *store = lua_newuserdatauv(L, sizeof *store, 0);
    store->len = name.n;
    memcpy(store->name, name.p, name.n);
    store->name[name.n] = '\0';
    luaL_setmetatable(L, STORE_MT);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

void bh_bind_shared(lua_State *L) {
    bh_class_new_methods(L, STORE_MT, methods);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, shared_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "shared");
}
