/* json.h - JSON: a strict scanner over the original bytes, and cJSON for trees.
 *
 * The scanner accepts the grammar of RFC 8259, in UTF-8, and nothing else; it gives the raw extent
 * of each value: a payload inside a batch reaches its clients byte for byte, and a 19-digit integer
 * keeps its digits. What the grammar allows and a reader may not be able to represent (numbers of
 * any size, the escape \u0000, half of a surrogate pair) is judged by who reads that value, so a
 * value that is only passed on is not judged. cJSON, which keeps numbers as doubles and strings
 * NUL-terminated, builds trees only after the scanner has rejected what cJSON would corrupt
 * (bh_json_parse); trees are for configuration. json.c is the only file that includes cJSON.
 * Thread: any; nothing is shared. */
#ifndef BELLHOP_BASE_JSON_H
#define BELLHOP_BASE_JSON_H

#include "bellhop/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define BH_JSON_DEPTH_MAX 4096 /* of a reader; bh_json_check has no limit */
#define BH_JSON_STEPS_MAX 64   /* of a path; what is deeper is not found */

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

/* A value in a text: its type and its bytes. */
struct bh_json_value {
    enum bh_json_type type;
    struct bh_slice raw;
};

enum bh_json_event {
    BH_JSON_INVALID, /* `error` says why; final */
    BH_JSON_END,     /* the text was one valid value, with optional blanks around it; final */
    BH_JSON_VALUE,   /* null, false, true, a number or a string */
    BH_JSON_NAME,    /* of the member whose value comes next */
    BH_JSON_OPEN,    /* an array or an object begins; its entries follow */
    BH_JSON_CLOSE,
};

/* Reads a text event by event. It owns nothing, so it may be abandoned at any time. Nothing is
 * known about the rest of the text before BH_JSON_END. */
struct bh_json_reader {
    struct bh_json_value value;  /* of the event; a container has the bracket as its bytes */
    bool plain;                  /* a string or name without escapes; a number without fraction and
                                    exponent */
    uint8_t expects;             /* the scanner's */
    unsigned depth;              /* of the containers that are open after the event */
    uint64_t objects;            /* one bit each, the innermost lowest: it is an object */
    const char *start, *p, *end; /* p: where the next event begins */
    struct bh_json_error error;
    uint64_t *outer;    /* `objects` of the levels further out, 64 in each; NULL: outer_room */
    unsigned outer_max; /* of the words */
    uint64_t outer_room[BH_JSON_DEPTH_MAX / 64 - 1];
};

void bh_json_reader_init(struct bh_json_reader *r, struct bh_slice text);
enum bh_json_event bh_json_read(struct bh_json_reader *r);

/* Reads a text to its end: 0 or BH_ESYNTAX. error may be NULL. A text that is nested deeper than
 * BH_JSON_DEPTH_MAX is read twice, with memory of a 64th of its length. */
int bh_json_check(struct bh_slice text, struct bh_json_error *error);

#define BH_JSON_TICK 1024 /* events */
/* The same, and finds the value at a path of member names and decimal array indexes, "a.b.0.c"; the
 * empty path is the root. 0, BH_ENOTFOUND, or BH_ESYNTAX. tick (or NULL) is called every
 * BH_JSON_TICK events; it may leave by longjmp. */
int bh_json_find(struct bh_slice text, struct bh_slice path, void (*tick)(void *ud), void *ud,
                 struct bh_json_value *value, struct bh_json_error *error);

/* --- readers of a text that bh_json_check has accepted --- */

/* The root value of an accepted text, blanks removed. */
struct bh_json_value bh_json_root(struct bh_slice text);
/* Iterates the elements of an array or the members of an object: *cursor starts at 0. For members
 * *key is the raw string with its quotes (key may be NULL for arrays). False at the end. */
bool bh_json_next(struct bh_json_value container, size_t *cursor, struct bh_json_value *key,
                  struct bh_json_value *value);
/* The last member with this name (the last wins, as in JavaScript and bh_json_get), or false. */
bool bh_json_member(struct bh_json_value object, struct bh_slice name, struct bh_json_value *value);

/* --- scalars: of accepted texts, and of a reader's events --- */

/* Decodes a string (escapes resolved) into out, which has room for the raw bytes; returns the
 * length. Half of a surrogate pair becomes U+FFFD, so the result is always valid UTF-8. */
size_t bh_json_unescape(struct bh_json_value string, char *out);
/* The same, appended to out; nothing for other types. */
void bh_json_string(struct bh_json_value string, struct bh_bytes *out);
/* False if the string has half of a surrogate pair: decoded, it would be equal to others. */
bool bh_json_is_exact(struct bh_json_value string);
/* Whether the string's text, decoded, is this one. */
bool bh_json_equals(struct bh_json_value string, struct bh_slice text);
/* An integer literal (no fraction, no exponent) in int64 range: 0, BH_EINVAL, BH_ETOOBIG. */
int bh_json_int64(struct bh_json_value number, int64_t *out);
#define BH_JSON_NUMBER_MAX 1000 /* bytes of a number; the scanner has no limit */
/* The nearest double: 0, BH_EINVAL, or BH_ETOOBIG (out of range, or too long). */
int bh_json_double(struct bh_json_value number, double *out);
/* Whether the double is an integer within +-2^53; beyond, doubles do not tell neighbours apart. */
bool bh_json_whole(double number, int64_t *out);

/* --- trees (cJSON), read-only --- */

struct bh_json; /* opaque: a cJSON node; children belong to the root */

/* Runs the scanner, rejects the escape \u0000, half surrogate pairs, integer literals beyond
 * +-2^53, numbers that a double cannot hold, and more than 64 levels, then builds the tree. 0,
 * BH_ESYNTAX or BH_ENOMEM. The caller frees the root with bh_json_free. */
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
