/* texts.c - the cache is that of the message that is being delivered: when the next one comes, or
 * the tick ends, it is emptied. Links with other streams get a text of their own, which costs the
 * copying of the parts, while what is costly (is it JSON?) was done once. */
#include "client/texts.h"

#include "client/link.h"

#define KEPT_BYTES (64 * 1024) /* of the parts, from one message to the next */

static void empty(struct bh_bytes *b) {
    if (b->cap > KEPT_BYTES)
        bh_bytes_free(b);
    else
        bh_bytes_clear(b);
}

static void forget(struct bh_texts *t) {
    for (unsigned i = 0; i < t->count; i++)
        bh_message_unref(t->texts[i].text);
    t->count = t->next = 0;
    bh_message_unref(t->message);
    t->message = NULL;
    t->rendered = false;
    empty(&t->before);
    empty(&t->after);
}

static void on_forget(struct bh_defer *d) {
    forget(BH_CONTAINER_OF(d, struct bh_texts, forget));
}

void bh_texts_init(struct bh_texts *t, struct bh_loop *loop, bh_text_render render) {
    *t = (struct bh_texts){.loop = loop, .render = render};
    bh_defer_init(&t->forget, on_forget);
}

void bh_texts_deinit(struct bh_texts *t) {
    bh_defer_cancel(&t->forget);
    forget(t);
    bh_bytes_free(&t->before);
    bh_bytes_free(&t->after);
}

static void begin(struct bh_texts *t, struct bh_message *m) {
    if (t->message != m) {
        forget(t);
        t->message = bh_message_ref(m);
        bh_defer(t->loop, BH_PHASE_REAP, &t->forget);
    }
    if (!t->rendered)
        t->render(m, m->position.epoch != 0, &t->before, &t->after);
    t->rendered = true;
}

/* NULL without memory. */
static struct bh_message *text_new(const struct bh_texts *t, struct bh_slice id) {
    const struct bh_message *m = t->message;
    struct bh_buf *buf = bh_buf_try_new(t->before.len + id.n + t->after.len);
    if (!buf)
        return NULL;
    char *at = (char *)buf->data;
    bh_slice_pack(&at, bh_bytes_slice(&t->before));
    bh_slice_pack(&at, id);
    bh_slice_pack(&at, bh_bytes_slice(&t->after));
    if (m->position.epoch)
        buf->tag = bh_client_tag(bh_topic_name(m->topic));
    struct bh_message parts = {.opcode = BH_TEXT,
                               .topic = m->topic,
                               .position = m->position,
                               .expires_ms = m->expires_ms,
                               .payload = bh_buf_slice(buf),
                               .buf = buf};
    struct bh_message *text = bh_message_new(&parts);
    if (!text)
        bh_buf_unref(buf);
    return text;
}

static struct bh_message *find(const struct bh_texts *t, const void *set, uint64_t moves) {
    for (unsigned i = 0; i < t->count; i++)
        if (t->texts[i].set == set && t->texts[i].moves == moves)
            return t->texts[i].text;
    return NULL;
}

static void keep(struct bh_texts *t, const void *set, uint64_t moves, struct bh_message *text) {
    struct bh_text *slot = &t->texts[t->count];
    if (t->count < BH_TEXTS_SETS) {
        t->count++;
    } else {
        slot = &t->texts[t->next];
        t->next = (t->next + 1) % BH_TEXTS_SETS;
        bh_message_unref(slot->text);
    }
    *slot = (struct bh_text){set, moves, bh_message_ref(text)};
}

/* Without a position all links share the text, as those of the set NULL. */
struct bh_message *bh_texts_of(struct bh_texts *t, struct bh_message *m,
                               const struct bh_text_id *id) {
    char bytes[BH_RESUME_TEXT_MAX + 1];
    begin(t, m);
    bool has_id = m->position.epoch != 0, shared = !has_id || id->set;
    const void *set = has_id ? id->set : NULL;
    uint64_t moves = has_id ? id->moves : 0;
    struct bh_message *text = shared ? find(t, set, moves) : NULL;
    if (text)
        return bh_message_ref(text);
    text = text_new(t, bh_slice(bytes, has_id ? id->write(id->ud, bytes) : 0));
    if (text && shared)
        keep(t, set, moves, text);
    return text;
}

static size_t write_id(const void *ud, char out[BH_RESUME_TEXT_MAX + 1]) {
    return bh_subscriber_resume_text(ud, out);
}

struct bh_message *bh_texts_get(struct bh_texts *t, struct bh_message *m,
                                const struct bh_subscriber *s) {
    struct bh_text_id id = {.write = write_id, .ud = s};
    if (m->position.epoch) {
        id.set = bh_subscriber_stream_set(s);
        id.moves = bh_subscriber_stream_moves(s);
    }
    return bh_texts_of(t, m, &id);
}
