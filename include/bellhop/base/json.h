/* json.h - JSON: a strict scanner over the original bytes, and cJSON for trees.
 *
 * The scanner validates RFC 8259 strictly (UTF-8, no control characters in strings, no lone
 * surrogates, bounded depth) without allocating, and gives the raw extent of each value: a payload
 * inside a batch reaches its clients byte for byte, and a 19-digit integer keeps its digits. cJSON,
 * which keeps numbers as doubles and strings NUL-terminated, builds trees only after the scanner
 * has rejected what cJSON would corrupt (bh_json_parse). json.c is the only file that includes
 * cJSON. Thread: any; nothing is shared. */
#ifndef BELLHOP_BASE_JSON_H
#define BELLHOP_BASE_JSON_H

#include "bellhop/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define BH_JSON_DEPTH_MAX 64

enum bh_json_type {
    BH_JSON_NULL,
    BH_JSON_FALSE,
    BH_JSON_TRUE,
    BH_JSON_NUMBER,
    BH_JSON_STRING,
    BH_JSON_ARRAY,
    BH_JSON_OBJECT,
};

/* --- scanner --- */

/* What is wrong and at which byte, for the caller's error message. */
struct bh_json_error {
    size_t offset;
    const char *why;
};

/* Scans exactly one value, with optional blanks around it, that fills the slice. 0 or BH_ESYNTAX.
 */
int bh_json_check(struct bh_slice text, struct bh_json_error *error);

/* A value in a text that bh_json_check has accepted: its type and its bytes. */
struct bh_json_value {
    enum bh_json_type type;
    struct bh_slice raw;
};

/* The root value of an accepted text, blanks removed. */
struct bh_json_value bh_json_root(struct bh_slice text);
/* Iterates the elements of an array or the members of an object: *cursor starts at 0. For members
 * *key is the raw string with its quotes (key may be NULL for arrays). False at the end. */
bool bh_json_next(struct bh_json_value container, size_t *cursor, struct bh_json_value *key,
                  struct bh_json_value *value);
/* The last member with this name (the last wins, as in JavaScript and bh_json_get), or false. */
bool bh_json_member(struct bh_json_value object, struct bh_slice name, struct bh_json_value *value);
/* Walks a path of member names and decimal array indexes, "a.b.0.c"; the empty path is the root. */
bool bh_json_path(struct bh_json_value root, struct bh_slice path, struct bh_json_value *value);
/* Decodes a string value (escapes resolved) and appends it to out. */
void bh_json_string(struct bh_json_value string, struct bh_bytes *out);
/* An integer literal (no fraction, no exponent) in int64 range: 0, BH_EINVAL, BH_ETOOBIG. */
int bh_json_int64(struct bh_json_value number, int64_t *out);

/* --- trees (cJSON), read-only --- */

struct bh_json; /* opaque: a cJSON node; children belong to the root */

/* Runs the scanner, rejects the escape \u0000, integer literals beyond +-2^53 and numbers that a
 * double cannot hold, then builds the tree. 0, BH_ESYNTAX or BH_ENOMEM. The caller frees the root
 * with bh_json_free. */
int bh_json_parse(struct bh_slice text, struct bh_json **root, struct bh_json_error *error);
void bh_json_free(struct bh_json *root);
enum bh_json_type bh_json_type(const struct bh_json *node);
/* The last member with this name, or NULL; object may be NULL or of another type. */
const struct bh_json *bh_json_get(const struct bh_json *object, const char *name);
const struct bh_json *bh_json_child(const struct bh_json *container); /* or NULL */
const struct bh_json *bh_json_sibling(const struct bh_json *node);    /* or NULL */
const char *bh_json_name(const struct bh_json *member);
const char *bh_json_str(const struct bh_json *string); /* NULL for other types */
double bh_json_num(const struct bh_json *number);
/* True when the number is an integer (its literal had neither fraction nor exponent, or its value
 * is whole and within +-2^53). */
bool bh_json_is_int(const struct bh_json *number, int64_t *out);

/* --- writing --- */

/* Appends s as a JSON string with quotes. Bytes that are not UTF-8 become U+FFFD; the control
 * characters U+0000..1F and U+007F..9F are escaped. */
void bh_json_quote(struct bh_bytes *out, struct bh_slice s);

#endif
