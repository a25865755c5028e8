/* command_line.c - getopt, and a table of the options that set a configuration key. */
#include "command_line.h"

#include <getopt.h>
#include <stdio.h>

static const char usage_text[] =
    "usage: bellhop COMMAND [OPTION...]\n"
    "\n"
    "  serve   run the gateway\n"
    "          -c FILE             configuration (a Lua file that returns a table)\n"
    "          --dev               for development: loopback only, no keys, demo page\n"
    "          --listen ADDR:PORT  address to listen on; several: ADDR:PORT,ADDR:PORT\n"
    "          --redis URL[,URL]   redis://[user:pass@]host:port/db, rediss://, unix:///path,\n"
    "                              redis+sentinel://host,host/master\n"
    "          --policy FILE       the Lua policy\n"
    "          --workers N         worker threads (0: one for each core)\n"
    "          --instance ID       id of this instance\n"
    "  check   [-c FILE] [--policy FILE]: check configuration and scripts, then exit\n"
    "  test    [-c FILE] SPEC...: run specs of policies (all further arguments are busted's)\n"
    "  token   --user U [--tenant T] [--ttl SECONDS] [-c FILE]: print a JWT for testing\n"
    "\n"
    "  --help, --version\n"
    "\n"
    "Each configuration key can be set in the environment: redis.url is BELLHOP_REDIS_URL.\n"
    "Options override the environment, the environment overrides the file.\n";

#define TTL_MAX_S (10 * 366 * 86400u)

static const struct {
    int option;
    const char *path;
} config_options[] = {
    {'d', "server.dev"},   {'l', "server.listen"},  {'r', "redis.url"},
    {'p', "script.files"}, {'w', "server.workers"}, {'i', "server.instance"},
};

static const struct option long_options[] = {
    {"dev", no_argument, NULL, 'd'},
    {"listen", required_argument, NULL, 'l'},
    {"redis", required_argument, NULL, 'r'},
    {"policy", required_argument, NULL, 'p'},
    {"workers", required_argument, NULL, 'w'},
    {"instance", required_argument, NULL, 'i'},
    {"config", required_argument, NULL, 'c'},
    {"user", required_argument, NULL, 'u'},
    {"tenant", required_argument, NULL, 't'},
    {"ttl", required_argument, NULL, 's'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static const struct {
    const char *name;
    enum bh_command command;
} commands[] = {
    {"serve", BH_COMMAND_SERVE},
    {"check", BH_COMMAND_CHECK},
    {"token", BH_COMMAND_TOKEN},
};

static int usage_error(const char *what, const char *which) {
    fprintf(stderr, "bellhop: %s%s; see bellhop --help\n", what, which);
    return BH_EXIT_USAGE;
}

static void set_key(struct bh_command_line *c, const char *path, const char *value) {
    for (size_t i = 0; i < c->option_count; i++) {
        if (strcmp(c->options[i].path, path) == 0) {
            c->options[i].value = value;
            return;
        }
    }
    c->options[c->option_count++] = (struct bh_config_option){path, value};
}

static bool set_config_option(struct bh_command_line *c, int option) {
    for (size_t i = 0; i < sizeof config_options / sizeof config_options[0]; i++) {
        if (config_options[i].option == option) {
            set_key(c, config_options[i].path, optarg ? optarg : "true");
            return true;
        }
    }
    return false;
}

static int set_option(struct bh_command_line *c, int option) {
    if (set_config_option(c, option))
        return BH_EXIT_OK;
    switch (option) {
    case 'c':
        c->file = optarg;
        return BH_EXIT_OK;
    case 'u':
        c->user = optarg;
        return BH_EXIT_OK;
    case 't':
        c->tenant = optarg;
        return BH_EXIT_OK;
    case 's':
        if (bh_slice_u64(bh_slice_cstr(optarg), TTL_MAX_S, &c->ttl_s) == 0)
            return BH_EXIT_OK;
        return usage_error("--ttl must be a number of seconds, at most ten years", "");
    default: /* getopt has printed what is wrong */
        fprintf(stderr, "bellhop: see bellhop --help\n");
        return BH_EXIT_USAGE;
    }
}

/* argv begins after `test`. All options except a leading -c are busted's. */
static int parse_test(struct bh_command_line *c, int argc, char **argv) {
    c->command = BH_COMMAND_TEST;
    if (argc > 1 && strcmp(argv[0], "-c") == 0) {
        c->file = argv[1];
        argc -= 2;
        argv += 2;
    }
    c->spec_count = argc;
    c->specs = argv;
    if (argc == 0)
        return usage_error("test needs a spec: bellhop test spec/policy_spec.lua", "");
    return BH_EXIT_OK;
}

static int parse_command(struct bh_command_line *c, int argc, char **argv) {
    if (argc == 0)
        return usage_error("a command is missing: serve, check, test or token", "");
    if (argc > 1)
        return usage_error("unexpected argument ", argv[1]);
    size_t i = 0, count = sizeof commands / sizeof commands[0];
    while (i < count && strcmp(commands[i].name, argv[0]) != 0)
        i++;
    if (i == count)
        return usage_error("unknown command ", argv[0]);
    c->command = commands[i].command;
    if (c->command == BH_COMMAND_TOKEN && !c->user)
        return usage_error("token needs --user", "");
    return BH_EXIT_OK;
}

bool bh_command_line_parse(struct bh_command_line *out, int argc, char **argv, int *status) {
    *out = (struct bh_command_line){.ttl_s = 3600};
    *status = BH_EXIT_OK;
    if (argc > 1 && strcmp(argv[1], "test") == 0) {
        *status = parse_test(out, argc - 2, argv + 2);
        return *status == BH_EXIT_OK;
    }
    int option;
    optind = 0; /* glibc's getopt begins again */
    while ((option = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1) {
        if (option == 'h' || option == 'v') {
            int written =
                option == 'h' ? fputs(usage_text, stdout) : puts("bellhop " BELLHOP_VERSION);
            *status = written < 0 ? BH_EXIT_FAILED : BH_EXIT_OK;
            return false;
        }
        *status = set_option(out, option);
        if (*status != BH_EXIT_OK)
            return false;
    }
    *status = parse_command(out, argc - optind, argv + optind);
    return *status == BH_EXIT_OK;
}
