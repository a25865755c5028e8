/* test_keys.c - the first key of a command: by hand, and for all commands of a real server, as
 * COMMAND GETKEYS says. */
#include "redis_server.h"
#include "unit_test.h"

#include "link/commands.h"
#include "link/keys.h"

#include <strings.h>

#define ARGS_MAX 16

struct command {
    size_t argc;
    struct bh_slice argv[ARGS_MAX];
};

static struct command split(const char *words) {
    struct command c = {0};
    struct bh_slice rest = bh_slice_cstr(words);
    while (c.argc < ARGS_MAX && bh_slice_split(&rest, ' ', &c.argv[c.argc]))
        c.argc++;
    return c;
}

static const struct {
    const char *words, *key;
} with_key[] = {
    {"GET k", "k"},
    {"gEt k", "k"},
    {"MSET k v k2 v", "k"},
    {"SET k STREAMS", "k"},
    {"DEL k k2", "k"},
    {"SORT k BY w_* STORE d", "k"},
    {"GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m", "d"},
    {"GEORADIUS k 1 2 3 m STORE d", "k"},
    {"ZUNIONSTORE d 2 a b", "d"},
    {"ZUNION 2 a b", "a"},
    {"ZINTER 2 a b", "a"},
    {"ZDIFF 2 a b", "a"},
    {"ZINTERCARD 2 a b", "a"},
    {"SINTERCARD 2 a b LIMIT 1", "a"},
    {"LMPOP 2 a b LEFT", "a"},
    {"ZMPOP 2 a b MIN", "a"},
    {"BITOP AND d a b", "d"},
    {"BITFIELD_RO k GET u8 0", "k"},
    {"OBJECT ENCODING k", "k"},
    {"MEMORY USAGE k SAMPLES 5", "k"},
    {"XINFO STREAM k FULL", "k"},
    {"XINFO GROUPS k", "k"},
    {"XGROUP CREATE k g $ MKSTREAM", "k"},
    {"XADD k * f v", "k"},
    {"XREAD STREAMS k k2 0 0", "k"},
    {"XREAD COUNT 5 STREAMS k 0", "k"},
    {"XREADGROUP GROUP STREAMS STREAMS NOACK streams k >", "k"},
    {"XREADGROUP GROUP g c COUNT 1 STREAMS STREAMS >", "STREAMS"},
    {"EVAL script 1 k arg", "k"},
    {"EVALSHA hash 2 k k2", "k"},
    {"EVAL_RO script 1 k", "k"},
    {"EVALSHA_RO hash 1 k", "k"},
    {"FCALL f 2 k k2 arg", "k"},
    {"fcall_ro f 1 k", "k"},
    {"MIGRATE h 6379 k 0 1000", "k"},
    {"RESTORE k 0 x", "k"},
    {"EXPIRETIME k", "k"},
};

/* Those that COMMAND GETKEYS of Redis 7 does not know, or does not count as keys. */
static const struct {
    const char *words, *key;
} more_with_key[] = {
    {"SPUBLISH ch payload", "ch"},
    {"PUBSUB SHARDNUMSUB ch ch2", "ch"},
    {"pubsub shardnumsub ch", "ch"},
    {"MSETEX 2 k v k2 v", "k"},
    {"JSON.GET k $", "k"},
    {"BF.ADD k item", "k"},
    {"VADD k VALUES 1 1 e", "k"},
    {"A.COMMAND.WITH.A.LONG.NAME k", "k"},
    {"EVAL script x k", "k"}, /* Redis says what is wrong with the number */
    {"GET ", ""},
};

static const char *const without_key[] = {
    "PING", "ping x", "ECHO x", "TIME", "COMMAND", "COMMAND DOCS", "LOLWUT", "PUBLISH ch payload"};

