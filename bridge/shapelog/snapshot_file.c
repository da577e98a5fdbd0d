/*
 * The first rows of a shape: a file of blocks, each whole messages joined by ",".
 *
 *     blocks        side by side, from offset 0
 *     table         a block each: len 4, rows 4, flags 4 (1: ends a chunk), XXH3 8
 *     "TMBSNP01"  8
 *     log id      8
 *     blocks      4
 *     reserved    4
 *     sum         8   XXH3 of the table and the 24 bytes above
 *
 * It is made when the first block is full, and deleted with its log; a snapshot without rows has no
 * file. Readers follow the writer block by block. Of a complete one the table is read when someone
 * first asks, and each block is checked before it is first served. The descriptor is kept open
 * unless there are very many.
 */
#include "shapelog/io.h"
#include "shapelog/store.h"
#include "base/logging.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC "TMBSNP01"
#define TRAILER_SIZE 32u
#define ENTRY_SIZE 20u
#define BLOCK_TARGET ((size_t)256 << 10)
#define OPEN_MAX_KEPT 4096u
#define ENDS_CHUNK 1u

struct block_entry {
    uint64_t offset, sum;
    uint32_t len, rows;
    bool ends_chunk, checked;
};

/* Under store->snapshots. */
struct snapshot_file {
    int fd; /* -1: no rows */
    uint32_t n, cap;
    unsigned users; /* blocks handed out */
    struct block_entry *blocks;
};

void snapshot_path(const struct shapelog *store, uint64_t id, struct buf *path)
{
    buf_printf(path, "%s/snapshots/%llu.snap", store->dir, (unsigned long long)id);
}

static int open_file(struct shapelog *store, uint64_t id, int flags)
{
    struct buf path;

    buf_init(&path, BUF_NO_LIMIT);
    snapshot_path(store, id, &path);
    int fd = open(buf_cstr(&path), flags | O_CLOEXEC, 0640);

    buf_release(&path);
    if (fd >= 0)
        atomic_fetch_add(&store->snapshots_open, 1);
    return fd;
}

static struct snapshot_file *file_new(int fd)
{
    struct snapshot_file *file = xcalloc(1, sizeof(*file));

    file->fd = fd;
    return file;
}

static void file_free(struct shapelog *store, struct snapshot_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0) {
        close(file->fd);
        atomic_fetch_sub(&store->snapshots_open, 1);
    }
    free(file->blocks);
    free(file);
}

static void file_add(struct snapshot_file *file, const struct block_entry *block)
{
    if (file->n == file->cap) {
        file->cap = file->cap ? file->cap * 2 : 1;
        file->blocks = xrealloc(file->blocks, file->cap * sizeof(*file->blocks));
    }
    file->blocks[file->n++] = *block;
}

void snapshot_file_forget(struct log *log)
{
    struct shapelog *store = log->store;
    enum log_state state = log_state_of(log);
    struct buf path;

    file_free(store, log->file);
    log->file = NULL;
    if (state == LOG_LIVE || state == LOG_LOADED)
        return;
    buf_init(&path, BUF_NO_LIMIT);
    snapshot_path(store, log->id, &path);
    unlink(buf_cstr(&path));
    buf_release(&path);
}

/* ---- writing --------------------------------------------------------------------------------- */

struct snapshot_writer {
    struct shapelog *store;
    struct log *log; /* a reference */
    struct buf block;
    uint32_t rows;   /* in the block */
    size_t in_chunk; /* bytes of rows, one more each, since the last chunk closed */
    bool close;      /* the block is to be written before another row is added */
    bool ends_chunk;
    uint64_t offset;  /* where the block goes */
    size_t done;      /* bytes of it that are in the file already (the disk was full) */
    struct buf table; /* entries of the blocks so far */
    uint32_t blocks;
};

struct snapshot_writer *snapshot_writer_new(struct shapelog *store, struct log *log,
                                            struct err *err)
{
    enum log_state state = log_state_of(log);

    if (state != LOG_COPYING) {
        err_set(err, state == LOG_ENDED ? ERR_NOT_FOUND : ERR_INPUT,
                "the log is not waiting for a snapshot");
        return NULL;
    }
    struct snapshot_writer *writer = xcalloc(1, sizeof(*writer));

    writer->store = store;
    writer->log = log_ref(log);
    buf_init(&writer->block, BUF_NO_LIMIT);
    buf_init(&writer->table, BUF_NO_LIMIT);
    return writer;
}

static void writer_free(struct snapshot_writer *writer)
{
    log_unref(writer->log);
    buf_release(&writer->block);
    buf_release(&writer->table);
    free(writer);
}

