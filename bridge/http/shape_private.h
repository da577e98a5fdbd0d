/*
 * What the files of /v1/shape share. Everything here is for a loop's thread.
 *
 *                 admitted, parameters right
 *                            |
 *              READY         |  the bridge is not ready: looks again soon, for a while
 *                |           |
 *                +---------->+
 *                            v
 *              RESOLVING        the pool finds or makes the log (not when it is known)
 *                            |
 *                            v
 *              FOUND ---------> plan: 304 | messages | SNAPSHOT, STREAM, BEYOND, LIVE: watches its
 *                                                      log; each news and the timer plan again
 *              ENCODING         an encoder makes its body
 *              SUBSET           the pool runs its query
 *                            |
 *                            v
 *              ANSWERED         the struct goes when the response is complete
 */
#ifndef HTTP_SHAPE_PRIVATE_H
#define HTTP_SHAPE_PRIVATE_H

#include "http/shape.h"
#include "http/shape_params.h"
#include "http/watchers.h"

#include <inttypes.h>

/* Bodies up to this are put together in memory, once for all who ask for them. */
#define SHAPE_SMALL ((size_t)64 * 1024)

/* ---- a loop's -------------------------------------------------------------------------------- */

#define SHAPE_BODIES 16u
#define SHAPE_HEADS 16u
#define SHAPE_ASKED 16u

struct shape_asked;
struct shape_body;
struct shape_head;

struct shape_loop {
    struct shape_site *site;
    struct shapelog *store;
    struct http_loop *loop;
    struct watchers *watchers;
    struct shape_request_state *waiting; /* list of requests that have no answer yet */
    struct shape_body *bodies[SHAPE_BODIES];
    struct shape_head *heads[SHAPE_HEADS];
    struct shape_asked *asked[SHAPE_ASKED]; /* what was asked lately, by the hash of its text */
    struct shape_asked *spare;              /* for the next request; NULL: none */
    struct u64map resolutions; /* what the pool is asked: wording's lo -> struct resolution */

    /* The latest plan: when thousands wait for one log they all have the same. */
    struct {
        uint64_t log;
        struct log_offset after;
        lsn_t upto;
        struct log_range range;
    } planned;
};

/* ---- a request ------------------------------------------------------------------------------- */

enum shape_phase {
    SHAPE_READY,
    SHAPE_RESOLVING,
    SHAPE_FOUND,
    SHAPE_SNAPSHOT,
    SHAPE_STREAM,
    SHAPE_BEYOND,
    SHAPE_LIVE,
    SHAPE_ENCODING,
    SHAPE_SUBSET,
    SHAPE_ANSWERED,
};

/* What is needed of the parameters until the log is there. */
struct shape_asked {
    unsigned refs; /* requests, and the loop that keeps it */
    bool worded;   /* `wording` is there */
    struct hash128 wording;
    struct slice text; /* the query string that it was read from; len 0: it is not kept */
    struct arena arena;
    struct shape_params params;
};

struct shape_request_state {
    struct shape_loop *loop;
    struct http_conn *conn;
    struct shape_request_state *next, **link; /* among the loop's; link NULL: not in it */
    struct http_timer timer;
    struct watcher watcher;
    struct chunk_waiter *awaited;  /* ENCODING: what is told of it; else NULL */
    struct resolution *resolution; /* RESOLVING: what it waits for, with others */
    struct log *log;               /* a reference, or NULL */
    struct shape_asked *asked;     /* NULL from FOUND on, unless a subset is asked for */
    struct log_offset offset;      /* as asked for; SHAPE_OFFSET_AT */
    uint64_t cursor;
    int64_t until;    /* loop time: when waiting is over */
    int64_t waited;   /* loop time: since when */
    int64_t expires;  /* loop time: when the token does, and with it what is live */
    void *asking;     /* what the pool is asked for a subset or a deletion; NULL: nothing, or it
                         has been answered */
    char *tags;       /* if-none-match, until it was looked at; owned */
    uint8_t phase;    /* enum shape_phase */
    uint8_t at;       /* enum shape_offset_at */
    uint8_t encoding; /* enum http_encoding that the client wants most */
    uint8_t tagged;   /* enum http_encoding of the body that it has by its tags, if it has it */
    bool live : 1, sse : 1, subset : 1;
    bool private : 1; /* the answer depends on the authorization header */
    bool post : 1;    /* not a GET or HEAD */
    bool deletes : 1;
    bool existing : 1; /* admitted as such, else as initial */
    bool admitted : 1;
    bool named : 1; /* the shape is one of the rules' */
    bool begun : 1; /* its shape's rows were there to be read */
};

