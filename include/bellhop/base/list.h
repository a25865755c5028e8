/* list.h - the intrusive, circular, doubly linked list. A node outside of a list points to itself,
 * so unlinking twice is harmless. Not thread-safe. */
#ifndef BELLHOP_BASE_LIST_H
#define BELLHOP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct bh_list {
    struct bh_list *prev, *next;
};

#define BH_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void bh_list_init(struct bh_list *l) {
    l->prev = l->next = l;
}

static inline bool bh_list_empty(const struct bh_list *l) {
    return l->next == l;
}

static inline void bh_list_append(struct bh_list *list, struct bh_list *node) {
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline void bh_list_unlink(struct bh_list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}

/* First node, unlinked; NULL when empty. */
static inline struct bh_list *bh_list_shift(struct bh_list *list) {
    if (bh_list_empty(list))
        return NULL;
    struct bh_list *node = list->next;
    bh_list_unlink(node);
    return node;
}

#endif
