/*
 * Capture against an oracle: random statements of every form against tables of every form; what
 * the outbox says is replayed on a model, which must then be the table, value by value. The
 * model is strict: a put meets no row, an update or delete finds its row as `before` has it.
 *
 * TOMBOLO_CAPTURE_STEPS says how many statements a table sees (default 1000),
 * TOMBOLO_CAPTURE_SEED repeats a run.
 */
#include "replica_kit.h"

#include "base/hash.h"
#include "replica/capture.h"
#include "replica/outbox.h"
#include "replica/state.h"

#include <time.h>

#define MOST_COLUMNS 8
#define MOST_ROWS 512

struct column {
    const char *name;
    const char *const *domain; /* SQL literals, NULL at the end */
    bool key;
};

struct form {
    const char *what;
    const char *ddl;
    const char *tables[2];
    struct column columns[MOST_COLUMNS]; /* of both tables */
    bool strict;                         /* an update finds its row as `before` has it */
};

static const char *const ids[] = {"1", "2", "3", "4", "5", "6", "-1", "'7'", NULL};
static const char *const auto_ids[] = {"1", "2", "3", "4", "5", "NULL", "NULL", "-1", NULL};
static const char *const keys[] = {"'k1'", "'k2'", "'k3'", "'k4'", "'k5'", "'K1'", NULL};
static const char *const refs[] = {"'k1'", "'k2'", "'k3'", "NULL", "'k4'", NULL};
static const char *const numbers[] = {"NULL", "1", "2", "3", "4", "5", NULL};
static const char *const words[] = {"'x'", "'X'", "'y'", "'Y'", "NULL", "'z'", "'w'", NULL};
static const char *const anything[] = {"NULL",
                                       "1",
                                       "1.0",
                                       "2.5",
                                       "0.1+0.2",
                                       "'x'",
                                       "'12'",
                                       "x'0001'",
                                       "x''",
                                       "''",
                                       "'y'||char(0)||'z'",
                                       "9e999",
                                       "-9e999",
                                       "-0.0",
                                       "9223372036854775807",
                                       "9007199254740993",
                                       "5e-324",
                                       NULL};

