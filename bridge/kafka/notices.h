/*
 * Records that are no table's, as Debezium has them:
 *
 *     <prefix>.transaction             BEGIN and END, with how many events a transaction has
 *     <prefix>.message                 what pg_logical_emit_message() wrote: op m
 *     __debezium-heartbeat.<prefix>    the time
 *
 * Made once, immutable, for any thread. The records' bytes are in `out`, which is cleared first.
 */
#ifndef KAFKA_NOTICES_H
#define KAFKA_NOTICES_H

#include "kafka/envelope.h"

/* What END counts messages under. */
#define NOTICES_MESSAGE_COLLECTION "LOGICAL_DECODING_MESSAGE"

struct notices;

struct notices *notices_new(const struct envelope_settings *settings, struct arena *arena);

struct notices_count {
    struct slice nspname, relname; /* the first empty: it stands under the second alone */
    uint64_t n;
};

bool notices_put_begin(const struct notices *notices, const struct txn *txn, struct buf *out,
                       struct envelope_records *records, struct err *err) MUST_CHECK;
/* `counts`: of each table of which events were published. */
bool notices_put_end(const struct notices *notices, const struct txn *txn,
                     const struct notices_count *counts, size_t n, struct buf *out,
                     struct envelope_records *records, struct err *err) MUST_CHECK;
bool notices_put_message(const struct notices *notices, struct slice prefix, struct slice content,
                         const struct envelope_place *place, struct buf *out,
                         struct envelope_records *records, struct err *err) MUST_CHECK;
bool notices_put_heartbeat(const struct notices *notices, int64_t now_us, struct buf *out,
                           struct envelope_records *records, struct err *err) MUST_CHECK;

#endif
