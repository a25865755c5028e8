/* fake_fetch.h - an HTTP client that records requests; the test answers. */
#ifndef BELLHOP_TESTS_UNIT_SCRIPT_FAKE_FETCH_H
#define BELLHOP_TESTS_UNIT_SCRIPT_FAKE_FETCH_H

#include "bellhop/base/buf.h"
#include "bellhop/core/fetch.h"

struct fake_fetch {
    struct bh_fetch base;
    unsigned calls, cancelled;
    struct bh_bytes request;      /* the last: "METHOD URL\nname: value\n\nbody", NUL-terminated */
    struct bh_fetch_request last; /* its numbers only */
    bh_fetch_cb done;             /* of the last one; NULL: answered or cancelled */
    void *ud;
    bh_handle handle;
    const char *refuse; /* at once, with this sentence */
};

extern const struct bh_fetch_vt fake_fetch_vt;

/* Answers the last request. */
void fake_fetch_answer(struct fake_fetch *fake, int error, const char *why,
                       const struct bh_fetch_response *response);
void fake_fetch_free(struct fake_fetch *fake);

#endif
