/* mailbox.h - the only way between threads: many senders, one receiving loop.
 *
 * A mail is an intrusive node inside a heap object of the sender. Posting hands the object over;
 * its fn runs on the receiving loop and consumes (frees) it. The order of each sender is kept. The
 * receiver is woken only when the box was empty; mails run outside the lock. After
 * bh_mailbox_close, bh_mailbox_post returns BH_ECLOSED and the sender keeps the object. Every
 * accepted mail runs exactly once: bh_mailbox_free runs the remaining ones. */
#ifndef BELLHOP_IO_MAILBOX_H
#define BELLHOP_IO_MAILBOX_H

#include "bellhop/io/loop.h"

struct bh_mail {
    struct bh_mail *next;
    void (*fn)(struct bh_mail *);
};

struct bh_mailbox; /* opaque */

struct bh_mailbox *bh_mailbox_new(struct bh_loop *loop); /* receiving thread, or before it runs */
void bh_mailbox_close(struct bh_mailbox *box);           /* any thread */
void bh_mailbox_free(struct bh_mailbox *box);            /* after all senders have ended */
int bh_mailbox_post(struct bh_mailbox *box, struct bh_mail *mail); /* any thread */

#endif
