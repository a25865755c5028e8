/* script_config.c - from configuration keys to the settings of the scripts, and where the Lua
 * library is. */
#include "app.h"

#include "bellhop/base/mem.h"
#include "bellhop/script/script.h"

#include <libgen.h>
#include <limits.h>
#include <unistd.h>

static char *join(const char *a, const char *b) {
    struct bh_bytes path = {0};
    bh_bytes_addf(&path, "%s/%s", a, b);
    bh_bytes_addc(&path, '\0');
    return path.p;
}

static bool has_policy(const char *dir) {
    char *path = join(dir, "policy.lua");
    bool there = access(path, R_OK) == 0;
    bh_free(path);
    return there;
}

char *bh_app_lua_dir(const struct bh_config *config) {
    char exe[PATH_MAX];
    if (*config->lua_dir)
        return bh_strdup(config->lua_dir);
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = '\0';
        char *dir = join(dirname(exe), BELLHOP_INSTALLED_LUA);
        if (has_policy(dir))
            return dir;
        bh_free(dir);
    }
    return bh_strdup(BELLHOP_LUA_DIR);
}

void bh_app_script_config(const struct bh_config *config, const char *lua_dir,
                          struct bh_script_config *out, struct bh_strings *files) {
    *files = (struct bh_strings){0};
    size_t count = config->script_files.count ? config->script_files.count : 1;
    files->items = bh_calloc(count, sizeof *files->items);
    for (; files->count < count; files->count++)
        files->items[files->count] = config->script_files.count
                                         ? bh_strdup(config->script_files.items[files->count])
                                         : join(lua_dir, "policy.lua");
    *out = (struct bh_script_config){
        .files = (const char *const *)files->items,
        .file_count = files->count,
        .lua_dir = lua_dir,
        .config = config->tree,
        .trusted = config->trusted,
        .client_messages = strcmp(config->client_messages, "ignore") == 0,
        .require_user = config->require_user,
        .key_prefix = *config->tracking_key_prefix ? config->tracking_key_prefix : NULL,
        .channel_prefix = config->channel_prefix,
        .redis_timeout_ms = config->command_timeout,
        .cpu_limit_ms = (int)config->cpu_limit,
        .deliver_limit_ms = (int)config->deliver_limit,
        .memory_limit = (size_t)config->memory_limit,
        .hook_timeout_ms = config->hook_timeout,
        .max_tasks = (size_t)config->max_tasks,
        .path_is_taken = bh_edge_has_path,
    };
}
