/*
 * The few system calls that the log's files need, each whole or failed: short reads and writes and
 * EINTR are dealt with here.
 *
 * A test can make room scarce: io_set_room() says how many more bytes may be written before writes
 * fail as on a full disk.
 */
#ifndef SHAPELOG_IO_H
#define SHAPELOG_IO_H

#include "base/err.h"
#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

/* Writes at the offset. *done is what was written, also when it fails (the disk became full). */
bool io_write(int fd, struct slice bytes, uint64_t offset, size_t *done,
              struct err *err) MUST_CHECK;
/* Reads exactly `len` bytes; ERR_CORRUPT when the file ends before that. */
bool io_read(int fd, void *to, size_t len, uint64_t offset, struct err *err) MUST_CHECK;
/* The file's size. */
bool io_size(int fd, uint64_t *size, struct err *err) MUST_CHECK;
bool io_sync(int fd, struct err *err) MUST_CHECK;
/* The kernel begins to write the file's bytes, without being waited for: io_sync() is shorter then.
 * Promises nothing. */
void io_begin_sync(int fd);
/* Makes names in the folder durable. */
bool io_sync_dir(const char *path, struct err *err) MUST_CHECK;
/* Makes the folder unless it is there. */
bool io_mkdir(const char *path, struct err *err) MUST_CHECK;

/* For tests: bytes that may still be written by anyone, negative: no limit. */
void io_set_room(int64_t bytes);

#endif
