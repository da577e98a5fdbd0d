/*
 * The replication stream: opens the feed, decodes pgoutput and gives
 * transactions to a sink. Runs on the stream thread until it is told to stop; a
 * feed that broke is opened again with backoff.
 *
 *     STARTING -> WAITING -> STREAMING     waiting: another bridge holds the slot
 *         ^------------------'             any failure: back, with a pause
 *
 * Feedback goes out on its own clock, from the same thread, which never
 * blocks for long: flush is min(what the sink needs not again, what every new snapshot sees), so
 * the slot never moves past what is durable; on an idle server keepalives move it.
 */
#ifndef WAL_RECEIVER_H
#define WAL_RECEIVER_H

#include "change/unseen.h"
#include "wal/feed.h"
#include "wal/sink.h"

#include <stdatomic.h>

/* Why the stream is not read for the time being. */
enum receiver_hold {
    RECEIVER_FLOWS,
    RECEIVER_DISK_FULL, /* the sink has no room */
    RECEIVER_UNSEEN,    /* too many transactions of which nobody has found out who sees them */
};

enum receiver_state { RECEIVER_STARTING, RECEIVER_WAITING, RECEIVER_STREAMING, RECEIVER_FAILED };

struct receiver_config {
    struct feed *feed; /* borrowed, and the receiver's alone */
    struct wal_sink *sink;
    struct unseen *unseen; /* shared with the snapshot workers */
    size_t max_unseen;     /* the stream waits when it has more */
};

/* Figures and states for other threads; all relaxed atomics. */
struct receiver_stats {
    _Atomic int state; /* enum receiver_state */
    _Atomic int hold;  /* enum receiver_hold */
    atomic_uint_fast64_t received_bytes, received_lsn, confirmed_lsn, server_lsn, transactions,
        changes, reconnects, errors;
    /* Transactions up to this LSN were there when the connection was made: until the sink's
     * position has passed it, clients may be ahead of us. */
    atomic_uint_fast64_t catchup_lsn;
    atomic_int_fast64_t commit_time_us,
        receive_time_us; /* of the last commit received, and when it was */
};

struct receiver;

struct receiver *receiver_new(const struct receiver_config *config, struct err *err) MUST_CHECK;
void receiver_free(struct receiver *receiver);
/* Runs until receiver_stop(). */
void receiver_run(struct receiver *receiver);
/* Any thread: wakes it, so that it calls settle() soon. Safe in a signal handler. */
void receiver_wake(struct receiver *receiver);
/* Any thread: end after a last feedback. */
void receiver_stop(struct receiver *receiver);
/* Any thread: disconnect and connect again. The server is shutting down and must not wait for us,
 * or slot and publication are to be looked at anew. */
void receiver_disconnect(struct receiver *receiver);
const struct receiver_stats *receiver_get_stats(const struct receiver *receiver);
/* From within a call of the sink that had no room: waits a little, giving feedback. True: try
 * again. False, with the error, when the stream is to end. */
bool receiver_wait_for_room(struct receiver *receiver, struct err *err) MUST_CHECK;
/* Any thread: where the server's WAL ends, found out otherwise. Under load the stream itself hardly
 * tells. */
void receiver_note_server_lsn(struct receiver *receiver, lsn_t lsn);
/* For people; NULL while it flows. */
const char *receiver_hold_text(const struct receiver *receiver);
/* Any thread: the last failure's text. */
void receiver_last_error(struct receiver *receiver, char text[512]);

#endif
