/*
 * The tables' topics, as Debezium's connector for Postgres writes them: changes of the tables that
 * were chosen, as envelopes (kafka/envelope.h) into `<prefix>.<schema>.<table>`, through the
 * publisher's outlet.
 *
 *     stream thread        topics_*: which topic, which envelope, are the first rows published?
 *     survey (a thread)    brings the chosen tables into the publication, one after the other, and
 *                          offers those whose first rows are wanted (kafka/survey.h)
 *     publishing thread    first rows: a barrier in the outlet (kafka/first_rows.h)
 *
 * Rows of partitions go to their root's topic, in the root's columns' order. A relation that is
 * announced anew gets an envelope of its own.
 *
 * First rows (snapshot=initial). Of a table whose first rows are not published no changes are. When
 * the stream has settled and the outlet is open, the stream takes a snapshot; if it sees every
 * transaction that was decoded so far (change/unseen.h), its rows are put into the outlet as a
 * barrier, and from here on all changes are published that the snapshot does not see. So each is
 * there once: before the rows, in them, or behind them. Once the broker has them for good, the
 * table and its snapshot are remembered in data_dir (kafka/progress.h).
 */
#ifndef KAFKA_TOPICS_H
#define KAFKA_TOPICS_H

#include "change/change.h"
#include "change/relation.h"
#include "change/unseen.h"
#include "kafka/outlet.h"
#include "kafka/values.h"

struct topics;

struct topics_config {
    const char *conninfo, *publication, *data_dir;
    const char *prefix;
    const char *tables;    /* "*", or patterns schema.table with * in them, commas in between */
    struct unseen *unseen; /* what a snapshot may miss */
    bool first_rows;       /* snapshot=initial */
    bool manual_publishing;
    int lock_timeout_ms;
    int64_t look_every_ms; /* for new tables */
    struct value_modes modes;
    const char *placeholder;
    bool schemas, no_tombstones, transaction_metadata, without_before;
    const char *skipped;       /* letters of operations, with commas in between */
    int64_t heartbeat_ms;      /* 0: none */
    size_t message_max;        /* of key, value and headers */
    void (*wake)(void *owner); /* any thread: let the stream settle soon */
    void *owner;
};

struct topics *topics_new(const struct topics_config *config, struct err *err) MUST_CHECK;
/* Where records go; before the first of the calls below. */
void topics_set_outlet(struct topics *topics, struct outlet *outlet);
/* Any thread: the survey ends soon. */
void topics_stop(struct topics *topics);
/* After the outlet has been freed: what is in it may be ours. */
void topics_free(struct topics *topics);
/* Forgets what was published in this folder, for when it is not any more. */
void topics_forget_folder(const char *data_dir);

/* ---- the stream's thread --------------------------------------------------------------------- */

/* As a wal_sink's. They put into the outlet what is to be published, and mark nothing; that the
 * outlet closed meanwhile is no error. A false is: a record that cannot be made or is too large, or
 * Postgres could not be asked what a table is like. Transactions that the topics have already are
 * not to be passed, but relations always are. */
void topics_connected(struct topics *topics);
void topics_begin(struct topics *topics, const struct txn *txn);
void topics_relation(struct topics *topics, const struct relation *relation);
bool topics_change(struct topics *topics, const struct relation *relation,
                   const struct change *change, struct err *err) MUST_CHECK;
bool topics_truncate(struct topics *topics, const uint32_t *relids, uint32_t n,
                     struct err *err) MUST_CHECK;
bool topics_message(struct topics *topics, struct slice prefix, struct slice content,
                    struct err *err) MUST_CHECK;
bool topics_commit(struct topics *topics, const struct txn *txn, struct err *err) MUST_CHECK;
void topics_rollback(struct topics *topics);
/* The outlet is open, and the stream has come to where the topics were, or further. What is put
 * here belongs to positions beyond `end_lsn`. */
bool topics_settle(struct topics *topics, lsn_t end_lsn, struct err *err) MUST_CHECK;
/* Between connections: the slot has a gap. All first rows are wanted again. */
void topics_reset(struct topics *topics);

#endif
