#include "shapelog/snapshot_file.h"
#include "shapelog/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEPT_MOST 4096u
#define TRAILER_SIZE 32u
#define ENTRY_SIZE 20u
#define ENDS_CHUNK 1u

void snapshot_path(const struct shapelog *store, uint64_t id, struct buf *path)
{
    buf_printf(path, "%s/snapshots/%llu.snap", store->dir, (unsigned long long)id);
}

int snapshot_file_open(struct shapelog *store, uint64_t id, int flags)
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

struct snapshot_file *snapshot_file_new(int fd)
{
    struct snapshot_file *file = xcalloc(1, sizeof(*file));

    file->fd = fd;
    return file;
}

void snapshot_file_free(struct shapelog *store, struct snapshot_file *file)
{
    if (!file)
        return;
    close(file->fd);
    atomic_fetch_sub(&store->snapshots_open, 1);
    free(file->blocks);
    free(file);
}

void snapshot_file_add(struct snapshot_file *file, const struct block_entry *block)
{
    if (file->n == file->cap) {
        file->cap = file->cap ? file->cap * 2 : 1;
        file->blocks = xrealloc(file->blocks, file->cap * sizeof(*file->blocks));
    }
    const struct block_entry *before = file->n > 0 ? &file->blocks[file->n - 1] : NULL;

    file->blocks[file->n] = *block;
    file->blocks[file->n++].chunk = before ? before->chunk + before->ends_chunk : 0;
}

unsigned snapshot_files_kept(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 > KEPT_MOST)
        return KEPT_MOST;
    return (unsigned)(limit.rlim_cur / 4);
}

void snapshot_file_rest(struct log *log)
{
    struct shapelog *store = log->store;
    enum log_state state = log_state_of(log);

    if (!log->file || log->file->users > 0 || !snapshot_is_complete(state) ||
        atomic_load(&store->snapshots_open) <= store->snapshots_kept)
        return;
    snapshot_file_free(store, log->file);
    log->file = NULL;
}

void snapshot_file_forget(struct log *log)
{
    struct shapelog *store = log->store;
    enum log_state state = log_state_of(log);
    struct buf path;

    snapshot_file_free(store, log->file);
    log->file = NULL;
    if (snapshot_is_complete(state))
        return;
    buf_init(&path, BUF_NO_LIMIT);
    snapshot_path(store, log->id, &path);
    unlink(buf_cstr(&path));
    buf_release(&path);
}

/* ---- the table ------------------------------------------------------------------------------- */

void snapshot_put_entry(struct buf *table, const struct block_entry *block)
{
    buf_put_u32(table, block->len);
    buf_put_u32(table, block->rows);
    buf_put_u32(table, block->ends_chunk ? ENDS_CHUNK : 0);
    buf_put_u64(table, block->sum);
}

void snapshot_put_end(struct buf *table, uint64_t id, uint32_t blocks)
{
    buf_put_cstr(table, SNAPSHOT_MAGIC);
    buf_put_u64(table, id);
    buf_put_u32(table, blocks);
    buf_put_u32(table, 0);
    buf_must(table);
    buf_put_u64(table, hash_bytes(buf_slice(table)));
    buf_must(table);
}

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
        offset = block_entry_end(&block);
        snapshot_file_add(file, &block);
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
    if (!slice_is(magic, SNAPSHOT_MAGIC) || id != log->id || *n == 0 ||
        *n > (size - TRAILER_SIZE) / ENTRY_SIZE)
        return err_set(err, ERR_CORRUPT, "the snapshot's end is damaged, or of another version");
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

struct snapshot_file *snapshot_file_load(const struct log *log, struct err *err)
{
    int fd = snapshot_file_open(log->store, log->id, O_RDONLY);

    if (fd < 0) {
        err_errno(err, errno == ENOENT ? ERR_CORRUPT : ERR_IO, "could not open the snapshot");
        return NULL;
    }
    struct snapshot_file *file = snapshot_file_new(fd);

    if (!load_table(log, file, err)) {
        snapshot_file_free(log->store, file);
        return NULL;
    }
    return file;
}