static const struct form forms[] = {
    {"a row's number as key, one unique column",
     "CREATE TABLE t(id INTEGER PRIMARY KEY, e TEXT UNIQUE, v)",
     {"t", NULL},
     {{"id", auto_ids, true}, {"e", words, false}, {"v", anything, false}},
     true},
    {"a key alone",
     "CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, v, r REAL, n INTEGER)",
     {"t", NULL},
     {{"id", keys, true}, {"v", anything, false}, {"r", anything, false}, {"n", anything, false}},
     true},
    {"parent and children that follow it",
     "CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, e TEXT UNIQUE, v);"
     "CREATE TABLE c(id TEXT NOT NULL PRIMARY KEY,"
     " e TEXT REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE, v)",
     {"t", "c"},
     {{"id", keys, true}, {"e", refs, false}, {"v", anything, false}},
     true},
    {"composite key WITHOUT ROWID, NOCASE and partial unique indexes",
     "CREATE TABLE t(a TEXT NOT NULL, b INT NOT NULL, e TEXT COLLATE NOCASE UNIQUE, f INT, v,"
     " PRIMARY KEY (a, b)) WITHOUT ROWID;"
     "CREATE UNIQUE INDEX tf ON t(f, b DESC) WHERE f > 2 -- few\n AND t.f IS NOT NULL",
     {"t", NULL},
     {{"a", words, true},
      {"b", numbers, true},
      {"e", words, false},
      {"f", numbers, false},
      {"v", anything, false}},
     true},
    {"a key of a coarse collation, columns of another order",
     "CREATE TABLE t(v, e, id TEXT NOT NULL COLLATE NOCASE PRIMARY KEY, UNIQUE (e, v))",
     {"t", NULL},
     {{"v", words, false}, {"e", numbers, false}, {"id", words, true}},
     true},
    {"a unique generated column",
     "CREATE TABLE t(id INTEGER PRIMARY KEY, g AS (lower(e)) UNIQUE, e TEXT, v,"
     " s AS (v || 'x') STORED)",
     {"t", NULL},
     {{"id", auto_ids, true}, {"e", words, false}, {"v", anything, false}},
     true},
    {"unique indexes over expressions",
     "CREATE TABLE t(id INT NOT NULL, e TEXT, f, v, PRIMARY KEY (id));"
     "CREATE UNIQUE INDEX te ON t(lower(e), f DESC);"
     "CREATE UNIQUE INDEX tf ON t(coalesce(f, ',)') COLLATE NOCASE DESC, v) WHERE f > 1",
     {"t", NULL},
     {{"id", ids, true}, {"e", words, false}, {"f", numbers, false}, {"v", words, false}},
     true},
    /* A foreign key's action may write to the row that is being written, before it is: SET NULL
     * when UPDATE OR REPLACE evicts what the row refers to, CASCADE when it refers to itself.
     * SQLite's OLD is then not what is there any more, and the action's update comes too early. */
    {"rows that refer to their own table",
     "CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY,"
     " p TEXT REFERENCES t(id) ON DELETE SET NULL ON UPDATE CASCADE, e UNIQUE, f UNIQUE, v)",
     {"t", NULL},
     {{"id", keys, true},
      {"p", refs, false},
      {"e", numbers, false},
      {"f", words, false},
      {"v", anything, false}},
     false},
    {"triggers of the user's that write to the row again",
     "CREATE TABLE t(id INTEGER PRIMARY KEY, e TEXT UNIQUE, v, at);"
     "CREATE TRIGGER touch AFTER UPDATE OF e, v ON t BEGIN"
     " UPDATE t SET at = ifnull(at, 0) + 1 WHERE id = NEW.id; END;"
     "CREATE TRIGGER first AFTER INSERT ON t BEGIN"
     " UPDATE t SET at = 0 WHERE id = NEW.id; END",
     {"t", NULL},
     {{"id", auto_ids, true}, {"e", words, false}, {"v", anything, false}, {"at", numbers, false}},
     true},
};

/* ---- the model ---- */

struct row {
    struct lite_value v[MOST_COLUMNS];
};

struct model {
    struct row rows[MOST_ROWS];
    size_t n, ncolumns;
    bool key[MOST_COLUMNS];
};

struct run {
    struct lite_db db;
    const struct form *form;
    size_t ncolumns;
    struct model models[2];
    int64_t seq;
    uint64_t random;
    char sql[2048];
    char why[512];
};

static uint64_t draw(struct run *r, uint64_t below)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return (r->random >> 11) % below;
}

/* The model's values live as long as the process: they are few, and their texts are literals'. */
static void keep(struct lite_value *to, const struct lite_value *from)
{
    static struct arena arena;
    static struct strmap texts;

    *to = *from;
    if (from->storage != LITE_TEXT && from->storage != LITE_BLOB)
        return;
    struct slice *found = strmap_get(&texts, from->bytes);
    if (!found) {
        found = arena_alloc(&arena, sizeof(*found));
        *found = arena_copy(&arena, from->bytes);
        strmap_set(&texts, *found, found);
    }
    to->bytes = *found;
}

static bool same_key(const struct model *m, const struct row *row, const struct lite_value *values)
{
    for (size_t i = 0; i < m->ncolumns; i++) {
        if (m->key[i] && !lite_value_same(&row->v[i], &values[i]))
            return false;
    }
    return true;
}

static struct row *model_find(struct model *m, const struct lite_value *values)
{
    for (size_t i = 0; i < m->n; i++) {
        if (same_key(m, &m->rows[i], values))
            return &m->rows[i];
    }
    return NULL;
}

