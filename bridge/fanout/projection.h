/*
 * A way to write a table's rows: which columns, with old values or without.
 * All logs that want the same bytes share one, so that a change is encoded
 * once for all of them; and its lane keeps those bytes together.
 */
#ifndef FANOUT_PROJECTION_H
#define FANOUT_PROJECTION_H

#include "base/hash.h"
#include "change/message.h"
#include "shapelog/shapelog.h"
#include "shapes/effect.h"

#define EFFECT_KINDS (EFFECT_MOVE + 1)

struct log_list {
    struct log **logs;
    size_t len, cap;
};

struct projection {
    struct slice key; /* in projections' map */
    unsigned users;
    struct arena arena;
    struct message_format *format;
    struct lane *lane;

    /* of the change at hand: which logs want it as what */
    struct log_list wanted[EFFECT_KINDS];
    struct projection *next_touched;
    bool touched;
};

/* There is no room on disk: waits a little. True: try again. False, with the error: give up. */
typedef bool no_room_hook(void *owner, struct err *err);

struct projections {
    struct shapelog *store;
    no_room_hook *no_room; /* NULL: give up at once */
    void *no_room_owner;
    struct strmap by_key;
    struct buf message; /* scratch */
};

void projections_init(struct projections *projections, struct shapelog *store);
void projections_release(struct projections *projections);

/* The shape's projection, with one more user. `table` is the shape's in the copy that all shapes of
 * this version of the table share (each has one of its own besides): it lives while they do. */
struct projection *projections_get(struct projections *projections, const struct table *table,
                                   const struct shape *shape);
void projections_put(struct projections *projections, struct projection *projection);

/* After a call to the store has failed: whether to make it again. */
bool projections_retry(const struct projections *projections, struct err *err);

void projection_want(struct projection *projection, enum effect_kind kind, struct log *log);
/* Encodes and appends the change for all that want it, and forgets them. */
bool projection_append(struct projections *projections, struct projection *projection,
                       const struct change *change, const struct message_place *place,
                       uint64_t *messages, uint64_t *rows_out, struct err *err) MUST_CHECK;

#endif
