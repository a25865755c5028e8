/* options.c - the command line: what there is, what fits together, and the defaults that follow
 * from one another. Whatever needs the machine (how many processes, how many addresses) is
 * load.c's. */
#include "options.h"

#include "payload.h"
#include "say.h"

#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const options_mode_names[MODES] = {"echo", "fanout", "users", "idle", "burst"};
static const char *const dialect_names[DIALECTS] = {"raw", "nats", "centrifugo", "tcp"};

static const char usage[] =
    "usage: bench_load MODE [option...] HOST:PORT...\n"
    "\n"
    "  echo    each connection sends messages and gets them back\n"
    "  fanout  one message is published and reaches all connections\n"
    "  users   messages are published to one user each\n"
    "  idle    connections that do nothing: memory\n"
    "  burst   connections are opened as fast as they are accepted\n"
    "\n"
    "  Of several addresses each takes the next connection in turn.\n"
    "\n"
    "  --connections N      in all (100)\n"
    "  --processes K        of the client (as few as the limit of descriptors asks for)\n"
    "  --sources A          addresses 127.0.0.1..A that it connects from (as ports ask for)\n"
    "  --path PATH          of the WebSocket; %d is the number of the connection, from 1 on (/ws)\n"
    "  --dialect raw|nats|centrifugo|tcp    what is spoken in the WebSocket; tcp: without one "
    "(raw)\n"
    "  --channel NAME       that nats and centrifugo subscribe to; %d as in the path\n"
    "  --tls                without verification\n"
    "  --size BYTES         of a payload (20 for echo, 128 else)\n"
    "  --in-flight P        echo: messages of each connection (1); users: in all (64); burst:\n"
    "                       connections that are being opened (256)\n"
    "  --users N            users: numbers that are published to, in turn; n is expected by the\n"
    "                       connection (n - 1) % connections + 1 (as many as connections)\n"
    "  --rate R             messages a second, on a schedule and whatever comes back\n"
    "  --warmup S           before the measured time (1)\n"
    "  --seconds S          that are measured (5)\n"
    "  --rounds N           fanout: messages, each when the last one is everywhere (100)\n"
    "  --settle S           pause when all connections are open (0.5)\n"
    "  --drain S            so long what is still out is waited for (10)\n"
    "  --publish http://HOST:PORT/PATH | redis://HOST:PORT/CHANNEL | nats://HOST:PORT/SUBJECT\n"
    "                       fanout, users; %d is the user's number\n"
    "  --header 'Name: value'    of http publishing; repeatable\n"
    "  --body TEMPLATE      of http publishing: %p is the payload, %d the user's number (%p)\n"
    "  --pid PID            of the server, whose children count, too; repeatable\n"
    "  --probe              pings one more connection each 5 ms, from a process of its own; "
    "bellhop\n"
    "                       allows it with websocket.control_per_second = 1000\n"
    "  --format kv          lines `key value`; there is no other\n"
    "\n"
    "status: 0; 1 what was asked cannot be done; 2 usage; 3 not all was delivered as it was sent\n";

__attribute__((noreturn, format(printf, 1, 2))) static void refuse(const char *format, ...) {
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
    refuse("%s: there is no %s", what, text);
}

static double number(const char *what, const char *text, double min, double max) {
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || !(value >= min && value <= max))
        refuse("--%s wants a number from %g to %g, not %s", what, min, max, text);
    return value;
}

static unsigned whole(const char *what, const char *text, unsigned max) {
    double value = number(what, text, 1, max);
    if (value != (unsigned)value)
        refuse("--%s wants a whole number, not %s", what, text);
    return (unsigned)value;
}

static void address(struct sockaddr_in *out, const char *text) {
    char host[256];
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof host)
        refuse("HOST:PORT is wanted, not %s", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(host, colon + 1, &hints, &found);
    if (error)
        refuse("%s: %s", text, gai_strerror(error));
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
            refuse("--publish: %s names no path, channel or subject", url);
        o->publish = (enum publish_id)i;
        o->publish_host = strndup(url + len, (size_t)(slash - url) - len);
        o->publish_path = i == PUBLISH_HTTP ? slash : slash + 1;
        address(&o->publish_address, o->publish_host);
        return;
    }
    refuse("--publish: http://, redis:// or nats:// is wanted, not %s", url);
}

/* --- the options --- */

enum {
    CONNECTIONS = 256,
    USERS,
    PROCESSES,
    SOURCES,
    WS_PATH,
    DIALECT,
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
    {"dialect", 1, NULL, DIALECT},
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
    case DIALECT:
        o->dialect = (enum dialect_id)choice("--dialect", text, dialect_names, DIALECTS);
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
            refuse("--header: too many");
        o->headers[o->header_count++] = text;
        break;
    case BODY:
        o->body = text;
        break;
    case PID:
        if (o->pid_count == OPTIONS_MAX_PIDS)
            refuse("--pid: too many");
        o->pids[o->pid_count++] = (pid_t)whole(name, text, 1 << 22);
        break;
    case PROBE:
        o->probe = true;
        break;
    case FORMAT:
        if (strcmp(text, "kv") != 0)
            refuse("--format: there is only kv");
        break;
    case HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        set_number(o, option, name, text);
    }
}

/* What follows from the rest, and what does not go together. */
static void complete(struct options *o) {
    static const unsigned in_flight[MODES] = {1, 1, 64, 256, 256};
    bool publishes = o->mode == MODE_FANOUT || o->mode == MODE_USERS;
    if (!o->in_flight)
        o->in_flight = in_flight[o->mode];
    if (!o->size)
        o->size = o->mode == MODE_ECHO ? 20 : 128;
    if (publishes != (o->publish != PUBLISH_NOTHING))
        refuse("--publish is for fanout and users, and they want it");
    if (o->users && (o->mode != MODE_USERS || o->users < o->connections))
        refuse("--users is for users, and there are no fewer than connections");
    if (!o->users)
        o->users = o->connections;
    if (o->rate > 0 && o->mode > MODE_USERS)
        refuse("--rate is for echo, fanout and users");
    if (o->dialect == DIALECT_TCP && (publishes || o->probe))
        refuse("--dialect tcp goes with echo, idle and burst, and without --probe");
    bool named = o->dialect == DIALECT_NATS || o->dialect == DIALECT_CENTRIFUGO;
    if (named && o->mode == MODE_ECHO)
        refuse("echo goes with the dialects raw and tcp");
    if (named && publishes && !o->channel)
        refuse("these dialects want a --channel");
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
            refuse("what is %s?", argv[optind - 1]);
        set(o, option == 'h' ? HELP : option, known[index].name, optarg);
    }
    if (argc - optind < 2)
        refuse("a mode and HOST:PORT are wanted");
    if (argc - optind > 1 + OPTIONS_MAX_ADDRESSES)
        refuse("too many addresses");
    o->mode = (enum mode_id)choice("mode", argv[optind], options_mode_names, MODES);
    o->host = argv[optind + 1];
    for (int i = optind + 1; i < argc; i++)
        address(&o->addresses[o->address_count++], argv[i]);
    complete(o);
}
