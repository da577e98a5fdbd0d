/*
 * JSON objects that every reader understands alike: well-formed UTF-8, no key twice in one
 * object, no NUL in a string, not deep. Numbers stay as they are written (yyjson's raw values).
 */
#ifndef TOKEN_STRICT_JSON_H
#define TOKEN_STRICT_JSON_H

#include "base/err.h"
#include "base/slice.h"

#include <yyjson.h>

#define STRICT_JSON_DEPTH 32
#define STRICT_JSON_MEMBERS 256 /* of one object */

/* NULL with ERR_INPUT and the place. The text may go afterwards; yyjson_doc_free() is the
 * caller's. */
yyjson_doc *strict_json_object(struct slice text, struct err *err) MUST_CHECK;

/* A string's characters or a raw number's. */
struct slice strict_json_text(yyjson_val *val);

#endif
