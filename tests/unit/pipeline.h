/*
 * The stream's way without Postgres: pgoutput's bytes made in memory, decoded, routed by the index,
 * encoded, appended to a real shape log and published, as the receiver would have it done.
 *
 *     struct pipeline *p = pipeline_new();
 *     pipeline_follow(p, "owner_id = 7");
 *     pipeline_make(p, 1000, 50000);     // a transaction of 1000 inserts, of 50000 owners by turns
 *     pipeline_run(p);                   // as often as one likes: each time at a later position
 *     pipeline_free(p);
 *
 * The table is that of ./dev bench (tests/bench/workload.py): 12 columns, 245 bytes as text, and
 * `tags`, an array, beside them. One thread. Whatever fails ends the process.
 */
#ifndef TESTS_UNIT_PIPELINE_H
#define TESTS_UNIT_PIPELINE_H

#include "base/hash.h"
#include "base/reader.h"
#include "change/pgoutput.h"
#include "fanout/fanout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPELINE_RELID 16384
#define PIPELINE_NCOLUMNS 13
#define PIPELINE_TEXT_MAX 128

struct pipeline {
    char dir[64];
    struct shapelog *store;
    struct fanout *fanout;
    struct table *table;
    struct relation relation;
    struct relation_column columns[PIPELINE_NCOLUMNS];
    struct arena arena;  /* one message */
    struct buf messages; /* of the transaction, each with its length in front (u32) */
    struct log **logs;   /* followed */
    size_t nlogs, caplogs;
    lsn_t lsn;
    uint64_t rows; /* in the transaction */
};

struct pipeline_column {
    const char *name, *typname;
    uint32_t typid;
};

static const struct pipeline_column pipeline_columns[PIPELINE_NCOLUMNS] = {
    {"id", "int8", 20},
    {"org_id", "int4", 23},
    {"owner_id", "int4", 23},
    {"title", "text", 25},
    {"status", "text", 25},
    {"priority", "int4", 23},
    {"price", "numeric", 1700},
    {"created_at", "timestamptz", 1184},
    {"updated_at", "timestamptz", 1184},
    {"done", "bool", 16},
    {"meta", "jsonb", 3802},
    {"body", "text", 25},
    {"tags", "_int4", 1007},
};

static inline void pipeline_check(bool ok, const struct err *err)
{
    if (ok)
        return;
    fprintf(stderr, "pipeline: %s\n", err->msg);
    exit(1);
}

static inline bool pipeline_resolve(void *owner, uint32_t relid, struct arena *arena,
                                    uint32_t **ancestors, size_t *n, struct err *err)
{
    (void)owner, (void)relid, (void)arena, (void)ancestors, (void)err;
    *n = 0;
    return true;
}

static inline struct table *pipeline_table(void)
{
    struct table *t = table_new();

    t->relid = PIPELINE_RELID;
    t->nspname = SLICE("public");
    t->relname = SLICE("items");
    t->relkind = 'r';
    t->replident = REPLIDENT_FULL;
    t->ncols = PIPELINE_NCOLUMNS;
    t->cols = arena_calloc(&t->arena, PIPELINE_NCOLUMNS, sizeof(*t->cols));
    for (int16_t i = 0; i < PIPELINE_NCOLUMNS; i++) {
        const struct pipeline_column *column = &pipeline_columns[i];

        t->cols[i] = (struct table_column){.name = slice_of(column->name),
                                           .attnum = (int16_t)(i + 1),
                                           .typid = column->typid,
                                           .typmod = -1,
                                           .typname = slice_of(column->typname),
                                           .class = TYPE_BASE,
                                           .basetypid = column->typid,
                                           .basetypmod = -1,
                                           .basetypname = slice_of(column->typname),
                                           .pk_index = i == 0 ? 0 : -1,
                                           .not_null = i == 0,
                                           .in_identity = true,
                                           .collation_is_c = true,
                                           .collation_deterministic = true};
    }
    t->npk = 1;
    t->pk = arena_calloc(&t->arena, 1, sizeof(*t->pk));
    return t;
}

