/*
 * The lines of a /v1/sync stream (docs/PROTOCOL.md), as they are put into the output: private to
 * sync_stream.c. What is said of a feed (sync_acks.h) is taken in, and nothing is put.
 */
#ifndef HTTP_SYNC_LINES_H
#define HTTP_SYNC_LINES_H

#include "http/sync_session.h"

#define SYNC_LINE_ROOM 512 /* for a line without rows */

static inline size_t sync_index(const struct sync_shape *s)
{
    return (size_t)(s - s->session->shapes);
}

/* Whether there is room for a line without rows, with what comes before it. */
bool sync_room_for_line(const struct http_out *out);
/* Whether there is room for rows of `len` bytes. */
bool sync_fits(const struct http_out *out, uint32_t len);

/* Take the run, the block. */
bool sync_put_run(struct http_out *out, struct sync_shape *s, const struct log_run *run,
                  struct err *err) MUST_CHECK;
bool sync_put_block(struct http_out *out, struct sync_shape *s, struct snapshot_block *block,
                    struct err *err) MUST_CHECK;

/* False when the line, which has a schema in it, does not fit now. */
bool sync_put_open(struct http_out *out, const struct sync_shape *s);
void sync_put_refetch(struct http_out *out, const struct sync_shape *s, const char *reason);
void sync_put_snapshot_end(struct http_out *out, const struct sync_shape *s);
/* The stream's last line. `shape` is -1 when the error is nobody's in particular. HTTP_END. */
enum http_pull sync_put_error(struct http_out *out, long shape, const char *message, bool retry);

/* Every shape is live, and the position has passed what each snapshot held: a cut of them all. */
bool sync_is_consistent(const struct sync_session *session, lsn_t at);
/* There is something to acknowledge, and the feeds are in step: a commit line may have it before
 * it. */
bool sync_ack_is_due(const struct sync_session *session, lsn_t at);
/* With the acknowledgement that belongs before it. */
void sync_put_commit(struct sync_session *session, struct http_out *out, lsn_t lsn);
void sync_put_keepalive(struct sync_session *session, struct http_out *out);
/* Where this node is, while a client that is further waits for it. */
void sync_put_waiting(const struct sync_session *session, struct http_out *out);

#endif
