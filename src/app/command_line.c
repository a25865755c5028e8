/* command_line.c - a table of commands, and one of options with the commands that have them.
 * getopt's options and the help are made from these. Help is asked for in many ways: by `help
 * COMMAND`, by `COMMAND --help`, and for all by `help`, `-h` and `--help`. */
#include "command_line.h"

#include "bellhop/base/suggest.h"

#include <getopt.h>
#include <stdio.h>

#define SERVE (1u << BH_COMMAND_SERVE)
#define CHECK (1u << BH_COMMAND_CHECK)
#define TEST  (1u << BH_COMMAND_TEST)
#define TOKEN (1u << BH_COMMAND_TOKEN)

static const struct {
    const char *name, *arguments, *what, *more;
} commands[] = {
    [BH_COMMAND_SERVE] = {"serve", "[OPTION...]", "run the gateway",
                          "Options override the environment, and that overrides the file.\n"},
    [BH_COMMAND_CHECK] = {"check", "[OPTION...]", "check configuration and scripts, then exit",
                          "It refuses what serve refuses, and lists every mistake. on_init runs,\n"
                          "but nothing is sent to Redis or to other services.\n"},
    [BH_COMMAND_TEST] = {"test", "[-c FILE] SPEC... [OPTION...]", "run specs of policies",
                         "All further arguments are busted's: files or folders of specs, and "
                         "options such\n"
                         "as --filter=PATTERN, --shuffle and -o TAP.\n"},
    [BH_COMMAND_TOKEN] = {"token", "--user ID [OPTION...]", "print a JWT for testing",
                          "It is signed with auth.jwt.secret.\n"},
};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static const struct {
    const char *name;
    int letter; /* also alone, as -c; other values are only for getopt */
    const char *argument;
    const char *path; /* the key that it sets, or NULL */
    bool adds_up;     /* it may be repeated */
    unsigned commands;
    const char *what;
} options[] = {
    {"config", 'c', "FILE", NULL, false, SERVE | CHECK | TEST | TOKEN,
     "the configuration, a Lua file that returns a table"},
    {"dev", 'd', NULL, "server.dev", false, SERVE | CHECK,
     "for development: loopback addresses only, no keys, demo page"},
    {"listen", 'l', "ADDRESS:PORT", "server.listen", true, SERVE | CHECK,
     "where to listen; may be repeated, and replaces what file\n"
     "and environment say"},
    {"redis", 'r', "URL", "redis.url", true, SERVE | CHECK,
     "redis://[user:pass@]host:port/db, rediss://, unix:///path,\n"
     "redis+sentinel://host,host/master, redis+cluster://host,host;\n"
     "may be repeated"},
    {"policy", 'p', "FILE", "script.files", true, SERVE | CHECK, "a Lua policy; may be repeated"},
    {"workers", 'w', "N", "server.workers", false, SERVE | CHECK,
     "worker threads (0: one for each core)"},
    {"instance", 'i', "ID", "server.instance", false, SERVE | CHECK, "id of this instance"},
    {"user", 'u', "ID", NULL, false, TOKEN, "the user of the token"},
    {"tenant", 't', "ID", NULL, false, TOKEN, "the tenant of the token"},
    {"ttl", 's', "SECONDS", NULL, false, TOKEN, "how long it is valid, one hour by default"},
    {"help", 'h', NULL, NULL, false, SERVE | CHECK | TEST | TOKEN, "print this"},
    {"version", 'V', NULL, NULL, false, SERVE | CHECK | TEST | TOKEN, "print the version"},
};
#define OPTION_COUNT (sizeof options / sizeof *options)

#define TTL_MAX_S (10 * 366 * 86400u)

static int usage_error(const char *what, const char *which) {
    fprintf(stderr, "bellhop: %s%s; see bellhop --help\n", what, which);
    return BH_EXIT_USAGE;
}

/* --- help --- */

