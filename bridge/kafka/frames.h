/*
 * The records of `<prefix>.stream`: Postgres's transactions, each as one record or several
 * (fragments) that stay below a limit. A record can be read without those before it.
 *
 *     value     { len:4 message }      pgoutput messages (change/pgoutput.h); the Relation messages
 *                                      that the record's changes need stand before them
 *     headers   epoch       the publisher's; a later one has a higher one
 *               commit_lsn  orders transactions
 *               end_lsn     in the last fragment; 0 before
 *               xid
 *               fragment    counts from 0
 *               last        1 in the last fragment, else 0
 *               history     kafka/publisher.h
 *
 * But for the history all headers are decimal texts. Begin is the first message of fragment 0,
 * Commit the last message of the last one. A heartbeat has no value: xid 0, and both LSNs are where
 * the stream stands.
 *
 * A publisher that was interrupted sends the transaction once more from fragment 0, in an epoch of
 * its own: a reader then forgets what it has of it. Records of an epoch below one that was seen
 * are void: a publisher that does not know yet that it has been replaced.
 */
#ifndef KAFKA_FRAMES_H
#define KAFKA_FRAMES_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/reader.h"
#include "change/change.h"

struct frames_record {
    uint64_t epoch;
    lsn_t commit_lsn, end_lsn;
    uint32_t xid, fragment;
    bool last;
    struct slice value; /* borrowed */
};

/* ---- headers --------------------------------------------------------------------------------- */

#define FRAMES_HISTORY "history"
enum { FRAMES_HISTORY_SIZE = 32 }; /* with its NUL; kept as a system id is */
enum { FRAMES_NHEADERS = 6 };      /* without the history */
enum { FRAMES_MAX_HEADERS = 16 };  /* that are looked at; further ones are passed over */

struct frames_header {
    struct slice name, value;
};

/* The record's headers; their texts are added to `out`, which must not be added to while they are
 * in use. */
void frames_put_headers(const struct frames_record *record, struct buf *out,
                        struct frames_header headers[FRAMES_NHEADERS]);
/* Fills the record but for its value. Unknown headers are passed over; one that is missing, twice
 * there or not a number is ERR_PROTOCOL. */
bool frames_read_headers(const struct frames_header *headers, size_t n,
                         struct frames_record *record, struct err *err) MUST_CHECK;
/* The history's text, borrowed; empty where there is none. */
struct slice frames_history(const struct frames_header *headers, size_t n);

/* ---- writing --------------------------------------------------------------------------------- */

/* Takes a record that is complete; it lives until the call returns. */
typedef bool frames_emit(void *owner, const struct frames_record *record, struct err *err);

struct frames_writer {
    uint64_t epoch;
    size_t limit; /* of a value, in bytes */
    frames_emit *emit;
    void *owner;
    struct u64map relations; /* relid: its last message */
    struct frames_record at; /* the record at hand */
    struct buf value;
    uint64_t nrecords; /* tells which relations the record at hand has */
};

void frames_writer_init(struct frames_writer *w, uint64_t epoch, size_t limit, frames_emit *emit,
                        void *owner);
void frames_writer_release(struct frames_writer *w);
/* A connection to Postgres starts: relations will be announced again. */
void frames_writer_connected(struct frames_writer *w);
/* A Relation message; it is written where a change needs it. */
void frames_writer_relation(struct frames_writer *w, uint32_t relid, struct slice message);
/* Begin; an unfinished transaction is forgotten. */
bool frames_writer_begin(struct frames_writer *w, const struct txn *txn, struct slice message,
                         struct err *err) MUST_CHECK;
/* A message of the transaction, with the relations that it names, which have been announced. One
 * that cannot be below the limit is ERR_LIMIT. */
bool frames_writer_add(struct frames_writer *w, const uint32_t *relids, size_t nrelids,
                       struct slice message, struct err *err) MUST_CHECK;
bool frames_writer_commit(struct frames_writer *w, const struct txn *txn, struct slice message,
                          struct err *err) MUST_CHECK;
/* Outside of transactions. */
bool frames_writer_heartbeat(struct frames_writer *w, lsn_t position, struct err *err) MUST_CHECK;

/* ---- reading --------------------------------------------------------------------------------- */

enum frames_verdict {
    FRAMES_VOID,      /* of a lower epoch, or read already: nothing to do */
    FRAMES_HEARTBEAT, /* the stream stands at the record's end_lsn */
    FRAMES_BEGIN,     /* a transaction's first fragment; what is there of another try is void */
    FRAMES_NEXT,      /* its next fragment */
};

/* Which records come next. Plain data: may be copied and kept. */
struct frames_reader {
    uint64_t epoch;      /* the highest seen */
    lsn_t done;          /* commit LSN of the last whole transaction */
    bool open;           /* between fragment 0 and the last */
    uint64_t open_epoch; /* with the following: the transaction that is open */
    lsn_t commit_lsn;
    uint32_t xid, fragment; /* the fragment read last */
};

/* `done`: transactions up to this commit LSN are had already, LSN_NONE for none. */
void frames_reader_init(struct frames_reader *r, lsn_t done);
/* Judges the record. A missing fragment, or a transaction that was left unfinished for a later
 * one, is ERR_CORRUPT: rows are missing, and the reader must start anew from Postgres. */
bool frames_reader_take(struct frames_reader *r, const struct frames_record *record,
                        enum frames_verdict *verdict, struct err *err) MUST_CHECK;

/* The next message of a record's value: `frames` is reader_of(value). False at the end, where
 * reader_done() says whether the value was whole. */
bool frames_next(struct reader *frames, struct slice *message);

#endif
