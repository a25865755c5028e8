/* hot_paths.c - the code that runs for each message, for counts.lua, which counts its instructions.
 *
 *     bench_hot_paths    runs all paths; counts.lua runs it under callgrind
 *
 * The paths, from the inside out: the frame reader alone; a connection that reads, with and without
 * a hook; a message written to one socket; a publish to one user among many, and to 10,000 sockets;
 * hooks, called as the core calls them; topics with history (hot_streams.c). Messages come 16 at a
 * time, as on a busy connection, so that a path includes its share of the tick. Each path checks
 * that its work was done. */
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/ws_inflaters.h"
#include "bellhop/proto/ws_message.h"
#include "counting.h"
#include "hot_streams.h"
#include "instance.h"
#include "limits/edge_metrics.h"
#include "null_clients.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH  16
#define ROUNDS 500
#define CROWD  10000
#define HANG_S 900

static const struct bh_slice text_20 = BH_SLICE("twenty bytes of text");
static const struct bh_slice text_128 =
    BH_SLICE("{\"type\":\"message\",\"room\":\"lobby\",\"id\":1234567,\"from\":\"u42\",\"text\":"
             "\"as long as what people write to one another, or some longer\"}");
/* 128 bytes: characters of one, two, three and four bytes. */
static const struct bh_slice text_utf8 =
    BH_SLICE("Gr\xc3\xbc\xc3\x9f"
             "e aus K\xc3\xb6ln, \xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 "
             "\xd0\xb2\xd1\x81\xd0\xb5\xd0\xbc, \xe3\x81\x93\xe3\x82\x93\xe3\x81\xab\xe3\x81\xa1"
             "\xe3\x81\xaf\xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x91\x8b\xf0\x9f\x8c\x8d "
             "na\xc3\xafve caf\xc3\xa9, \xc3\xa0 bient\xc3\xb4t, r\xc3\xa9sum\xc3\xa9 "
             "\xce\xb1\xce\xb2\xce\xb3\xce\xb4....");

/* --- frame in: the reader alone --- */

struct reading {
    struct bh_slice payload;
    struct bh_bytes frame, copy; /* unmasking is done in place */
    struct bh_ws_reader reader;
    unsigned messages;
};

static void prepare_frame(void *ud) {
    struct reading *r = ud;
    bh_bytes_clear(&r->copy);
    bh_bytes_add(&r->copy, bh_bytes_slice(&r->frame));
}

static struct bh_inflaters inflaters;

static void read_frame(void *ud) {
    static const struct bh_ws_limits limits = {1 << 20, 100, &inflaters};
    struct reading *r = ud;
    struct bh_ws_event event;
    unsigned char *at = (unsigned char *)r->copy.p;
    size_t n = r->copy.len;
    do {
        bh_ws_reader_next(&r->reader, &limits, &at, &n, &event);
        r->messages += event.type == BH_WS_EV_MESSAGE && event.data.n == r->payload.n;
    } while (event.type != BH_WS_EV_NONE);
}

/* As a browser sends it. */
static void add_compressed(struct bh_bytes *to, struct bh_slice payload) {
    struct bh_deflater *d = bh_deflater_new(15, 6);
    struct bh_buf *frame = bh_deflater_frame(d, BH_WS_TEXT, payload, true);
    size_t start = to->len;
    client_add_frame(to, bh_slice(frame->data + 2, frame->len - 2));
    to->p[start] = (char)frame->data[0];
    bh_buf_unref(frame);
    bh_deflater_free(d);
}

static void count_reader(const char *name, struct bh_slice payload, bool compressed) {
    struct path path = {name, 1000, 1, prepare_frame, read_frame};
    struct reading r = {.payload = payload};
    bh_ws_reader_init(&r.reader, compressed, NULL);
    if (compressed)
        add_compressed(&r.frame, payload);
    else
        client_add_frame(&r.frame, payload);
    counting_path(&path, &r);
    counting_must(r.messages >= path.rounds, name);
    bh_ws_reader_deinit(&r.reader);
    bh_bytes_free(&r.frame);
    bh_bytes_free(&r.copy);
}

