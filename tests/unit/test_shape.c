#include "shape_kit.h"

static const char *refusal(struct table *table, const struct shape_request *request,
                           const char **field)
{
    static struct err err;
    struct shape *shape = shape_new(request, table, field, &err);

    if (!shape)
        return err.msg;
    shape_unref(shape);
    return "";
}

static void check_refused(struct table *table, const char *columns, const char *expected)
{
    struct shape_request request = {.columns = slice_of(columns)};
    const char *field;

    assert_string_equal(refusal(table, &request, &field), expected);
    assert_string_equal(field, "columns");
}

static void check_name(const char *text, const char *nspname, const char *relname)
{
    struct arena arena = {0};
    struct slice nsp, rel;
    struct err err;

    if (!shape_table_name(slice_of(text), &arena, &nsp, &rel, &err))
        fail_msg("%s: %s", text, err.msg);
    assert_true(slice_is(nsp, nspname) && slice_is(rel, relname));
    arena_release(&arena);
}

static void check_no_name(const char *text, const char *expected)
{
    struct arena arena = {0};
    struct slice nsp, rel;
    struct err err;

    assert_false(shape_table_name(slice_of(text), &arena, &nsp, &rel, &err));
    assert_string_equal(err.msg, expected);
    arena_release(&arena);
}

static void test_names_fold_unless_quoted(void **state)
{
    (void)state;
    check_name("Orders", "public", "orders");
    check_name("Shop.Orders_2$", "shop", "orders_2$");
    check_name("\"Shop\".\"My \"\"Orders\"\".x\"", "Shop", "My \"Orders\".x");
    check_name("\xC3\x84pfel", "public", "\xC3\x84pfel");
}

static void test_names_are_refused_with_the_contracts_texts(void **state)
{
    (void)state;
    check_no_name("foo.bar.baz", "Invalid relation identifier, too many delimiters: foo.bar.baz");
    check_no_name("\"\"", "Invalid zero-length delimited identifier");
    check_no_name("a.", "Invalid zero-length delimited identifier");
    check_no_name("my-table", "Invalid unquoted identifier contains special characters: my-table");
    check_no_name("1a", "Invalid unquoted identifier contains special characters: 1a");
    check_no_name("\"a\"b\"", "Invalid identifier with unescaped quote: a\"b");
    check_no_name("a2345678901234567890123456789012345678901234567890123456789012345",
                  "Identifier is too long (max length is 63)");
}

static void test_columns_are_refused_with_the_contracts_texts(void **state)
{
    struct table *t = kit_table(true), *keyless = kit_table(false);

    (void)state;
    check_refused(t, "name",
                  "The list of columns must include all primary key columns, missing: id");
    check_refused(t, "id,x,\"Y\"", "The following columns are not found on the table: x, Y");
    check_refused(t, "x", "The list of columns must include all primary key columns, missing: id");
    check_refused(t, "id,", "Invalid zero-length delimited identifier");
    check_refused(keyless, "id,name",
                  "The list of columns must include all primary key columns, "
                  "missing: tenant, total");
    t->cols[KIT_TOTAL].generated = true;
    check_refused(t, "id,total",
                  "The following columns are generated and cannot be included in "
                  "the shape: total");
    const struct shape_request all = {0};
    const char *field;
    assert_string_equal(
        refusal(t, &all, &field),
        "The following columns are generated and cannot be included in the shape: total. You can "
        "exclude them from the shape by explicitly listing which columns to fetch in the "
        "'columns' query param");
    table_unref(t);
    table_unref(keyless);
}

static void test_a_generated_column_cannot_be_asked_about(void **state)
{
    struct table *t = kit_table(true);
    const struct shape_request request = {.columns = SLICE("id"), .where = SLICE("total > 1")};
    const char *field;

    (void)state;
    t->cols[KIT_TOTAL].generated = true;
    assert_string_equal(refusal(t, &request, &field),
                        "At location 0: column total is generated and cannot be used");
    assert_string_equal(field, "where");
    table_unref(t);
}

