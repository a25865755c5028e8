/* memory.c - reads /proc and /sys/fs/cgroup.
 *
 * A limit of any ancestor holds for a cgroup. In a container the path that /proc/self/cgroup names
 * may be that of the host, while the mount shows the container's own cgroup as its top: then the
 * files below that path do not exist, and those at the top count. */
#include "memory.h"

#include <stdio.h>

#define PATH_LENGTH 4096

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Cut at the size of the buffer; empty when there is no such file. */
static struct bh_slice read_file(const char *path, char buffer[PATH_LENGTH]) {
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(buffer, 1, PATH_LENGTH, f) : 0;
    if (f)
        fclose(f);
    return bh_slice(buffer, n);
}

static uint64_t total_memory(const char *root) {
    char path[PATH_LENGTH], buffer[PATH_LENGTH];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    struct bh_slice rest = read_file(path, buffer), line, unit = BH_SLICE(" kB");
    struct bh_slice name = BH_SLICE("MemTotal:");
    uint64_t kib;
    while (bh_slice_split(&rest, '\n', &line)) {
        if (!bh_slice_starts(line, name) || line.n < name.n + unit.n)
            continue;
        line = bh_slice_trim(bh_slice(line.p + name.n, line.n - name.n - unit.n));
        if (bh_slice_u64(line, UINT64_MAX / 1024, &kib) == 0)
            return kib * 1024;
    }
    return UINT64_MAX;
}

/* UINT64_MAX: no file, or no limit ("max"). */
static uint64_t limit_in(const char *directory, const char *file) {
    char path[2 * PATH_LENGTH], buffer[PATH_LENGTH];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    struct bh_slice rest = read_file(path, buffer), line = {0};
    uint64_t bytes;
    bh_slice_split(&rest, '\n', &line);
    return bh_slice_u64(line, UINT64_MAX, &bytes) == 0 ? bytes : UINT64_MAX;
}

/* From the cgroup up to the mount. */
static uint64_t limit_of(const char *mount, struct bh_slice cgroup, const char *file) {
    char directory[PATH_LENGTH];
    int n = snprintf(directory, sizeof directory, "%s%.*s", mount, BH_SLICE_ARG(cgroup));
    uint64_t limit = limit_in(mount, file);
    if (n < 0 || (size_t)n >= sizeof directory || memmem(cgroup.p, cgroup.n, "..", 2))
        return limit;
    for (char *end = directory + n; end > directory + strlen(mount); end--) {
        if (*end != '/' && *end != '\0')
            continue;
        *end = '\0';
        limit = least(limit, limit_in(directory, file));
    }
    return limit;
}

static bool names_memory(struct bh_slice controllers) {
    struct bh_slice name;
    while (bh_slice_split(&controllers, ',', &name))
        if (bh_slice_eq(name, BH_SLICE("memory")))
            return true;
    return false;
}

/* A line is "hierarchy:controllers:path"; that of v2 names no controllers. */
static uint64_t cgroup_limit(const char *root) {
    char path[PATH_LENGTH], buffer[PATH_LENGTH];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    struct bh_slice rest = read_file(path, buffer), line, hierarchy, controllers;
    uint64_t limit = UINT64_MAX;
    while (bh_slice_split(&rest, '\n', &line)) {
        if (!bh_slice_split(&line, ':', &hierarchy) || !bh_slice_split(&line, ':', &controllers) ||
            !line.p)
            continue;
        bool v1 = names_memory(controllers);
        snprintf(path, sizeof path, "%s/sys/fs/cgroup%s", root, v1 ? "/memory" : "");
        if (v1 || controllers.n == 0)
            limit = least(limit, limit_of(path, line, v1 ? "memory.limit_in_bytes" : "memory.max"));
    }
    return limit;
}

uint64_t bh_app_memory_available(const char *root) {
    uint64_t available = least(total_memory(root), cgroup_limit(root));
    return available == UINT64_MAX ? 0 : available;
}

uint64_t bh_app_memory_budget(const struct bh_config *config, const char *root) {
    bool automatic = config->memory_budget == BH_CONFIG_AUTO;
    return automatic ? bh_app_memory_available(root) / 2 : config->memory_budget;
}
