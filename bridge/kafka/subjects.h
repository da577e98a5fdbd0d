/*
 * The relations of the stream, as they were announced, and what is published of each: whether it
 * was chosen, its topic, its envelope. That is asked of the catalogue when it is needed, and a
 * relation that is announced anew is asked about anew.
 *
 * The stream's thread.
 */
#ifndef KAFKA_SUBJECTS_H
#define KAFKA_SUBJECTS_H

#include "base/hash.h"
#include "kafka/events.h"
#include "kafka/layout.h"
#include "kafka/origin.h"

struct subject {
    const struct relation *relation; /* borrowed from the stream */
    bool known;                      /* the rest is there */
    struct arena arena;
    struct layout layout;
    bool chosen; /* the rest is there too */
    struct envelope *envelope;
    struct slice topic;
    struct tally *tally;
};

struct subjects {
    const char *prefix, *tables; /* kafka/topics.h; borrowed */
    struct origin *origin;
    struct events *events;
    struct u64map by_relid;
};

/* The relation was announced. */
void subjects_set(struct subjects *subjects, const struct relation *relation);
/* With all that is to be known of it, in transaction `xid`. NULL without an error: it was not
 * announced. */
bool subjects_get(struct subjects *subjects, uint32_t relid, uint32_t xid, struct subject **subject,
                  struct err *err) MUST_CHECK;
/* Forgets them all: another connection announces what it needs. */
void subjects_clear(struct subjects *subjects);

#endif
