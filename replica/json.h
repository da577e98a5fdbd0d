/* The little JSON that the replica writes; what it reads, yyjson reads. */
#ifndef REPLICA_JSON_H
#define REPLICA_JSON_H

#include "base/buf.h"

/* The text as a JSON string with its quotes. The text is UTF-8, as all of Postgres's is. */
void lite_json_string(struct buf *out, struct slice s);

#endif
