/* app_test.h - for the tests of app: a configuration from a text, the environment and options, and
 * what the program prints. */
#ifndef BELLHOP_TESTS_UNIT_APP_TEST_H
#define BELLHOP_TESTS_UNIT_APP_TEST_H

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "app.h"
#include "config_keys.h"
#include "config_values.h"
#include "unit_test.h"

/* cmocka fixtures: no key is set in the environment, before and after. */
int app_setup(void **state);
int app_teardown(void **state);

/* A file with this text; its path, until the test ends. */
const char *app_file(const char *name, const char *text);
/* Sets a key in the environment, by its path. */
void app_environment(const char *path, const char *value);

/* The current configuration: text NULL is no file. It must load, or must be refused. */
extern struct bh_config config;
void app_load(const char *text);
void app_load_option(const char *text, const char *path, const char *value);
/* The error contains both parts (NULL: only the first). */
void app_refused(const char *text, const char *part, const char *other);
void app_refused_option(const char *path, const char *value, const char *part);

/* What the last load has reported, and whether a part of an error is in it. */
extern struct bh_report report;
void app_reported(const char *part);
void app_error_has(char *error, const char *part); /* frees it */

/* What fn writes to a descriptor (1 or 2); valid until the next call. */
const char *app_output(int fd, void (*fn)(void *ud), void *ud);

void app_strings_are(const struct bh_strings *s, const char *joined); /* "a,b" */

#endif
