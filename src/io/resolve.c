/* resolve.c - host names to addresses, without blocking the loop.
 *
 * getaddrinfo blocks, but only it honours /etc/hosts, nsswitch.conf, search domains and a
 * resolv.conf that changes while the daemon runs. So it runs on helper threads: at most four per
 * loop, started when there is something to look up, ended when there is nothing left. An idle
 * process has none.
 *
 * A lookup can take half a minute when the name servers are down, and neither the loop nor the exit
 * may wait for it: helpers are detached and share the resolver with the loop by a reference count.
 * A request has one owner at any time, given by its state: QUEUED in the list, RUNNING on a helper
 * (both under the lock), DONE in the mailbox of the loop. Cancelling a request that is RUNNING or
 * DONE clears its callback, which only the loop's thread reads; it is freed on arrival, or by the
 * helper when the loop no longer exists. */
#include "bellhop/io/addr.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/spawn.h"
#include "bellhop/io/mailbox.h"
#include "loop_internal.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#define HELPERS_MAX 4
#define HOST_MAX    253

struct bh_resolver {
    pthread_mutex_t lock; /* all below */
    struct bh_list queued;
    unsigned helpers;
    unsigned refs;              /* the loop and each helper */
    struct bh_mailbox *mailbox; /* NULL once the loop is freed */
};

struct bh_resolve {
    struct bh_mail mail;
    struct bh_list node;
    enum { QUEUED, RUNNING, DONE } state;
    struct bh_resolver *resolver;
    bh_resolved_cb on_done; /* NULL: cancelled */
    void *ud;
    int error;
    struct bh_addr *list; /* owned; NULL with an error */
    size_t count;
    uint16_t port;
    char host[HOST_MAX + 1];
};

/* --- looking up, on a helper --- */

static void add(struct bh_resolve *r, const struct sockaddr *address, socklen_t len) {
    struct bh_addr *one;
    r->list = bh_realloc(r->list, (r->count + 1) * sizeof *r->list);
    one = &r->list[r->count++];
    *one = (struct bh_addr){.len = len};
    memcpy(&one->storage, address, len);
}

static int lookup_error(int error) {
    switch (error) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return BH_ENOTFOUND;
    default:
        return BH_EUNAVAIL;
    }
}

static void look_up(struct bh_resolve *r) {
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", r->port);
    int error = getaddrinfo(r->host, port, &hints, &list);
    if (error) {
        r->error = lookup_error(error);
        return;
    }
    for (const struct addrinfo *at = list; at; at = at->ai_next)
        add(r, at->ai_addr, at->ai_addrlen);
    freeaddrinfo(list);
}

/* --- the resolver, shared by the loop and its helpers --- */

/* Called with the lock held, returns without it. */
static void release_and_unlock(struct bh_resolver *resolver) {
    bool last = --resolver->refs == 0;
    pthread_mutex_unlock(&resolver->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&resolver->lock);
    bh_free(resolver);
}

static void free_request(struct bh_resolve *r) {
    bh_free(r->list);
    bh_free(r);
}

/* Called with the lock held. */
static void finish(struct bh_resolver *resolver, struct bh_resolve *r) {
    r->state = DONE;
    if (!resolver->mailbox || bh_mailbox_post(resolver->mailbox, &r->mail) != 0)
        free_request(r);
}

static void *run_helper(void *arg) {
    struct bh_resolver *resolver = arg;
    struct bh_list *node;
    pthread_setname_np(pthread_self(), "bh-resolve");
    pthread_mutex_lock(&resolver->lock);
    while ((node = bh_list_shift(&resolver->queued))) {
        struct bh_resolve *r = BH_CONTAINER_OF(node, struct bh_resolve, node);
        r->state = RUNNING;
        pthread_mutex_unlock(&resolver->lock);
        look_up(r);
        pthread_mutex_lock(&resolver->lock);
        finish(resolver, r);
    }
    resolver->helpers--;
    release_and_unlock(resolver);
    return NULL;
}

