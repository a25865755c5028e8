/* app_test.c - see the header. Files are in a directory of their own, which goes at the end. */
#include "app_test.h"

#include <ftw.h>
#include <unistd.h>

struct bh_config config;
struct bh_report report;
static bool loaded;
static char directory[32];

static void clear_environment(void) {
    char name[BH_CONFIG_NAME_MAX];
    for (size_t i = 0; i < bh_config_key_count; i++) {
        bh_config_environment_name(&bh_config_keys[i], name);
        unsetenv(name);
    }
}

static void unload(void) {
    if (loaded)
        bh_config_free(&config);
    bh_report_free(&report);
    loaded = false;
}

int app_setup(void **state) {
    clear_environment();
    strcpy(directory, "/tmp/bellhop-app-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw) {
    return remove(path);
}

int app_teardown(void **state) {
    unload();
    clear_environment();
    return nftw(directory, remove_one, 4, FTW_DEPTH | FTW_PHYS);
}

const char *app_file(const char *name, const char *text) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

void app_environment(const char *path, const char *value) {
    char name[BH_CONFIG_NAME_MAX];
    bh_config_environment_name(bh_config_find_key(path), name);
    setenv(name, value, 1);
}

static int load(const char *text, const struct bh_config_option *option) {
    unload();
    loaded = true;
    return bh_config_load(&config, text ? app_file("bellhop.conf.lua", text) : NULL, option,
                          option ? 1 : 0, &report);
}

static void must_load(const char *text, const struct bh_config_option *option) {
    if (load(text, option))
        fail_msg("refused: %s", report.errors.items[0]);
}

void app_load(const char *text) {
    must_load(text, NULL);
}

void app_load_option(const char *text, const char *path, const char *value) {
    must_load(text, &(struct bh_config_option){path, value});
}

void app_error_has(char *error, const char *part) {
    assert_non_null(error);
    if (!strstr(error, part))
        fail_msg("\"%s\" is not in the error: %s", part, error);
    bh_free(error);
}

static bool is_reported(const char *part, const char *other) {
    for (size_t i = 0; i < report.errors.count; i++)
        if (strstr(report.errors.items[i], part) &&
            (!other || strstr(report.errors.items[i], other)))
            return true;
    return false;
}

static void must_be_reported(const char *part, const char *other) {
    if (is_reported(part, other))
        return;
    for (size_t i = 0; i < report.errors.count; i++)
        print_message("reported: %s\n", report.errors.items[i]);
    fail_msg("no error with \"%s\" and \"%s\"", part, other ? other : "");
}

void app_refused(const char *text, const char *part, const char *other) {
    assert_int_equal(load(text, NULL), BH_EINVAL);
    must_be_reported(part, other);
}

void app_refused_option(const char *path, const char *value, const char *part) {
    assert_int_equal(load(NULL, &(struct bh_config_option){path, value}), BH_EINVAL);
    must_be_reported(part, NULL);
}

void app_reported(const char *part) {
    must_be_reported(part, NULL);
}

const char *app_output(int fd, void (*fn)(void *ud), void *ud) {
    static char output[8192];
    FILE *file = tmpfile();
    int saved = dup(fd);
    assert_non_null(file);
    fflush(NULL);
    dup2(fileno(file), fd);
    fn(ud);
    fflush(NULL);
    dup2(saved, fd);
    close(saved);
    rewind(file);
    output[fread(output, 1, sizeof output - 1, file)] = '\0';
    fclose(file);
    return output;
}

void app_strings_are(const struct bh_strings *s, const char *joined) {
    struct bh_bytes text = {0};
    for (size_t i = 0; i < s->count; i++)
        bh_bytes_addf(&text, "%s%s", i ? "," : "", s->items[i]);
    assert_slice(bh_bytes_slice(&text), joined);
    bh_bytes_free(&text);
}
