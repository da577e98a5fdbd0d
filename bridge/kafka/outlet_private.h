/*
 * The outlet's parts, private to outlet.c (the queue's end where records are put), delivery.c (the
 * producer) and publishing.c (the thread between them).
 */
#ifndef KAFKA_OUTLET_PRIVATE_H
#define KAFKA_OUTLET_PRIVATE_H

#include "base/hash.h"
#include "kafka/outlet.h"
#include "kafka/spool.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#define OUTLET_LOOK_MS 100      /* how often at what may not wake us */
#define OUTLET_TXN_RECORDS 5000 /* a Kafka transaction ends when it is so large */

/* An entry of the queue. */
enum entry_kind { ENTRY_RECORD, ENTRY_MARK, ENTRY_CALL };

struct entry {
    enum entry_kind kind;
    lsn_t lsn; /* of a mark; of a record this and what follows: */
    int32_t partition;
    bool has_key, has_value;
    uint32_t topic, key, value, nheaders; /* sizes; the bytes follow in this order ... */
    struct {
        uint32_t name, value;
    } headers[OUTLET_MAX_HEADERS]; /* ... and the headers' */
};

/* What was put between two marks. */
struct batch {
    struct batch *next;
    lsn_t lsn;
    size_t total, undelivered;
};

struct call {
    struct call *next;
    outlet_fn *fn;
    void *arg;
};

struct outlet {
    struct outlet_config config;
    pthread_t thread;
    int wake_fd;
    atomic_bool stop;
    _Atomic lsn_t acked;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* with the mutex: */
    struct spool *spool;
    struct call *calls, **last_call; /* in the order of their entries */
    enum outlet_state state;
    bool wanted;      /* has been opened, or tried to */
    atomic_bool open; /* outlet_put() takes records; read without it too */
    bool asked;       /* `ready` is to be called */
    bool idle;        /* all that was put is delivered */
    bool restart;     /* begin anew: what is in the queue must not go out */
    bool forget;      /* what was delivered does not count: the next session begins without */
    bool sleeping;    /* the publishing thread is, or is about to be */
    bool unmarked;    /* records have been put since the last mark */
    uint64_t records, bytes, errors;
    struct err error;

    /* the publishing thread's: */
    rd_kafka_t *rk;
    struct strmap topics;
    struct batch *batches, *last; /* closed ones in order; both NULL when there are none */
    struct batch *batch;          /* the one at hand */
    atomic_size_t inflight;
    atomic_int_fast64_t progress_ms; /* when something was delivered, or nothing in flight */
    lsn_t marked, delivered;
    int64_t next_offset; /* of the ordered topic; -1: not known */
    bool failed;
    struct err failure;
    char trouble[384]; /* with the connections, since something was delivered */
    bool in_txn, in_commit, in_call;
    bool ending; /* the transaction: its records are delivered, an answer is waited for */
    size_t txn_records;
    int64_t txn_until;
};

/* ---- delivery.c, on the publishing thread ---------------------------------------------------- */

bool outlet_make_producer(struct outlet *o, struct err *err) MUST_CHECK;
void outlet_release_topics(struct outlet *o);
/* Takes what has come of the producer's doings. False: it failed, or we stop. */
bool outlet_serve(struct outlet *o, int timeout_ms, struct err *err) MUST_CHECK;
/* A call that may be repeated as it is, until it is done. `what` did not work, for the message. */
bool outlet_insist(struct outlet *o, rd_kafka_error_t *(*fn)(rd_kafka_t *, int), const char *what,
                   struct err *err) MUST_CHECK;
/* Ends the Kafka transaction that is open, if there is one. */
bool outlet_commit(struct outlet *o, struct err *err) MUST_CHECK;
/* Moves `delivered`. */
void outlet_pop_delivered(struct outlet *o);
/* The session has failed; where no broker answered, what is known of the connections says why. */
void outlet_explain(const struct outlet *o, struct err *err);
/* For the figures, and for health. */
void outlet_note_error(struct outlet *o, const struct err *err);

/* ---- publishing.c ---------------------------------------------------------------------------- */

/* The thread; `arg` is the outlet. */
void *outlet_run(void *arg);

#endif
