/*
 * What the replica's tests share: a file in a folder of its own, a stream made from
 * short words, and questions to the file by a connection of another reader.
 */
#ifndef TESTS_REPLICA_KIT_H
#define TESTS_REPLICA_KIT_H

#include "base/arena.h"
#include "base/logging.h"
#include "replica/replica.h"

#include <inttypes.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define ITEMS                                                                                      \
    "{\"id\":{\"type\":\"int8\",\"pk_index\":0,\"not_null\":true},\"name\":{\"type\":\"text\"},"   \
    "\"qty\":{\"type\":\"int4\"}}"

struct kit {
    char folder[64], path[96];
    struct buf stream; /* what the bridge would send */
    struct buf body;
    struct err err;
};

static inline void kit_init(struct kit *k)
{
    memset(k, 0, sizeof(*k));
    logging_init(LOG_ERROR, LOG_LOGFMT);
    strcpy(k->folder, "/tmp/tombolo-replica-XXXXXX");
    assert_non_null(mkdtemp(k->folder));
    snprintf(k->path, sizeof(k->path), "%s/r.db", k->folder);
    buf_init(&k->stream, BUF_NO_LIMIT);
    buf_init(&k->body, BUF_NO_LIMIT);
}

static inline void kit_release(struct kit *k)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-tombolo"};

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char name[128];

        snprintf(name, sizeof(name), "%s%s", k->path, suffixes[i]);
        unlink(name);
    }
    rmdir(k->folder);
    buf_release(&k->stream);
    buf_release(&k->body);
}

/* ---- the bridge's words ---- */

static inline void say_open(struct kit *k, int shape, const char *handle, const char *schema,
                            bool snapshot)
{
    buf_printf(&k->stream,
               "{\"open\":{\"shape\":%d,\"handle\":\"%s\",\"table\":[\"public\",\"x\"],"
               "\"schema\":%s,\"snapshot\":%s}}\n",
               shape, handle, schema, snapshot ? "true" : "false");
}

/* The same of a table that may be written. */
static inline void say_open_writable(struct kit *k, int shape, const char *handle,
                                     const char *schema, bool snapshot)
{
    buf_printf(&k->stream,
               "{\"open\":{\"shape\":%d,\"handle\":\"%s\",\"table\":[\"public\",\"x\"],"
               "\"schema\":%s,\"snapshot\":%s,\"writes\":[\"insert\",\"update\",\"delete\"]}}\n",
               shape, handle, schema, snapshot ? "true" : "false");
}

/* One message in a line of its own: op is insert, update or delete; value a JSON object. */
static inline void say(struct kit *k, int shape, const char *op, const char *value)
{
    buf_printf(&k->stream,
               "{\"shape\":%d,\"messages\":[{\"key\":\"k\",\"value\":%s,"
               "\"headers\":{\"operation\":\"%s\",\"relation\":[\"public\",\"x\"]}}]}\n",
               shape, value, op);
}

static inline void say_item(struct kit *k, int shape, const char *op, int id, const char *name,
                            int qty)
{
    char value[256];

    snprintf(value, sizeof(value), "{\"id\":\"%d\",\"name\":\"%s\",\"qty\":\"%d\"}", id, name, qty);
    say(k, shape, op, value);
}

static inline void say_snapshot_end(struct kit *k, int shape)
{
    buf_printf(&k->stream, "{\"snapshot_end\":{\"shape\":%d}}\n", shape);
}

static inline void say_commit(struct kit *k, uint64_t lsn)
{
    buf_printf(&k->stream,
               "{\"commit\":{\"lsn\":\"%" PRIu64 "\",\"consistent\":true,\"at\":\"1764144000\"}}\n",
               lsn);
}

/* The shape's first rows have been said, and show at this position. */
static inline void say_end(struct kit *k, int shape, uint64_t lsn)
{
    say_snapshot_end(k, shape);
    say_commit(k, lsn);
}

/* ---- the replica ---- */

static inline struct replica *kit_open(struct kit *k, const char *shape1, const char *shape2)
{
    struct replica_shape shapes[2];
    size_t n = shape2 ? 2 : 1;
    struct replica *r = replica_open(k->path, &k->err);

    if (!r)
        fail_msg("%s", k->err.msg);
    assert_true(replica_shape_parse(shape1, &shapes[0], &k->err));
    if (shape2)
        assert_true(replica_shape_parse(shape2, &shapes[1], &k->err));
    bool ok = replica_set_shapes(r, shapes, n, false, &k->err);
    for (size_t i = 0; i < n; i++)
        replica_shape_release(&shapes[i]);
    if (!ok) {
        replica_close(r);
        return NULL;
    }
    return r;
}

/* The test's last line. */
static inline void kit_done(struct kit *k, struct replica *r)
{
    replica_close(r);
    kit_release(k);
}

static inline const char *kit_request(struct kit *k, struct replica *r)
{
    assert_true(replica_request(r, true, &k->body, &k->err));
    return buf_cstr(&k->body);
}

/* The test's first line: a new file whose shapes have been asked for, so that the bridge may speak.
 */
static inline struct replica *kit_begin(struct kit *k, const char *shape1, const char *shape2)
{
    kit_init(k);
    struct replica *r = kit_open(k, shape1, shape2);

    kit_request(k, r);
    return r;
}

/* Feeds what was said in pieces of `piece` bytes and forgets it. */
static inline bool kit_try(struct kit *k, struct replica *r, size_t piece)
{
    bool ok = true;

    for (size_t at = 0; ok && at < k->stream.len; at += piece) {
        size_t n = k->stream.len - at < piece ? k->stream.len - at : piece;

        ok = replica_feed(r, k->stream.ptr + at, n, &k->err);
    }
    buf_clear(&k->stream);
    return ok;
}

static inline void kit_feed(struct kit *k, struct replica *r)
{
    if (!kit_try(k, r, SIZE_MAX / 4))
        fail_msg("%s", k->err.msg);
}

/* ---- another reader ---- */

static inline sqlite3 *kit_reader(struct kit *k)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(k->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return db;
}

/* The first column of all rows, joined by commas; NULL as "null". */
static inline const char *ask_of(sqlite3 *db, const char *sql)
{
    static char out[4096];
    sqlite3_stmt *stmt;
    size_t n = 0;
    int rc;

    out[0] = '\0';
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && n < sizeof(out) - 1) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);

        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s", n ? "," : "", text ? text : "null");
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_finalize(stmt);
    return out;
}

static inline const char *ask(struct kit *k, const char *sql)
{
    sqlite3 *db = kit_reader(k);
    const char *answer = ask_of(db, sql);

    sqlite3_close(db);
    return answer;
}

static inline void tell(struct kit *k, const char *sql)
{
    sqlite3 *db = kit_reader(k);

    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

#define assert_answer(k, sql, expected) assert_string_equal(ask(k, sql), expected)

#endif