static const struct {
    const char *words, *why;
} refused[] = {
    {"KEYS *", "keep the names of keys in a set"},
    {"scan 0", "keep the names of keys in a set"},
    {"DBSIZE", "keep the names of keys in a set"},
    {"RANDOMKEY", "keep the names of keys in a set"},
    {"FLUSHALL", "redis-cli at each server"},
    {"CONFIG GET maxmemory", "redis-cli at each server"},
    {"SCRIPT LOAD x", "redis-cli at each server"},
    {"FUNCTION LIST", "redis-cli at each server"},
    {"CLUSTER NODES", "redis-cli at each server"},
    {"READONLY", "redis-cli at each server"},
    {"PUBSUB CHANNELS", "redis-cli at each server"},
    {"PUBSUB NUMSUB ch", "redis-cli at each server"},
    {"PUBSUB", "redis-cli at each server"},
    {"FT._LIST", "redis-cli at each server"},
    {"GET", "redis-cli at each server"},
    {"EVAL script 0", "declare the keys"},
    {"EVAL script 0 arg", "declare the keys"},
    {"FCALL f 0", "declare the keys"},
    {"EVAL", "its key is missing"},
    {"EVAL script 1", "its key is missing"},
    {"EVAL script", "its key is missing"},
    {"OBJECT HELP", "its key is missing"},
    {"MEMORY STATS", "its key is missing"},
    {"ZUNION 2", "its key is missing"},
    {"XREAD COUNT 5", "its key is missing"},
    {"XREAD COUNT", "its key is missing"},
    {"XREADGROUP GROUP STREAMS", "its key is missing"},
    {"XREAD STREAMS", "its key is missing"},
    {"BITOP AND", "its key is missing"},
    {"PUBSUB SHARDNUMSUB", "its key is missing"},
};

static const char *key_of(const struct command *c, struct bh_slice *key) {
    struct command exact = {.argc = c->argc};
    for (size_t i = 0; i < c->argc; i++)
        exact.argv[i] = test_exact(c->argv[i]);
    const char *why = bh_redis_command_key(c->argc, exact.argv, key);
    for (size_t i = 0; i < c->argc; i++) {
        if (key->p && key->p == exact.argv[i].p)
            key->p = c->argv[i].p;
        test_exact_free(exact.argv[i]);
    }
    return why;
}

static void assert_key(const char *words, const char *expected) {
    struct command c = split(words);
    struct bh_slice key;
    assert_null(key_of(&c, &key));
    assert_non_null(key.p);
    assert_slice(key, expected);
}

static void test_keys(void **state) {
    for (size_t i = 0; i < COUNT(with_key); i++)
        assert_key(with_key[i].words, with_key[i].key);
    for (size_t i = 0; i < COUNT(more_with_key); i++)
        assert_key(more_with_key[i].words, more_with_key[i].key);
    struct bh_slice key, empty[] = {BH_SLICE("GET"), {0}};
    assert_null(bh_redis_command_key(2, empty, &key));
    assert_non_null(key.p); /* an empty key is one */
}

static void test_any_server(void **state) {
    for (size_t i = 0; i < COUNT(without_key); i++) {
        struct command c = split(without_key[i]);
        struct bh_slice key;
        assert_null(key_of(&c, &key));
        assert_null(key.p);
    }
}

static void test_refused(void **state) {
    for (size_t i = 0; i < COUNT(refused); i++) {
        struct command c = split(refused[i].words);
        struct bh_slice key;
        const char *why = key_of(&c, &key);
        if (!why || !strstr(why, refused[i].why))
            fail_msg("%s: %s", refused[i].words, why ? why : "not refused");
        assert_null(key.p);
    }
    struct bh_slice key;
    assert_non_null(bh_redis_command_key(0, NULL, &key));
}

/* --- as a real server has it --- */

static struct test_redis server;
static redisContext *client;

static int start(void **state) {
    test_redis_start(&server);
    client = test_redis_client(&server);
    return 0;
}

static int stop(void **state) {
    redisFree(client);
    test_redis_stop(&server);
    return 0;
}

static redisReply *getkeys(const struct command *c) {
    const char *argv[ARGS_MAX + 2] = {"COMMAND", "GETKEYS"};
    size_t lengths[ARGS_MAX + 2] = {7, 7};
    for (size_t i = 0; i < c->argc; i++) {
        argv[i + 2] = c->argv[i].p;
        lengths[i + 2] = c->argv[i].n;
    }
    redisReply *r = redisCommandArgv(client, (int)c->argc + 2, argv, lengths);
    assert_non_null(r);
    return r;
}

