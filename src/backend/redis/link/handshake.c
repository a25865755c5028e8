/* handshake.c - AUTH, SELECT, CLIENT SETNAME, ROLE, PING, sent in one write.
 *
 * AUTH and SELECT must succeed; the name is a courtesy to whoever reads CLIENT LIST. ROLE is asked
 * when a Sentinel has sent us: PUBLISH on a replica succeeds and reaches nobody else, so only the
 * server itself can tell that we have come to the right one. The PING tells
 * a server that serves from one that still loads its data or has lost its master, and one that
 * wants a password from one that does not. A server that is full says so unasked and hangs up; that
 * is then the answer to whatever command is the first. A refusal is an error in the log that says
 * which setting to look at; the link goes on trying at the pace of its back-off, because passwords
 * are also corrected on the other side. The password itself is never logged, not even when the
 * server repeats it. */
#include "link/handshake.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "link/errors.h"
#include "link/resp.h"

#include <stdio.h>

/* Some servers repeat the arguments of a command that they do not know. */
static bool repeats_password(const struct bh_redis_link *link, struct bh_slice answer) {
    const char *password = link->config->password;
    return password && *password && memmem(answer.p, answer.n, password, strlen(password));
}

static void refused(struct bh_redis_link *link, const char *command, struct bh_slice answer) {
    const struct bh_redis_verdict *verdict = bh_redis_judge(answer);
    if (verdict->not_yet) {
        bh_redis_link_drop(link, BH_EUNAVAIL, verdict->why);
        return;
    }
    if (repeats_password(link, answer))
        answer = BH_SLICE("(not shown: it repeats the password)");
    BH_LOG_LIMITED(BH_LOG_ERROR, "Redis refuses us", bh_kv_str("link", link->role),
                   bh_kv_str("command", command), bh_kv_slice("answer", answer),
                   bh_kv_str("hint", verdict->hint));
    bh_redis_link_drop(link, BH_EDENIED, verdict->why);
}

static bool is_error(int error, const struct bh_reply *reply) {
    return !error && reply->type == BH_REPLY_ERROR;
}

static void on_auth(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    if (is_error(error, reply))
        refused(c->ud, "AUTH", reply->str);
}

static void on_select(const struct bh_redis_completion *c, int error,
                      const struct bh_reply *reply) {
    if (is_error(error, reply))
        refused(c->ud, "SELECT", reply->str);
}

/* Any other error says only that we stay without a name. */
static void on_named(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    if (is_error(error, reply) && (bh_slice_starts(reply->str, BH_SLICE("ERR max number of")) ||
                                   bh_slice_starts(reply->str, BH_SLICE("DENIED "))))
        refused(c->ud, "CLIENT SETNAME", reply->str);
}

static void on_role(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    if (is_error(error, reply))
        refused(c->ud, "ROLE", reply->str);
    else if (!error && (reply->type != BH_REPLY_ARRAY || reply->count == 0 ||
                        !bh_slice_eq(reply->elements[0].str, BH_SLICE("master"))))
        bh_redis_link_drop(c->ud, BH_EUNAVAIL,
                           "what Sentinel names is no master (a failover may be under way)");
}

static void on_ping(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    if (is_error(error, reply) && !bh_slice_starts(reply->str, BH_SLICE("NOPERM ")))
        refused(c->ud, "PING", reply->str);
    else if (!error)
        bh_redis_link_ready(c->ud); /* who may not PING has been let in nonetheless */
}

static void queue(struct bh_redis_link *link, size_t argc, const struct bh_slice *argv,
                  void (*fire)(const struct bh_redis_completion *, int, const struct bh_reply *)) {
    const char *why;
    size_t bound = BH_RESP_HEAD_MAX;
    for (size_t i = 0; i < argc; i++)
        bound += BH_RESP_BULK_MAX(argv[i].n);
    char *p = bh_redis_link_begin(link, bound, &why);
    p = bh_resp_head(p, '*', argc);
    for (size_t i = 0; i < argc; i++)
        p = bh_resp_bulk(p, argv[i]);
    bh_redis_link_commit(link, p, &(struct bh_redis_completion){.fire = fire, .ud = link});
}

void bh_redis_handshake(struct bh_redis_link *link) {
    const struct bh_redis_config *c = link->config;
    struct bh_slice password = bh_slice_cstr(c->password);
    if (c->user)
        queue(link, 3, (struct bh_slice[]){BH_SLICE("AUTH"), bh_slice_cstr(c->user), password},
              on_auth);
    else if (c->password)
        queue(link, 2, (struct bh_slice[]){BH_SLICE("AUTH"), password}, on_auth);
    char text[192];
    if (c->database) {
        snprintf(text, sizeof text, "%u", c->database);
        queue(link, 2, (struct bh_slice[]){BH_SLICE("SELECT"), bh_slice_cstr(text)}, on_select);
    }
    snprintf(text, sizeof text, "bellhop:%s:%s", c->instance, link->role);
    queue(link, 3,
          (struct bh_slice[]){BH_SLICE("CLIENT"), BH_SLICE("SETNAME"), bh_slice_cstr(text)},
          on_named);
    if (link->sentinel)
        queue(link, 1, (struct bh_slice[]){BH_SLICE("ROLE")}, on_role);
    queue(link, 1, (struct bh_slice[]){BH_SLICE("PING")}, on_ping);
}
