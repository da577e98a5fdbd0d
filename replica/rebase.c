#include "replica/rebase.h"

#include "base/logging.h"
#include "replica/image.h"
#include "replica/pending.h"

#include <stdlib.h>
#include <strings.h>

/* ---- the base ---------------------------------------------------------- */

static bool finish(struct lite_db *db, sqlite3_stmt *stmt, int rc, struct err *err)
{
    bool ok = rc == SQLITE_DONE || rc == SQLITE_ROW ||
              lite_db_fail(db, err, "could not rebase local writes");

    sqlite3_reset(stmt);
    return ok;
}

/* *there: the row has a base; *image: its JSON, NULL where there is no row. */
static bool base_get(struct lite_db *db, const char *table, const char *row, struct arena *arena,
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

static bool base_set(struct lite_db *db, const char *table, const char *row, const char *image,
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

/* The base with the cells of an update on it. */
static bool merge_update(const struct lite_schema *s, const struct lite_cell *cells,
                         const char **image, struct arena *arena, struct err *err)
{
    struct lite_cell *all = arena_calloc(arena, s->ncolumns, sizeof(*all));

    if (!lite_image_read(*image, s, all, arena, err))
        return false;
    for (size_t i = 0; i < s->ncolumns; i++) {
        if (cells[i].present)
            all[i] = cells[i];
    }
    *image = lite_image_make(s, all, false, arena);
    return true;
}

bool lite_rebase_take(struct replica *r, struct lite_feed *feed, enum lite_server_op op,
                      bool *taken, bool *found, struct err *err)
{
    const struct lite_schema *s = &feed->schema;
    const struct lite_cell *cells = feed->table.cells;
    const char *table = feed->shape->local, *image;

    *taken = false;
    if (!r->based || feed->phase != LITE_STREAMING || s->nkey == 0)
        return true;
    struct arena arena = {0};
    const char *row = lite_row_make(s, cells, &arena);
    bool ok = base_get(&r->db, table, row, &arena, taken, &image, err);
    *found = op == LITE_SERVER_INSERT || image;
    if (ok && *taken && *found) {
        if (op != LITE_SERVER_UPDATE)
            image = op == LITE_SERVER_INSERT ? lite_image_make(s, cells, false, &arena) : NULL;
        else
            ok = merge_update(s, cells, &image, &arena, err);
        ok = ok && base_set(&r->db, table, row, image, err);
    }
    arena_release(&arena);
    return ok;
}

/* All rows of a table that have a base, in the arena, NULL behind the last. */
static bool base_rows(struct lite_db *db, const char *table, struct arena *arena, char ***rows,
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

/* A table that was not synced for a while lost its bases, and has pending mutations still. */
static bool find_bases(struct lite_db *db, const char *table, struct err *err)
{
    return lite_db_exec(db, err,
                        "INSERT INTO _tombolo_base(\"table\", row) SELECT \"table\", row"
                        " FROM _tombolo_pending WHERE \"table\" = %Q AND NOT aside"
                        " UNION SELECT \"table\", moved FROM _tombolo_pending"
                        " WHERE \"table\" = %Q AND moved IS NOT NULL AND NOT aside"
                        " ON CONFLICT DO NOTHING",
                        table, table);
}

bool lite_rebase_fetched(struct replica *r, struct lite_feed *feed, struct err *err)
{
    struct arena arena = {0};
    char **rows = NULL;
    bool ok = feed->schema.nkey == 0 || (find_bases(&r->db, feed->shape->local, err) &&
                                         base_rows(&r->db, feed->shape->local, &arena, &rows, err));

    for (size_t i = 0; ok && rows && rows[i]; i++) {
        struct lite_table *t = &feed->table;
        bool found;

        memset(t->cells, 0, feed->schema.ncolumns * sizeof(*t->cells));
        r->based = true;
        ok = lite_row_read(rows[i], &feed->schema, t->cells, &arena, err) &&
             lite_table_get(t, &found, err) &&
             base_set(&r->db, feed->shape->local, rows[i],
                      found ? lite_image_make(&feed->schema, t->cells, false, &arena) : NULL, err);
    }
    arena_release(&arena);
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
    bool numbered;
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
                           "SELECT seq, op, moved, after, id FROM _tombolo_pending"
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
        if (!base_get(db, c->name, row->name, &c->arena, &there, &image, err) ||
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
        return lite_table_insert(t, false, err);
    return lite_row_read(row->name, t->schema, t->cells, &c->arena, err) &&
           lite_table_remove(t, &found, err);
}

/* Rows that go make room first. */
static bool show_rows(struct lite_db *db, struct component *c, struct err *err)
{
    if (!load_bases(db, c, err))
        return false;
    for (size_t i = 0; i < c->nops; i++) {
        if (!apply_op(c, &c->ops[i], err))
            return false;
    }
    for (int present = 0; present < 2; present++) {
        for (size_t i = 0; i < c->nrows; i++) {
            if (c->rows[i].present == (present == 1) && !show_row(c, &c->rows[i], err))
                return false;
        }
    }
    return true;
}

/* The last mutation of the component steps aside. One that is numbered stays in its write. */
static bool step_aside(struct lite_db *db, struct component *c, const char *reason, struct err *err)
{
    const struct lite_refusal why = {"local", NULL, reason};
    const struct op *op = &c->ops[--c->nops];

    log_warn("a local write cannot stand on the server's row", LOG_STR("table", c->name),
             LOG_STR("row", c->rows[op->row].name), LOG_STR("reason", reason));
    return lite_pending_reject(
               db, lite_pending_where(&c->arena, "p.seq = %lld", (long long)op->seq), &why, err) &&
           lite_db_exec(db, err,
                        op->numbered ? "UPDATE _tombolo_pending SET aside = 1 WHERE seq = %lld"
                                     : "DELETE FROM _tombolo_pending WHERE seq = %lld",
                        (long long)op->seq);
}

static bool refuses(const struct err *err)
{
    return err->code == ERR_SQLITE || err->code == ERR_PROTOCOL;
}

/* Rows without mutations need no base any more. */
static bool settle_bases(struct lite_db *db, const struct component *c, struct err *err)
{
    static const char drop[] =
        "DELETE FROM _tombolo_base WHERE \"table\" = ?1 AND row = ?2 AND NOT EXISTS"
        " (SELECT 1 FROM _tombolo_pending WHERE \"table\" = ?1 AND row = ?2 AND NOT aside)"
        " AND NOT EXISTS"
        " (SELECT 1 FROM _tombolo_pending WHERE \"table\" = ?1 AND moved = ?2 AND NOT aside)";
    static const char clean[] =
        "UPDATE _tombolo_base SET dirty = 0 WHERE \"table\" = ?1 AND row = ?2";
    sqlite3_stmt *stmts[2];

    if (!lite_db_statement(db, LITE_BASE_DROP, drop, &stmts[0], err) ||
        !lite_db_statement(db, LITE_BASE_CLEAN, clean, &stmts[1], err))
        return false;
    for (size_t i = 0; i < 2 * c->nrows; i++) {
        sqlite3_stmt *stmt = stmts[i % 2];

        sqlite3_bind_text(stmt, 1, c->name, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, c->rows[i / 2].name, -1, SQLITE_STATIC);
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

        if (!refuses(err) || c->nops == 0 || !step_aside(db, c, why.msg, err))
            return false;
    }
    return settle_bases(db, c, err);
}

static bool show_one(struct lite_db *db, struct lite_table *table, const char *name,
                     const char *row, struct err *err)
{
    struct component c = {.table = table, .name = name};
    bool ok = show_component(db, &c, row, err);

    free(c.rows);
    free(c.ops);
    arena_release(&c.arena);
    return ok;
}

/* ---- all that is dirty --------------------------------------------------- */

static bool next_dirty(struct lite_db *db, struct arena *arena, const char **table,
                       const char **row, struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(db, LITE_BASE_DIRTY,
                           "SELECT \"table\", row FROM _tombolo_base WHERE dirty LIMIT 1", &stmt,
                           err))
        return false;
    int rc = sqlite3_step(stmt);
    *table = *row = NULL;
    if (rc == SQLITE_ROW) {
        *table = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 0));
        *row = arena_strdup(arena, (const char *)sqlite3_column_text(stmt, 1));
    }
    return finish(db, stmt, rc, err);
}

static struct lite_feed *feed_of(const struct replica *r, const char *table)
{
    for (size_t i = 0; i < r->nfeeds; i++) {
        if (strcasecmp(r->feeds[i].shape->local, table) == 0)
            return &r->feeds[i];
    }
    return NULL;
}

/* The table that is there, though its shape is not in the stream now; not one that is being
 * filled for the first time. `table` stays zeroed when there is none. */
static bool open_table(struct replica *r, const char *name, struct arena *arena,
                       struct lite_table *table, struct err *err)
{
    static const char sql[] =
        "SELECT schema_json FROM _tombolo_shapes WHERE local = ?1 AND status <> 'fetching'"
        " AND EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)";
    struct lite_schema *schema = arena_calloc(arena, 1, sizeof(*schema));
    sqlite3_stmt *stmt = NULL;
    const char *json = NULL;

    if (!lite_db_prepare(&r->db, sql, &stmt, err))
        return false;
    sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        json = (const char *)sqlite3_column_text(stmt, 0);
    bool ok = !json || lite_schema_read(slice_of(json), arena, schema, err);
    sqlite3_finalize(stmt);
    if (ok && schema->nkey > 0)
        lite_table_init(table, &r->db, schema, name);
    return ok;
}

/* Without its table there is nothing to show; a fetch makes the base anew. */
static bool forget_dirt(struct lite_db *db, const char *table, struct err *err)
{
    return lite_db_exec(db, err, "UPDATE _tombolo_base SET dirty = 0 WHERE \"table\" = %Q", table);
}

typedef bool show_cb(struct lite_db *db, struct lite_table *table, const char *name,
                     const char *row, struct err *err);

static bool with_closed_table(struct replica *r, const char *name, const char *row, show_cb *show,
                              struct err *err)
{
    struct arena arena = {0};
    struct lite_table table = {0};

    bool ok =
        open_table(r, name, &arena, &table, err) &&
        (table.schema ? show(&r->db, &table, name, row, err) : forget_dirt(&r->db, name, err));
    lite_table_release(&table);
    arena_release(&arena);
    return ok;
}

static bool with_table(struct replica *r, const char *name, const char *row, show_cb *show,
                       struct err *err)
{
    struct lite_feed *feed = feed_of(r, name);

    if (!feed || feed->phase != LITE_STREAMING)
        return with_closed_table(r, name, row, show, err);
    if (show(&r->db, &feed->table, name, row, err))
        return true;
    if (refuses(err))
        r->stuck = feed; /* the server's own row was refused */
    return false;
}

bool lite_rebase_show(struct replica *r, struct err *err)
{
    struct arena arena = {0};
    const char *table = NULL, *row;
    bool ok = true;

    while (ok && r->based) {
        arena_reset(&arena);
        ok = next_dirty(&r->db, &arena, &table, &row, err);
        if (!ok || !table)
            break;
        ok = with_table(r, table, row, show_one, err);
    }
    arena_release(&arena);
    return ok;
}

/* ---- unique indexes ------------------------------------------------------ */

/* All rows of the table that have pending mutations, without them. */
static bool show_bare(struct lite_db *db, struct lite_table *table, const char *name,
                      const char *row, struct err *err)
{
    struct component c = {.table = table, .name = name};
    char **rows = NULL;

    (void)row;
    bool ok = base_rows(db, name, &c.arena, &rows, err);
    for (size_t i = 0; ok && rows[i]; i++)
        add_row(&c, rows[i]);
    ok = ok && show_rows(db, &c, err);
    free(c.rows);
    arena_release(&c.arena);
    return ok;
}

static bool give_way(struct replica *r, char **tables, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!with_table(r, tables[i], NULL, show_bare, err))
            return false;
    }
    return true;
}

static bool stand_again(struct replica *r, char **tables, size_t n, struct err *err)
{
    bool ok = true;

    for (size_t i = 0; ok && i < n; i++)
        ok = lite_db_exec(&r->db, err, "UPDATE _tombolo_base SET dirty = 1 WHERE \"table\" = %Q",
                          tables[i]);
    r->db.strict = true;
    ok = ok && lite_rebase_show(r, err);
    r->db.strict = false;
    return ok;
}

bool lite_rebase_restore(struct replica *r, struct err *err)
{
    struct arena arena = {0};
    char **tables = NULL;
    size_t n = 0;
    bool ok = lite_unique_restore(&r->db, false, err);

    if (ok && r->based && r->db.relaxed)
        ok = lite_unique_relaxed(&r->db, &arena, &tables, &n, err) && give_way(r, tables, n, err);
    ok = ok && lite_unique_restore(&r->db, true, err) && stand_again(r, tables, n, err);
    arena_release(&arena);
    return ok;
}