/* ---- shape.c --------------------------------------------------------------------------------- */

/* Asks for the log, or looks again soon whether the bridge is ready. */
void shape_resolve_when_ready(struct shape_request_state *get);
/* It is known which log: takes the reference, and goes on. */
void shape_found(struct shape_request_state *get, struct log *log);
/* The pool has no log for it. */
void shape_answer_unresolved(struct shape_request_state *get, const struct shape_answer *answer);
/* The request counts as one with a handle from now on: its shape has begun. */
void shape_has_begun(struct shape_request_state *get);

/* ---- shape_asked.c --------------------------------------------------------------------------- */

/* An empty one, for the parameters that are to be read. */
struct shape_asked *shape_asked_take(struct shape_loop *loop);
/* What a request of the same text was read to, or NULL. */
struct shape_asked *shape_asked_find(struct shape_loop *loop, const struct http_request *request);
/* It is read, and the request's strings will go: copies them, and keeps it for the next of this
 * text. */
void shape_asked_keep(struct shape_request_state *get, const struct http_request *request);
/* The wording of its shape. */
struct hash128 shape_asked_wording(struct shape_request_state *get);
/* The request does not need it any more. */
void shape_asked_drop(struct shape_request_state *get);
/* The loop's own. */
void shape_asked_release(struct shape_loop *loop);

/* ---- shape_delete.c -------------------------------------------------------------------------- */

/* Ends what is named. */
void shape_delete_named(struct shape_request_state *get);

/* ---- shape_known.c --------------------------------------------------------------------------- */

/* One for all loops; any thread. */
struct shape_known *shape_known_new(void);
void shape_known_free(struct shape_known *known);
/* A request's wording, the same for all that ask for the same. */
struct hash128 shape_known_wording(const struct shape_known *known,
                                   const struct shape_request *request);
/* The log that this wording was resolved to, referenced, or NULL. */
struct log *shape_known_find(struct shape_known *known, struct shapelog *store,
                             struct hash128 wording);
void shape_known_note(struct shape_known *known, struct shapelog *store, struct hash128 wording,
                      const struct log *log);

/* ---- shape_plan.c ---------------------------------------------------------------------------- */

/* The messages of one response. */
struct shape_content {
    struct log *log; /* borrowed */
    bool snapshot;   /* a chunk of the snapshot, else a range of the log */
    uint32_t number; /* of the chunk */
    struct snapshot_chunk chunk;
    struct log_range range;
};

enum shape_plan_kind {
    SHAPE_PLAN_CONTENT, /* these messages, maybe none */
    SHAPE_PLAN_NOW,     /* none: where the log ends */
    SHAPE_PLAN_WAIT_SNAPSHOT,
    SHAPE_PLAN_WAIT_STREAM, /* nothing more is there, and the stream is behind the snapshot */
    SHAPE_PLAN_WAIT_LIVE,
    SHAPE_PLAN_WAIT_BEYOND, /* the log has not come to the offset yet, if it is one */
    SHAPE_PLAN_GONE,        /* the log has ended */
    SHAPE_PLAN_FAILED,      /* err says why */
};

struct shape_plan {
    enum shape_plan_kind kind;
    struct shape_content content;
    struct log_offset to; /* where the response gets the client to */
    bool up_to_date;      /* that is the log's end */
    lsn_t seen;           /* then: what global_last_seen_lsn says */
    struct err err;
};

void shape_make_plan(struct shape_request_state *get, struct shape_plan *plan);
/* The messages behind `after`; `live`: what is seen is the last of them, if there are any. False:
 * GONE or FAILED. */
bool shape_plan_range(struct shape_loop *loop, struct log *log, struct log_offset after, bool live,
                      struct shape_plan *plan);

/* ---- shape_live.c ---------------------------------------------------------------------------- */

/* Plans, and answers or waits. */
void shape_go_on(struct shape_request_state *get);
/* Begins a phase of at most `ms`. */
void shape_wait(struct shape_request_state *get, enum shape_phase phase, int64_t ms);
void shape_on_timer(struct http_timer *timer);
void shape_on_news(struct watcher *watcher);

/* ---- shape_content.c ------------------------------------------------------------------------- */

/* Bytes that one response or many consist of. */
struct shape_body {
    uint32_t refs;
    struct shape_body_key {
        uint64_t log;
        struct log_offset after, to;
        lsn_t seen;      /* of the up-to-date message; 0: none */
        uint32_t chunk;  /* and 1; 0: a range */
        uint32_t events; /* as server-sent events */
    } key;
    struct buf text[HTTP_NENCODINGS];
    bool tried[HTTP_NENCODINGS];
};

