/* mode_recover.c - clients that come back: each opens its connection with the position it had, by
 * --path or --paths, and is done when it has received --rounds messages, which hold `"bh:` and a
 * number from 1. Everything is measured while the connections are opened. */
#include "client.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARKER "\"" PAYLOAD_MARKER /* with the quote: an id may hold the rest */

/* The paths of the connections, in one block; read before the first connection. */
struct recover_paths {
    char *bytes, **lines;
    unsigned count;
};

static struct recover_paths paths;

static char *read_file(const char *name) {
    FILE *file = fopen(name, "rb");
    size_t size = 0, room = 1 << 16, n;
    char *bytes = must_realloc(NULL, room);
    if (!file)
        die("--paths: cannot read %s", name);
    while ((n = fread(bytes + size, 1, room - size - 1, file)) > 0) {
        size += n;
        if (size + 1 == room)
            bytes = must_realloc(bytes, room *= 2);
    }
    fclose(file);
    bytes[size] = 0;
    return bytes;
}

static void init(struct worker *worker) {
    const struct options *o = worker->options;
    if (!o->paths)
        return;
    paths.bytes = read_file(o->paths);
    paths.lines = must_realloc(NULL, o->connections * sizeof *paths.lines);
    for (char *at = paths.bytes; paths.count < o->connections && *at; paths.count++) {
        paths.lines[paths.count] = at;
        at += strcspn(at, "\n");
        if (*at)
            *at++ = 0;
    }
    if (paths.count < o->connections)
        die("--paths: %u lines for %u connections", paths.count, o->connections);
}

static const char *path(const struct client *client) {
    return paths.count ? paths.lines[client->number - 1] : client->worker->options->path;
}

static void complete(struct client *client) {
    struct worker *worker = client->worker;
    histogram_add(&worker->result->latency, worker->now - client->begun);
    worker->result->opened_at = worker->now;
    if (worker->result->latency.count == worker->count)
        worker_done(worker);
}

static void message(struct client *client, const uint8_t *bytes, size_t len) {
    struct result *r = client->worker->result;
    const uint8_t *marker = memmem(bytes, len, MARKER, sizeof MARKER - 1);
    if (!marker)
        return;
    const char *digits = (const char *)marker + sizeof MARKER - 1;
    if (strtoull(digits, NULL, 10) != client->received + 1)
        r->unexpected++;
    atomic_fetch_add(&r->delivered, 1);
    r->delivered_measured++;
    if (++client->received == client->worker->options->rounds)
        complete(client);
}

static uint64_t expected(const struct client *client) {
    return client->worker->options->rounds;
}

static void tick(struct worker *worker) {}

const struct mode mode_recover = {.init = init,
                                  .path = path,
                                  .message = message,
                                  .tick = tick,
                                  .expected = expected,
                                  .counts_opened = true};
