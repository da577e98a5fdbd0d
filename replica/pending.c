#include "replica/pending.h"

#include "base/clock.h"
#include "base/logging.h"
#include "base/utf8.h"
#include "replica/image.h"
#include "replica/outbox.h"
#include "replica/sql.h"

#include <strings.h>

static const char tables[] =
    "CREATE TABLE IF NOT EXISTS _tombolo_pending("
    "seq INTEGER PRIMARY KEY, nonce INTEGER NOT NULL, mark INTEGER NOT NULL,"
    " \"table\" TEXT NOT NULL, target TEXT NOT NULL, op TEXT NOT NULL, row TEXT NOT NULL,"
    " moved TEXT, \"key\" TEXT NOT NULL, before TEXT, after TEXT, id INTEGER, mutation INTEGER,"
    " due INTEGER, aside INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX IF NOT EXISTS _tombolo_pending_row ON _tombolo_pending(\"table\", row);"
    "CREATE INDEX IF NOT EXISTS _tombolo_pending_moved ON _tombolo_pending(\"table\", moved)"
    " WHERE moved IS NOT NULL;"
    "CREATE INDEX IF NOT EXISTS _tombolo_pending_id ON _tombolo_pending(id, mutation);"
    "CREATE INDEX IF NOT EXISTS _tombolo_pending_due ON _tombolo_pending(due)"
    " WHERE due IS NOT NULL;"
    "CREATE INDEX IF NOT EXISTS _tombolo_pending_aside ON _tombolo_pending(id) WHERE aside;"
    "CREATE TABLE IF NOT EXISTS _tombolo_base("
    "\"table\" TEXT NOT NULL, row TEXT NOT NULL, image TEXT, dirty INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY (\"table\", row)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS _tombolo_base_dirty ON _tombolo_base(\"table\", row) WHERE dirty;"
    "CREATE TABLE IF NOT EXISTS _tombolo_writes("
    "id INTEGER PRIMARY KEY, nonce TEXT NOT NULL, marked INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS _tombolo_rejected("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, txn INTEGER, seq INTEGER NOT NULL,"
    " \"table\" TEXT NOT NULL, op TEXT NOT NULL, \"key\" TEXT NOT NULL, before TEXT, after TEXT,"
    " code TEXT NOT NULL, sqlstate TEXT, message TEXT);"
    "CREATE UNIQUE INDEX IF NOT EXISTS _tombolo_rejected_seq ON _tombolo_rejected(seq)";

bool lite_pending_open(struct lite_db *db, struct err *err)
{
    return lite_db_exec(db, err, "%s", tables);
}

bool lite_pending_count(struct lite_db *db, uint64_t *n, struct err *err)
{
    int64_t pending, fresh = 0;

    if (!lite_db_int(db, 0, &pending, err,
                     "SELECT count(*) FROM _tombolo_pending WHERE due IS NULL") ||
        (db->captured && !lite_db_int(db, 0, &fresh, err,
                                      "SELECT count(*) FROM _tombolo_outbox WHERE op NOT NULL")))
        return false;
    *n = (uint64_t)(pending + fresh);
    return true;
}

bool lite_pending_last(struct lite_db *db, int64_t *seq, struct err *err)
{
    int64_t pending, fresh = 0;

    if (!lite_db_int(db, 0, &pending, err, "SELECT max(seq) FROM _tombolo_pending") ||
        (db->captured && !lite_db_int(db, 0, &fresh, err, "SELECT max(seq) FROM _tombolo_outbox")))
        return false;
    *seq = pending > fresh ? pending : fresh;
    return true;
}

void lite_put_name(struct buf *out, const char *name)
{
    bool bare = *name && strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789") == strlen(name) &&
                !(*name >= '0' && *name <= '9');

    if (!bare)
        buf_put_u8(out, '"');
    for (const char *p = name; *p; p++) {
        buf_put_u8(out, (uint8_t)*p);
        if (*p == '"')
            buf_put_u8(out, '"');
    }
    if (!bare)
        buf_put_u8(out, '"');
}

/* ---- what is written ---- */

static bool run(struct lite_db *db, sqlite3_stmt *stmt, struct err *err)
{
    bool ok =
        sqlite3_step(stmt) == SQLITE_DONE || lite_db_fail(db, err, "could not store a local write");

    sqlite3_reset(stmt);
    return ok;
}

