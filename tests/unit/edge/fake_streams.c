/* fake_streams.c - see the header. */
#include "fake_streams.h"

#include "unit_test.h"

struct fake_streams streams;

void fake_streams_reset(void) {
    streams = (struct fake_streams){.recovered = true};
}

static struct bh_position *find(uint64_t hash) {
    for (unsigned i = 0; i < streams.at.count; i++)
        if (streams.at.topics[i].hash == hash)
            return &streams.at.topics[i].position;
    streams.at.topics[streams.at.count] = (struct bh_resume_topic){.hash = hash};
    return &streams.at.topics[streams.at.count++].position;
}

void fake_streams_set(const char *topic, uint64_t epoch, uint64_t offset) {
    *find(bh_topic_hash(bh_slice_cstr(topic))) = (struct bh_position){epoch, offset};
    streams.moves++;
}

struct bh_message *fake_streams_next(const char *name, const char *payload) {
    struct bh_topic topic;
    struct bh_position *p = find(bh_topic_hash(bh_slice_cstr(name)));
    assert_int_equal(bh_topic_parse(bh_slice_cstr(name), &topic), 0);
    p->offset++;
    streams.moves++;
    struct bh_message parts = {
        .opcode = BH_TEXT, .topic = &topic, .position = *p, .payload = bh_slice_cstr(payload)};
    return bh_message_new(&parts);
}

/* --- in place of the real ones --- */

size_t __wrap_bh_subscriber_resume_text(const struct bh_subscriber *s,
                                        char out[BH_RESUME_TEXT_MAX + 1]);
const void *__wrap_bh_subscriber_stream_set(const struct bh_subscriber *s);
uint64_t __wrap_bh_subscriber_stream_moves(const struct bh_subscriber *s);
bool __wrap_bh_subscriber_is_recovered(const struct bh_subscriber *s);
void __wrap_bh_node_resume(struct bh_worker *w, struct bh_subscriber *s,
                           struct bh_identity *identity, const struct bh_resume *since,
                           bh_node_cb done, void *ud, bh_handle handle);

size_t __wrap_bh_subscriber_resume_text(const struct bh_subscriber *s,
                                        char out[BH_RESUME_TEXT_MAX + 1]) {
    return bh_resume_format(&streams.at, out);
}

const void *__wrap_bh_subscriber_stream_set(const struct bh_subscriber *s) {
    return streams.shared ? &streams : NULL;
}

uint64_t __wrap_bh_subscriber_stream_moves(const struct bh_subscriber *s) {
    return streams.moves;
}

bool __wrap_bh_subscriber_is_recovered(const struct bh_subscriber *s) {
    return streams.recovered;
}

void __wrap_bh_node_resume(struct bh_worker *w, struct bh_subscriber *s,
                           struct bh_identity *identity, const struct bh_resume *since,
                           bh_node_cb done, void *ud, bh_handle handle) {
    const struct bh_subscriber_vt *vt = s->vt;
    struct bh_subscriber_vt other = *vt;
    streams.since.count = 0;
    if (since)
        streams.since = *since;
    other.recovered = NULL; /* for the core it is one that does not resume */
    s->vt = &other;
    bh_node_open(w, s, identity, done, ud, handle);
    s->vt = vt;
    if (!streams.hold && s->handle)
        s->vt->recovered(s, since != NULL);
}
