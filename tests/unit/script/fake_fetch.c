/* fake_fetch.c - see fake_fetch.h. */
#include "fake_fetch.h"

static bh_handle fake_fetch_call(struct bh_fetch *f, const struct bh_fetch_request *r,
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

static void fake_fetch_cancel(struct bh_fetch *f, bh_handle call) {
    struct fake_fetch *fake = (struct fake_fetch *)f;
    if (call != fake->calls || !fake->done)
        return;
    fake->cancelled++;
    fake->done = NULL;
}

const struct bh_fetch_vt fake_fetch_vt = {fake_fetch_call, fake_fetch_cancel};

void fake_fetch_answer(struct fake_fetch *fake, int error, const char *why,
                       const struct bh_fetch_response *response) {
    bh_fetch_cb done = fake->done;
    fake->done = NULL;
    done(fake->ud, fake->handle, error, why, response);
}

void fake_fetch_free(struct fake_fetch *fake) {
    bh_bytes_free(&fake->request);
}
