/* identity.c - reads {tenant, user, anonymous, device, expires, topics, tags, limits, headers,
 * protocol, compression, format}.
 *
 * A wrong type or an unknown key is a bug of the script, and a dangerous one (`tennant` would
 * admit a user without a tenant), so nothing is ignored. Strings stay alive on the coroutine's
 * stack until the task has finished. */
#include "hooks/identity.h"

#include "lua/args.h"

#include "bellhop/base/error.h"
#include "bellhop/base/suggest.h"

#include <math.h>
#include <stdio.h>

#define LIST_MAX   256
#define TAGS_MAX   32
#define LIMIT_MAX  1000000000
#define STACK_NEED (3 * TAGS_MAX + 64)

enum key {
    TENANT,
    USER,
    DEVICE,
    EXPIRES,
    TOPICS,
    TAGS,
    HEADERS,
    PROTOCOL,
    LIMITS,
    COMPRESSION,
    ANONYMOUS,
    FORMAT
};

const char *const bh_identity_keys[] = {
    "tenant",   "user",   "device",      "expires",   "topics", "tags", "headers",
    "protocol", "limits", "compression", "anonymous", "format", NULL};

struct reader {
    lua_State *L;
    int index;
    unsigned present; /* which keys, one bit each */
    char *why;        /* BH_WHY_MAX */
    struct bh_slice topics[LIST_MAX];
    struct bh_tag tags[TAGS_MAX];
};

static int wrong_type(char *why, const char *key, const char *must, lua_State *L, int index) {
    snprintf(why, BH_WHY_MAX, "identity.%s must be %s, not %s %s", key, must,
             lua_type(L, index) == LUA_TNUMBER ? "the float" : "a", luaL_typename(L, index));
    return BH_ESCRIPT;
}

/* Pushes the field if it is present; most are not. */
static int field(struct reader *r, enum key key) {
    if (!(r->present & 1u << key))
        return LUA_TNIL;
    lua_pushstring(r->L, bh_identity_keys[key]);
    return lua_rawget(r->L, r->index);
}

static int read_id(struct reader *r, enum key key, struct bh_slice *out) {
    if (field(r, key) == LUA_TNIL)
        return 0;
    if (!bh_id_from_lua(r->L, out))
        return wrong_type(r->why, bh_identity_keys[key], "a string or an integer", r->L, -1);
    if (out->n)
        return 0;
    snprintf(r->why, BH_WHY_MAX, "identity.%s is empty; leave it out instead",
             bh_identity_keys[key]);
    return BH_ESCRIPT;
}

static int read_expires(struct reader *r, int64_t *out) {
    if (field(r, EXPIRES) == LUA_TNIL)
        return 0;
    char why[BH_TIME_WHY_MAX];
    double n = lua_type(r->L, -1) == LUA_TNUMBER ? lua_tonumber(r->L, -1) : -1;
    if (bh_time_ok(n, why)) {
        *out = (int64_t)ceil(n); /* not before the token has expired */
        return 0;
    }
    snprintf(r->why, BH_WHY_MAX, "identity.expires must be %s", why);
    return BH_ESCRIPT;
}

/* A connection without a user gets no message to a user, so that must be meant. */
static int read_anonymous(struct reader *r, const struct bh_identity *id, bool *out) {
    int type = field(r, ANONYMOUS);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        return wrong_type(r->why, "anonymous", "true or false", r->L, -1);
    *out = lua_toboolean(r->L, -1) && type != LUA_TNIL;
    if (!*out || !id->user.n)
        return 0;
    snprintf(r->why, BH_WHY_MAX, "identity has a user and anonymous = true; leave one of them out");
    return BH_ESCRIPT;
}

static int read_limit(struct reader *r, struct bh_identity_limits *out) {
    const struct {
        const char *name;
        uint32_t *value;
    } known[] = {{"messages_per_second", &out->messages_per_second},
                 {"bytes_per_second", &out->bytes_per_second},
                 {"queue_bytes", &out->queue_bytes}};
    const char *key = lua_type(r->L, -2) == LUA_TSTRING ? lua_tostring(r->L, -2) : "(not a string)";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, key) != 0)
            continue;
        lua_Integer n = lua_isinteger(r->L, -1) ? lua_tointeger(r->L, -1) : 0;
        if (n < 1 || n > LIMIT_MAX) {
            snprintf(r->why, BH_WHY_MAX, "identity.limits.%s must be an integer from 1 to %d", key,
                     LIMIT_MAX);
            return BH_ESCRIPT;
        }
        *known[i].value = (uint32_t)n;
        return 0;
    }
    snprintf(r->why, BH_WHY_MAX,
             "identity.limits has messages_per_second, bytes_per_second and queue_bytes; not "
             "\"%.40s\"",
             key);
    return BH_ESCRIPT;
}

