/* string_list.c - lists of strings; they are short, so each addition reallocates. */
#include "string_list.h"

#include "bellhop/base/mem.h"

void bh_strings_add(struct bh_strings *s, char *string) {
    s->items = bh_realloc(s->items, (s->count + 1) * sizeof *s->items);
    s->items[s->count++] = string;
}

void bh_strings_free(struct bh_strings *s) {
    for (size_t i = 0; i < s->count; i++)
        bh_free(s->items[i]);
    bh_free(s->items);
    *s = (struct bh_strings){0};
}
