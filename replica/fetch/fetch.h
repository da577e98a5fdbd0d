/*
 * Keeps a replica fed from a bridge: POST /v1/sync, the stream's bytes to
 * replica_feed(), and again from where it stood when the connection ends. Local writes go up
 * beside it (upload.h); with `once` before it.
 *
 * Rows are applied in curl's write callback: while SQLite works nothing is
 * read, the socket's buffer fills, and the bridge waits. No bytes are held back
 * but one line, and three of first rows, which a second thread writes (replica_use_thread()).
 *
 * A connection on which nothing was heard for 35 s (the bridge says something every 10 s)
 * is given up. After a failure the next attempt comes after 0.1 s, doubling to
 * 30 s, with jitter so that many replicas do not come back together; later when the bridge
 * says retry-after. An answer 4xx, but for 408, 425 and 429, will not change by
 * asking again: fetch_run() ends with the bridge's message. A 400 for a shape that the file has had
 * rows of leaves that shape out for a while (replica/trouble.h), and is the end with `once` alone.
 */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include "base/err.h"
#include "replica/replica.h"

#include <stdbool.h>

struct fetch_options {
    const char *url;             /* the bridge: http://host:port, with or without /v1/sync */
    const char *bearer;          /* the secret or a token, sent as a bearer token; NULL: none */
    bool once;                   /* end when up to date, local writes acknowledged */
    unsigned attempts;           /* how often `once` fails in a row before it gives up; 0: 8 */
    int stop_fd;                 /* readable: end; -1 for none */
    void (*on_bytes)(void *arg); /* after bytes were taken; may be NULL */
    void (*on_failure)(void *arg, const struct err *err); /* before it is tried again; as well */
    void *arg;
};

/* Once a process, before threads are there. */
bool fetch_init(struct err *err) MUST_CHECK;

/* Returns true when up to date (`once`), ERR_STOPPED when `stop_fd` said so, and otherwise what
 * asking again will not help against. */
bool fetch_run(struct replica *r, const struct fetch_options *options, struct err *err) MUST_CHECK;

#endif
