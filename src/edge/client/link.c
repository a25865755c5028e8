/* link.c - notes are hashes of topics; their names are those of the topics that the subscriber is
 * in when they are told. They have memory only while there are some. */
#include "client/link.h"

#include "bellhop/base/mem.h"
#include "client/outq.h"

/* Of one topic. */
struct note {
    uint64_t hash;
    const char *why; /* of a gap; NULL: rewound */
};

struct bh_client_notes {
    unsigned count;
    struct note list[BH_RESUME_TOPICS_MAX]; /* each topic once */
};

void bh_client_link_free(struct bh_client_link *l) {
    bh_free(l->notes);
    l->notes = NULL;
}

unsigned bh_client_link_note_count(const struct bh_client_link *l) {
    return l->notes ? l->notes->count : 0;
}

static struct bh_slice name_of(const struct bh_subscriber *s, uint64_t hash) {
    const struct bh_link *links = bh_subscriber_links(s);
    for (unsigned i = 0; i < s->link_count; i++) {
        struct bh_slice name = bh_hub_topic_name(links[i].topic);
        if (bh_topic_hash(name) == hash)
            return name;
    }
    return bh_slice(NULL, 0);
}

static void remove_note(struct bh_client_notes *n, unsigned i) {
    n->count--;
    memmove(&n->list[i], &n->list[i + 1], (n->count - i) * sizeof n->list[0]);
}

static void forget_left_topics(struct bh_client_notes *n, const struct bh_subscriber *s) {
    for (unsigned i = n->count; i-- > 0;)
        if (!name_of(s, n->list[i].hash).n)
            remove_note(n, i);
}

static void add_note(struct bh_client_link *l, const struct bh_subscriber *s, uint64_t hash,
                     const char *why) {
    if (!l->notes)
        l->notes = bh_calloc(1, sizeof *l->notes);
    struct bh_client_notes *n = l->notes;
    for (unsigned i = 0; i < n->count; i++) {
        if (n->list[i].hash != hash)
            continue;
        if (!n->list[i].why)
            n->list[i].why = why;
        return;
    }
    if (n->count == BH_RESUME_TOPICS_MAX)
        forget_left_topics(n, s);
    if (n->count < BH_RESUME_TOPICS_MAX)
        n->list[n->count++] = (struct note){hash, why};
}

void bh_client_link_note(struct bh_client_link *l, const struct bh_subscriber *s,
                         struct bh_slice topic, const char *why) {
    add_note(l, s, bh_topic_hash(topic), why);
}

static bool is_noted(const struct bh_client_link *l, uint64_t hash) {
    for (unsigned i = 0; l->notes && i < l->notes->count; i++)
        if (l->notes->list[i].hash == hash)
            return l->notes->list[i].why != NULL;
    return false;
}

/* One gap, however many messages of the topic are dropped before it is told. */
static void note_dropped(const struct bh_client_link *l, struct bh_subscriber *s,
                         struct bh_slice topic, const char *why) {
    if (!is_noted(l, bh_topic_hash(topic)))
        bh_subscriber_tell_gap(s, topic, why);
}

void bh_client_link_note_message(const struct bh_client_link *l, struct bh_subscriber *s,
                                 const struct bh_message *m, const char *why) {
    if (m->position.epoch)
        note_dropped(l, s, bh_topic_name(m->topic), why);
}

static uint16_t tag_of(uint64_t hash) {
    return (uint16_t)(1 + hash % (BH_OUTQ_DROP - 1));
}

uint16_t bh_client_tag(struct bh_slice topic) {
    return tag_of(bh_topic_hash(topic));
}

void bh_client_link_note_tag(const struct bh_client_link *l, struct bh_subscriber *s,
                             uint16_t tag) {
    const struct bh_link *links = bh_subscriber_links(s);
    for (unsigned i = 0; tag != BH_CLIENT_TAG_NONE && i < s->link_count; i++) {
        struct bh_slice topic = bh_hub_topic_name(links[i].topic);
        if (bh_client_tag(topic) == tag)
            note_dropped(l, s, topic, BH_GAP_SLOW);
    }
}

static void free_if_empty(struct bh_client_link *l) {
    if (l->notes && !l->notes->count)
        bh_client_link_free(l);
}

bool bh_client_link_first(struct bh_client_link *l, const struct bh_subscriber *s,
                          struct bh_slice *topic, const char **why, bool *last) {
    if (!l->notes)
        return false;
    forget_left_topics(l->notes, s);
    free_if_empty(l);
    if (!l->notes)
        return false;
    *topic = name_of(s, l->notes->list[0].hash);
    *why = l->notes->list[0].why;
    *last = l->notes->count == 1;
    return true;
}

void bh_client_link_drop_note(struct bh_client_link *l) {
    if (l->notes)
        remove_note(l->notes, 0);
    free_if_empty(l);
}

/* A message that was missed may be of an older epoch than its place, with the same offset. */
size_t bh_client_id_before(const struct bh_subscriber *s, const struct bh_message *m,
                           char out[BH_RESUME_TEXT_MAX + 1]) {
    size_t n = bh_subscriber_resume_text(s, out);
    struct bh_resume r;
    const char *why;
    if (!m->position.epoch || bh_resume_parse(bh_slice(out, n), &r, &why))
        return n;
    uint64_t hash = bh_topic_hash(bh_topic_name(m->topic));
    for (unsigned i = 0; i < r.count; i++) {
        struct bh_position *p = &r.topics[i].position;
        if (r.topics[i].hash == hash && p->offset >= m->position.offset && m->position.offset > 0)
            p->offset = m->position.offset - 1;
    }
    return bh_resume_format(&r, out);
}
