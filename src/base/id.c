/* id.c - the rules for ids as a table of character classes, one bit for each alphabet. */
#include "bellhop/base/id.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"

#include <stddef.h>

enum { PLAIN = 1, TOPIC = 2, MESSAGE = 4, EVERY = PLAIN | TOPIC | MESSAGE };

static const unsigned char alphabets[256] = {
    ['A' ... 'Z'] = EVERY, ['a' ... 'z'] = EVERY, ['0' ... '9'] = EVERY, ['_'] = EVERY,
    ['.'] = EVERY,         ['@'] = EVERY,         ['-'] = EVERY,         ['/'] = TOPIC | MESSAGE,
    [':'] = MESSAGE,       ['+'] = MESSAGE,       ['='] = MESSAGE,
};

static const struct {
    unsigned char alphabet;
    const char *why;
} rules[] = {
    [BH_ID_USER] = {PLAIN, "a user id may contain only A-Z a-z 0-9 _ . @ -"},
    [BH_ID_TENANT] = {PLAIN, "a tenant id may contain only A-Z a-z 0-9 _ . @ -"},
    [BH_ID_TOPIC] = {TOPIC, "a topic may contain only A-Z a-z 0-9 _ . @ - /"},
    [BH_ID_INSTANCE] = {PLAIN, "an instance id may contain only A-Z a-z 0-9 _ . @ -"},
    [BH_ID_MESSAGE] = {MESSAGE, "a message id may contain only A-Z a-z 0-9 _ . @ - / : + ="},
};

static const char *error_of(enum bh_id_kind kind, struct bh_slice id) {
    if (id.n == 0)
        return "an id must not be empty";
    if (id.n > BH_ID_MAX)
        return "an id must not be longer than 128 bytes";
    for (size_t i = 0; i < id.n; i++)
        if (!(alphabets[(unsigned char)id.p[i]] & rules[kind].alphabet))
            return rules[kind].why;
    if (kind == BH_ID_USER && bh_slice_eq(id, BH_SLICE("broadcast")))
        return "\"broadcast\" is reserved; choose another user id";
    return NULL;
}

int bh_id_check(enum bh_id_kind kind, struct bh_slice id, const char **why) {
    const char *text = error_of(kind, id);
    if (why && text)
        *why = text;
    return text ? BH_EINVAL : 0;
}

void bh_id_unique(char out[BH_UNIQUE_ID_LEN + 1]) {
    unsigned char bits[16];
    bh_random(bits, sizeof bits);
    size_t n = bh_base64url_encode(bh_slice(bits, sizeof bits), out);
    out[n] = '\0';
}
