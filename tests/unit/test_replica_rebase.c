/*
 * The replica that writes, against an oracle. A model of Postgres and its bridge takes the writes,
 * applies or refuses them, changes rows for other writers in between, and says commits and
 * acknowledgements in order; streams break off, the file is closed and opened, answers are lost,
 * shapes are fetched again, triggers are dropped for a while. After every commit line that the file
 * has, each table must be the server's rows at the table's position with the local writes on them
 * that are not acknowledged yet; at the end, when all are, the server's exactly; and what was
 * refused is in _tombolo_rejected, once.
 *
 * TOMBOLO_REBASE_ROUNDS says how many rounds (default 20), TOMBOLO_REBASE_SEED repeats a run.
 */
#include "rebase_stream.h"

#include <time.h>

/* ---- local statements --------------------------------------------------- */

static void add_op(struct world *w, struct op op)
{
    assert_true(w->nops < MOST_OPS);
    op.mark = w->mark;
    if (w->slipping)
        w->slip = (struct slip){.active = true, .op = op, .handle = handle_of(w, op.table)};
    else
        w->ops[w->nops++] = op;
}

static const char *literal(int value, bool name, char *out)
{
    if (value == NONE)
        strcpy(out, "NULL");
    else
        sprintf(out, name ? "'n%d'" : "%d", value);
    return out;
}

/* As triggers see it: over a row that is visible, an update of what differs. */
static void local_put(struct world *w, int t, int id, const struct row *was, char *sql)
{
    struct row is = {true, draw_value(w), draw_value(w)};
    char name[16], qty[16];

    sprintf(sql, "INSERT OR REPLACE INTO %s VALUES (%d, %s, %s);", names[t], id,
            literal(is.name, true, name), literal(is.qty, false, qty));
    if (!was->there)
        add_op(w,
               (struct op){
                   .table = t, .kind = 'I', .id = id, .moved = id, .name = is.name, .qty = is.qty});
    else if (was->name != is.name || was->qty != is.qty)
        add_op(w, (struct op){.table = t,
                              .kind = 'U',
                              .id = id,
                              .moved = id,
                              .set_name = was->name != is.name,
                              .name = is.name,
                              .set_qty = was->qty != is.qty,
                              .qty = is.qty});
}

static void local_update(struct world *w, int t, int id, const struct row *was, char *sql)
{
    int qty = draw_value(w);
    char text[16];

    sprintf(sql, "UPDATE %s SET qty = %s WHERE id = %d;", names[t], literal(qty, false, text), id);
    if (was->there && was->qty != qty)
        add_op(w, (struct op){
                      .table = t, .kind = 'U', .id = id, .moved = id, .set_qty = true, .qty = qty});
}

static void local_move(struct world *w, int t, int id, const struct rows *now, char *sql)
{
    int to = (int)draw(w, IDS);

    if (w->slipping || to == id || !now->at[id].there || now->at[to].there)
        return;
    sprintf(sql, "UPDATE %s SET id = %d WHERE id = %d;", names[t], to, id);
    add_op(w, (struct op){.table = t, .kind = 'U', .id = id, .moved = to});
}

static void local_delete(struct world *w, int t, int id, const struct row *was, char *sql)
{
    sprintf(sql, "DELETE FROM %s WHERE id = %d;", names[t], id);
    if (was->there)
        add_op(w, (struct op){.table = t, .kind = 'D', .id = id, .moved = id});
}

static void local_statement(struct world *w, char *sql)
{
    uint64_t position =
        strtoull(ask_of(w->program, "SELECT position FROM _tombolo_state"), NULL, 10);
    int t = (int)draw(w, TABLES), id = (int)draw(w, IDS);
    struct rows now;

    sql[0] = '\0';
    if (w->slip.active && w->slip.op.table == t)
        return;
    expected(w, t, position, &now);
    switch (draw(w, 5)) {
    case 0:
        local_delete(w, t, id, &now.at[id], sql);
        break;
    case 1:
        local_move(w, t, id, &now, sql);
        break;
    case 2:
    case 3:
        local_update(w, t, id, &now.at[id], sql);
        break;
    default:
        local_put(w, t, id, &now.at[id], sql);
        break;
    }
}

