/* errors.c - the errors of a server, and what follows from each.
 *
 * There are three kinds. With some the server is the wrong one, or not ready (a replica, loading
 * its data): the link reconnects after a pause, and locates Redis again. Others are errors of the
 * configuration (a wrong password, a missing permission), which an operator must correct; the link
 * keeps trying with its back-off, because they may also be corrected at the server. All others (out
 * of memory, wrong type, a script that failed) are the reply to one command and go to its caller.
 */
#include "link/errors.h"

#include <stddef.h>
#include <string.h>

static const struct bh_redis_error errors[] = {
    {"LOADING ", "Redis is loading its data", "wait until it has loaded", true, true},
    {"MASTERDOWN ", "this Redis is a replica without its master",
     "restart the master, or point the Redis URL at it", true, true},
    {"READONLY ", "this Redis is a replica",
     "point the Redis URL at the master, or use redis+sentinel://", true, true},
    {"BUSY ", "Redis is busy with a script", "SCRIPT KILL, or lower busy-reply-threshold", true,
     false},
    {"CLUSTERDOWN ", "the Redis Cluster is down", "see CLUSTER INFO", true, false},
    {"MOVED ", "this Redis is a node of a cluster, and not that of the key",
     "use redis+cluster:// in place of redis://", false, false},
    {"ASK ", "the key is being moved to another node of the Redis Cluster",
     "it ends with the migration of its slot; use redis+cluster:// in place of redis://", true,
     false},
    {"TRYAGAIN ", "keys are being moved to another node of the Redis Cluster",
     "it ends with the migration of their slot", true, false},
    {"CROSSSLOT ", "keys of different slots in one command of a Redis Cluster",
     "give all keys of a command the same hash tag, as in {user:42}:a and {user:42}:b", false,
     false},
    {"NOAUTH ", "Redis requires a password",
     "put user:password@ or :password@ into the Redis URL (for a Sentinel: sentinel_password=)",
     false, true},
    {"WRONGPASS ", "user or password rejected by Redis", "check user and password in the Redis URL",
     false, false},
    {"ERR invalid password", "password rejected by Redis", "check the password in the Redis URL",
     false, false},
    {"ERR AUTH <password> called without", "a password is configured, but Redis has none",
     "remove the password from the Redis URL", false, false},
    {"ERR Client sent AUTH", "a password is configured, but Redis has none",
     "remove the password from the Redis URL", false, false},
    {"ERR wrong number of arguments for 'auth'", "this Redis is too old for user names",
     "use :password@ in the Redis URL", false, false},
    {"ERR DB index", "no such database in Redis", "check the database number in the Redis URL",
     false, false},
    {"ERR invalid DB index", "no such database in Redis",
     "check the database number in the Redis URL", false, false},
    {"ERR SELECT", "no such database in Redis", "check the database number in the Redis URL", false,
     false},
    {"ERR max number of clients", "Redis has reached maxclients", "raise maxclients in Redis",
     false, false},
    {"NOPERM ", "the Redis user lacks a permission",
     "ACL SETUSER: it needs the commands, keys and channels that docs/scaling.md (for a "
     "cluster docs/cluster.md) lists under Rights",
     false, false},
    {"OOM ", "Redis is out of memory", "raise maxmemory in Redis", false, false},
    {"MISCONF ", "Redis rejects writes: it cannot save its data",
     "free disk space, or see the log of Redis", true, false},
    {"NOREPLICAS ", "Redis rejects writes: too few replicas",
     "bring the replicas back, or lower min-replicas-to-write", true, false},
    {"DENIED ", "Redis is in protected mode: local clients only",
     "set a password in Redis, or bind it to an internal network and set protected-mode no", false,
     false},
    {"", "error from Redis", "see the answer in the log", false, false},
};

struct bh_slice bh_redis_error_inside(struct bh_slice answer) {
    if (!bh_slice_starts(answer, BH_SLICE("ERR Error running script")))
        return answer;
    for (size_t i = 3; i <= answer.n; i++)
        if (memcmp(answer.p + i - 3, ": -", 3) == 0)
            return bh_slice(answer.p + i, answer.n - i);
    return answer;
}

const struct bh_redis_error *bh_redis_classify_error(struct bh_slice answer) {
    const struct bh_redis_error *v = errors;
    answer = bh_redis_error_inside(answer);
    while (!bh_slice_starts(answer, bh_slice_cstr(v->starts)))
        v++;
    return v;
}

const char *bh_redis_wrong_server(struct bh_slice answer, bool located) {
    const struct bh_redis_error *e = bh_redis_classify_error(answer);
    bool moved = located && bh_slice_starts(answer, BH_SLICE("MOVED "));
    return e->reconnect || moved ? e->why : NULL;
}
