/* keys.c - the first key of a command.
 *
 * The table has the commands whose first key is not their first argument, and those without a key.
 * Of the latter, a few may go to any server of a cluster, because each gives the same answer or
 * passes it on to all. What is left looks at one server or changes it: on a server that nobody
 * chose the answer is a part of the truth, so it is refused. */
#include "link/keys.h"

#include <stdlib.h>

#define NAME_MAX_BYTES 20

static const char no_key[] = "it has no key, so in a cluster no server to go to; run it with "
                             "redis-cli at each server that it is meant for";
static const char no_keys_of_all[] =
    "it has no key, so in a cluster no server to go to, and each server knows only its own keys; "
    "keep the names of keys in a set";
static const char undeclared[] = "it declares no key, so in a cluster it has no server to go to; "
                                 "declare the keys that it uses";
static const char incomplete[] = "its key is missing, so in a cluster it has no server to go to";

enum where {
    ANY,      /* no key; any server will do */
    NOWHERE,  /* no key; refused */
    KEYSPACE, /* no key, it is about all of a server; refused */
    AFTER,    /* argv[at] */
    COUNTED,  /* argv[at + 1], behind the number of keys */
    SCRIPT,   /* the same; refused if the number is 0 */
    STREAMS,  /* behind the word STREAMS */
    SHARDED   /* argv[at], a channel, of the one subcommand that has them; refused without */
};

static const struct command {
    const char *name;
    unsigned char where, at;
} commands[] = {
    /* sorted */
    {"ACL", NOWHERE, 0},
    {"ASKING", NOWHERE, 0},
    {"BGREWRITEAOF", NOWHERE, 0},
    {"BGSAVE", NOWHERE, 0},
    {"BITOP", AFTER, 2},
    {"CLIENT", NOWHERE, 0},
    {"CLUSTER", NOWHERE, 0},
    {"CLUSTERSCAN", KEYSPACE, 0},
    {"COMMAND", ANY, 0},
    {"COMMANDLOG", NOWHERE, 0},
    {"CONFIG", NOWHERE, 0},
    {"DBSIZE", KEYSPACE, 0},
    {"DEBUG", NOWHERE, 0},
    {"ECHO", ANY, 0},
    {"EVAL", SCRIPT, 2},
    {"EVALSHA", SCRIPT, 2},
    {"EVALSHA_RO", SCRIPT, 2},
    {"EVAL_RO", SCRIPT, 2},
    {"FAILOVER", NOWHERE, 0},
    {"FCALL", SCRIPT, 2},
    {"FCALL_RO", SCRIPT, 2},
    {"FLUSHALL", NOWHERE, 0},
    {"FLUSHDB", NOWHERE, 0},
    {"FUNCTION", NOWHERE, 0},
    {"HOTKEYS", KEYSPACE, 0},
    {"INFO", NOWHERE, 0},
    {"KEYS", KEYSPACE, 0},
    {"LASTSAVE", NOWHERE, 0},
    {"LATENCY", NOWHERE, 0},
    {"LMPOP", COUNTED, 1},
    {"LOLWUT", ANY, 0},
    {"MEMORY", AFTER, 2},
    {"MIGRATE", AFTER, 3},
    {"MODULE", NOWHERE, 0},
    {"MSETEX", COUNTED, 1},
    {"OBJECT", AFTER, 2},
    {"PFDEBUG", AFTER, 2},
    {"PFSELFTEST", NOWHERE, 0},
    {"PING", ANY, 0},
    {"PUBLISH", ANY, 0},
    {"PUBSUB", SHARDED, 2},
    {"RANDOMKEY", KEYSPACE, 0},
    {"READONLY", NOWHERE, 0},
    {"READWRITE", NOWHERE, 0},
    {"REPLCONF", NOWHERE, 0},
    {"REPLICAOF", NOWHERE, 0},
    {"ROLE", NOWHERE, 0},
    {"SAVE", NOWHERE, 0},
    {"SCAN", KEYSPACE, 0},
    {"SCRIPT", NOWHERE, 0},
    {"SINTERCARD", COUNTED, 1},
    {"SLAVEOF", NOWHERE, 0},
    {"SLOWLOG", NOWHERE, 0},
    {"SWAPDB", NOWHERE, 0},
    {"TIME", ANY, 0},
    {"XGROUP", AFTER, 2},
    {"XINFO", AFTER, 2},
    {"XREAD", STREAMS, 1},
    {"XREADGROUP", STREAMS, 1},
    {"ZDIFF", COUNTED, 1},
    {"ZINTER", COUNTED, 1},
    {"ZINTERCARD", COUNTED, 1},
    {"ZMPOP", COUNTED, 1},
    {"ZUNION", COUNTED, 1},
};

static const struct command ordinary = {"", AFTER, 1};

static int compare(const void *name, const void *command) {
    return strcmp(name, ((const struct command *)command)->name);
}

static const struct command *find(struct bh_slice name) {
    char upper[NAME_MAX_BYTES];
    if (name.n >= sizeof upper)
        return &ordinary;
    for (size_t i = 0; i < name.n; i++)
        upper[i] = (char)(name.p[i] >= 'a' && name.p[i] <= 'z' ? name.p[i] & ~0x20 : name.p[i]);
    upper[name.n] = '\0';
    const struct command *found =
        bsearch(upper, commands, sizeof commands / sizeof *commands, sizeof *commands, compare);
    return found ? found : &ordinary;
}

static bool is_word(struct bh_slice s, const char *word) {
    return bh_slice_caseeq(s, bh_slice_cstr(word));
}

/* Arguments of an option of XREAD and XREADGROUP. */
static size_t option_arguments(struct bh_slice option) {
    return is_word(option, "GROUP") ? 2 : is_word(option, "COUNT") || is_word(option, "BLOCK");
}

/* Where the first stream is; argc: nowhere. A group or a consumer may be called STREAMS. */
static size_t first_stream(size_t argc, const struct bh_slice *argv) {
    for (size_t i = 1; i < argc; i += 1 + option_arguments(argv[i]))
        if (is_word(argv[i], "STREAMS"))
            return i + 1;
    return argc;
}

static const char *take(size_t argc, const struct bh_slice *argv, size_t at, struct bh_slice *key) {
    if (at >= argc)
        return incomplete;
    *key = bh_slice(argv[at].n ? argv[at].p : "", argv[at].n);
    return NULL;
}

static bool is_zero(size_t argc, const struct bh_slice *argv, size_t at) {
    uint64_t keys;
    return at < argc && bh_slice_u64(argv[at], UINT32_MAX, &keys) == 0 && keys == 0;
}

const char *bh_redis_command_key(size_t argc, const struct bh_slice *argv, struct bh_slice *key) {
    *key = (struct bh_slice){0};
    if (argc == 0)
        return "a command has a name";
    const struct command *c = find(argv[0]);
    switch ((enum where)c->where) {
    case ANY:
        return NULL;
    case NOWHERE:
        return no_key;
    case KEYSPACE:
        return no_keys_of_all;
    case AFTER:
        return argc == 1 && c == &ordinary ? no_key : take(argc, argv, c->at, key);
    case SCRIPT:
        if (is_zero(argc, argv, c->at))
            return undeclared;
        return take(argc, argv, c->at + 1u, key);
    case COUNTED:
        return take(argc, argv, c->at + 1u, key);
    case STREAMS:
        return take(argc, argv, first_stream(argc, argv), key);
    case SHARDED:
        return argc > 1 && is_word(argv[1], "SHARDNUMSUB") ? take(argc, argv, c->at, key) : no_key;
    }
    return no_key;
}
