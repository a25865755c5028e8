/* test_memory.c - how much memory there is, from files as the kernel writes them. */
#include "unit_test.h"

#include "memory.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB    ((uint64_t)1 << 20)
#define KERNEL "9223372036854771712\n" /* v1: no limit */

static char root[32];

static int setup(void **state) {
    strcpy(root, "/tmp/bellhop-memory-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw) {
    return remove(path);
}

static int teardown(void **state) {
    return nftw(root, remove_one, 4, FTW_DEPTH | FTW_PHYS);
}

/* A file below the root, with the directories before it. */
static void file(const char *path, const char *text) {
    char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0700);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void machine(const char *kib) {
    char text[128];
    snprintf(text, sizeof text, "MemTotal:       %s kB\nMemFree:  1 kB\n", kib);
    file("/proc/meminfo", text);
}

static void available(uint64_t bytes) {
    assert_int_equal(bh_app_memory_available(root), bytes);
}

static void nothing_is_known(void **state) {
    available(0);
    file("/proc/meminfo", "MemTotal: many kB\n");
    file("/proc/self/cgroup", "no cgroup\n4:memory\n");
    available(0);
}

static void the_machine(void **state) {
    machine("2048000");
    available(2048000 * 1024ull);
    file("/proc/self/cgroup", "0::/\n");
    available(2048000 * 1024ull);
}

static void v2(void **state) {
    machine("2048000");
    file("/proc/self/cgroup", "0::/system.slice/bellhop.service\n");
    file("/sys/fs/cgroup/system.slice/bellhop.service/memory.max", "max\n");
    available(2048000 * 1024ull);
    file("/sys/fs/cgroup/system.slice/bellhop.service/memory.max", "536870912\n");
    available(512 * MIB);
}

/* A limit of any ancestor holds. */
static void the_least_of_the_ancestors(void **state) {
    machine("2048000");
    file("/proc/self/cgroup", "0::/a/b/c\n");
    file("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
    file("/sys/fs/cgroup/a/b/memory.max", "314572800\n");
    file("/sys/fs/cgroup/a/memory.max", "419430400\n");
    available(300 * MIB);
    file("/sys/fs/cgroup/memory.max", "104857600\n");
    available(100 * MIB);
}

static void a_larger_limit_than_the_machine(void **state) {
    machine("1024");
    file("/proc/self/cgroup", "0::/\n");
    file("/sys/fs/cgroup/memory.max", "104857600\n");
    available(1 * MIB);
}

static void v1(void **state) {
    machine("2048000");
    file("/proc/self/cgroup", "9:name=systemd:/\n5:cpu,memory:/docker/1\n1:cpu:/x\n");
    file("/sys/fs/cgroup/memory/memory.limit_in_bytes", KERNEL);
    file("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", KERNEL);
    available(2048000 * 1024ull);
    file("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "134217728\n");
    available(128 * MIB);
}

/* The path is that of the host, the mount that of the container. */
static void a_container(void **state) {
    machine("2048000");
    file("/proc/self/cgroup", "4:memory:/docker/0123\n0::/docker/0123\n");
    file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n");
    available(64 * MIB);
    file("/proc/self/cgroup", "0::/../../other\n");
    file("/sys/fs/cgroup/memory.max", "33554432\n");
    file("/sys/memory.max", "1\n");
    available(32 * MIB);
}

static void of_a_budget(void **state) {
    struct bh_config config = {.memory_budget = BH_CONFIG_AUTO};
    assert_int_equal(bh_app_memory_budget(&config, root), 0);
    machine("2048");
    assert_int_equal(bh_app_memory_budget(&config, root), MIB);
    config.memory_budget = 7;
    assert_int_equal(bh_app_memory_budget(&config, root), 7);
    config.memory_budget = 0;
    assert_int_equal(bh_app_memory_budget(&config, root), 0);
}

static void of_this_machine(void **state) {
    assert_true(bh_app_memory_available("") > 16 * MIB);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_known),
        TEST(the_machine),
        TEST(v2),
        TEST(the_least_of_the_ancestors),
        TEST(a_larger_limit_than_the_machine),
        TEST(v1),
        TEST(a_container),
        TEST(of_a_budget),
        TEST(of_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
