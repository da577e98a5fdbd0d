/* The catalogue's segments, and what a sync or a compaction changes in one transaction. */
#include "shapelog/catalog_sql.h"

bool catalog_each_segment(struct catalog *catalog,
                          void (*each)(void *context, const struct catalog_segment *segment),
                          void *context, struct err *err)
{
    int step = SQLITE_DONE;

    pthread_mutex_lock(&catalog->lock);
    sqlite3_stmt *stmt =
        sql_prepare(catalog, "SELECT number, kind, logs FROM segments ORDER BY number", err);
    bool ok = stmt != NULL;

    while (ok && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct catalog_segment segment = {(uint32_t)sql_u64(stmt, 0), (uint32_t)sql_u64(stmt, 1),
                                          sql_bytes(stmt, 2)};

        each(context, &segment);
    }
    if (ok && step != SQLITE_DONE)
        ok = sql_fail(catalog, err);
    sqlite3_finalize(stmt);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

static bool put_segments(struct catalog *catalog, const char *sql,
                         const struct catalog_segment *segments, size_t n, struct err *err)
{
    sqlite3_stmt *stmt = n ? sql_prepare(catalog, sql, err) : NULL;
    bool ok = n == 0 || stmt;

    for (size_t i = 0; ok && i < n; i++) {
        sql_bind_u64(stmt, 1, segments[i].number);
        sql_bind_u64(stmt, 2, segments[i].kind);
        sql_bind_blob(stmt, 3, segments[i].logs);
        ok = sql_step(catalog, stmt, err);
    }
    sqlite3_finalize(stmt);
    return ok;
}

static bool drop_segments(struct catalog *catalog, const uint32_t *numbers, size_t n,
                          struct err *err)
{
    sqlite3_stmt *stmt =
        n ? sql_prepare(catalog, "DELETE FROM segments WHERE number = ?", err) : NULL;
    bool ok = n == 0 || stmt;

    for (size_t i = 0; ok && i < n; i++) {
        sql_bind_u64(stmt, 1, numbers[i]);
        ok = sql_step(catalog, stmt, err);
    }
    sqlite3_finalize(stmt);
    return ok;
}

static bool drop_logs(struct catalog *catalog, const uint64_t *ids, size_t n, struct err *err)
{
    sqlite3_stmt *stmt = n ? sql_prepare(catalog, "DELETE FROM logs WHERE id = ?", err) : NULL;
    bool ok = n == 0 || stmt;

    for (size_t i = 0; ok && i < n; i++) {
        sql_bind_u64(stmt, 1, ids[i]);
        ok = sql_step(catalog, stmt, err);
    }
    sqlite3_finalize(stmt);
    return ok;
}

static bool set_mark(struct catalog *catalog, const struct catalog_mark *mark, struct err *err)
{
    struct catalog_stream stream;

    if (!mark)
        return true;
    if (!catalog_read_stream(catalog, &stream, err))
        return false;
    stream.mark = *mark;
    return catalog_put_stream(catalog, &stream, err);
}

static bool apply(struct catalog *catalog, const struct catalog_batch *batch, struct err *err)
{
    return drop_logs(catalog, batch->ended, batch->nended, err) &&
           put_segments(catalog, "REPLACE INTO segments VALUES (?, ?, ?)", batch->made,
                        batch->nmade, err) &&
           put_segments(catalog, "UPDATE segments SET kind = ?2, logs = ?3 WHERE number = ?1",
                        batch->sealed, batch->nsealed, err) &&
           drop_segments(catalog, batch->dropped, batch->ndropped, err) &&
           set_mark(catalog, batch->mark, err);
}

bool catalog_apply(struct catalog *catalog, const struct catalog_batch *batch, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    bool ok = sql_run(catalog, "BEGIN IMMEDIATE", err) &&
              sql_end(catalog, apply(catalog, batch, err), err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}