static int read_limits(struct reader *r, struct bh_identity_limits *out) {
    int error = 0, type = field(r, LIMITS);
    if (type == LUA_TNIL)
        return 0;
    if (type != LUA_TTABLE)
        return wrong_type(r->why, "limits", "a table", r->L, -1);
    int table = lua_gettop(r->L);
    for (lua_pushnil(r->L); !error && lua_next(r->L, table); lua_pop(r->L, 1))
        error = read_limit(r, out);
    return error;
}

static int read_topics(struct reader *r, struct bh_identity *id) {
    int type = field(r, TOPICS);
    if (type == LUA_TNIL)
        return 0;
    if (type != LUA_TTABLE)
        return wrong_type(r->why, "topics", "a list of topic ids", r->L, -1);
    int list = lua_gettop(r->L);
    size_t n = lua_rawlen(r->L, list);
    if (n > LIST_MAX) {
        snprintf(r->why, BH_WHY_MAX, "identity.topics has %zu entries; at most %d", n, LIST_MAX);
        return BH_ESCRIPT;
    }
    lua_checkstack(r->L, (int)n + STACK_NEED);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(r->L, list, (lua_Integer)i + 1);
        if (!bh_id_from_lua(r->L, &r->topics[i]))
            return wrong_type(r->why, "topics", "a list of strings or integers", r->L, -1);
    }
    id->topics = r->topics;
    id->topic_count = n;
    return 0;
}

static int read_tags(struct reader *r, struct bh_identity *id) {
    int type = field(r, TAGS);
    if (type == LUA_TNIL)
        return 0;
    if (type != LUA_TTABLE)
        return wrong_type(r->why, "tags", "a table of names and values", r->L, -1);
    int table = lua_gettop(r->L);
    size_t n = 0;
    for (lua_pushnil(r->L); lua_next(r->L, table); n++) {
        if (n == TAGS_MAX) {
            snprintf(r->why, BH_WHY_MAX, "identity.tags has more than %d entries", TAGS_MAX);
            return BH_ESCRIPT;
        }
        if (lua_type(r->L, -2) != LUA_TSTRING || !bh_text_from_lua(r->L, &r->tags[n].value))
            return wrong_type(r->why, "tags", "a table of strings, numbers and booleans", r->L, -1);
        r->tags[n].name.p = lua_tolstring(r->L, -2, &r->tags[n].name.n);
        lua_pushvalue(r->L, -2); /* key and value stay; the loop continues with a copy of the key */
    }
    id->tags = r->tags;
    id->tag_count = n;
    return 0;
}

/* --- headers --- */

