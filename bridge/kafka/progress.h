/*
 * Of which tables the first rows are published, and by which snapshot: what of the stream is still
 * to be published of them. Kept in a file of the bridge's folder, so that it is known after a
 * restart.
 *
 *     WANTED ---> QUEUED ---> BEGUN ---> SENT ---> DONE
 *        ^----------'-----------'----------'
 *        the queue was dropped, or the bridge ended
 *
 * From the first time that they are BEGUN all changes are published that this snapshot did not see,
 * for good: a part of the rows may be in the topic, and if they are WANTED again, those that are
 * deleted by then must be seen to go. So later snapshots hide nothing: what they saw may come
 * behind their rows once more.
 *
 * Any thread; a mutex guards all.
 */
#ifndef KAFKA_PROGRESS_H
#define KAFKA_PROGRESS_H

#include "base/hash.h"
#include "change/change.h"
#include "change/table.h"

struct progress;

/* What is in the folder's file, if anything. */
struct progress *progress_open(const char *data_dir);
void progress_free(struct progress *progress);
/* For who does not publish any more: what the stream brings meanwhile will be missing. */
void progress_forget_folder(const char *data_dir);

/* Whether first rows are wanted, or were published by an entry of the publication that has not been
 * there all the time since. */
bool progress_wants(struct progress *progress, const struct table *table);
/* Whether changes of this transaction are published: first rows are ahead of them, or may be, and
 * do not have them. */
bool progress_takes(struct progress *progress, uint32_t relid, const struct txn *txn);

/* WANTED -> QUEUED: `snapshot` is copied; from `limit` on it sees nothing. `position`: where the
 * stream stood. */
void progress_queued(struct progress *progress, const struct table *table,
                     const struct snapshot *snapshot, lsn_t limit, lsn_t position);
/* QUEUED -> BEGUN, into the file: everything before the rows is delivered. */
bool progress_begun(struct progress *progress, uint32_t relid, struct err *err) MUST_CHECK;
/* BEGUN -> SENT, or -> WANTED when `ok` is false. */
void progress_sent(struct progress *progress, uint32_t relid, bool ok);
/* All that was put at positions up to `acked` is delivered: SENT -> DONE, into the file. */
bool progress_acked(struct progress *progress, lsn_t acked, struct err *err) MUST_CHECK;
/* The stream begins anew: what was not delivered by then, for all that is known, is WANTED. */
void progress_connected(struct progress *progress);
/* Forgets all but those whose relids are keys of the map; NULL: all. */
bool progress_keep(struct progress *progress, const struct u64map *relids,
                   struct err *err) MUST_CHECK;

#endif
