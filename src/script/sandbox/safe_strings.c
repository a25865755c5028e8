/* safe_strings.c - the functions of `string` that can run for long in one call.
 *
 * Scripts are stopped by a hook that runs between their instructions, and a function in C executes
 * none: ("a"):rep(50000):find((".-"):rep(20) .. "b") would block its worker for ever. The functions
 * here use pattern.c, which checks the limits. Arguments, results and errors are those of Lua 5.4,
 * except that there is no "pattern too complex". Functions whose time is proportional to their
 * arguments stay Lua's own, since memory is limited.
 *
 * A short pattern is compiled onto the C stack, a long one into a userdata on the Lua stack; an
 * iterator keeps its own compiled form. Scripts call find and match with the same few short
 * patterns, so these are cached in a userdata that is the functions' upvalue. A cached form is used
 * by one call at a time: no Lua code runs within find and match (scripts have no finalizers, see
 * safe_base.c). gsub calls back, so it does not use the cache. Nothing here must be released. */
#include "sandbox/safe_strings.h"

#include "lua/args.h"
#include "lua/limits.h"
#include "sandbox/pattern.h"

#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>

#define FORMAT_MAX ((size_t)64 * 1024)
#define REP_RUN    (64u * 1024)

/* 16 of about 1.3 KiB for each state. */
#define CACHED       16
#define CACHED_TEXT  32
#define CACHED_ITEMS 10

struct compiled {
    struct bh_pattern pattern;
    struct bh_pattern_item usual[BH_PATTERN_ITEMS_USUAL];
};

struct cached_pattern {
    size_t n; /* length of the text; 0: empty */
    char text[CACHED_TEXT];
    struct bh_pattern pattern;
    struct bh_pattern_item items[CACHED_ITEMS];
};

/* Leaves a userdata on the stack when the pattern is long. */
static struct bh_pattern *compile(lua_State *L, struct compiled *c, struct bh_slice text) {
    size_t n = bh_pattern_compile(&c->pattern, L, text, true, c->usual, BH_PATTERN_ITEMS_USUAL);
    if (n > BH_PATTERN_ITEMS_USUAL) {
        struct bh_pattern_item *items = lua_newuserdatauv(L, n * sizeof *items, 0);
        bh_pattern_compile(&c->pattern, L, text, true, items, n);
    }
    return &c->pattern;
}

/* Lua interns short strings, so the address is a hash. */
static struct cached_pattern *slot_of(lua_State *L, const char *text) {
    struct cached_pattern *all = lua_touserdata(L, lua_upvalueindex(1));
    return &all[(uintptr_t)text / 32 % CACHED];
}

/* As compile, with the cache; for find and match. */
static struct bh_pattern *compile_cached(lua_State *L, struct compiled *c, struct bh_slice text) {
    if (text.n == 0 || text.n > CACHED_TEXT)
        return compile(L, c, text);
    struct cached_pattern *k = slot_of(L, text.p);
    if (k->n == text.n && memcmp(k->text, text.p, text.n) == 0)
        return &k->pattern;
    k->n = 0; /* compiling may raise */
    memcpy(k->text, text.p, text.n);
    if (bh_pattern_compile(&k->pattern, L, bh_slice(k->text, text.n), true, k->items,
                           CACHED_ITEMS) > CACHED_ITEMS)
        return compile(L, c, text);
    k->n = text.n;
    return &k->pattern;
}

/* Counted from 0; may lie beyond the subject's end. */
static size_t check_start(lua_State *L, int arg, size_t n) {
    lua_Integer from = luaL_optinteger(L, arg, 1);
    if (from > 0)
        return (size_t)from - 1;
    return from == 0 || from < -(lua_Integer)n ? 0 : n - (size_t)-from;
}

/* --- captures --- */

static void push_capture(lua_State *L, const struct bh_pattern *p, unsigned index) {
    const struct bh_pattern_capture *c = &p->capture[index];
    if (c->n == BH_PATTERN_UNFINISHED)
        luaL_error(L, "unfinished capture");
    if (c->n == BH_PATTERN_POSITION)
        lua_pushinteger(L, c->start - p->begin + 1);
    else
        lua_pushlstring(L, c->start, (size_t)c->n);
}

static int push_captures(lua_State *L, const struct bh_pattern *p) {
    luaL_checkstack(L, (int)p->captures, "too many captures");
    for (unsigned i = 0; i < p->captures; i++)
        push_capture(L, p, i);
    return (int)p->captures;
}

/* The first capture, or all of the match when there are none. */
static void push_first(lua_State *L, const struct bh_pattern *p, struct bh_slice match) {
    if (p->captures)
        push_capture(L, p, 0);
    else
        lua_pushlstring(L, match.p, match.n);
}

