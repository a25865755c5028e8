/* command_line.h - the arguments of the program: which command, which options.
 *
 * Options that set a configuration key are handed to bh_config_load. All strings point into argv.
 * Thread: main, at start. */
#ifndef BELLHOP_SRC_APP_COMMAND_LINE_H
#define BELLHOP_SRC_APP_COMMAND_LINE_H

#include "config.h"

enum bh_command { BH_COMMAND_SERVE, BH_COMMAND_CHECK, BH_COMMAND_TEST, BH_COMMAND_TOKEN };

/* The statuses of the program. */
enum { BH_EXIT_OK, BH_EXIT_FAILED, BH_EXIT_USAGE };

#define BH_OPTIONS_MAX 64

struct bh_command_line {
    enum bh_command command;
    const char *file; /* -c; NULL: none */
    const char *user, *tenant;
    uint64_t ttl_s;
    struct bh_config_option options[BH_OPTIONS_MAX];
    size_t option_count;
    int spec_count; /* busted's arguments */
    char **specs;
};

/* True: run the command. Else it has printed the help, the version or an error, and *status is the
 * program's. getopt may reorder argv. */
bool bh_command_line_parse(struct bh_command_line *out, int argc, char **argv, int *status);

#endif
