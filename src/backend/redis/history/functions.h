/* functions.h - calls of the functions that keep the history inside Redis (scripts.h).
 *
 * Redis 7 and later have them as a library, which instances load; older ones get each as a script.
 * Which of both is tried first, and repaired once for each call: a library or script that Redis
 * does not have is loaded, and what is unknown to an older Redis is sent as a script. Calls that
 * were sent after one that is repeated may overtake it.
 *
 * A call is embedded in what makes it, writes its arguments straight into the link, and must be
 * able to write them again. Private to the history. Thread: the link's, except as noted. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_FUNCTIONS_H
#define BELLHOP_BACKEND_REDIS_HISTORY_FUNCTIONS_H

#include "bellhop/base/list.h"
#include "bellhop/core/history.h"
#include "broker/route.h"
#include "link/link.h"
#include "link/resp.h"

enum bh_redis_function {
    BH_REDIS_FUNCTION_APPEND,
    BH_REDIS_FUNCTION_READ,
    BH_REDIS_FUNCTION_BEGIN,
    BH_REDIS_FUNCTION_PAGE,
    BH_REDIS_FUNCTION_REMOVE,
    BH_REDIS_FUNCTION_CHECK,
    BH_REDIS_FUNCTION_VERSION, /* of the library only */
};

/* What is known of one server, or of a cluster. Any thread, but for init and deinit. */
struct bh_redis_functions {
    uint64_t ids_ms;               /* how long ids are remembered */
    struct bh_slice prefix;        /* of the channels; borrowed */
    bool cluster;                  /* calls are routed, and publish by SPUBLISH */
    char *rights, *old_rights;     /* sentences: those that a user of Redis needs */
    atomic_bool old;               /* Redis before 7 */
    _Atomic(const char *) refused; /* one of them, or NULL */
    atomic_int_fast64_t clock_ms;  /* from bh_clock_ms to Redis' clock */
};

/* config is borrowed; what is needed of history is copied. */
void bh_redis_functions_init(struct bh_redis_functions *f, const struct bh_redis_config *config,
                             const struct bh_history_config *history, bool cluster);
void bh_redis_functions_deinit(struct bh_redis_functions *f);
/* A user of Redis lacks a right. Returns the sentence. */
const char *bh_redis_functions_refuse(struct bh_redis_functions *f, struct bh_slice answer);
/* Redis' time in a reply, and what it is now. */
void bh_redis_functions_note_time(struct bh_redis_functions *f, int64_t redis_ms);
int64_t bh_redis_functions_time(const struct bh_redis_functions *f);
/* What an error reply means, as the callbacks of core/history.h have it; *why is valid as long as
 * the reply. Refuses the server where a right is missing. */
int bh_redis_functions_error(struct bh_redis_functions *f, struct bh_slice answer,
                             const char **why);

/* The calls of one thread. */
struct bh_redis_calls {
    struct bh_redis_functions *functions;
    struct bh_broker *broker; /* a cluster, and as which worker; NULL: none of them is routed */
    unsigned worker;
    struct bh_list open;
    struct bh_list loads; /* of the library, on their way to Redis */
    bool stopped;
};

struct bh_redis_function_call;

struct bh_redis_function_vt {
    enum bh_redis_function function;
    unsigned args; /* behind the two keys */
    /* An upper bound of their bytes, and the bytes. */
    size_t (*bound)(const struct bh_redis_function_call *call);
    char *(*write)(const struct bh_redis_function_call *call, char *p);
    /* Once, unless it could not be sent. error: as in a completion of the link. Frees the call. Of
     * a call that was routed and not sent: BH_EUNAVAIL, and call->why. */
    void (*done)(struct bh_redis_function_call *call, int error, const struct bh_reply *reply);
    /* The caller is to be told BH_EIO, and nothing when the call is done; NULL: it need not. */
    void (*abort)(struct bh_redis_function_call *call);
};

struct bh_redis_function_call {
    const struct bh_redis_function_vt *vt;
    struct bh_redis_calls *calls;
    const struct bh_topic *topic; /* borrowed as long as the call */
    struct bh_redis_link *link; /* that it was last sent on; in a cluster for BH_REDIS_LINK_KEPT_MS
                                   after the reply, and maybe lost or closed by then */
    const char *why;            /* it was not sent; NULL: it was */
    struct bh_redis_routed routed;
    struct bh_list node;
    bool loaded, converted; /* what it has been repeated for */
};

void bh_redis_calls_init(struct bh_redis_calls *calls, struct bh_redis_functions *functions);
/* They may be routed: to the server of their topic in that cluster. */
void bh_redis_calls_set_cluster(struct bh_redis_calls *calls, struct bh_broker *cluster,
                                unsigned worker);
/* Aborts what is open. No call is repeated any more. */
void bh_redis_calls_stop(struct bh_redis_calls *calls);

/* From here on it is open, until _close. */
void bh_redis_function_open(struct bh_redis_function_call *call, struct bh_redis_calls *calls,
                            const struct bh_redis_function_vt *vt, const struct bh_topic *topic);
void bh_redis_function_close(struct bh_redis_function_call *call);
/* NULL; or why it cannot be sent now, and `done` is not called. */
const char *bh_redis_function_send(struct bh_redis_function_call *call, struct bh_redis_link *link);
/* In a cluster: sends it to the server of its topic, now or later. `done` is called in any case,
 * maybe before this returns. */
void bh_redis_function_route(struct bh_redis_function_call *call);
/* One of both; the link does not matter in a cluster. */
const char *bh_redis_function_ask(struct bh_redis_function_call *call, struct bh_redis_link *link);
/* Loads the library. replace: in place of an older one. */
void bh_redis_functions_load(struct bh_redis_calls *calls, struct bh_redis_link *link,
                             bool replace);
bool bh_redis_functions_loading(const struct bh_redis_calls *calls,
                                const struct bh_redis_link *link);

/* --- arguments --- */

#define BH_REDIS_NUMBER_MAX BH_RESP_BULK_MAX(20)

char *bh_redis_write_number(char *p, uint64_t n);

/* The keys of a stream. */
#define BH_REDIS_KEYS_MAX (2 * BH_RESP_BULK_MAX(BH_CHANNEL_MAX + sizeof "{}:log"))
char *bh_redis_write_keys(char *p, const struct bh_redis_functions *f,
                          const struct bh_topic *topic);

/* How functions publish. */
#define BH_REDIS_PUBLISH_MAX BH_RESP_BULK_MAX(sizeof "SPUBLISH")
static inline char *bh_redis_write_publish(char *p, const struct bh_redis_functions *f) {
    return f->cluster ? bh_resp_bytes(p, BH_SLICE("$8\r\nSPUBLISH\r\n"))
                      : bh_resp_bytes(p, BH_SLICE("$7\r\nPUBLISH\r\n"));
}

/* A rule is one argument. Its bytes are kept for the next one that is the same. */
#define BH_REDIS_RULE_MAX BH_RESP_BULK_MAX(6 * 21)
struct bh_redis_rule_text {
    struct bh_history_rule rule;
    size_t n; /* 0: none yet */
    char bytes[BH_REDIS_RULE_MAX];
};
char *bh_redis_write_rule(char *p, const struct bh_history_rule *rule, uint64_t ids_ms,
                          struct bh_redis_rule_text *kept);

#endif
