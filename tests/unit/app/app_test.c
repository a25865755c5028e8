/* app_test.c - see the header. Files are in a directory of their own, which goes at the end. */
#include "app_test.h"

#include <ftw.h>
#include <unistd.h>

struct bh_config config;
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

static int load(const char *text, const struct bh_config_option *option, char **error) {
    unload();
    *error = NULL;
    loaded = true;
    return bh_config_load(&config, text ? app_file("bellhop.conf.lua", text) : NULL, option,
                          option ? 1 : 0, error);
}

static void must_load(const char *text, const struct bh_config_option *option) {
    char *error;
    if (load(text, option, &error))
        fail_msg("refused: %s", error);
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

void app_refused(const char *text, const char *part, const char *other) {
    char *error;
    assert_int_equal(load(text, NULL, &error), BH_EINVAL);
    if (other && !strstr(error, other))
        fail_msg("\"%s\" is not in the error: %s", other, error);
    app_error_has(error, part);
}

void app_refused_option(const char *path, const char *value, const char *part) {
    char *error;
    assert_int_equal(load(NULL, &(struct bh_config_option){path, value}, &error), BH_EINVAL);
    app_error_has(error, part);
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
