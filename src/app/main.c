/* main.c - the command line: which command, which options, which exit status (0 well, 1 failed,
 * 2 used wrongly). */
#include "app.h"

#include "bellhop/base/mem.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage_text[] =
    "usage: bellhop COMMAND [OPTION...]\n"
    "\n"
    "  serve   run the gateway\n"
    "          -c FILE             configuration (a Lua file that returns a table)\n"
    "          --dev               loopback only, no keys, demo page\n"
    "          --listen ADDR:PORT  also a list: a:1,b:2\n"
    "          --redis URL[,URL]   redis://[user:pass@]host:port/db, rediss://, unix:///path,\n"
    "                              redis+sentinel://host,host/master\n"
    "          --policy FILE       the Lua policy\n"
    "          --workers N         threads (0: as many as cores)\n"
    "          --instance ID       name of this instance\n"
    "  check   [-c FILE] [--policy FILE]: configuration and scripts, without serving\n"
    "  test    [-c FILE] SPEC...: specs of policies, by busted (all that follows goes to it)\n"
    "  token   --user U [--tenant T] [--ttl SECONDS] [-c FILE]: a JWT for trying\n"
    "\n"
    "  --help, --version\n"
    "\n"
    "Each configuration key can be set in the environment: redis.url is BELLHOP_REDIS_URL.\n"
    "Options beat the environment, the environment beats the file.\n";

struct arguments {
    const char *command;
    const char *file;
    const char *user, *tenant;
    uint64_t ttl_s;
    struct bh_config_option options[8];
    size_t option_count;
    int spec_count; /* busted's arguments */
    char **specs;
};

/* Options that set a configuration key. */
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

static void set(struct arguments *a, const char *path, const char *value) {
    for (size_t i = 0; i < a->option_count; i++) {
        if (strcmp(a->options[i].path, path) == 0) {
            a->options[i].value = value;
            return;
        }
    }
    a->options[a->option_count++] = (struct bh_config_option){path, value};
}

static bool take_config_option(struct arguments *a, int option) {
    for (size_t i = 0; i < sizeof config_options / sizeof config_options[0]; i++) {
        if (config_options[i].option == option) {
            set(a, config_options[i].path, optarg ? optarg : "true");
            return true;
        }
    }
    return false;
}

static int take_option(struct arguments *a, int option) {
    if (take_config_option(a, option))
        return 0;
    switch (option) {
    case 'c':
        a->file = optarg;
        return 0;
    case 'u':
        a->user = optarg;
        return 0;
    case 't':
        a->tenant = optarg;
        return 0;
    case 's':
        if (bh_slice_u64(bh_slice_cstr(optarg), 10 * 366 * 86400u, &a->ttl_s)) {
            fprintf(stderr, "bellhop: --ttl wants seconds, at most ten years\n");
            return 2;
        }
        return 0;
    default: /* getopt has said what is wrong */
        fprintf(stderr, "bellhop: see bellhop --help\n");
        return 2;
    }
}

static int run(struct arguments *a) {
    struct bh_config config;
    char *error = NULL;
    if (bh_config_load(&config, a->file, a->options, a->option_count, &error)) {
        fprintf(stderr, "bellhop: %s\n", error);
        bh_free(error);
        bh_config_free(&config);
        return 1;
    }
    int status;
    if (strcmp(a->command, "serve") == 0)
        status = bh_app_serve(&config);
    else if (strcmp(a->command, "check") == 0)
        status = bh_app_check(&config, a->file);
    else if (strcmp(a->command, "test") == 0)
        status = bh_app_test(&config, a->spec_count, a->specs);
    else
        status = bh_app_token(&config, a->user, a->tenant, a->ttl_s);
    bh_config_free(&config);
    return status;
}

static int use_wrongly(const char *what, const char *which) {
    fprintf(stderr, "bellhop: %s%s; see bellhop --help\n", what, which);
    return 2;
}

/* argv begins behind `test`. Options but for the first -c are busted's. */
static int test(struct arguments *a, int argc, char **argv) {
    a->command = "test";
    if (argc > 1 && strcmp(argv[0], "-c") == 0) {
        a->file = argv[1];
        argc -= 2;
        argv += 2;
    }
    if (argc == 0)
        return use_wrongly("test wants a spec: bellhop test spec/policy_spec.lua", "");
    a->spec_count = argc;
    a->specs = argv;
    return run(a);
}

int main(int argc, char **argv) {
    struct arguments a = {.ttl_s = 3600};
    int option;
    if (argc > 1 && strcmp(argv[1], "test") == 0)
        return test(&a, argc - 2, argv + 2);
    while ((option = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1) {
        if (option == 'h')
            return fputs(usage_text, stdout) < 0;
        if (option == 'v')
            return puts("bellhop " BELLHOP_VERSION) < 0;
        int wrong = take_option(&a, option);
        if (wrong)
            return wrong;
    }
    if (optind == argc)
        return use_wrongly("which command: serve, check, test or token?", "");
    a.command = argv[optind];
    if (optind + 1 < argc)
        return use_wrongly("unexpected argument ", argv[optind + 1]);
    if (strcmp(a.command, "serve") != 0 && strcmp(a.command, "check") != 0 &&
        strcmp(a.command, "token") != 0)
        return use_wrongly("unknown command ", a.command);
    if (strcmp(a.command, "token") == 0 && !a.user)
        return use_wrongly("token wants --user", "");
    return run(&a);
}
