/*
 * Acknowledgements in a /v1/sync stream: what the bridge's own tables (write/tables.h) say of the
 * writes of the stream's replica. They come as two more shapes of the session, its feeds, which the
 * client does not see: so they are in order with the data, and part of the same consistent cut.
 *
 *     feed's messages -> acks_take()      what they say is gathered
 *     at a commit line behind the feeds' snapshots -> acks_put(), the line before it
 *
 * That other shapes are being fetched is no reason to wait: the rows that are complete have what is
 * acknowledged, and what is fetched will have it by the commit line that takes it. So a refused
 * write to one table is taken back while another is fetched, however long that takes.
 *
 * The operator's replicas have feeds of their own. The bearers of a subject's tokens share one
 * pair, whatever replica they say they are, and rows of others are passed over.
 *
 * Each stream says all there is to say once, and then what is new: a client may have taken the
 * position of commit lines that were not consistent, and had no such line before them. So feeds
 * begin with their snapshot; but that of an operator's replica's row, which is written with each
 * commit, with what it last was at the stream's position.
 */
#ifndef HTTP_SYNC_ACKS_H
#define HTTP_SYNC_ACKS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum acks_feed { ACKS_REPLICAS, ACKS_REJECTIONS, ACKS_NFEEDS };

struct acks_rejection {
    int64_t id, mutation;
    char *json; /* owned */
};

/* What the next ack line says; its rejections are those that no line has said yet. */
struct acks {
    const char *replica; /* borrowed */
    bool due;
    int64_t last;
    struct buf nonce;                  /* of that transaction; empty: there is none */
    struct acks_rejection *rejections; /* [first, n) in the order they came */
    size_t first, n, cap, bytes;
};

/* Nothing is known, which is worth a line: nothing may have been written. `replica` is borrowed. */
void acks_init(struct acks *acks, const char *replica);
void acks_release(struct acks *acks);

/* Messages of its log, with commas between them, of whichever replicas. False: they are none, or
 * there is more to say than fits. */
bool acks_take(struct acks *acks, enum acks_feed feed, struct slice messages,
               struct err *err) MUST_CHECK;

/* {"ack":{"last":17,"nonce":"..","rejected":[..]}} and a line feed, and nothing is due any more. */
void acks_put(struct acks *acks, struct buf *out);

#endif
