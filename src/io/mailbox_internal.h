/* mailbox_internal.h - private to src/io. */
#ifndef BELLHOP_SRC_IO_MAILBOX_INTERNAL_H
#define BELLHOP_SRC_IO_MAILBOX_INTERNAL_H

#include "bellhop/io/mailbox.h"

/* Posts also to a closed box: a thread must be stoppable after its box has been closed. */
void bh_mailbox_post_always(struct bh_mailbox *box, struct bh_mail *mail);

#endif
