#include "unit_test.h"

uint32_t test_random_from(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 32);
}

uint32_t test_random(void) {
    static uint64_t state = 0x9e3779b97f4a7c15;
    return test_random_from(&state);
}

struct bh_slice test_exact(struct bh_slice s) {
    char *p = malloc(s.n ? s.n : 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return bh_slice(p, s.n);
}

void test_exact_free(struct bh_slice s) {
    free((char *)s.p);
}
