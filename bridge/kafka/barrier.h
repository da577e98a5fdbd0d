/*
 * First rows of a table on their way into the outlet's queue: the stream's thread takes the
 * snapshot, between two transactions, and the publishing thread writes what it sees when the queue
 * has come so far.
 */
#ifndef KAFKA_BARRIER_H
#define KAFKA_BARRIER_H

#include "change/unseen.h"
#include "kafka/envelope.h"
#include "kafka/outlet.h"
#include "kafka/survey.h"

/* All borrowed; it stays until the outlet has been freed. */
struct barrier_place {
    struct unseen *unseen; /* what a snapshot may miss */
    struct progress *progress;
    struct survey *survey; /* gets the answer, whatever becomes of it */
    struct outlet *outlet;
    const char *prefix;
    const struct envelope_settings *settings; /* whole: kafka/origin.h */
    size_t message_max;
};

/* The stream's thread: takes a snapshot on the offer's connection, and queues the rows that it
 * sees. `end_lsn`: where the stream stands. */
void barrier_queue(const struct barrier_place *place, const struct survey_offer *offer,
                   lsn_t end_lsn);

#endif