static void count_readers(void) {
    bh_inflaters_init(&inflaters, NULL);
    count_reader("frame in: reader, 20 B", text_20, false);
    count_reader("frame in: reader, 128 B", text_128, false);
    count_reader("frame in: reader, 128 B of UTF-8", text_utf8, false);
    count_reader("frame in: reader, 20 B, compressed", text_20, true);
    count_reader("frame in: reader, 128 B, compressed", text_128, true);
    bh_inflaters_deinit(&inflaters);
}

/* --- a connection that receives --- */

struct echo {
    struct instance instance;
    struct client client;
    struct bh_bytes frames; /* sent in each round */
    size_t reply;           /* bytes of the replies of a round */
    unsigned rounds;
};

static void prepare_echo(void *ud) {
    struct echo *t = ud;
    counting_pass_ms(1);
    client_receive(&t->client);
    client_send(&t->client, bh_bytes_slice(&t->frames));
}

static void serve_echo(void *ud) {
    struct echo *t = ud;
    bh_loop_tick(t->instance.loop, true);
    t->client.expected += t->reply;
    t->rounds++;
}

static int64_t messages_in(void) {
    return bh_metric_read(&bh_edge_metrics[BH_EDGE_MESSAGES_IN]);
}

static void hook_replies(struct bh_hooks *h, struct bh_subscriber *s, enum bh_opcode opcode,
                         struct bh_slice data) {
    s->vt->send(s, opcode, data);
}

static void hook_ignores(struct bh_hooks *h, struct bh_subscriber *s, unsigned code,
                         struct bh_slice reason) {}

static const struct bh_hooks_vt replies_vt = {.message = hook_replies, .close = hook_ignores};

enum reply { REPLY_NONE, REPLY_IN_C, REPLY_IN_LUA };

static void count_echo(const char *name, enum reply reply, struct bh_slice payload,
                       unsigned in_flight) {
    static struct bh_hooks in_c = {&replies_vt, BH_HOOK_MESSAGE};
    struct path path = {name, ROUNDS, in_flight, prepare_echo, serve_echo};
    struct echo t = {0};
    int64_t before = messages_in();
    instance_open(&t.instance, reply == REPLY_IN_LUA ? BELLHOP_ROOT "/examples/echo.lua" : NULL);
    client_open(&t.client, &t.instance);
    if (reply == REPLY_IN_C)
        t.instance.worker->hooks = &in_c;
    for (unsigned i = 0; i < in_flight; i++)
        client_add_frame(&t.frames, payload);
    t.reply = reply == REPLY_NONE ? 0 : in_flight * (payload.n + (payload.n < 126 ? 2 : 4));
    counting_path(&path, &t);
    client_receive(&t.client);
    counting_must(messages_in() - before == (int64_t)t.rounds * in_flight, name);
    client_close(&t.client);
    if (reply == REPLY_IN_C)
        t.instance.worker->hooks = NULL;
    instance_close(&t.instance);
    bh_bytes_free(&t.frames);
}

static void count_echoes(void) {
    count_echo("frame in: connection, 20 B, 16 a read", REPLY_NONE, text_20, BATCH);
    count_echo("frame in: connection, 128 B, 16 a read", REPLY_NONE, text_128, BATCH);
    count_echo("frame in: connection, 128 B, 1 a read", REPLY_NONE, text_128, 1);
    count_echo("echo: in C, 20 B, 16 in flight", REPLY_IN_C, text_20, BATCH);
    count_echo("echo: in Lua, 20 B, 16 in flight", REPLY_IN_LUA, text_20, BATCH);
    count_echo("echo: in Lua, 20 B, 1 in flight", REPLY_IN_LUA, text_20, 1);
}

/* --- frame out --- */

struct sending {
    struct instance instance;
    struct client client;
    struct bh_subscriber *subscriber;
    struct bh_message *message;
};

static void prepare_send(void *ud) {
    client_receive(&((struct sending *)ud)->client);
}

static void deliver_message(void *ud) {
    struct sending *s = ud;
    s->client.expected += s->message->payload.n + (s->message->payload.n < 126 ? 2 : 4);
    s->subscriber->vt->deliver(s->subscriber, s->message);
}

static void send_message(void *ud) {
    instance_tick_with(&((struct sending *)ud)->instance, deliver_message, ud);
}

