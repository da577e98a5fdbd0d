/*
 * A relation as pgoutput announces it: its names and columns in the stream's
 * order. It lives until the connection ends or the same relid is announced
 * again, which is a schema change unless relation_same() says that nothing
 * a reader can see has changed (Postgres announces again after ANALYZE,
 * CREATE INDEX, GRANT and the like).
 */
#ifndef CHANGE_RELATION_H
#define CHANGE_RELATION_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

enum replident {
    REPLIDENT_DEFAULT = 'd', /* the primary key */
    REPLIDENT_NOTHING = 'n',
    REPLIDENT_FULL = 'f',
    REPLIDENT_INDEX = 'i',
};

struct relation_column {
    struct slice name;
    uint32_t typid;
    int32_t typmod;
    bool in_identity; /* part of the replica identity */
};

struct relation {
    uint32_t relid;
    struct slice nspname; /* empty on the wire means pg_catalog */
    struct slice relname;
    enum replident replident;
    uint16_t ncols;
    struct relation_column *cols;
};

/* A copy, names included, that lives in the arena. */
struct relation *relation_copy(const struct relation *relation, struct arena *arena);
/* Same names, columns, types and identity. */
bool relation_same(const struct relation *a, const struct relation *b);

#endif
