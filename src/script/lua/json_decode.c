/* json_decode.c - JSON texts to Lua values, in one pass over the scanner's events.
 *
 * There is no tree in between, and no memory but Lua's own, so the script's limits hold: the CPU
 * limit and the memory limit are checked every BH_JSON_TICK events. Any call into Lua here may
 * raise; nothing is held across one. A decode does not yield, because another hook would run.
 *
 * The entries of a container wait on the stack until it ends, so that its table gets the right size
 * at once. A container with more than WAITING_MAX entries gets its table then, and grows as Lua's
 * tables do: no size is taken from the text. */
#include "lua/args.h"
#include "lua/json_value.h"
#include "lua/limits.h"

#include "bellhop/base/error.h"

#define WAITING_MAX 16
#define STACK_SPARE 8 /* for a value, its name, and a string's buffer */

/* Small, because each decode has room for all levels on the C stack. */
struct container {
    int table; /* on the stack: nil until it is built; the waiting entries are above it */
    unsigned is_object : 1, is_built : 1;
    unsigned count : 30; /* of the entries: a text has fewer bytes */
};

struct decoder {
    lua_State *L;
    struct bh_json_reader reader;
    enum bh_json_big big;
    unsigned events;
    struct container containers[BH_JSON_DEPTH_MAX];
};

/* --- scalars --- */

static void push_escaped(lua_State *L, struct bh_json_value string) {
    luaL_Buffer buffer;
    char *text = luaL_buffinitsize(L, &buffer, string.raw.n);
    luaL_pushresultsize(&buffer, bh_json_unescape(string, text));
}

static void push_string(lua_State *L, struct bh_json_value string, bool plain) {
    if (plain)
        lua_pushlstring(L, string.raw.p + 1, string.raw.n - 2);
    else
        push_escaped(L, string);
}

/* An integer beyond 64 bits. NULL, or why it cannot be represented. */
static const char *push_big_integer(lua_State *L, struct bh_json_value number,
                                    enum bh_json_big big) {
    double value;
    if (big == BH_JSON_BIG_ERROR)
        return "an integer beyond 64 bits; the option big_integers accepts it";
    if (big == BH_JSON_BIG_FLOAT && bh_json_double(number, &value))
        return "a number too big for a double";
    if (big == BH_JSON_BIG_STRING)
        bh_push_slice(L, number.raw);
    else
        lua_pushnumber(L, value);
    return NULL;
}

static const char *push_number(lua_State *L, struct bh_json_value number, bool plain,
                               enum bh_json_big big) {
    int64_t integer;
    double value;
    int rc = plain ? bh_json_int64(number, &integer) : BH_EINVAL;
    if (rc == BH_ETOOBIG)
        return push_big_integer(L, number, big);
    if (rc == 0) {
        lua_pushinteger(L, integer);
        return NULL;
    }
    if (bh_json_double(number, &value)) {
        if (big != BH_JSON_BIG_STRING)
            return "a number too big for a double";
        bh_push_slice(L, number.raw);
    } else if (bh_json_whole(value, &integer))
        lua_pushinteger(L, integer);
    else
        lua_pushnumber(L, value);
    return NULL;
}

/* plain: as the scanner says; true for any number is right, too. */
static const char *push_scalar(lua_State *L, struct bh_json_value value, bool plain,
                               enum bh_json_big big) {
    switch (value.type) {
    case BH_JSON_STRING:
        push_string(L, value, plain);
        return NULL;
    case BH_JSON_NUMBER:
        return push_number(L, value, plain, big);
    case BH_JSON_FALSE:
    case BH_JSON_TRUE:
        lua_pushboolean(L, value.type == BH_JSON_TRUE);
        return NULL;
    default:
        lua_pushlightuserdata(L, NULL);
        return NULL;
    }
}

/* --- containers --- */

static void build_array(lua_State *L, const struct container *c) {
    lua_createtable(L, (int)c->count, 0);
    lua_replace(L, c->table);
    for (unsigned i = c->count; i > 0; i--)
        lua_rawseti(L, c->table, i);
    if (c->count == 0)
        bh_json_mark_array(L);
}

/* In the order of the text: of members with one name, the last wins. */
static void build_object(lua_State *L, const struct container *c) {
    lua_createtable(L, 0, (int)c->count);
    lua_replace(L, c->table);
    for (int at = c->table + 1; at < c->table + 1 + 2 * (int)c->count; at += 2) {
        lua_pushvalue(L, at);
        lua_pushvalue(L, at + 1);
        lua_rawset(L, c->table);
    }
    lua_settop(L, c->table);
}

