/* payload.h - the content of messages: `bh:`, a stamp of sixteen hex digits (when it was due, in
 * ns), fill, and a full stop as the last byte. It needs no escapes in JSON. A payload counts as
 * delivered only if all of it is unchanged.
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
    char *bytes; /* with the last stamp */
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

/* Whether the bytes are this payload with any stamp; stores the stamp. */
bool payload_check(const struct payload *p, const void *bytes, size_t len, uint64_t *stamp);

/* Expands the template and returns its full length, as snprintf does; the payload may be null. */
size_t payload_expand(char *out, size_t room, const char *template, unsigned number,
                      const struct payload *p);

#endif
