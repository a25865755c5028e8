/* app.h - the commands of the program, which return its exit status, and what they share: the
 * configuration keys turned into the settings of each layer. Thread: main. */
#ifndef BELLHOP_SRC_APP_APP_H
#define BELLHOP_SRC_APP_APP_H

#include "config.h"

#include "bellhop/backend/http.h"
#include "bellhop/backend/redis.h"
#include "bellhop/core/history.h"
#include "bellhop/edge/edge.h"

/* Runs until a signal stops it. Logs the report's warnings. */
int bh_app_serve(const struct bh_config *config, const struct bh_report *report);
/* Checks what serve would refuse, as far as that is possible without serving: the settings, then
 * the scripts, whose on_init runs. Adds all mistakes to the report of bh_config_load, and prints
 * it. */
int bh_app_check(const struct bh_config *config, const char *file, struct bh_report *report);
/* Runs specs of policies with busted; argv: its arguments. */
int bh_app_test(const struct bh_config *config, int argc, char **argv);
/* Prints a JWT signed with auth.jwt.secret. */
int bh_app_token(const struct bh_config *config, const char *user, const char *tenant,
                 uint64_t ttl_s);

/* The directory of the Lua library: as configured, or installed with the program, or in the source
 * tree that it was built from. The caller frees it. */
char *bh_app_lua_dir(const struct bh_config *config);

/* The edge's settings, with the arrays that they point to. */
struct bh_app_edge {
    struct bh_edge_config config;
    struct bh_edge_listen *listen; /* those for administration are the last ones */
    size_t listen_count;
    struct bh_slice *api_keys, *origins, *cors, *ws_paths, *sse_paths;
    struct bh_cidr *trusted;
};
void bh_app_edge_config(const struct bh_config *config, struct bh_app_edge *out);
void bh_app_edge_free(struct bh_app_edge *e);
/* The certificates of TLS listeners; NULL when none is configured. 0, or BH_EINVAL with *error,
 * which begins with the key: "tls.keys: ...". */
int bh_app_tls(const struct bh_config *config, const struct bh_tls *previous, struct bh_tls **out,
               char **error);

/* The Redis nodes, maybe none, and the tracker on the first one. */
struct bh_app_redis {
    struct bh_redis_config nodes[BH_SHARDS_MAX];
    size_t count;
    struct bh_redis_tracker_config tracking;
};
/* Checks the files of TLS. A mistake never contains a part of a URL (passwords). Points into config
 * and instance. */
void bh_app_redis_config(const struct bh_config *config, const char *instance,
                         struct bh_app_redis *out, struct bh_report *report);
void bh_app_redis_free(struct bh_app_redis *r);

/* The settings of the scripts' HTTP client, with the arrays that they point to. */
struct bh_app_fetch {
    struct bh_http_config config;
    struct bh_cidr *allow, *deny;
};
/* Checks the file of authorities. Points into config. */
void bh_app_fetch_config(const struct bh_config *config, struct bh_app_fetch *out,
                         struct bh_report *report);
void bh_app_fetch_free(struct bh_app_fetch *f);

/* The rules of the section `history`, maybe none. */
struct bh_app_history {
    struct bh_history_config config; /* points to the rules */
    struct bh_history_rule rules[BH_HISTORY_RULES_MAX];
    uint64_t memory_bytes;
};
/* Points into config and into itself. */
void bh_app_history_config(const struct bh_config *config, struct bh_app_history *out);
/* The rules of a configuration for `bellhop test`, which has not been checked; they point into it.
 * 0 with *error (bh_free) when there is a mistake. */
size_t bh_app_history_rules(const struct bh_json *tree, struct bh_history_rule *out, char **error);

/* All of the above. */
struct bh_app_settings {
    struct bh_app_edge edge;
    struct bh_app_redis redis;
    struct bh_app_fetch fetch;
    struct bh_app_history history;
    struct bh_tls *tls;
};
/* Checks what depends on this machine, too: files, and whether the addresses can be listened on.
 * Adds every mistake to the report. may_be_in_use: an address that another process listens on is
 * none. 0 or BH_EINVAL; free it in both cases. Points into config and instance. */
int bh_app_settings_init(struct bh_app_settings *s, const struct bh_config *config,
                         const char *instance, bool may_be_in_use, struct bh_report *report);
void bh_app_settings_free(struct bh_app_settings *s);
/* The history that the settings ask for, in Redis or in this process; NULL without rules. Points
 * into settings. */
struct bh_history *bh_app_history_new(const struct bh_app_settings *settings,
                                      struct bh_broker *broker, unsigned workers);
/* Why an address cannot be listened on. */
const char *bh_app_explain_listen(int error);

struct bh_script_config;
/* Points into config and lua_dir; files is freed by the caller, its strings with bh_strings_free.
 */
void bh_app_script_config(const struct bh_config *config, const char *lua_dir,
                          struct bh_script_config *out, struct bh_strings *files);

#endif