static void local_write(struct world *w)
{
    char sql[1024] = "BEGIN;", one[256];
    bool marked = draw(w, 3) == 0;

    if (marked)
        strcat(sql, "INSERT INTO _tombolo_tx DEFAULT VALUES;");
    w->mark = marked ? ++w->marks : 0;
    for (size_t n = 1 + draw(w, 3); n > 0; n--) {
        local_statement(w, one);
        strcat(sql, one);
    }
    if (marked)
        strcat(sql, "DELETE FROM _tombolo_tx;");
    if (sqlite3_exec(w->program, strcat(sql, "COMMIT;"), NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(w->program));
    check_tables(w);
}

/* A table that is found empty deletes nothing: test_replica_gap.c says what it does. */
static bool empties(struct world *w)
{
    return w->slip.op.kind == 'D' &&
           number_of(w, "SELECT count(*) FROM %s", names[w->slip.op.table]) == 1;
}

/* The triggers vanish, and may be made again to the same letter behind the write. */
static void local_slip(struct world *w)
{
    char one[256], drop[512], again[256], *sql;
    sqlite3_stmt *stmt;

    if (w->slip.active || number_of(w, "SELECT count(*) FROM _tombolo_shapes WHERE status <> 'live'"
                                       " OR gap"))
        return;
    w->mark = 0;
    w->slipping = true;
    local_statement(w, one);
    w->slipping = false;
    if (w->slip.active && empties(w))
        w->slip.active = false;
    if (!w->slip.active)
        return;
    w->slip.seq = number_of(w, "SELECT max(ifnull((SELECT max(seq) FROM _tombolo_outbox), 0),"
                               " ifnull((SELECT max(seq) FROM _tombolo_pending), 0))");
    snprintf(drop, sizeof(drop),
             "SELECT 'DROP TRIGGER ' || group_concat(name, '; DROP TRIGGER ')"
             " FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = '%s'",
             names[w->slip.op.table]);
    snprintf(again, sizeof(again),
             "SELECT group_concat(sql, ';') || ';' FROM (SELECT sql FROM"
             " sqlite_schema WHERE type = 'trigger' AND tbl_name = '%s' ORDER BY rowid)",
             names[w->slip.op.table]);
    assert_int_equal(sqlite3_prepare_v2(w->program, again, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    sql = sqlite3_mprintf("BEGIN; %s; %s; %s COMMIT;", ask_of(w->program, drop), one,
                          draw(w, 2) ? (const char *)sqlite3_column_text(stmt, 0) : "");
    sqlite3_finalize(stmt);
    if (sqlite3_exec(w->program, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(w->program));
    sqlite3_free(sql);
    check_tables(w);
}

/* ---- a round ------------------------------------------------------------ */

static void step(struct world *w)
{
    if (!w->connected)
        connect(w);
    switch (draw(w, 17)) {
    case 0:
        crash(w);
        break;
    case 1:
        refetch(w);
        break;
    case 16:
        local_slip(w);
        break;
    case 2:
    case 3:
    case 4:
        upload(w);
        break;
    case 5:
    case 6:
    case 7:
        catch_up(w);
        break;
    case 8:
    case 9:
    case 10:
        others_write(w);
        break;
    default:
        local_write(w);
        break;
    }
}

static bool all_acknowledged(struct world *w)
{
    uint64_t n;

    assert_true(replica_pending(w->r, &n, &w->k.err));
    return n == 0 && !w->slip.active && gaps(w) == 0;
}

static size_t refused(const struct world *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->nops; i++)
        n += w->ops[i].refused;
    return n;
}

static void check_end(struct world *w)
{
    char count[32];

    for (int t = 0; t < TABLES; t++) {
        assert_int_equal(w->shown[t], w->lsn);
        check_table(w, t, w->lsn);
    }
    for (size_t i = 0; i < w->nops; i++)
        assert_int_not_equal(w->ops[i].decided, 0);
    snprintf(count, sizeof(count), "%zu", refused(w));
    assert_answer(&w->k, "SELECT count(*) FROM _tombolo_rejected WHERE code <> 'unknown'", count);
    assert_answer(&w->k, "SELECT count(*) FROM _tombolo_base", "0");
    assert_answer(&w->k, "SELECT count(*) FROM _tombolo_pending", "0");
    assert_answer(&w->k, "SELECT count(*) FROM _tombolo_writes", "0");
}

static void run_round(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    kit_init(&w->k);
    w->random = seed * 0x9e3779b97f4a7c15u + 1;
    w->r = kit_open(&w->k, names[0], names[1]);
    w->program = kit_reader(&w->k);
    w->lsn = 1;
    others_write(w);
    connect(w);
    for (int i = 0; i < STEPS; i++)
        step(w);
    for (int i = 0; i < 2000 && !all_acknowledged(w); i++) {
        if (!w->connected)
            connect(w);
        upload(w);
        catch_up(w);
        if (i % 20 == 19)
            w->connected = false; /* an answer that was not decided is asked for again */
    }
    if (!w->connected)
        connect(w);
    catch_up(w);
    check_end(w);
    sqlite3_close(w->program);
    replica_close(w->r);
    kit_release(&w->k);
    free(w);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_tables_are_the_servers_with_the_pending_writes_on_them(void **state)
{
    uint64_t seed = setting("TOMBOLO_REBASE_SEED", (uint64_t)time(NULL) * 1000);
    uint64_t rounds = setting("TOMBOLO_REBASE_ROUNDS", 20);

    (void)state;
    print_message("TOMBOLO_REBASE_SEED=%" PRIu64 " and following\n", seed);
    for (uint64_t i = 0; i < rounds; i++) {
        if (getenv("TOMBOLO_REBASE_SAY"))
            fprintf(stderr, "TOMBOLO_REBASE_SEED=%" PRIu64 "\n", seed + i);
        run_round(seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_are_the_servers_with_the_pending_writes_on_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
