/* safe_test.c - see safe_test.h. */
#include "safe_test.h"

#include "lua/limits.h"
#include "sandbox/safe_strings.h"
#include "sandbox/safe_tables.h"

int64_t checks_left;

void bh_limits_check(lua_State *L) {
    if (checks_left-- <= 0)
        luaL_error(L, "time is up");
}

static int stops(lua_State *L) {
    checks_left = CHECKS_UNTIL_STOPPED;
    int status = lua_pcall(L, lua_gettop(L) - 1, 0, 0);
    checks_left = UNLIMITED;
    const char *message = status ? luaL_tolstring(L, -1, NULL) : "it was not stopped";
    if (!strstr(message, "time is up"))
        return luaL_error(L, "%s", message);
    return 0;
}

static const char prelude[] =
    "stock = { string = {}, table = {} }\n"
    "for name, library in pairs(stock) do\n"
    "    for k, v in pairs(_G[name]) do library[k] = v end\n"
    "end\n"
    "local function shown(...)\n"
    "    local all = table.pack(...)\n"
    "    for i = 1, all.n do\n"
    "        local v = all[i]\n"
    "        all[i] = type(v) == 'string' and stock.string.format('%q', v)\n"
    "            or (math.type(v) or type(v)) .. ' ' .. tostring(v)\n"
    "    end\n"
    "    return stock.table.concat(all, ', ')\n"
    "end\n"
    "function gives(expected, ...)\n"
    "    local want = shown(stock.table.unpack(expected, 1, expected.n or #expected))\n"
    "    if shown(...) ~= want then error(want .. ' expected, given is ' .. shown(...), 2) end\n"
    "end\n"
    "function throws(expected, f, ...)\n"
    "    local ok, message = pcall(f, ...)\n"
    "    if ok or not stock.string.find(message, expected, 1, true) then\n"
    "        error(expected .. ' expected, given is ' .. tostring(message), 2)\n"
    "    end\n"
    "end\n"
    "function same(a, b)\n"
    "    if a.n ~= b.n then return false end\n"
    "    for i = 1, a.n do\n"
    "        if a[i] ~= b[i] or math.type(a[i]) ~= math.type(b[i]) then return false end\n"
    "    end\n"
    "    return true\n"
    "end\n"
    "function texts(results) return shown(stock.table.unpack(results, 1, results.n)) end\n"
    "function pick(list) return list[math.random(#list)] end\n";

void run(lua_State *L, const char *code) {
    checks_left = UNLIMITED;
    if (luaL_loadbuffer(L, code, strlen(code), "=test") || lua_pcall(L, 0, 0, 0))
        fail_msg("%s", lua_tostring(L, -1));
    assert_int_equal(lua_gettop(L), 0);
}

int safe_setup(void **state) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    run(L, prelude);
    lua_register(L, "stops", stops);
    bh_safe_strings_open(L);
    bh_safe_tables_open(L);
    *state = L;
    return lua_gettop(L);
}

int safe_teardown(void **state) {
    lua_close(*state);
    return 0;
}