/* The file, made when there is none yet. */
static bool writer_file(struct snapshot_writer *writer, struct snapshot_file **file,
                        struct err *err)
{
    struct log *log = writer->log;

    *file = log->file; /* set by this thread alone while the log is COPYING */
    if (*file)
        return true;
    int fd = open_file(writer->store, log->id, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0)
        return err_errno(err, ERR_IO, "could not make the snapshot of log %s", log->handle);
    pthread_mutex_lock(&writer->store->snapshots);
    *file = log->file = file_new(fd);
    pthread_mutex_unlock(&writer->store->snapshots);
    return true;
}

static void put_entry(struct buf *table, const struct block_entry *block)
{
    buf_put_u32(table, block->len);
    buf_put_u32(table, block->rows);
    buf_put_u32(table, block->ends_chunk ? ENDS_CHUNK : 0);
    buf_put_u64(table, block->sum);
}

static void show_block(struct snapshot_writer *writer, struct snapshot_file *file)
{
    const struct block_entry block = {
        .offset = writer->offset,
        .sum = hash_bytes(buf_slice(&writer->block)),
        .len = (uint32_t)writer->block.len,
        .rows = writer->rows,
        .ends_chunk = writer->ends_chunk,
        .checked = true,
    };

    pthread_mutex_lock(&writer->store->snapshots);
    file_add(file, &block);
    writer->log->snapshot_bytes = block.offset + block.len;
    pthread_mutex_unlock(&writer->store->snapshots);
    put_entry(&writer->table, &block);
    writer->blocks++;
}

/* Writes the block and shows it to readers. */
static bool flush(struct snapshot_writer *writer, struct err *err)
{
    struct snapshot_file *file;
    size_t done;

    if (writer->rows == 0)
        return true;
    if (!writer_file(writer, &file, err))
        return false;
    struct slice rest = {writer->block.ptr + writer->done, writer->block.len - writer->done};
    bool ok = io_write(file->fd, rest, writer->offset + writer->done, &done, err);

    writer->done += done;
    if (!ok)
        return err_wrap(err, "snapshot of log %s", writer->log->handle);
    show_block(writer, file);
    writer->offset += writer->block.len;
    buf_clear(&writer->block);
    writer->done = 0;
    writer->rows = 0;
    writer->close = writer->ends_chunk = false;
    wait_notify(writer->log);
    return true;
}

bool snapshot_writer_put(struct snapshot_writer *writer, struct slice message, struct err *err)
{
    struct err later;

    if (message.len > MESSAGE_MAX)
        return err_set(err, ERR_LIMIT, "a row of %zu bytes is beyond the log's limit", message.len);
    if (log_state_of(writer->log) == LOG_ENDED)
        return err_set(err, ERR_NOT_FOUND, "the log has ended");
    if (writer->close && !flush(writer, err))
        return false;
    if (writer->rows > 0)
        buf_put_u8(&writer->block, ',');
    buf_put_slice(&writer->block, message);
    buf_must(&writer->block);
    writer->rows++;
    writer->in_chunk += message.len + 1;
    if (writer->in_chunk >= writer->log->chunk_size) {
        writer->ends_chunk = true;
        writer->in_chunk = 0;
    }
    writer->close = writer->ends_chunk || writer->block.len >= BLOCK_TARGET;
    /* At once, for those who wait; what fails now is tried, and said, at the next call. */
    if (writer->close)
        flush(writer, &later);
    return true;
}

/* Puts the table behind the blocks and makes it all durable. */
static bool complete_file(struct snapshot_writer *writer, struct err *err)
{
    struct buf *table = &writer->table;
    struct buf path;
    size_t done;

    if (writer->blocks == 0)
        return true;
    buf_put_cstr(table, MAGIC);
    buf_put_u64(table, writer->log->id);
    buf_put_u32(table, writer->blocks);
    buf_put_u32(table, 0);
    buf_must(table);
    buf_put_u64(table, hash_bytes(buf_slice(table)));
    buf_must(table);
    if (!io_write(writer->log->file->fd, buf_slice(table), writer->offset, &done, err) ||
        !io_sync(writer->log->file->fd, err))
        return err_wrap(err, "snapshot of log %s", writer->log->handle);
    writer->offset += table->len;
    buf_init(&path, BUF_NO_LIMIT);
    buf_printf(&path, "%s/snapshots", writer->store->dir);
    bool ok = io_sync_dir(buf_cstr(&path), err);
    buf_release(&path);
    return ok;
}

