/* http1_write.h - writing header lines. Thread: any. */
#ifndef BELLHOP_PROTO_HTTP1_WRITE_H
#define BELLHOP_PROTO_HTTP1_WRITE_H

#include "bellhop/proto/http1.h"

/* True when every name is a token and no value has a control character. */
bool bh_http1_headers_ok(const struct bh_header *headers, size_t count);
/* Appends "name: value\r\n". */
void bh_http1_write_header(struct bh_bytes *out, struct bh_slice name, struct bh_slice value);
void bh_http1_write_headers(struct bh_bytes *out, const struct bh_header *headers, size_t count);

#endif
