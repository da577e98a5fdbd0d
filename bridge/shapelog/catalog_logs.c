/*
 * The catalogue's logs, and the tables that their shapes were typed against: one row a version of a
 * table, found by its checksum.
 */
#include "shapelog/catalog_sql.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/logging.h"

#include <stdlib.h>

/* Parameters: their number, then each as a byte (1: given), its length and text. */
static void put_params(const struct where_params *params, struct buf *out)
{
    buf_put_u32(out, (uint32_t)params->n);
    for (size_t i = 0; i < params->n; i++) {
        buf_put_u8(out, params->values[i].ptr != NULL);
        buf_put_u32(out, (uint32_t)params->values[i].len);
        buf_put_slice(out, params->values[i]);
    }
}

static bool read_params(struct slice bytes, struct arena *arena, struct where_params *params)
{
    struct reader r = reader_of(bytes);
    uint32_t n = reader_u32(&r);

    if (n > reader_left(&r))
        return false;
    struct slice *values = arena_calloc(arena, n, sizeof(*values));
    for (uint32_t i = 0; i < n && !r.failed; i++) {
        bool given = reader_u8(&r);
        struct slice text = reader_slice(&r, reader_u32(&r));

        if (given)
            values[i] = arena_copy(arena, text);
    }
    *params = (struct where_params){values, n};
    return reader_done(&r);
}

enum {
    LOGS_ID,
    LOGS_HANDLE,
    LOGS_RELID,
    LOGS_TABLE_SUM,
    LOGS_TABLE,
    LOGS_WHERE,
    LOGS_COLUMNS,
    LOGS_PARAMS,
    LOGS_REPLICA,
    LOGS_CHANGES_ONLY,
    LOGS_KEYED_BY_IDENTITY,
    LOGS_REGISTERED,
    LOGS_LIMIT,
    LOGS_SNAPSHOT,
    LOGS_SNAPSHOT_BYTES,
    LOGS_CREATED,
    LOGS_SUM,
    LOGS_CHUNK_SIZE, /* outside the sum: a wrong one does no harm */
};

/* Of the columns before `sum`, as a row of SELECT * has them. */
static uint64_t row_sum(sqlite3_stmt *stmt)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    for (int i = 0; i < LOGS_SUM; i++) {
        if (sqlite3_column_type(stmt, i) == SQLITE_INTEGER) {
            buf_put_u64(&b, sql_u64(stmt, i));
        } else {
            struct slice bytes = sql_bytes(stmt, i);

            buf_put_u8(&b, bytes.ptr != NULL);
            buf_put_u64(&b, bytes.len);
            buf_put_slice(&b, bytes);
        }
    }
    uint64_t sum = hash_bytes(buf_slice(&b));
    buf_release(&b);
    return sum;
}

static void bind_log(sqlite3_stmt *stmt, const struct catalog_log *log, uint32_t relid,
                     const struct shape_request *request, struct slice params, uint64_t table_sum)
{
    sql_bind_u64(stmt, LOGS_ID + 1, log->id);
    sql_bind_text(stmt, LOGS_HANDLE + 1, log->handle);
    sql_bind_u64(stmt, LOGS_RELID + 1, relid);
    sql_bind_u64(stmt, LOGS_TABLE_SUM + 1, table_sum);
    sql_bind_text(stmt, LOGS_TABLE + 1, request->table);
    sql_bind_text(stmt, LOGS_WHERE + 1, request->where);
    sql_bind_text(stmt, LOGS_COLUMNS + 1, request->columns);
    sql_bind_blob(stmt, LOGS_PARAMS + 1, params);
    sql_bind_u64(stmt, LOGS_REPLICA + 1, request->replica);
    sql_bind_u64(stmt, LOGS_CHANGES_ONLY + 1, request->changes_only);
    sql_bind_u64(stmt, LOGS_KEYED_BY_IDENTITY + 1, request->keyed_by_identity);
    sql_bind_u64(stmt, LOGS_REGISTERED + 1, log->registered);
    sql_bind_u64(stmt, LOGS_LIMIT + 1, log->limit);
    sql_bind_text(stmt, LOGS_SNAPSHOT + 1, log->snapshot);
    sql_bind_u64(stmt, LOGS_SNAPSHOT_BYTES + 1, log->snapshot_bytes);
    sql_bind_u64(stmt, LOGS_CREATED + 1, (uint64_t)clock_unix_us());
    sql_bind_u64(stmt, LOGS_SUM + 1, 0);
    sql_bind_u64(stmt, LOGS_CHUNK_SIZE + 1, log->chunk_size);
}

static bool insert_table(struct catalog *catalog, uint32_t relid, struct slice body, uint64_t sum,
                         struct err *err)
{
    sqlite3_stmt *stmt = sql_prepare(catalog, "INSERT OR IGNORE INTO tables VALUES (?, ?, ?)", err);

