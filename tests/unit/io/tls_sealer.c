/* tls_sealer.c - TLS_AES_128_GCM_SHA256 with the client's secret, which OpenSSL tells for key logs.
 */
#include "tls_sealer.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

static struct {
    unsigned char secret[32], key[16], iv[12];
    uint64_t sequence;
} sealer;

static void on_keylog(const SSL *ssl, const char *line) {
    static const char label[] = "CLIENT_TRAFFIC_SECRET_0 ";
    const char *hex = strrchr(line, ' ') + 1;
    size_t n;
    if (strncmp(line, label, sizeof label - 1) == 0)
        assert_int_equal(OPENSSL_hexstr2buf_ex(sealer.secret, sizeof sealer.secret, &n, hex, '\0'),
                         1);
}

static void expand(const char *label, unsigned char *out, size_t n) {
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MODE, (char *)"EXPAND_ONLY", 0),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, sealer.secret, sizeof sealer.secret),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char *)"tls13 ", 6),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)label, strlen(label)),
        OSSL_PARAM_END,
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    assert_int_equal(EVP_KDF_derive(ctx, out, n, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

void tls_sealer_open(struct test_client *c, struct test_owner *o) {
    test_open_pair(1, c, o);
    assert_int_equal(SSL_set_ciphersuites(c->ssl, "TLS_AES_128_GCM_SHA256"), 1);
    SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(c->ssl), on_keylog);
    test_handshake(c, o);
    SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(c->ssl), NULL);
    sealer.sequence = 0;
    expand("key", sealer.key, sizeof sealer.key);
    expand("iv", sealer.iv, sizeof sealer.iv);
}

void tls_sealer_add(struct bh_bytes *out, enum tls_sealer_type type, const char *p, size_t n) {
    unsigned char record[64] = {TLS_SEALER_DATA, 3, 3, 0, (unsigned char)(n + 1 + 16)}, plain[40],
                  nonce[12];
    int size;
    memcpy(plain, p, n);
    plain[n] = (unsigned char)type;
    memcpy(nonce, sealer.iv, sizeof nonce);
    for (int i = 0; i < 8; i++)
        nonce[11 - i] ^= (unsigned char)(sealer.sequence >> (8 * i));
    sealer.sequence++;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, sealer.key, nonce);
    EVP_EncryptUpdate(ctx, NULL, &size, record, 5);
    EVP_EncryptUpdate(ctx, record + 5, &size, plain, (int)n + 1);
    EVP_EncryptFinal_ex(ctx, record + 5 + n + 1, &size);
    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, record + 5 + n + 1);
    EVP_CIPHER_CTX_free(ctx);
    bh_bytes_add(out, bh_slice(record, 5 + n + 1 + 16));
}
