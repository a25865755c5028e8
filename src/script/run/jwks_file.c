/* jwks_file.c - a key set in a file, read again when the file changes.
 *
 * Issuers rotate their keys, and some tool of the operator rewrites the file while tokens are being
 * checked. So the file is checked by one stat, at most once a second, and each version of it is
 * read once. A version is identified by all that a write, a rename or a chmod changes: device,
 * inode, size and both times. It is recorded before reading, so that a file that grows meanwhile is
 * read again.
 *
 * A bad file never replaces good keys, since a half-written file would lock everybody out; to
 * withdraw all keys, write an empty set. Owned by the worker's state; nothing here may block: only
 * regular files are read, up to the largest size of a set. */
#include "run/jwks_file.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_MS 1000

struct bh_jwks_file {
    char *path;
    struct bh_jwks *keys; /* NULL: no good file yet */
    bool checked;
    uint64_t checked_ms;
    struct stat version; /* last read; zeros: none */
    bool unreadable;     /* and it was logged */
    char why[512];       /* the last error */
};

struct bh_jwks_file *bh_jwks_file_new(const char *path) {
    struct bh_jwks_file *f = bh_calloc(1, sizeof *f);
    f->path = bh_strdup(path);
    return f;
}

void bh_jwks_file_free(struct bh_jwks_file *f) {
    if (!f)
        return;
    bh_jwks_free(f->keys);
    bh_free(f->path);
    bh_free(f);
}

static bool same_time(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_version(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

static int fail(struct bh_jwks_file *f, const char *why) {
    snprintf(f->why, sizeof f->why, "%s: %s", f->path, why);
    return BH_EIO;
}

/* Reads one byte more than a set may have, so the parser refuses a file that is too large. */
static int read_all(struct bh_jwks_file *f, int fd, struct bh_bytes *text) {
    bh_bytes_reserve(text, BH_JWKS_MAX + 1);
    while (text->len <= BH_JWKS_MAX) {
        ssize_t n = read(fd, text->p + text->len, BH_JWKS_MAX + 1 - text->len);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return fail(f, strerror(errno));
        text->len += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Records the version, then reads. */
static int read_file(struct bh_jwks_file *f, struct bh_bytes *text) {
    /* Without O_NONBLOCK, opening a FIFO would block. */
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return fail(f, strerror(errno));
    int error;
    if (fstat(fd, &f->version) != 0)
        error = fail(f, strerror(errno));
    else if (!S_ISREG(f->version.st_mode))
        error = fail(f, "not a regular file");
    else
        error = read_all(f, fd, text);
    close(fd);
    return error;
}

static void replace_keys(struct bh_jwks_file *f, struct bh_slice text) {
    struct bh_jwks *keys;
    const char *why;
    if (bh_jwks_parse(text, &keys, &why)) {
        fail(f, why);
        bh_warn("key set not usable, keeping the previous keys", bh_kv_str("file", f->path),
                bh_kv_str("why", why));
        return;
    }
    bh_jwks_free(f->keys);
    f->keys = keys;
    size_t count = bh_jwks_count(keys), skipped = bh_jwks_skipped(keys, &why);
    BH_LOG(count ? BH_LOG_INFO : BH_LOG_WARN, NULL, "key set read", bh_kv_str("file", f->path),
           bh_kv_int("usable", (int64_t)count), bh_kv_int("skipped", (int64_t)skipped),
           bh_kv_str("skipped_why", why));
}

/* A read error may be temporary (no descriptors left), so reading is tried at each check and logged
 * once. An error of the text stays until the file changes. */
static void reload(struct bh_jwks_file *f) {
    struct bh_bytes text = {0};
    if (read_file(f, &text) == 0) {
        f->unreadable = false;
        replace_keys(f, bh_bytes_slice(&text));
    } else {
        f->version = (struct stat){0};
        if (!f->unreadable)
            bh_warn("key set cannot be read", bh_kv_str("why", f->why));
        f->unreadable = true;
    }
    bh_bytes_free(&text);
}

static void check(struct bh_jwks_file *f) {
    struct stat now;
    if (f->checked && bh_clock_ms() - f->checked_ms < CHECK_MS)
        return;
    f->checked = true;
    f->checked_ms = bh_clock_ms();
    if (stat(f->path, &now) != 0 || !same_version(&now, &f->version))
        reload(f);
}

const struct bh_jwks *bh_jwks_file_keys(struct bh_jwks_file *f, const char **why) {
    check(f);
    if (!f->keys)
        *why = f->why;
    return f->keys;
}
