/* data.h - payloads as members of JSON objects: in frames of format=json, and in pages of the
 * history. Thread: any. */
#ifndef BELLHOP_EDGE_CLIENT_DATA_H
#define BELLHOP_EDGE_CLIENT_DATA_H

#include "bellhop/core/message.h"

/* Appends "data":..., as it is when it is JSON; other text is a string beside "encoding":"text", a
 * binary payload one in base64 beside "encoding":"base64". */
void bh_client_add_data(struct bh_bytes *out, unsigned opcode, struct bh_slice data);

#endif