    if (!stmt)
        return false;
    sql_bind_u64(stmt, 1, relid);
    sql_bind_u64(stmt, 2, sum);
    sql_bind_blob(stmt, 3, body);
    bool ok = sql_step(catalog, stmt, err);
    sqlite3_finalize(stmt);
    return ok;
}

/* The row's sum is over what SQLite gives back, so that it is asked once after the insert. */
static bool set_sum(struct catalog *catalog, uint64_t id, struct err *err)
{
    sqlite3_stmt *row = sql_prepare(catalog, "SELECT * FROM logs WHERE id = ?", err);
    sqlite3_stmt *set =
        row ? sql_prepare(catalog, "UPDATE logs SET sum = ? WHERE id = ?", err) : NULL;
    bool ok = set != NULL;

    if (ok) {
        sql_bind_u64(row, 1, id);
        ok = sqlite3_step(row) == SQLITE_ROW || sql_fail(catalog, err);
    }
    if (ok) {
        sql_bind_u64(set, 1, row_sum(row));
        sql_bind_u64(set, 2, id);
        sqlite3_reset(row);
        ok = sql_step(catalog, set, err);
    }
    sqlite3_finalize(row);
    sqlite3_finalize(set);
    return ok;
}

static bool insert_log(struct catalog *catalog, const struct catalog_new_log *log,
                       const struct shape_request *request, struct slice params, struct slice table,
                       struct err *err)
{
    uint32_t relid = log->shape->table->relid;
    uint64_t sum = hash_bytes(table);

    if (!insert_table(catalog, relid, table, sum, err))
        return false;
    sqlite3_stmt *stmt = sql_prepare(catalog,
                                     "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                                     " ?, ?, ?, ?, ?, ?)",
                                     err);
    if (!stmt)
        return false;
    bind_log(stmt, &log->row, relid, request, params, sum);
    bool ok = sql_step(catalog, stmt, err);
    sqlite3_finalize(stmt);
    return ok && set_sum(catalog, log->row.id, err);
}

static bool add_logs(struct catalog *catalog, const struct catalog_new_log *logs, size_t n,
                     struct err *err)
{
    struct buf params, table;
    struct arena arena = {0};
    bool ok = true;

    buf_init(&params, BUF_NO_LIMIT);
    buf_init(&table, BUF_NO_LIMIT);
    for (size_t i = 0; ok && i < n; i++) {
        struct shape_request request;

        arena_reset(&arena);
        buf_clear(&params);
        buf_clear(&table);
        shape_get_request(logs[i].shape, &arena, &request);
        put_params(&request.params, &params);
        catalog_put_table(logs[i].shape->table, &table);
        ok = insert_log(catalog, &logs[i], &request, buf_slice(&params), buf_slice(&table), err);
    }
    arena_release(&arena);
    buf_release(&params);
    buf_release(&table);
    return ok;
}

