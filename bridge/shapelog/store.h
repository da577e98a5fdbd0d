/*
 * The store from inside: what the files of this folder share. The public contract is in
 * shapelog/shapelog.h; in reading order the files are
 *
 *     io, block, segment, extents   bytes
 *     catalog, _logs, _segments     what is in tombolo.db (_sql: SQLite; _table: a table as bytes)
 *     store, log, log_table         the logs there are, their life
 *     segments, figures             the segments there are; what the store is asked for
 *     append, read                  the stream's side, the readers' side
 *     messages, chunks, range       the log by offsets, for the shape API
 *     snapshot_file, _write, _read  first rows
 *     live                          a log is complete
 *     syncer, compact               what happens behind the stream's back
 *     recover                       the start
 *     wait                          who wants to hear of news
 *
 * Locks, in the order in which they may be taken: cycle (a syncer's cycle, compaction, reset), live
 * (a log becomes LIVE in the catalogue), snapshots, registry, the catalogue's own, a log's stripe,
 * segments_lock, sync_lock, a listener's, recent_lock. No two stripes at a time.
 */
#ifndef SHAPELOG_STORE_H
#define SHAPELOG_STORE_H

#include "base/hash.h"
#include "shapelog/catalog.h"
#include "shapelog/extents.h"
#include "shapelog/segment.h"
#include "shapelog/shapelog.h"

#include <pthread.h>
#include <stdatomic.h>

#define STRIPES 64u
#define LISTENERS 64u
#define MESSAGE_MAX ((size_t)1 << 30)

/* ---- a log ----------------------------------------------------------------------------------- */

/* A transaction that ends the log unless its snapshot sees it. */
struct log_end {
    struct log_end *next;
    lsn_t commit_lsn;
    uint32_t xid;
    char reason[];
};

/* What a log's rows were read under. Logs that were filled together share theirs. */
struct shared_snapshot {
    atomic_uint refs;
    struct snapshot is;
    uint64_t xip[];
};

/* So many are looked through: each of the workers that make logs side by side has its own. */
#define RECENT 8u

struct snapshot_file;
struct chunks;

/* What each append touches comes first, in two cache lines: with many logs those are the cost. */
struct log {
    atomic_uint refs;
    atomic_int state; /* enum log_state; moves under the stripe */
    uint64_t id;
    struct shapelog *store;

    /* The stream's alone. */
    uint64_t txn;        /* the appender's number of the last transaction that touched it */
    uint64_t open_block; /* where its last message went: that lane's filling, ... */
    uint32_t open_ref;   /* ... and its ref in there */
    bool touched;        /* since the last publish */
    uint16_t handle_len; /* never changes */

    /* Under the stripe. */
    lsn_t registered; /* P; LSN_NONE: not registered */
    struct extents extents;
    uint64_t log_bytes;

    atomic_uint_fast64_t watchers; /* a bit a listener */
    atomic_uint_fast64_t queued;   /* likewise: it is in that listener's queue */

    _Atomic(struct shape *) shape; /* a reference; NULL while LOADED */

    /* Under the stripe. */
    lsn_t limit; /* L; LSN_NONE: not known */
    struct shared_snapshot *snapshot;
    struct log_end *ends;
    char *reason;
    struct err *failure;   /* NULL: its snapshot has not failed */
    struct table *table;   /* newer than its shape's, a reference; NULL: there is none */
    struct chunks *chunks; /* NULL: no bound was needed yet */
    size_t chunk_size;     /* never changes */

    /* Under the lock `snapshots`. */
    struct snapshot_file *file;
    uint64_t snapshot_bytes; /* on disk, when it is complete */

    char handle[];
};

static inline enum log_state log_state_of(const struct log *log)
{
    return (enum log_state)atomic_load_explicit(&log->state, memory_order_acquire);
}

/* ---- appending ------------------------------------------------------------------------------- */

/* One log's messages in a lane's data. */
struct ref {
    struct log *log; /* referenced by the transaction's list of touched logs */
    uint32_t start, end;
    uint32_t first_op, last_op;
};

/* What a lane fills; lanes borrow them, so that an idle lane has none. */
struct filling {
    struct filling *next; /* in the pool */
    struct buf data;
    struct ref *refs;
    size_t nrefs, cap;
};

struct lane {
    struct filling *filling; /* NULL: nothing in it */
    uint64_t block;          /* number of this filling, never the same again */
};

struct logs {
    struct log **items;
    size_t len, cap;
};

/* The segment that is written to. */
struct tail {
    struct segment *segment; /* NULL: none yet */
    struct buf bytes;        /* not yet in the file, ... */
    uint64_t written;        /* ... whose end is here */
    struct footer footer;
    bool sealing; /* the footer is among the bytes */
};

/* What rollback goes back to. */
struct tail_mark {
    uint32_t segment;
    uint64_t end;
    size_t footer_len;
    uint32_t footer_blocks;
    struct block_head footer_last;
};

