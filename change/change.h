/*
 * What happened to one row: the noun that everything between the receiver and
 * the shape log speaks of. Values are Postgres's text output, borrowed from
 * the message they came in; they live until the next message is read.
 */
#ifndef CHANGE_CHANGE_H
#define CHANGE_CHANGE_H

#include "base/slice.h"
#include "change/lsn.h"

#include <stdint.h>

enum value_kind {
    VALUE_NULL = 'n',
    VALUE_UNCHANGED = 'u', /* TOASTed and not touched: Postgres did not send it */
    VALUE_TEXT = 't',
};

struct value {
    enum value_kind kind;
    struct slice text; /* VALUE_TEXT only */
};

struct tuple {
    uint16_t nvalues;
    struct value *values;
};

enum change_op { CHANGE_NONE, CHANGE_INSERT, CHANGE_UPDATE, CHANGE_DELETE };

struct change {
    enum change_op op;
    uint32_t relid;
    bool old_is_key;         /* `old` holds the identity's columns alone, the rest are NULL */
    const struct tuple *old; /* NULL unless the replica identity sends it */
    const struct tuple *new; /* NULL for a delete */
};

/* The transaction that changes belong to. */
struct txn {
    lsn_t commit_lsn; /* orders transactions; known from their begin on */
    lsn_t end_lsn;    /* known at commit */
    uint32_t xid;     /* top level, 32 bits */
    int64_t time_us;  /* commit time, microseconds since 1970 in UTC */
};

#endif
