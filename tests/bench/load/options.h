/* options.h - the command line of bench_load. Immutable once parsed; strings live as long as the
 * process. */
#ifndef BELLHOP_BENCH_OPTIONS_H
#define BELLHOP_BENCH_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum mode_id { MODE_ECHO, MODE_FANOUT, MODE_USERS, MODE_IDLE, MODE_BURST, MODE_RECOVER, MODES };
enum protocol_id {
    PROTOCOL_RAW,
    PROTOCOL_NATS,
    PROTOCOL_CENTRIFUGO,
    PROTOCOL_TCP,
    PROTOCOL_SSE,
    PROTOCOLS
};
enum publish_id { PUBLISH_NOTHING, PUBLISH_HTTP, PUBLISH_REDIS, PUBLISH_NATS };

#define OPTIONS_MAX_PIDS      16
#define OPTIONS_MAX_HEADERS   8
#define OPTIONS_MAX_ADDRESSES 16

struct options {
    enum mode_id mode;
    enum protocol_id protocol;
    const char *host; /* the first address as given, with the port: for the Host header */
    struct sockaddr_in addresses[OPTIONS_MAX_ADDRESSES];
    size_t address_count;
    unsigned connections, processes, sources;
    unsigned users;             /* mode users: at least as many as connections */
    const char *path, *channel; /* may hold %d; the channel may be null */
    const char *paths; /* recover: a file with the path of each connection on a line; or null */
    bool tls, probe;
    size_t size;
    unsigned in_flight, rounds;
    double rate; /* 0: closed loop */
    double warmup, seconds, settle, drain;
    enum publish_id publish;
    const char *publish_host, *publish_path; /* the path is the channel or the subject */
    struct sockaddr_in publish_address;
    const char *headers[OPTIONS_MAX_HEADERS], *body;
    size_t header_count, pid_count;
    pid_t pids[OPTIONS_MAX_PIDS];
};

extern const char *const options_mode_names[MODES];

/* Exits with 0 after --help, and with 2 when an argument is wrong. */
void options_parse(struct options *o, int argc, char **argv);

#endif