struct appender {
    bool open, known;
    struct txn txn;
    uint64_t number;  /* of the transaction, in this process */
    uint32_t attempt; /* block_head.txn */
    uint64_t blocks;  /* numbers fillings */
    bool any;         /* a block was written for it */
    struct tail tail;
    struct tail_mark mark;
    struct lane **dirty;
    size_t ndirty, dirty_cap;
    size_t held; /* bytes in the dirty lanes */
    struct filling *pool;
    size_t npool;
    struct logs in_txn;  /* touched by the open transaction, referenced */
    struct logs touched; /* by transactions not yet published, referenced */
};

/* ---- what is to be synced -------------------------------------------------------------------- */

struct numbers {
    uint64_t *items;
    size_t len, cap;
};

struct segments {
    struct segment **items;
    size_t len, cap;
};

/* Under sync_lock. */
struct sync_state {
    struct catalog_mark mark; /* where the next sync gets to: set by shapelog_publish() */
    bool dirty;               /* written since the last one was captured */
    struct segments written;  /* with bytes that may not be on disk, referenced */
    struct segments made;     /* not yet in the catalogue, referenced */
    struct segments sealed;   /* whose logs are not yet in the catalogue, referenced */
    struct numbers ended;     /* logs to delete from the catalogue */
    bool busy;                /* what was captured is not yet on disk */
    bool stop;
};

/* ---- the store ------------------------------------------------------------------------------- */

struct listener_slot {
    pthread_mutex_t lock;
    struct log_listener *listener; /* NULL: free */
    struct log **queue;            /* referenced; a ring */
    size_t head, len, cap;
};

struct log_entry {
    uint64_t id;
    struct log *log; /* NULL: gone */
};

/* Recent commits, for their times. */
#define TIMES 4096u
struct times {
    pthread_mutex_t lock;
    struct {
        lsn_t lsn;
        int64_t us;
    } ring[TIMES];
    uint64_t n; /* ever added */
};

struct shapelog {
    char *dir;
    uint64_t segment_size;
    int sync_interval_ms;
    size_t chunk_size;
    int lock_fd;
    struct catalog *catalog;

    _Atomic lsn_t published, durable, last_commit;
    atomic_uint resets;

    /* Of the logs that have not ended; it holds a reference to each. */
    pthread_mutex_t registry;
    struct log_entry *logs; /* by id */
    size_t nlogs, logs_cap, logs_gone;
    struct hashset by_handle, by_shape;
    uint64_t next_id, reserved_id;
    int64_t last_handle_us;
    struct shapelog_source source;

    pthread_mutex_t recent_lock;
    struct shared_snapshot *recent[RECENT]; /* that logs were given, referenced */
    size_t at_recent;                       /* the next goes there */

    pthread_mutex_t stripes[STRIPES];

    pthread_mutex_t segments_lock;
    struct u64map segments; /* number -> struct segment, a reference each */
    atomic_uint next_segment;

    pthread_mutex_t snapshots;
    atomic_uint snapshots_open; /* descriptors */
    unsigned snapshots_kept;    /* so many of them though nobody reads */

    struct appender appender; /* the stream's */
    struct times times;

    pthread_mutex_t cycle, live;
    pthread_mutex_t sync_lock;
    pthread_cond_t sync_wanted;
    struct sync_state sync;
    pthread_t syncer;
    bool syncer_runs, sync_failed;
    uint32_t durable_segment; /* segments below it hold whole, durable transactions: under cycle */

    struct listener_slot listeners[LISTENERS];
};

/* ---- store.c --------------------------------------------------------------------------------- */

/* The lock of what the log has "under the stripe". */
static inline pthread_mutex_t *log_stripe(const struct log *log)
{
    return &log->store->stripes[log->id % STRIPES];
}

struct log *log_new(struct shapelog *store, uint64_t id, struct slice handle, enum log_state state);
/* Puts the log into the registry, which takes over the reference. Holding the registry. */
void registry_add(struct shapelog *store, struct log *log);
/* The log with this id, not referenced, or NULL. Holding the registry, or while no other thread is
 * there. */
struct log *registry_by_id(struct shapelog *store, uint64_t id);

void logs_push(struct logs *logs, struct log *log);
void numbers_push(struct numbers *numbers, uint64_t n);
/* Ends the process when a buffer could not grow. */
void buf_must(const struct buf *buf);

/* ---- segments.c ------------------------------------------------------------------------------ */

/* The segment, referenced, or NULL. Any. */
struct segment *store_segment(struct shapelog *store, uint32_t number);
/* Adds it, taking over the reference. */
void store_add_segment(struct shapelog *store, struct segment *segment);
/* Takes it out and unlinks its file; readers go on. */
void store_drop_segment(struct shapelog *store, struct segment *segment);
/* Ends every log that has extents in the damaged segment. Any. */
void store_segment_damaged(struct shapelog *store, const struct segment *segment,
                           const struct err *why);
void segments_push(struct segments *segments, struct segment *segment);
/* Gives back the references and the memory. */
void segments_release(struct segments *segments);

