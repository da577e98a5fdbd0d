/*
 * The survey: a thread with a connection that looks for the tables that were chosen, brings them
 * into the publication, and offers those whose first rows are wanted to the stream, one at a time.
 *
 * An offer is a transaction in which the table is locked against changes of its definition. The
 * stream takes the snapshot in it, since it alone knows what has been decoded; then the rows are
 * the publishing thread's, and the survey has its connection back by survey_answer().
 */
#ifndef KAFKA_SURVEY_H
#define KAFKA_SURVEY_H

#include "kafka/progress.h"
#include "pg/pg.h"

struct survey_config {
    const char *conninfo, *publication, *tables;
    struct progress *progress;
    bool first_rows, manual_publishing;
    int lock_timeout_ms;
    int64_t look_every_ms;
    void (*wake)(void *owner); /* the stream is to settle */
    void *owner;
};

struct survey;

struct survey *survey_new(const struct survey_config *config, struct err *err) MUST_CHECK;
/* Any thread: it ends soon. */
void survey_stop(struct survey *survey);
/* Set by survey_stop(). */
const atomic_bool *survey_stopping(const struct survey *survey);
/* When no offer is with others any more. */
void survey_free(struct survey *survey);
/* Any thread: look soon; it does not before it is asked to. */
void survey_look_soon(struct survey *survey);

enum survey_answer {
    SURVEY_AGAIN, /* the snapshot misses something: another one, soon */
    SURVEY_LATER, /* at the next look */
    SURVEY_DONE,
};

struct survey_offer {
    struct pg_conn *conn;
    const struct table *table;
};

/* The stream's thread: what is offered, if anything. It is the caller's until it is answered. */
bool survey_take(struct survey *survey, struct survey_offer *offer);
/* Any thread. */
void survey_answer(struct survey *survey, enum survey_answer answer);

#endif