static void test_queryable_columns_bound_the_columns(void **state)
{
    static const struct {
        const char *queryable, *columns, *field, *expected;
    } cases[] = {
        {"name", NULL, "queryable_columns",
         "The list of queryable columns must include all primary key columns, missing: id"},
        {"id,y", NULL, "queryable_columns",
         "The following queryable columns are not found on the table: y"},
        {"id,", "id", "queryable_columns", "Invalid zero-length delimited identifier"},
        {"id,name", "id,total", "columns", "The following columns are not queryable: total"},
        {"id,name", "id,\"name\"", "", ""},
    };
    struct table *t = kit_table(true);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        /* The clause may look at any column. */
        struct shape_request request = {.queryable = slice_of(cases[i].queryable),
                                        .where = SLICE("total > 1")};
        const char *field = "";

        if (cases[i].columns)
            request.columns = slice_of(cases[i].columns);
        assert_string_equal(refusal(t, &request, &field), cases[i].expected);
        if (cases[i].expected[0])
            assert_string_equal(field, cases[i].field);
    }
    table_unref(t);
}

/* They are the default projection: not a choice of columns when they are all. */
static void test_all_columns_being_queryable_is_no_choice_of_columns(void **state)
{
    const struct shape_request plain = {0};
    const struct shape_request all = {.columns = SLICE("name,total,tenant,id"),
                                      .queryable = SLICE("name,total,tenant,id")};
    const struct shape_request some = {.columns = SLICE("id,name"), .queryable = SLICE("id,name")};
    const struct shape_request *requests[] = {&plain, &all, &some};
    struct table *t = kit_table(true);
    struct shape *shapes[3];
    struct shape_request kept;
    struct arena arena = {0};
    const char *field;
    struct err err;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_non_null(shapes[i] = shape_new(requests[i], t, &field, &err));
    assert_true(shape_same(shapes[0], shapes[1]));
    shape_get_request(shapes[1], &arena, &kept);
    assert_null(kept.columns.ptr);
    assert_false(shape_same(shapes[0], shapes[2]));
    shape_get_request(shapes[2], &arena, &kept);
    assert_true(slice_is(kept.columns, "id,name"));
    arena_release(&arena);
    for (int i = 0; i < 3; i++)
        shape_unref(shapes[i]);
    table_unref(t);
}

static bool same_identity(struct table *table, const struct shape_request *a,
                          const struct shape_request *b)
{
    const char *field;
    struct err err;
    struct shape *x = shape_new(a, table, &field, &err), *y = shape_new(b, table, &field, &err);

    assert_true(x && y);
    bool same = shape_same(x, y);
    assert_int_equal(shape_hash(x) == shape_hash(y), same);
    shape_unref(x);
    shape_unref(y);
    return same;
}

static void test_identity_is_what_is_asked_not_how(void **state)
{
    struct table *t = kit_table(true);
    const struct slice seven[] = {SLICE("7")};
    const struct shape_request base = {.where = SLICE("tenant = 7"), .columns = SLICE("id,name")};
    struct shape_request other = base;

    (void)state;
    other.columns = SLICE("\"name\",ID,id");
    other.where = SLICE(" tenant=$1 -- x");
    other.params = (struct where_params){seven, 1};
    assert_true(same_identity(t, &base, &other));
    other.replica = SHAPE_REPLICA_FULL;
    assert_false(same_identity(t, &base, &other));
    other = base;
    other.changes_only = true;
    assert_false(same_identity(t, &base, &other));
    other = base;
    other.where = SLICE("tenant = 8");
    assert_false(same_identity(t, &base, &other));
    other = base;
    other.columns = SLICE("id");
    assert_false(same_identity(t, &base, &other));
    const struct shape_request all = {0}, named = {.columns = SLICE("id,tenant,name,total")};
    assert_false(same_identity(t, &all, &named));
    table_unref(t);
}

