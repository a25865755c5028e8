/* commands.c - commands of scripts, pipelined with the worker's publishes.
 *
 * The link is shared, so a command that blocks it or changes its state would affect all its users;
 * such commands are refused before anything is sent, with an error reply that says why. The lists
 * have those that do this to the connection; commands that harm the server are for the ACL of Redis
 * to forbid. */
#include "link/commands.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "link/metrics.h"

#include <stdio.h>

#define WORD_MAX 24

static const struct {
    const char *why;
    const char *words; /* separated by spaces */
} refused[] = {
    {"it changes the connection, which other commands share",
     "SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUNSUBSCRIBE MONITOR SYNC PSYNC "
     "HELLO QUIT RESET"},
    {"database and login of the connection are in redis.url", "SELECT AUTH"},
    {"other commands share the connection; use bh.redis.eval for commands that belong together",
     "MULTI EXEC DISCARD WATCH UNWATCH"},
    {"it blocks the connection, which other commands share; use the command that does not wait",
     "BLPOP BRPOP BRPOPLPUSH BLMOVE BLMPOP BZPOPMIN BZPOPMAX BZMPOP WAIT WAITAOF"},
    {"it stops Redis", "SHUTDOWN"},
};
static const char changes_client[] = "it changes the connection, which other commands share";
static const char blocks[] =
    "BLOCK blocks the connection, which other commands share; read without it";

static bool is_word(struct bh_slice s, const char *word) {
    return bh_slice_caseeq(s, bh_slice_cstr(word));
}

static bool is_among(struct bh_slice name, const char *words) {
    struct bh_slice rest = bh_slice_cstr(words), word;
    while (bh_slice_split(&rest, ' ', &word))
        if (bh_slice_caseeq(name, word))
            return true;
    return false;
}

/* BLOCK is an option before STREAMS; behind it, it is the name of a stream. */
static bool has_block_option(size_t argc, const struct bh_slice *argv) {
    for (size_t i = 1; i < argc && !is_word(argv[i], "STREAMS"); i++)
        if (is_word(argv[i], "BLOCK"))
            return true;
    return false;
}

const char *bh_redis_command_refused(size_t argc, const struct bh_slice *argv) {
    if (argc == 0)
        return "a command has a name";
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (is_among(argv[0], refused[i].words))
            return refused[i].why;
    if (is_word(argv[0], "CLIENT") && argc > 1 &&
        (is_word(argv[1], "REPLY") || is_word(argv[1], "SETNAME")))
        return changes_client;
    if ((is_word(argv[0], "XREAD") || is_word(argv[0], "XREADGROUP")) &&
        has_block_option(argc, argv))
        return blocks;
    return NULL;
}

void bh_redis_command_refuse(size_t argc, const struct bh_slice *argv, const char *why,
                             bh_reply_cb done, void *ud, bh_handle handle) {
    char text[256];
    struct bh_slice name = argc ? argv[0] : BH_SLICE("");
    int n = snprintf(text, sizeof text, "%.*s was not sent: %s",
                     (int)(name.n < WORD_MAX ? name.n : WORD_MAX), name.p, why);
    struct bh_reply reply = {.type = BH_REPLY_ERROR, .str = bh_slice(text, (size_t)n)};
    bh_warn_limited("command of a script refused", bh_kv_slice("command", name),
                    bh_kv_str("why", why));
    done(ud, handle, 0, &reply);
}

static void on_reply(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    c->cb.reply(c->ud, c->handle, error, reply);
}

void bh_redis_command(struct bh_redis_link *link, size_t argc, const struct bh_slice *argv,
                      bh_reply_cb done, void *ud, bh_handle handle) {
    const char *why = bh_redis_command_refused(argc, argv);
    if (why) {
        bh_redis_command_refuse(argc, argv, why, done, ud, handle);
        return;
    }
    struct bh_redis_completion c = {.fire = on_reply, .cb.reply = done, .ud = ud, .handle = handle};
    if (bh_redis_link_send(link, argc, argv, &c))
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_COMMANDS]);
    else
        done(ud, handle, BH_EUNAVAIL, NULL);
}
