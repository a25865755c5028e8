/* payload.h - what is sent: `bh:`, sixteen hex digits (when it was due, ns), fill, and a full stop
 * as the last of all bytes. It needs no escapes in JSON and no quotes anywhere. A payload counts as
 * delivered only when all of it is there, unchanged.
 *
 * Templates (paths, channels, bodies) hold %d for a number and %p for the payload. */
#ifndef BELLHOP_BENCH_PAYLOAD_H
#define BELLHOP_BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_MARKER     "bh:"
#define PAYLOAD_MARKER_LEN 3
#define PAYLOAD_STAMP_LEN  16
#define PAYLOAD_MIN        (PAYLOAD_MARKER_LEN + PAYLOAD_STAMP_LEN + 1)

struct payload {
    char *bytes; /* with the stamp that it got last */
    size_t size;
};

/* size: at least PAYLOAD_MIN. Free it with payload_deinit. */
void payload_init(struct payload *p, size_t size);
void payload_deinit(struct payload *p);

/* Sixteen digits. */
void payload_digits(char *out, uint64_t stamp);

static inline void payload_stamp(struct payload *p, uint64_t stamp) {
    payload_digits(p->bytes + PAYLOAD_MARKER_LEN, stamp);
}

/* Whether these bytes are such a payload, and if so, its stamp. */
bool payload_check(const struct payload *p, const void *bytes, size_t len, uint64_t *stamp);

/* How long the template gets, and the same with its bytes; the payload may be null. */
size_t payload_expand(char *out, size_t room, const char *template, unsigned number,
                      const struct payload *p);

#endif
