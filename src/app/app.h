/* app.h - the commands of the program, which return its exit status, and what they share: the
 * configuration keys turned into the settings of each layer. Thread: main. */
#ifndef BELLHOP_SRC_APP_APP_H
#define BELLHOP_SRC_APP_APP_H

#include "config.h"

#include "bellhop/backend/http.h"
#include "bellhop/backend/redis.h"
#include "bellhop/edge/edge.h"

/* Runs until a signal stops it. */
int bh_app_serve(const struct bh_config *config);
/* Checks the configuration, compiles the scripts, and prints the result. */
int bh_app_check(const struct bh_config *config, const char *file);
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
    struct bh_slice *api_keys, *origins, *cors, *ws_paths;
    struct bh_cidr *trusted;
};
/* Checks as it reads: 0, or BH_EINVAL with *error (bh_free). Free it in both cases. */
int bh_app_edge_config(const struct bh_config *config, struct bh_app_edge *out, char **error);
void bh_app_edge_free(struct bh_app_edge *e);
/* The certificates of TLS listeners; NULL when none is configured. 0, or BH_EINVAL with *error. */
int bh_app_tls(const struct bh_config *config, const struct bh_tls *previous, struct bh_tls **out,
               char **error);

/* The Redis nodes, maybe none, and the tracker on the first one. */
struct bh_app_redis {
    struct bh_redis_config nodes[BH_SHARDS_MAX];
    size_t count;
    struct bh_redis_tracker_config tracking;
};
/* Checks as it reads, also the files of TLS: 0, or BH_EINVAL with *error (bh_free), which never
 * contains a part of a URL (passwords). Points into config and instance. Free it in both cases. */
int bh_app_redis_config(const struct bh_config *config, const char *instance,
                        struct bh_app_redis *out, char **error);
void bh_app_redis_free(struct bh_app_redis *r);

/* The settings of the scripts' HTTP client, with the arrays that they point to. */
struct bh_app_fetch {
    struct bh_http_config config;
    struct bh_cidr *allow, *deny;
};
/* Checks as it reads: 0, or BH_EINVAL with *error (bh_free). Points into config. Free it in both
 * cases. */
int bh_app_fetch_config(const struct bh_config *config, struct bh_app_fetch *out, char **error);
void bh_app_fetch_free(struct bh_app_fetch *f);

struct bh_script_config;
/* Points into config and lua_dir; files is freed by the caller, its strings with bh_strings_free.
 */
void bh_app_script_config(const struct bh_config *config, const char *lua_dir,
                          struct bh_script_config *out, struct bh_strings *files);

#endif