static bool record(struct snapshot_writer *writer, struct err *err)
{
    struct log *log = writer->log;
    struct buf snapshot;

    buf_init(&snapshot, BUF_NO_LIMIT);
    /* Neither changes any more while the log is COPYING. */
    snapshot_format(log->snapshot, &snapshot);
    const struct catalog_log row = {
        .id = log->id,
        .handle = log_handle(log),
        .registered = log->registered,
        .limit = log->limit,
        .snapshot = buf_slice(&snapshot),
        .snapshot_bytes = writer->offset,
        .chunk_size = log->chunk_size,
    };
    bool ok = catalog_add_log(writer->store->catalog, &row, atomic_load(&log->shape), err);
    buf_release(&snapshot);
    return ok;
}

static bool move_state(struct log *log, enum log_state from, enum log_state to)
{
    pthread_mutex_lock(log_stripe(log));
    bool is = log_state_of(log) == from;

    if (is)
        atomic_store_explicit(&log->state, to, memory_order_release);
    pthread_mutex_unlock(log_stripe(log));
    return is;
}

/* Under `live`, so that the syncer deletes the row of a log that ends meanwhile after it was made,
 * not before. */
static bool go_live(struct snapshot_writer *writer, struct err *err)
{
    struct shapelog *store = writer->store;

    pthread_mutex_lock(&store->live);
    bool ok = log_state_of(writer->log) == LOG_COPYING;
    if (!ok)
        err_set(err, ERR_NOT_FOUND, "the log has ended");
    ok = ok && record(writer, err);
    if (ok && !move_state(writer->log, LOG_COPYING, LOG_LIVE))
        ok = err_set(err, ERR_NOT_FOUND, "the log has ended");
    pthread_mutex_unlock(&store->live);
    return ok;
}

bool snapshot_writer_finish(struct snapshot_writer *writer, struct err *err)
{
    bool ok = flush(writer, err) && complete_file(writer, err) && go_live(writer, err);

    if (ok) {
        pthread_mutex_lock(&writer->store->snapshots);
        writer->log->snapshot_bytes = writer->offset;
        pthread_mutex_unlock(&writer->store->snapshots);
        wait_notify(writer->log);
    } else {
        shapelog_end_log(writer->store, writer->log, err->msg);
    }
    writer_free(writer);
    return ok;
}

