/* http1_write.h - header lines that we send. Thread: any. */
#ifndef BELLHOP_PROTO_HTTP1_WRITE_H
#define BELLHOP_PROTO_HTTP1_WRITE_H

#include "bellhop/proto/http1.h"

/* True when all names are tokens and no value holds a control character. */
bool bh_http1_may_send(const struct bh_header *headers, size_t count);
/* Appends "name: value\r\n". */
void bh_http1_write_header(struct bh_bytes *out, struct bh_slice name, struct bh_slice value);
void bh_http1_write_headers(struct bh_bytes *out, const struct bh_header *headers, size_t count);

#endif
