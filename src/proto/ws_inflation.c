/* ws_inflation.c - one compressed message.
 *
 * After the first step a message that is not complete needs a place (ws_inflaters.h). When there is
 * none, what it has is bounded: without context takeover the inflater is given back, and the
 * message begins again when it has a place, which costs one step; with takeover the inflater cannot
 * go back in its stream, so the output of that step stays. */
#include "ws_inflation.h"

#include "bellhop/base/error.h"

static void give_back(struct bh_inflation *x) {
    if (x->inflater && !x->own)
        bh_inflaters_give_back(x->all, x->inflater);
    x->inflater = NULL;
}

void bh_inflation_begin(struct bh_inflation *x, struct bh_inflaters *all, struct bh_inflater *own,
                        struct bh_ws_reader *reader, bool text) {
    x->all = all;
    x->own = own;
    x->text = text;
    x->place.reader = reader;
}

static void stop(struct bh_inflation *x) {
    give_back(x);
    if (x->place.state != BH_INFLATER_NONE)
        bh_inflaters_leave(x->all, &x->place);
}

void bh_inflation_end(struct bh_inflation *x) {
    stop(x);
    bh_bytes_free(&x->out);
}

static bool take_inflater(struct bh_inflation *x) {
    x->inflater = x->own ? x->own : bh_inflaters_borrow(x->all);
    if (x->inflater)
        bh_inflater_begin(x->inflater);
    return x->inflater;
}

/* The step appended what follows `before`. */
static bool text_is_valid(struct bh_inflation *x, size_t before, bool complete) {
    struct bh_slice all = bh_bytes_slice(&x->out);
    if (!x->text)
        return true;
    if (before == 0 && complete)
        return bh_utf8_valid(all);
    if (all.n > before && bh_utf8_feed(&x->utf8, bh_slice(all.p + before, all.n - before)))
        return false;
    return !complete || bh_utf8_complete(&x->utf8);
}

static int inflate_step(struct bh_inflation *x, struct bh_slice compressed, uint64_t limit) {
    struct bh_slice rest = compressed;
    size_t before = x->out.len;
    if (x->at)
        rest = bh_slice(compressed.p + x->at, compressed.n - x->at);
    int r = bh_inflater_step(x->inflater, &rest, limit, &x->out);
    size_t read = compressed.n - x->at - rest.n, written = x->out.len - before;
    x->at += read;
    x->gains = written > read ? written - read : 0;
    if (r >= 0 && !text_is_valid(x, before, r == 0))
        return BH_EUTF8;
    return r;
}

static void begin_again(struct bh_inflation *x) {
    give_back(x);
    bh_bytes_free(&x->out);
    x->at = x->gains = 0;
    x->utf8 = (struct bh_utf8){0};
}

static int hold_place(struct bh_inflation *x) {
    if (bh_inflaters_hold(x->all, &x->place))
        return BH_INFLATION_AGAIN;
    if (!x->own)
        begin_again(x);
    return BH_INFLATION_WAIT;
}

void bh_inflation_postpone(struct bh_inflation *x) {
    if (x->place.state != BH_INFLATER_NONE)
        bh_inflaters_leave(x->all, &x->place);
    if (!x->own)
        begin_again(x);
}

int bh_inflation_step(struct bh_inflation *x, struct bh_slice compressed, uint64_t limit) {
    x->gains = 0;
    if (x->place.state == BH_INFLATER_WAITS)
        return BH_INFLATION_WAIT;
    if (!x->inflater && !take_inflater(x))
        return BH_ENOMEM;
    int r = inflate_step(x, compressed, limit);
    if (r == BH_INFLATE_AGAIN)
        return hold_place(x);
    if (r == 0)
        stop(x);
    return r;
}
