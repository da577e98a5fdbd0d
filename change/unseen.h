/*
 * Transactions that have been decoded but that no snapshot is known to have
 * seen. Postgres sends a commit to the stream before the transaction leaves
 * the list of running ones: for some milliseconds, or for as long as a
 * synchronous standby is away, a new snapshot still misses it. A shape
 * registered after such a transaction would lose it: not in the snapshot,
 * and gone by in the stream. So
 *
 *   - a snapshot that misses one of them is taken again, and
 *   - the slot is not confirmed past the oldest of them, so that after a restart they are sent
 *     again.
 *
 * Any thread may call; a mutex guards the list.
 */
#ifndef CHANGE_UNSEEN_H
#define CHANGE_UNSEEN_H

#include "change/change.h"
#include "change/lsn.h"

struct unseen;

struct unseen *unseen_new(void);
void unseen_free(struct unseen *unseen);

/* A transaction was decoded; in commit order, repeats after a reconnect are ignored. Stream. */
void unseen_add(struct unseen *unseen, const struct txn *txn);
/* Forgets what this snapshot sees. */
void unseen_prune(struct unseen *unseen, const struct snapshot *snapshot);
/* Whether a transaction with a commit LSN at or below `upto` is missing in this snapshot. */
bool unseen_misses(struct unseen *unseen, const struct snapshot *snapshot, lsn_t upto);
/* Commit LSN of the oldest, or UINT64_MAX when there is none: the slot may be told at most this. */
lsn_t unseen_floor(struct unseen *unseen);
/* The list is not bounded: whoever adds to it stops adding when it has become long. */
size_t unseen_len(struct unseen *unseen);
/* Forgets all: another history begins. */
void unseen_clear(struct unseen *unseen);

#endif