/* ---- figures.c ------------------------------------------------------------------------------- */

void times_add(struct times *times, lsn_t lsn, int64_t us);

/* ---- log.c ----------------------------------------------------------------------------------- */

/* Whether readers are shown this transaction. Holding the stripe. */
bool log_shows(const struct log *log, lsn_t commit_lsn, uint32_t xid);
/* Adds what the log has of a transaction; false when it has ended. Takes the stripe. */
bool log_add_extent(struct log *log, const struct extent *extent);
/* Takes back what it has of this transaction. */
void log_drop_txn(struct shapelog *store, struct log *log, lsn_t commit_lsn);
/* A reference to a recent one that is equal, or a copy. */
struct shared_snapshot *snapshot_share(struct shapelog *store, const struct snapshot *snapshot);
void snapshot_release(struct shared_snapshot *snapshot); /* NULL is allowed */

/* ---- append.c -------------------------------------------------------------------------------- */

void appender_init(struct appender *appender);
void appender_release(struct shapelog *store);

/* ---- read.c ---------------------------------------------------------------------------------- */

#define READ_ATTEMPTS 100u /* at opening runs; each one that fails says that compaction went by */

/* The extent as a run, its segment not yet looked up. */
void log_run_of(struct log_run *run, const struct extent *extent);
enum runs_opened {
    RUNS_OPEN,
    RUNS_MOVED,  /* a segment is gone: copy the extents again */
    RUNS_FAILED, /* err says why */
};
/* Looks up the segments of runs made by log_run_of(), checks and opens them. */
enum runs_opened runs_open(struct shapelog *store, struct log_run *runs, size_t n, struct err *err);
/* Ends a log whose segments were not found READ_ATTEMPTS times; returns false. */
bool log_lacks_segment(struct shapelog *store, struct log *log, struct err *err);
/* True, with the error for readers, when the log has ended. Holding the stripe. */
bool log_ended(const struct log *log, struct err *err);

/* An extent with its bytes. */
struct log_extent {
    struct extent at;
    struct slice bytes;
};
/* The extent's index holds as long as the log has not ended. Reads a file; takes the stripe. */
bool log_extent_load(struct shapelog *store, struct log *log, uint32_t index,
                     struct log_extent *extent, struct err *err) MUST_CHECK;
void log_extent_release(struct log_extent *extent);

/* ---- snapshot_file.c ------------------------------------------------------------------------- */

void snapshot_path(const struct shapelog *store, uint64_t id, struct buf *path);
/* A share of the files that the process may have open. */
unsigned snapshot_files_kept(void);
/* The log goes: closes its snapshot and, when it had ended or never was LIVE, deletes it. */
void snapshot_file_forget(struct log *log);

/* ---- live.c ---------------------------------------------------------------------------------- */

/* One that is to go live: its log is given, and what became of it. */
struct go_live {
    struct log *log;
    bool ok;
    struct err err;
};
/* COPYING logs whose snapshot files are complete and synced: records them in the catalogue and
 * moves them to LIVE. Waits for the disk, once for all of them. */
void logs_go_live(struct shapelog *store, struct go_live *items, size_t n);

/* ---- syncer.c, compact.c --------------------------------------------------------------------- */

bool syncer_start(struct shapelog *store, struct err *err) MUST_CHECK;
/* Syncs once more and ends the thread. */
void syncer_stop(struct shapelog *store);
/* There is something to do: a cycle begins within the interval. */
void syncer_wake(struct shapelog *store);
/* Takes the logs that are to be deleted from the catalogue. Holding `live`. */
struct numbers syncer_take_ended(struct shapelog *store);
/* Applies the batch, and with it deletes these logs: `ended` of the batch is not looked at. */
bool syncer_apply(struct shapelog *store, const struct catalog_batch *batch,
                  struct err *err) MUST_CHECK;
/* Deletes sealed segments that nothing refers to any more, with the rows of ended logs. Holding
 * cycle. */
bool compact_drop_dead(struct shapelog *store, struct err *err) MUST_CHECK;
/* Whether so much is dead that copying the rest pays. Holding cycle. */
bool compact_pays(struct shapelog *store);
/* One pass; *worked says whether there was anything to do. Holding cycle. */
bool compact_pass(struct shapelog *store, bool *worked, struct err *err) MUST_CHECK;
/* The logs that a footer's body names, each once, as varints of differences: for the catalogue. */
bool footer_logs(struct slice body, struct buf *out);

/* ---- recover.c ------------------------------------------------------------------------------- */

bool store_recover(struct shapelog *store, struct err *err) MUST_CHECK;

/* ---- wait.c ---------------------------------------------------------------------------------- */

/* Queues the log with everyone who watches it. The bits returned must be given to wait_wake(). */
uint64_t wait_queue(struct log *log);
void wait_wake(struct shapelog *store, uint64_t listeners);
/* Both. */
void wait_notify(struct log *log);

#endif
