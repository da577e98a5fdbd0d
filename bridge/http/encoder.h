/*
 * Encodes large bodies that never change, each once, on threads of its own, and keeps the latest
 * used: the chunks of shapes that many clients fetch. Bounded by bytes; the least lately used go.
 *
 * A body is named by a key and described by a job, which can read it. Whoever asks is told on its
 * loop; all who ask for one body while it is made wait for the one job. A job that nobody waits for
 * any more is not begun, and only so many wait: what is asked for beyond that is to be sent as it
 * is. Keys are to be few, and not of a client's choosing: each new one is work.
 *
 * All functions may be called on any thread but encoder_stop() and encoder_free().
 */
#ifndef HTTP_ENCODER_H
#define HTTP_ENCODER_H

#include "http/encoding.h"
#include "http/loop.h"

#include <stdatomic.h>

/* Larger bodies are not encoded: they would have to be held in memory, as they are. */
#define ENCODER_BODY_MAX ((size_t)24 << 20)
/* Jobs that wait, with the one that is under way. */
#define ENCODER_JOBS_MAX 32u

struct encoder;

/* Compared as bytes: to be zeroed before it is filled in. */
struct encoder_key {
    uint64_t parts[6];
};

/* An encoded body, shared by reference. Empty: encoding does not make it smaller, or it could not
 * be read, or it is too large to be kept: it is to be sent as it is. */
struct encoded {
    atomic_uint refs;
    struct slice bytes;
};

struct encoder_job {
    struct encoder_key key;
    enum http_encoding encoding;
    /* On an encoder's thread: appends the body. May fail for any reason: nobody is told. */
    bool (*read)(struct encoder_job *job, struct buf *body);
    /* Once: it is not needed any more. Frees the job. Any thread. */
    void (*release)(struct encoder_job *job);
};

struct encoder_waiter;
/* Called on the waiter's loop, which does not need it any more. `encoded` is a reference for the
 * receiver. */
typedef void encoder_done(struct encoder_waiter *waiter, struct encoded *encoded);

/* One who waits. Its own: it must live until it is told, or has cancelled. */
struct encoder_waiter {
    struct http_loop *loop;
    encoder_done *done;
    /* The encoder's. */
    struct encoder_waiter *next, **link;
    struct encoder_entry *entry; /* that it waits for; NULL: told, or about to be */
    struct encoded *encoded;
};

/* `memory` bytes of encoded bodies are kept. Of a body of more than a quarter of that only this is
 * kept: it is told, once, to those who wait, and empty from then on. */
struct encoder *encoder_new(size_t memory, struct err *err) MUST_CHECK;
/* Ends the thread; who waits is told, with empty bodies. */
void encoder_stop(struct encoder *encoder);
/* Stops, unless it has. NULL is nothing. */
void encoder_free(struct encoder *encoder);

/* The body if it is kept, referenced, or NULL. */
struct encoded *encoder_find(struct encoder *encoder, const struct encoder_key *key);
/* Has it made; takes the job. Tells at once (by a post) when it is there by now. False: too many
 * jobs wait, and nobody will be told. */
bool encoder_request(struct encoder *encoder, struct encoder_job *job,
                     struct encoder_waiter *waiter) MUST_CHECK;
/* It does not wait any more; with the last one the job goes, unless it has begun. False: it is told
 * all the same, what it is told is on its way. On the waiter's loop. */
bool encoder_cancel(struct encoder *encoder, struct encoder_waiter *waiter) MUST_CHECK;

void encoded_unref(struct encoded *encoded);

#endif
