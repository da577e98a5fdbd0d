/*
 * Where in `<prefix>.stream` a node begins to read: a binary search over the topic's offsets by
 * what the records' headers say. Reads single records by a function, and nothing else.
 */
#ifndef KAFKA_START_H
#define KAFKA_START_H

#include "change/lsn.h"
#include "kafka/frames.h"

#include <stdint.h>

/* What its headers say of a record. */
struct start_record {
    int64_t offset;
    struct frames_record frames; /* without the value's bytes, ... */
    size_t size;                 /* ... which are so many */
    bool heartbeat;
    char history[FRAMES_HISTORY_SIZE];
};

/* ERR_PROTOCOL: it is not one of ours. */
bool start_read(int64_t offset, const struct frames_header *headers, size_t nheaders,
                struct slice value, struct start_record *record, struct err *err) MUST_CHECK;

struct start_search {
    int64_t low, high; /* the topic's offsets */
    void *owner;
    /* The record at this offset, or the next behind it; *found is false when there is none. */
    bool (*read_at)(void *owner, int64_t offset, struct start_record *record, bool *found,
                    struct err *err);
};

/* The topic's last record. What a publisher that did not know yet that it had been replaced has put
 * behind it is passed over, in whatever mix it has come: of what stands last, so much that it
 * cannot all have been in one producer's queue, which is sent whatever its publisher is told
 * meanwhile, the last record of the highest epoch is meant. */
enum { START_QUEUE_RECORDS = 200000, START_QUEUE_KB = 65536 };
bool start_last(const struct start_search *search, struct start_record *last, bool *found,
                struct err *err) MUST_CHECK;
/* Nobody who reads the topic can have come further than this position, nor will until more is
 * written: `last` is where it ends, but for a transaction whose end is missing. LSN_NONE: no record
 * says it. */
bool start_end(const struct start_search *search, const struct start_record *last, lsn_t *position,
               struct err *err) MUST_CHECK;
/* Every transaction from the position on lies at *offset or behind it, in the history of `last`;
 * *covered is false when they do not all lie there. Where the record was written before the last
 * publisher began, it may be one of a publisher that did not know yet that it had been replaced:
 * then it is `margin` records earlier. */
bool start_find(const struct start_search *search, const struct start_record *last, lsn_t position,
                int64_t margin, int64_t *offset, bool *covered, struct err *err) MUST_CHECK;

#endif
