#include "shapelog/catalog.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/logging.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct catalog {
    pthread_mutex_t lock;
    sqlite3 *db;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS stream(one INTEGER PRIMARY KEY CHECK (one = 1), system_id TEXT,"
    "  timeline INTEGER, slot TEXT, end_lsn INTEGER, last_commit INTEGER, segment INTEGER,"
    "  \"offset\" INTEGER, next_id INTEGER, sum INTEGER);"
    "CREATE TABLE IF NOT EXISTS tables(relid INTEGER, sum INTEGER, body BLOB,"
    "  PRIMARY KEY (relid, sum)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS logs(id INTEGER PRIMARY KEY, handle TEXT, relid INTEGER,"
    "  table_sum INTEGER, \"table\" TEXT, \"where\" TEXT, columns TEXT, params BLOB,"
    "  replica INTEGER, changes_only INTEGER, keyed_by_identity INTEGER, registered INTEGER,"
    "  \"limit\" INTEGER, snapshot TEXT, snapshot_bytes INTEGER, created INTEGER, sum INTEGER,"
    "  chunk_size INTEGER);"
    "CREATE TABLE IF NOT EXISTS segments(number INTEGER PRIMARY KEY, kind INTEGER, logs BLOB);"
    "DELETE FROM tables WHERE NOT EXISTS (SELECT 1 FROM logs"
    "  WHERE logs.relid = tables.relid AND logs.table_sum = tables.sum);";

/* ---- SQLite ---------------------------------------------------------------------------------- */

static bool sql_fail(struct catalog *catalog, struct err *err)
{
    int code = sqlite3_errcode(catalog->db) & 0xff;
    enum err_code as = code == SQLITE_FULL                               ? ERR_DISK_FULL
                       : code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? ERR_CORRUPT
                       : code == SQLITE_BUSY                             ? ERR_BUSY
                                                                         : ERR_SQLITE;

    return err_set(err, as, "catalogue: %s", sqlite3_errmsg(catalog->db));
}

static bool run(struct catalog *catalog, const char *sql, struct err *err)
{
    return sqlite3_exec(catalog->db, sql, NULL, NULL, NULL) == SQLITE_OK || sql_fail(catalog, err);
}

static sqlite3_stmt *prepare(struct catalog *catalog, const char *sql, struct err *err)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v2(catalog->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        sql_fail(catalog, err);
    return stmt;
}

/* Runs a statement that gives no rows, and makes it ready to run again. */
static bool step_done(struct catalog *catalog, sqlite3_stmt *stmt, struct err *err)
{
    bool ok = sqlite3_step(stmt) == SQLITE_DONE;

    if (!ok)
        sql_fail(catalog, err);
    sqlite3_reset(stmt);
    return ok;
}

static void bind_u64(sqlite3_stmt *stmt, int i, uint64_t v)
{
    sqlite3_bind_int64(stmt, i, (sqlite3_int64)v);
}

static void bind_text(sqlite3_stmt *stmt, int i, struct slice text)
{
    if (text.ptr)
        sqlite3_bind_text64(stmt, i, text.ptr, text.len, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(stmt, i);
}

static void bind_blob(sqlite3_stmt *stmt, int i, struct slice bytes)
{
    if (bytes.ptr)
        sqlite3_bind_blob64(stmt, i, bytes.ptr, bytes.len, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, i);
}

static uint64_t column_u64(sqlite3_stmt *stmt, int i)
{
    return (uint64_t)sqlite3_column_int64(stmt, i);
}

/* Lives until the next step. */
static struct slice column_bytes(sqlite3_stmt *stmt, int i)
{
    if (sqlite3_column_type(stmt, i) == SQLITE_NULL)
        return (struct slice){0};
    const char *p = sqlite3_column_blob(stmt, i);

    return (struct slice){p ? p : "", (size_t)sqlite3_column_bytes(stmt, i)};
}

/* Commits what was begun, or takes it back. */
static bool end_transaction(struct catalog *catalog, bool ok, struct err *err)
{
    ok = ok && run(catalog, "COMMIT", err);
    if (!ok)
        sqlite3_exec(catalog->db, "ROLLBACK", NULL, NULL, NULL);
    return ok;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Folders that were made before chunk sizes were kept. */
static bool add_chunk_size(struct catalog *catalog, struct err *err)
{
    sqlite3_stmt *stmt =
        prepare(catalog, "SELECT 1 FROM pragma_table_info('logs') WHERE name = 'chunk_size'", err);

    if (!stmt)
        return false;
    int step = sqlite3_step(stmt);
    bool ok = step == SQLITE_ROW || step == SQLITE_DONE || sql_fail(catalog, err);

    sqlite3_finalize(stmt);
    if (ok && step == SQLITE_DONE)
        ok = run(catalog, "ALTER TABLE logs ADD COLUMN chunk_size INTEGER", err);
    return ok;
}

static bool open_db(struct catalog *catalog, const char *path, struct err *err)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(path, &catalog->db, flags, NULL) != SQLITE_OK)
        return sql_fail(catalog, err);
    sqlite3_busy_timeout(catalog->db, 5000);
    return run(catalog, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", err) &&
           run(catalog, schema, err) && add_chunk_size(catalog, err);
}

static bool put_aside(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    struct buf from, to;

    buf_init(&from, BUF_NO_LIMIT);
    buf_init(&to, BUF_NO_LIMIT);
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        buf_clear(&from);
        buf_clear(&to);
        buf_printf(&from, "%s%s", path, suffixes[i]);
        buf_printf(&to, "%s.damaged%s", path, suffixes[i]);
        rename(buf_cstr(&from), buf_cstr(&to));
    }
    bool gone = access(path, F_OK) != 0;
    buf_release(&from);
    buf_release(&to);
    return gone;
}

struct catalog *catalog_open(const char *dir, struct err *err)
{
    struct catalog *catalog = xcalloc(1, sizeof(*catalog));
    struct buf path;

    pthread_mutex_init(&catalog->lock, NULL);
    buf_init(&path, BUF_NO_LIMIT);
    buf_printf(&path, "%s/tombolo.db", dir);

    bool ok = open_db(catalog, buf_cstr(&path), err);
    if (!ok && err->code == ERR_CORRUPT) {
        log_error("the catalogue is damaged: it is put aside and an empty one begun",
                  LOG_STR("file", buf_cstr(&path)), LOG_ERR(err));
        sqlite3_close(catalog->db);
        catalog->db = NULL;
        ok = put_aside(buf_cstr(&path)) && open_db(catalog, buf_cstr(&path), err);
    }
    buf_release(&path);
    if (!ok) {
        catalog_close(catalog);
        return NULL;
    }
    return catalog;
}

void catalog_close(struct catalog *catalog)
{
    if (!catalog)
        return;
    sqlite3_close(catalog->db);
    pthread_mutex_destroy(&catalog->lock);
    free(catalog);
}

/* ---- the stream's row ------------------------------------------------------------------------ */

static uint64_t stream_sum(const struct catalog_stream *s)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_printf(&b, "%s|%u|%s|%llu|%llu|%u|%llu|%llu", s->source.system_id, s->source.timeline,
               s->source.slot, (unsigned long long)s->mark.end_lsn,
               (unsigned long long)s->mark.last_commit, s->mark.segment,
               (unsigned long long)s->mark.offset, (unsigned long long)s->next_id);
    uint64_t sum = hash_bytes(buf_slice(&b));
    buf_release(&b);
    return sum;
}

