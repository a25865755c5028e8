/* app.h - the commands of the executable. Each returns its exit status. */
#ifndef BELLHOP_SRC_APP_APP_H
#define BELLHOP_SRC_APP_APP_H

#include "config.h"

/* Runs until a signal ends it. */
int bh_app_serve(const struct bh_config *config);
/* Compiles the scripts and says what it found. */
int bh_app_check(const struct bh_config *config, const char *file);
/* Prints a JWT signed with auth.jwt.secret. */
int bh_app_token(const struct bh_config *config, const char *user, const char *tenant,
                 uint64_t ttl_s);

/* Where the Lua library is: as configured, or installed beside the executable, or in the source
 * tree it was built from. The caller frees it. */
char *bh_app_lua_dir(const struct bh_config *config);

struct bh_script_config;
/* Points into config and lua_dir; files is freed by the caller, its strings with bh_strings_free.
 */
void bh_app_script_config(const struct bh_config *config, const char *lua_dir,
                          struct bh_script_config *out, struct bh_strings *files);
void bh_strings_free(struct bh_strings *s);

#endif