static int push_match(lua_State *L, const struct bh_pattern *p, struct bh_slice match) {
    if (p->captures)
        return push_captures(L, p);
    push_first(L, p, match);
    return 1;
}

/* --- find, match --- */

static int push_place(lua_State *L, struct bh_slice subject, const char *at, size_t n) {
    lua_pushinteger(L, at - subject.p + 1);
    lua_pushinteger(L, at - subject.p + (lua_Integer)n);
    return 2;
}

static int find_plain(lua_State *L, struct bh_slice subject, size_t from, struct bh_slice text) {
    struct bh_slice rest = bh_slice(subject.p + from, subject.n - from);
    const char *at = bh_pattern_find_plain(L, rest, text);
    if (at)
        return push_place(L, subject, at, text.n);
    lua_pushnil(L);
    return 1;
}

static int search(lua_State *L, bool find) {
    struct bh_slice subject = bh_check_slice(L, 1), text = bh_check_slice(L, 2), match;
    size_t from = check_start(L, 3, subject.n);
    struct compiled c;
    if (from > subject.n) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || bh_pattern_is_plain(text)))
        return find_plain(L, subject, from, text);
    struct bh_pattern *p = compile_cached(L, &c, text);
    bh_pattern_begin(p, L, subject);
    if (!bh_pattern_search(p, subject.p + from, NULL, &match)) {
        lua_pushnil(L);
        return 1;
    }
    if (!find)
        return push_match(L, p, match);
    int n = push_place(L, subject, match.p, match.n);
    return n + push_captures(L, p);
}

static int safe_find(lua_State *L) {
    return search(L, true);
}

static int safe_match(lua_State *L) {
    return search(L, false);
}

/* --- gmatch --- */

struct iterator {
    struct bh_pattern pattern;
    const char *from, *last; /* from NULL: no more matches */
    struct bh_pattern_item items[];
};

/* Upvalues: the subject, the text of the pattern, the iterator. */
static int next_match(lua_State *L) {
    struct iterator *it = lua_touserdata(L, lua_upvalueindex(3));
    struct bh_slice match, subject = {0};
    subject.p = lua_tolstring(L, lua_upvalueindex(1), &subject.n);
    if (!it->from)
        return 0;
    bh_pattern_begin(&it->pattern, L, subject);
    if (!bh_pattern_search(&it->pattern, it->from, it->last, &match)) {
        it->from = NULL;
        return 0;
    }
    it->from = it->last = match.p + match.n;
    return push_match(L, &it->pattern, match);
}

/* An anchor would end the iteration at once, so ^ is an ordinary byte here. */
static int safe_gmatch(lua_State *L) {
    struct bh_slice subject = bh_check_slice(L, 1), text = bh_check_slice(L, 2);
    size_t from = check_start(L, 3, subject.n);
    struct bh_pattern counted;
    lua_settop(L, 2);
    size_t n = bh_pattern_compile(&counted, L, text, false, NULL, 0);
    struct iterator *it = lua_newuserdatauv(L, sizeof *it + n * sizeof it->items[0], 0);
    bh_pattern_compile(&it->pattern, L, text, false, it->items, n);
    it->from = from > subject.n ? NULL : subject.p + from;
    it->last = NULL;
    lua_pushcclosure(L, next_match, 3);
    return 1;
}

/* --- gsub --- */

struct replacing {
    lua_State *L;
    struct bh_pattern *pattern;
    luaL_Buffer out;
    int type;             /* of the replacement, argument 3 */
    struct bh_slice text; /* the replacement, when it is a string */
};

static void add_capture(struct replacing *r, char digit, struct bh_slice match) {
    unsigned index = (unsigned)(digit - '1');
    if (digit == '0' || (index == 0 && r->pattern->captures == 0)) {
        luaL_addlstring(&r->out, match.p, match.n);
        return;
    }
    if (index >= r->pattern->captures)
        luaL_error(r->L, "invalid capture index %%%d", index + 1);
    push_capture(r->L, r->pattern, index);
    luaL_addvalue(&r->out);
}

static void add_text(struct replacing *r, struct bh_slice match) {
    const char *s = r->text.p, *end = s + r->text.n, *escape;
    while ((escape = memchr(s, '%', (size_t)(end - s)))) {
        luaL_addlstring(&r->out, s, (size_t)(escape - s));
        char c = escape + 1 < end ? escape[1] : '\0';
        if (c == '%')
            luaL_addchar(&r->out, '%');
        else if (c >= '0' && c <= '9')
            add_capture(r, c, match);
        else
            luaL_error(r->L, "invalid use of '%%' in replacement string");
        s = escape + 2;
        bh_limits_check(r->L);
    }
    luaL_addlstring(&r->out, s, (size_t)(end - s));
}

