/* main.c - parses the command line, loads the configuration, runs the command. Exit status: 0
 * success, 1 failure, 2 wrong usage. */
#include "app.h"
#include "command_line.h"

#include "bellhop/base/id.h"

#include <fcntl.h>
#include <unistd.h>

/* check looks for more mistakes, and serve writes the warnings to its log. */
static int run(const struct bh_command_line *c, const struct bh_config *config,
               struct bh_report *report) {
    bh_ids_set_wide(config->ids_wide);
    if (c->command == BH_COMMAND_CHECK)
        return bh_app_check(config, c->file, report);
    if (c->command != BH_COMMAND_SERVE || report->errors.count)
        bh_report_print(report);
    if (report->errors.count)
        return BH_EXIT_FAILED;
    switch (c->command) {
    case BH_COMMAND_SERVE:
        return bh_app_serve(config, report);
    case BH_COMMAND_CHECK:
        break;
    case BH_COMMAND_TEST:
        return bh_app_test(config, c->spec_count, c->specs);
    case BH_COMMAND_TOKEN:
        return bh_app_token(config, c->user, c->tenant, c->ttl_s);
    }
    return BH_EXIT_USAGE;
}

/* The number of a closed one would be given to a socket, which would then get the log. */
static void open_standard_streams(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv) {
    struct bh_command_line c;
    struct bh_config config;
    struct bh_report report = {0};
    int status;
    open_standard_streams();
    if (!bh_command_line_parse(&c, argc, argv, &status))
        return status;
    bh_config_load(&config, c.file, c.options, c.option_count, &report);
    status = run(&c, &config, &report);
    bh_report_free(&report);
    bh_config_free(&config);
    return status;
}
