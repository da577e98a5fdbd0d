#include "replica/gap.h"

#include "base/logging.h"
#include "replica/capture.h"
#include "replica/capture_core.h"
#include "replica/capture_table.h"
#include "replica/image.h"
#include "replica/overlay.h"
#include "replica/pending.h"
#include "replica/rebase.h"
#include "replica/sql.h"

#include <strings.h>

/* A table and what it is compared with. */
struct gap {
    struct replica *r;
    const char *name;
    const struct lite_schema *schema;
    struct capture_table table; /* as the triggers have it */
    size_t *at;                 /* the schema's column of each of its columns, or ncolumns */
    int64_t layout;
    bool keyed; /* it has the schema's key, ... */
    bool whole; /* and all its columns */
    sqlite3_stmt *put;
    int64_t slipped;
    struct arena arena; /* the comparison's */
    struct arena row;
};

/* ---- the outbox ---------------------------------------------------------- */

static size_t find_column(const struct lite_schema *s, const char *name)
{
    size_t i = 0;

    while (i < s->ncolumns && strcasecmp(s->columns[i].name.ptr, name) != 0)
        i++;
    return i;
}

static bool prepare_put(struct gap *g, struct err *err)
{
    size_t n = 2 * g->table.ncolumns;
    struct sql sql;

    sql_init(&sql);
    sql_put(&sql, "INSERT INTO _tombolo_outbox(layout,op,nonce");
    for (size_t i = 0; i < n; i++)
        sql_put(&sql, ",v%d", (int)i);
    sql_put(&sql, ") VALUES (%lld,?1,random()", (long long)g->layout);
    for (size_t i = 0; i < n; i++)
        sql_put(&sql, ",?%d", (int)i + 2);
    sql_put(&sql, ")");
    return lite_db_prepare(&g->r->db, sql_take(&sql, &g->arena), &g->put, err);
}

static bool put_row(struct gap *g, const char *op, struct err *err)
{
    sqlite3_bind_text(g->put, 1, op, -1, SQLITE_STATIC);
    bool ok = sqlite3_step(g->put) == SQLITE_DONE ||
              lite_db_fail(&g->r->db, err, "could not note a write that slipped by");
    sqlite3_reset(g->put);
    sqlite3_clear_bindings(g->put);
    g->slipped++;
    return ok;
}

/* A table that could not be captured for a while is left alone as long as it cannot be: nothing
 * may come over what was written to it. */
static bool capture_again(struct gap *g, struct lite_feed *feed, struct err *err)
{
    if (g->layout || !feed || !feed->writable)
        return true;
    if (lite_capture_install(&g->r->db, g->name, err))
        return capture_layout(&g->r->db, g->name, &g->layout, err);
    g->r->stuck = feed;
    return err_wrap(err, "writes that slipped by cannot be looked for");
}

static void match_columns(struct gap *g)
{
    size_t key = 0, all = 0;

    g->at = arena_alloc(&g->arena, g->table.ncolumns * sizeof(*g->at));
    for (size_t i = 0; i < g->table.ncolumns; i++) {
        g->at[i] = find_column(g->schema, g->table.columns[i].name);
        if (g->at[i] < g->schema->ncolumns) {
            all++;
            key += g->schema->columns[g->at[i]].pk_index >= 0;
        }
    }
    g->keyed = key == g->schema->nkey;
    g->whole = all == g->schema->ncolumns;
}

/* *usable false: its writes do not go up any more, or it has another key than Postgres's. */
static bool open_gap(struct gap *g, struct lite_feed *feed, bool *usable, struct err *err)
{
    *usable = false;
    if (!capture_layout(&g->r->db, g->name, &g->layout, err) || !capture_again(g, feed, err))
        return false;
    if (!g->layout || g->schema->nkey == 0)
        return true;
    if (!capture_table_read(&g->r->db, g->name, &g->arena, &g->table, err))
        return false;
    match_columns(g);
    *usable = g->keyed;
    return !*usable || prepare_put(g, err);
}

static void release(struct gap *g)
{
    sqlite3_finalize(g->put);
    arena_release(&g->arena);
    arena_release(&g->row);
}

/* ---- rows with pending writes -------------------------------------------- */

static bool same_row(const struct lite_schema *s, const struct lite_cell *a,
                     const struct lite_cell *b)
{
    for (size_t i = 0; i < s->ncolumns; i++) {
        if (!a[i].text.ptr != !b[i].text.ptr || (a[i].text.ptr && !slice_eq(a[i].text, b[i].text)))
            return false;
    }
    return true;
}

