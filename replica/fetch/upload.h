/*
 * Local writes on their way to POST /v1/write, beside the stream: the same thread and the same
 * curl handle of many, one request at a time. A request that is broken off is made again; the
 * bridge knows what it has decided.
 *
 * After a failure it is tried again as post.h says. Writes that are not taken at all (no right to)
 * are tried again every 5 minutes; the stream goes on meanwhile.
 */
#ifndef FETCH_UPLOAD_H
#define FETCH_UPLOAD_H

#include "base/buf.h"
#include "fetch/fetch.h"

#include <curl/curl.h>

struct upload {
    struct replica *r;
    CURLM *multi; /* borrowed */
    CURL *easy;
    struct curl_slist *headers; /* borrowed */
    char *url;
    struct buf body, answer;
    char curl_text[CURL_ERROR_SIZE];
    bool busy;          /* a request is under way */
    bool renamed;       /* the replica has another id: a new stream is to begin */
    bool stopped;       /* writes are not taken; `err` says why */
    int64_t not_before; /* clock_ms() */
    unsigned failures;  /* in a row */
    struct err err;     /* the last failure */
};

/* `headers` are those of JSON requests. False when curl has no memory. */
bool upload_init(struct upload *u, struct replica *r, CURLM *multi, const char *url,
                 struct curl_slist *headers) MUST_CHECK;
void upload_release(struct upload *u);

/* Begins a request when there is something to send and it is time. False: the file is at fault. */
bool upload_step(struct upload *u, struct err *err) MUST_CHECK;
/* Its transfer has ended. False: the file is at fault. */
bool upload_done(struct upload *u, CURLcode code, struct err *err) MUST_CHECK;
/* Breaks off what is under way. */
void upload_abort(struct upload *u);

#endif
