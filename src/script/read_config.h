/* read_config.h - bh_script_read_config (bellhop/script/script.h) with another limit, for tests. */
#ifndef BELLHOP_SCRIPT_READ_CONFIG_H
#define BELLHOP_SCRIPT_READ_CONFIG_H

#include "bellhop/base/json.h"

/* cpu_ms: CPU time of this thread for the whole file. */
int bh_read_config_within(const char *file, unsigned cpu_ms, struct bh_json **out, char **error);

#endif
