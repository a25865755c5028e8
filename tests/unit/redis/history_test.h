/* history_test.h - a history beside the gateway, on the same loop; what its tests share. */
#ifndef BELLHOP_TESTS_HISTORY_TEST_H
#define BELLHOP_TESTS_HISTORY_TEST_H

#include "gateway.h"
#include "link/metrics.h"
#include "proxy.h"

struct history {
    struct bh_history *base;
    const struct bh_history_vt *vt;
    struct bh_history_config config;
    struct bh_history_rule rule;
    struct proxy *proxy; /* pumped by each wait; NULL: none */
};

extern struct history hx;

/* Ticks the loop, and pumps the proxy, until the condition holds. */
#define WAIT_UNTIL(condition)                                                                      \
    TICK_UNTIL(fx->g.loop, (!hx.proxy || proxy_pump(hx.proxy)) && (condition))

/* The gateway's, and a rule of 100 entries. */
int setup_history(void **state);
/* The same, with a Redis that has no functions: as before version 7. */
int setup_old_history(void **state);
int teardown_history(void **state);
/* Both are ready; the gateway is subscribed to user:42. */
void open_history(void);
/* As open_history, with the history's part over a proxy. */
void open_history_behind(struct proxy *proxy);
/* The instance stops. */
void close_history(void);
bool history_is_ready(const char **why);
int64_t counted(unsigned metric);

/* What another client may do to the log of user:42. */
void change_entry(int index, void (*change)(char *entry));

/* --- appends: handle 6 --- */

struct appended {
    unsigned count;
    int error;
    struct bh_appended result;
    char why[512];
};

struct bh_message *stream_message(const char *topic, const char *id, struct bh_slice payload);
/* Not waited for. */
void start_append(const char *topic, const char *id, const char *payload, struct appended *a);
void append_collapsed(const char *topic, const char *id, const char *payload, const char *collapse,
                      struct appended *a);
/* Until it is done; fails on an error. */
struct bh_position append(const char *topic, const char *id, const char *payload);
int append_error(const char *topic, const char *id, struct appended *a);

/* --- reads: handle 7, 8, 9, 10 --- */

struct ranged {
    unsigned count;
    int error;
    struct bh_range *range; /* a reference */
    bool gap, more;
    char why[512];
};

/* Until it is done. */
struct ranged read_behind(const char *topic, struct bh_position since);
void start_read(const char *topic, struct bh_position since, uint32_t limit, size_t bytes,
                struct ranged *out);
struct ranged read_page(const char *topic, bool ascending, struct bh_position from, uint32_t limit);
/* Its payloads with a comma between them; "-" is a tombstone. */
const char *payloads(const struct bh_range *range);
void release(struct ranged *r);

struct removed {
    unsigned count;
    int error;
    int64_t removed;
};
struct removed remove_one(const char *topic, struct bh_position position);

#define TOPS_MAX 24

struct topped {
    unsigned count;
    int error;
    size_t tops;
    struct bh_position top[TOPS_MAX];
};
void start_tops(const char *const *topics, size_t count, struct topped *out);

#endif