char *lite_pending_where(struct arena *arena, const char *fmt, ...)
{
    struct sql sql;
    va_list ap;

    sql_init(&sql);
    va_start(ap, fmt);
    sqlite3_str_vappendf(sql.str, fmt, ap);
    va_end(ap);
    return sql_take(&sql, arena);
}

bool lite_pending_reject(struct lite_db *db, const char *where, const struct lite_refusal *why,
                         struct err *err)
{
    return lite_db_exec(
        db, err,
        "INSERT INTO _tombolo_rejected(at, txn, seq, \"table\", op, \"key\", before, after, code,"
        " sqlstate, message) SELECT %lld, id, seq, \"table\", op, \"key\", before, after, %Q, %Q, "
        "%Q"
        " FROM _tombolo_pending p WHERE (%s) ON CONFLICT(seq) DO UPDATE SET txn = excluded.txn,"
        " code = excluded.code, sqlstate = excluded.sqlstate, message = excluded.message",
        (long long)clock_unix_us(), why->code, why->sqlstate, why->message, where);
}

static bool make_dirty(struct lite_db *db, const char *where, struct err *err)
{
    static const char *const rows[] = {"row", "moved"};

    for (size_t i = 0; i < 2; i++) {
        if (!lite_db_exec(db, err,
                          "UPDATE _tombolo_base SET dirty = 1 WHERE (\"table\", row) IN"
                          " (SELECT p.\"table\", p.%s FROM _tombolo_pending p WHERE %s)",
                          rows[i], where))
            return false;
    }
    return true;
}

bool lite_pending_end(struct lite_db *db, const char *where, struct err *err)
{
    return make_dirty(db, where, err) &&
           lite_db_exec(db, err, "DELETE FROM _tombolo_pending AS p WHERE %s", where);
}

bool lite_pending_aside(struct lite_db *db, const char *where, struct err *err)
{
    return make_dirty(db, where, err) &&
           lite_db_exec(db, err, "UPDATE _tombolo_pending AS p SET aside = 1 WHERE %s", where);
}

bool lite_pending_torn(struct lite_db *db, struct err *err)
{
    static const struct lite_refusal why = {"local", NULL,
                                            "another write of its transaction cannot go up"};
    static const char where[] =
        "p.id IS NULL AND p.due IS NULL AND NOT p.aside AND p.mark IN (SELECT mark FROM"
        " _tombolo_pending WHERE id IS NULL AND due IS NULL AND aside AND mark <> 0)";
    int64_t any;

    db->torn = false;
    /* Asked first: the condition above goes through all that is pending. */
    if (!lite_db_int(db, 0, &any, err,
                     "SELECT EXISTS (SELECT 1 FROM _tombolo_pending"
                     " WHERE id IS NULL AND due IS NULL AND aside AND mark <> 0)"))
        return false;
    return !any ||
           (lite_pending_reject(db, where, &why, err) && lite_pending_aside(db, where, err));
}

/* ---- the drain ---- */

/* A table that the outbox speaks of. */
struct known {
    struct known *next;
    const char *local; /* as the outbox spells it */
    const char *target;
    bool synced;
    struct lite_schema schema;
};

struct drain {
    struct replica *r;
    struct arena arena; /* tables */
    struct arena row;
    struct known *tables;
    int64_t invalid; /* rows that were rejected at once */
};

static void read_known(struct drain *d, sqlite3_stmt *stmt, struct known *t)
{
    struct err why;
    struct buf name;

    buf_init(&name, BUF_NO_LIMIT);
    lite_put_name(&name, (const char *)sqlite3_column_text(stmt, 0));
    buf_put_u8(&name, '.');
    lite_put_name(&name, (const char *)sqlite3_column_text(stmt, 1));
    t->target = arena_strdup(&d->arena, buf_cstr(&name));
    buf_release(&name);
    const char *json = (const char *)sqlite3_column_text(stmt, 2);
    t->synced =
        json && lite_schema_read(slice_of(json), &d->arena, &t->schema, &why) && t->schema.nkey > 0;
}

static struct known *find_known(struct drain *d, const char *local, struct err *err)
{
    static const char sql[] = "SELECT \"schema\", \"table\", schema_json FROM _tombolo_shapes "
                              "WHERE local = ?1 COLLATE NOCASE";
    sqlite3_stmt *stmt = NULL;
    struct known *t = d->tables;

