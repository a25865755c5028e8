/* commands.c - commands of scripts, pipelined with the worker's publishes.
 *
 * The link is shared, so a command that blocks it or changes its state would affect all its users;
 * such commands are refused before anything is sent. The list has those that do this to the
 * connection; commands that harm the server are for the ACL of Redis to forbid. */
#include "link/commands.h"

#include "bellhop/base/error.h"
#include "link/metrics.h"

static const char *const refused[] = {
    "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE",
    "MONITOR",   "SYNC",        "PSYNC",      "SELECT",       "AUTH",       "HELLO",
    "QUIT",      "RESET",       "MULTI",      "EXEC",         "DISCARD",    "WATCH",
    "UNWATCH",   "BLPOP",       "BRPOP",      "BRPOPLPUSH",   "BLMOVE",     "BLMPOP",
    "BZPOPMIN",  "BZPOPMAX",    "BZMPOP",     "WAIT",         "WAITAOF",    "SHUTDOWN",
};

static bool is_word(struct bh_slice s, const char *word) {
    return bh_slice_caseeq(s, bh_slice_cstr(word));
}

/* BLOCK is an option before STREAMS; behind it, it is the name of a stream. */
static bool has_block_option(size_t argc, const struct bh_slice *argv) {
    for (size_t i = 1; i < argc && !is_word(argv[i], "STREAMS"); i++)
        if (is_word(argv[i], "BLOCK"))
            return true;
    return false;
}

bool bh_redis_command_is_refused(size_t argc, const struct bh_slice *argv) {
    if (argc == 0)
        return true;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (is_word(argv[0], refused[i]))
            return true;
    if (is_word(argv[0], "CLIENT") && argc > 1)
        return is_word(argv[1], "REPLY") || is_word(argv[1], "SETNAME");
    if (is_word(argv[0], "XREAD") || is_word(argv[0], "XREADGROUP"))
        return has_block_option(argc, argv);
    return false;
}

static void on_reply(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    c->cb.reply(c->ud, c->handle, error, reply);
}

void bh_redis_command(struct bh_redis_link *link, size_t argc, const struct bh_slice *argv,
                      bh_reply_cb done, void *ud, bh_handle handle) {
    if (bh_redis_command_is_refused(argc, argv)) {
        done(ud, handle, BH_EINVAL, NULL);
        return;
    }
    struct bh_redis_completion c = {.fire = on_reply, .cb.reply = done, .ud = ud, .handle = handle};
    if (bh_redis_link_send(link, argc, argv, &c))
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_COMMANDS]);
    else
        done(ud, handle, BH_EUNAVAIL, NULL);
}
