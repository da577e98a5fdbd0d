/*
 * What a shape's log is one of, as a text: logs of one lineage, on whatever node, hold the same
 * changes from the later one's limit on. A replica keeps the text that it was told with a handle,
 * and gives it back with the handle and its position; so a node that has never seen the handle can
 * say whether its own log goes on from there.
 *
 *     <32 hex digits>-<the log's limit, decimal>
 *
 * The digits are a hash of the limit, the handle, and all that makes two logs the same:
 *
 *     the stream's history    nothing is missing within it (kafka/publisher.h)
 *     the shape's identity    table, clause, parameters, columns
 *     its table               where its rows lie, by what they are published, and the columns
 *                             that the shape uses (change/standing.h): what says that nothing
 *                             happened to them of which the stream does not tell
 *
 * The replica identity is not among them: whatever it was, the stream says the same to all nodes.
 */
#ifndef SHAPES_LINEAGE_H
#define SHAPES_LINEAGE_H

#include "change/lsn.h"
#include "shapes/shape.h"

enum { LINEAGE_SIZE = 56 }; /* with its NUL */

struct lineage {
    struct slice history;
    const struct shape *shape;
    const struct table *table; /* as the catalogue was seen last; the shape fits it */
    struct slice handle;
    lsn_t limit; /* of the log with this handle */
};

void lineage_put(const struct lineage *lineage, char out[LINEAGE_SIZE]);
/* The limit that the text says; false when it is none of ours. */
bool lineage_limit(struct slice text, lsn_t *limit);

#endif
