/*
 * From the records of `<prefix>.stream` (kafka/frames.h) to the items of a feed: pgoutput's
 * messages, positions, and that a transaction begins anew. Pure: it gets records from whoever reads
 * the topic.
 *
 *     unframe_init   ( unframe_take   ( unframe_next )* until NOTHING )*
 *
 * What comes out is in order and without a gap, or it is an error: the headers are held against
 * each other, against the messages, and a later epoch must begin where the one before ended.
 */
#ifndef KAFKA_UNFRAME_H
#define KAFKA_UNFRAME_H

#include "kafka/frames.h"
#include "wal/feed.h"

struct unframe {
    struct frames_reader reader;
    lsn_t position; /* all transactions with a commit LSN below it are had */
    bool unlinked;  /* the failure was a later epoch that does not follow: begin further back */
    struct frames_record record; /* at hand */
    struct reader frames;        /* what is left of its value */
    size_t size;                 /* of the record, until it has been told */
    uint32_t nmessages;          /* of the record, so far */
    bool open, committed;        /* messages of the transaction were given; its Commit was */
    bool tell_void, tell_position;
};

/* `position`: transactions with a commit LSN below it are had already. It is given first. */
void unframe_init(struct unframe *unframe, lsn_t position);
/* A record; `value` is borrowed until the next one. All before it must have been given. */
bool unframe_take(struct unframe *unframe, const struct frames_header *headers, size_t nheaders,
                  struct slice value, struct err *err) MUST_CHECK;
/* NOTHING: the record has no more. */
enum feed_got unframe_next(struct unframe *unframe, struct feed_item *item, struct err *err);

#endif