static bool is_token(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
        if (!alnum && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

static bool is_header_value(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

static int headers_error(char *why, const char *must) {
    snprintf(why, BH_WHY_MAX, "headers: %s", must);
    return BH_ESCRIPT;
}

/* The value is on top and stays there. */
static int add_header(lua_State *L, struct bh_slice name, struct bh_response_headers *out,
                      char *why) {
    struct bh_header *h = &out->list[out->count];
    if (out->count == BH_RESPONSE_HEADERS_MAX)
        return headers_error(why, "more than 32");
    if (!bh_text_from_lua(L, &h->value))
        return headers_error(why, "a value must be a string, or a list of strings for several "
                                  "headers of one name");
    h->name = name;
    if (!is_token(h->name) || !is_header_value(h->value))
        return headers_error(why,
                             "a name must be a token, a value must have no control characters");
    out->count++;
    return 0;
}

/* Key and value are on top: one header, or one for each value of a list. */
static int add_headers(lua_State *L, struct bh_response_headers *out, char *why) {
    struct bh_slice name;
    if (lua_type(L, -2) != LUA_TSTRING)
        return headers_error(why, "a name must be a string");
    name.p = lua_tolstring(L, -2, &name.n);
    lua_Unsigned n = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
    if (n == 0)
        return add_header(L, name, out, why);
    int list = lua_gettop(L), error = 0;
    for (lua_Unsigned i = 1; i <= n && !error; i++) {
        lua_rawgeti(L, list, (lua_Integer)i);
        error = add_header(L, name, out, why);
    }
    return error;
}

int bh_response_headers_read(lua_State *L, int index, struct bh_response_headers *out,
                             char why[BH_WHY_MAX]) {
    int error = 0;
    out->count = 0;
    if (!lua_istable(L, index) || !lua_checkstack(L, 4 * BH_RESPONSE_HEADERS_MAX))
        return wrong_type(why, "headers", "a table of names and values", L, index);
    for (lua_pushnil(L); !error && lua_next(L, index);) {
        int key = lua_gettop(L) - 1;
        error = add_headers(L, out, why);
        lua_pushvalue(L,
                      key); /* names and values stay; the loop continues with a copy of the key */
    }
    return error;
}

/* --- protocol --- */

static bool is_offered(const struct bh_request *request, struct bh_slice protocol) {
    for (size_t i = 0; i < request->header_count; i++) {
        struct bh_slice rest = request->headers[i].value, part;
        if (!bh_slice_caseeq(request->headers[i].name, BH_SLICE("Sec-WebSocket-Protocol")))
            continue;
        while (bh_slice_split(&rest, ',', &part))
            if (bh_slice_eq(bh_slice_trim(part), protocol))
                return true;
    }
    return false;
}

static int read_protocol(struct reader *r, const struct bh_request *request, struct bh_slice *out) {
    int type = field(r, PROTOCOL);
    if (type == LUA_TNIL)
        return 0;
    if (type != LUA_TSTRING)
        return wrong_type(r->why, "protocol", "a string", r->L, -1);
    out->p = lua_tolstring(r->L, -1, &out->n);
    if (is_offered(request, *out))
        return 0;
    snprintf(r->why, BH_WHY_MAX,
             "identity.protocol is not one of the client's req.subprotocols; a client closes the "
             "connection when it gets a protocol that it did not offer");
    return BH_ESCRIPT;
}

/* --- compression --- */

static int read_compression(struct reader *r, enum bh_compression *out) {
    int type = field(r, COMPRESSION);
    if (type == LUA_TNIL)
        return 0;
    const char *name = type == LUA_TSTRING ? lua_tostring(r->L, -1) : "";
    for (*out = BH_COMPRESSION_OFF; *out < BH_COMPRESSION_COUNT; ++*out)
        if (strcmp(name, bh_compression_names[*out]) == 0)
            return 0;
    snprintf(r->why, BH_WHY_MAX,
             "identity.compression must be \"off\", \"no_takeover\" or \"takeover\"");
    return BH_ESCRIPT;
}

/* --- format --- */

static int read_format(struct reader *r, enum bh_format *out) {
    int type = field(r, FORMAT);
    if (type == LUA_TNIL)
        return 0;
    const char *name = type == LUA_TSTRING ? lua_tostring(r->L, -1) : "";
    for (*out = BH_FORMAT_RAW; *out < BH_FORMAT_COUNT; ++*out)
        if (strcmp(name, bh_format_names[*out]) == 0)
            return 0;
    snprintf(r->why, BH_WHY_MAX, "identity.format must be \"json\" or \"raw\"");
    return BH_ESCRIPT;
}

/* --- the whole table --- */

static int check_keys(struct reader *r) {
    char hint[64];
    for (lua_pushnil(r->L); lua_next(r->L, r->index); lua_pop(r->L, 1)) {
        const char *key = lua_type(r->L, -2) == LUA_TSTRING ? lua_tostring(r->L, -2) : NULL;
        unsigned k = 0;
        while (key && bh_identity_keys[k] && strcmp(key, bh_identity_keys[k]) != 0)
            k++;
        if (key && bh_identity_keys[k]) {
            r->present |= 1u << k;
            continue;
        }
        snprintf(r->why, BH_WHY_MAX, "identity has an unknown key \"%.40s\"%s",
                 key ? key : "(not a string)",
                 bh_suggest_phrase(key ? key : "", bh_identity_keys, hint, sizeof hint));
        return BH_ESCRIPT;
    }
    return 0;
}

static int read_all(struct reader *r, const struct bh_request *request, struct bh_identity *id,
                    struct bh_admission *out) {
    int error = check_keys(r);
    if (!error)
        error = read_id(r, TENANT, &id->tenant);
    if (!error)
        error = read_id(r, USER, &id->user);
    if (!error)
        error = read_anonymous(r, id, &out->anonymous);
    if (!error)
        error = read_id(r, DEVICE, &id->device);
    if (!error)
        error = read_expires(r, &id->expires);
    if (!error)
        error = read_topics(r, id);
    if (!error)
        error = read_tags(r, id);
    if (!error)
        error = read_limits(r, &id->limits);
    if (!error)
        error = read_protocol(r, request, &out->protocol);
    if (!error)
        error = read_compression(r, &out->compression);
    if (!error)
        error = read_format(r, &out->format);
    if (!error && field(r, HEADERS) != LUA_TNIL)
        error = bh_response_headers_read(r->L, lua_gettop(r->L), &out->headers, r->why);
    return error;
}

int bh_admission_read(lua_State *L, int index, const struct bh_request *request,
                      struct bh_admission *out, char why[BH_WHY_MAX]) {
    struct reader r; /* members are set one by one: clearing the arrays would take time */
    r.L = L;
    r.index = index;
    r.present = 0;
    r.why = why;
    struct bh_identity id = {.expires = 0};
    const char *reason;
    out->protocol = bh_slice(NULL, 0);
    out->compression = BH_COMPRESSION_DEFAULT;
    out->format = BH_FORMAT_DEFAULT;
    out->headers.count = 0;
    if (!lua_checkstack(L, STACK_NEED)) {
        snprintf(why, BH_WHY_MAX, "identity: the Lua stack is full");
        return BH_ESCRIPT;
    }
    int error = read_all(&r, request, &id, out);
    if (error)
        return error;
    if (!bh_identity_new(&id, &out->identity, &reason))
        return 0;
    snprintf(why, BH_WHY_MAX, "identity: %s", reason);
    return BH_ESCRIPT;
}
