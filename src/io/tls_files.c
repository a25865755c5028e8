/* tls_files.c - certificates and keys from PEM files, with errors that name the file and the
 * problem.
 *
 * OpenSSL's loaders have three shortcomings: they prompt on the terminal for the passphrase of an
 * encrypted key, they report every problem as "PEM lib", and they accept a key that other users can
 * read. Nothing is kept here; what is loaded belongs to the context. */
#include "tls_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>

static FILE *open_file(const char *path, char **error) {
    FILE *file = fopen(path, "re");
    struct stat st;
    if (!file) {
        bh_error_set(error, "%s: %s", path, strerror(errno));
    } else if (fstat(fileno(file), &st) == 0 && S_ISDIR(st.st_mode)) {
        bh_error_set(error, "%s: is a directory", path);
        fclose(file);
        file = NULL;
    }
    return file;
}

int bh_tls_read_file(const char *path, size_t max, struct bh_bytes *out, char **error) {
    char block[4096];
    size_t n;
    FILE *file = open_file(path, error);
    if (!file)
        return BH_EINVAL;
    while (out->len <= max && (n = fread(block, 1, sizeof block, file)) > 0)
        bh_bytes_add(out, bh_slice(block, n));
    bool failed = ferror(file);
    fclose(file);
    if (failed)
        return bh_error_set(error, "%s: cannot be read", path);
    if (out->len > max)
        return bh_error_set(error, "%s: more than %zu bytes", path, max);
    return 0;
}

void bh_tls_warn_if_exposed(const char *path) {
    struct stat st;
    char mode[8];
    if (stat(path, &st) != 0 || !(st.st_mode & (S_IROTH | S_IWGRP | S_IWOTH)))
        return;
    snprintf(mode, sizeof mode, "%04o", (unsigned)st.st_mode & 0777);
    bh_warn("other users can read or change a private key; restrict its permissions",
            bh_kv_str("file", path), bh_kv_str("mode", mode));
}

/* In place of OpenSSL's prompt. */
static int refuse_passphrase(char *buffer, int size, int for_writing, void *ud) {
    bool *asked = ud;
    if (asked)
        *asked = true;
    return -1;
}

static int load_certificates(SSL_CTX *ctx, const char *path, char **error) {
    FILE *file = open_file(path, error);
    if (!file)
        return BH_EINVAL;
    fclose(file);
    SSL_CTX_set_default_passwd_cb(ctx, refuse_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ctx, path) == 1)
        return 0;
    unsigned long code = ERR_peek_error();
    if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE)
        return bh_error_set(error, "%s: no certificate in it", path);
    return bh_error_set(error, "%s: not a usable certificate: %s", path, bh_tls_reason());
}

static int read_key(const char *path, EVP_PKEY **out, char **error) {
    bool encrypted = false;
    FILE *file = open_file(path, error);
    if (!file)
        return BH_EINVAL;
    *out = PEM_read_PrivateKey(file, NULL, refuse_passphrase, &encrypted);
    fclose(file);
    ERR_clear_error(); /* OpenSSL's own error for a missing key is misleading */
    if (*out)
        return 0;
    if (encrypted)
        return bh_error_set(error, "%s: the private key is encrypted; it must not be", path);
    return bh_error_set(error, "%s: no private key in it", path);
}

int bh_tls_load_pair(SSL_CTX *ctx, const char *certificate, const char *key, char **error) {
    EVP_PKEY *pkey;
    ERR_clear_error();
    if (load_certificates(ctx, certificate, error) != 0 || read_key(key, &pkey, error) != 0)
        return BH_EINVAL;
    int result = 0;
    if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), pkey) != 1)
        result = bh_error_set(error, "%s: the key does not belong to the certificate %s", key,
                              certificate);
    else if (SSL_CTX_use_PrivateKey(ctx, pkey) != 1)
        result = bh_error_set(error, "%s: not a usable key: %s", key, bh_tls_reason());
    else
        bh_tls_warn_if_exposed(key);
    ERR_clear_error();
    EVP_PKEY_free(pkey);
    return result;
}
