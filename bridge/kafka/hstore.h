/*
 * The extension hstore's text as a JSON object of strings and nulls.
 *
 *     "a"=>"1", "b"=>NULL  ->  {"a":"1","b":null}
 */
#ifndef KAFKA_HSTORE_H
#define KAFKA_HSTORE_H

#include "base/buf.h"
#include "base/err.h"

bool hstore_put_object(struct slice text, struct buf *out, struct err *err) MUST_CHECK;
/* A JSON string with the object in it. */
bool hstore_put_text(struct slice text, struct buf *out, struct err *err) MUST_CHECK;

#endif
