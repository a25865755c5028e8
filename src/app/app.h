/* app.h - the commands of the executable. Each returns its exit status. */
#ifndef BELLHOP_SRC_APP_APP_H
#define BELLHOP_SRC_APP_APP_H

#include "config.h"

#include "bellhop/backend/http.h"
#include "bellhop/backend/redis.h"
#include "bellhop/edge/edge.h"

/* Runs until a signal ends it. */
int bh_app_serve(const struct bh_config *config);
/* Compiles the scripts and says what it found. */
int bh_app_check(const struct bh_config *config, const char *file);
/* Runs specs of policies by busted; argv: its arguments. */
int bh_app_test(const struct bh_config *config, int argc, char **argv);
/* Prints a JWT signed with auth.jwt.secret. */
int bh_app_token(const struct bh_config *config, const char *user, const char *tenant,
                 uint64_t ttl_s);

/* Where the Lua library is: as configured, or installed beside the executable, or in the source
 * tree it was built from. The caller frees it. */
char *bh_app_lua_dir(const struct bh_config *config);

/* The edge's part of the configuration, with what it points to. */
struct bh_app_edge {
    struct bh_edge_config config;
    struct bh_edge_listen *listen;
    size_t listen_count;
    struct bh_slice *api_keys, *origins, *cors, *ws_paths;
    struct bh_cidr *trusted;
};
/* Checks as it reads: 0, or BH_EINVAL with *error (bh_free). Free it in both cases. */
int bh_app_edge_config(const struct bh_config *config, struct bh_app_edge *out, char **error);
void bh_app_edge_free(struct bh_app_edge *e);
/* What TLS listeners serve; NULL when no certificate is configured. 0, or BH_EINVAL with *error. */
int bh_app_tls(const struct bh_config *config, const struct bh_tls *previous, struct bh_tls **out,
               char **error);

/* The Redis nodes, none or several, and what is kept in the first one. */
struct bh_app_redis {
    struct bh_redis_config nodes[BH_SHARDS_MAX];
    size_t count;
    struct bh_redis_tracker_config tracking;
};
/* Checks as it reads, also the files that TLS needs: 0, or BH_EINVAL with *error (bh_free), which
 * repeats no part of a URL. Points into config and instance. Free it in both cases. */
int bh_app_redis_config(const struct bh_config *config, const char *instance,
                        struct bh_app_redis *out, char **error);
void bh_app_redis_free(struct bh_app_redis *r);

/* The HTTP client of scripts, with what it points to. */
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
