#include "replica/overlay.h"

#include "base/logging.h"
#include "replica/image.h"
#include "replica/pending.h"

#include <stdlib.h>

/* ---- the base ---------------------------------------------------------- */

static bool finish(struct lite_db *db, sqlite3_stmt *stmt, int rc, struct err *err)
{
    bool ok = rc == SQLITE_DONE || rc == SQLITE_ROW ||
              lite_db_fail(db, err, "could not rebase local writes");

    sqlite3_reset(stmt);
    return ok;
}

bool lite_base_get(struct lite_db *db, const char *table, const char *row, struct arena *arena,
                   bool *there, const char **image, struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(db, LITE_BASE_GET,
                           "SELECT image FROM _tombolo_base WHERE \"table\" = ?1 AND row = ?2",
                           &stmt, err))
        return false;
    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, row, -1, SQLITE_STATIC);
    int rc = sqlite3_step(stmt);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    *there = rc == SQLITE_ROW;
    *image = text ? arena_strdup(arena, text) : NULL;
    return finish(db, stmt, rc, err);
}

bool lite_base_set(struct lite_db *db, const char *table, const char *row, const char *image,
                   struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(db, LITE_BASE_SET,
                           "UPDATE _tombolo_base SET image = ?3, dirty = 1 "
                           "WHERE \"table\" = ?1 AND row = ?2",
                           &stmt, err))
        return false;
    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, row, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, image, -1, SQLITE_STATIC);
    return finish(db, stmt, sqlite3_step(stmt), err);
}

bool lite_base_rows(struct lite_db *db, const char *table, struct arena *arena, char ***rows,
                    struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int64_t most;
    size_t n = 0;
    int rc = SQLITE_DONE;

    if (!lite_db_int(db, 0, &most, err, "SELECT count(*) FROM _tombolo_base WHERE \"table\" = %Q",
                     table) ||
        !lite_db_prepare(db, "SELECT row FROM _tombolo_base WHERE \"table\" = ?1", &stmt, err))
        return false;
    *rows = arena_calloc(arena, (size_t)most + 1, sizeof(**rows));
    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    while (n < (size_t)most && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        (*rows)[n++] = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 0));
    bool ok = finish(db, stmt, rc, err);
    sqlite3_finalize(stmt);
    return ok;
}

/* ---- a component -------------------------------------------------------- */

struct row {
    const char *name;
    struct lite_cell *cells;
    bool present;
};

struct op {
    int64_t seq;
    char op;
    bool numbered, marked, decided;
    size_t row, moved; /* numbers of rows; the same where the key did not change */
    const char *after;
};

struct component {
    struct lite_table *table;
    const char *name; /* of the table */
    struct row *rows;
    size_t nrows, rows_cap;
    struct op *ops;
    size_t nops, ops_cap;
    struct arena arena;
};

static size_t add_row(struct component *c, const char *name)
{
    for (size_t i = 0; i < c->nrows; i++) {
        if (strcmp(c->rows[i].name, name) == 0)
            return i;
    }
    if (c->nrows == c->rows_cap) {
        c->rows_cap = c->rows_cap ? 2 * c->rows_cap : 4;
        c->rows = xrealloc(c->rows, c->rows_cap * sizeof(*c->rows));
    }
    c->rows[c->nrows] = (struct row){.name = arena_strdup(&c->arena, name)};
    return c->nrows++;
}

static void add_op(struct component *c, size_t row, sqlite3_stmt *stmt)
{
    const char *moved = (const char *)sqlite3_column_text(stmt, 2);
    const char *after = (const char *)sqlite3_column_text(stmt, 3);

    if (c->nops == c->ops_cap) {
        c->ops_cap = c->ops_cap ? 2 * c->ops_cap : 8;
        c->ops = xrealloc(c->ops, c->ops_cap * sizeof(*c->ops));
    }
    c->ops[c->nops++] = (struct op){.seq = sqlite3_column_int64(stmt, 0),
                                    .op = *(const char *)sqlite3_column_text(stmt, 1),
                                    .numbered = sqlite3_column_type(stmt, 4) != SQLITE_NULL,
                                    .marked = sqlite3_column_int64(stmt, 6) != 0,
                                    .decided = sqlite3_column_type(stmt, 5) != SQLITE_NULL,
                                    .row = row,
                                    .moved = moved ? add_row(c, moved) : row,
                                    .after = after ? arena_strdup(&c->arena, after) : NULL};
}