static void test_a_shape_keeps_its_request(void **state)
{
    struct table *t = kit_table(true);
    char where[] = "tenant = $1", columns[] = "name,id", param[] = "7";
    const struct slice values[] = {slice_of(param), {NULL, 0}};
    const struct shape_request request = {.table = SLICE("orders"),
                                          .where = slice_of(where),
                                          .columns = slice_of(columns),
                                          .params = {values, 2},
                                          .keyed_by_identity = true};
    const char *field;
    struct err err;
    struct shape *shape = shape_new(&request, t, &field, &err);
    struct shape_request kept;
    struct arena arena = {0};

    (void)state;
    assert_non_null(shape);
    where[0] = columns[0] = param[0] = '!';
    shape_get_request(shape, &arena, &kept);
    assert_true(slice_is(kept.table, "orders"));
    assert_true(slice_is(kept.where, "tenant = $1"));
    assert_true(slice_is(kept.columns, "name,id"));
    assert_int_equal(kept.params.n, 2);
    assert_true(slice_is(kept.params.values[0], "7"));
    assert_null(kept.params.values[1].ptr);
    assert_true(kept.keyed_by_identity);
    arena_release(&arena);
    shape_unref(shape);
    table_unref(t);
}

static bool needs_full(struct table *table, const char *where, bool by_identity)
{
    const struct shape_request request = {.where = slice_of(where),
                                          .keyed_by_identity = by_identity};
    const char *field;
    struct err err;
    struct shape *shape = shape_new(&request, table, &field, &err);

    assert_non_null(shape);
    bool needs = shape->needs_full;
    shape_unref(shape);
    return needs;
}

static void test_full_rows_are_needed_unless_the_identity_tells_all(void **state)
{
    struct table *t = kit_table_default_identity(), *keyless = kit_table(false);

    (void)state;
    assert_false(needs_full(t, "", true));
    assert_false(needs_full(t, "id > 5", true));
    assert_true(needs_full(t, "tenant = 7", true));
    assert_true(needs_full(t, "", false));
    keyless->cols[KIT_NAME].in_identity = false;
    assert_true(needs_full(keyless, "", true));
    table_unref(t);
    table_unref(keyless);
}

static const char *select_text(struct table *table, const char *where, const char *columns)
{
    static char text[400];
    struct shape *shape = kit_shape(table, where, columns);
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    shape_put_select(shape, &out);
    snprintf(text, sizeof(text), "%s", buf_cstr(&out));
    buf_release(&out);
    shape_unref(shape);
    return text;
}

static void test_select_keeps_table_order_and_the_table_alone(void **state)
{
    struct table *t = kit_table(true);

    (void)state;
    assert_string_equal(select_text(t, NULL, "name,id"),
                        "SELECT \"id\", \"name\" FROM ONLY \"public\".\"orders\"");
    t->relkind = 'p';
    assert_string_equal(select_text(t, "tenant = 1 or true", "id"),
                        "SELECT \"id\" FROM \"public\".\"orders\" WHERE (true)");
    table_unref(t);
}

static const char *schema_text(struct table *table, bool for_sync)
{
    static char text[2000];
    struct shape *shape = kit_shape(table, NULL, NULL);
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    shape_put_schema(shape, for_sync, &out);
    snprintf(text, sizeof(text), "%s", buf_cstr(&out));
    buf_release(&out);
    shape_unref(shape);
    return text;
}

static void test_schema_names_types_keys_and_nulls(void **state)
{
    struct table *t = kit_table(true);

    (void)state;
    assert_string_equal(schema_text(t, false),
                        "{\"id\":{\"type\":\"int8\",\"pk_index\":0,\"not_null\":true},"
                        "\"tenant\":{\"type\":\"int4\"},\"name\":{\"type\":\"text\"},"
                        "\"total\":{\"type\":\"numeric\"}}");
    table_unref(t);
}