static bool same_row(const struct model *m, const struct row *row, const struct lite_value *values)
{
    for (size_t i = 0; i < m->ncolumns; i++) {
        if (!lite_value_same(&row->v[i], &values[i]))
            return false;
    }
    return true;
}

static bool complain(struct run *r, const char *what)
{
    snprintf(r->why, sizeof(r->why), "%s, after: %.300s", what, r->sql);
    return false;
}

static void model_put(struct model *m, struct row *row, const struct lite_value *values)
{
    if (!row) {
        assert_true(m->n < MOST_ROWS);
        row = &m->rows[m->n++];
    }
    for (size_t i = 0; i < m->ncolumns; i++)
        keep(&row->v[i], &values[i]);
}

static bool model_apply(struct run *r, const struct lite_mutation *mutation)
{
    struct model *m = &r->models[strcmp(mutation->table, "t") != 0];
    const struct lite_value *key = mutation->before ? mutation->before : mutation->after;
    struct row *row = model_find(m, key);

    assert_int_equal(mutation->ncolumns, m->ncolumns);
    if (mutation->op == LITE_PUT) {
        if (row)
            return complain(r, "a put of a row that is there");
        model_put(m, NULL, mutation->after);
        return true;
    }
    if (!row && mutation->op == LITE_UPDATE && !r->form->strict)
        return true;
    if (!row)
        return complain(r, mutation->op == LITE_UPDATE ? "an update of a row that is not there"
                                                       : "a delete of a row that is not there");
    if (r->form->strict && !same_row(m, row, mutation->before))
        return complain(r, "the image before is not what was there");
    if (mutation->op == LITE_DELETE) {
        *row = m->rows[--m->n];
        return true;
    }
    if (!same_key(m, row, mutation->after) && model_find(m, mutation->after))
        return complain(r, "an update to the key of a row that is there");
    model_put(m, row, mutation->after);
    return true;
}

/* ---- the table ---- */

static void read_cell(sqlite3_stmt *stmt, int i, struct lite_value *v)
{
    *v = (struct lite_value){.storage = LITE_NULL};
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_INTEGER:
        *v = (struct lite_value){.storage = LITE_INTEGER, .integer = sqlite3_column_int64(stmt, i)};
        break;
    case SQLITE_FLOAT:
        *v = (struct lite_value){.storage = LITE_REAL, .real = sqlite3_column_double(stmt, i)};
        break;
    case SQLITE_TEXT:
        v->storage = LITE_TEXT;
        v->bytes.ptr = (const char *)sqlite3_column_text(stmt, i);
        break;
    case SQLITE_BLOB:
        v->storage = LITE_BLOB;
        v->bytes.ptr = sqlite3_column_blob(stmt, i);
        break;
    }
    if (v->storage == LITE_TEXT || v->storage == LITE_BLOB)
        v->bytes.len = (size_t)sqlite3_column_bytes(stmt, i);
}

static sqlite3_stmt *read_table(struct run *r, size_t which)
{
    char sql[256] = "SELECT ";
    sqlite3_stmt *stmt;
    struct err err;

    for (size_t i = 0; i < r->ncolumns; i++) {
        strcat(sql, i ? "," : "");
        strcat(sql, r->form->columns[i].name);
    }
    strcat(strcat(sql, " FROM "), r->form->tables[which]);
    if (!lite_db_prepare(&r->db, sql, &stmt, &err))
        fail_msg("%s", err.msg);
    return stmt;
}

/* Whether the table is the model; or makes it so. */
static bool compare(struct run *r, size_t which, bool load)
{
    struct model *m = &r->models[which];
    sqlite3_stmt *stmt = read_table(r, which);
    size_t n = 0;
    bool same = true;

    if (load)
        m->n = 0;
    while (same && sqlite3_step(stmt) == SQLITE_ROW) {
        struct lite_value values[MOST_COLUMNS];

        for (size_t i = 0; i < r->ncolumns; i++)
            read_cell(stmt, (int)i, &values[i]);
        if (load)
            model_put(m, NULL, values);
        struct row *row = model_find(m, values);
        same = row && same_row(m, row, values);
        n++;
    }
    sqlite3_finalize(stmt);
    return (same && n == m->n) || complain(r, "the outbox makes another table");
}

