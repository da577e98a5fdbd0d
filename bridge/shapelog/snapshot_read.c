/*
 * Reading a shape's first rows, block by block, while they are written and afterwards. Files are
 * read without the lock: a file that has users stays.
 */
#include "shapelog/snapshot_file.h"
#include "base/logging.h"
#include "shapelog/io.h"

#include <stdlib.h>

static void release(struct log *log)
{
    struct snapshot_file *file = log->file;

    if (file && file->users > 0 && --file->users == 0)
        snapshot_file_rest(log);
}

/* Reads the complete file's table and leaves it with the log, unless another thread has done so
 * meanwhile. Holding the lock, which it lets go in between. */
static bool load(struct log *log, struct err *err)
{
    struct shapelog *store = log->store;

    pthread_mutex_unlock(&store->snapshots);
    struct snapshot_file *file = snapshot_file_load(log, err);
    pthread_mutex_lock(&store->snapshots);
    if (!file)
        return false;
    if (log->file)
        snapshot_file_free(store, file);
    else
        log->file = file;
    return true;
}

/* Whether what there is of the snapshot can be looked up: once it is complete its table has to be
 * read, but for one without rows, which has no file. Holding the lock. */
static bool has_table(const struct log *log, enum log_state state)
{
    return !snapshot_is_complete(state) || log->file || log->snapshot_bytes == 0;
}

static bool check_bytes(int fd, const struct block_entry *block, struct err *err)
{
    const size_t len = (size_t)(block_entry_end(block) - block->offset);
    char *bytes = xmalloc(len);
    bool ok = io_read(fd, bytes, len, block->offset, err);

    if (ok && hash_bytes((struct slice){bytes, len}) != block->sum)
        ok = err_set(err, ERR_CORRUPT, "the snapshot is damaged at byte %llu",
                     (unsigned long long)block->offset);
    free(bytes);
    return ok;
}

/* Holding the lock, which it lets go in between: the file has this user and stays, its blocks may
 * move. */
static bool check_block(struct log *log, uint32_t index, struct err *err)
{
    struct snapshot_file *file = log->file;
    const struct block_entry block = file->blocks[index];

    if (block.checked)
        return true;
    pthread_mutex_unlock(&log->store->snapshots);
    bool ok = check_bytes(file->fd, &block, err);
    pthread_mutex_lock(&log->store->snapshots);
    file->blocks[index].checked = ok;
    return ok;
}

/* Holding the lock. False when it could not be read: err says why. */
static bool get_block(struct log *log, enum log_state state, uint32_t index,
                      struct snapshot_block *block, enum snapshot_read *result, struct err *err)
{
    *result = snapshot_is_complete(state) ? SNAPSHOT_END : SNAPSHOT_WAIT;
    if (!has_table(log, state) && !load(log, err))
        return false;
    struct snapshot_file *file = log->file;

    if (!file || index >= file->n)
        return true;
    file->users++;
    if (!check_block(log, index, err)) {
        release(log);
        return false;
    }
    const struct block_entry *entry = &file->blocks[index];

    *block = (struct snapshot_block){.log = log,
                                     .fd = file->fd,
                                     .offset = entry->offset,
                                     .len = entry->len,
                                     .rows = entry->rows,
                                     .ends_chunk = entry->ends_chunk};
    *result = SNAPSHOT_BLOCK;
    return true;
}

/* What was found out about a file: ends the log when it is damaged. */
static void unreadable(struct shapelog *store, struct log *log, const struct err *err)
{
    log_error("a snapshot cannot be read", LOG_STR("log", log->handle), LOG_ERR(err));
    if (err->code == ERR_CORRUPT)
        shapelog_end_log(store, log, "the snapshot is damaged");
}

/* Takes in what is behind the block at `index`, up to the end of its chunk, as far as that needs no
 * check; returns the index behind it. Holding the lock. */
static uint32_t extend(const struct snapshot_file *file, uint32_t index,
                       struct snapshot_block *block)
{
    const struct block_entry *last = &file->blocks[index++];

    for (; index < file->n && !last->ends_chunk && file->blocks[index].checked; index++) {
        last = &file->blocks[index];
        block->rows += last->rows;
    }
    block->len = (size_t)(block_entry_end(last) - block->offset);
    block->ends_chunk = last->ends_chunk;
    return index;
}

