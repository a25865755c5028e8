#include "proto_test.h"

size_t test_cut(int cut, size_t left) {
    if (cut == 0)
        return left;
    if (cut == 1)
        return 1;
    size_t longest = cut % 2 ? 7 : 64;
    size_t n = 1 + test_random() % longest;
    return n < left ? n : left;
}

struct bh_slice test_repeat(struct bh_bytes *into, char c, size_t n) {
    for (size_t i = 0; i < n; i++)
        bh_bytes_addc(into, c);
    return bh_bytes_slice(into);
}