static bool settle(struct run *r, bool load)
{
    for (size_t i = 0; i < 2 && r->form->tables[i]; i++) {
        if (!compare(r, i, load))
            return false;
    }
    return true;
}

static bool replay(struct run *r)
{
    struct lite_mutation m;
    struct err err;
    struct lite_outbox *outbox = lite_outbox_open(&r->db, r->seq, &err);
    bool ok = outbox != NULL;

    if (!ok)
        fail_msg("%s", err.msg);
    while (ok) {
        if (!lite_outbox_next(outbox, &m, &err))
            fail_msg("%s", err.msg);
        if (!m.table)
            break;
        ok = model_apply(r, &m);
    }
    lite_outbox_close(outbox);
    sqlite3_stmt *stmt;
    if (!lite_db_prepare(&r->db, "SELECT max(seq) FROM _tombolo_outbox", &stmt, &err))
        fail_msg("%s", err.msg);
    sqlite3_step(stmt);
    r->seq = sqlite3_column_type(stmt, 0) == SQLITE_NULL ? r->seq : sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return ok && settle(r, false);
}

/* ---- statements ---- */

static void put(struct run *r, const char *text)
{
    size_t n = strlen(r->sql);

    snprintf(r->sql + n, sizeof(r->sql) - n, "%s", text);
}

static const char *literal(struct run *r, size_t column)
{
    const char *const *domain = r->form->columns[column].domain;
    size_t n = 0;

    while (domain[n])
        n++;
    return domain[draw(r, n)];
}

static size_t draw_column(struct run *r, bool key)
{
    for (;;) {
        size_t i = draw(r, r->ncolumns);

        if (r->form->columns[i].key == key)
            return i;
    }
}

static void put_names(struct run *r)
{
    for (size_t i = 0; i < r->ncolumns; i++) {
        put(r, i ? "," : "(");
        put(r, r->form->columns[i].name);
    }
    put(r, ")");
}

static void put_values(struct run *r)
{
    for (size_t i = 0; i < r->ncolumns; i++) {
        put(r, i ? "," : "(");
        put(r, literal(r, i));
    }
    put(r, ")");
}

static void put_set(struct run *r, size_t column, const char *value)
{
    put(r, r->form->columns[column].name);
    put(r, " = ");
    put(r, value);
}

/* Rows by part of their key, by another column, or all. */
static void put_where(struct run *r)
{
    static const char *const tests[] = {" = ", " IS ", " > ", " <= "};
    size_t column = draw_column(r, draw(r, 4) != 0);

    if (draw(r, 12) == 0)
        return;
    put(r, " WHERE ");
    put(r, r->form->columns[column].name);
    put(r, tests[draw(r, 10) < 7 ? draw(r, 2) : 2 + draw(r, 2)]);
    put(r, literal(r, column));
}

static void put_target(struct run *r)
{
    const char *comma = "(";

    put(r, " ON CONFLICT ");
    if (draw(r, 3) == 0)
        return;
    for (size_t i = 0; i < r->ncolumns; i++) {
        if (!r->form->columns[i].key)
            continue;
        put(r, comma);
        put(r, r->form->columns[i].name);
        comma = ",";
    }
    put(r, ")");
}

static void make_upsert(struct run *r)
{
    put_target(r);
    if (draw(r, 5) == 0) {
        put(r, " DO NOTHING");
        return;
    }
    put(r, " DO UPDATE SET ");
    size_t column = draw_column(r, draw(r, 4) == 0);
    if (draw(r, 2)) {
        char excluded[64];

        snprintf(excluded, sizeof(excluded), "excluded.%s", r->form->columns[column].name);
        put_set(r, column, excluded);
    } else {
        put_set(r, column, literal(r, column));
        put(r, draw(r, 3) ? "" : " WHERE true");
    }
}