/* `next`: where the index behind a stretch goes, NULL when it is to be the block alone. */
static enum snapshot_read read_block(struct shapelog *store, struct log *log, uint32_t index,
                                     struct snapshot_block *block, uint32_t *next)
{
    /* Before the table is looked at: a log that is LIVE by then has all its blocks in it. */
    enum log_state state = log_state_of(log);
    enum snapshot_read result = SNAPSHOT_GONE;
    struct err err;

    if (state == LOG_ENDED)
        return SNAPSHOT_GONE;
    pthread_mutex_lock(&store->snapshots);
    bool ok = get_block(log, state, index, block, &result, &err);
    if (ok && next && result == SNAPSHOT_BLOCK)
        *next = extend(log->file, index, block);
    pthread_mutex_unlock(&store->snapshots);
    if (ok)
        return result;
    unreadable(store, log, &err);
    return SNAPSHOT_GONE;
}

enum snapshot_read log_snapshot_block(struct shapelog *store, struct log *log, uint32_t index,
                                      struct snapshot_block *block)
{
    return read_block(store, log, index, block, NULL);
}

enum snapshot_read log_snapshot_stretch(struct shapelog *store, struct log *log, uint32_t *index,
                                        struct snapshot_block *stretch)
{
    return read_block(store, log, *index, stretch, index);
}

void snapshot_block_release(const struct snapshot_block *block)
{
    struct shapelog *store = block->log->store;

    pthread_mutex_lock(&store->snapshots);
    release(block->log);
    pthread_mutex_unlock(&store->snapshots);
}

struct snapshot_block *snapshot_block_keep(const struct snapshot_block *block)
{
    struct snapshot_block *kept = xmalloc(sizeof(*kept));

    *kept = *block;
    log_ref(kept->log);
    return kept;
}

void snapshot_block_drop(void *kept)
{
    struct snapshot_block *block = kept;
    struct log *log = block->log;

    snapshot_block_release(block);
    log_unref(log);
    free(block);
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* Index of the first block that is in chunk `number` or behind it. */
static uint32_t chunk_begin(const struct snapshot_file *file, uint32_t number)
{
    uint32_t lo = 0, hi = file ? file->n : 0;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (file->blocks[mid].chunk < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* How many chunks have closed. */
static uint32_t closed_chunks(const struct snapshot_file *file)
{
    const struct block_entry *last = file && file->n > 0 ? &file->blocks[file->n - 1] : NULL;

    return last ? last->chunk + last->ends_chunk : 0;
}

static void fill_chunk(const struct snapshot_file *file, uint32_t number, bool complete,
                       struct snapshot_chunk *chunk)
{
    const uint32_t closed = closed_chunks(file), first = chunk_begin(file, number);
    const uint32_t end = number < closed ? chunk_begin(file, number + 1) : file ? file->n : 0;

    *chunk = (struct snapshot_chunk){.block = first,
                                     .blocks = end - first,
                                     .complete = number < closed || complete,
                                     .last = number == closed && complete};
    if (end > first)
        chunk->size = block_entry_end(&file->blocks[end - 1]) - file->blocks[first].offset;
}

/* Holding the lock. */
static enum chunk_is get_chunk(const struct log *log, bool complete, uint32_t number,
                               struct snapshot_chunk *chunk)
{
    if (number > closed_chunks(log->file))
        return complete ? CHUNK_NONE : CHUNK_WAIT;
    fill_chunk(log->file, number, complete, chunk);
    return CHUNK_THERE;
}

enum chunk_is log_snapshot_chunk_at(struct shapelog *store, struct log *log, uint32_t number,
                                    struct snapshot_chunk *chunk)
{
    enum log_state state = log_state_of(log); /* first, as above */
    const bool complete = snapshot_is_complete(state);
    enum chunk_is is = CHUNK_GONE;
    struct err err;

    if (state == LOG_ENDED)
        return CHUNK_GONE;
    if (state == LOG_PENDING)
        return CHUNK_WAIT;
    pthread_mutex_lock(&store->snapshots);
    bool ok = has_table(log, state) || load(log, &err);
    if (ok)
        is = get_chunk(log, complete, number, chunk);
    pthread_mutex_unlock(&store->snapshots);
    if (!ok)
        unreadable(store, log, &err);
    return is;
}

bool log_snapshot_chunk(struct shapelog *store, struct log *log, uint32_t number, uint32_t *index)
{
    struct snapshot_chunk chunk;
    bool there = log_snapshot_chunk_at(store, log, number, &chunk) == CHUNK_THERE;

    if (there)
        *index = chunk.block;
    return there;
}
