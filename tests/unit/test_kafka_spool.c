/*
 * The spool gives back what was put, in order, from memory and from files; it takes no more than
 * its limit, leaves no file behind, and passes over what an earlier life left.
 */
#include "base/arena.h"
#include "kafka/spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ENTRY 10000
#define MB (1024 * 1024)

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/tombolo-spool-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static size_t count_files(void)
{
    DIR *d = opendir(dir);
    size_t n = 0;

    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir); /* it is empty */
}

/* An entry that says which one it is, in two parts. */
static bool put(struct spool *s, unsigned n, size_t size, struct err *err)
{
    char *bytes = xmalloc(size);
    struct slice parts[2] = {{(const char *)&n, sizeof(n)}, {bytes, size}};

    memset(bytes, (int)n, size);
    bool ok = spool_put(s, parts, 2, err);

    free(bytes);
    return ok;
}

static bool take(struct spool *s, unsigned *n, size_t *size)
{
    struct slice entry;
    struct err err;

    assert_true(spool_take(s, &entry, &err));
    if (!entry.len)
        return false;
    memcpy(n, entry.ptr, sizeof(*n));
    *size = entry.len - sizeof(*n);
    for (size_t i = sizeof(*n); i < entry.len; i++)
        assert_int_equal((unsigned char)entry.ptr[i], *n & 0xff);
    return true;
}

/* Reads and writes turn by turn, so that the queue grows into files and shrinks again. */
static void entries_come_out_as_they_went_in(void **state)
{
    struct spool *s = spool_new(dir, 100 * MB);
    unsigned in = 0, out = 0, n;
    size_t size, most = 0;
    struct err err;

    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < (round % 2 ? 200U : 2000U); i++, in++)
            assert_true(put(s, in, (in * 7919) % (2 * ENTRY), &err));
        most = count_files() > most ? count_files() : most;
        for (unsigned i = 0; i < (round % 2 ? 1500U : 300U) && take(s, &n, &size); i++, out++) {
            assert_int_equal(n, out);
            assert_int_equal(size, (n * 7919) % (2 * ENTRY));
        }
    }
    for (; take(s, &n, &size); out++)
        assert_int_equal(n, out);
    assert_int_equal(out, in);
    assert_true(most > 10);
    assert_int_equal(count_files(), 0);
    assert_int_equal(spool_bytes(s), 0);
    spool_free(s);
}

static void files_stay_within_the_limit(void **state)
{
    struct spool *s = spool_new(dir, 2 * MB);
    unsigned n = 0, first;
    size_t size;
    struct err err;

    (void)state;
    while (put(s, n, ENTRY, &err))
        n++;
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(spool_file_bytes(s) <= 2 * MB && spool_file_bytes(s) > MB);
    assert_true(spool_bytes(s) < 12 * MB);
    /* What was refused is not there, and there is room again when some was taken. */
    for (unsigned i = 0; i < 200; i++)
        assert_true(take(s, &first, &size) && first == i);
    assert_true(put(s, n, ENTRY, &err));
    for (unsigned i = 200; i <= n; i++)
        assert_true(take(s, &first, &size) && first == i);
    assert_false(take(s, &first, &size));
    spool_free(s);
}

static void entry_larger_than_a_segment_is_taken_whole(void **state)
{
    struct spool *s = spool_new(dir, 100 * MB);
    unsigned n;
    size_t size;
    struct err err;

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        assert_true(put(s, i, MB, &err));
    for (unsigned i = 0; i < 20; i++)
        assert_true(take(s, &n, &size) && n == i && size == MB);
    spool_free(s);
}

static void clearing_removes_the_files(void **state)
{
    struct spool *s = spool_new(dir, 100 * MB);
    struct err err;
    unsigned n;
    size_t size;

    (void)state;
    for (unsigned i = 0; i < 2000; i++)
        assert_true(put(s, i, ENTRY, &err));
    assert_true(count_files() > 0);
    spool_clear(s);
    assert_int_equal(count_files(), 0);
    assert_int_equal(spool_bytes(s) + spool_file_bytes(s), 0);
    assert_true(put(s, 7, 1, &err) && take(s, &n, &size) && n == 7);
    spool_free(s);
}

static void files_of_an_earlier_life_are_removed(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof(path), "%s/000000000001.spool", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(count_files(), 1);
    spool_free(spool_new(dir, MB));
    assert_int_equal(count_files(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_come_out_as_they_went_in, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(files_stay_within_the_limit, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(entry_larger_than_a_segment_is_taken_whole, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(clearing_removes_the_files, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(files_of_an_earlier_life_are_removed, make_dir, remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