static void copy_text(char *to, size_t size, struct slice from)
{
    size_t n = from.len < size - 1 ? from.len : size - 1;

    if (n)
        memcpy(to, from.ptr, n);
    to[n] = '\0';
}

static bool read_stream(sqlite3_stmt *stmt, struct catalog_stream *s, struct err *err)
{
    copy_text(s->source.system_id, sizeof(s->source.system_id), column_bytes(stmt, 0));
    s->source.timeline = (uint32_t)column_u64(stmt, 1);
    copy_text(s->source.slot, sizeof(s->source.slot), column_bytes(stmt, 2));
    s->mark = (struct catalog_mark){column_u64(stmt, 3), column_u64(stmt, 4),
                                    (uint32_t)column_u64(stmt, 5), column_u64(stmt, 6)};
    s->next_id = column_u64(stmt, 7);
    if (stream_sum(s) != column_u64(stmt, 8))
        return err_set(err, ERR_CORRUPT, "catalogue: the row of the stream is damaged");
    return true;
}

static bool get_stream(struct catalog *catalog, struct catalog_stream *stream, struct err *err)
{
    sqlite3_stmt *stmt = prepare(catalog,
                                 "SELECT system_id, timeline, slot, end_lsn, last_commit, segment,"
                                 " \"offset\", next_id, sum FROM stream",
                                 err);
    bool ok = true;

    *stream = (struct catalog_stream){.next_id = 1};
    if (!stmt)
        return false;
    int step = sqlite3_step(stmt);
    if (step == SQLITE_ROW)
        ok = read_stream(stmt, stream, err);
    else if (step != SQLITE_DONE)
        ok = sql_fail(catalog, err);
    sqlite3_finalize(stmt);
    return ok;
}

