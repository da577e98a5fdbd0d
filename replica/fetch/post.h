/*
 * What the stream and the uploads beside it have in common: the bridge's address, a POST to it, and
 * how long to wait behind one that failed.
 */
#ifndef FETCH_POST_H
#define FETCH_POST_H

#include "base/buf.h"

#include <curl/curl.h>

typedef size_t post_taker(char *bytes, size_t size, size_t n, void *arg);

/* The bridge's address, which may have been given with /v1/sync, then `path` and `id`. To be freed.
 */
char *post_url(const char *url, const char *path, const char *id);

/* Sets `easy` up. All is borrowed until the transfer has ended; `text` has room for
 * CURL_ERROR_SIZE, and gets curl's words when it fails. */
void post_set_up(CURL *easy, const char *url, struct curl_slist *headers, const struct buf *body,
                 post_taker *take, void *arg, char *text);

/* Milliseconds until the attempt behind `failures` others: 0.1 s, doubling to 30 s, with jitter;
 * what the bridge said in its last answer counts too. */
int64_t post_backoff_ms(CURL *easy, unsigned failures);

#endif
