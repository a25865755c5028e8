/* fetch.h - the port through which scripts send HTTP requests. One for each worker, on its thread.
 */
#ifndef BELLHOP_CORE_FETCH_H
#define BELLHOP_CORE_FETCH_H

#include "bellhop/base/header.h"
#include "bellhop/base/slots.h"

#define BH_FETCH_BYTES_MAX      ((size_t)64 * 1024 * 1024) /* the largest max_bytes */
#define BH_FETCH_TIMEOUT_MAX_MS ((uint64_t)600 * 1000)
#define BH_FETCH_REDIRECTS_MAX  10

/* Borrowed during the call. 0 means the configured default; redirects 0: follow none. */
struct bh_fetch_request {
    struct bh_slice url;
    struct bh_slice method; /* empty: GET, or POST with a body */
    const struct bh_header *headers;
    size_t header_count;
    struct bh_slice body;
    bool has_body;       /* it may be empty */
    uint64_t timeout_ms; /* of the whole request, waiting in the queue included */
    size_t max_bytes;    /* of the response's body */
    unsigned redirects;  /* how many to follow; only for GET, HEAD and POST */
};

struct bh_fetch_response {
    int status;
    /* Names in lower case, in the order of arrival; a name may occur several times. */
    const struct bh_header *headers;
    size_t header_count;
    struct bh_slice body;
};

/* At most once: not after cancel, nor after the port has been freed. It fires before call returns
 * only for a request that is not sent: BH_EINVAL, or BH_EAGAIN (the queue is full).
 * error 0: response is valid during the call. Else BH_ETIMEDOUT, BH_EUNAVAIL (no connection),
 * BH_EDENIED (certificate, or an address that is not allowed), BH_ETOOBIG, BH_EPROTO or BH_EIO. why
 * is a text for people, valid during the call, without passwords. */
typedef void (*bh_fetch_cb)(void *ud, bh_handle handle, int error, const char *why,
                            const struct bh_fetch_response *response);

struct bh_fetch;

struct bh_fetch_vt {
    /* Returns a handle for cancel; 0: done has fired. */
    bh_handle (*call)(struct bh_fetch *f, const struct bh_fetch_request *request, bh_fetch_cb done,
                      void *ud, bh_handle handle);
    /* Aborts it without calling done. No effect on a request that has ended. */
    void (*cancel)(struct bh_fetch *f, bh_handle call);
};

struct bh_fetch {
    const struct bh_fetch_vt *vt;
};

#endif
