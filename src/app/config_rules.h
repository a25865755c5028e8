/* config_rules.h - what must hold between the values of a configuration. Single values are checked
 * by the table of keys; files and addresses of this machine by settings.h. */
#ifndef BELLHOP_SRC_APP_CONFIG_RULES_H
#define BELLHOP_SRC_APP_CONFIG_RULES_H

#include "config.h"

/* Adds every mistake. failed: for each key, whether its value is known to be wrong; a rule about
 * such a key is left out, so that one mistake is reported once. */
void bh_config_check_rules(const struct bh_config *c, const bool *failed, struct bh_report *report);

#endif
