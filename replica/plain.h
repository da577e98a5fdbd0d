/*
 * A line of first rows, read in one pass as the bridge writes it:
 *
 *     {"shape":0,"messages":[{"key":"..","value":{"id":"1",..},"headers":{"operation":"insert",
 *     "relation":["public","items"]}},..]}
 *
 * with no space between, all columns in the table's order, each text or null, and the rows in the
 * key's order. Of any other line it is only said that it is another; whoever asked parses it then
 * as he parses all lines, and finds out what is wrong with it if something is.
 */
#ifndef REPLICA_PLAIN_H
#define REPLICA_PLAIN_H

#include "replica/schema.h"

struct lite_block;

/* Zero bytes that are to stand behind a line, as it is read in words. */
#define LITE_PLAIN_PADDING 16

struct lite_plain {
    struct slice *names; /* what stands before each column's value */
};

/* In the arena. */
void lite_plain_init(struct lite_plain *plain, const struct lite_schema *schema,
                     struct arena *arena);
/* Takes the line's head away, up to its first message, and tells which shape it is of. */
bool lite_plain_head(struct slice *line, size_t *shape);
/* The rows of what the head was taken from into an empty block, which grows as they come; they
 * borrow from the line and the block's arena. False: it is another line, and what the block holds
 * is nothing. */
bool lite_plain_read(const struct lite_plain *plain, const struct lite_schema *schema,
                     struct slice messages, struct lite_block *block);

#endif
