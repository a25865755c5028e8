/* json_find.c - one value of a text by its path, in one pass that also checks the text.
 *
 * The containers on the path are the outermost ones that are open: `on_path` counts them. An entry
 * of the innermost of these is compared with the next step; what is deeper belongs to an entry that
 * has not matched, or to the value that was found. A later member of the same name replaces what
 * was found before. */
#include "json_scan.h"

#include "bellhop/base/error.h"

struct step {
    struct bh_slice name;
    uint64_t index; /* UINT64_MAX: not an index */
};

struct find {
    struct bh_json_reader reader;
    struct step steps[BH_JSON_STEPS_MAX];
    uint64_t indexes[BH_JSON_STEPS_MAX + 1]; /* of the next element, by depth */
    unsigned count;                          /* of the steps */
    bool too_long;                           /* the path: nothing is found */
    unsigned on_path;
    bool name_matches; /* of the member that comes next */
    bool found;
    bool open; /* the value is a container that has not ended */
    struct bh_json_value *out;
};

static void split_path(struct find *f, struct bh_slice path) {
    struct bh_slice name;
    if (path.n == 0)
        return; /* no step, rather than one step with an empty name */
    while (f->count < BH_JSON_STEPS_MAX && bh_slice_split(&path, '.', &name)) {
        struct step *step = &f->steps[f->count++];
        step->name = name;
        if (bh_slice_u64(name, SIZE_MAX, &step->index) != 0)
            step->index = UINT64_MAX;
    }
    f->too_long = path.p != NULL;
}

static void on_name(struct find *f) {
    if (f->reader.depth == f->on_path)
        f->name_matches = bh_json_equals(f->reader.value, f->steps[f->on_path - 1].name);
}

/* The value of an event that lies directly in the innermost container on the path. */
static bool matches(struct find *f, bool opens) {
    if (f->on_path == 0)
        return true;
    if (f->reader.objects >> opens & 1)
        return f->name_matches;
    return f->indexes[f->on_path]++ == f->steps[f->on_path - 1].index;
}

static void on_value(struct find *f, bool opens) {
    if (f->too_long || f->reader.depth - opens != f->on_path || !matches(f, opens))
        return;
    f->found = f->on_path == f->count;
    f->open = f->found && opens;
    if (f->found)
        *f->out = f->reader.value;
    else if (opens)
        f->indexes[++f->on_path] = 0;
}

static void on_close(struct find *f) {
    if (f->reader.depth < f->on_path) {
        f->on_path--;
    } else if (f->open && f->reader.depth == f->on_path) {
        f->open = false;
        f->out->raw.n = (size_t)(f->reader.p - f->out->raw.p);
    }
}

static void handle(struct find *f, enum bh_json_event event) {
    if (event == BH_JSON_NAME)
        on_name(f);
    else if (event == BH_JSON_CLOSE)
        on_close(f);
    else
        on_value(f, event == BH_JSON_OPEN);
}

int bh_json_find(struct bh_slice text, struct bh_slice path, void (*tick)(void *ud), void *ud,
                 struct bh_json_value *value, struct bh_json_error *error) {
    struct find f;
    f.count = f.on_path = 0;
    f.name_matches = f.found = f.open = f.too_long = false;
    f.out = value;
    enum bh_json_event event;
    bh_json_reader_init(&f.reader, text);
    split_path(&f, path);
    for (unsigned n = 1; (event = bh_json_read(&f.reader)) > BH_JSON_END; n++) {
        handle(&f, event);
        if (tick && n % BH_JSON_TICK == 0)
            tick(ud);
    }
    if (event == BH_JSON_END)
        return f.found ? 0 : BH_ENOTFOUND;
    if (error)
        *error = f.reader.error;
    return BH_ESYNTAX;
}