void snapshot_writer_abandon(struct snapshot_writer *writer, const char *reason)
{
    shapelog_end_log(writer->store, writer->log, reason);
    writer_free(writer);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool read_table(struct snapshot_file *file, struct slice table, uint64_t end)
{
    struct reader r = reader_of(table);
    uint64_t offset = 0;

    while (reader_left(&r) >= ENTRY_SIZE) {
        struct block_entry block = {.offset = offset};

        block.len = reader_u32(&r);
        block.rows = reader_u32(&r);
        block.ends_chunk = reader_u32(&r) & ENDS_CHUNK;
        block.sum = reader_u64(&r);
        offset += block.len;
        file_add(file, &block);
    }
    return reader_done(&r) && offset == end;
}

/* Reads the trailer into *n, the number of blocks. */
static bool read_trailer(const struct log *log, int fd, uint64_t size, uint32_t *n, struct err *err)
{
    char bytes[TRAILER_SIZE];

    if (size < TRAILER_SIZE || size != log->snapshot_bytes)
        return err_set(err, ERR_CORRUPT, "the snapshot has %llu bytes, not %llu",
                       (unsigned long long)size, (unsigned long long)log->snapshot_bytes);
    if (!io_read(fd, bytes, TRAILER_SIZE, size - TRAILER_SIZE, err))
        return false;
    struct reader r = reader_of((struct slice){bytes, TRAILER_SIZE});
    struct slice magic = reader_slice(&r, 8);
    uint64_t id = reader_u64(&r);

    *n = reader_u32(&r);
    if (!slice_is(magic, MAGIC) || id != log->id || *n == 0 ||
        *n > (size - TRAILER_SIZE) / ENTRY_SIZE)
        return err_set(err, ERR_CORRUPT, "the snapshot's end is damaged");
    return true;
}

/* Fills in the table of a complete file. */
static bool load_table(const struct log *log, struct snapshot_file *file, struct err *err)
{
    uint64_t size = 0;
    uint32_t n = 0;

    if (!io_size(file->fd, &size, err) || !read_trailer(log, file->fd, size, &n, err))
        return false;
    size_t len = (size_t)n * ENTRY_SIZE;
    uint64_t end = size - TRAILER_SIZE - len;
    char *bytes = xmalloc(len + TRAILER_SIZE);
    bool ok = io_read(file->fd, bytes, len + TRAILER_SIZE, end, err);

    if (ok) {
        struct reader sum = reader_of((struct slice){bytes + len + TRAILER_SIZE - 8, 8});

        ok = hash_bytes((struct slice){bytes, len + TRAILER_SIZE - 8}) == reader_u64(&sum) &&
             read_table(file, (struct slice){bytes, len}, end);
        if (!ok)
            err_set(err, ERR_CORRUPT, "the snapshot's table is damaged");
    }
    free(bytes);
    return ok;
}

/* The file of a log that is LIVE or LOADED. Holding the lock. */
static bool load_file(struct log *log, struct err *err)
{
    int fd = -1;

    if (log->file)
        return true;
    if (log->snapshot_bytes > 0)
        fd = open_file(log->store, log->id, O_RDONLY);
    if (log->snapshot_bytes > 0 && fd < 0)
        return err_errno(err, errno == ENOENT ? ERR_CORRUPT : ERR_IO,
                         "could not open the snapshot");
    struct snapshot_file *file = file_new(fd);

    if (fd >= 0 && !load_table(log, file, err)) {
        file_free(log->store, file);
        return false;
    }
    log->file = file;
    return true;
}

static bool check_block(struct snapshot_file *file, struct block_entry *block, struct err *err)
{
    if (block->checked)
        return true;
    char *bytes = xmalloc(block->len);
    bool ok = io_read(file->fd, bytes, block->len, block->offset, err);

    if (ok && hash_bytes((struct slice){bytes, block->len}) != block->sum)
        ok = err_set(err, ERR_CORRUPT, "the snapshot is damaged at byte %llu",
                     (unsigned long long)block->offset);
    free(bytes);
    block->checked = ok;
    return ok;
}

/* Holding the lock. False when it could not be read: err says why. */
static bool get_block(struct log *log, enum log_state state, uint32_t index,
                      struct snapshot_block *block, enum snapshot_read *result, struct err *err)
{
    *result = state == LOG_PENDING || state == LOG_COPYING ? SNAPSHOT_WAIT : SNAPSHOT_END;
    if (*result == SNAPSHOT_END && !load_file(log, err))
        return false;
    struct snapshot_file *file = log->file;

    if (!file || index >= file->n)
        return true;
    struct block_entry *entry = &file->blocks[index];

    if (!check_block(file, entry, err))
        return false;
    *block = (struct snapshot_block){.log = log,
                                     .fd = file->fd,
                                     .offset = entry->offset,
                                     .len = entry->len,
                                     .rows = entry->rows,
                                     .ends_chunk = entry->ends_chunk};
    file->users++;
    *result = SNAPSHOT_BLOCK;
    return true;
}

enum snapshot_read log_snapshot_block(struct shapelog *store, struct log *log, uint32_t index,
                                      struct snapshot_block *block)
{
    /* Before the table is looked at: a log that is LIVE by then has all its blocks in it. */
    enum log_state state = log_state_of(log);
    enum snapshot_read result = SNAPSHOT_GONE;
    struct err err;

    if (state == LOG_ENDED)
        return SNAPSHOT_GONE;
    pthread_mutex_lock(&store->snapshots);
    bool ok = get_block(log, state, index, block, &result, &err);
    pthread_mutex_unlock(&store->snapshots);
    if (ok)
        return result;
    log_error("a snapshot cannot be read", LOG_STR("log", log->handle), LOG_ERR(&err));
    if (err.code == ERR_CORRUPT)
        shapelog_end_log(store, log, "the snapshot is damaged");
    return SNAPSHOT_GONE;
}

void snapshot_block_release(struct snapshot_block *block)
{
    struct log *log = block->log;
    struct shapelog *store = log->store;

    pthread_mutex_lock(&store->snapshots);
    struct snapshot_file *file = log->file;
    enum log_state state = log_state_of(log);

    if (file && file->users > 0 && --file->users == 0 &&
        atomic_load(&store->snapshots_open) > OPEN_MAX_KEPT &&
        (state == LOG_LIVE || state == LOG_LOADED)) {
        file_free(store, file);
        log->file = NULL;
    }
    pthread_mutex_unlock(&store->snapshots);
}

static bool find_chunk(const struct snapshot_file *file, uint32_t chunk, uint32_t *index)
{
    uint32_t i = 0;

    for (; chunk > 0 && file && i < file->n; i++)
        chunk -= file->blocks[i].ends_chunk;
    *index = i;
    return chunk == 0;
}

bool log_snapshot_chunk(struct shapelog *store, struct log *log, uint32_t chunk, uint32_t *index)
{
    enum log_state state = log_state_of(log);
    struct err err;

    pthread_mutex_lock(&store->snapshots);
    bool complete = state == LOG_LIVE || state == LOG_LOADED;
    bool ok = (!complete || load_file(log, &err)) && find_chunk(log->file, chunk, index);
    pthread_mutex_unlock(&store->snapshots);
    return ok;
}
