#include "replica/rebase.h"

#include "replica/image.h"
#include "replica/overlay.h"
#include "replica/pending.h"

#include <strings.h>

/* ---- the base ---------------------------------------------------------- */

static bool finish(struct lite_db *db, sqlite3_stmt *stmt, int rc, struct err *err)
{
    bool ok = rc == SQLITE_DONE || rc == SQLITE_ROW ||
              lite_db_fail(db, err, "could not rebase local writes");

    sqlite3_reset(stmt);
    return ok;
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
    bool ok = lite_base_get(&r->db, table, row, &arena, taken, &image, err);
    *found = op == LITE_SERVER_INSERT || image;
    if (ok && *taken && *found) {
        if (op != LITE_SERVER_UPDATE)
            image = op == LITE_SERVER_INSERT ? lite_image_make(s, cells, false, &arena) : NULL;
        else
            ok = merge_update(s, cells, &image, &arena, err);
        ok = ok && lite_base_set(&r->db, table, row, image, err);
    }
    arena_release(&arena);
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
    bool ok =
        feed->schema.nkey == 0 || (find_bases(&r->db, feed->shape->local, err) &&
                                   lite_base_rows(&r->db, feed->shape->local, &arena, &rows, err));

    for (size_t i = 0; ok && rows && rows[i]; i++) {
        struct lite_table *t = &feed->table;
        bool found;

        memset(t->cells, 0, feed->schema.ncolumns * sizeof(*t->cells));
        r->based = true;
        ok = lite_row_read(rows[i], &feed->schema, t->cells, &arena, err) &&
             lite_table_get(t, &found, err) &&
             lite_base_set(&r->db, feed->shape->local, rows[i],
                           found ? lite_image_make(&feed->schema, t->cells, false, &arena) : NULL,
                           err);
    }
    arena_release(&arena);
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
    if (lite_overlay_refuses(err))
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
        if (ok && table)
            ok = with_table(r, table, row, lite_overlay_show, err);
        else if (ok && r->db.torn && !r->db.strict)
            ok = lite_pending_torn(&r->db, err);
        else
            break;
    }
    arena_release(&arena);
    return ok;
}

/* ---- unique indexes ------------------------------------------------------ */

static bool give_way(struct replica *r, char **tables, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!with_table(r, tables[i], NULL, lite_overlay_bare, err))
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

static bool restore(struct replica *r, struct err *err)
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

/* What stepped aside may take its transaction with it, whose rows then want to be where others are
 * shown by now. */
bool lite_rebase_settle(struct replica *r, struct err *err)
{
    bool ok = lite_rebase_show(r, err) && restore(r, err);

    while (ok && r->db.torn)
        ok = lite_pending_torn(&r->db, err) && lite_rebase_show(r, err) && restore(r, err);
    return ok;
}
