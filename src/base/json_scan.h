/* json_scan.h - the scanner, and what it shares with the readers of json.c; private to base. */
#ifndef BELLHOP_SRC_BASE_JSON_SCAN_H
#define BELLHOP_SRC_BASE_JSON_SCAN_H

#include "bellhop/base/json.h"

#define BH_JSON_INT_MAX 9007199254740992 /* 2^53: a double holds every integer up to it */

/* bh_json_check; for_tree also rejects what cJSON would corrupt. */
int bh_json_scan(struct bh_slice text, bool for_tree, struct bh_json_error *error);

static inline bool bh_json_is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *bh_json_skip_blanks(const char *p, const char *end) {
    while (p < end && bh_json_is_blank(*p))
        p++;
    return p;
}

/* The code unit of the four digits after \u; -1 when they are not hexadecimal. */
static inline int bh_json_hex4(const char *p, const char *end) {
    if (end - p < 4)
        return -1;
    int code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = bh_hex_digit(p[i]);
        if (digit < 0)
            return -1;
        code = code << 4 | digit;
    }
    return code;
}

static inline bool bh_json_is_high_surrogate(int code) {
    return code >= 0xd800 && code <= 0xdbff;
}

static inline bool bh_json_is_low_surrogate(int code) {
    return code >= 0xdc00 && code <= 0xdfff;
}

#endif
