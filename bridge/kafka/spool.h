/*
 * A queue of byte entries, first in, first out: in memory up to some MB, then in files of a folder
 * up to a limit.
 *
 *     segments   [head, being read] -> [file] -> [file] -> ... -> [tail, being written]
 *
 * A segment in the middle lies in a file of its own, which is read back as a whole and removed. The
 * files are never synced: what they hold Postgres has too. No locks: its owner has one.
 */
#ifndef KAFKA_SPOOL_H
#define KAFKA_SPOOL_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

struct spool;

/* The folder is made with the first file; files that an earlier life left there are removed. `dir`
 * is copied. */
struct spool *spool_new(const char *dir, uint64_t limit);
void spool_free(struct spool *spool);
/* Adds a copy of `parts`, joined, as one entry. ERR_LIMIT when there is no room; other failures are
 * of the files. */
bool spool_put(struct spool *spool, const struct slice *parts, size_t n,
               struct err *err) MUST_CHECK;
/* The next entry in *entry, for the reader until its next call; *entry is {0} when there is none.
 */
bool spool_take(struct spool *spool, struct slice *entry, struct err *err) MUST_CHECK;
/* Forgets all; the entry taken last too. */
void spool_clear(struct spool *spool);
/* Bytes that wait; of these in files. */
uint64_t spool_bytes(const struct spool *spool);
uint64_t spool_file_bytes(const struct spool *spool);

#endif
