/* proto_test.h - for the tests of proto: the ways to cut a stream (whole, byte by byte, at random),
 * and comparing bytes. */
#ifndef BELLHOP_TESTS_UNIT_PROTO_TEST_H
#define BELLHOP_TESTS_UNIT_PROTO_TEST_H

#include "unit_test.h"

/* Cut 0 is whole, 1 is byte by byte, the others are random. */
#define CUTS 20

/* The size of the next piece, of `left` bytes. */
size_t test_cut(int cut, size_t left);
/* Appends c n times and returns all bytes. */
struct bh_slice test_repeat(struct bh_bytes *into, char c, size_t n);

#define assert_bytes(bytes, text)                                                                  \
    do {                                                                                           \
        bh_bytes_addc(bytes, '\0');                                                                \
        assert_string_equal((bytes)->p, text);                                                     \
        (bytes)->len--;                                                                            \
    } while (0)

#endif
