/*
 * The shape log: every shape's rows and changes as the JSON messages that clients are sent, on
 * disk.
 *
 * On disk, in the data folder:
 *
 *     tombolo.db                 SQLite: which logs there are, their shapes, their snapshots, the
 *                                stream they belong to, how far the rest is synced
 *     segments/<number>.seg      changes of all shapes, in the order they arrived; checksums a
 *                                block, a commit mark a transaction
 *     snapshots/<log id>.snap    the first rows of one shape; never changed once complete
 *
 * In memory each log has its extents: where in the segments its messages lie, in commit order.
 * Messages of one extent, and of one snapshot block, are joined by ",", so that an extent is sent
 * as it lies there.
 *
 * Nothing is synced while the stream runs; a syncer thread does it now and then, and the slot is
 * confirmed up to shapelog_durable(). What a crash takes is sent again by Postgres, with the same
 * offsets. A transaction whose commit mark is missing never happened. What turns out damaged ends
 * the logs that need it: their clients fetch again. It never becomes a wrong row.
 *
 * Threads: "stream" is the one thread that appends; "any" may be any thread. Readers see a
 * transaction only when shapelog_publish() has moved the published position past it, and then all
 * of it, in every log at once.
 */
#ifndef SHAPELOG_SHAPELOG_H
#define SHAPELOG_SHAPELOG_H

#include "base/arena.h"
#include "base/err.h"
#include "change/change.h"
#include "change/lsn.h"
#include "shapes/shape.h"

#include <stdint.h>

struct shapelog;
struct log;

struct shapelog_config {
    const char *dir;       /* made when missing */
    uint64_t segment_size; /* a segment is sealed when it reaches this; 0: 16 MiB: what a reader
                              checks in one go after a restart. At most 1 GiB */
    int sync_interval_ms;  /* 0: 100 */
    size_t chunk_size;     /* a chunk of a snapshot or of the log closes when it reaches this; 0:
                              10485760 */
};

/* ---- the store ------------------------------------------------------------------------------- */

/* Opens and recovers. Logs whose data is damaged are ended on the way, and logged. The logs are
 * there without their shapes: the caller types each one again (shapelog_next(), log_bind()) or ends
 * it. Locks the folder: a second process gets ERR_BUSY. */
struct shapelog *shapelog_open(const struct shapelog_config *config, struct err *err) MUST_CHECK;
/* Syncs and closes; every reference to a log must have been given back. */
void shapelog_close(struct shapelog *store);
/* The data folder. */
const char *shapelog_dir(const struct shapelog *store);

/* Copies what live logs still need out of sealed segments that are mostly dead, and deletes these.
 * Handles, offsets, runs and bytes stay the same; readers keep what they have. The syncer does it
 * by itself when more than half of what is sealed is dead and that is more than four segments.
 * *worked: there was something to do, and may be more. Any thread. */
bool shapelog_compact(struct shapelog *store, bool *worked, struct err *err) MUST_CHECK;

/* Which stream the data belongs to; all zero in a new store. */
struct shapelog_source {
    char system_id[32];
    uint32_t timeline;
    char slot[64];
};
void shapelog_get_source(struct shapelog *store, struct shapelog_source *source);
/* Durable when it returns. Stream. */
bool shapelog_set_source(struct shapelog *store, const struct shapelog_source *source,
                         struct err *err) MUST_CHECK;
/* Ends every log, with this reason, and forgets the position. Stream. */
bool shapelog_reset(struct shapelog *store, const char *reason, struct err *err) MUST_CHECK;
/* How often that was so in this process: positions from before say nothing afterwards. Any. */
unsigned shapelog_resets(struct shapelog *store);

/* Commit LSN of the last transaction in the log: what Postgres sends again at or below it is there
 * already. Any. */
lsn_t shapelog_last_commit(struct shapelog *store);
/* The stream has passed this end LSN, and everything before it is on disk. Any. */
lsn_t shapelog_durable(struct shapelog *store);
/* All transactions with a commit LSN at or below this can be read. Any; one atomic load. */
lsn_t shapelog_published(struct shapelog *store);
/* Commit time in microseconds since 1970 of a recently published transaction, 0 when it is not
 * known any more. Any. */
int64_t shapelog_commit_time(struct shapelog *store, lsn_t commit_lsn);

/* ---- logs ------------------------------------------------------------------------------------ */

enum log_state {
    LOG_LOADED,  /* recovered, its shape not yet typed */
    LOG_PENDING, /* collecting the stream, snapshot not yet taken */
    LOG_COPYING, /* snapshot taken: its rows are arriving */
    LOG_LIVE,    /* snapshot complete and, with the log, durable */
    LOG_ENDED,   /* rotated: readers are told to fetch again */
};

