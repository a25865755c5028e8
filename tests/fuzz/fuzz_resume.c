/* Where a client is in its streams (since=, Last-Event-ID): a text that is read is written again as
 * it was, its numbers are in range, and no topic is in it twice. */
#include "bellhop/core/resume.h"
#include "fuzz.h"

static void check(const struct bh_resume *r, struct bh_slice in) {
    char text[BH_RESUME_TEXT_MAX + 1];
    CHECK(r->count <= BH_RESUME_TOPICS_MAX);
    for (unsigned i = 0; i < r->count; i++) {
        struct bh_position p = r->topics[i].position;
        CHECK(p.epoch > 0 && p.epoch < BH_POSITION_END && p.offset < BH_POSITION_END);
        CHECK(bh_resume_find(r, r->topics[i].hash) == &r->topics[i].position);
    }
    size_t n = bh_resume_format(r, text);
    CHECK(n <= BH_RESUME_TEXT_MAX && text[n] == '\0');
    CHECK(in.n == 0 ? n == 2 : bh_slice_eq(bh_slice(text, n), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = fuzz_exact(bh_slice(data, size));
    struct bh_slice in = bh_slice(copy, size);
    struct bh_resume r;
    struct bh_position p;
    const char *why = NULL;
    if (bh_resume_parse(in, &r, &why) == 0)
        check(&r, in);
    else
        CHECK(why != NULL);
    if (bh_position_parse(in, &p) == 0) {
        char text[BH_POSITION_TEXT_MAX + 1];
        CHECK(bh_slice_eq(bh_slice(text, bh_position_format(p, text)), in));
    }
    free(copy);
    return 0;
}