/* Called with the lock held. When no helper can be started, a running one takes what is queued. */
static int start_helper(struct bh_resolver *resolver) {
    pthread_t helper;
    if (resolver->helpers == HELPERS_MAX)
        return 0;
    if (bh_spawn(&helper, run_helper, resolver) != 0)
        return resolver->helpers ? 0 : BH_EUNAVAIL;
    pthread_detach(helper);
    resolver->helpers++;
    resolver->refs++;
    return 0;
}

/* Drops every request; a helper that is still looking up a name frees its own. */
static void free_resolver(struct bh_resolver *resolver) {
    struct bh_list *node;
    pthread_mutex_lock(&resolver->lock);
    struct bh_mailbox *mailbox = resolver->mailbox;
    resolver->mailbox = NULL;
    while ((node = bh_list_shift(&resolver->queued)))
        free_request(BH_CONTAINER_OF(node, struct bh_resolve, node));
    pthread_mutex_unlock(&resolver->lock);
    bh_mailbox_free(mailbox); /* no helper posts any more */
    pthread_mutex_lock(&resolver->lock);
    release_and_unlock(resolver);
}

static struct bh_resolver *resolver_of(struct bh_loop *loop) {
    if (loop->resolver)
        return loop->resolver;
    struct bh_resolver *resolver = bh_calloc(1, sizeof *resolver);
    pthread_mutex_init(&resolver->lock, NULL);
    bh_list_init(&resolver->queued);
    resolver->refs = 1;
    resolver->mailbox = bh_mailbox_new(loop);
    loop->resolver = resolver;
    loop->free_resolver = free_resolver;
    return resolver;
}

/* --- requests, on the loop's thread --- */

static void on_arrival(struct bh_mail *mail) {
    struct bh_resolve *r = BH_CONTAINER_OF(mail, struct bh_resolve, mail);
    bool loop_lives = r->resolver->mailbox; /* changed by this thread only */
    if (r->on_done && loop_lives)
        r->on_done(r->ud, r->error, r->list, r->count);
    free_request(r);
}

/* True when no lookup is needed: r->list or r->error is set. */
static bool resolve_at_once(struct bh_resolve *r, const char *host) {
    char text[HOST_MAX + 16];
    struct bh_addr addr;
    const char *why;
    size_t n = strlen(host);
    if (n == 0 || n > HOST_MAX) {
        r->error = BH_EINVAL;
        return true;
    }
    memcpy(r->host, host, n + 1);
    snprintf(text, sizeof text, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, r->port);
    if (host[0] == '/' || bh_addr_parse(bh_slice_cstr(text), &addr, &why) != 0)
        return false;
    add(r, &addr.sa, addr.len);
    return true;
}

struct bh_resolve *bh_resolve(struct bh_loop *loop, const char *host, uint16_t port,
                              bh_resolved_cb on_done, void *ud) {
    struct bh_resolver *resolver = resolver_of(loop);
    struct bh_resolve *r = bh_malloc(sizeof *r);
    *r = (struct bh_resolve){
        .mail.fn = on_arrival, .resolver = resolver, .on_done = on_done, .ud = ud, .port = port};
    bh_list_init(&r->node);
    bool answered = resolve_at_once(r, host);
    pthread_mutex_lock(&resolver->lock);
    if (!answered) {
        bh_list_append(&resolver->queued, &r->node);
        r->error = start_helper(resolver);
    }
    if (answered || r->error) {
        bh_list_unlink(&r->node);
        finish(resolver, r);
    }
    pthread_mutex_unlock(&resolver->lock);
    return r;
}

void bh_resolve_cancel(struct bh_resolve *r) {
    struct bh_resolver *resolver = r->resolver;
    pthread_mutex_lock(&resolver->lock);
    bool queued = r->state == QUEUED;
    if (queued)
        bh_list_unlink(&r->node);
    r->on_done = NULL;
    pthread_mutex_unlock(&resolver->lock);
    if (queued)
        free_request(r);
}
