#include "shape_kit.h"

#include "shapes/effect.h"
#include "shapes/index.h"

#define ROW(...) ((const char *const[KIT_NCOLUMNS]){__VA_ARGS__})

struct lettered {
    struct shape_entry entry;
    char letter;
};

/* What is found, as letters in order. */
static const char *found(struct shape_index *index, const char *const *old, const char *const *new,
                         bool old_is_key)
{
    static char letters[64];
    struct kit_row old_row, new_row;
    struct change change = {.op = old && !new ? CHANGE_DELETE : CHANGE_UPDATE,
                            .old_is_key = old_is_key};
    struct arena scratch = {0};
    size_t n, len = 0;

    if (old) {
        kit_set(&old_row, old);
        change.old = &old_row.tuple;
    }
    if (new) {
        kit_set(&new_row, new);
        change.new = &new_row.tuple;
    }
    struct shape_entry **entries = shape_index_find(index, 16400, &change, &scratch, &n);
    for (int c = 'a'; c <= 'z'; c++) {
        for (size_t i = 0; i < n; i++) {
            if (((const struct lettered *)entries[i])->letter == c)
                letters[len++] = (char)c;
        }
    }
    letters[len] = '\0';
    arena_release(&scratch);
    return letters;
}

struct fixture {
    struct table *table;
    struct shape_index *index;
    struct shape *shapes[8];
    struct lettered entries[8];
    size_t n;
};

static void add(struct fixture *f, const char *where)
{
    f->shapes[f->n] = kit_shape(f->table, where, NULL);
    f->entries[f->n] = (struct lettered){{.shape = f->shapes[f->n]}, (char)('a' + f->n)};
    shape_index_add(f->index, &f->entries[f->n].entry);
    f->n++;
}

static struct fixture fixture(struct table *table)
{
    return (struct fixture){.table = table, .index = shape_index_new()};
}

static void release(struct fixture *f)
{
    shape_index_free(f->index);
    for (size_t i = 0; i < f->n; i++)
        shape_unref(f->shapes[i]);
    table_unref(f->table);
}

static void test_values_find_their_shapes_and_others_are_always_candidates(void **state)
{
    struct fixture f = fixture(kit_table(true));

    (void)state;
    add(&f, "tenant = 7");
    add(&f, "tenant in (7, 8)");
    add(&f, "tenant > 3");
    add(&f, "name = 'x' and tenant > 3");
    add(&f, "total = 1.5");
    add(&f, "tenant in (null, null)");
    add(&f, NULL);
    assert_int_equal(shape_index_len(f.index), 7);
    assert_string_equal(found(f.index, NULL, ROW("1", "7", "y", "2"), false), "abcg");
    assert_string_equal(found(f.index, NULL, ROW("1", "8", "x", "1.500"), false), "bcdeg");
    assert_string_equal(found(f.index, NULL, ROW("1", NULL, NULL, NULL), false), "cg");
    assert_string_equal(found(f.index, ROW("1", "9", "x", "2"), NULL, false), "cdg");
    release(&f);
}

static void test_a_change_finds_by_both_rows_each_shape_once(void **state)
{
    struct fixture f = fixture(kit_table(true));

    (void)state;
    add(&f, "tenant = 7");
    add(&f, "tenant in (7, 8)");
    add(&f, "tenant = 8");
    assert_string_equal(found(f.index, ROW("1", "7", "y", "2"), ROW("1", "8", "y", "2"), false),
                        "abc");
    assert_string_equal(found(f.index, ROW("1", "7", "y", "2"), ROW("1", "7", "z", "2"), false),
                        "ab");
    release(&f);
}

static void test_a_row_that_does_not_say_makes_all_candidates(void **state)
{
    struct fixture f = fixture(kit_table_default_identity());

    (void)state;
    add(&f, "tenant = 7");
    add(&f, "tenant = 8");
    add(&f, "id = 1");
    add(&f, "id = 2");
    assert_string_equal(found(f.index, NULL, ROW("1", "~", "a", "1"), false), "abc");
    assert_string_equal(found(f.index, ROW("1", NULL, NULL, NULL), NULL, true), "abc");
    assert_string_equal(found(f.index, NULL, ROW("2", "7", "a", "1"), false), "abd");
    release(&f);
}

static void test_what_is_removed_is_found_no_more(void **state)
{
    struct fixture f = fixture(kit_table(true));
    struct arena scratch = {0};
    size_t n;

    (void)state;
    add(&f, "tenant in (7, 8)");
    add(&f, "tenant = 7");
    add(&f, NULL);
    shape_index_remove(f.index, &f.entries[0].entry);
    assert_int_equal(shape_index_len(f.index), 2);
    assert_string_equal(found(f.index, NULL, ROW("1", "7", "y", "2"), false), "bc");
    shape_index_remove(f.index, &f.entries[2].entry);
    shape_index_table(f.index, 16400, &scratch, &n);
    assert_int_equal(n, 1);
    shape_index_remove(f.index, &f.entries[1].entry);
    assert_string_equal(found(f.index, NULL, ROW("1", "7", "y", "2"), false), "");
    shape_index_table(f.index, 16400, &scratch, &n);
    assert_int_equal(n, 0);
    assert_int_equal(shape_index_len(f.index), 0);
    arena_release(&scratch);
    release(&f);
}

/* Against asking every shape: none that the change has an effect on may be missing. */
static void test_no_shape_with_an_effect_is_missed(void **state)
{
    static const char *const values[] = {"1", "2", "3", NULL, "7"};
    struct fixture f = fixture(kit_table(true));
    struct arena scratch = {0};
    unsigned seed = 12345;

    (void)state;
    add(&f, "tenant in (1, 2) and total > 1");
    add(&f, "total = 2 or tenant = 3");
    add(&f, "tenant = 7.0");
    add(&f, "name in ('1', '7')");
    add(&f, "id = any('{1,3}') and name <> '2'");
    for (int round = 0; round < 3000; round++) {
        struct kit_row rows[2];
        const char *texts[2][KIT_NCOLUMNS];

        for (int i = 0; i < 2 * KIT_NCOLUMNS; i++) {
            seed = seed * 1103515245 + 12345;
            texts[i / KIT_NCOLUMNS][i % KIT_NCOLUMNS] =
                values[seed >> 16 & 0xffff ? (seed >> 16) % 5 : 0];
        }
        kit_set(&rows[0], texts[0]);
        kit_set(&rows[1], texts[1]);
        const struct change change = {
            .op = CHANGE_UPDATE, .old = &rows[0].tuple, .new = &rows[1].tuple};
        size_t n;
        struct shape_entry **entries = shape_index_find(f.index, 16400, &change, &scratch, &n);
        for (size_t i = 0; i < f.n; i++) {
            enum effect_kind kind;
            struct err err;
            bool listed = false;

            assert_true(shape_effect(f.shapes[i], &change, &scratch, &kind, &err));
            for (size_t j = 0; j < n; j++)
                listed |= entries[j] == &f.entries[i].entry;
            assert_true(listed || kind == EFFECT_NONE);
        }
        arena_reset(&scratch);
    }
    arena_release(&scratch);
    release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_find_their_shapes_and_others_are_always_candidates),
        cmocka_unit_test(test_a_change_finds_by_both_rows_each_shape_once),
        cmocka_unit_test(test_a_row_that_does_not_say_makes_all_candidates),
        cmocka_unit_test(test_what_is_removed_is_found_no_more),
        cmocka_unit_test(test_no_shape_with_an_effect_is_missed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