    while (t && strcasecmp(t->local, local) != 0)
        t = t->next;
    if (t)
        return t;
    if (!lite_db_prepare(&d->r->db, sql, &stmt, err))
        return NULL;
    t = arena_calloc(&d->arena, 1, sizeof(*t));
    *t = (struct known){.next = d->tables, .local = arena_strdup(&d->arena, local)};
    d->tables = t;
    sqlite3_bind_text(stmt, 1, local, -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        read_known(d, stmt, t);
    sqlite3_finalize(stmt);
    if (!t->synced)
        log_warn("local writes are dropped, for their table is not synced any more",
                 LOG_STR("table", local));
    return t;
}

/* Text that Postgres cannot hold is told in hex. */
static struct slice say_bytes(struct slice bytes, struct arena *arena)
{
    const struct lite_value v = {.storage = LITE_BLOB, .bytes = bytes};
    struct slice out;

    lite_to_pg((struct lite_type){.kind = LITE_BYTEA}, &v, arena, &out);
    return out;
}

/* The shape's columns of an image of the outbox; `only`: those that changed. */
static struct lite_cell *cells_of(struct drain *d, const struct lite_schema *s,
                                  const struct lite_mutation *m, const struct lite_value *image,
                                  const bool *only, bool *invalid)
{
    struct lite_cell *cells = arena_calloc(&d->row, s->ncolumns, sizeof(*cells));

    for (size_t c = 0; image && c < s->ncolumns; c++) {
        size_t i = 0;

        while (i < m->ncolumns && strcasecmp(m->names[i], s->columns[c].name.ptr) != 0)
            i++;
        if (i == m->ncolumns || (only && !only[i]))
            continue;
        cells[c].present = true;
        lite_to_pg(s->columns[c].lite, &image[i], &d->row, &cells[c].text);
        if (cells[c].text.ptr && !utf8_is_text(cells[c].text)) {
            cells[c].text = say_bytes(cells[c].text, &d->row);
            *invalid = true;
        }
    }
    return cells;
}

static bool any_present(const struct lite_schema *s, const struct lite_cell *cells)
{
    size_t i = 0;

    while (i < s->ncolumns && !cells[i].present)
        i++;
    return i < s->ncolumns;
}

/* The server's row, unless it is known already; `image` NULL: there is none. */
static bool add_base(struct drain *d, const char *table, const char *row, const char *image,
                     struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(&d->r->db, LITE_BASE_ADD,
                           "INSERT INTO _tombolo_base(\"table\", row, image) VALUES (?1, ?2, ?3) "
                           "ON CONFLICT DO NOTHING",
                           &stmt, err))
        return false;
    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, row, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, image, -1, SQLITE_STATIC);
    return run(&d->r->db, stmt, err);
}

struct entry {
    const char *op, *row, *moved, *key, *before, *after;
};

static bool add_pending(struct drain *d, const struct known *t, const struct lite_mutation *m,
                        const struct entry *e, struct err *err)
{
    static const char sql[] =
        "INSERT INTO _tombolo_pending(seq, nonce, mark, \"table\", target, op, row, moved, \"key\","
        " before, after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    const char *const texts[] = {t->local, t->target, e->op,     e->row,
                                 e->moved, e->key,    e->before, e->after};
    sqlite3_stmt *stmt;

    if (!lite_db_statement(&d->r->db, LITE_PENDING_ADD, sql, &stmt, err))
        return false;
    sqlite3_bind_int64(stmt, 1, m->seq);
    sqlite3_bind_int64(stmt, 2, m->nonce);
    sqlite3_bind_int64(stmt, 3, m->mark);
    for (int i = 0; i < 8; i++)
        sqlite3_bind_text(stmt, 4 + i, texts[i], -1, SQLITE_STATIC);
    return run(&d->r->db, stmt, err);
}

static bool reject_invalid(struct drain *d, const struct lite_mutation *m, struct err *err)
{
    static const struct lite_refusal why = {
        "local", "22021", "it has text that Postgres cannot hold: a NUL, or no UTF-8"};
    const char *where = lite_pending_where(&d->row, "p.seq = %lld", (long long)m->seq);

    d->invalid++;
    d->r->db.torn = true;
    return lite_pending_reject(&d->r->db, where, &why, err) &&
           (m->mark ? lite_pending_aside(&d->r->db, where, err)
                    : lite_pending_end(&d->r->db, where, err));
}

