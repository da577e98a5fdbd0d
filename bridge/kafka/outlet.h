/*
 * The way to the broker: records in order from the stream's thread, through a queue, to the one
 * publishing thread, which owns librdkafka's producer.
 *
 *     stream thread      outlet_open  outlet_put  outlet_mark  outlet_call
 *         |                   a queue: some MB of memory, then files up to a limit (kafka/spool.h)
 *     publishing thread  the producer: idempotent, acks=all, nothing is ever given up
 *
 * It is open or it is not. While it is not (no broker yet, an error, no room) outlet_put() takes
 * nothing: nobody waits for a broker. What was queued by then goes out if it can. When the outlet
 * can be opened again it says so with `ready`; whoever puts then begins anew where outlet_acked()
 * stands, or where the topics' own records say: Postgres has the rest, since the slot is confirmed
 * no further. So any error of a delivery is dealt with in the same way: what is queued is dropped,
 * the producer is made anew, `started` is called, and it is ready again.
 *
 * The broker's topics are made when their first record comes.
 */
#ifndef KAFKA_OUTLET_H
#define KAFKA_OUTLET_H

#include "base/err.h"
#include "base/slice.h"
#include "change/lsn.h"
#include "kafka/client.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outlet;
struct rd_kafka_s;

#define OUTLET_BY_KEY (-1) /* as Java's producer: murmur2 of the key; without a key, any */
enum { OUTLET_MAX_HEADERS = 10 };

struct outlet_header {
    struct slice name, value;
};

/* All is copied. */
struct outlet_record {
    struct slice topic;
    int32_t partition; /* or OUTLET_BY_KEY */
    bool has_key, has_value;
    struct slice key, value;
    const struct outlet_header *headers; /* at most OUTLET_MAX_HEADERS */
    size_t nheaders;
};

struct outlet_config {
    struct client_config client;
    const char *transactional_id; /* NULL: no Kafka transactions */
    const char *ordered_topic;    /* in which our records follow each other without others; NULL */
    const char *spool_dir;        /* made when it is needed; emptied at the start */
    uint64_t spool_limit;
    size_t message_max;
    int32_t partitions, replication_factor; /* of topics that are made; -1: the broker's default */

    void *owner; /* passed to the functions below; all are called on the publishing thread */
    /* Whether this is (still) the bridge that holds the slot: no producer is made before. */
    bool (*may_start)(void *owner);
    /* A producer has been made: find out where the topics stand; may call outlet_produce(). */
    bool (*started)(void *owner, struct err *err);
    /* In a Kafka transaction that is about to be committed: what says that all up to `lsn` is in
     * it; may call outlet_produce(). NULL: nothing. */
    bool (*committing)(void *owner, lsn_t lsn, struct err *err);
    /* It can be opened, which outlet_open() could not, or it has closed. */
    void (*ready)(void *owner);
};

enum outlet_state {
    OUTLET_IDLE,       /* nobody has asked for it */
    OUTLET_CONNECTING, /* to the brokers, or looking at the topics */
    OUTLET_OPEN,       /* a producer is there */
    OUTLET_FAILED,     /* and it is tried again, with pauses */
};

struct outlet_stats {
    enum outlet_state state;
    bool stalled;    /* the oldest record in the producer's hands has waited for seconds */
    char error[512]; /* of the last failure; "" while all is well */
    uint64_t records, bytes, errors;      /* delivered; failures of any kind */
    uint64_t queued_bytes, spooled_bytes; /* waiting; of it in files */
    lsn_t acked;
};

struct outlet *outlet_new(const struct outlet_config *config, struct err *err) MUST_CHECK;
/* Ends the publishing thread soon, whatever it does; what is queued is dropped. Any thread. */
void outlet_stop(struct outlet *outlet);
void outlet_free(struct outlet *outlet);
void outlet_get_stats(struct outlet *outlet, struct outlet_stats *stats);

/* ---- the stream's thread --------------------------------------------------------------------- */

/* True: it is open, all that was ever put is delivered, and outlet_put() takes records from here
 * on. False: not now; `ready` will be called. Waits for that at most `wait_ms`. */
bool outlet_open(struct outlet *outlet, int wait_ms);
/* Whether records are taken. */
bool outlet_is_open(const struct outlet *outlet);
/* Closes it, drops what is queued, and forgets what was delivered: it belongs to a history that is
 * void. */
void outlet_reset(struct outlet *outlet);
/* Closes it until it is opened again: what is queued goes out, nothing more is taken. With Kafka
 * transactions what was put since the last mark must not go out: then the one at hand is aborted,
 * and all begins anew. */
void outlet_close(struct outlet *outlet);
/* False: no room, or an error has come up; it is closed from here on. */
bool outlet_put(struct outlet *outlet, const struct outlet_record *record);
/* What was put before belongs to positions up to `lsn`: when all of it is delivered,
 * outlet_acked() >= lsn. Between two marks lies what is published together. */
void outlet_mark(struct outlet *outlet, lsn_t lsn);
/* A barrier: `fn` runs on the publishing thread after what was put before, and before what is put
 * after. It may call outlet_produce(), and should look at outlet_is_stopping(). `run` false: the
 * queue was dropped, do nothing but release `arg`; so it is when it returns false here, at once,
 * on this thread. A `fn` that fails is as an error of a delivery. */
typedef bool outlet_fn(void *arg, bool run, struct err *err);
bool outlet_call(struct outlet *outlet, outlet_fn *fn, void *arg);

/* Up to where all is delivered; LSN_NONE while it is not known. Any thread. */
lsn_t outlet_acked(const struct outlet *outlet);

/* ---- the publishing thread, in the calls above ----------------------------------------------- */

/* The offset that the next record of the ordered topic must get: one of somebody else in between is
 * an error. */
void outlet_expect(struct outlet *outlet, int64_t offset);
/* Now, before all that is queued; waits while the producer's own queue is full. */
bool outlet_produce(struct outlet *outlet, const struct outlet_record *record,
                    struct err *err) MUST_CHECK;
/* Waits until everything that was produced is delivered. */
bool outlet_flush(struct outlet *outlet, struct err *err) MUST_CHECK;
/* librdkafka's producer, for what needs no record. */
struct rd_kafka_s *outlet_producer(const struct outlet *outlet);
bool outlet_is_stopping(const struct outlet *outlet);
const atomic_bool *outlet_stopping(const struct outlet *outlet);

#endif
