/*
 * Writing JSON, where it is hot. Parsing is yyjson's.
 */
#ifndef CHANGE_JSON_H
#define CHANGE_JSON_H

#include "base/buf.h"

/* The text as a JSON string with its quotes. The text is UTF-8 already (Postgres's
 * client_encoding); control characters, quotes and backslashes are escaped. */
void json_put_string(struct buf *out, struct slice text);
/* The same into room for JSON_WORST bytes each of the text's, and two; returns what is behind it.
 */
#define JSON_WORST 6 /* \u0000 */
char *json_write_string(char *out, struct slice text);
/* The same without the quotes: for a string put together from parts. */
void json_put_escaped(struct buf *out, struct slice text);

#endif
