/* string_list.h - lists of strings that belong to their list. Thread: main. */
#ifndef BELLHOP_SRC_APP_STRING_LIST_H
#define BELLHOP_SRC_APP_STRING_LIST_H

#include <stddef.h>

struct bh_strings {
    char **items;
    size_t count;
};

/* Takes ownership of the string (bh_malloc). */
void bh_strings_add(struct bh_strings *s, char *string);
void bh_strings_free(struct bh_strings *s);

#endif
