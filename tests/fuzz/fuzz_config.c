/* Configuration files and values of the command line: an error has a text, and nothing leaks. */
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "config.h"
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

static const char *const paths[] = {
    "server.listen",       "server.workers", "server.dev",          "server.drain_timeout",
    "http.idle_timeout",   "redis.url",      "delivery.strategy",   "script.files",
    "auth.jwt.algorithms", "log.level",      "websocket.fragments", "api.keys",
    "history.rules",
};

static void load(const char *file, const struct bh_config_option *option) {
    struct bh_config config;
    struct bh_report report = {0};
    int r = bh_config_load(&config, file, option, option ? 1 : 0, &report);
    CHECK((r == 0) == (report.errors.count == 0));
    CHECK(r == 0 || r == BH_EINVAL);
    for (size_t i = 0; i < report.errors.count; i++)
        CHECK(*report.errors.items[i]);
    if (r == 0)
        CHECK(config.tree && bh_json_type(config.tree) == BH_JSON_OBJECT);
    bh_report_free(&report);
    bh_config_free(&config);
}

static void load_text(struct bh_slice text) {
    char path[64];
    int fd = memfd_create("configuration", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    load(path, NULL);
    close(fd);
}

/* The first byte is the number of a key, followed by its value; any other is followed by a file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    uint8_t choice = fuzz_byte(&in);
    if (choice >= COUNT(paths)) {
        load_text(in);
        return 0;
    }
    char *value = bh_strndup(in.p, in.n);
    load(NULL, &(struct bh_config_option){paths[choice], value});
    bh_free(value);
    return 0;
}