/* What is none of its column's type stays text. */
static bool bind_cells(struct gap *g, const struct lite_cell *cells, size_t from, struct err *err)
{
    for (size_t i = 0; i < g->table.ncolumns; i++) {
        struct lite_value v = {.storage = LITE_NULL};
        struct err ignored;

        if (g->at[i] == g->schema->ncolumns || !cells[g->at[i]].text.ptr)
            continue;
        struct slice text = cells[g->at[i]].text;
        if (!lite_from_pg(g->schema->columns[g->at[i]].lite, text, &g->row, &v, &ignored))
            v = (struct lite_value){.storage = LITE_TEXT, .bytes = text};
        if (!lite_value_bind(g->put, (int)(2 + from + i), &v))
            return lite_db_fail(&g->r->db, err, "could not bind a value");
    }
    return true;
}

/* The server's row becomes the base, which may be of a write that was made on what slipped by. */
static bool correct_base(struct gap *g, struct lite_table *side, const char *row, struct err *err)
{
    bool found;

    memset(side->cells, 0, g->schema->ncolumns * sizeof(*side->cells));
    return lite_row_read(row, g->schema, side->cells, &g->row, err) &&
           lite_table_get(side, &found, err) &&
           lite_base_set(&g->r->db, g->name, row,
                         found ? lite_image_make(g->schema, side->cells, false, &g->row) : NULL,
                         err);
}

static bool compare_pending_row(struct gap *g, struct lite_table *own, const char *row,
                                struct err *err)
{
    struct lite_cell *want = arena_calloc(&g->row, g->schema->ncolumns, sizeof(*want));
    bool wanted, found;

    memset(own->cells, 0, g->schema->ncolumns * sizeof(*own->cells));
    if (!lite_overlay_row(&g->r->db, own, g->name, row, want, &wanted, &g->row, err) ||
        !lite_row_read(row, g->schema, own->cells, &g->row, err) ||
        !lite_table_get(own, &found, err))
        return false;
    if (wanted == found && (!found || same_row(g->schema, want, own->cells)))
        return true;
    return (!wanted || bind_cells(g, want, 0, err)) &&
           (!found || bind_cells(g, own->cells, g->table.ncolumns, err)) &&
           put_row(g,
                   !wanted ? "I"
                   : found ? "U"
                           : "D",
                   err);
}

/* `side`: has the server's rows; NULL: the bases are. */
static bool compare_pending(struct gap *g, struct lite_table *side, struct err *err)
{
    struct lite_table own;
    char **rows = NULL;
    bool ok = true;

    if (!g->whole)
        return true;
    lite_table_init(&own, &g->r->db, g->schema, g->name);
    ok = lite_base_rows(&g->r->db, g->name, &g->arena, &rows, err);
    for (size_t i = 0; ok && rows[i]; i++)
        ok = !side || correct_base(g, side, rows[i], err);
    for (size_t i = 0; ok && rows[i]; i++) {
        arena_reset(&g->row);
        ok = compare_pending_row(g, &own, rows[i], err);
    }
    lite_table_release(&own);
    return ok;
}

/* ---- all others ---------------------------------------------------------- */

/* The server's image, and the table's: what a row of the outbox has. */
static void put_images(struct gap *g, struct sql *sql, char op)
{
    sql_put(sql, "SELECT '%c'", op);
    for (size_t i = 0; i < g->table.ncolumns; i++) {
        bool shared = g->at[i] < g->schema->ncolumns;

        if (op == 'I' || (op == 'D' && !shared))
            sql_put(sql, ",NULL");
        else
            sql_put(sql, shared ? ",s.\"%w\"" : ",t.\"%w\"", g->table.columns[i].name);
    }
    for (size_t i = 0; i < g->table.ncolumns; i++)
        sql_put(sql, op == 'D' ? ",NULL" : ",t.\"%w\"", g->table.columns[i].name);
}

static void put_same_key(struct gap *g, struct sql *sql)
{
    for (size_t i = 0; i < g->schema->nkey; i++) {
        const char *column = g->schema->columns[g->schema->key[i]].name.ptr;

        sql_put(sql, "%ss.\"%w\" = t.\"%w\"", i ? " AND " : "", column, column);
    }
}

static void put_differs(struct gap *g, struct sql *sql, const char *of, const char *collation)
{
    const char *comma = "";

    sql_put(sql, "(");
    for (size_t i = 0; i < g->table.ncolumns; i++) {
        if (g->at[i] == g->schema->ncolumns)
            continue;
        sql_put(sql, "%s%s.\"%w\"%s", comma, of, g->table.columns[i].name, collation);
        comma = ",";
    }
    sql_put(sql, ")");
}

