/* The node as a whole: its parts, its stop with work still in the mailboxes, and workers in real
 * threads (to be run under a thread sanitizer, too). */
#include "bellhop/base/metrics.h"
#include "bellhop/io/thread.h"
#include "node_test.h"

#include <sched.h>
#include <stdatomic.h>

static void knows_its_parts(void **state) {
    const char *why = NULL;
    node_up(3, true);
    assert_slice(bh_node_instance(node), "i1");
    assert_int_equal(bh_node_worker_count(node), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_ptr_equal(bh_node_worker(node, i), worker[i]);
        assert_int_equal(worker[i]->index, i);
    }
    assert_ptr_equal(bh_node_broker(node), &broker.broker);
    assert_ptr_equal(bh_node_bus(node), bus);
    assert_int_equal(bh_node_ready(node, &why), BH_EUNAVAIL);
    assert_string_equal(why, "the fake is never ready");
    assert_string_equal(broker.calls, "+all ");
    node_down();
}

static void a_broker_that_does_not_start(void **state) {
    const struct bh_node_config config = {
        .instance = BH_SLICE("i1"), .strategy = BH_STRATEGY_LOCAL_FIRST, .seen_max = 1};
    fake_broker_init(&broker, true);
    broker.start_error = BH_EIO;
    loop = bh_loop_new();
    bus = bh_mailbox_new(loop);
    tracker = (struct local_tracker){.base = {.vt = &local_tracker_vt}};
    node = bh_node_new(&config, &broker.broker, &tracker.base, loop, bus);
    assert_int_equal(bh_node_start(node), BH_EIO);
    assert_string_equal(broker.calls, "");
    bh_mailbox_free(bus);
    bh_node_free(node);
    bh_loop_free(loop);
}

/* --- stop --- */

static void on_found(void *ud, bh_handle handle, int error, const struct bh_presence *users,
                     size_t count, int64_t as_of) {
    ++*(int *)ud;
}

static void nothing_completes_after_the_stop(void **state) {
    struct answer opening, publishing, known, held;
    struct bh_slice user = BH_SLICE("1");
    int found = 0;
    node_up(3, true);
    opened(0, &subs[1], "1");
    open_sub(0, &subs[0], "42", &opening); /* its mail to the bus is in flight */
    struct bh_publish p = publish_of("user:1", "hi");
    with_id(&p, "key");
    publish(1, p, &known); /* likewise */
    broker.hold = true;
    publish(2, publish_of("user:1", "hi"),
            &publishing); /* at the broker, and mailed to the others */
    with_hooks(BH_HOOK_PUBLISH);
    hooks.hold = true;
    publish(2, publish_of("user:1", "hi"), &held); /* in the hook */
    bh_node_lookup_local(worker[0], BH_LOOKUP_CONNECTIONS, &user, 1, on_found, &found, 0);
    node_down();
    assert_int_equal(opening.count + publishing.count + known.count + held.count + found, 0);
    assert_string_equal(subs[1].got, "");
}

static void nor_does_what_is_on_its_way_back(void **state) {
    struct answer opening, known;
    struct bh_slice user = BH_SLICE("1");
    int found = 0;
    node_up(3, true);
    open_sub(0, &subs[0], "42", &opening);
    struct bh_publish p = publish_of("user:1", "hi");
    with_id(&p, "key");
    publish(1, p, &known);
    bh_node_lookup_local(worker[0], BH_LOOKUP_CONNECTIONS, &user, 1, on_found, &found, 0);
    bh_loop_tick(loop, false); /* the bus has read its mail, the workers have not all */
    int before = opening.count + known.count + found;
    node_down();
    assert_int_equal(opening.count + known.count + found, before);
}

static void counts_what_it_does(void **state) {
    struct bh_bytes out = {0};
    bh_core_metrics_register();
    node_up(1, true);
    opened(0, &subs[0], "42");
    publish_and_settle(0, publish_of("user:42", "hi"));
    struct bh_publish p = publish_of("user:42", "hi");
    with_id(&p, "key");
    publish_and_settle(0, p);
    p.data = NULL;
    publish_and_settle(0, p);
    bh_metrics_render(&out);
    bh_bytes_addc(&out, '\0');
    assert_non_null(strstr(out.p, "\nbellhop_core_published_total 2\n"));
    assert_non_null(strstr(out.p, "\nbellhop_core_delivered_total 2\n"));
    assert_non_null(strstr(out.p, "\nbellhop_core_duplicates_total 1\n"));
    assert_non_null(strstr(out.p, "\nbellhop_core_expired_total 0\n"));
    bh_bytes_free(&out);
    node_down();
}

/* --- threads --- */

enum { ACTORS = 3, CONNECTIONS = 40, ROUNDS = 150 };