static bool take_mutation(struct drain *d, const struct known *t, const struct lite_mutation *m,
                          struct err *err)
{
    static const char *const ops[] = {[LITE_PUT] = "I", [LITE_UPDATE] = "U", [LITE_DELETE] = "D"};
    const struct lite_schema *s = &t->schema;
    const struct lite_value *was = m->before ? m->before : m->after;
    struct entry e = {.op = ops[m->op]};
    bool invalid = false, ignored;

    const struct lite_cell *old = cells_of(d, s, m, was, NULL, &ignored);
    const struct lite_cell *before = cells_of(d, s, m, m->before, m->changed, &ignored);
    const struct lite_cell *after = cells_of(d, s, m, m->after, m->changed, &invalid);
    if (m->op == LITE_UPDATE && !any_present(s, after))
        return true;
    e.row = lite_row_make(s, old, &d->row);
    e.key = lite_image_make(s, old, true, &d->row);
    e.before = m->before ? lite_image_make(s, before, false, &d->row) : NULL;
    e.after = m->after ? lite_image_make(s, after, false, &d->row) : NULL;
    if (m->op == LITE_UPDATE) {
        const struct lite_cell *now = cells_of(d, s, m, m->after, NULL, &ignored);

        e.moved = lite_row_make(s, now, &d->row);
        e.moved = strcmp(e.moved, e.row) == 0 ? NULL : e.moved;
    }
    return add_base(d, t->local, e.row, m->before ? lite_image_make(s, old, false, &d->row) : NULL,
                    err) &&
           (!e.moved || add_base(d, t->local, e.moved, NULL, err)) &&
           add_pending(d, t, m, &e, err) && (!invalid || reject_invalid(d, m, err));
}

static bool take_some(struct drain *d, struct lite_outbox *outbox, size_t most, bool *more,
                      struct err *err)
{
    *more = true;
    for (size_t n = 0; n < most; n++) {
        struct lite_mutation m;

        arena_reset(&d->row);
        if (!lite_outbox_next(outbox, &m, err))
            return false;
        *more = m.table != NULL;
        if (!*more)
            return true;
        const struct known *t = find_known(d, m.table, err);
        if (!t || (t->synced && !take_mutation(d, t, &m, err)))
            return false;
    }
    return true;
}

static bool outbox_is_empty(struct lite_db *db, bool *empty, struct err *err)
{
    sqlite3_stmt *stmt;

    *empty = true;
    if (!db->captured)
        return true;
    if (!lite_db_statement(db, LITE_OUTBOX_ANY,
                           "SELECT 1 FROM _tombolo_outbox WHERE op IS NOT NULL LIMIT 1", &stmt,
                           err))
        return false;
    int rc = sqlite3_step(stmt);
    *empty = rc == SQLITE_DONE;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ||
           lite_db_fail(db, err, "could not look for writes");
}

static bool drain(struct drain *d, size_t most, bool *more, struct err *err)
{
    struct lite_outbox *outbox = lite_outbox_open(&d->r->db, 0, err);
    bool ok = outbox && take_some(d, outbox, most, more, err);
    int64_t through = outbox ? lite_outbox_through(outbox) : 0;

    lite_outbox_close(outbox);
    if (d->invalid)
        log_warn("local writes cannot be sent: text that Postgres cannot hold",
                 LOG_INT("writes", d->invalid));
    return ok && lite_outbox_forget(&d->r->db, through, err);
}

static bool find_base(struct replica *r, struct err *err)
{
    sqlite3_stmt *stmt;

    if (!lite_db_statement(&r->db, LITE_BASE_ANY, "SELECT 1 FROM _tombolo_base LIMIT 1", &stmt,
                           err))
        return false;
    int rc = sqlite3_step(stmt);
    r->based = rc == SQLITE_ROW;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ||
           lite_db_fail(&r->db, err, "could not look for rows with local writes");
}

bool lite_pending_drain_some(struct replica *r, size_t most, bool *more, struct err *err)
{
    struct drain d = {.r = r};
    bool empty;

    *more = false;
    bool ok = outbox_is_empty(&r->db, &empty, err) && (empty || drain(&d, most, more, err));
    arena_release(&d.arena);
    arena_release(&d.row);
    return ok && find_base(r, err);
}

bool lite_pending_drain(struct replica *r, struct err *err)
{
    bool more;

    return lite_pending_drain_some(r, SIZE_MAX, &more, err);
}