static void do_tick(void *ud) {
    bh_loop_tick(((struct sending *)ud)->instance.loop, false);
}

static void count_sending(void) {
    static const struct path tick = {"tick: nothing to do", 1000, 1, NULL, do_tick};
    static const struct path out = {"frame out: 128 B to one", 1000, 1, prepare_send, send_message};
    struct bh_topic to;
    struct bh_message parts = {.topic = &to, .opcode = BH_TEXT, .payload = text_128};
    struct sending s = {0};
    uint32_t cursor = 0;
    instance_open(&s.instance, NULL);
    client_open(&s.client, &s.instance);
    s.subscriber = bh_slots_next(&s.instance.worker->subscribers, &cursor);
    bh_topic_parse(BH_SLICE("all"), &to);
    s.message = bh_message_new(&parts);
    counting_path(&tick, &s);
    counting_path(&out, &s);
    client_receive(&s.client);
    bh_message_unref(s.message);
    client_close(&s.client);
    instance_close(&s.instance);
}

/* --- publishing --- */

static void make_publish(struct bh_publish *p, const char *topic) {
    bh_publish_init(p, BH_SOURCE_HTTP);
    p->opcode = BH_TEXT;
    counting_must(bh_topic_parse(bh_slice_cstr(topic), &p->topic) == 0, topic);
    p->data = bh_buf_copy(text_128);
}

static void on_published(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    counting_must(r->error == 0 && r->local == (int64_t)handle, "a publish");
}

struct publishing {
    struct instance instance;
    struct bh_publish publish[BATCH];
    unsigned count;         /* publishes in each round */
    bh_handle receivers;    /* of each publish */
    unsigned users, picked; /* all users; publishes so far */
};

static void prepare_users(void *ud) {
    struct publishing *p = ud;
    for (unsigned i = 0; i < p->count; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "user:u%06u", p->picked++ * 7919 % p->users);
        make_publish(&p->publish[i], topic);
    }
}

static void prepare_all(void *ud) {
    make_publish(&((struct publishing *)ud)->publish[0], "all");
}

static void publish_each(void *ud) {
    struct publishing *p = ud;
    for (unsigned i = 0; i < p->count; i++)
        bh_node_publish(p->instance.worker, &p->publish[i], on_published, NULL, p->receivers);
}

static void publish(void *ud) {
    instance_tick_with(&((struct publishing *)ud)->instance, publish_each, ud);
}

static void count_publish_to_user(const char *name, unsigned users) {
    struct path path = {name, ROUNDS, BATCH, prepare_users, publish};
    struct publishing p = {.count = BATCH, .receivers = 1, .users = users};
    instance_open(&p.instance, NULL);
    struct null_client *clients = null_clients_open(&p.instance, users);
    null_deliveries = 0;
    counting_path(&path, &p);
    counting_must(null_deliveries == p.picked, name);
    null_clients_close(&p.instance, clients, users);
    instance_close(&p.instance);
}

static void count_publish_to_all(void) {
    static const struct path path = {"deliver: 128 B to each of 10,000 sockets", 8, CROWD,
                                     prepare_all, publish};
    struct publishing p = {.count = 1, .receivers = CROWD};
    struct crowd crowd;
    instance_open(&p.instance, NULL);
    crowd_open(&crowd, &p.instance, CROWD, CROWD_WS);
    int64_t before = bh_metric_read(&bh_edge_metrics[BH_EDGE_BYTES_OUT]);
    counting_path(&path, &p);
    int64_t sent = bh_metric_read(&bh_edge_metrics[BH_EDGE_BYTES_OUT]) - before;
    counting_must(sent >= (int64_t)path.rounds * CROWD * (int64_t)text_128.n, path.name);
    crowd_close(&crowd, &p.instance);
    instance_close(&p.instance);
}

static void count_on_deliver(void) {
    static const struct path path = {"hook: on_deliver that passes", 8, 1000, prepare_all, publish};
    struct publishing p = {.count = 1, .receivers = 1000};
    instance_open(&p.instance, BELLHOP_ROOT "/tests/bench/hooks/passes.lua");
    struct null_client *clients = null_clients_open(&p.instance, 1000);
    null_deliveries = 0;
    counting_path(&path, &p);
    counting_must(null_deliveries >= 8 * 1000, path.name);
    null_clients_close(&p.instance, clients, 1000);
    instance_close(&p.instance);
}

