#include "shapelog/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static _Atomic int64_t room = -1;

void io_set_room(int64_t bytes)
{
    atomic_store(&room, bytes);
}

/* How much of `len` may be written; counts it as written. */
static size_t take_room(size_t len)
{
    int64_t left = atomic_load(&room);

    if (left < 0)
        return len;
    size_t n = (uint64_t)left < len ? (size_t)left : len;
    atomic_store(&room, left - (int64_t)n);
    return n;
}

bool io_write(int fd, struct slice bytes, uint64_t offset, size_t *done, struct err *err)
{
    *done = 0;
    while (*done < bytes.len) {
        size_t want = take_room(bytes.len - *done);
        ssize_t n = -1;

        if (want == 0)
            errno = ENOSPC;
        else
            n = pwrite(fd, bytes.ptr + *done, want, (off_t)(offset + *done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, ERR_IO, "could not write %zu bytes", bytes.len);
        *done += (size_t)n;
    }
    return true;
}

bool io_read(int fd, void *to, size_t len, uint64_t offset, struct err *err)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, (char *)to + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, ERR_IO, "could not read %zu bytes", len);
        if (n == 0)
            return err_set(err, ERR_CORRUPT, "file ends before byte %llu",
                           (unsigned long long)offset + len);
        done += (size_t)n;
    }
    return true;
}

bool io_size(int fd, uint64_t *size, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_errno(err, ERR_IO, "could not ask for a file's size");
    *size = (uint64_t)st.st_size;
    return true;
}

bool io_sync(int fd, struct err *err)
{
    if (fdatasync(fd) != 0)
        return err_errno(err, ERR_IO, "could not sync a file");
    return true;
}

void io_begin_sync(int fd)
{
    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

bool io_sync_dir(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_errno(err, ERR_IO, "could not open folder \"%s\"", path);
    bool ok = fsync(fd) == 0;
    if (!ok)
        err_errno(err, ERR_IO, "could not sync folder \"%s\"", path);
    close(fd);
    return ok;
}

bool io_mkdir(const char *path, struct err *err)
{
    if (mkdir(path, 0750) != 0 && errno != EEXIST)
        return err_errno(err, ERR_IO, "could not make folder \"%s\"", path);
    return true;
}
