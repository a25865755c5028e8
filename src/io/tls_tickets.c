/* tls_tickets.c - the keys that encrypt session tickets.
 *
 * A ticket is the whole session, encrypted and authenticated with a key of the server; with that
 * key, recorded sessions of TLS 1.2 can be decrypted. So random keys are short-lived: after one
 * lifetime a key makes no more tickets, after two it opens none and is wiped. Keys from files
 * rotate when their owner replaces the files.
 *
 * The ring outlives the object that it was made for: the next object shares it, so that sessions
 * survive a reload. Keys are copied out under the lock and wiped after use.
 *
 * The format is the usual one: AES-CBC, then HMAC-SHA256. Key files have nginx's layout, so nginx
 * can share them. Thread: any. */
#include "tls_internal.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#define NAME_LEN   16
#define SHORT_FILE 48
#define LONG_FILE  80

struct key {
    unsigned char name[NAME_LEN];
    unsigned char aes[32];
    unsigned char hmac[32];
    unsigned length; /* of aes and hmac: 16 or 32; 0: no key */
    uint64_t born_ms;
};

struct bh_tls_ring {
    atomic_uint refs;
    bool rotates;
    size_t count;
    pthread_mutex_t lock; /* all below */
    uint64_t lifetime_ms;
    struct key keys[]; /* the first one encrypts */
};

/* --- the ring --- */

static struct bh_tls_ring *new_ring(size_t count) {
    struct bh_tls_ring *ring = bh_calloc(1, sizeof *ring + count * sizeof *ring->keys);
    atomic_init(&ring->refs, 1);
    pthread_mutex_init(&ring->lock, NULL);
    ring->count = count;
    return ring;
}

static struct bh_tls_ring *share(struct bh_tls_ring *ring, uint64_t lifetime_ms) {
    atomic_fetch_add_explicit(&ring->refs, 1, memory_order_relaxed);
    pthread_mutex_lock(&ring->lock);
    ring->lifetime_ms = lifetime_ms;
    pthread_mutex_unlock(&ring->lock);
    return ring;
}

static int read_key_file(const char *path, struct key *out, char **error) {
    struct bh_bytes bytes = {0};
    int result = bh_tls_read_file(path, LONG_FILE, &bytes, error);
    if (result == 0 && bytes.len != SHORT_FILE && bytes.len != LONG_FILE)
        result = bh_error_set(error, "%s: a ticket key file has 48 or 80 bytes, not %zu", path,
                              bytes.len);
    if (result == 0) {
        bool is_long = bytes.len == LONG_FILE;
        out->length = is_long ? 32 : 16;
        memcpy(out->name, bytes.p, NAME_LEN);
        memcpy(is_long ? out->hmac : out->aes, bytes.p + NAME_LEN, out->length);
        memcpy(is_long ? out->aes : out->hmac, bytes.p + NAME_LEN + out->length, out->length);
        bh_tls_warn_if_exposed(path);
    }
    if (bytes.p)
        OPENSSL_cleanse(bytes.p, bytes.len);
    bh_bytes_free(&bytes);
    return result;
}

int bh_tls_ring_new(const struct bh_tls_config *config, struct bh_tls_ring *previous,
                    struct bh_tls_ring **out, char **error) {
    size_t files = config->ticket_key_count;
    if (files == 0 && previous && previous->rotates) {
        *out = share(previous, config->ticket_lifetime_ms);
        return 0;
    }
    struct bh_tls_ring *ring = *out = new_ring(files ? files : 2);
    ring->rotates = files == 0;
    ring->lifetime_ms = config->ticket_lifetime_ms;
    for (size_t i = 0; i < files; i++)
        if (read_key_file(config->ticket_keys[i], &ring->keys[i], error) != 0)
            return BH_EINVAL;
    return 0;
}

void bh_tls_ring_unref(struct bh_tls_ring *ring) {
    if (!ring || atomic_fetch_sub_explicit(&ring->refs, 1, memory_order_acq_rel) != 1)
        return;
    OPENSSL_cleanse(ring->keys, ring->count * sizeof *ring->keys);
    pthread_mutex_destroy(&ring->lock);
    bh_free(ring);
}

/* Under the lock. */
static void rotate(struct bh_tls_ring *ring) {
    struct key *current = &ring->keys[0], *before = &ring->keys[1];
    uint64_t now = bh_clock_ms();
    if (current->length && now - current->born_ms < ring->lifetime_ms)
        return;
    OPENSSL_cleanse(before, sizeof *before);
    if (current->length && now - current->born_ms < 2 * ring->lifetime_ms)
        *before = *current;
    bh_random(current->name, sizeof current->name);
    bh_random(current->aes, sizeof current->aes);
    bh_random(current->hmac, sizeof current->hmac);
    current->length = sizeof current->aes;
    current->born_ms = now;
}

/* Copies the key of that name (NULL: the encrypting one) to *out and returns its index in the ring,
 * or -1. The caller wipes the copy. */
static int find_key(struct bh_tls_ring *ring, const unsigned char *name, struct key *out) {
    int found = -1;
    pthread_mutex_lock(&ring->lock);
    if (ring->rotates)
        rotate(ring);
    for (size_t i = 0; i < ring->count && found < 0; i++)
        if (ring->keys[i].length && (!name || memcmp(ring->keys[i].name, name, NAME_LEN) == 0))
            found = (int)i;
    if (found >= 0)
        *out = ring->keys[found];
    pthread_mutex_unlock(&ring->lock);
    return found;
}

/* --- OpenSSL's callback --- */

static bool set_hmac(EVP_MAC_CTX *mac, struct key *key) {
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, key->length),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"sha256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* Returns what OpenSSL expects: -1 error, 0 unknown key (a full handshake follows), 1 valid, 2
 * valid but to be replaced by a ticket under the current key. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt) {
    struct bh_tls_ring *ring = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct key key;
    int index = find_key(ring, encrypt ? NULL : name, &key);
    if (index < 0)
        return encrypt ? -1 : 0;
    const EVP_CIPHER *aes = key.length == 32 ? EVP_aes_256_cbc() : EVP_aes_128_cbc();
    if (encrypt) {
        memcpy(name, key.name, NAME_LEN);
        bh_random(iv, (size_t)EVP_CIPHER_get_iv_length(aes));
    }
    bool good = set_hmac(mac, &key) && EVP_CipherInit_ex2(cipher, aes, key.aes, iv, encrypt, NULL);
    OPENSSL_cleanse(&key, sizeof key);
    if (!good)
        return -1;
    return index == 0 ? 1 : 2;
}

void bh_tls_ring_attach(struct bh_tls_ring *ring, SSL_CTX *ctx) {
    SSL_CTX_set_app_data(ctx, ring);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}
