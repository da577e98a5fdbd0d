/*
 * One /v1/sync stream, private to sync.c and sync_stream.c. Lives on its
 * connection's loop: first as the connection's user data, then as the source of the response.
 */
#ifndef HTTP_SYNC_SESSION_H
#define HTTP_SYNC_SESSION_H

#include "http/sync.h"
#include "http/sync_acks.h"
#include "http/sync_request.h"

#define SYNC_RUNS 16 /* read at once */

enum sync_phase {
    SYNC_RESOLVING, /* waiting for its log */
    SYNC_OPEN,      /* its open line is next */
    SYNC_SNAPSHOT,  /* rows are being sent */
    SYNC_CATCHUP,   /* its changes up to the session's position */
    SYNC_LIVE,      /* in step with the session */
};

struct sync_session;

/* Runs that have been read and are not sent yet: [first, n). */
struct sync_runs {
    size_t first, n;
    struct log_run items[];
};

/* Most sessions wait for something to happen, so what only sending needs is allocated for it. */
struct sync_shape {
    struct sync_session *session;
    struct sync_shape_request *request;
    struct log *log;
    struct watcher watcher;
    struct log_cursor cursor;
    void *asking; /* what the pool is asked for its log, until it is answered; else NULL */
    struct sync_runs *runs; /* NULL: none */
    char *refetch;          /* why a refetch line comes before its open line, or NULL; owned */
    uint32_t block;         /* of the snapshot, to be sent next */
    enum sync_phase phase;
    bool refetched; /* its handle ended under way: a refetch line has been sent */
};

struct sync_session {
    struct http_source source; /* first */
    const struct service *service;
    struct endpoint_loop *loop;
    struct http_conn *conn;
    struct arena arena;
    struct sync_request request;
    struct auth auth;
    struct sync_shape *shapes; /* those asked for, and behind them the feeds of acknowledgements */
    uint32_t nshapes, resolving;
    struct acks *acks;            /* owned; NULL: there are no feeds */
    struct sync_invalid *invalid; /* the first error while resolving; owned. NULL: none */

    lsn_t position;  /* all live shapes have been sent up to here; 0: none is live yet */
    lsn_t commit;    /* lines of this commit were sent and its commit line was not; 0: none */
    lsn_t said;      /* position of the last commit or keepalive line */
    int64_t said_at; /* loop time of the last line */
    lsn_t fence;
    int64_t expires;  /* loop time: when the token does, and the stream ends; INT64_MAX: never */
    unsigned rules;   /* service->rules_version at the beginning: what is allowed is by these */
    unsigned history; /* shapelog_resets() before a log was found: positions are of that history */

    bool by_rules;        /* what it may have is for the rules to say */
    bool streaming;       /* the response has begun */
    bool unfit;           /* `invalid` is of claims that do not fit the rules' clause */
    bool answered;        /* an error was answered instead */
    bool said_consistent; /* the last commit or keepalive line was consistent */
    bool live_turn;
    bool joined; /* a shape has caught up: a commit line is due */
    bool fence_asked, fenced;
    unsigned ahead_ms; /* not 0: the client has been at a node that was further than this one is
                          yet, and after so long is looked at again */
};

/* sync.c: asks for a shape's log; the answer sets its phase to SYNC_OPEN, or ends the stream. */
void sync_resolve(struct sync_session *session, size_t i);
/* sync.c: lets go of the runs that were not sent. */
void sync_drop_runs(struct sync_shape *shape);
/* sync.c: for a request that is not live, where to end. */
void sync_ask_fence(struct sync_session *session);
/* sync.c */
void sync_session_free(struct sync_session *session);

/* sync_feeds.c: makes them, before anything is resolved; there is room behind the shapes. */
void sync_feeds_add(struct sync_session *session, struct slice replica);
/* At the start of the stream, when its position is known and every log has begun: where they begin.
 */
void sync_feeds_resume(struct sync_session *session);
bool sync_is_feed(const struct sync_shape *shape);
/* Rows of a feed. */
bool sync_feed_take(struct sync_shape *shape, int fd, uint64_t offset, size_t len,
                    struct err *err) MUST_CHECK;
/* There is room for a line. */
void sync_put_ack(struct sync_session *session, struct http_out *out);

/* sync_resume.c: once every log has begun, where each shape goes on: a cursor, or why not. */
void sync_resume(struct sync_session *session);
/* The member of the open line that a replica gives back when it comes again, to whatever node; none
 * where no other node reads the same stream. */
void sync_put_lineage(const struct sync_shape *shape, struct buf *out);
/* What the open line tells is not known yet; there will be news of the log. */
bool sync_awaits_limit(const struct sync_shape *shape);

/* sync_stream.c */
void sync_stream_start(struct sync_session *session);
extern const struct http_source_ops sync_source_ops;

#endif
