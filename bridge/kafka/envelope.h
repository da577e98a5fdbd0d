/*
 * Changes as Debezium's connector for Postgres publishes them, in the JSON that Kafka Connect's
 * converter writes: what goes into `<prefix>.<schema>.<table>`.
 *
 *     insert         c
 *     update         u; one that changes the key: d, tombstone, c, with the other key in a header
 *     delete         d, tombstone
 *     first rows     r
 *     truncate       t, without a key
 *
 * `before` is what the replica identity sends: all with FULL, of a delete the identity's columns
 * with DEFAULT. A TOASTed value that an update did not touch is taken from `before` when it is
 * there, else it is the placeholder. kafka/values.h has the forms of values.
 *
 * An envelope is made once for a table; it borrows nothing, is immutable, and may be used by any
 * thread. Tuples are in the table's column order.
 */
#ifndef KAFKA_ENVELOPE_H
#define KAFKA_ENVELOPE_H

#include "base/arena.h"
#include "base/buf.h"
#include "change/change.h"
#include "change/table.h"
#include "kafka/values.h"

#define ENVELOPE_PLACEHOLDER "__debezium_unavailable_value" /* unavailable.value.placeholder */
#define ENVELOPE_NEWKEY "__debezium.newkey"
#define ENVELOPE_OLDKEY "__debezium.oldkey"
#define ENVELOPE_MAX_RECORDS 3

struct envelope_settings {
    struct value_modes modes;
    struct slice placeholder;
    struct slice version; /* source.version */
    struct slice prefix;  /* source.name: topic.prefix */
    struct slice database;
    bool no_tombstones; /* tombstones.on.delete=false */
    bool schemas;       /* schemas.enable=true: kafka/schema.h before each key and value */
};

struct envelope;

struct envelope *envelope_new(const struct table *table, const struct envelope_settings *settings,
                              struct arena *arena);

/* Where an event stands in the stream. */
struct envelope_place {
    const struct txn *txn; /* xid 0: none */
    lsn_t lsn;             /* of the change itself, or its transaction's */
    lsn_t last_commit;     /* the commit before this transaction; LSN_NONE: null */
    int64_t now_us;        /* when it is published, microseconds since 1970 */
    const char *snapshot;  /* "false" in the stream; for first rows "true", of a table's first and
                              last one "first_in_data_collection", "last_in_data_collection" */
    bool no_before;        /* leave it out: the record would be too large */
    /* provide.transaction.metadata: the places among the transaction's events and among those of
     * the table, from 1; 0: no transaction block. Those of the change's first event. */
    uint64_t total_order, table_order;
};

/* One record to produce; slices are borrowed from the buffer that it was written to. */
struct envelope_record {
    bool has_key, has_value; /* without a value it is a tombstone */
    struct slice key, value;
    const char *header; /* its name, or NULL; its value is the key of another record */
    struct slice header_value;
};

struct envelope_records {
    size_t n;
    unsigned nevents; /* how many of them count in their transaction: all but tombstones */
    struct envelope_record records[ENVELOPE_MAX_RECORDS];
};

/* The records of a change, their bytes in `out`, which is cleared first. */
bool envelope_put_change(const struct envelope *envelope, const struct change *change,
                         const struct envelope_place *place, struct buf *out,
                         struct envelope_records *records, struct err *err) MUST_CHECK;
/* A row of the table as it was when publishing began. */
bool envelope_put_row(const struct envelope *envelope, const struct tuple *row,
                      const struct envelope_place *place, struct buf *out,
                      struct envelope_records *records, struct err *err) MUST_CHECK;
bool envelope_put_truncate(const struct envelope *envelope, const struct envelope_place *place,
                           struct buf *out, struct envelope_records *records,
                           struct err *err) MUST_CHECK;

/* ---- for kafka/notices.c --------------------------------------------------------------------- */

/* `"source":{...}` */
void envelope_put_source(const struct envelope *envelope, const struct envelope_place *place,
                         struct buf *out);
/* "571:53195832": the transaction's id, as in each event's block. */
void envelope_put_transaction_id(const struct txn *txn, struct buf *out);

#endif
