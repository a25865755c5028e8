/* null_clients.h - subscribers without a socket, for hot_paths.c: they count and keep nothing. */
#ifndef BELLHOP_BENCH_NULL_CLIENTS_H
#define BELLHOP_BENCH_NULL_CLIENTS_H

#include "instance.h"

struct null_client {
    struct bh_subscriber subscriber;
};

extern unsigned long null_deliveries; /* to all of them */

/* Users u000000, u000001, ... of the tenant t. */
struct null_client *null_clients_open(struct instance *in, unsigned count);
void null_clients_close(struct instance *in, struct null_client *clients, unsigned count);

#endif
