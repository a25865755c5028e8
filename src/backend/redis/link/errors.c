/* errors.c - the errors that a server sends, and what follows from each.
 *
 * Three kinds. Some say that this is not the server to talk to, or not now (a replica, one that
 * loads its data): the link leaves it, waits, and looks again where Redis is. Some say that we may
 * not, or are not who we claim to be: configuration, which only people put right; the link goes on
 * trying at the pace of its back-off, because it is also put right on the other side. All others
 * (out of memory, a wrong type, a script that failed) are the answer to one command, and whoever
 * sent it gets them. */
#include "link/errors.h"

#include <stddef.h>

static const struct bh_redis_error errors[] = {
    {"LOADING ", "Redis is loading its data", "it serves when it has loaded", true, true},
    {"MASTERDOWN ", "this Redis is a replica that has lost its master",
     "bring the master back, or point the Redis URL at it", true, true},
    {"READONLY ", "this Redis is a replica, or was made one",
     "point the Redis URL at the master, or use redis+sentinel://", true, true},
    {"BUSY ", "Redis is busy with a script", "SCRIPT KILL, or lower busy-reply-threshold", true,
     false},
    {"CLUSTERDOWN ", "the Redis cluster is down", "see CLUSTER INFO", true, false},
    {"NOAUTH ", "Redis wants a password",
     "put user:password@ or :password@ into the Redis URL (for a Sentinel: sentinel_password=)",
     false, true},
    {"WRONGPASS ", "Redis does not accept our user and password",
     "check user and password in the Redis URL", false, false},
    {"ERR invalid password", "Redis does not accept our password",
     "check the password in the Redis URL", false, false},
    {"ERR AUTH <password> called without", "this Redis has no password, but we have one for it",
     "take the password out of the Redis URL", false, false},
    {"ERR Client sent AUTH", "this Redis has no password, but we have one for it",
     "take the password out of the Redis URL", false, false},
    {"ERR wrong number of arguments for 'auth'", "this Redis is too old for users",
     "give a password alone in the Redis URL", false, false},
    {"ERR DB index", "Redis has no such database", "check the database number in the Redis URL",
     false, false},
    {"ERR invalid DB index", "Redis has no such database",
     "check the database number in the Redis URL", false, false},
    {"ERR SELECT", "Redis has no such database", "check the database number in the Redis URL",
     false, false},
    {"ERR max number of clients", "Redis has no room for another client",
     "raise maxclients of Redis", false, false},
    {"NOPERM ", "the Redis user lacks a permission",
     "ACL SETUSER: it needs +publish +subscribe +unsubscribe +role, and the channels of the prefix "
     "and bellhop:probe:* (&pattern)",
     false, false},
    {"OOM ", "Redis is out of memory", "raise maxmemory of Redis", false, false},
    {"DENIED ", "Redis is in protected mode and lets in local clients only",
     "give Redis a password, or bind it to an inner network and switch protected-mode off", false,
     false},
    {"", "Redis answers with an error", "see its answer in the log", false, false},
};

const struct bh_redis_error *bh_redis_classify_error(struct bh_slice answer) {
    const struct bh_redis_error *v = errors;
    while (!bh_slice_starts(answer, bh_slice_cstr(v->starts)))
        v++;
    return v;
}
