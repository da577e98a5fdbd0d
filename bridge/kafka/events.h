/*
 * The events of the transaction at hand, counted in all and by table: their places in it, and its
 * BEGIN and END in `<prefix>.transaction` where provide.transaction.metadata is on.
 *
 * The stream's thread.
 */
#ifndef KAFKA_EVENTS_H
#define KAFKA_EVENTS_H

#include "base/hash.h"
#include "change/change.h"
#include "kafka/origin.h"
#include "kafka/outlet.h"

/* Those of one table, or the messages. */
struct tally {
    struct slice nspname, relname;
    uint64_t events;
    struct tally *next; /* of those that the transaction has touched; NULL-terminated */
};

struct events {
    const struct origin *origin; /* asked before the first event */
    struct outlet *outlet;
    struct slice topic; /* of BEGIN and END */
    bool metadata;      /* they are wanted, and each event's place */

    struct arena arena;
    struct u64map tallies; /* by the root's relid */
    struct tally messages;
    struct buf out;

    struct txn txn;
    lsn_t last_commit; /* of the transaction before */
    uint64_t n;
    struct tally *touched;
};

/* Outlet, origin and the rest of the first four are the caller's to fill in. */
void events_init(struct events *events);
void events_release(struct events *events);

/* The table's; the same as long as the events. */
struct tally *events_tally(struct events *events, const struct table *table);

void events_begin(struct events *events, const struct txn *txn);
/* The place of the next one; in front of the first stands BEGIN. */
bool events_next(struct events *events, const struct tally *tally, struct envelope_place *place,
                 struct err *err) MUST_CHECK;
/* So many have been put from that place on. */
void events_add(struct events *events, struct tally *tally, unsigned n);
bool events_commit(struct events *events, const struct txn *txn, struct err *err) MUST_CHECK;
void events_rollback(struct events *events);

#endif