static inline void pipeline_describe(struct pipeline *p)
{
    for (size_t i = 0; i < PIPELINE_NCOLUMNS; i++)
        p->columns[i] = (struct relation_column){slice_of(pipeline_columns[i].name),
                                                 pipeline_columns[i].typid, -1, true};
    p->relation = (struct relation){PIPELINE_RELID, SLICE("public"),   SLICE("items"),
                                    REPLIDENT_FULL, PIPELINE_NCOLUMNS, p->columns};
}

static inline struct pipeline *pipeline_new(void)
{
    struct pipeline *p = xcalloc(1, sizeof(*p));
    struct err err;

    snprintf(p->dir, sizeof(p->dir), "/tmp/pipeline-XXXXXX");
    if (!mkdtemp(p->dir))
        pipeline_check(false, (err_set(&err, ERR_IO, "%s", p->dir), &err));
    /* The syncer has nothing to do with what is measured: it sleeps. */
    p->store =
        shapelog_open(&(struct shapelog_config){.dir = p->dir, .sync_interval_ms = 3600000}, &err);
    pipeline_check(p->store != NULL, &err);
    pipeline_check(shapelog_reset(p->store, "pipeline", &err), &err);
    p->fanout = fanout_new(p->store, pipeline_resolve, NULL);
    p->table = pipeline_table();
    p->lsn = 1000;
    pipeline_describe(p);
    buf_init(&p->messages, BUF_NO_LIMIT);
    return p;
}

static inline void pipeline_free(struct pipeline *p)
{
    char command[96];

    for (size_t i = 0; i < p->nlogs; i++)
        log_unref(p->logs[i]);
    free(p->logs);
    fanout_free(p->fanout);
    table_unref(p->table);
    shapelog_close(p->store);
    arena_release(&p->arena);
    buf_release(&p->messages);
    snprintf(command, sizeof(command), "rm -rf %s", p->dir);
    if (system(command) != 0)
        fprintf(stderr, "pipeline: %s is left behind\n", p->dir);
    free(p);
}

/* A shape of the table with this clause, "" for all rows, and its log. */
static inline struct shape *pipeline_shape(struct pipeline *p, const char *where)
{
    const char *field;
    struct err err;
    struct shape *shape =
        shape_new(&(struct shape_request){.table = SLICE("items"), .where = slice_of(where)},
                  p->table, &field, &err);

    pipeline_check(shape != NULL, &err);
    return shape;
}