/* All keys of a command are in one slot, and older servers list them in other orders. */
static bool is_among(const redisReply *keys, struct bh_slice key) {
    for (size_t i = 0; i < keys->elements; i++)
        if (bh_slice_eq(key, bh_slice(keys->element[i]->str, keys->element[i]->len)))
            return true;
    return false;
}

static void test_getkeys(void **state) {
    for (size_t i = 0; i < COUNT(with_key); i++) {
        struct command c = split(with_key[i].words);
        redisReply *r = getkeys(&c);
        if (r->type == REDIS_REPLY_ERROR && strstr(r->str, "Invalid command"))
            print_message("this server has no %s\n", with_key[i].words);
        else if (r->type != REDIS_REPLY_ARRAY)
            fail_msg("%s: %s", with_key[i].words, r->str);
        else if (!is_among(r, bh_slice_cstr(with_key[i].key)))
            fail_msg("%s: the key is %s", with_key[i].words, r->element[0]->str);
        freeReplyObject(r);
    }
}

static bool is_refused(const struct command *c) {
    struct bh_slice key;
    return bh_redis_command_refused(c->argc, c->argv) ||
           bh_redis_command_key(c->argc, c->argv, &key);
}

static void show_difference(const struct command *c, const char *theirs) {
    struct bh_slice key;
    const char *why = bh_redis_command_key(c->argc, c->argv, &key);
    fail_msg("%.*s %.*s: the key is %s, not %.*s", BH_SLICE_ARG(c->argv[0]),
             BH_SLICE_ARG(c->argv[1]), theirs, BH_SLICE_ARG(why ? bh_slice_cstr(why) : key));
}

/* Its arguments are 1, 2, 3, ...: also a number of keys that is in range. */
static void compare_keys(const struct command *c) {
    redisReply *r = getkeys(c);
    struct bh_slice key;
    const char *why = bh_redis_command_key(c->argc, c->argv, &key);
    if (r->type == REDIS_REPLY_ARRAY && !bh_redis_command_refused(c->argc, c->argv) &&
        (why || !is_among(r, key)))
        show_difference(c, r->element[0]->str);
    if (r->type == REDIS_REPLY_ERROR && strstr(r->str, "no key") && !is_refused(c) && key.p)
        show_difference(c, "nothing");
    freeReplyObject(r);
}

static const char *const numbers[] = {"1", "2", "3", "4", "5", "6", "7", "8"};

/* Channels are no keys there, and Redis 6 has names of HTTP among its commands. */
static bool has_no_key_there(const struct command *c) {
    return bh_slice_caseeq(c->argv[0], BH_SLICE("SPUBLISH")) ||
           bh_slice_caseeq(c->argv[1], BH_SLICE("SHARDNUMSUB")) ||
           bh_slice_caseeq(c->argv[0], BH_SLICE("POST")) ||
           bh_slice_caseeq(c->argv[0], BH_SLICE("HOST:"));
}

/* An entry of COMMAND: name (with its container), arity, ..., subcommands. */
static void compare_entry(const redisReply *entry) {
    const redisReply *subcommands = entry->elements > 9 ? entry->element[9] : NULL;
    for (size_t i = 0; subcommands && i < subcommands->elements; i++)
        compare_entry(subcommands->element[i]);
    struct command c = {0};
    struct bh_slice rest = bh_slice_cstr(entry->element[0]->str);
    while (bh_slice_split(&rest, '|', &c.argv[c.argc]))
        c.argc++;
    long long arity = entry->element[1]->integer;
    size_t argc = arity > 0 ? (size_t)arity : c.argc + COUNT(numbers);
    for (size_t i = 0; c.argc < argc; i++)
        c.argv[c.argc++] = bh_slice_cstr(numbers[i]);
    if (!has_no_key_there(&c) && !(subcommands && subcommands->elements))
        compare_keys(&c);
}

static void test_all_commands(void **state) {
    redisReply *all = redisCommand(client, "COMMAND");
    assert_non_null(all);
    assert_true(all->elements > 200);
    for (size_t i = 0; i < all->elements; i++)
        compare_entry(all->element[i]);
    freeReplyObject(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_any_server),
        cmocka_unit_test(test_refused),
    };
    const struct CMUnitTest real[] = {
        cmocka_unit_test(test_getkeys),
        cmocka_unit_test(test_all_commands),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + cmocka_run_group_tests(real, start, stop);
}