/* --- hooks --- */

struct calling {
    struct instance instance;
    struct null_client *clients;
    unsigned count; /* clients: one call each in a round */
    struct bh_slice data;
};

static void call_nobody(void *ud) {
    struct bh_hooks *volatile none = NULL;
    for (int i = 0; i < 1000; i++)
        if (bh_hooks_has(none, BH_HOOK_MESSAGE))
            abort();
}

static void call_each(void *ud) {
    struct calling *c = ud;
    struct bh_hooks *h = c->instance.worker->hooks;
    for (unsigned i = 0; i < c->count; i++)
        h->vt->message(h, &c->clients[i].subscriber, BH_TEXT, c->data);
}

/* The garbage collector runs in the tick. */
static void call_message(void *ud) {
    instance_tick_with(&((struct calling *)ud)->instance, call_each, ud);
}

static void call_message_and_wait(void *ud) {
    struct calling *c = ud;
    call_message(ud);
    counting_pass_ms(8);
    bh_loop_tick(c->instance.loop, false);
}

static void count_calls(const struct path *path, const char *policy, struct bh_slice data,
                        unsigned count) {
    struct calling c = {.data = data, .count = count};
    instance_open(&c.instance, policy);
    c.clients = null_clients_open(&c.instance, count);
    null_deliveries = 0;
    counting_path(path, &c);
    counting_must(null_deliveries >= (unsigned long)path->rounds * count, path->name);
    null_clients_close(&c.instance, c.clients, count);
    instance_close(&c.instance);
}

static void count_hooks(void) {
    static const struct path absent = {"hook: absent", 10, 1000, NULL, call_nobody};
    static const struct path replies = {"hook: on_message that replies", ROUNDS, BATCH, NULL,
                                        call_message};
    static const struct path waits = {"hook: on_message that waits, then replies", ROUNDS, BATCH,
                                      NULL, call_message_and_wait};
    static const struct path peeks = {"hook: bh.json.peek in 230 B", 20, 100, NULL, call_message};
    static const struct path decodes = {"hook: bh.json.decode of 230 B", 20, 100, NULL,
                                        call_message};
    static const struct bh_slice json = BH_SLICE(
        "{\"type\":\"say\",\"room\":\"lobby\",\"id\":1234567,\"text\":\"some forty bytes of text, "
        "as people write\",\"tags\":[\"a\",\"b\",\"c\"],\"user\":{\"id\":42,\"name\":\"Jane Doe\","
        "\"admin\":false},\"at\":1700000000.25,\"n\":null}");
    counting_path(&absent, NULL);
    count_calls(&replies, BELLHOP_ROOT "/examples/echo.lua", text_20, BATCH);
    count_calls(&waits, BELLHOP_ROOT "/tests/bench/hooks/waits.lua", text_20, BATCH);
    count_calls(&peeks, BELLHOP_ROOT "/tests/bench/hooks/peeks.lua", json, 1);
    count_calls(&decodes, BELLHOP_ROOT "/tests/bench/hooks/decodes.lua", json, 1);
    count_on_deliver();
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "--crowd") == 0)
        return crowd_main((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]), argv[4]);
    if (argc > 1) {
        fprintf(stderr, "usage: %s (see tests/bench/counts.lua)\n", argv[0]);
        return 2;
    }
    alarm(HANG_S); /* in case an event never comes */
    signal(SIGPIPE, SIG_IGN);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    bh_edge_metrics_register();
    bh_core_metrics_register();
    counting_print_machine();
    counting_nothing();
    count_readers();
    count_echoes();
    count_sending();
    count_publish_to_user("deliver: publish to one of 1,000 users", 1000);
    count_publish_to_user("deliver: publish to one of 100,000 users", 100000);
    count_hooks();
    count_streams(text_128);
    count_publish_to_all(); /* last: connections arrive in any order, which changes the heap */
    count_stream_crowds(text_128, CROWD);
    return 0;
}
