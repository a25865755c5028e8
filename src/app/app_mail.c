/* app_mail.c - see the header. */
#include "app_mail.h"

#include "bellhop/base/mem.h"

void bh_app_mail_post(struct bh_mailbox *to, struct bh_server_worker *worker,
                      void (*fn)(struct bh_mail *), int error, const char *why) {
    struct bh_app_mail *m = bh_malloc(sizeof *m);
    *m = (struct bh_app_mail){{.fn = fn}, worker, error, why ? bh_strdup(why) : NULL};
    if (bh_mailbox_post(to, &m->mail)) {
        bh_free(m->why);
        bh_free(m);
    }
}

struct bh_app_mail bh_app_mail_open(struct bh_mail *mail) {
    struct bh_app_mail *m = BH_CONTAINER_OF(mail, struct bh_app_mail, mail), copy = *m;
    bh_free(m);
    return copy;
}