/* The value from a table or function; false and nil keep the match. */
static void add_value(struct replacing *r, struct bh_slice match) {
    lua_State *L = r->L;
    if (r->type == LUA_TTABLE) {
        push_first(L, r->pattern, match);
        lua_gettable(L, 3);
    } else {
        lua_pushvalue(L, 3);
        lua_call(L, push_match(L, r->pattern, match), 1);
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(&r->out, match.p, match.n);
    } else if (lua_isstring(L, -1)) {
        luaL_addvalue(&r->out);
    } else {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
}

static int replace(struct replacing *r, struct bh_slice subject, lua_Integer max) {
    const char *from = subject.p, *last = NULL, *end = subject.p + subject.n;
    struct bh_slice match;
    lua_Integer n = 0;
    luaL_buffinit(r->L, &r->out);
    while (n < max && bh_pattern_search(r->pattern, from, last, &match)) {
        luaL_addlstring(&r->out, from, (size_t)(match.p - from));
        if (r->type == LUA_TSTRING)
            add_text(r, match);
        else
            add_value(r, match);
        from = last = match.p + match.n;
        n++;
        bh_limits_check(r->L);
        if (r->pattern->anchored)
            break;
    }
    luaL_addlstring(&r->out, from, (size_t)(end - from));
    luaL_pushresult(&r->out);
    lua_pushinteger(r->L, n);
    return 2;
}

static int safe_gsub(lua_State *L) {
    struct bh_slice subject = bh_check_slice(L, 1), text = bh_check_slice(L, 2);
    struct replacing r = {.L = L, .type = lua_type(L, 3)};
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)subject.n + 1);
    struct compiled c;
    if (r.type == LUA_TNUMBER || r.type == LUA_TSTRING) {
        r.text = bh_check_slice(L, 3);
        r.type = LUA_TSTRING;
    } else if (r.type != LUA_TTABLE && r.type != LUA_TFUNCTION) {
        return luaL_typeerror(L, 3, "string/function/table");
    }
    r.pattern = compile(L, &c, text);
    bh_pattern_begin(r.pattern, L, subject);
    return replace(&r, subject, max);
}

/* --- rep --- */

/* Repeats the unit at the start of `out` until there are n bytes. */
static void fill(lua_State *L, char *out, size_t unit, size_t n) {
    size_t most = unit < REP_RUN ? REP_RUN - REP_RUN % unit : unit;
    for (size_t done = unit; done < n;) {
        size_t run = done < most ? done : most;
        run = run < n - done ? run : n - done;
        memcpy(out + done, out, run);
        done += run;
        bh_limits_check(L);
    }
}

/* Lua's own loops n times even for the empty string. */
static int safe_rep(lua_State *L) {
    struct bh_slice s = bh_check_slice(L, 1), separator;
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_Buffer b;
    separator.p = luaL_optlstring(L, 3, "", &separator.n);
    size_t unit = s.n + separator.n;
    if (n <= 0 || unit == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (unit > (size_t)INT_MAX / (size_t)n)
        return luaL_error(L, "resulting string too large");
    size_t total = unit * (size_t)n - separator.n;
    char *out = luaL_buffinitsize(L, &b, total);
    memcpy(out, s.p, s.n);
    if (n > 1) {
        memcpy(out + s.n, separator.p, separator.n);
        fill(L, out, unit, total);
    }
    luaL_pushresultsize(&b, total);
    return 1;
}

/* --- opening --- */

/* The time of Lua's own function is proportional to its format. */
static int with_short_format(lua_State *L) {
    luaL_argcheck(L, lua_rawlen(L, 1) <= FORMAT_MAX, 1, "a format of at most 64 KiB");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

void bh_safe_strings_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"find", safe_find}, {"match", safe_match}, {"gmatch", safe_gmatch},
        {"gsub", safe_gsub}, {"rep", safe_rep},     {NULL, NULL},
    };
    static const char *const formatted[] = {"format", "pack", "packsize", "unpack"};
    lua_getglobal(L, LUA_STRLIBNAME);
    memset(lua_newuserdatauv(L, CACHED * sizeof(struct cached_pattern), 0), 0,
           CACHED * sizeof(struct cached_pattern));
    luaL_setfuncs(L, functions, 1);
    for (int i = 0; i < 4; i++) {
        lua_getfield(L, -1, formatted[i]);
        lua_pushcclosure(L, with_short_format, 1);
        lua_setfield(L, -2, formatted[i]);
    }
    lua_pop(L, 1);
}
