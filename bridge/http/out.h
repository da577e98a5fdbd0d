/*
 * What is on its way to one socket: runs of bytes of three kinds, in order.
 *
 *   owned   copied into the output's own buffer
 *   shared  borrowed until `release` is called: reference-counted bytes that
 *           go to many clients
 *   file    a range of a file, sent by sendfile() without being read
 *
 * A source's pull() puts the next part of a response here (see conn.h). An
 * output is bounded: HTTP_OUT_OWNED bytes of its own and HTTP_OUT_RUNS runs a
 * round. Whoever puts more than there is room for loses the connection, so a
 * source looks first:
 *
 *     while (more && http_out_room(out) >= line.len) { http_out_put(out, line); ... }
 *     return more ? HTTP_MORE : HTTP_END;
 *
 * `release` is called exactly once, on the loop's thread, when the run has
 * been given to the kernel or the connection has gone, even when there was no
 * room for it. It may be NULL.
 */
#ifndef HTTP_OUT_H
#define HTTP_OUT_H

#include "base/buf.h"

#include <stdint.h>
#include <sys/types.h>

#define HTTP_OUT_OWNED ((size_t)64 * 1024)
#define HTTP_OUT_RUNS 48
#define HTTP_OUT_COPY_MOST ((uint32_t)16 * 1024) /* longer stretches go from the file */

struct http_out_run {
    enum { HTTP_RUN_OWNED, HTTP_RUN_SHARED, HTTP_RUN_FILE } kind;
    int fd;
    size_t len;
    union {
        size_t at; /* in the own buffer: it may move while it grows */
        const char *ptr;
        off_t offset;
    };
    void (*release)(void *arg);
    void *arg;
};

/* Private to the core but for the functions below. */
struct http_out {
    struct http_out *next; /* in the worker's pool */
    struct buf own;
    struct http_out_run runs[HTTP_OUT_RUNS + 3]; /* the head and a chunk's frame have theirs */
    uint32_t nruns, at;                          /* runs[at] is next to be sent */
    size_t round_owned;                          /* bytes of its own this round */
    uint32_t round_runs;
    uint64_t round_size; /* bytes of all kinds this round */
    size_t frame_at;     /* of an open chunk, in the own buffer */
    uint32_t frame_run;
    bool failed;
};

/* How many owned bytes fit into this round; 0 also when no run is left. */
size_t http_out_room(const struct http_out *out);
/* Whether nothing has been put this round. */
bool http_out_is_round_empty(const struct http_out *out);
/* Whether another shared run or file range fits, with an owned run before and behind it. */
bool http_out_has_run(const struct http_out *out);

void http_out_put(struct http_out *out, struct slice bytes);
void http_out_put_cstr(struct http_out *out, const char *cstr);
void http_out_put_shared(struct http_out *out, struct slice bytes, void (*release)(void *arg),
                         void *arg);
/* Reads a stretch of a file, HTTP_OUT_COPY_MOST at most, here and now. */
bool http_out_copy_file(struct http_out *out, int fd, uint64_t offset, size_t len,
                        struct err *err) MUST_CHECK;
/* `fd` stays the caller's, open until `release`. When the file ends before the range does, the
 * connection is cut: a client sees a broken response, never a wrong one. */
void http_out_put_file(struct http_out *out, int fd, off_t offset, size_t len,
                       void (*release)(void *arg), void *arg);

/* The core's side. */

struct http_out *http_out_new(void);
void http_out_free(struct http_out *out);
/* Lets go of all runs; keeps a small buffer. */
void http_out_clear(struct http_out *out);
/* Begins a round: what is put from here on is bounded by the limits above. */
void http_out_round(struct http_out *out);
/* Puts owned bytes that do not count against the round. */
void http_out_put_core(struct http_out *out, struct slice bytes);
/* Leaves a place for a chunk's size, which comes before bytes that are not known yet. */
void http_out_open_chunk(struct http_out *out);
/* Fills it in, or takes it away when the round is empty; ends the chunk. */
void http_out_close_chunk(struct http_out *out);

enum http_flush {
    HTTP_FLUSH_DONE,    /* all sent */
    HTTP_FLUSH_BLOCKED, /* the socket takes no more now, or others are to have their turn: go on
                           when it is said to be writable */
    HTTP_FLUSH_FAILED,  /* the connection is broken, or a file was too short: errno says */
};

/* Sends what the socket takes; adds the bytes to *sent. */
enum http_flush http_out_flush(struct http_out *out, int fd, uint64_t *sent);

static inline bool http_out_empty(const struct http_out *out)
{
    return out->at == out->nruns;
}

#endif
