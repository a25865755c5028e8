/* mailbox_internal.h - private to src/io. */
#ifndef BELLHOP_SRC_IO_MAILBOX_INTERNAL_H
#define BELLHOP_SRC_IO_MAILBOX_INTERNAL_H

#include "bellhop/io/mailbox.h"

/* Posts even to a closed box, so that a thread can be stopped after its box was closed. */
void bh_mailbox_post_always(struct bh_mailbox *box, struct bh_mail *mail);

#endif