/* Makes a log for the shape, in state PENDING, unless one of the same shape is there: then that
 * one, referenced, and *made is false. It is found by handle and shape from now on, but holds
 * nothing and is not durable before it is LIVE. Any. */
struct log *shapelog_create(struct shapelog *store, struct shape *shape, bool *made,
                            struct err *err) MUST_CHECK;
/* Referenced, or NULL. Never an ENDED one. Any. */
struct log *shapelog_find(struct shapelog *store, struct slice handle);
struct log *shapelog_find_shape(struct shapelog *store, const struct shape *shape);
/* Walks all logs that have not ended, referenced each: start with *at = 0. Any. */
struct log *shapelog_next(struct shapelog *store, uint64_t *at);

struct log *log_ref(struct log *log);
void log_unref(struct log *log);

uint64_t log_id(const struct log *log);         /* never 0, never used again */
struct slice log_handle(const struct log *log); /* lives as long as the log; a NUL behind it */
struct shape *log_shape(const struct log *log); /* borrowed; NULL while LOADED */
enum log_state log_state(const struct log *log);
/* Why it ended, or why its snapshot failed: "" before that. */
void log_reason(struct log *log, char reason[256]);
/* Why its snapshot could not be made, with code and SQLSTATE: false when that is not why it ended.
 * Set, once, before the log is ended. Any. */
void log_set_failure(struct log *log, const struct err *err);
bool log_failure(struct log *log, struct err *err);

/* The log's table as the catalogue was seen last, a reference of the caller's: its shape's, or a
 * newer one that the shape fits. NULL while LOADED. Any. */
struct table *log_table(struct log *log);
/* Makes this the table of all these logs, now and after a restart. Any. */
bool shapelog_set_table(struct shapelog *store, struct log *const *logs, size_t n,
                        struct table *table, struct err *err) MUST_CHECK;
/* shape_put_schema() of the log's shape, from log_table(). Not while LOADED. Any. */
void log_put_schema(struct log *log, bool for_sync, struct buf *out);

/* The definition of a LOADED log, to type it again: the request as it was made (in the arena), and
 * the table as it was then (a reference of the caller's). */
bool log_definition(struct log *log, struct arena *arena, struct shape_request *request,
                    struct table **table, struct err *err) MUST_CHECK;
/* Gives a LOADED log its shape (takes a reference): it is LIVE. */
void log_bind(struct log *log, struct shape *shape);

/* Ends the log: it is found no more, its waiters are woken, its files go when the last reader has.
 * Durable before shapelog_durable() moves past the current position. Any. */
void shapelog_end_log(struct shapelog *store, struct log *log, const char *reason);

/* ---- the handoff of a new log ---------------------------------------------------------------- */

/* Stream: from here on its transactions are appended; `registered` is the commit LSN of the last
 * one before (P). */
void log_register(struct log *log, lsn_t registered);
/* Any (a snapshot worker), once: the rows that will be copied are those this snapshot sees; `limit`
 * (L) is the WAL insert position read after it. Transactions above P and below L that the snapshot
 * sees are left out by readers, whether appended before or after this call. PENDING -> COPYING. */
void log_set_snapshot(struct log *log, const struct snapshot *snapshot, lsn_t limit);
/* Whether the log takes this transaction: above P, and not one that its snapshot holds. True while
 * the snapshot is not known. Any. */
bool log_wants(struct log *log, const struct txn *txn);
/* Stream: the transaction ends the log (TRUNCATE, another schema) unless its snapshot turns out to
 * see it. */
void log_end_by(struct shapelog *store, struct log *log, const struct txn *txn, const char *reason);
/* L, or 0 while it is not known: the log agrees with Postgres at published positions from L on.
 * Any. */
lsn_t log_limit(struct log *log);
/* The snapshot (its xip in the arena); false while it is not known. Any. */
bool log_snapshot(struct log *log, struct arena *arena, struct snapshot *snapshot);

/* ---- writing a snapshot (one worker) --------------------------------------------------------- */

struct snapshot_writer;

struct snapshot_writer *snapshot_writer_new(struct shapelog *store, struct log *log,
                                            struct err *err) MUST_CHECK;
/* Adds one row's message. Readers follow while it is written. When it fails with ERR_DISK_FULL the
 * row was not added, and the call may be tried again. */
bool snapshot_writer_put(struct snapshot_writer *writer, struct slice message,
                         struct err *err) MUST_CHECK;