static void print_options(enum bh_command command) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char left[64];
        if (!(options[i].commands & (1u << command)) || options[i].letter == 'V')
            continue;
        bool alone = options[i].letter == 'c' || options[i].letter == 'h';
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", alone ? '-' : ' ',
                 alone ? options[i].letter : ' ', alone ? "," : " ", options[i].name,
                 options[i].argument ? " " : "", options[i].argument ? options[i].argument : "");
        struct bh_slice rest = bh_slice_cstr(options[i].what), line;
        for (const char *head = left; bh_slice_split(&rest, '\n', &line); head = "")
            printf("  %-26s %.*s\n", head, BH_SLICE_ARG(line));
    }
}

static void print_command_help(enum bh_command command) {
    printf("usage: bellhop %s %s\n\n%s\n\n", commands[command].name, commands[command].arguments,
           commands[command].what);
    print_options(command);
    printf("\n%s", commands[command].more);
}

static void print_help(void) {
    printf("usage: bellhop COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-9s %s\n", commands[i].name, commands[i].what);
    printf("  %-9s %s\n  %-9s %s\n", "help", "print this; with a command, its options", "version",
           "print the version");
    printf("\nbellhop COMMAND --help prints the options of a command.\n"
           "Each configuration key can be set in the environment: redis.url is BELLHOP_REDIS_URL.\n"
           "Options override the environment, and that overrides the file.\n");
}

static int end_output(void) {
    return fflush(stdout) == 0 && !ferror(stdout) ? BH_EXIT_OK : BH_EXIT_FAILED;
}

/* --- options --- */

static bool set_key(struct bh_command_line *c, const char *path, const char *value, bool adds_up) {
    for (size_t i = 0; i < c->option_count && !adds_up; i++) {
        if (strcmp(c->options[i].path, path) == 0) {
            c->options[i].value = value;
            return true;
        }
    }
    if (c->option_count == BH_OPTIONS_MAX)
        return false;
    c->options[c->option_count++] = (struct bh_config_option){path, value};
    return true;
}

static int set_ttl(struct bh_command_line *c, const char *text) {
    if (bh_slice_u64(bh_slice_cstr(text), TTL_MAX_S, &c->ttl_s) == 0)
        return BH_EXIT_OK;
    return usage_error("--ttl must be a number of seconds, at most ten years", "");
}

static int set_option(struct bh_command_line *c, size_t which, const char *value) {
    if (options[which].path) {
        bool set = set_key(c, options[which].path, value ? value : "true", options[which].adds_up);
        return set ? BH_EXIT_OK : usage_error("too many options --", options[which].name);
    }
    switch (options[which].letter) {
    case 'c':
        c->file = value;
        return BH_EXIT_OK;
    case 'u':
        c->user = value;
        return BH_EXIT_OK;
    case 't':
        c->tenant = value;
        return BH_EXIT_OK;
    default:
        return set_ttl(c, value);
    }
}

/* --- commands --- */

static bool find_command(const char *name, enum bh_command *out) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        *out = (enum bh_command)i;
        return true;
    }
    return false;
}

static int unknown_command(const char *name) {
    const char *names[COMMAND_COUNT + 1] = {0};
    char text[128];
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    const char *near = bh_suggest(name, names);
    snprintf(text, sizeof text, "%.64s%s%s%s", name, near ? " (did you mean " : "",
             near ? near : "", near ? "?)" : "");
    return usage_error("unknown command ", text);
}

/* `help`, `help COMMAND`; name NULL: all. */
static int help(const char *name) {
    enum bh_command command;
    if (!name)
        print_help();
    else if (find_command(name, &command))
        print_command_help(command);
    else
        return unknown_command(name);
    return end_output();
}

static int version(void) {
    puts("bellhop " BELLHOP_VERSION);
    return end_output();
}

