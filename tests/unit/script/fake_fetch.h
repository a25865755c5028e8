/* fake_fetch.h - an HTTP client that keeps what it is asked for; the test answers. */
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

static inline bh_handle fake_fetch_call(struct bh_fetch *f, const struct bh_fetch_request *r,
                                        bh_fetch_cb done, void *ud, bh_handle handle) {
    struct fake_fetch *fake = (struct fake_fetch *)f;
    fake->calls++;
    fake->last = (struct bh_fetch_request){.timeout_ms = r->timeout_ms,
                                           .max_bytes = r->max_bytes,
                                           .redirects = r->redirects,
                                           .has_body = r->has_body};
    bh_bytes_clear(&fake->request);
    bh_bytes_addf(&fake->request, "%.*s %.*s\n", BH_SLICE_ARG(r->method), BH_SLICE_ARG(r->url));
    for (size_t i = 0; i < r->header_count; i++)
        bh_bytes_addf(&fake->request, "%.*s: %.*s\n", BH_SLICE_ARG(r->headers[i].name),
                      BH_SLICE_ARG(r->headers[i].value));
    bh_bytes_addf(&fake->request, "\n%.*s", BH_SLICE_ARG(r->body));
    bh_bytes_addc(&fake->request, '\0');
    if (fake->refuse) {
        done(ud, handle, -1, fake->refuse, NULL);
        return 0;
    }
    fake->done = done;
    fake->ud = ud;
    fake->handle = handle;
    return fake->calls;
}

static inline void fake_fetch_cancel(struct bh_fetch *f, bh_handle call) {
    struct fake_fetch *fake = (struct fake_fetch *)f;
    if (call != fake->calls || !fake->done)
        return;
    fake->cancelled++;
    fake->done = NULL;
}

static const struct bh_fetch_vt fake_fetch_vt = {fake_fetch_call, fake_fetch_cancel};

/* Answers the last request. */
static inline void fake_fetch_answer(struct fake_fetch *fake, int error, const char *why,
                                     const struct bh_fetch_response *response) {
    bh_fetch_cb done = fake->done;
    fake->done = NULL;
    done(fake->ud, fake->handle, error, why, response);
}

static inline void fake_fetch_free(struct fake_fetch *fake) {
    bh_bytes_free(&fake->request);
}

#endif
