/* Opening the catalogue, and the row of the stream. */
#include "shapelog/catalog_sql.h"
#include "base/hash.h"
#include "base/logging.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

/* ---- opening --------------------------------------------------------------------------------- */

/* Folders that were made before chunk sizes were kept. */
static bool add_chunk_size(struct catalog *catalog, struct err *err)
{
    sqlite3_stmt *stmt = sql_prepare(
        catalog, "SELECT 1 FROM pragma_table_info('logs') WHERE name = 'chunk_size'", err);

    if (!stmt)
        return false;
    int step = sqlite3_step(stmt);
    bool ok = step == SQLITE_ROW || step == SQLITE_DONE || sql_fail(catalog, err);

    sqlite3_finalize(stmt);
    if (ok && step == SQLITE_DONE)
        ok = sql_run(catalog, "ALTER TABLE logs ADD COLUMN chunk_size INTEGER", err);
    return ok;
}

static bool open_db(struct catalog *catalog, const char *path, struct err *err)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(path, &catalog->db, flags, NULL) != SQLITE_OK)
        return sql_fail(catalog, err);
    sqlite3_busy_timeout(catalog->db, 5000);
    /* A small cache: its pages are read once, at the start. */
    return sql_run(catalog,
                   "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-256;",
                   err) &&
           sql_run(catalog, schema, err) && add_chunk_size(catalog, err);
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
    copy_text(s->source.system_id, sizeof(s->source.system_id), sql_bytes(stmt, 0));
    s->source.timeline = (uint32_t)sql_u64(stmt, 1);
    copy_text(s->source.slot, sizeof(s->source.slot), sql_bytes(stmt, 2));
    s->mark = (struct catalog_mark){sql_u64(stmt, 3), sql_u64(stmt, 4), (uint32_t)sql_u64(stmt, 5),
                                    sql_u64(stmt, 6)};
    s->next_id = sql_u64(stmt, 7);
    if (stream_sum(s) != sql_u64(stmt, 8))
        return err_set(err, ERR_CORRUPT, "catalogue: the row of the stream is damaged");
    return true;
}

bool catalog_read_stream(struct catalog *catalog, struct catalog_stream *stream, struct err *err)
{
    sqlite3_stmt *stmt =
        sql_prepare(catalog,
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
    bool ok = catalog_read_stream(catalog, stream, err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

bool catalog_put_stream(struct catalog *catalog, const struct catalog_stream *s, struct err *err)
{
    sqlite3_stmt *stmt =
        sql_prepare(catalog, "REPLACE INTO stream VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)", err);

    if (!stmt)
        return false;
    sql_bind_text(stmt, 1, slice_of(s->source.system_id));
    sql_bind_u64(stmt, 2, s->source.timeline);
    sql_bind_text(stmt, 3, slice_of(s->source.slot));
    sql_bind_u64(stmt, 4, s->mark.end_lsn);
    sql_bind_u64(stmt, 5, s->mark.last_commit);
    sql_bind_u64(stmt, 6, s->mark.segment);
    sql_bind_u64(stmt, 7, s->mark.offset);
    sql_bind_u64(stmt, 8, s->next_id);
    sql_bind_u64(stmt, 9, stream_sum(s));
    bool ok = sql_step(catalog, stmt, err);
    sqlite3_finalize(stmt);
    return ok;
}

bool catalog_set_source(struct catalog *catalog, const struct shapelog_source *source,
                        struct err *err)
{
    struct catalog_stream stream;

    pthread_mutex_lock(&catalog->lock);
    bool ok = catalog_read_stream(catalog, &stream, err);
    if (ok) {
        stream.source = *source;
        ok = catalog_put_stream(catalog, &stream, err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

bool catalog_reserve_ids(struct catalog *catalog, uint64_t next_id, struct err *err)
{
    struct catalog_stream stream;

    pthread_mutex_lock(&catalog->lock);
    bool ok = catalog_read_stream(catalog, &stream, err);
    if (ok && stream.next_id < next_id) {
        stream.next_id = next_id;
        ok = catalog_put_stream(catalog, &stream, err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}

/* A stream's row that is damaged is no hindrance: it is written anew, with the highest id. */
static bool reset(struct catalog *catalog, struct err *err)
{
    struct catalog_stream stream;
    struct err ignored;

    if (!catalog_read_stream(catalog, &stream, &ignored)) {
        uint64_t id = stream.next_id;

        stream = (struct catalog_stream){.next_id = id};
    }
    stream.mark = (struct catalog_mark){0};
    return catalog_put_stream(catalog, &stream, err) &&
           sql_run(catalog, "DELETE FROM logs; DELETE FROM segments; DELETE FROM tables", err);
}

bool catalog_reset(struct catalog *catalog, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    bool ok =
        sql_run(catalog, "BEGIN IMMEDIATE", err) && sql_end(catalog, reset(catalog, err), err);
    pthread_mutex_unlock(&catalog->lock);
    return ok;
}
