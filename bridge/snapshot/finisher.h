/*
 * The end of first rows: the files go to disk, the catalogue is told, the logs are LIVE. A thread
 * does that for all logs that have come while it was at the ones before; so the more there are, the
 * less each of them waits for the disk, and no worker waits for it at all.
 */
#ifndef SNAPSHOT_FINISHER_H
#define SNAPSHOT_FINISHER_H

#include "shapelog/shapelog.h"
#include "snapshot/pool.h"

struct finisher;

/* NULL: its thread could not be started. The stats are borrowed, and counted in. */
struct finisher *finisher_new(struct snapshot_stats *stats) MUST_CHECK;
/* Finishes what it was given first. NULL is allowed. */
void finisher_free(struct finisher *finisher);
/* The log has all of its rows. Takes over the writer and the reference; waits while very many wait
 * for the disk. Any thread. */
void finisher_put(struct finisher *finisher, struct snapshot_writer *writer, struct log *log);

#endif
