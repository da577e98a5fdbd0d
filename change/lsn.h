/*
 * Positions in Postgres's write-ahead log, transaction ids, and snapshots.
 *
 * A transaction is known by its commit LSN (pgoutput's Begin.final_lsn, which
 * is Commit.commit_lsn): it orders transactions and names them in offsets. Its
 * end LSN is where the next record begins: that is what a slot is told.
 *
 * On the wire a transaction id has 32 bits; a snapshot's have 64. They are
 * compared as Postgres compares them, on a circle of 2^32.
 */
#ifndef CHANGE_LSN_H
#define CHANGE_LSN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

typedef uint64_t lsn_t;

#define LSN_NONE ((lsn_t)0)
#define LSN_TEXT_SIZE 18 /* "FFFFFFFF/FFFFFFFF" and its NUL */

/* "16/B374D848", as Postgres prints it, into `text`; returns `text`. */
const char *lsn_format(lsn_t lsn, char text[LSN_TEXT_SIZE]);
bool lsn_parse(struct slice text, lsn_t *lsn) MUST_CHECK;

/* What pg_current_snapshot() says: xid < xmin is visible, xid >= xmax is not, between them
 * what is not in `xip` (sorted) is. */
struct snapshot {
    uint64_t xmin, xmax;
    uint64_t *xip;
    size_t nxip;
};

/* Parses "xmin:xmax:xip,xip"; xip is allocated in the arena. */
bool snapshot_parse(struct slice text, struct arena *arena, struct snapshot *snapshot,
                    struct err *err) MUST_CHECK;
void snapshot_format(const struct snapshot *snapshot, struct buf *out);
/* Whether the top-level transaction `xid` (as on the wire) had committed for this snapshot, given
 * that it has committed by now and is less than 2^31 transactions away. */
bool snapshot_sees(const struct snapshot *snapshot, uint32_t xid);

#endif
