/*
 * The first rows of a shape: a file of blocks, each whole messages joined by ",". Behind each
 * stands a byte more, "]" when the block ends a chunk and "," when not: so a chunk lies there as
 * clients are sent it, but for its "[".
 *
 *     blocks        side by side, from offset 0
 *     table         a block each: len 4, rows 4, flags 4 (1: ends a chunk), XXH3 8 of it and its
 *                   byte more, which `len` does not count
 *     "TMBSNP02"  8
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
#ifndef SHAPELOG_SNAPSHOT_FILE_H
#define SHAPELOG_SNAPSHOT_FILE_H

#include "shapelog/store.h"

#define SNAPSHOT_MAGIC "TMBSNP02"

struct block_entry {
    uint64_t offset, sum;
    uint32_t len, rows;
    uint32_t chunk; /* the one it is in, from 0 */
    bool ends_chunk, checked;
};

/* Where the next block begins. */
static inline uint64_t block_entry_end(const struct block_entry *block)
{
    return block->offset + block->len + 1;
}

/* In log->file, under store->snapshots. While the log is LIVE and the file has users it stays, and
 * of its blocks only `checked` changes. */
struct snapshot_file {
    int fd;
    uint32_t n, cap;
    unsigned users; /* of its descriptor */
    struct block_entry *blocks;
};

/* Whether a log in this state has all of its first rows on disk. */
static inline bool snapshot_is_complete(enum log_state state)
{
    return state == LOG_LIVE || state == LOG_LOADED;
}

struct snapshot_file *snapshot_file_new(int fd);
void snapshot_file_free(struct shapelog *store, struct snapshot_file *file);
/* Closes it, if it is complete, nobody reads it and many are open. Holding the lock. */
void snapshot_file_rest(struct log *log);
/* -1: errno says why. */
int snapshot_file_open(struct shapelog *store, uint64_t id, int flags);
/* Adds a block; its chunk number follows from those before. */
void snapshot_file_add(struct snapshot_file *file, const struct block_entry *block);
/* An entry of the table. */
void snapshot_put_entry(struct buf *table, const struct block_entry *block);
/* What ends the file, behind the table's entries. */
void snapshot_put_end(struct buf *table, uint64_t id, uint32_t blocks);
/* Opens the complete file of a log that is LIVE or LOADED, and has rows, and reads its table;
 * without the lock.
 * NULL with ERR_CORRUPT when it is damaged, any other error when that could not be found out. */
struct snapshot_file *snapshot_file_load(const struct log *log, struct err *err) MUST_CHECK;

#endif