static void build(lua_State *L, struct container *c) {
    c->is_built = true;
    if (c->is_object)
        build_object(L, c);
    else
        build_array(L, c);
}

/* A value is complete and on top, in an object above its name. */
static void add_entry(struct decoder *d) {
    struct container *c = &d->containers[d->reader.depth - 1];
    c->count++;
    if (c->is_built && c->is_object)
        lua_rawset(d->L, c->table);
    else if (c->is_built)
        lua_rawseti(d->L, c->table, c->count);
    else if (c->count == WAITING_MAX)
        build(d->L, c);
}

static void open_container(struct decoder *d) {
    luaL_checkstack(d->L, 2 * WAITING_MAX + STACK_SPARE, "JSON");
    lua_pushnil(d->L);
    d->containers[d->reader.depth - 1] = (struct container){
        .table = lua_gettop(d->L), .is_object = d->reader.value.type == BH_JSON_OBJECT};
}

static void close_container(struct decoder *d) {
    struct container *c = &d->containers[d->reader.depth];
    if (!c->is_built)
        build(d->L, c);
}

/* --- texts --- */

static void check_limits(void *L) {
    bh_limits_check(L);
    bh_memory_check(L);
}

/* NULL, or why the event's value cannot be represented. */
static const char *handle(struct decoder *d, enum bh_json_event event) {
    const char *why = NULL;
    if (event == BH_JSON_NAME) {
        push_string(d->L, d->reader.value, d->reader.plain);
        return NULL;
    }
    if (event == BH_JSON_OPEN) {
        open_container(d);
        return NULL;
    }
    if (event == BH_JSON_CLOSE)
        close_container(d);
    else
        why = push_scalar(d->L, d->reader.value, d->reader.plain, d->big);
    if (!why && d->reader.depth > 0)
        add_entry(d);
    return why;
}

static int push_syntax_error(lua_State *L, const char *why, size_t offset) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s (at byte %I)", why, (LUAI_UACINT)offset + 1);
    return 2;
}

int bh_json_decode(lua_State *L, struct bh_slice text, enum bh_json_big big) {
    struct decoder d; /* most of it is not used by most texts */
    struct bh_json_reader *r = &d.reader;
    int top = lua_gettop(L);
    enum bh_json_event event;
    if (text.n > BH_JSON_TEXT_MAX)
        return bh_push_error(L, "the text is larger than 16 MiB");
    luaL_checkstack(L, STACK_SPARE, "JSON");
    bh_json_reader_init(r, text);
    d.L = L;
    d.big = big;
    d.events = 0;
    while ((event = bh_json_read(r)) > BH_JSON_END) {
        const char *why = handle(&d, event);
        if (why) {
            lua_settop(L, top);
            return push_syntax_error(L, why, (size_t)(r->value.raw.p - r->start));
        }
        if (++d.events % BH_JSON_TICK == 0)
            check_limits(L);
    }
    if (event == BH_JSON_END)
        return 1;
    lua_settop(L, top);
    return push_syntax_error(L, r->error.why, r->error.offset);
}

static int push_raw(lua_State *L, struct bh_json_value value) {
    static const char *const types[] = {
        [BH_JSON_NULL] = "null",     [BH_JSON_FALSE] = "boolean", [BH_JSON_TRUE] = "boolean",
        [BH_JSON_NUMBER] = "number", [BH_JSON_STRING] = "string", [BH_JSON_ARRAY] = "array",
        [BH_JSON_OBJECT] = "object",
    };
    bh_push_slice(L, value.raw);
    lua_pushstring(L, types[value.type]);
    return 2;
}

int bh_json_peek(lua_State *L, struct bh_slice text, struct bh_slice path, enum bh_json_big big,
                 bool raw) {
    struct bh_json_value value;
    struct bh_json_error error;
    if (text.n > BH_JSON_TEXT_MAX)
        return bh_push_error(L, "the text is larger than 16 MiB");
    int rc = bh_json_find(text, path, check_limits, L, &value, &error);
    if (rc == BH_ENOTFOUND)
        return 0;
    if (rc)
        return push_syntax_error(L, error.why, error.offset);
    if (raw || value.type == BH_JSON_ARRAY || value.type == BH_JSON_OBJECT)
        return push_raw(L, value);
    bool plain = !memchr(value.raw.p, '\\', value.raw.n);
    const char *why = push_scalar(L, value, plain, big);
    return why ? push_syntax_error(L, why, (size_t)(value.raw.p - text.p)) : 1;
}