bool catalog_add_logs(struct catalog *catalog, const struct catalog_new_log *logs, size_t n,
                      struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    bool ok = sql_run(catalog, "BEGIN IMMEDIATE", err) &&
              sql_end(catalog, add_logs(catalog, logs, n, err), err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

static bool set_tables(struct catalog *catalog, const uint64_t *ids, size_t n, uint64_t sum,
                       struct err *err)
{
    sqlite3_stmt *set = sql_prepare(catalog, "UPDATE logs SET table_sum = ? WHERE id = ?", err);
    bool ok = set != NULL;

    for (size_t i = 0; ok && i < n; i++) {
        sql_bind_u64(set, 1, sum);
        sql_bind_u64(set, 2, ids[i]);
        ok = sql_step(catalog, set, err) &&
             (sqlite3_changes(catalog->db) == 0 || set_sum(catalog, ids[i], err));
    }
    sqlite3_finalize(set);
    return ok;
}

bool catalog_set_table(struct catalog *catalog, const uint64_t *ids, size_t n,
                       const struct table *table, struct err *err)
{
    struct buf body;

    buf_init(&body, BUF_NO_LIMIT);
    catalog_put_table(table, &body);
    uint64_t sum = hash_bytes(buf_slice(&body));
    pthread_mutex_lock(&catalog->lock);
    bool ok = sql_run(catalog, "BEGIN IMMEDIATE", err) &&
              sql_end(catalog,
                      insert_table(catalog, table->relid, buf_slice(&body), sum, err) &&
                          set_tables(catalog, ids, n, sum, err),
                      err);
    pthread_mutex_unlock(&catalog->lock);
    buf_release(&body);
    return ok;
}

static bool delete_log(struct catalog *catalog, uint64_t id, struct err *err)
{
    sqlite3_stmt *stmt = sql_prepare(catalog, "DELETE FROM logs WHERE id = ?", err);

    if (!stmt)
        return false;
    sql_bind_u64(stmt, 1, id);
    bool ok = sql_step(catalog, stmt, err);
    sqlite3_finalize(stmt);
    return ok;
}

static bool each_log(struct catalog *catalog,
                     void (*each)(void *context, const struct catalog_log *log), void *context,
                     struct err *err)
{
    sqlite3_stmt *stmt = sql_prepare(catalog, "SELECT * FROM logs ORDER BY id", err);
    int step = SQLITE_DONE;
    bool ok = stmt != NULL;

    while (ok && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct catalog_log log = {
            .id = sql_u64(stmt, LOGS_ID),
            .handle = sql_bytes(stmt, LOGS_HANDLE),
            .registered = sql_u64(stmt, LOGS_REGISTERED),
            .limit = sql_u64(stmt, LOGS_LIMIT),
            .snapshot = sql_bytes(stmt, LOGS_SNAPSHOT),
            .snapshot_bytes = sql_u64(stmt, LOGS_SNAPSHOT_BYTES),
            .chunk_size = sql_u64(stmt, LOGS_CHUNK_SIZE),
        };

        if (row_sum(stmt) == sql_u64(stmt, LOGS_SUM)) {
            each(context, &log);
        } else {
            log_error("a log's row in the catalogue is damaged: the log is lost",
                      LOG_UINT("log", log.id));
            ok = delete_log(catalog, log.id, err);
        }
    }
    if (ok && step != SQLITE_DONE)
        ok = sql_fail(catalog, err);
    sqlite3_finalize(stmt);
    return ok;
}

bool catalog_each_log(struct catalog *catalog,
                      void (*each)(void *context, const struct catalog_log *log), void *context,
                      struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    bool ok = each_log(catalog, each, context, err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

static struct slice column_copy(sqlite3_stmt *stmt, int i, struct arena *arena)
{
    struct slice bytes = sql_bytes(stmt, i);

    return bytes.ptr ? arena_copy(arena, bytes) : bytes;
}

static bool read_request(sqlite3_stmt *stmt, struct arena *arena, struct shape_request *request)
{
    *request = (struct shape_request){
        .table = column_copy(stmt, LOGS_TABLE, arena),
        .where = column_copy(stmt, LOGS_WHERE, arena),
        .columns = column_copy(stmt, LOGS_COLUMNS, arena),
        .replica = sql_u64(stmt, LOGS_REPLICA) ? SHAPE_REPLICA_FULL : SHAPE_REPLICA_DEFAULT,
        .changes_only = sql_u64(stmt, LOGS_CHANGES_ONLY) != 0,
        .keyed_by_identity = sql_u64(stmt, LOGS_KEYED_BY_IDENTITY) != 0,
    };
    return read_params(sql_bytes(stmt, LOGS_PARAMS), arena, &request->params);
}

static struct table *get_table(struct catalog *catalog, uint64_t relid, uint64_t sum,
                               struct err *err)
{
    sqlite3_stmt *stmt =
        sql_prepare(catalog, "SELECT body FROM tables WHERE relid = ? AND sum = ?", err);
    struct table *table = NULL;

    if (!stmt)
        return NULL;
    sql_bind_u64(stmt, 1, relid);
    sql_bind_u64(stmt, 2, sum);
    if (sqlite3_step(stmt) == SQLITE_ROW && hash_bytes(sql_bytes(stmt, 0)) == sum)
        table = catalog_read_table(sql_bytes(stmt, 0), err);
    else
        err_set(err, ERR_CORRUPT, "catalogue: the description of table %llu is damaged",
                (unsigned long long)relid);
    sqlite3_finalize(stmt);
    return table;
}

static bool get_definition(struct catalog *catalog, uint64_t id, struct arena *arena,
                           struct shape_request *request, struct table **table, struct err *err)
{
    sqlite3_stmt *stmt = sql_prepare(catalog, "SELECT * FROM logs WHERE id = ?", err);

    if (!stmt)
        return false;
    sql_bind_u64(stmt, 1, id);
    if (sqlite3_step(stmt) != SQLITE_ROW || row_sum(stmt) != sql_u64(stmt, LOGS_SUM) ||
        !read_request(stmt, arena, request)) {
        sqlite3_finalize(stmt);
        return err_set(err, ERR_CORRUPT, "catalogue: the row of log %llu is missing or damaged",
                       (unsigned long long)id);
    }
    *table = get_table(catalog, sql_u64(stmt, LOGS_RELID), sql_u64(stmt, LOGS_TABLE_SUM), err);
    sqlite3_finalize(stmt);
    return *table != NULL;
}

bool catalog_definition(struct catalog *catalog, uint64_t id, struct arena *arena,
                        struct shape_request *request, struct table **table, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    bool ok = get_definition(catalog, id, arena, request, table, err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}
