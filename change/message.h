/*
 * The shape log's messages: one JSON object a change, as clients of the shape
 * API are sent it (docs/PROTOCOL.md).
 *
 *     {"key":"\"public\".\"items\"/\"7\"","value":{"id":"7","v":null},
 *      "headers":{"operation":"insert","relation":["public","items"],"txids":[731],"lsn":"26754856","op_position":0}}
 *
 * A format is made once for a table and a choice of its columns; it holds all
 * that is the same in every message, escaped already. Tuples are in the
 * table's column order. A format is immutable and may be used by any thread.
 */
#ifndef CHANGE_MESSAGE_H
#define CHANGE_MESSAGE_H

#include "base/buf.h"
#include "change/change.h"
#include "change/table.h"

struct message_format;

/* `columns` are indexes into table->cols. `full`: updates carry the whole row and old values. The
 * format lives in the arena and borrows nothing. */
struct message_format *message_format_new(const struct table *table, const uint16_t *columns,
                                          uint16_t ncolumns, bool full, struct arena *arena);

/* Where a message stands: its transaction and its place in it. */
struct message_place {
    lsn_t commit_lsn;
    uint32_t xid;
    uint64_t op;
};

/* A row of a snapshot: an insert without a place. Booleans are `true` and `false` here, `t` and `f`
 * elsewhere. */
void message_put_row(const struct message_format *format, const struct tuple *row, struct buf *out);
/* `moved_from`: the row's tuple under its former key, or NULL. */
void message_put_insert(const struct message_format *format, const struct tuple *new,
                        const struct tuple *moved_from, const struct message_place *place,
                        struct buf *out);
/* The key and what differs from `old`; without a whole old row, all that was sent. */
void message_put_update(const struct message_format *format, const struct change *change,
                        const struct message_place *place, struct buf *out);
/* `moved_to`: the row's tuple under its new key, or NULL. */
void message_put_delete(const struct message_format *format, const struct change *change,
                        const struct tuple *moved_to, const struct message_place *place,
                        struct buf *out);

/* Whether the format needs a value of the row that the stream has not sent (an unchanged TOAST
 * value). */
bool message_lacks(const struct message_format *format, const struct tuple *row);

#endif