static void make_insert(struct run *r, const char *table)
{
    static const char *const verbs[] = {"INSERT",           "INSERT OR REPLACE", "REPLACE",
                                        "INSERT OR IGNORE", "INSERT OR FAIL",    "INSERT OR ABORT"};
    size_t rows = draw(r, 5) == 0 ? 1 + draw(r, 4) : 1;

    put(r, verbs[draw(r, 3) ? draw(r, 3) : draw(r, 6)]);
    put(r, " INTO ");
    put(r, table);
    put_names(r);
    put(r, " VALUES ");
    for (size_t i = 0; i < rows; i++) {
        put(r, i ? "," : "");
        put_values(r);
    }
    if (draw(r, 3) == 0)
        make_upsert(r);
}

/* Rows of the table over again, one column another. */
static void make_insert_select(struct run *r, const char *table)
{
    static const char *const verbs[] = {"INSERT OR REPLACE", "INSERT OR IGNORE"};
    size_t other = draw(r, r->ncolumns);

    put(r, verbs[draw(r, 2)]);
    put(r, " INTO ");
    put(r, table);
    put_names(r);
    put(r, " SELECT ");
    for (size_t i = 0; i < r->ncolumns; i++) {
        put(r, i ? "," : "");
        put(r, i == other ? literal(r, i) : r->form->columns[i].name);
    }
    put(r, " FROM ");
    put(r, table);
    put_where(r);
}

static void make_update(struct run *r, const char *table)
{
    static const char *const verbs[] = {"UPDATE ", "UPDATE OR REPLACE ", "UPDATE OR IGNORE ",
                                        "UPDATE OR FAIL "};
    size_t n = 1 + draw(r, 2), first = draw_column(r, draw(r, 3) == 0);

    put(r, verbs[draw(r, 3) ? 1 : draw(r, 4)]);
    put(r, table);
    put(r, " SET ");
    put_set(r, first, literal(r, first));
    for (size_t i = 1; i < n; i++) {
        size_t column = draw(r, r->ncolumns);

        if (column == first)
            continue;
        put(r, ", ");
        put_set(r, column, literal(r, column));
    }
    put_where(r);
}

static void make_delete(struct run *r, const char *table)
{
    put(r, "DELETE FROM ");
    put(r, table);
    put_where(r);
}

static void make_statement(struct run *r)
{
    const char *table = r->form->tables[r->form->tables[1] ? draw(r, 2) : 0];

    r->sql[0] = '\0';
    switch (draw(r, 10)) {
    case 0:
        make_insert_select(r, table);
        break;
    case 1:
        make_delete(r, table);
        break;
    case 2:
    case 3:
    case 4:
        make_update(r, table);
        break;
    default:
        make_insert(r, table);
        break;
    }
}

/* Constraints may refuse it, but it is to be SQL. */
static void execute(struct run *r)
{
    int rc = sqlite3_exec(r->db.db, r->sql, NULL, NULL, NULL) & 0xff;

    if (rc != SQLITE_OK && rc != SQLITE_CONSTRAINT && rc != SQLITE_MISMATCH)
        fail_msg("%s: %s", r->sql, sqlite3_errmsg(r->db.db));
}