/* One thread: it opens and closes connections and publishes, all in its own callbacks; the test
 * only reads the counters. */
struct actor {
    struct bh_thread *thread;
    struct bh_worker *w;
    struct sub subs[CONNECTIONS];
    struct bh_mail step;
    unsigned round;
    unsigned asked, answered, delivered;
    atomic_bool finished;
};

static struct actor actors[ACTORS];
static struct bh_thread *bus_thread;
static struct bh_broker shared_broker;
static struct bh_broker_sink shared_sink;

static int actor_deliver(struct bh_subscriber *s, struct bh_message *m) {
    actors[s->worker->index].delivered += m->payload.n;
    return 0;
}

static const struct bh_subscriber_vt actor_vt = {
    .deliver = actor_deliver, .send = sub_send, .close = sub_close};

static int threads_start(struct bh_broker *b, struct bh_loop *l, struct bh_mailbox *mailbox,
                         const struct bh_broker_sink *sink) {
    shared_sink = *sink;
    return 0;
}

static bool threads_subscribe(struct bh_broker *b, struct bh_slice topic) {
    return bh_hash(topic) % 2; /* some are live at once, the others later */
}

static void threads_unsubscribe(struct bh_broker *b, struct bh_slice topic) {}

struct parcel {
    struct bh_mail mail;
    struct bh_message *message;
};

static void on_parcel(struct bh_mail *mail) {
    struct parcel *p = BH_CONTAINER_OF(mail, struct parcel, mail);
    shared_sink.on_message(shared_sink.ud, p->message);
    shared_sink.on_subscribed(shared_sink.ud, bh_topic_name(p->message->topic));
    bh_message_unref(p->message);
    bh_free(p);
}

static void threads_publish(struct bh_broker *b, unsigned index, struct bh_message *m,
                            bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct parcel *p = bh_malloc(sizeof *p);
    *p = (struct parcel){{.fn = on_parcel}, bh_message_ref(m)};
    if (bh_mailbox_post(bh_thread_mailbox(bus_thread), &p->mail))
        abort();
    done(ud, handle, 0, 1, NULL);
}

static const struct bh_broker_vt threads_vt = {.name = "threads",
                                               .shared = true,
                                               .start = threads_start,
                                               .subscribe = threads_subscribe,
                                               .unsubscribe = threads_unsubscribe,
                                               .stop = fake_stop,
                                               .publish = threads_publish};

static void on_actor_joined(void *ud, bh_handle handle, int error) {
    ((struct actor *)ud)->answered++;
}

static void on_actor_published(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    ((struct actor *)ud)->answered++;
    if (r->error)
        abort();
}

static void on_actor_found(void *ud, bh_handle handle, int error, const struct bh_presence *users,
                           size_t count, int64_t as_of) {
    ((struct actor *)ud)->answered++;
}

static void actor_open_or_close(struct actor *a, struct sub *sub, unsigned i) {
    char user[16];
    if (sub->s.handle) {
        bh_node_close(a->w, &sub->s, 1000, BH_SLICE(""));
        return;
    }
    sub->s.vt = &actor_vt;
    snprintf(user, sizeof user, "u%u", i % 7);
    a->asked++;
    bh_node_open(a->w, &sub->s, identity(user, "7", NULL), on_actor_joined, a, 0);
}

static void actor_publish(struct actor *a) {
    static const char *const topics[] = {"user:u1", "user:u2", "tenant:7", "all"};
    struct bh_publish p = publish_of(topics[a->round % COUNT(topics)], "x");
    p.strategy = (uint8_t)(BH_STRATEGY_LOCAL_FIRST + a->round % 4);
    if (a->round % 3 == 0)
        with_id(&p, a->round % 2 ? "odd" : "even");
    a->asked++;
    bh_node_publish(a->w, &p, on_actor_published, a, 0);
}

static void actor_close_all(struct actor *a) {
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (a->subs[i].s.handle)
            bh_node_close(a->w, &a->subs[i].s, 1001, BH_SLICE(""));
}

static void on_actor_step(struct bh_mail *mail) {
    struct actor *a = BH_CONTAINER_OF(mail, struct actor, step);
    struct bh_slice user = BH_SLICE("u1");
    if (a->round < ROUNDS) {
        for (unsigned i = a->round % 3; i < CONNECTIONS; i += 3)
            actor_open_or_close(a, &a->subs[i], i);
        actor_publish(a);
        a->asked++;
        bh_node_lookup_local(a->w, BH_LOOKUP_CONNECTIONS, &user, 1, on_actor_found, a, 0);
    } else {
        actor_close_all(a);
    }
    if (a->round++ > ROUNDS && a->asked == a->answered) {
        atomic_store(&a->finished, true);
        return;
    }
    if (bh_mailbox_post(bh_thread_mailbox(a->thread), &a->step))
        abort();
}