/* The schema of one column of the type. */
static void check_column(const char *typname, int32_t typmod, const char *expected)
{
    struct table *t = kit_table(true);
    char whole[300];

    t->ncols = 1;
    t->npk = 0;
    t->cols[0].pk_index = -1;
    t->cols[0].not_null = false;
    t->cols[0].typname = slice_of(typname);
    t->cols[0].typmod = typmod;
    snprintf(whole, sizeof(whole), "{\"id\":{\"type\":\"%s\"%s}}", typname, expected);
    assert_string_equal(schema_text(t, false), whole);
    table_unref(t);
}

static void test_schema_tells_type_modifiers(void **state)
{
    (void)state;
    check_column("varchar", 24, ",\"max_length\":20");
    check_column("bpchar", 9, ",\"length\":5");
    check_column("bit", 3, ",\"length\":3");
    check_column("varbit", -1, ",\"length\":-1");
    check_column("numeric", (10 << 16 | 2) + 4, ",\"precision\":10,\"scale\":2");
    check_column("numeric", (3 << 16 | (-2 & 0x7ff)) + 4, ",\"precision\":3,\"scale\":-2");
    check_column("timestamptz", 3, ",\"precision\":3");
    check_column("timestamp", 0, "");
    check_column("interval", (1 << 2 | 1 << 1) << 16 | 0xffff, ",\"fields\":\"YEAR TO MONTH\"");
    check_column("interval", 0x7fff << 16 | 3, ",\"precision\":3");
    check_column("geometry", 1107460, ",\"type_mod\":1107460");
    check_column("varchar", -1, "");
}

static void test_schema_tells_arrays_domains_and_enums(void **state)
{
    struct table *t = kit_table(true);

    (void)state;
    t->ncols = 3;
    t->cols[KIT_TENANT].elemtypid = 23;
    t->cols[KIT_TENANT].typname = SLICE("_int4");
    t->cols[KIT_TENANT].elemtypname = SLICE("int4");
    t->cols[KIT_TENANT].ndims = 2;
    t->cols[KIT_NAME].class = TYPE_DOMAIN;
    t->cols[KIT_NAME].typname = SLICE("email");
    assert_string_equal(schema_text(t, true),
                        "{\"id\":{\"type\":\"int8\",\"pk_index\":0,\"not_null\":true},"
                        "\"tenant\":{\"type\":\"int4\",\"dims\":2},"
                        "\"name\":{\"type\":\"email\",\"base\":\"text\"}}");
    t->cols[KIT_TENANT].ndims = 0;
    t->cols[KIT_NAME].class = TYPE_ENUM;
    assert_string_equal(schema_text(t, true),
                        "{\"id\":{\"type\":\"int8\",\"pk_index\":0,\"not_null\":true},"
                        "\"tenant\":{\"type\":\"_int4\"},"
                        "\"name\":{\"type\":\"email\",\"base\":\"enum\"}}");
    table_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_fold_unless_quoted),
        cmocka_unit_test(test_names_are_refused_with_the_contracts_texts),
        cmocka_unit_test(test_queryable_columns_bound_the_columns),
        cmocka_unit_test(test_all_columns_being_queryable_is_no_choice_of_columns),
        cmocka_unit_test(test_columns_are_refused_with_the_contracts_texts),
        cmocka_unit_test(test_a_generated_column_cannot_be_asked_about),
        cmocka_unit_test(test_identity_is_what_is_asked_not_how),
        cmocka_unit_test(test_a_shape_keeps_its_request),
        cmocka_unit_test(test_full_rows_are_needed_unless_the_identity_tells_all),
        cmocka_unit_test(test_select_keeps_table_order_and_the_table_alone),
        cmocka_unit_test(test_schema_names_types_keys_and_nulls),
        cmocka_unit_test(test_schema_tells_type_modifiers),
        cmocka_unit_test(test_schema_tells_arrays_domains_and_enums),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
