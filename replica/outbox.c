#include "replica/outbox.h"

#include "base/hash.h"
#include "replica/capture_core.h"
#include "replica/table.h"

#include <stdlib.h>

/* The columns of the outbox before v0. */
#define FIRST_VALUE 5

struct layout {
    const char *table;
    size_t ncolumns;
    const char **names;
    int *key;
};

struct lite_outbox {
    struct lite_db *db;
    sqlite3_stmt *rows;
    struct u64map layouts;
    struct arena arena; /* layouts */
    struct arena row;
    const struct layout *layout; /* of the present row */
    int64_t through;
};

bool lite_value_same(const struct lite_value *a, const struct lite_value *b)
{
    if (a->storage != b->storage)
        return false;
    switch (a->storage) {
    case LITE_NULL:
        return true;
    case LITE_INTEGER:
        return a->integer == b->integer;
    case LITE_REAL:
        return memcmp(&a->real, &b->real, sizeof(a->real)) == 0;
    default:
        return slice_eq(a->bytes, b->bytes);
    }
}

/* ---- layouts ---- */

static bool read_layout(struct lite_outbox *o, int64_t id, struct layout *l, struct err *err)
{
    static const char sql[] = "SELECT l.\"table\", p.name, ifnull(p.\"key\", -1)"
                              " FROM _tombolo_layouts l JOIN _tombolo_places p ON p.layout = l.id"
                              " WHERE l.id = ?1 ORDER BY p.place";
    sqlite3_stmt *stmt = NULL;
    int64_t most;
    int rc = SQLITE_DONE;

    if (!lite_db_int(o->db, 0, &most, err,
                     "SELECT count(*) FROM _tombolo_places WHERE layout = %lld", (long long)id) ||
        !lite_db_prepare(o->db, sql, &stmt, err))
        return false;
    l->names = arena_calloc(&o->arena, (size_t)most, sizeof(*l->names));
    l->key = arena_calloc(&o->arena, (size_t)most, sizeof(*l->key));
    sqlite3_bind_int64(stmt, 1, id);
    while (l->ncolumns < (size_t)most && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (!l->table)
            l->table = arena_strdup(&o->arena, (const char *)sqlite3_column_text(stmt, 0));
        l->names[l->ncolumns] = arena_strdup(&o->arena, (const char *)sqlite3_column_text(stmt, 1));
        l->key[l->ncolumns++] = sqlite3_column_int(stmt, 2);
    }
    bool ok = rc == SQLITE_ROW || rc == SQLITE_DONE || lite_db_fail(o->db, err, "could not read");
    sqlite3_finalize(stmt);
    if (!ok)
        return false;
    return l->table ||
           err_set(err, ERR_CORRUPT, "the outbox has rows of unknown layout %lld", (long long)id);
}

static const struct layout *find_layout(struct lite_outbox *o, int64_t id, struct err *err)
{
    struct layout *l = u64map_get(&o->layouts, (uint64_t)id);

    if (l)
        return l;
    l = arena_calloc(&o->arena, 1, sizeof(*l));
    if (!read_layout(o, id, l, err))
        return NULL;
    if (FIRST_VALUE + 2 * l->ncolumns > (size_t)sqlite3_column_count(o->rows)) {
        err_set(err, ERR_CORRUPT, "the outbox is too narrow for table \"%s\"", l->table);
        return NULL;
    }
    u64map_set(&o->layouts, (uint64_t)id, l);
    return l;
}

/* ---- values ---- */

/* The image that begins at v<first>. */
static struct lite_value *read_image(struct lite_outbox *o, size_t first)
{
    size_t n = o->layout->ncolumns;
    struct lite_value *values = arena_calloc(&o->row, n, sizeof(*values));

    for (size_t i = 0; i < n; i++)
        lite_value_read(o->rows, (int)(FIRST_VALUE + first + i), &o->row, &values[i]);
    return values;
}

/* ---- meanings ---- */

/* False when the row means nothing: it was written as it was. */
static bool read_update(struct lite_outbox *o, struct lite_mutation *m)
{
    bool *changed = arena_calloc(&o->row, m->ncolumns, sizeof(*changed));
    bool any = false;

    m->op = LITE_UPDATE;
    m->before = read_image(o, 0);
    m->after = read_image(o, m->ncolumns);
    m->changed = changed;
    for (size_t i = 0; i < m->ncolumns; i++) {
        changed[i] = !lite_value_same(&m->before[i], &m->after[i]);
        any = any || changed[i];
    }
    return any;
}