/* There are no more rows: readers get all of them now, and the writer's memory is given back. After
 * a failure the writer is to be abandoned. */
bool snapshot_writer_show(struct snapshot_writer *writer, struct err *err) MUST_CHECK;
/* Completes: syncs the file, records the log in the catalogue, COPYING -> LIVE. Frees the writer
 * either way. */
bool snapshot_writer_finish(struct snapshot_writer *writer, struct err *err) MUST_CHECK;
/* The same for several, which share what the disk is waited for; each has its own outcome. All
 * writers are freed. */
struct snapshot_end {
    struct snapshot_writer *writer;
    bool ok;
    struct err err;
};
void snapshot_writers_finish(struct snapshot_end *ends, size_t n);
/* Gives up: ends the log with the reason; frees the writer. */
void snapshot_writer_abandon(struct snapshot_writer *writer, const char *reason);

/* ---- appending (stream) ---------------------------------------------------------------------- */

/* A lane keeps messages of one kind (one projection of one table) side by side within a
 * transaction, so that an extent is long. Made once a projection, kept as long as it is used. */
struct lane;
struct lane *shapelog_lane_new(struct shapelog *store);
void shapelog_lane_free(struct shapelog *store, struct lane *lane);

/* Begins a transaction. *known says that the log holds it already (Postgres is sending it again):
 * then appends do nothing. What ends logs must be said all the same (log_end_by()): a log that it
 * ended shortly before a crash may be there again. */
bool shapelog_begin(struct shapelog *store, const struct txn *txn, bool *known,
                    struct err *err) MUST_CHECK;
/* Appends one message, whose offset is (commit_lsn, op), for the logs. `op` does not fall within a
 * log. The bytes are copied. When it fails with ERR_DISK_FULL the message was not appended, and
 * the call may be tried again; the same holds for shapelog_begin() and shapelog_commit(). */
bool shapelog_append(struct shapelog *store, struct lane *lane, struct slice message, uint64_t op,
                     struct log *const *logs, size_t nlogs, struct err *err) MUST_CHECK;
/* Ends the transaction with its commit mark. Not yet to be read: shapelog_publish(). */
bool shapelog_commit(struct shapelog *store, const struct txn *txn, struct err *err) MUST_CHECK;
/* The connection broke inside a transaction: voids it. No effect outside one. */
void shapelog_rollback(struct shapelog *store);
/* Outside a transaction: writes out what is buffered, makes everything up to `position` readable,
 * wakes the waiters of every log touched, and notes that the stream has passed `end_lsn`. Call it
 * when no more input is at hand. Fails with ERR_DISK_FULL when there is no room: nothing is lost or
 * published then, call it again later. */
bool shapelog_publish(struct shapelog *store, lsn_t position, lsn_t end_lsn,
                      struct err *err) MUST_CHECK;

/* ---- reading (any) --------------------------------------------------------------------------- */

struct segment;

/* One run of messages of one transaction, joined by ",": bytes [offset, offset + len) of the file.
 */
struct log_run {
    lsn_t commit_lsn;
    struct segment *segment; /* referenced by log_read(); give back with log_runs_release() */
    int fd;                  /* borrowed from the segment */
    uint64_t offset;
    uint32_t len;
    uint32_t first_op, last_op;
    bool last; /* ends what the log has of this transaction */
};

/* Where a reader is: it has had all transactions up to `after`, and `skip` runs of the next. */
struct log_cursor {
    lsn_t after;
    size_t skip;
};
/* The next runs with a commit LSN above the cursor's and at or below `upto` (and published), at
 * most `max` of them: whole transactions, unless one alone has more than `max` runs. The cursor is
 * moved behind what was returned; *n is 0 and the cursor as it was when there is nothing. Bounds of
 * runs never change while the log lives in this process. False when the log has ended, also on this
 * call because what it needs is damaged (ERR_NOT_FOUND, ERR_CORRUPT), or when a file could not be
 * read now (ERR_IO). */
bool log_read(struct shapelog *store, struct log *log, struct log_cursor *cursor, lsn_t upto,
              struct log_run *runs, size_t max, size_t *n, struct err *err) MUST_CHECK;
void log_runs_release(struct log_run *runs, size_t n);
/* Commit LSN of the last transaction at or below `upto` that the log holds, 0 for none. */
lsn_t log_last(struct log *log, lsn_t upto);
/* Offsets below this are not answerable any more (their changes were compacted away): P, or later.
 */
lsn_t log_first(struct log *log);

