/*
 * Postgres's text of an array as a JSON array; the elements are the caller's.
 *
 *     {{1,NULL},{2,3}}     ->  [[1,null],[2,3]]
 *     [0:1]={"a b","\\""}  ->  ["a b","\""]      bounds are left out
 */
#ifndef KAFKA_ARRAY_H
#define KAFKA_ARRAY_H

#include "base/buf.h"
#include "base/err.h"

struct array_elements {
    char delimiter; /* between them in the text: the type's typdelim */
    /* Writes one that is not NULL; its text is without quotes and backslashes. */
    bool (*put)(const void *owner, struct slice text, struct buf *out, struct err *err);
    const void *owner;
};

bool array_put(struct slice text, const struct array_elements *elements, struct buf *out,
               struct err *err) MUST_CHECK;

#endif
