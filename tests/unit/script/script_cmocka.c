/* script_cmocka.c - see script_cmocka.h. */
#include "script_cmocka.h"

#include "bellhop/base/log.h"

int script_setup(void **state) {
    struct env *env = malloc(sizeof *env);
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    env_open(env);
    *state = env;
    return 0;
}

int script_teardown(void **state) {
    env_close(*state);
    free(*state);
    return 0;
}