static inline void pipeline_follow(struct pipeline *p, const char *where)
{
    struct shape *shape = pipeline_shape(p, where);
    struct err err;
    bool made;
    struct log *log = shapelog_create(p->store, shape, &made, &err);

    pipeline_check(log != NULL, &err);
    shape_unref(shape);
    log_register(log, 0);
    fanout_add(p->fanout, log);
    if (p->nlogs == p->caplogs) {
        p->caplogs = p->caplogs ? p->caplogs * 2 : 16;
        p->logs = xrealloc(p->logs, p->caplogs * sizeof(struct log *));
    }
    p->logs[p->nlogs++] = log;
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct pipeline_row {
    struct tuple tuple;
    struct value values[PIPELINE_NCOLUMNS];
    char texts[PIPELINE_NCOLUMNS][PIPELINE_TEXT_MAX];
};

/* The n-th row there can be, of one of so many owners. */
static inline void pipeline_row(struct pipeline_row *row, uint64_t n, uint64_t owners)
{
    static const char *const words[] = {"open", "closed", "pending", "review"};
    char(*t)[PIPELINE_TEXT_MAX] = row->texts;
    const size_t size = PIPELINE_TEXT_MAX;
    uint64_t h = hash_u64(n);

    snprintf(t[0], size, "%" PRIu64, n);
    snprintf(t[1], size, "%" PRIu64, n % 1000);
    snprintf(t[2], size, "%" PRIu64, h % owners);
    snprintf(t[3], size, "Item title number %" PRIu64 " lorem ipsum", n);
    snprintf(t[4], size, "%s", words[n % 4]);
    snprintf(t[5], size, "%" PRIu64, n % 5);
    snprintf(t[6], size, "%" PRIu64 ".%02" PRIu64, n % 1000, n % 100);
    snprintf(t[7], size, "2026-01-%02" PRIu64 " 01:02:03.%06" PRIu64 "+00", 1 + n % 28,
             n % 1000000);
    snprintf(t[8], size, "2026-02-%02" PRIu64 " 04:05:06.%06" PRIu64 "+00", 1 + n % 28,
             n % 1000000);
    snprintf(t[9], size, "%s", n % 3 ? "f" : "t");
    snprintf(t[10], size, "{\"n\": %" PRIu64 ", \"ok\": true, \"tag\": \"t%" PRIu64 "\"}", n % 1001,
             n % 17);
    for (int i = 0; i < 4; i++)
        snprintf(t[11] + i * 16, size - (size_t)i * 16, "%016" PRIx64, h);
    snprintf(t[12], size, "{%" PRIu64 ",%" PRIu64 "}", h % owners, (h + 1) % owners);
    for (size_t i = 0; i < PIPELINE_NCOLUMNS; i++)
        row->values[i] = (struct value){VALUE_TEXT, slice_of(t[i])};
    row->tuple = (struct tuple){PIPELINE_NCOLUMNS, row->values};
}

static inline void pipeline_put(struct pipeline *p, const struct pgoutput *message)
{
    size_t at = p->messages.len;

    buf_put_u32(&p->messages, 0);
    pgoutput_write(&p->messages, message);
    buf_set_u32(&p->messages, at, (uint32_t)(p->messages.len - at - 4));
}

/* The transaction that pipeline_run() gives: `n` inserts, the rows from the `first` on. */
static inline void pipeline_make_from(struct pipeline *p, uint64_t first, uint64_t n,
                                      uint64_t owners)
{
    struct pipeline_row row;
    struct pgoutput message = {
        .kind = PGOUTPUT_INSERT,
        .change = {.op = CHANGE_INSERT, .relid = PIPELINE_RELID, .new = &row.tuple}};

    buf_clear(&p->messages);
    p->rows = n;
    for (uint64_t i = 0; i < n; i++) {
        pipeline_row(&row, first + i, owners);
        pipeline_put(p, &message);
    }
}

static inline void pipeline_make(struct pipeline *p, uint64_t n, uint64_t owners)
{
    pipeline_make_from(p, 1, n, owners);
}

/* ---- the receiver's part --------------------------------------------------------------------- */

static inline void pipeline_run(struct pipeline *p)
{
    const struct txn txn = {.commit_lsn = p->lsn, .end_lsn = p->lsn + 50, .xid = (uint32_t)p->lsn};
    struct reader in = reader_of(buf_slice(&p->messages));
    struct err err;

    p->lsn += 100;
    pipeline_check(fanout_begin(p->fanout, &txn, &err), &err);
    pipeline_check(fanout_relation(p->fanout, &p->relation, &err), &err);
    for (uint64_t i = 0; i < p->rows; i++) {
        uint32_t len = reader_u32(&in);
        struct pgoutput msg;

        arena_reset(&p->arena);
        pipeline_check(pgoutput_read(reader_slice(&in, len), &p->arena, &msg, &err), &err);
        pipeline_check(fanout_change(p->fanout, &p->relation, &msg.change, 2 * i, &err), &err);
    }
    pipeline_check(fanout_commit(p->fanout, &txn, &err), &err);
    pipeline_check(fanout_settle(p->fanout, txn.end_lsn - 1, txn.end_lsn, &err), &err);
}

#endif
