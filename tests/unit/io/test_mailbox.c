/* The mailbox: each accepted mail runs once, in the order of its sender, from any thread. */
#include "io_test.h"

#include "bellhop/io/mailbox.h"

#include <pthread.h>
#include <stdatomic.h>

struct note {
    struct bh_mail mail;
    unsigned sender, number;
};

enum { SENDERS = 4, PER_SENDER = 50000 };

static struct bh_mailbox *box;
static unsigned next_number[SENDERS], received;

static void on_note(struct bh_mail *mail) {
    struct note *n = BH_CONTAINER_OF(mail, struct note, mail);
    assert_true(n->number >= next_number[n->sender]);
    next_number[n->sender] = n->number + 1;
    received++;
    bh_free(n);
}

static int post(unsigned sender, unsigned number) {
    struct note *n = bh_malloc(sizeof *n);
    *n = (struct note){.mail.fn = on_note, .sender = sender, .number = number};
    int error = bh_mailbox_post(box, &n->mail);
    if (error)
        bh_free(n);
    return error;
}

static int setup(void **state) {
    memset(next_number, 0, sizeof next_number);
    received = 0;
    *state = bh_loop_new();
    box = bh_mailbox_new(*state);
    return 0;
}

static int teardown(void **state) {
    bh_mailbox_free(box);
    bh_loop_free(*state);
    return 0;
}

static void runs_in_order(void **state) {
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(post(0, i), 0);
    assert_int_equal(received, 0);
    bh_loop_tick(*state, true);
    assert_int_equal(received, 10);
    bh_loop_tick(*state, false);
    assert_int_equal(received, 10);
    assert_int_equal(post(0, 10), 0); /* the next one wakes it again */
    bh_loop_tick(*state, true);
    assert_int_equal(received, 11);
}

static void on_echo(struct bh_mail *mail) {
    received++;
    bh_mailbox_post(box, mail);
}

static void a_mail_that_posts_waits_for_the_next_tick(void **state) {
    struct bh_mail mail = {.fn = on_echo};
    bh_mailbox_post(box, &mail);
    for (unsigned tick = 1; tick <= 5; tick++) {
        bh_loop_tick(*state, true);
        assert_int_equal(received, tick);
    }
    bh_mailbox_close(box); /* the pending one still runs, its own post is refused */
    bh_loop_tick(*state, true);
    bh_loop_tick(*state, false);
    assert_int_equal(received, 6);
}

static void a_closed_box_refuses(void **state) {
    assert_int_equal(post(0, 0), 0);
    bh_mailbox_close(box);
    bh_mailbox_close(box);
    assert_int_equal(post(0, 1), BH_ECLOSED);
    bh_loop_tick(*state, true);
    assert_int_equal(received, 1);
}

static void free_runs_what_is_left(void **state) {
    assert_int_equal(post(0, 0), 0);
    assert_int_equal(post(0, 1), 0);
    bh_mailbox_free(box);
    box = NULL;
    assert_int_equal(received, 2);
}

static atomic_uint accepted;

static void *storm(void *arg) {
    unsigned sender = *(unsigned *)arg;
    for (unsigned i = 0; i < PER_SENDER; i++)
        if (post(sender, i) == 0)
            atomic_fetch_add(&accepted, 1);
    return NULL;
}

static void start_storm(pthread_t threads[SENDERS], unsigned ids[SENDERS]) {
    atomic_store(&accepted, 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, storm, &ids[i]), 0);
    }
}

static void a_storm_from_four_threads(void **state) {
    pthread_t threads[SENDERS];
    unsigned ids[SENDERS];
    start_storm(threads, ids);
    while (received < SENDERS * PER_SENDER)
        bh_loop_tick(*state, true); /* hangs if a wake-up is lost */
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(next_number[i], PER_SENDER);
    }
    bh_loop_tick(*state, false);
    assert_int_equal(received, SENDERS * PER_SENDER);
}

static void closing_in_the_storm(void **state) {
    pthread_t threads[SENDERS];
    unsigned ids[SENDERS];
    start_storm(threads, ids);
    while (received < PER_SENDER / 2)
        bh_loop_tick(*state, true);
    bh_mailbox_close(box);
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    bh_mailbox_free(box);
    box = NULL;
    assert_int_equal(received, atomic_load(&accepted));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runs_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mail_that_posts_waits_for_the_next_tick, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_box_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(free_runs_what_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_storm_from_four_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_in_the_storm, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
