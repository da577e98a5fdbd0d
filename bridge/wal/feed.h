/*
 * Where the stream comes from: a walsender (wal/walsender.h), or the topic that a publisher writes
 * (kafka/source.h). The receiver opens it, takes what it brings one item at a time, gives feedback
 * and closes it; all on the stream thread:
 *
 *     ( open ( next | wait | feedback )* close )*
 *
 * Whatever it is, it brings pgoutput's messages in commit order, transaction by transaction, and
 * after `open` everything that the history below does not say is kept.
 */
#ifndef WAL_FEED_H
#define WAL_FEED_H

#include "base/err.h"
#include "base/slice.h"
#include "change/lsn.h"

#include <stdatomic.h>
#include <stdint.h>

struct timelines;

/* Where a connection starts. */
struct wal_place {
    char system_id[32];
    uint32_t timeline;
    const struct timelines *timelines; /* wal/timelines.h; borrowed until close(). NULL: the feed
                                          does not know them */
    lsn_t confirmed;   /* the slot's: every transaction that ends behind it is sent */
    lsn_t server_lsn;  /* where the server's WAL ended by then */
    lsn_t catchup_lsn; /* what lies before it may have been seen by clients */
};

/* ---- what is kept of the feed's history ------------------------------------------------------ */

struct feed_history {
    char system_id[32]; /* "" for nothing yet */
    uint32_t timeline;
    char slot[64];
    lsn_t lsn;     /* has been received up to here, and the slot was never told more; LSN_NONE when
                      nothing is held */
    lsn_t durable; /* from here on it must be sent again; LSN_NONE when nothing is held */
};

/* Who keeps it; called by open(). */
struct feed_keep {
    void *owner;
    void (*get)(void *owner, struct feed_history *history);
    /* Durable when it returns. `reset` with a reason: what is held belongs to another history, or
     * part of the stream was lost, so drop it; NULL: the history goes on, maybe under a new
     * timeline. */
    bool (*set)(void *owner, const struct feed_history *history, const char *reset,
                struct err *err);
};

/* ---- what it brings -------------------------------------------------------------------------- */

struct feed_item {
    enum feed_kind {
        FEED_MESSAGE,  /* of pgoutput */
        FEED_POSITION, /* where the stream stands; says nothing inside a transaction */
        FEED_VOID,     /* the transaction at hand is void, and comes again from its beginning */
    } kind;
    size_t size;          /* bytes that came, for the figures */
    lsn_t lsn;            /* of the message, or the position */
    struct slice message; /* borrowed until next() or close() */
    bool reply;           /* POSITION: feedback is wanted */
};

enum feed_got { FEED_NOTHING, FEED_ITEM, FEED_FAILED };

/* ---- the functions --------------------------------------------------------------------------- */

struct feed;

struct feed_ops {
    /* ERR_BUSY with *waiting: it is another's turn, or somebody has to make something first; try
     * again soon. `stop` is looked at during waits. */
    bool (*open)(struct feed *feed, const atomic_bool *stop, struct wal_place *place, bool *waiting,
                 struct err *err);
    /* `why` the stream ended. */
    void (*close)(struct feed *feed, const struct err *why);
    /* The next item, without waiting for it. */
    enum feed_got (*next)(struct feed *feed, struct feed_item *item, struct err *err);
    /* Until there is input (unless `input` is false), or `wake_fd` can be read, or for `ms`. */
    bool (*wait)(struct feed *feed, int wake_fd, bool input, int ms, struct err *err);
    /* Received up to here; at or below `flush` nothing is needed again. `ask`: it has been silent
     * for long, and is to bring a position soon. */
    bool (*feedback)(struct feed *feed, lsn_t received, lsn_t flush, bool ask, struct err *err);
};

struct feed {
    const struct feed_ops *ops;
};

#endif
