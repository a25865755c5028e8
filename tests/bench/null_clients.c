/* null_clients.c - see the header. */
#include "null_clients.h"

#include "bellhop/base/mem.h"
#include "counting.h"

#include <stdio.h>

unsigned long null_deliveries;

static int null_deliver(struct bh_subscriber *s, struct bh_message *m) {
    null_deliveries++;
    return 0;
}

static int null_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    null_deliveries++;
    return 0;
}

static void null_close(struct bh_subscriber *s, unsigned code, struct bh_slice reason) {}

static size_t null_queued(const struct bh_subscriber *s) {
    return 0;
}

static void null_read(struct bh_subscriber *s, bool on) {}

static struct bh_slice null_ip(struct bh_subscriber *s, char buffer[64]) {
    return BH_SLICE("192.0.2.1");
}

static struct bh_slice null_protocol(const struct bh_subscriber *s) {
    return bh_slice(NULL, 0);
}

static const struct bh_subscriber_vt null_vt = {
    .deliver = null_deliver,
    .send = null_send,
    .close = null_close,
    .queued = null_queued,
    .read = null_read,
    .ip = null_ip,
    .protocol = null_protocol,
};

static void on_opened(void *ud, bh_handle handle, int error) {
    counting_must(error == 0, "a connection");
}

struct null_client *null_clients_open(struct instance *in, unsigned count) {
    struct null_client *clients = bh_calloc(count, sizeof *clients);
    for (unsigned i = 0; i < count; i++) {
        struct bh_identity parts = {.tenant = BH_SLICE("t")}, *identity;
        char user[24];
        snprintf(user, sizeof user, "u%06u", i);
        parts.user = bh_slice_cstr(user);
        counting_must(bh_identity_new(&parts, &identity, NULL) == 0, "an identity");
        clients[i].subscriber.vt = &null_vt;
        bh_node_open(in->worker, &clients[i].subscriber, identity, on_opened, NULL, 0);
        if (i % 100 == 0)
            bh_loop_tick(in->loop, false);
    }
    for (int i = 0; i < 8; i++)
        bh_loop_tick(in->loop, false);
    return clients;
}

void null_clients_close(struct instance *in, struct null_client *clients, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        bh_node_close(in->worker, &clients[i].subscriber, 1000, bh_slice(NULL, 0));
        if (i % 100 == 0)
            bh_loop_tick(in->loop, false);
    }
    for (int i = 0; i < 8; i++)
        bh_loop_tick(in->loop, false);
    bh_free(clients);
}
