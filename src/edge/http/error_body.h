/* error_body.h - errors as JSON. Pure; any thread. */
#ifndef BELLHOP_EDGE_ERROR_BODY_H
#define BELLHOP_EDGE_ERROR_BODY_H

#include "bellhop/base/buf.h"

void bh_http_error_body(struct bh_bytes *out, const char *code, struct bh_slice message);
/* The object alone, for answers that hold several. */
void bh_http_error_object(struct bh_bytes *out, const char *code, struct bh_slice message);

#endif
