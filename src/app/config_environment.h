/* config_environment.h - variables of the environment that are no keys: BELLHOP_APP_X sets app.x
 * for scripts, and all others are probably mistakes. Thread: main. */
#ifndef BELLHOP_SRC_APP_CONFIG_ENVIRONMENT_H
#define BELLHOP_SRC_APP_CONFIG_ENVIRONMENT_H

#include "report.h"

/* The section `app` of the file as JSON text (NULL: none) with what the environment sets in it;
 * free it with bh_free. A value has the type of the one that it replaces; one that the file does
 * not have is a string. */
char *bh_config_app_environment(const char *app, struct bh_report *report);
/* Warns of each variable BELLHOP_* that nothing reads. */
void bh_config_warn_of_unknown(struct bh_report *report);

#endif