static const char *differences(struct gap *g, char op)
{
    struct sql sql;

    sql_init(&sql);
    put_images(g, &sql, op);
    if (op == 'U') {
        sql_put(&sql, " FROM \"%w\" AS t JOIN \"%w%w\" AS s ON ", g->name, LITE_SIDE_PREFIX,
                g->name);
        put_same_key(g, &sql);
        sql_put(&sql, " WHERE ");
        put_differs(g, &sql, "t", " COLLATE BINARY");
        sql_put(&sql, " IS NOT ");
        put_differs(g, &sql, "s", "");
        return sql_take(&sql, &g->arena);
    }
    sql_put(&sql, " FROM \"%w%w\" AS %s WHERE NOT EXISTS (SELECT 1 FROM \"%w%w\" AS %s WHERE ",
            op == 'D' ? LITE_SIDE_PREFIX : "", g->name, op == 'D' ? "s" : "t",
            op == 'D' ? "" : LITE_SIDE_PREFIX, g->name, op == 'D' ? "t" : "s");
    put_same_key(g, &sql);
    sql_put(&sql, ")");
    return sql_take(&sql, &g->arena);
}

static const char *row_name(struct gap *g, sqlite3_stmt *stmt, size_t from)
{
    const struct lite_schema *s = g->schema;
    struct lite_cell *cells = arena_calloc(&g->row, s->ncolumns, sizeof(*cells));

    for (size_t i = 0; i < g->table.ncolumns; i++) {
        struct lite_value v;

        if (g->at[i] == s->ncolumns || s->columns[g->at[i]].pk_index < 0)
            continue;
        lite_value_read(stmt, (int)(1 + from + i), &g->row, &v);
        lite_to_pg(s->columns[g->at[i]].lite, &v, &g->row, &cells[g->at[i]].text);
    }
    return lite_row_make(s, cells, &g->row);
}

static bool take_difference(struct gap *g, sqlite3_stmt *stmt, char op, struct err *err)
{
    const char text[] = {op, '\0'}, *image;
    bool pending;

    arena_reset(&g->row);
    const char *row = row_name(g, stmt, op == 'D' ? 0 : g->table.ncolumns);
    if (!lite_base_get(&g->r->db, g->name, row, &g->row, &pending, &image, err))
        return false;
    if (pending)
        return true;
    for (int i = 0; i < (int)(2 * g->table.ncolumns); i++)
        sqlite3_bind_value(g->put, i + 2, sqlite3_column_value(stmt, i + 1));
    return put_row(g, text, err);
}