struct flag {
    struct bh_mail mail;
    atomic_bool set;
};

static void on_bus_start(void *ud) {
    if (bh_node_start(node))
        abort();
    shared_sink.on_state(shared_sink.ud, 0, true);
    shared_sink.on_subscribed(shared_sink.ud, BH_SLICE("all"));
}

static void on_wait_over(struct bh_mail *mail) {
    atomic_store(&BH_CONTAINER_OF(mail, struct flag, mail)->set, true);
}

/* Returns when the mail posted to the thread so far has been handled. */
static void drain(struct bh_thread *t) {
    struct flag flag = {.mail.fn = on_wait_over};
    assert_int_equal(bh_mailbox_post(bh_thread_mailbox(t), &flag.mail), 0);
    while (!atomic_load(&flag.set))
        sched_yield();
}

/* Topics that are not live at once become live while connections wait for them. */
static void on_all_live(struct bh_mail *mail) {
    char name[32];
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "user:u%d", i);
        shared_sink.on_subscribed(shared_sink.ud, bh_slice_cstr(name));
    }
    shared_sink.on_subscribed(shared_sink.ud, BH_SLICE("tenant:7"));
    on_wait_over(mail);
}

static void make_all_live(void) {
    struct flag flag = {.mail.fn = on_all_live};
    assert_int_equal(bh_mailbox_post(bh_thread_mailbox(bus_thread), &flag.mail), 0);
    while (!atomic_load(&flag.set))
        sched_yield();
}

static void threads_up(void) {
    const struct bh_node_config config = {.instance = BH_SLICE("i1"),
                                          .strategy = BH_STRATEGY_LOCAL_FIRST,
                                          .linger_ms = 1,
                                          .payload_max = 1000,
                                          .seen_max = 8,
                                          .seen_ms = 5};
    shared_broker.vt = &threads_vt;
    bus_thread = bh_thread_new("bus");
    tracker = (struct local_tracker){.base = {.vt = &local_tracker_vt}};
    node = bh_node_new(&config, &shared_broker, &tracker.base, bh_thread_loop(bus_thread),
                       bh_thread_mailbox(bus_thread));
    memset(actors, 0, sizeof actors);
    for (int i = 0; i < ACTORS; i++) {
        struct actor *a = &actors[i];
        a->thread = bh_thread_new("actor");
        a->w = bh_node_add_worker(node, bh_thread_loop(a->thread), bh_thread_mailbox(a->thread));
        a->step.fn = on_actor_step;
    }
    assert_int_equal(bh_thread_start(bus_thread, on_bus_start, NULL), 0);
    drain(bus_thread);
    for (int i = 0; i < ACTORS; i++) {
        assert_int_equal(bh_thread_start(actors[i].thread, NULL, NULL), 0);
        assert_int_equal(bh_mailbox_post(bh_thread_mailbox(actors[i].thread), &actors[i].step), 0);
    }
}

static void actors_stop(void) {
    for (int i = 0; i < ACTORS; i++) {
        bh_thread_stop(actors[i].thread);
        bh_thread_join(actors[i].thread);
    }
}

static void threads_down(void) {
    bh_thread_stop(bus_thread);
    bh_thread_join(bus_thread);
    bh_node_stop(node);
    for (int i = 0; i < ACTORS; i++)
        bh_thread_free(actors[i].thread);
    bh_thread_free(bus_thread);
    bh_node_free(node);
}

static void workers_on_threads(void **state) {
    unsigned delivered = 0;
    threads_up();
    for (int i = 0; i < ACTORS; i++)
        while (!atomic_load(&actors[i].finished))
            make_all_live();
    actors_stop();
    threads_down();
    for (int i = 0; i < ACTORS; i++) {
        assert_int_equal(actors[i].answered, actors[i].asked);
        delivered += actors[i].delivered;
    }
    assert_true(delivered > 0);
}

static void stopped_in_the_midst(void **state) {
    threads_up();
    make_all_live();
    actors_stop();
    for (int i = 0; i < ACTORS; i++) {
        actor_close_all(&actors[i]);  /* its thread has ended */
        actors[i].round = ROUNDS + 1; /* the step still in its mailbox does nothing */
        actors[i].asked = actors[i].answered;
    }
    threads_down();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_its_parts),
        cmocka_unit_test(a_broker_that_does_not_start),
        cmocka_unit_test(nothing_completes_after_the_stop),
        cmocka_unit_test(nor_does_what_is_on_its_way_back),
        cmocka_unit_test(counts_what_it_does),
        cmocka_unit_test(workers_on_threads),
        cmocka_unit_test(stopped_in_the_midst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