/* The mutations of a row, and the rows that moved to it. */
static bool gather_row(struct lite_db *db, struct component *c, size_t row, struct err *err)
{
    sqlite3_stmt *ops, *sources;
    int rc;

    if (!lite_db_statement(db, LITE_PENDING_OF_ROW,
                           "SELECT seq, op, moved, after, id, due, mark FROM _tombolo_pending"
                           " WHERE \"table\" = ?1 AND row = ?2 AND NOT aside",
                           &ops, err) ||
        !lite_db_statement(db, LITE_PENDING_TO_ROW,
                           "SELECT row FROM _tombolo_pending"
                           " WHERE \"table\" = ?1 AND moved = ?2 AND NOT aside",
                           &sources, err))
        return false;
    const char *name = c->rows[row].name;
    sqlite3_bind_text(ops, 1, c->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(ops, 2, name, -1, SQLITE_STATIC);
    while ((rc = sqlite3_step(ops)) == SQLITE_ROW)
        add_op(c, row, ops);
    if (!finish(db, ops, rc, err))
        return false;
    sqlite3_bind_text(sources, 1, c->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(sources, 2, name, -1, SQLITE_STATIC);
    while ((rc = sqlite3_step(sources)) == SQLITE_ROW)
        add_row(c, (const char *)sqlite3_column_text(sources, 0));
    return finish(db, sources, rc, err);
}

static int by_seq(const void *pa, const void *pb)
{
    const struct op *a = pa, *b = pb;

    return (a->seq > b->seq) - (a->seq < b->seq);
}

static bool gather(struct lite_db *db, struct component *c, const char *row, struct err *err)
{
    add_row(c, row);
    for (size_t i = 0; i < c->nrows; i++) {
        if (!gather_row(db, c, i, err))
            return false;
    }
    if (c->nops > 0)
        qsort(c->ops, c->nops, sizeof(*c->ops), by_seq);
    return true;
}

static bool load_bases(struct lite_db *db, struct component *c, struct err *err)
{
    const struct lite_schema *s = c->table->schema;

    for (size_t i = 0; i < c->nrows; i++) {
        struct row *row = &c->rows[i];
        const char *image;
        bool there;

        row->cells = arena_calloc(&c->arena, s->ncolumns, sizeof(*row->cells));
        if (!lite_base_get(db, c->name, row->name, &c->arena, &there, &image, err) ||
            (image && !lite_image_read(image, s, row->cells, &c->arena, err)))
            return false;
        row->present = image != NULL;
    }
    return true;
}

/* A row as a local insert made it: columns that it does not know are NULL. */
static bool apply_insert(struct component *c, const struct op *op, struct row *row, struct err *err)
{
    const struct lite_schema *s = c->table->schema;

    for (size_t i = 0; i < s->ncolumns; i++)
        row->cells[i] = (struct lite_cell){.present = true};
    row->present = true;
    return lite_image_read(op->after, s, row->cells, &c->arena, err);
}

static bool apply_op(struct component *c, const struct op *op, struct err *err)
{
    const struct lite_schema *s = c->table->schema;
    struct row *from = &c->rows[op->row], *to = &c->rows[op->moved];

    if (op->op == 'I')
        return apply_insert(c, op, from, err);
    if (op->op == 'D' || !from->present) {
        from->present = false;
        return true;
    }
    if (to != from) {
        memcpy(to->cells, from->cells, s->ncolumns * sizeof(*to->cells));
        to->present = true;
        from->present = false;
    }
    return lite_image_read(op->after, s, to->cells, &c->arena, err);
}

/* ---- the table shows it -------------------------------------------------- */

static bool show_row(struct component *c, const struct row *row, struct err *err)
{
    struct lite_table *t = c->table;
    bool found;

    memcpy(t->cells, row->cells, t->schema->ncolumns * sizeof(*t->cells));
    if (row->present)
        return lite_table_insert(t, err);
    return lite_row_read(row->name, t->schema, t->cells, &c->arena, err) &&
           lite_table_remove(t, &found, err);
}

static bool work_out(struct lite_db *db, struct component *c, struct err *err)
{
    if (!load_bases(db, c, err))
        return false;
    for (size_t i = 0; i < c->nops; i++) {
        if (!apply_op(c, &c->ops[i], err))
            return false;
    }
    return true;
}

/* Rows that go make room first. */
static bool write_rows(struct component *c, struct err *err)
{
    for (int present = 0; present < 2; present++) {
        for (size_t i = 0; i < c->nrows; i++) {
            if (c->rows[i].present == (present == 1) && !show_row(c, &c->rows[i], err))
                return false;
        }
    }
    return true;
}

/* All of them or none: what was written before one is refused would be in the way of the next try.
 * An index that was relaxed meanwhile is unique again then. */
static bool show_rows(struct lite_db *db, struct component *c, struct err *err)
{
    bool relaxed = db->relaxed;
    struct err ignored;

    if (!work_out(db, c, err))
        return false;
    if (c->nrows == 1)
        return write_rows(c, err);
    if (!lite_db_exec(db, err, "SAVEPOINT tombolo_show"))
        return false;
    if (write_rows(c, err))
        return lite_db_exec(db, err, "RELEASE tombolo_show");
    if (!lite_db_exec(db, &ignored, "ROLLBACK TO tombolo_show; RELEASE tombolo_show"))
        err->code = ERR_IO; /* the transaction is gone: nothing more into it */
    db->relaxed = relaxed;
    return false;
}

/* The last mutation of the component steps aside. One that is numbered stays in its write; with
 * one that is not, its marked transaction goes. What Postgres has decided is told as that. */
static bool step_aside(struct lite_db *db, struct component *c, const char *reason, struct err *err)
{
    const struct lite_refusal why = {"local", NULL, reason};
    const struct op *op = &c->ops[--c->nops];

    log_warn("a local write cannot stand on the server's row", LOG_STR("table", c->name),
             LOG_STR("row", c->rows[op->row].name), LOG_STR("reason", reason));
    db->torn = db->torn || (op->marked && !op->numbered && !op->decided);
    return (op->decided ||
            lite_pending_reject(db,
                                lite_pending_where(&c->arena, "p.seq = %lld", (long long)op->seq),
                                &why, err)) &&
           lite_db_exec(db, err,
                        (op->numbered || op->marked) && !op->decided
                            ? "UPDATE _tombolo_pending SET aside = 1 WHERE seq = %lld"
                            : "DELETE FROM _tombolo_pending WHERE seq = %lld",
                        (long long)op->seq);
}

bool lite_overlay_refuses(const struct err *err)
{
    return err->code == ERR_SQLITE || err->code == ERR_PROTOCOL;
}

/* Rows without mutations need no base any more. Where the component has none left nobody is asked
 * for more: those are the writes that have come back, one after the other. */
static bool settle_bases(struct lite_db *db, const struct component *c, struct err *err)
{
    static const char drop[] = "DELETE FROM _tombolo_base WHERE \"table\" = ?1 AND row = ?2";
    static const char drop_idle[] =
        "DELETE FROM _tombolo_base WHERE \"table\" = ?1 AND row = ?2 AND NOT EXISTS"
        " (SELECT 1 FROM _tombolo_pending WHERE \"table\" = ?1 AND row = ?2 AND NOT aside)"
        " AND NOT EXISTS"
        " (SELECT 1 FROM _tombolo_pending WHERE \"table\" = ?1 AND moved = ?2 AND NOT aside)";
    static const char clean[] =
        "UPDATE _tombolo_base SET dirty = 0 WHERE \"table\" = ?1 AND row = ?2";
    const size_t n = c->nops > 0 ? 2 : 1; /* statements a row */
    sqlite3_stmt *stmts[2];

    if (!lite_db_statement(db, n == 1 ? LITE_BASE_DROP : LITE_BASE_DROP_IDLE,
                           n == 1 ? drop : drop_idle, &stmts[0], err) ||
        !lite_db_statement(db, LITE_BASE_CLEAN, clean, &stmts[1], err))
        return false;
    for (size_t i = 0; i < n * c->nrows; i++) {
        sqlite3_stmt *stmt = stmts[i % n];

        sqlite3_bind_text(stmt, 1, c->name, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, c->rows[i / n].name, -1, SQLITE_STATIC);
        if (!finish(db, stmt, sqlite3_step(stmt), err))
            return false;
    }
    return true;
}

static bool show_component(struct lite_db *db, struct component *c, const char *row,
                           struct err *err)
{
    if (!gather(db, c, row, err))
        return false;
    while (!show_rows(db, c, err)) {
        struct err why = *err;

        if (!lite_overlay_refuses(err) || c->nops == 0 || !step_aside(db, c, why.msg, err))
            return false;
    }
    return settle_bases(db, c, err);
}

bool lite_overlay_show(struct lite_db *db, struct lite_table *table, const char *name,
                       const char *row, struct err *err)
{
    struct component c = {.table = table, .name = name};
    bool ok = show_component(db, &c, row, err);

    free(c.rows);
    free(c.ops);
    arena_release(&c.arena);
    return ok;
}

bool lite_overlay_row(struct lite_db *db, struct lite_table *table, const char *name,
                      const char *row, struct lite_cell *cells, bool *present, struct arena *arena,
                      struct err *err)
{
    struct component c = {.table = table, .name = name};
    const struct lite_schema *s = table->schema;
    bool ok = gather(db, &c, row, err) && work_out(db, &c, err);

    *present = ok && c.rows[0].present;
    for (size_t i = 0; *present && i < s->ncolumns; i++) {
        cells[i] = c.rows[0].cells[i];
        if (cells[i].text.ptr)
            cells[i].text = arena_copy(arena, cells[i].text);
    }
    free(c.rows);
    free(c.ops);
    arena_release(&c.arena);
    return ok;
}

bool lite_overlay_bare(struct lite_db *db, struct lite_table *table, const char *name,
                       const char *row, struct err *err)
{
    struct component c = {.table = table, .name = name};
    char **rows = NULL;

    (void)row;
    bool ok = lite_base_rows(db, name, &c.arena, &rows, err);
    for (size_t i = 0; ok && rows[i]; i++)
        add_row(&c, rows[i]);
    ok = ok && show_rows(db, &c, err);
    free(c.rows);
    arena_release(&c.arena);
    return ok;
}