/* Rows that go make room first. */
static bool compare_others(struct gap *g, struct err *err)
{
    bool ok = true;

    for (const char *op = "DUI"; ok && *op; op++) {
        sqlite3_stmt *stmt = NULL;
        int rc = SQLITE_DONE;

        if (!lite_db_prepare(&g->r->db, differences(g, *op), &stmt, err))
            return false;
        while (ok && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
            ok = take_difference(g, stmt, *op, err);
        if (ok && rc != SQLITE_DONE)
            ok = lite_db_fail(&g->r->db, err, "could not look for writes that slipped by");
        sqlite3_finalize(stmt);
    }
    return ok;
}

/* ---- what is made of it --------------------------------------------------- */

static void say_found(const struct gap *g, bool known)
{
    if (g->slipped)
        log_warn(known ? "local writes slipped by the triggers, and go up now"
                       : "rows that may have been written to locally are told as unknown",
                 LOG_STR("table", g->name), LOG_INT("rows", g->slipped));
}

/* The server's rows of then are not known any more. */
static bool tell_unknown(struct gap *g, int64_t before, struct err *err)
{
    static const struct lite_refusal why = {
        "unknown", NULL,
        "written while capture was lost, or changed in Postgres since: nobody can tell any more"};
    const char *where = lite_pending_where(&g->arena, "p.seq > %lld", (long long)before);

    return lite_pending_reject(&g->r->db, where, &why, err) &&
           lite_pending_end(&g->r->db, where, err);
}

static bool compare_unknown(struct gap *g, struct err *err)
{
    int64_t before;

    return lite_pending_last(&g->r->db, &before, err) && compare_others(g, err) &&
           lite_pending_drain(g->r, err) && tell_unknown(g, before, err);
}

static bool compare_known(struct gap *g, struct lite_table *side, struct err *err)
{
    return lite_rebase_show(g->r, err) && compare_pending(g, side, err) &&
           (!side || compare_others(g, err)) && lite_pending_drain(g->r, err);
}

/* An empty table more likely waits to be filled again than it says that all is to go: nothing is
 * deleted in Postgres because of it. */
static bool is_empty(struct gap *g, bool *empty, struct err *err)
{
    int64_t any = 0;
    bool ok = lite_db_int(&g->r->db, 0, &any, err, "SELECT EXISTS (SELECT 1 FROM \"%w\")", g->name);

    *empty = !any;
    return ok;
}

/* `feed` is at the side; NULL: only rows with pending writes. */
static bool compare(struct replica *r, const char *name, const struct lite_schema *schema,
                    struct lite_feed *feed, bool known, struct err *err)
{
    struct lite_table *side = feed ? &feed->table : NULL;
    struct gap g = {.r = r, .name = name, .schema = schema};
    bool usable, empty = false;

    bool ok = open_gap(&g, feed, &usable, err) && (!usable || is_empty(&g, &empty, err));
    known = known && !empty;
    if (ok && usable && (feed || !empty)) {
        ok = known ? compare_known(&g, side, err) : compare_unknown(&g, err);
        r->renumber = r->renumber || g.slipped > 0;
        say_found(&g, known);
    } else if (ok && feed) {
        log_warn("writes that slipped by cannot be looked for", LOG_STR("table", name));
    }
    release(&g);
    return ok || err_wrap(err, "table \"%s\"", name);
}

static bool same_log(const struct lite_feed *feed)
{
    const char *stood = feed->shape->stood_handle;

    return stood && feed->handle && strcmp(stood, feed->handle) == 0;
}

bool lite_gap_before(struct replica *r, struct lite_feed *feed, uint64_t lsn, struct err *err)
{
    if (!feed->side || !same_log(feed) || lsn <= feed->shape->stood_offset)
        return true;
    feed->shape->gap = false;
    return compare(r, feed->shape->local, &feed->schema, feed, true, err);
}

bool lite_gap_close(struct replica *r, struct lite_feed *feed, struct err *err)
{
    bool gap = feed->shape->gap;

    feed->shape->gap = false;
    return !gap || !feed->side ||
           compare(r, feed->shape->local, &feed->schema, feed, same_log(feed), err);
}

/* ---- a gap is found ------------------------------------------------------ */

void lite_gap_stands(struct lite_shape *shape)
{
    if (shape->status != LITE_LIVE)
        return;
    shape->stood_handle = shape->handle;
    shape->stood_offset = shape->offset;
}

static bool compare_bases(struct replica *r, const char *table, struct err *err)
{
    struct arena arena = {0};
    struct lite_schema schema;
    sqlite3_stmt *stmt = NULL;
    bool ok = lite_db_prepare(&r->db,
                              "SELECT schema_json FROM _tombolo_shapes WHERE local = ?1"
                              " AND status <> 'fetching' AND schema_json NOT NULL",
                              &stmt, err);

    if (ok) {
        sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
        if (sqlite3_step(stmt) == SQLITE_ROW)
            ok = lite_schema_read(slice_of((const char *)sqlite3_column_text(stmt, 0)), &arena,
                                  &schema, err) &&
                 compare(r, table, &schema, NULL, true, err);
    }
    sqlite3_finalize(stmt);
    arena_release(&arena);
    return ok;
}

static struct lite_feed *feed_of(struct replica *r, const char *table)
{
    for (size_t i = 0; r->streaming && i < r->nfeeds; i++) {
        if (strcasecmp(r->feeds[i].shape->local, table) == 0)
            return &r->feeds[i];
    }
    return NULL;
}

static bool mark_feed(struct replica *r, struct lite_feed *feed, const char *reason,
                      struct err *err)
{
    struct lite_shape *s = feed->shape;

    if (s->status == LITE_FETCHING)
        return true;
    s->gap = true;
    if (s->status == LITE_LIVE)
        return lite_apply_forget(r, feed, reason, err);
    return lite_shape_save(&r->db, s, err);
}

bool lite_gap_found(struct replica *r, const char *table, const char *reason, struct err *err)
{
    struct lite_feed *feed = feed_of(r, table);

    if (!compare_bases(r, table, err))
        return false;
    if (feed)
        return mark_feed(r, feed, reason, err);
    return lite_db_exec(&r->db, err,
                        "UPDATE _tombolo_shapes SET gap = 1, reason = %Q,"
                        " stood_handle = iif(status = 'live', handle, stood_handle),"
                        " stood_offset = iif(status = 'live', \"offset\", stood_offset),"
                        " handle = NULL, status = 'refetching'"
                        " WHERE local = %Q COLLATE NOCASE AND status <> 'fetching'",
                        reason, table);
}

bool lite_gap_look(struct replica *r, struct err *err)
{
    if (!r->db.captured || r->db.in_txn)
        return true;
    return lite_apply_begin(r, err) && lite_db_commit(&r->db, err);
}

bool replica_scan(struct replica *r, struct err *err)
{
    struct arena arena = {0};
    struct lite_capture *captures;
    size_t n;
    bool ok = lite_stream_settle(r, err) && lite_apply_begin(r, err) &&
              lite_capture_verify(&r->db, &arena, &captures, &n, err);

    for (size_t i = 0; ok && i < n; i++)
        ok = lite_gap_found(r, captures[i].table, "a comparison was asked for", err);
    ok = ok && lite_db_commit(&r->db, err);
    if (!ok)
        lite_db_rollback(&r->db);
    arena_release(&arena);
    return ok;
}
