/*
 * Whoever takes the stream: the fan-out, and Kafka. The receiver calls it on
 * the stream thread, in this order:
 *
 *     connected  ( begin ( relation | change | truncate | message )* ( commit | rollback ) | settle
 * )*
 *
 * What is passed lives until the call returns, a relation until the next one of the same relid or
 * `connected`. A call that returns false ends the connection with err; the receiver connects again,
 * and Postgres sends everything since the confirmed position once more. ERR_DISK_FULL from settle()
 * is waited out, holding the slot; the other calls wait for room themselves
 * (receiver_wait_for_room()).
 */
#ifndef WAL_SINK_H
#define WAL_SINK_H

#include "base/err.h"
#include "change/change.h"
#include "change/relation.h"
#include "wal/feed.h"

struct wal_sink;

struct wal_sink_ops {
    /* A connection starts streaming: forget relations. */
    void (*connected)(struct wal_sink *sink, const struct wal_place *place);
    bool (*begin)(struct wal_sink *sink, const struct txn *txn, struct err *err);
    /* Announced, or announced anew with something changed. */
    bool (*relation)(struct wal_sink *sink, const struct relation *relation, struct err *err);
    /* `op` counts the transaction's changes by twos from 0: the second half of an offset. */
    bool (*change)(struct wal_sink *sink, const struct relation *relation,
                   const struct change *change, uint64_t op, struct err *err);
    bool (*truncate)(struct wal_sink *sink, const uint32_t *relids, uint32_t n, struct err *err);
    /* A transactional logical message, prefix and content, in its place within the transaction. */
    bool (*message)(struct wal_sink *sink, struct slice prefix, struct slice content,
                    struct err *err);
    bool (*commit)(struct wal_sink *sink, const struct txn *txn, struct err *err);
    /* The connection ended inside a transaction. */
    void (*rollback)(struct wal_sink *sink);
    /* Outside a transaction, when no more input is at hand: every transaction with a commit LSN at
     * or below `position` has been given, and the stream stands at `end_lsn`. Publish it. Also
     * called now and then when nothing moved. */
    bool (*settle)(struct wal_sink *sink, lsn_t position, lsn_t end_lsn, struct err *err);
    /* The end LSN up to which nothing is needed again: what the slot may be told. */
    lsn_t (*confirmable)(struct wal_sink *sink);
};

struct wal_sink {
    const struct wal_sink_ops *ops;
    /* pgoutput's own bytes of what begin, relation, change, truncate, message or commit passes, for
     * who hands them on; as long as that. */
    struct slice message;
};

#endif
