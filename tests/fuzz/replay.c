/* replay.c - runs a fuzz target over the given files and folders, without a fuzzer.
 *
 * Each file is given to the target as a heap block of exactly its size. Files run in the order of
 * their names; the last one printed before a crash caused it. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

static size_t inputs;

static void fail(const char *path) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(2);
}

static void run_file(const char *path, size_t size) {
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    if (!f || !data || fread(data, 1, size, f) != size)
        fail(path);
    fclose(f);
    printf("%s: %zu bytes\n", path, size);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs++;
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static void run_path(const char *path);

static void run_folder(const char *path) {
    struct dirent **entries;
    int count = scandir(path, &entries, is_visible, alphasort);
    if (count < 0)
        fail(path);
    for (int i = 0; i < count; i++) {
        struct bh_bytes below = {0};
        bh_bytes_addf(&below, "%s/%s", path, entries[i]->d_name);
        bh_bytes_addc(&below, '\0');
        run_path(below.p);
        bh_bytes_free(&below);
        free(entries[i]);
    }
    free(entries);
}

static void run_path(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        fail(path);
    if (S_ISDIR(st.st_mode))
        run_folder(path);
    else
        run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    printf("%zu inputs\n", inputs);
    return inputs ? 0 : 2;
}