/* argv begins after `test`. All options except a leading -c or --help are busted's. */
static bool parse_test(struct bh_command_line *c, int argc, char **argv, int *status) {
    c->command = BH_COMMAND_TEST;
    if (argc > 1 && (strcmp(argv[0], "-c") == 0 || strcmp(argv[0], "--config") == 0)) {
        c->file = argv[1];
        argc -= 2;
        argv += 2;
    }
    c->spec_count = argc;
    c->specs = argv;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
        *status = help("test");
    else if (argc == 0)
        *status = usage_error("test needs a spec: bellhop test spec/policy_spec.lua", "");
    else
        return true;
    return false;
}

/* used: a bit for each option that was given. */
static int check_options(const struct bh_command_line *c, unsigned used) {
    char text[64];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (!(used & (1u << i)) || (options[i].commands & (1u << c->command)))
            continue;
        snprintf(text, sizeof text, "%s has no option --%s", commands[c->command].name,
                 options[i].name);
        return usage_error(text, "");
    }
    if (c->command == BH_COMMAND_TOKEN && !c->user)
        return usage_error("token needs --user", "");
    return BH_EXIT_OK;
}

static int parse_command(struct bh_command_line *c, int argc, char **argv, unsigned used) {
    if (argc == 0)
        return usage_error("a command is missing: serve, check, test or token", "");
    if (!find_command(argv[0], &c->command))
        return unknown_command(argv[0]);
    if (c->command == BH_COMMAND_TEST)
        return usage_error("test takes its options after its name", "");
    if (argc > 1)
        return usage_error("unexpected argument ", argv[1]);
    return check_options(c, used);
}

/* --- getopt --- */

#define FIRST 256 /* getopt returns this and the number of the option */

static int next_option(int argc, char **argv) {
    static struct option all[OPTION_COUNT + 1];
    for (size_t i = 0; i < OPTION_COUNT; i++)
        all[i] =
            (struct option){options[i].name, options[i].argument ? required_argument : no_argument,
                            NULL, FIRST + (int)i};
    int found = getopt_long(argc, argv, "c:hV", all, NULL);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (options[i].letter == found)
            return FIRST + (int)i;
    return found;
}

/* Help is for the command among the arguments, wherever it stands. */
static int help_for(int argc, char **argv) {
    enum bh_command command;
    for (int i = 1; i < argc; i++)
        if (find_command(argv[i], &command))
            return help(argv[i]);
    return help(NULL);
}

static bool parse_options(struct bh_command_line *out, int argc, char **argv, int *status) {
    int option;
    unsigned used = 0;
    optind = 0; /* glibc's getopt begins again */
    while ((option = next_option(argc, argv)) != -1) {
        if (option == '?') { /* getopt has printed what is wrong */
            fprintf(stderr, "bellhop: see bellhop --help\n");
            *status = BH_EXIT_USAGE;
            return false;
        }
        size_t which = (size_t)(option - FIRST);
        if (options[which].letter == 'h' || options[which].letter == 'V') {
            *status = options[which].letter == 'h' ? help_for(argc, argv) : version();
            return false;
        }
        used |= 1u << which;
        *status = set_option(out, which, optarg);
        if (*status != BH_EXIT_OK)
            return false;
    }
    *status = parse_command(out, argc - optind, argv + optind, used);
    return *status == BH_EXIT_OK;
}

bool bh_command_line_parse(struct bh_command_line *out, int argc, char **argv, int *status) {
    *out = (struct bh_command_line){.ttl_s = 3600};
    *status = BH_EXIT_OK;
    const char *first = argc > 1 ? argv[1] : "";
    if (strcmp(first, "test") == 0)
        return parse_test(out, argc - 2, argv + 2, status);
    if (strcmp(first, "help") == 0)
        *status = argc > 3 ? usage_error("unexpected argument ", argv[3]) : help(argv[2]);
    else if (strcmp(first, "version") == 0)
        *status = argc > 2 ? usage_error("unexpected argument ", argv[2]) : version();
    else
        return parse_options(out, argc, argv, status);
    return false;
}