static bool read_row(struct lite_outbox *o, struct lite_mutation *m, bool *means, struct err *err)
{
    const char *op = (const char *)sqlite3_column_text(o->rows, 2);

    *m = (struct lite_mutation){.seq = sqlite3_column_int64(o->rows, 0),
                                .mark = sqlite3_column_int64(o->rows, 3),
                                .nonce = sqlite3_column_int64(o->rows, 4)};
    o->layout = find_layout(o, sqlite3_column_int64(o->rows, 1), err);
    if (!o->layout)
        return false;
    m->table = o->layout->table;
    m->ncolumns = o->layout->ncolumns;
    m->names = o->layout->names;
    m->key = o->layout->key;
    *means = true;
    switch (op ? *op : '\0') {
    case 'I':
        m->op = LITE_PUT;
        m->after = read_image(o, m->ncolumns);
        return true;
    case 'D':
        m->op = LITE_DELETE;
        m->before = read_image(o, 0);
        return true;
    case 'U':
        *means = read_update(o, m);
        return true;
    default:
        return err_set(err, ERR_CORRUPT, "row %lld of the outbox has no known meaning",
                       (long long)m->seq);
    }
}

bool lite_outbox_next(struct lite_outbox *o, struct lite_mutation *m, struct err *err)
{
    bool means = false;

    while (!means) {
        int rc = o->rows ? sqlite3_step(o->rows) : SQLITE_DONE;

        arena_reset(&o->row);
        *m = (struct lite_mutation){0};
        if (rc == SQLITE_DONE)
            return true;
        if (rc != SQLITE_ROW)
            return lite_db_fail(o->db, err, "could not read the outbox");
        if (!read_row(o, m, &means, err))
            return false;
        o->through = m->seq;
    }
    return true;
}

/* ---- life ---- */

struct lite_outbox *lite_outbox_open(struct lite_db *db, int64_t after, struct err *err)
{
    struct lite_outbox *o = xcalloc(1, sizeof(*o));

    o->db = db;
    o->through = after;
    if (!db->captured)
        return o;
    if (!lite_db_prepare(
            db, "SELECT * FROM _tombolo_outbox WHERE seq > ?1 AND op IS NOT NULL ORDER BY seq",
            &o->rows, err)) {
        lite_outbox_close(o);
        return NULL;
    }
    sqlite3_bind_int64(o->rows, 1, after);
    return o;
}

int64_t lite_outbox_through(const struct lite_outbox *outbox)
{
    return outbox->through;
}

void lite_outbox_close(struct lite_outbox *o)
{
    if (!o)
        return;
    sqlite3_finalize(o->rows);
    u64map_release(&o->layouts);
    arena_release(&o->arena);
    arena_release(&o->row);
    free(o);
}

bool lite_outbox_forget(struct lite_db *db, int64_t through, struct err *err)
{
    struct capture_change change;
    int64_t last = 0;

    if (!db->captured)
        return true;
    if (!capture_begin(db, &change, err))
        return false;
    bool ok =
        lite_db_int(db, 0, &last, err, "SELECT max(seq) FROM _tombolo_outbox") &&
        lite_db_exec(db, err, "DELETE FROM _tombolo_outbox WHERE seq <= %lld",
                     (long long)through) &&
        (last == 0 || last > through ||
         lite_db_exec(db, err, "INSERT INTO _tombolo_outbox(seq) VALUES (%lld)",
                      (long long)last)) &&
        lite_db_exec(db, err,
                     "DELETE FROM _tombolo_tx WHERE id < (SELECT max(id) FROM _tombolo_tx)") &&
        lite_db_exec(db, err,
                     "DELETE FROM _tombolo_layouts WHERE NOT live AND NOT EXISTS "
                     "(SELECT 1 FROM _tombolo_outbox o WHERE o.layout = _tombolo_layouts.id)") &&
        lite_db_exec(db, err,
                     "DELETE FROM _tombolo_places WHERE layout NOT IN "
                     "(SELECT id FROM _tombolo_layouts)");
    /* The latest mark stays: it may be of a transaction that has not written yet. */
    return capture_end(db, &change, ok, err);
}
