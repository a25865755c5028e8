/* options.c - the command line: the options, which of them go together, and defaults that depend on
 * other options. Defaults that depend on the machine (processes, source addresses) are load.c's. */
#include "options.h"

#include "output.h"
#include "payload.h"

#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const options_mode_names[MODES] = {"echo", "fanout", "users",
                                               "idle", "burst",  "recover"};
static const char *const protocol_names[PROTOCOLS] = {"raw", "nats", "centrifugo", "tcp", "sse"};

static const char usage[] =
    "usage: bench_load MODE [option...] HOST:PORT...\n"
    "\n"
    "  echo    each connection sends messages and receives them back\n"
    "  fanout  each published message reaches all connections\n"
    "  users   each published message reaches one user\n"
    "  idle    connections do nothing: memory for each\n"
    "  burst   connections are opened as fast as the server accepts them\n"
    "  recover connections come back with a position (in the path), each for --rounds messages\n"
    "\n"
    "  Several addresses are used in turn, one for each connection.\n"
    "\n"
    "  --connections N      in total (100)\n"
    "  --processes K        worker processes (as few as the limit of file descriptors allows)\n"
    "  --sources A          source addresses 127.0.0.1..A (as few as the ports allow)\n"
    "  --path PATH          of the WebSocket; %d is the number of the connection, from 1 (/ws)\n"
    "  --paths FILE         recover: the path of each connection on a line (--path)\n"
    "  --protocol raw|nats|centrifugo|tcp|sse    inside the WebSocket; tcp: without WebSocket; "
    "sse:\n"
    "                       server-sent events, only for recover (raw)\n"
    "  --channel NAME       nats, centrifugo: subscribe to it; %d as in the path\n"
    "  --tls                without verification\n"
    "  --size BYTES         of a payload (20 for echo, else 128)\n"
    "  --in-flight P        echo: messages of each connection (1); users: messages in total (64);\n"
    "                       burst, recover: connections being opened (256)\n"
    "  --users N            users: number of users, published to in turn; user n is connection\n"
    "                       (n - 1) % connections + 1 (as many as connections)\n"
    "  --rate R             messages per second, sent on a fixed schedule (open loop)\n"
    "  --warmup S           before the measured time (1)\n"
    "  --seconds S          the measured time (5)\n"
    "  --rounds N           fanout: messages, each sent when the last one is delivered (100);\n"
    "                       recover: messages that each connection is to receive\n"
    "  --settle S           pause when all connections are open (0.5)\n"
    "  --drain S            how long to wait for outstanding messages at the end (10)\n"
    "  --publish http://HOST:PORT/PATH | redis://HOST:PORT/CHANNEL | nats://HOST:PORT/SUBJECT\n"
    "                       fanout, users; %d is the number of the user\n"
    "  --header 'Name: value'    for publishing by HTTP; repeatable\n"
    "  --body TEMPLATE      for publishing by HTTP: %p is the payload, %d the user (%p)\n"
    "  --pid PID            of the server; its children count, too; repeatable\n"
    "  --probe              ping one more connection every 5 ms, from a process of its own; "
    "bellhop\n"
    "                       needs websocket.control_per_second = 1000 for it\n"
    "  --format kv          lines `key value`, the only format\n"
    "\n"
    "status: 0 all delivered; 1 cannot run; 2 wrong usage; 3 lost, duplicate or wrong messages\n";

__attribute__((noreturn, format(printf, 1, 2))) static void fail_usage(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "bench_load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see bench_load --help\n");
    exit(2);
}

/* --- values --- */

static int choice(const char *what, const char *text, const char *const *names, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    fail_usage("%s: unknown value %s", what, text);
}

static double number(const char *what, const char *text, double min, double max) {
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || !(value >= min && value <= max))
        fail_usage("--%s must be a number from %g to %g, not %s", what, min, max, text);
    return value;
}

static unsigned whole(const char *what, const char *text, unsigned max) {
    double value = number(what, text, 1, max);
    if (value != (unsigned)value)
        fail_usage("--%s must be a whole number, not %s", what, text);
    return (unsigned)value;
}

