/* handshake.c - AUTH, SELECT, CLIENT SETNAME, ROLE, PING, sent in one write.
 *
 * AUTH and SELECT must succeed; the name only helps to read CLIENT LIST. ROLE is for a server that
 * a locator named: PUBLISH on a replica succeeds and reaches no subscriber of the master, so the
 * server itself must confirm that it is the master; in a cluster a replica answers MOVED. PING
 * tells a server that serves from one that is loading or has lost its master, and shows whether a
 * password is missing. A full server sends its error unasked and closes; the link then reads it as
 * the answer to the first command.
 *
 * A rejection is an error in the log that names the setting to check. The link keeps trying,
 * because the password may also be corrected at the server. The password is never logged, not even
 * when the server repeats it. */
#include "link/handshake.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "link/errors.h"

#include <stdio.h>

static const struct {
    const char *command, *rejected;
} steps[] = {[BH_REDIS_STEP_AUTH] = {"AUTH", "AUTH rejected by Redis"},
             [BH_REDIS_STEP_SELECT] = {"SELECT", "SELECT rejected by Redis"},
             [BH_REDIS_STEP_NAME] = {"CLIENT SETNAME", "CLIENT SETNAME rejected by Redis"},
             [BH_REDIS_STEP_ROLE] = {"ROLE", "ROLE rejected by Redis"},
             [BH_REDIS_STEP_PING] = {"PING", "PING rejected by Redis"}};

static size_t auth(const struct bh_redis_config *c, struct bh_slice *argv) {
    size_t argc = 0;
    if (!c->user && !c->password)
        return 0;
    argv[argc++] = BH_SLICE("AUTH");
    if (c->user)
        argv[argc++] = bh_slice_cstr(c->user);
    argv[argc++] = bh_slice_cstr(c->password);
    return argc;
}

size_t bh_redis_handshake_command(enum bh_redis_step step, const struct bh_redis_config *config,
                                  const char *link_name, bool located,
                                  struct bh_slice argv[BH_REDIS_STEP_ARGS],
                                  char text[BH_REDIS_STEP_TEXT]) {
    switch (step) {
    case BH_REDIS_STEP_AUTH:
        return auth(config, argv);
    case BH_REDIS_STEP_SELECT:
        snprintf(text, BH_REDIS_STEP_TEXT, "%u", config->database);
        argv[0] = BH_SLICE("SELECT");
        argv[1] = bh_slice_cstr(text);
        return config->database ? 2 : 0;
    case BH_REDIS_STEP_NAME:
        snprintf(text, BH_REDIS_STEP_TEXT, "bellhop:%s:%s", config->instance, link_name);
        argv[0] = BH_SLICE("CLIENT");
        argv[1] = BH_SLICE("SETNAME");
        argv[2] = bh_slice_cstr(text);
        return 3;
    case BH_REDIS_STEP_ROLE:
        argv[0] = BH_SLICE("ROLE");
        return located && !config->cluster ? 1 : 0;
    case BH_REDIS_STEP_PING:
        argv[0] = BH_SLICE("PING");
        return 1;
    case BH_REDIS_STEPS:
        break;
    }
    return 0;
}

/* An error that does not keep the link from being used: it stays without a name, or may not PING.
 */
static bool is_harmless(enum bh_redis_step step, struct bh_slice answer) {
    if (step == BH_REDIS_STEP_NAME)
        return !bh_slice_starts(answer, BH_SLICE("ERR max number of")) &&
               !bh_slice_starts(answer, BH_SLICE("DENIED "));
    return step == BH_REDIS_STEP_PING && bh_slice_starts(answer, BH_SLICE("NOPERM "));
}

/* Some servers repeat the arguments of a command that they do not know. */
static bool repeats_password(const struct bh_redis_config *config, struct bh_slice answer) {
    const char *password = config->password;
    return password && *password && memmem(answer.p, answer.n, password, strlen(password));
}

static int rejected(enum bh_redis_step step, const struct bh_redis_config *config,
                    const char *link_name, struct bh_slice answer, const char **why) {
    const struct bh_redis_error *e = bh_redis_classify_error(answer);
    *why = e->why;
    if (e->transient)
        return BH_EUNAVAIL;
    if (repeats_password(config, answer))
        answer = BH_SLICE("(not shown: it contains the password)");
    BH_LOG_LIMITED(BH_LOG_ERROR, steps[step].rejected, bh_kv_str("link", link_name),
                   bh_kv_str("command", steps[step].command), bh_kv_slice("answer", answer),
                   bh_kv_str("hint", e->hint));
    return BH_EDENIED;
}

int bh_redis_handshake_check(enum bh_redis_step step, const struct bh_redis_config *config,
                             const char *link_name, const struct bh_reply *reply,
                             const char **why) {
    if (reply->type == BH_REPLY_ERROR)
        return is_harmless(step, reply->str) ? 0
                                             : rejected(step, config, link_name, reply->str, why);
    if (step != BH_REDIS_STEP_ROLE)
        return 0;
    if (reply->type == BH_REPLY_ARRAY && reply->count > 0 &&
        bh_slice_eq(reply->elements[0].str, BH_SLICE("master")))
        return 0;
    *why = "not a master (a failover may be in progress)";
    return BH_EUNAVAIL;
}