static void tell_db(struct run *r, const char *sql)
{
    if (sqlite3_exec(r->db.db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(r->db.db));
}

/* A transaction of ours: nothing of it may reach the outbox. */
static void apply_something(struct run *r)
{
    struct err err;

    assert_true(lite_db_begin(&r->db, &err));
    for (size_t i = 0; i < 3; i++) {
        make_statement(r);
        execute(r);
    }
    assert_true(lite_db_commit(&r->db, &err));
}

static bool step(struct run *r)
{
    static const char *const switches[] = {"PRAGMA recursive_triggers=ON",
                                           "PRAGMA recursive_triggers=OFF",
                                           "PRAGMA foreign_keys=ON", "PRAGMA foreign_keys=OFF"};
    struct err err;

    switch (draw(r, 60)) {
    case 0:
        tell_db(r, switches[draw(r, 4)]);
        break;
    case 1:
        if (!replay(r))
            return false;
        apply_something(r);
        settle(r, true);
        return replay(r);
    case 2:
        tell_db(r, "BEGIN");
        for (size_t i = 0; i < 5; i++) {
            make_statement(r);
            execute(r);
        }
        if (!sqlite3_get_autocommit(r->db.db))
            tell_db(r, draw(r, 2) ? "COMMIT" : "ROLLBACK");
        return replay(r);
    case 3:
        assert_true(lite_outbox_forget(&r->db, r->seq, &err));
        break;
    }
    make_statement(r);
    execute(r);
    return replay(r);
}

/* ---- runs ---- */

static void start(struct run *r, const struct form *form, uint64_t seed)
{
    struct lite_state state;
    struct err err;

    memset(r, 0, sizeof(*r));
    r->form = form;
    r->random = seed * 0x9e3779b97f4a7c15u + 1;
    while (r->ncolumns < MOST_COLUMNS && form->columns[r->ncolumns].name)
        r->ncolumns++;
    for (size_t t = 0; t < 2; t++) {
        r->models[t].ncolumns = r->ncolumns;
        for (size_t i = 0; i < r->ncolumns; i++)
            r->models[t].key[i] = form->columns[i].key;
    }
    assert_true(lite_db_open(&r->db, ":memory:", &err));
    assert_true(lite_state_open(&r->db, &state, &err));
    tell_db(r, form->ddl);
    for (size_t t = 0; t < 2 && form->tables[t]; t++) {
        if (!lite_capture_install(&r->db, form->tables[t], &err))
            fail_msg("%s", err.msg);
    }
}

static size_t steps_wanted(void)
{
    const char *text = getenv("TOMBOLO_CAPTURE_STEPS");

    return text ? strtoul(text, NULL, 10) : 1000;
}

static uint64_t seed_wanted(void)
{
    const char *text = getenv("TOMBOLO_CAPTURE_SEED");

    return text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);
}

/* Runs all steps; counts those after which model and table differ. */
static size_t run_form(const struct form *form, uint64_t seed, const char *first, char *why)
{
    struct run r;
    size_t bad = 0;

    start(&r, form, seed);
    if (first)
        tell_db(&r, first);
    for (size_t n = steps_wanted(); n > 0; n--) {
        if (step(&r))
            continue;
        if (bad++ == 0)
            strcpy(why, r.why);
        settle(&r, true);
    }
    lite_db_close(&r.db);
    return bad;
}

static void test_the_outbox_replayed_gives_the_table(void **state)
{
    uint64_t seed = seed_wanted();

    (void)state;
    print_message("TOMBOLO_CAPTURE_SEED=%" PRIu64 "\n", seed);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char why[512] = "";
        size_t bad = run_form(&forms[i], seed, NULL, why);

        if (bad)
            fail_msg("%s: %zu steps differ; the first: %s", forms[i].what, bad, why);
    }
}

/* What the oracle is for: AFTER triggers alone do not see what REPLACE evicts. */
static void test_without_noting_victims_the_oracle_finds_lost_writes(void **state)
{
    static const size_t with_unique[] = {0, 3};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char why[512] = "";

        assert_int_not_equal(run_form(&forms[with_unique[i]], 7,
                                      "DROP TRIGGER _tombolo_capture_1_bi;"
                                      "DROP TRIGGER _tombolo_capture_1_bu",
                                      why),
                             0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_outbox_replayed_gives_the_table),
        cmocka_unit_test(test_without_noting_victims_the_oracle_finds_lost_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