static void address(struct sockaddr_in *out, const char *text) {
    char host[256];
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof host)
        fail_usage("HOST:PORT expected, not %s", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(host, colon + 1, &hints, &found);
    if (error)
        fail_usage("%s: %s", text, gai_strerror(error));
    memcpy(out, found->ai_addr, sizeof *out);
    freeaddrinfo(found);
}

static void publish(struct options *o, const char *url) {
    static const char *const schemes[] = {"", "http://", "redis://", "nats://"};
    for (int i = PUBLISH_HTTP; i <= PUBLISH_NATS; i++) {
        size_t len = strlen(schemes[i]);
        if (strncmp(url, schemes[i], len) != 0)
            continue;
        const char *slash = strchr(url + len, '/');
        if (!slash || !slash[1])
            fail_usage("--publish %s: path, channel or subject missing", url);
        o->publish = (enum publish_id)i;
        o->publish_host = strndup(url + len, (size_t)(slash - url) - len);
        o->publish_path = i == PUBLISH_HTTP ? slash : slash + 1;
        address(&o->publish_address, o->publish_host);
        return;
    }
    fail_usage("--publish must begin with http://, redis:// or nats://, not %s", url);
}

/* --- the options --- */

enum {
    CONNECTIONS = 256,
    USERS,
    PROCESSES,
    SOURCES,
    WS_PATH,
    PATHS,
    PROTOCOL,
    CHANNEL,
    TLS,
    SIZE,
    IN_FLIGHT,
    RATE,
    WARMUP,
    SECONDS,
    ROUNDS,
    SETTLE,
    DRAIN,
    PUBLISH,
    HEADER,
    BODY,
    PID,
    PROBE,
    FORMAT,
    HELP
};

