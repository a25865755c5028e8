/* app_mail.h - one step of starting, stopping or reloading, mailed between the bus and a worker.
 *
 * A mail names the worker that it is about, and carries the result of the step before it. It is
 * posted from any thread; fn runs on the thread of the mailbox and opens it. */
#ifndef BELLHOP_SRC_APP_APP_MAIL_H
#define BELLHOP_SRC_APP_APP_MAIL_H

#include "bellhop/io/mailbox.h"

struct bh_server_worker;

struct bh_app_mail {
    struct bh_mail mail;
    struct bh_server_worker *worker;
    int error;
    char *why; /* owned; NULL: none */
};

/* Copies why. A closed mailbox drops the mail. */
void bh_app_mail_post(struct bh_mailbox *to, struct bh_server_worker *worker,
                      void (*fn)(struct bh_mail *), int error, const char *why);
/* Frees the mail and returns its contents; `why` is the caller's to free. */
struct bh_app_mail bh_app_mail_open(struct bh_mail *mail);

#endif
