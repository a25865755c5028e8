/* subscriber.c - identities, and connection ids.
 *
 * Each connection has an identity, also an idle one, so it is small: one allocation for the struct,
 * its arrays and its strings. Any thread. */
#include "bellhop/core/node.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/mem.h"

#define TOPICS_MAX 256
#define TAGS_MAX   32
#define TAG_BYTES  256

static int check(const struct bh_identity *p, const char **why) {
    if (p->user.n && bh_id_check(BH_ID_USER, p->user, why))
        return BH_EINVAL;
    if (p->tenant.n && bh_id_check(BH_ID_TENANT, p->tenant, why))
        return BH_EINVAL;
    if (p->device.n > BH_ID_MAX) {
        *why = "the device name must have at most 128 bytes";
        return BH_EINVAL;
    }
    if (p->topic_count > TOPICS_MAX || p->tag_count > TAGS_MAX) {
        *why = "an identity can have at most 256 topics and 32 tags";
        return BH_EINVAL;
    }
    for (size_t i = 0; i < p->topic_count; i++)
        if (bh_id_check(BH_ID_TOPIC, p->topics[i], why))
            return BH_EINVAL;
    for (size_t i = 0; i < p->tag_count; i++) {
        if (p->tags[i].name.n > TAG_BYTES || p->tags[i].value.n > TAG_BYTES) {
            *why = "a tag's name and value must have at most 256 bytes each";
            return BH_EINVAL;
        }
    }
    return 0;
}

static size_t string_bytes(const struct bh_identity *p) {
    size_t n = p->user.n + p->tenant.n + p->device.n;
    for (size_t i = 0; i < p->topic_count; i++)
        n += p->topics[i].n;
    for (size_t i = 0; i < p->tag_count; i++)
        n += p->tags[i].name.n + p->tags[i].value.n;
    return n;
}

int bh_identity_new(const struct bh_identity *parts, struct bh_identity **out, const char **why) {
    const char *ignored;
    int error = check(parts, why ? why : &ignored);
    if (error)
        return error;
    size_t arrays =
        parts->topic_count * sizeof(struct bh_slice) + parts->tag_count * sizeof(struct bh_tag);
    struct bh_identity *id = bh_malloc(sizeof *id + arrays + string_bytes(parts));
    struct bh_slice *topics = (struct bh_slice *)(id + 1);
    struct bh_tag *tags = (struct bh_tag *)(topics + parts->topic_count);
    char *at = (char *)(id + 1) + arrays;
    *id = *parts;
    id->user = bh_slice_pack(&at, parts->user);
    id->tenant = bh_slice_pack(&at, parts->tenant);
    id->device = bh_slice_pack(&at, parts->device);
    for (size_t i = 0; i < parts->topic_count; i++)
        topics[i] = bh_slice_pack(&at, parts->topics[i]);
    for (size_t i = 0; i < parts->tag_count; i++) {
        tags[i].name = bh_slice_pack(&at, parts->tags[i].name);
        tags[i].value = bh_slice_pack(&at, parts->tags[i].value);
    }
    id->topics = topics;
    id->tags = tags;
    *out = id;
    return 0;
}

void bh_identity_free(struct bh_identity *identity) {
    bh_free(identity);
}

void bh_connection_id(uint64_t number, char out[BH_CONNECTION_ID_LEN + 1]) {
    unsigned char bytes[8];
    for (int i = 7; i >= 0; i--, number >>= 8)
        bytes[i] = (unsigned char)number;
    size_t n = bh_base64url_encode(bh_slice(bytes, sizeof bytes), out);
    out[n] = '\0';
}

int bh_connection_number(struct bh_slice id, uint64_t *number) {
    unsigned char bytes[12];
    if (id.n != BH_CONNECTION_ID_LEN || bh_base64url_decode(id, bytes) != 8)
        return BH_EINVAL;
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | bytes[i];
    if (n == 0)
        return BH_EINVAL;
    *number = n;
    return 0;
}

struct bh_subscriber *bh_worker_subscriber(struct bh_worker *w, bh_handle handle) {
    struct bh_subscriber *s = bh_slots_get(&w->subscribers, handle);
    return s && !s->closing ? s : NULL;
}