static const struct option known[] = {
    {"connections", 1, NULL, CONNECTIONS},
    {"users", 1, NULL, USERS},
    {"processes", 1, NULL, PROCESSES},
    {"sources", 1, NULL, SOURCES},
    {"path", 1, NULL, WS_PATH},
    {"paths", 1, NULL, PATHS},
    {"protocol", 1, NULL, PROTOCOL},
    {"channel", 1, NULL, CHANNEL},
    {"tls", 0, NULL, TLS},
    {"size", 1, NULL, SIZE},
    {"in-flight", 1, NULL, IN_FLIGHT},
    {"rate", 1, NULL, RATE},
    {"warmup", 1, NULL, WARMUP},
    {"seconds", 1, NULL, SECONDS},
    {"rounds", 1, NULL, ROUNDS},
    {"settle", 1, NULL, SETTLE},
    {"drain", 1, NULL, DRAIN},
    {"publish", 1, NULL, PUBLISH},
    {"header", 1, NULL, HEADER},
    {"body", 1, NULL, BODY},
    {"pid", 1, NULL, PID},
    {"probe", 0, NULL, PROBE},
    {"format", 1, NULL, FORMAT},
    {"help", 0, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static void set_number(struct options *o, int option, const char *name, const char *text) {
    switch (option) {
    case CONNECTIONS:
        o->connections = whole(name, text, 1000000);
        break;
    case USERS:
        o->users = whole(name, text, 10000000);
        break;
    case PROCESSES:
        o->processes = whole(name, text, 1000);
        break;
    case SOURCES:
        o->sources = whole(name, text, 250);
        break;
    case SIZE:
        o->size = (size_t)number(name, text, PAYLOAD_MIN, 1 << 24);
        break;
    case IN_FLIGHT:
        o->in_flight = whole(name, text, 1000000);
        break;
    case ROUNDS:
        o->rounds = whole(name, text, 10000000);
        break;
    case RATE:
        o->rate = number(name, text, 0.1, 1e8);
        break;
    case WARMUP:
        o->warmup = number(name, text, 0, 3600);
        break;
    case SECONDS:
        o->seconds = number(name, text, 0.001, 36000);
        break;
    case SETTLE:
        o->settle = number(name, text, 0, 3600);
        break;
    case DRAIN:
        o->drain = number(name, text, 0.01, 3600);
        break;
    }
}

static void set(struct options *o, int option, const char *name, char *text) {
    switch (option) {
    case WS_PATH:
        o->path = text;
        break;
    case PATHS:
        o->paths = text;
        break;
    case PROTOCOL:
        o->protocol = (enum protocol_id)choice("--protocol", text, protocol_names, PROTOCOLS);
        break;
    case CHANNEL:
        o->channel = text;
        break;
    case TLS:
        o->tls = true;
        break;
    case PUBLISH:
        publish(o, text);
        break;
    case HEADER:
        if (o->header_count == OPTIONS_MAX_HEADERS)
            fail_usage("--header: too many");
        o->headers[o->header_count++] = text;
        break;
    case BODY:
        o->body = text;
        break;
    case PID:
        if (o->pid_count == OPTIONS_MAX_PIDS)
            fail_usage("--pid: too many");
        o->pids[o->pid_count++] = (pid_t)whole(name, text, 1 << 22);
        break;
    case PROBE:
        o->probe = true;
        break;
    case FORMAT:
        if (strcmp(text, "kv") != 0)
            fail_usage("--format must be kv");
        break;
    case HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        set_number(o, option, name, text);
    }
}

/* Defaults that depend on other options, and combinations that make no sense. */
static void complete(struct options *o) {
    static const unsigned in_flight[MODES] = {1, 1, 64, 256, 256, 256};
    bool publishes = o->mode == MODE_FANOUT || o->mode == MODE_USERS;
    if (!o->in_flight)
        o->in_flight = in_flight[o->mode];
    if (!o->size)
        o->size = o->mode == MODE_ECHO ? 20 : 128;
    if (publishes != (o->publish != PUBLISH_NOTHING))
        fail_usage("--publish is required by fanout and users, and only valid there");
    if (o->users && (o->mode != MODE_USERS || o->users < o->connections))
        fail_usage("--users is only valid in the mode users, and must be at least --connections");
    if (!o->users)
        o->users = o->connections;
    if (o->rate > 0 && o->mode > MODE_USERS)
        fail_usage("--rate is only valid for echo, fanout and users");
    if (o->protocol == PROTOCOL_TCP && (publishes || o->probe))
        fail_usage("--protocol tcp is only valid for echo, idle and burst, without --probe");
    if (o->protocol == PROTOCOL_SSE && o->mode != MODE_RECOVER)
        fail_usage("--protocol sse is only valid for recover");
    if (o->paths && o->mode != MODE_RECOVER)
        fail_usage("--paths is only valid for recover");
    bool named = o->protocol == PROTOCOL_NATS || o->protocol == PROTOCOL_CENTRIFUGO;
    if (named && o->mode == MODE_ECHO)
        fail_usage("echo needs --protocol raw or tcp");
    if (named && publishes && !o->channel)
        fail_usage("--protocol nats and centrifugo need a --channel");
}

void options_parse(struct options *o, int argc, char **argv) {
    *o = (struct options){.connections = 100,
                          .path = "/ws",
                          .body = "%p",
                          .rounds = 100,
                          .warmup = 1,
                          .seconds = 5,
                          .settle = 0.5,
                          .drain = 10};
    int option, index;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", known, &index)) != -1) {
        if (option == '?')
            fail_usage("unknown option %s, or its value is missing", argv[optind - 1]);
        set(o, option == 'h' ? HELP : option, known[index].name, optarg);
    }
    if (argc - optind < 2)
        fail_usage("a mode and HOST:PORT are required");
    if (argc - optind > 1 + OPTIONS_MAX_ADDRESSES)
        fail_usage("too many addresses");
    o->mode = (enum mode_id)choice("mode", argv[optind], options_mode_names, MODES);
    o->host = argv[optind + 1];
    for (int i = optind + 1; i < argc; i++)
        address(&o->addresses[o->address_count++], argv[i]);
    complete(o);
}
