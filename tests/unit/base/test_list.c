/* The intrusive list: order, unlinking twice, shifting to the end. */
#include "bellhop/base/list.h"

#include "unit_test.h"

struct item {
    int number;
    struct bh_list in_list;
};

static int number_of(struct bh_list *node) {
    return BH_CONTAINER_OF(node, struct item, in_list)->number;
}

static void keeps_the_order(void **state) {
    struct bh_list list;
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    bh_list_init(&list);
    assert_true(bh_list_empty(&list));
    for (int i = 0; i < 3; i++)
        bh_list_append(&list, &items[i].in_list);
    assert_false(bh_list_empty(&list));
    for (int i = 0; i < 3; i++)
        assert_int_equal(number_of(bh_list_shift(&list)), i);
    assert_null(bh_list_shift(&list));
}

static void unlinking_twice_is_harmless(void **state) {
    struct bh_list list;
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    bh_list_init(&list);
    for (int i = 0; i < 3; i++)
        bh_list_append(&list, &items[i].in_list);
    bh_list_unlink(&items[1].in_list);
    bh_list_unlink(&items[1].in_list);
    assert_true(bh_list_empty(&items[1].in_list));
    assert_int_equal(number_of(list.next), 0);
    assert_int_equal(number_of(list.next->next), 2);
    assert_ptr_equal(list.prev, &items[2].in_list);
    assert_ptr_equal(items[2].in_list.next, &list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order),
        cmocka_unit_test(unlinking_twice_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