/* A part of the snapshot: whole messages joined by ",". */
struct snapshot_block {
    struct log *log; /* borrowed */
    int fd;          /* valid until snapshot_block_release(), at most while the log is referenced */
    uint64_t offset;
    size_t len;
    uint32_t rows;
    bool ends_chunk;
};
enum snapshot_read { SNAPSHOT_BLOCK, SNAPSHOT_WAIT, SNAPSHOT_END, SNAPSHOT_GONE };
/* Block number `index`, from 0. WAIT: not written yet, the log's waiters are woken when it is. END:
 * no more. GONE: the log has ended or the file is damaged. */
enum snapshot_read log_snapshot_block(struct shapelog *store, struct log *log, uint32_t index,
                                      struct snapshot_block *block);
/* Block number *index and those behind it in its chunk that can be read at once. Such a stretch has
 * what stands behind it in a chunk's array, which log_snapshot_block() leaves out: "," or, when it
 * ends the chunk, "]". *index becomes that of the block behind it. To be released as a block. */
enum snapshot_read log_snapshot_stretch(struct shapelog *store, struct log *log, uint32_t *index,
                                        struct snapshot_block *stretch);
/* Says that the block's fd is not used any more: above some thousand open files it is closed then.
 * Call it once for each SNAPSHOT_BLOCK. */
void snapshot_block_release(const struct snapshot_block *block);
/* A block that outlives the caller, with a reference of its own on the log; the release of `block`
 * is now snapshot_block_drop()'s, of type void (*)(void *) for those who send files. */
struct snapshot_block *snapshot_block_keep(const struct snapshot_block *block);
void snapshot_block_drop(void *kept);

/* Chunks of a snapshot are blocks side by side. One closes with the row that makes its rows' bytes,
 * one more each, reach the log's chunk size. Behind the last one that has closed there is always
 * one more, maybe without rows: it ends with the snapshot. */
struct snapshot_chunk {
    uint32_t block;  /* its first */
    uint32_t blocks; /* so far */
    uint64_t size;   /* bytes of them, with the "," or "]" behind each */
    bool complete;   /* no block will be added */
    bool last;       /* of the snapshot; known when it is complete */
};
enum chunk_is {
    CHUNK_THERE, /* its blocks can be read, and waited for */
    CHUNK_WAIT,  /* the snapshot is being taken and has not come so far: the log's waiters are woken
                    when there is more */
    CHUNK_NONE,  /* the snapshot has less chunks: what follows is the log */
    CHUNK_GONE,  /* the log has ended, or the file cannot be read */
};
/* Looks for chunk number `number`, from 0: an offset 0_k asks for number k + 1. Cheap, but for the
 * first look after a start. */
enum chunk_is log_snapshot_chunk_at(struct shapelog *store, struct log *log, uint32_t number,
                                    struct snapshot_chunk *chunk);
/* Whether it is there, and its first block. */
bool log_snapshot_chunk(struct shapelog *store, struct log *log, uint32_t number, uint32_t *index);

/* ---- waiting --------------------------------------------------------------------------------- */

/* A loop that has waiters. It is told which logs have news: they were published to, their snapshot
 * grew, their state changed. At most 64 listeners. */
struct log_listener {
    /* Called on the stream's or a worker's thread after news was queued: must only wake the loop
     * (an eventfd). */
    void (*wake)(struct log_listener *listener);
    unsigned slot; /* the store's */
};
bool shapelog_listen(struct shapelog *store, struct log_listener *listener,
                     struct err *err) MUST_CHECK;
/* It watches nothing any more. */
void shapelog_unlisten(struct shapelog *store, struct log_listener *listener);
/* The listener wants to hear of this log from now on, until unwatched. To miss nothing, look again
 * after watching. On the loop. */
void log_watch(struct shapelog *store, struct log *log, struct log_listener *listener);
void log_unwatch(struct shapelog *store, struct log *log, struct log_listener *listener);
/* Takes the next log with news, referenced, or NULL. Each is queued once until taken. On the loop.
 */
struct log *log_listener_next(struct shapelog *store, struct log_listener *listener);

/* ---- figures --------------------------------------------------------------------------------- */

/* Bytes of the snapshot, and of the messages that followed it: for the policy that starts a new
 * generation of a log which has become much larger than its snapshot. Any. */
void log_get_size(struct log *log, uint64_t *snapshot_bytes, uint64_t *log_bytes);

/* How many logs there are. Cheap. */
size_t shapelog_count(struct shapelog *store);

struct shapelog_stats {
    uint64_t logs, segments, segment_bytes, snapshot_bytes, extents, memory_bytes;
};
void shapelog_get_stats(struct shapelog *store, struct shapelog_stats *stats);

#endif