_Static_assert(sizeof(struct shape_body_key) == 56, "compared as bytes: it has no holes");

/* Whether it is put together in memory. */
bool shape_content_is_small(const struct shape_content *content);
/* It is a whole chunk of the snapshot or the log, and nothing is to be added: all who come by
 * there ask for it, and it never changes. */
bool shape_content_is_chunk(const struct shape_plan *plan);
/* Whether what is sent depends on the encodings that a client accepts. */
bool shape_content_varies(const struct shape_content *content);

/* The whole body, referenced; NULL with the error when it cannot be read. For what is small. */
struct shape_body *shape_body_get(struct shape_loop *loop, const struct shape_plan *plan,
                                  bool events, struct err *err);
void shape_body_unref(void *body);
/* Its bytes so encoded; *encoding becomes HTTP_IDENTITY when they would not be fewer. */
struct slice shape_body_bytes(struct shape_body *body, enum http_encoding *encoding);

/* Appends a closed content's whole body. Any thread. */
bool shape_content_read(struct shapelog *store, const struct shape_content *content,
                        struct buf *out, struct err *err);

void shape_put_up_to_date(struct buf *out, lsn_t seen);
/* False while the snapshot is not known. */
bool shape_put_snapshot_end(struct buf *out, struct log *log);

/* ---- shape_send.c, shape_sse.c --------------------------------------------------------------- */

/* Answers with the planned messages. */
void shape_send_plan(struct shape_request_state *get, const struct shape_plan *plan);
/* Answers with a stream of events from the plan's `to` or the offset on. */
void shape_send_events(struct shape_request_state *get, const struct shape_plan *plan);
/* The client has gone while its body was being encoded. */
void shape_forget_encoding(struct shape_request_state *get);

/* ---- shape_subset.c -------------------------------------------------------------------------- */

/* Asks for it; the pool finds or makes the log too. */
void shape_ask_subset(struct shape_request_state *get);

/* ---- shape_head.c ---------------------------------------------------------------------------- */

struct shape_reply {
    int status;
    struct log_offset offset;
    bool up_to_date;
    bool nothing; /* the body is nothing but an up-to-date that was not asked for */
    enum http_encoding encoding;
    bool varies; /* another encoding could have been chosen */
};

/* Initialises `h` with what shape_make_headers() puts. It may have been kept, and is then lent:
 * till the next call. */
void shape_put_headers(const struct shape_request_state *get, const struct shape_reply *reply,
                       struct http_headers *h);
void shape_head_free(struct shape_head *head);

/* ---- shape_respond.c ------------------------------------------------------------------------- */

/* "0_inf"; `out` has room for 48 bytes. */
void shape_offset_print(struct log_offset offset, char out[48]);
/* Whether the client has this answer already; notes in which encoding. */
bool shape_tag_matches(struct shape_request_state *get, struct log_offset to);
void shape_make_headers(const struct shape_request_state *get, const struct shape_reply *reply,
                        struct http_headers *h);
void shape_put_schema_header(struct log *log, struct http_headers *h);
/* cache-control, and vary where it must be; `max_age` as in "public, max-age=..". */
void shape_put_caching(const struct shape_request_state *get, const char *visibility_and_age,
                       bool varies, struct http_headers *h);

/* Answers without messages. All end the request. */
void shape_answer_not_modified(struct shape_request_state *get, const struct shape_plan *plan);
void shape_answer_nothing(struct shape_request_state *get, const struct shape_plan *plan);
void shape_answer_refetch(struct shape_request_state *get, const struct log *instead);
void shape_answer_invalid(struct shape_request_state *get, int status, struct slice body);
void shape_answer_field(struct shape_request_state *get, const char *field, const struct err *err);
/* {"message":text} */
void shape_answer_error(struct shape_request_state *get, int status, const char *text);
/* 503. `known`: electric-internal-known-error. */
void shape_answer_later(struct shape_request_state *get, const char *text, unsigned retry_after,
                        bool known);
void shape_answer_503(struct shape_request_state *get, struct slice body, unsigned retry_after,
                      bool known);
void shape_answer_crowded(struct shape_request_state *get, const char *kind, size_t limit);
/* shape_failure.c: what is not the request's fault. */
void shape_answer_failure(struct shape_request_state *get, const struct err *err);
/* To be called before an answer is given: nothing more happens to the request. */
void shape_ends(struct shape_request_state *get);

#endif
