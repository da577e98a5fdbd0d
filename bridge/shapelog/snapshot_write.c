/*
 * Writing a shape's first rows. A block is shown to readers as soon as it is in the file; with the
 * last one the file gets its table, and with the catalogue's row the log is LIVE.
 */
#include "shapelog/snapshot_file.h"
#include "shapelog/io.h"

#include <fcntl.h>
#include <stdlib.h>

#define BLOCK_TARGET ((size_t)256 << 10)

struct snapshot_writer {
    struct shapelog *store;
    struct log *log; /* a reference */
    struct buf block;
    uint32_t rows;   /* in the block */
    size_t in_chunk; /* bytes of rows, one more each, since the last chunk closed */
    bool ends_chunk;
    bool closed;      /* the block has its byte more: it is to be written before a row is added */
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
    int fd = snapshot_file_open(writer->store, log->id, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0)
        return err_errno(err, ERR_IO, "could not make the snapshot of log %s", log->handle);
    pthread_mutex_lock(&writer->store->snapshots);
    *file = log->file = snapshot_file_new(fd);
    pthread_mutex_unlock(&writer->store->snapshots);
    return true;
}

static void close_block(struct snapshot_writer *writer)
{
    if (writer->closed)
        return;
    buf_put_u8(&writer->block, writer->ends_chunk ? ']' : ',');
    buf_must(&writer->block);
    writer->closed = true;
}

static void show_block(struct snapshot_writer *writer, struct snapshot_file *file)
{
    const struct block_entry block = {
        .offset = writer->offset,
        .sum = hash_bytes(buf_slice(&writer->block)),
        .len = (uint32_t)writer->block.len - 1,
        .rows = writer->rows,
        .ends_chunk = writer->ends_chunk,
        .checked = true,
    };

    pthread_mutex_lock(&writer->store->snapshots);
    snapshot_file_add(file, &block);
    writer->log->snapshot_bytes = block_entry_end(&block);
    pthread_mutex_unlock(&writer->store->snapshots);
    snapshot_put_entry(&writer->table, &block);
    writer->blocks++;
}

/* Writes the block and shows it to readers. */
static bool flush(struct snapshot_writer *writer, struct err *err)
{
    struct snapshot_file *file;
    size_t done;

    if (writer->rows == 0)
        return true;
    close_block(writer);
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
    writer->closed = writer->ends_chunk = false;
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
    if (writer->closed && !flush(writer, err))
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
    /* At once, for those who wait; what fails now is tried, and said, at the next call. */
    if (writer->ends_chunk || writer->block.len >= BLOCK_TARGET)
        flush(writer, &later);
    return true;
}

bool snapshot_writer_show(struct snapshot_writer *writer, struct err *err)
{
    bool ok = flush(writer, err);

    buf_release(&writer->block);
    buf_init(&writer->block, BUF_NO_LIMIT);
    return ok;
}

/* Puts the table behind the blocks; the disk may begin. */
static bool complete_file(struct snapshot_writer *writer, struct err *err)
{
    struct buf *table = &writer->table;
    size_t done;

    if (!flush(writer, err))
        return false;
    if (writer->blocks == 0)
        return true;
    snapshot_put_end(table, writer->log->id, writer->blocks);
    if (!io_write(writer->log->file->fd, buf_slice(table), writer->offset, &done, err))
        return err_wrap(err, "snapshot of log %s", writer->log->handle);
    writer->offset += table->len;
    io_begin_sync(writer->log->file->fd);
    return true;
}

static bool sync_file(struct snapshot_writer *writer, struct err *err)
{
    return writer->blocks == 0 || io_sync(writer->log->file->fd, err) ||
           err_wrap(err, "snapshot of log %s", writer->log->handle);
}

static bool sync_folder(const struct shapelog *store, struct err *err)
{
    struct buf path;

    buf_init(&path, BUF_NO_LIMIT);
    buf_printf(&path, "%s/snapshots", store->dir);
    bool ok = io_sync_dir(buf_cstr(&path), err);
    buf_release(&path);
    return ok;
}

/* Each step for all of them: with the first file that is synced, a file system makes most of what
 * the others need durable as well. */
static void sync_all(struct snapshot_end *ends, size_t n)
{
    bool any = false;
    struct err err;

    for (size_t i = 0; i < n; i++)
        ends[i].ok = complete_file(ends[i].writer, &ends[i].err);
    for (size_t i = 0; i < n; i++) {
        ends[i].ok = ends[i].ok && sync_file(ends[i].writer, &ends[i].err);
        any |= ends[i].ok && ends[i].writer->blocks > 0;
    }
    bool ok = !any || sync_folder(ends[0].writer->store, &err);
    for (size_t i = 0; !ok && i < n; i++) {
        if (ends[i].ok)
            ends[i].err = err;
        ends[i].ok = false;
    }
}

/* Of the complete file, before anyone may look for it. */
static void show_size(struct snapshot_writer *writer)
{
    pthread_mutex_lock(&writer->store->snapshots);
    writer->log->snapshot_bytes = writer->offset;
    pthread_mutex_unlock(&writer->store->snapshots);
}

/* Those whose files are on disk. */
static void go_live(struct snapshot_end *ends, size_t n)
{
    struct go_live *items = xcalloc(n, sizeof(*items));
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (!ends[i].ok)
            continue;
        show_size(ends[i].writer);
        items[kept++].log = ends[i].writer->log;
    }
    if (kept)
        logs_go_live(ends[0].writer->store, items, kept);
    for (size_t i = 0, at = 0; i < n; i++) {
        if (!ends[i].ok)
            continue;
        ends[i].ok = items[at].ok;
        if (!items[at].ok)
            ends[i].err = items[at].err;
        at++;
    }
    free(items);
}

static void show_end(struct snapshot_writer *writer)
{
    pthread_mutex_lock(&writer->store->snapshots);
    snapshot_file_rest(writer->log);
    pthread_mutex_unlock(&writer->store->snapshots);
    wait_notify(writer->log);
}

void snapshot_writers_finish(struct snapshot_end *ends, size_t n)
{
    sync_all(ends, n);
    go_live(ends, n);
    for (size_t i = 0; i < n; i++) {
        struct snapshot_writer *writer = ends[i].writer;

        if (ends[i].ok)
            show_end(writer);
        else
            shapelog_end_log(writer->store, writer->log, ends[i].err.msg);
        writer_free(writer);
    }
}

bool snapshot_writer_finish(struct snapshot_writer *writer, struct err *err)
{
    struct snapshot_end end = {.writer = writer};

    snapshot_writers_finish(&end, 1);
    if (!end.ok)
        *err = end.err;
    return end.ok;
}

void snapshot_writer_abandon(struct snapshot_writer *writer, const char *reason)
{
    shapelog_end_log(writer->store, writer->log, reason);
    writer_free(writer);
}
