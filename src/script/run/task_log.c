/* task_log.c - lines about tasks. */
#include "run/task_log.h"

#include "run/shared.h"

#include "bellhop/base/log.h"

#include <stdio.h>

#define PLACE_MAX   (LUA_IDSIZE + 16)
#define FIELDS_MAX  10
#define STACK_SPARE 4

/* --- which function --- */

static int ref_of(const struct bh_task *t) {
    if (bh_task_has_chain(t))
        return t->script->chains[t->hook].refs[t->chain_index];
    return t->hook == HOOK_HTTP ? t->u.http.route->ref : t->u.timer->ref;
}

/* No reference to the function of bh.spawn and bh.after is kept: its outermost frame tells. */
static bool find_function(const struct bh_task *t, lua_Debug *ar) {
    lua_State *L = t->script->L;
    int level = 0;
    if (t->hook != HOOK_NONE) {
        lua_checkstack(L, STACK_SPARE);
        lua_rawgeti(L, LUA_REGISTRYINDEX, ref_of(t));
        return lua_getinfo(L, ">S", ar) != 0;
    }
    while (lua_getstack(t->co, level, ar))
        level++;
    return level > 0 && lua_getinfo(t->co, "S", ar) != 0;
}

static const char *file_of(const struct bh_task *t, const lua_Debug *ar) {
    if (bh_task_has_chain(t))
        return t->script->chains[t->hook].files[t->chain_index];
    if (t->hook == HOOK_HTTP)
        return t->u.http.route->file;
    if (t->hook == HOOK_TIMER)
        return t->u.timer->file;
    return ar && ar->source[0] == '@' ? ar->source + 1 : "";
}

/* --- fields --- */

struct fields {
    size_t n;
    struct bh_kv list[FIELDS_MAX + 1];
    lua_Debug ar;
    char place[PLACE_MAX];
};

static void add(struct fields *f, struct bh_kv kv) {
    f->list[f->n++] = kv;
    f->list[f->n] = (struct bh_kv){0};
}

/* The hook, and which of its kind. */
static void add_name(struct fields *f, const struct bh_task *t) {
    add(f, bh_kv_str("hook", bh_script_hook_name(t->hook)));
    if (t->hook == HOOK_TIMER)
        add(f, bh_kv_str("timer", t->u.timer->name));
    if (t->hook == HOOK_HTTP)
        add(f, bh_kv_str("endpoint", t->u.http.route->name));
    if (t->hook != HOOK_NONE)
        return;
    add(f, bh_kv_str("task", t->u.background.function));
    add(f, bh_kv_str("started_by", bh_script_hook_name(t->u.background.started_by)));
}

/* A wrong result has no line of its own, so the place is where the function begins. */
static void describe(struct fields *f, const struct bh_task *t) {
    bool found = find_function(t, &f->ar);
    f->n = 0;
    f->place[0] = '\0';
    if (found)
        snprintf(f->place, PLACE_MAX, "%s:%d", f->ar.short_src, f->ar.linedefined);
    add_name(f, t);
    add(f, bh_kv_str("script", file_of(t, found ? &f->ar : NULL)));
    add(f, bh_kv_str("function", f->place));
    add(f, bh_kv_int("generation", t->script->generation));
}

/* --- lines --- */

static void write_line(enum bh_log_level level, struct bh_log_limit *limit, const char *message,
                       const struct fields *f) {
    if ((int)level >= bh_log_threshold)
        bh_log_write(level, limit, message, f->list);
}

void bh_task_log_error(struct bh_task *t, const char *error) {
    /* Hooks that run for each receiver must not suppress the lines of other hooks. */
    static struct bh_log_limit limits[2];
    struct fields f;
    bh_script_count_error(t->hook);
    describe(&f, t);
    add(&f, bh_kv_str("error", error));
    write_line(BH_LOG_ERROR, &limits[t->brief], "script failed", &f);
}

void bh_task_log_slip(const struct bh_task *t, enum bh_slip slip) {
    static const char *const texts[BH_SLIP_COUNT] = {
        [BH_SLIP_NO_USER] =
            "on_handshake returned no user; write anonymous = true if that is meant",
        [BH_SLIP_USER_REFUSED] =
            "on_handshake returned no user: refused with 403 (script.require_user); write "
            "anonymous = true if that is meant",
        [BH_SLIP_NO_IDENTITY] = "on_handshake returned nil (a missing return?): refused with 401; "
                                "return an identity, or "
                                "false to refuse",
        [BH_SLIP_NO_ANSWER] =
            "on_message returned nil: closed with 1008 (websocket.client_messages); end it with "
            "return true when there is no reply",
        [BH_SLIP_NO_RESPONSE] = "an endpoint returned nothing (a missing return?): answered with "
                                "404; return a status, or "
                                "nil for 404",
    };
    struct fields f;
    if (!bh_shared_once(t->script->config->shared, slip, t->script->generation))
        return;
    describe(&f, t);
    write_line(BH_LOG_WARN, NULL, texts[slip], &f);
}
