/* jwt_test.h - keys and tokens for the tests of JSON Web Tokens and of key sets. */
#ifndef BELLHOP_TESTS_UNIT_BASE_JWT_TEST_H
#define BELLHOP_TESTS_UNIT_BASE_JWT_TEST_H

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/jwt.h"
#include "unit_test.h"

#include <openssl/bio.h>
#include <openssl/evp.h>

#define NOW 1700000000000 /* Unix time in milliseconds */

/* --- keys --- */

/* Frees the BIO. The PEM is freed with test_exact_free, or by key_from_pem. */
struct bh_slice pem_of(BIO *bio);
struct bh_slice public_pem(EVP_PKEY *pkey);
struct bh_jwt_key *key_from_pem(struct bh_slice pem);

/* Made and freed by the group's setup and teardown. */
extern EVP_PKEY *rsa_2048, *p256, *p384, *p521, *ed25519;
int make_keys(void **state);
int free_keys(void **state);

/* --- tokens --- */

#define ALG_COUNT 11
struct alg {
    unsigned id;
    const char *name;
    const char *digest;
    size_t half; /* of an ES signature, else 0 */
};
extern const struct alg algs[ALG_COUNT];

/* Appends a part of a token, encoded. */
void add_part(struct bh_bytes *token, struct bh_slice data);
/* Header, dot and claims. */
void begin_token(const char *header, const char *claims, struct bh_bytes *token);
/* The signature of a text, as OpenSSL gives it. A salt of NO_PSS means no PSS, otherwise it is a
 * length or one of RSA_PSS_SALTLEN_*. */
#define NO_PSS -100
size_t sign_raw(EVP_PKEY *pkey, const char *digest, int salt, const char *mgf1,
                struct bh_slice text, unsigned char signature[1024]);
/* A token with any header, signed by a private key. `half` as above; `der` leaves ES as DER. */
void sign_with(EVP_PKEY *pkey, const char *header, const char *claims, const char *digest,
               size_t half, bool der, struct bh_bytes *token);
/* The same with RSASSA-PSS and rsa_2048. */
void sign_pss(const char *header, const char *digest, const char *mgf1, int salt,
              struct bh_bytes *token);
/* A token with any header and any payload bytes, under an HMAC secret. */
void sign_hs256(struct bh_slice header, struct bh_slice payload, struct bh_slice secret,
                struct bh_bytes *token);
/* bh_jwt_verify, checking its outputs and that OpenSSL's error queue is empty afterwards. */
int verify(struct bh_slice token, const struct bh_jwt_rules *rules);

/* The key of algs[alg]; NULL for HS, which uses HS_SECRET. */
EVP_PKEY *private_for(size_t alg);
/* Long enough for HS512. */
#define HS_SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
/* A token of algs[alg] under that key; kid may be NULL. */
void make_token(size_t alg, const char *kid, struct bh_bytes *token);

/* --- RFC 7515, appendix A --- */

#define RFC_CLAIMS                                                                                 \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"                             \
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RFC_HS256                                                                                  \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_CLAIMS                                         \
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define RFC_RS256                                                                                  \
    "eyJhbGciOiJSUzI1NiJ9." RFC_CLAIMS                                                             \
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"                            \
    "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4"                             \
    "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"                             \
    "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv"                             \
    "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB"                             \
    "p0igcN_IoypGlUPQGe77Rw"
#define RFC_ES256                                                                                  \
    "eyJhbGciOiJFUzI1NiJ9." RFC_CLAIMS                                                             \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"                            \
    "pmWQxfKTUJqPP3-Kg6NU1Q"
#define RFC_ES512                                                                                  \
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA"                                                              \
    ".AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZq"                            \
    "wqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8Kp"                             \
    "EHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"

#define RFC_EDDSA /* RFC 8037 A.4 */                                                               \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"                                     \
    ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5B"                            \
    "hVsPt9g7sVvpAr_MuM0KAg"

#endif