bool catalog_get_stream(struct catalog *catalog, struct catalog_stream *stream, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    bool ok = get_stream(catalog, stream, err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

static bool put_stream(struct catalog *catalog, const struct catalog_stream *s, struct err *err)
{
    sqlite3_stmt *stmt =
        prepare(catalog, "REPLACE INTO stream VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)", err);

    if (!stmt)
        return false;
    bind_text(stmt, 1, slice_of(s->source.system_id));
    bind_u64(stmt, 2, s->source.timeline);
    bind_text(stmt, 3, slice_of(s->source.slot));
    bind_u64(stmt, 4, s->mark.end_lsn);
    bind_u64(stmt, 5, s->mark.last_commit);
    bind_u64(stmt, 6, s->mark.segment);
    bind_u64(stmt, 7, s->mark.offset);
    bind_u64(stmt, 8, s->next_id);
    bind_u64(stmt, 9, stream_sum(s));
    bool ok = step_done(catalog, stmt, err);
    sqlite3_finalize(stmt);
    return ok;
}

bool catalog_set_source(struct catalog *catalog, const struct shapelog_source *source,
                        struct err *err)
{
    struct catalog_stream stream;

    pthread_mutex_lock(&catalog->lock);
    bool ok = get_stream(catalog, &stream, err);
    if (ok) {
        stream.source = *source;
        ok = put_stream(catalog, &stream, err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

bool catalog_reserve_ids(struct catalog *catalog, uint64_t next_id, struct err *err)
{
    struct catalog_stream stream;

    pthread_mutex_lock(&catalog->lock);
    bool ok = get_stream(catalog, &stream, err);
    if (ok && stream.next_id < next_id) {
        stream.next_id = next_id;
        ok = put_stream(catalog, &stream, err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

/* A stream's row that is damaged is no hindrance: it is written anew, with the highest id. */
static bool reset(struct catalog *catalog, struct err *err)
{
    struct catalog_stream stream;
    struct err ignored;

    if (!get_stream(catalog, &stream, &ignored)) {
        uint64_t id = stream.next_id;

        stream = (struct catalog_stream){.next_id = id};
    }
    stream.mark = (struct catalog_mark){0};
    return put_stream(catalog, &stream, err) &&
           run(catalog, "DELETE FROM logs; DELETE FROM segments; DELETE FROM tables", err);
}

bool catalog_reset(struct catalog *catalog, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    bool ok =
        run(catalog, "BEGIN IMMEDIATE", err) && end_transaction(catalog, reset(catalog, err), err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

/* ---- logs ------------------------------------------------------------------------------------ */

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
            buf_put_u64(&b, column_u64(stmt, i));
        } else {
            struct slice bytes = column_bytes(stmt, i);

            buf_put_u8(&b, bytes.ptr != NULL);
            buf_put_u64(&b, bytes.len);
            buf_put_slice(&b, bytes);
        }
    }
    uint64_t sum = hash_bytes(buf_slice(&b));
    buf_release(&b);
    return sum;
}

static void bind_log(sqlite3_stmt *stmt, const struct catalog_log *log, const struct shape *shape,
                     struct slice params, uint64_t table_sum)
{
    const struct shape_request *request = &shape->request;

    bind_u64(stmt, LOGS_ID + 1, log->id);
    bind_text(stmt, LOGS_HANDLE + 1, log->handle);
    bind_u64(stmt, LOGS_RELID + 1, shape->table->relid);
    bind_u64(stmt, LOGS_TABLE_SUM + 1, table_sum);
    bind_text(stmt, LOGS_TABLE + 1, request->table);
    bind_text(stmt, LOGS_WHERE + 1, request->where);
    bind_text(stmt, LOGS_COLUMNS + 1, request->columns);
    bind_blob(stmt, LOGS_PARAMS + 1, params);
    bind_u64(stmt, LOGS_REPLICA + 1, request->replica);
    bind_u64(stmt, LOGS_CHANGES_ONLY + 1, request->changes_only);
    bind_u64(stmt, LOGS_KEYED_BY_IDENTITY + 1, request->keyed_by_identity);
    bind_u64(stmt, LOGS_REGISTERED + 1, log->registered);
    bind_u64(stmt, LOGS_LIMIT + 1, log->limit);
    bind_text(stmt, LOGS_SNAPSHOT + 1, log->snapshot);
    bind_u64(stmt, LOGS_SNAPSHOT_BYTES + 1, log->snapshot_bytes);
    bind_u64(stmt, LOGS_CREATED + 1, (uint64_t)clock_unix_us());
    bind_u64(stmt, LOGS_SUM + 1, 0);
    bind_u64(stmt, LOGS_CHUNK_SIZE + 1, log->chunk_size);
}

static bool insert_table(struct catalog *catalog, uint32_t relid, struct slice body, uint64_t sum,
                         struct err *err)
{
    sqlite3_stmt *stmt = prepare(catalog, "INSERT OR IGNORE INTO tables VALUES (?, ?, ?)", err);

    if (!stmt)
        return false;
    bind_u64(stmt, 1, relid);
    bind_u64(stmt, 2, sum);
    bind_blob(stmt, 3, body);
    bool ok = step_done(catalog, stmt, err);
    sqlite3_finalize(stmt);
    return ok;
}

/* The row's sum is over what SQLite gives back, so that it is asked once after the insert. */
static bool set_sum(struct catalog *catalog, uint64_t id, struct err *err)
{
    sqlite3_stmt *row = prepare(catalog, "SELECT * FROM logs WHERE id = ?", err);
    sqlite3_stmt *set = row ? prepare(catalog, "UPDATE logs SET sum = ? WHERE id = ?", err) : NULL;
    bool ok = set != NULL;

    if (ok) {
        bind_u64(row, 1, id);
        ok = sqlite3_step(row) == SQLITE_ROW || sql_fail(catalog, err);
    }
    if (ok) {
        bind_u64(set, 1, row_sum(row));
        bind_u64(set, 2, id);
        sqlite3_reset(row);
        ok = step_done(catalog, set, err);
    }
    sqlite3_finalize(row);
    sqlite3_finalize(set);
    return ok;
}

static bool add_log(struct catalog *catalog, const struct catalog_log *log,
                    const struct shape *shape, struct slice params, struct slice table,
                    struct err *err)
{
    uint64_t sum = hash_bytes(table);

    if (!insert_table(catalog, shape->table->relid, table, sum, err))
        return false;
    sqlite3_stmt *stmt = prepare(catalog,
                                 "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                                 " ?, ?, ?, ?, ?)",
                                 err);
    if (!stmt)
        return false;
    bind_log(stmt, log, shape, params, sum);
    bool ok = step_done(catalog, stmt, err);
    sqlite3_finalize(stmt);
    return ok && set_sum(catalog, log->id, err);
}

bool catalog_add_log(struct catalog *catalog, const struct catalog_log *log,
                     const struct shape *shape, struct err *err)
{
    struct buf params, table;

    buf_init(&params, BUF_NO_LIMIT);
    buf_init(&table, BUF_NO_LIMIT);
    put_params(&shape->request.params, &params);
    catalog_put_table(shape->table, &table);
    pthread_mutex_lock(&catalog->lock);
    bool ok =
        run(catalog, "BEGIN IMMEDIATE", err) &&
        end_transaction(
            catalog, add_log(catalog, log, shape, buf_slice(&params), buf_slice(&table), err), err);
    pthread_mutex_unlock(&catalog->lock);
    buf_release(&params);
    buf_release(&table);
    return ok;
}

static bool set_tables(struct catalog *catalog, const uint64_t *ids, size_t n, uint64_t sum,
                       struct err *err)
{
    sqlite3_stmt *set = prepare(catalog, "UPDATE logs SET table_sum = ? WHERE id = ?", err);
    bool ok = set != NULL;

    for (size_t i = 0; ok && i < n; i++) {
        bind_u64(set, 1, sum);
        bind_u64(set, 2, ids[i]);
        ok = step_done(catalog, set, err) &&
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
    bool ok = run(catalog, "BEGIN IMMEDIATE", err) &&
              end_transaction(catalog,
                              insert_table(catalog, table->relid, buf_slice(&body), sum, err) &&
                                  set_tables(catalog, ids, n, sum, err),
                              err);
    pthread_mutex_unlock(&catalog->lock);
    buf_release(&body);
    return ok;
}

static bool delete_log(struct catalog *catalog, uint64_t id, struct err *err)
{
    sqlite3_stmt *stmt = prepare(catalog, "DELETE FROM logs WHERE id = ?", err);

    if (!stmt)
        return false;
    bind_u64(stmt, 1, id);
    bool ok = step_done(catalog, stmt, err);
    sqlite3_finalize(stmt);
    return ok;
}

static bool each_log(struct catalog *catalog,
                     void (*each)(void *context, const struct catalog_log *log), void *context,
                     struct err *err)
{
    sqlite3_stmt *stmt = prepare(catalog, "SELECT * FROM logs ORDER BY id", err);
    int step = SQLITE_DONE;
    bool ok = stmt != NULL;

    while (ok && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct catalog_log log = {
            .id = column_u64(stmt, LOGS_ID),
            .handle = column_bytes(stmt, LOGS_HANDLE),
            .registered = column_u64(stmt, LOGS_REGISTERED),
            .limit = column_u64(stmt, LOGS_LIMIT),
            .snapshot = column_bytes(stmt, LOGS_SNAPSHOT),
            .snapshot_bytes = column_u64(stmt, LOGS_SNAPSHOT_BYTES),
            .chunk_size = column_u64(stmt, LOGS_CHUNK_SIZE),
        };

        if (row_sum(stmt) == column_u64(stmt, LOGS_SUM)) {
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
    struct slice bytes = column_bytes(stmt, i);

    return bytes.ptr ? arena_copy(arena, bytes) : bytes;
}

static bool read_request(sqlite3_stmt *stmt, struct arena *arena, struct shape_request *request)
{
    *request = (struct shape_request){
        .table = column_copy(stmt, LOGS_TABLE, arena),
        .where = column_copy(stmt, LOGS_WHERE, arena),
        .columns = column_copy(stmt, LOGS_COLUMNS, arena),
        .replica = column_u64(stmt, LOGS_REPLICA) ? SHAPE_REPLICA_FULL : SHAPE_REPLICA_DEFAULT,
        .changes_only = column_u64(stmt, LOGS_CHANGES_ONLY) != 0,
        .keyed_by_identity = column_u64(stmt, LOGS_KEYED_BY_IDENTITY) != 0,
    };
    return read_params(column_bytes(stmt, LOGS_PARAMS), arena, &request->params);
}

static struct table *get_table(struct catalog *catalog, uint64_t relid, uint64_t sum,
                               struct err *err)
{
    sqlite3_stmt *stmt =
        prepare(catalog, "SELECT body FROM tables WHERE relid = ? AND sum = ?", err);
    struct table *table = NULL;

    if (!stmt)
        return NULL;
    bind_u64(stmt, 1, relid);
    bind_u64(stmt, 2, sum);
    if (sqlite3_step(stmt) == SQLITE_ROW && hash_bytes(column_bytes(stmt, 0)) == sum)
        table = catalog_read_table(column_bytes(stmt, 0), err);
    else
        err_set(err, ERR_CORRUPT, "catalogue: the description of table %llu is damaged",
                (unsigned long long)relid);
    sqlite3_finalize(stmt);
    return table;
}

static bool get_definition(struct catalog *catalog, uint64_t id, struct arena *arena,
                           struct shape_request *request, struct table **table, struct err *err)
{
    sqlite3_stmt *stmt = prepare(catalog, "SELECT * FROM logs WHERE id = ?", err);

    if (!stmt)
        return false;
    bind_u64(stmt, 1, id);
    if (sqlite3_step(stmt) != SQLITE_ROW || row_sum(stmt) != column_u64(stmt, LOGS_SUM) ||
        !read_request(stmt, arena, request)) {
        sqlite3_finalize(stmt);
        return err_set(err, ERR_CORRUPT, "catalogue: the row of log %llu is missing or damaged",
                       (unsigned long long)id);
    }
    *table =
        get_table(catalog, column_u64(stmt, LOGS_RELID), column_u64(stmt, LOGS_TABLE_SUM), err);
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

/* ---- segments -------------------------------------------------------------------------------- */

bool catalog_each_segment(struct catalog *catalog,
                          void (*each)(void *context, const struct catalog_segment *segment),
                          void *context, struct err *err)
{
    int step = SQLITE_DONE;

    pthread_mutex_lock(&catalog->lock);
    sqlite3_stmt *stmt =
        prepare(catalog, "SELECT number, kind, logs FROM segments ORDER BY number", err);
    bool ok = stmt != NULL;

    while (ok && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct catalog_segment segment = {(uint32_t)column_u64(stmt, 0),
                                          (uint32_t)column_u64(stmt, 1), column_bytes(stmt, 2)};

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
    sqlite3_stmt *stmt = n ? prepare(catalog, sql, err) : NULL;
    bool ok = n == 0 || stmt;

    for (size_t i = 0; ok && i < n; i++) {
        bind_u64(stmt, 1, segments[i].number);
        bind_u64(stmt, 2, segments[i].kind);
        bind_blob(stmt, 3, segments[i].logs);
        ok = step_done(catalog, stmt, err);
    }
    sqlite3_finalize(stmt);
    return ok;
}

static bool drop_segments(struct catalog *catalog, const uint32_t *numbers, size_t n,
                          struct err *err)
{
    sqlite3_stmt *stmt = n ? prepare(catalog, "DELETE FROM segments WHERE number = ?", err) : NULL;
    bool ok = n == 0 || stmt;

    for (size_t i = 0; ok && i < n; i++) {
        bind_u64(stmt, 1, numbers[i]);
        ok = step_done(catalog, stmt, err);
    }
    sqlite3_finalize(stmt);
    return ok;
}

static bool drop_logs(struct catalog *catalog, const uint64_t *ids, size_t n, struct err *err)
{
    sqlite3_stmt *stmt = n ? prepare(catalog, "DELETE FROM logs WHERE id = ?", err) : NULL;
    bool ok = n == 0 || stmt;

    for (size_t i = 0; ok && i < n; i++) {
        bind_u64(stmt, 1, ids[i]);
        ok = step_done(catalog, stmt, err);
    }
    sqlite3_finalize(stmt);
    return ok;
}

static bool set_mark(struct catalog *catalog, const struct catalog_mark *mark, struct err *err)
{
    struct catalog_stream stream;

    if (!mark)
        return true;
    if (!get_stream(catalog, &stream, err))
        return false;
    stream.mark = *mark;
    return put_stream(catalog, &stream, err);
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
    bool ok = run(catalog, "BEGIN IMMEDIATE", err) &&
              end_transaction(catalog, apply(catalog, batch, err), err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}
