#include "token/source.h"
#include "base/arena.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define YOUNG_S 2 /* coarser than any file system's times */

static bool read_all(int fd, struct source *source, struct err *err)
{
    for (;;) {
        char *room = buf_room(&source->text, 4096);

        if (!room)
            return err_set(err, ERR_CONFIG, "\"%s\" is larger than %zu KB", source->path,
                           SOURCE_MAX / 1024);
        ssize_t n = read(fd, room, 4096);
        if (n == 0)
            return true;
        if (n < 0 && errno != EINTR)
            return err_errno(err, ERR_CONFIG, "could not read \"%s\"", source->path);
        buf_added(&source->text, n > 0 ? (size_t)n : 0);
    }
}

static bool read_open(int fd, struct source *source, struct err *err)
{
    /* before the content: what changes in between is seen by the next look */
    if (fstat(fd, &source->stat) != 0)
        return err_errno(err, ERR_CONFIG, "could not read \"%s\"", source->path);
    if (!S_ISREG(source->stat.st_mode))
        return err_set(err, ERR_CONFIG, "\"%s\" is not a file", source->path);
    source->young = source->stat.st_ctim.tv_sec + YOUNG_S >= clock_unix_us() / 1000000;
    return read_all(fd, source, err);
}

bool source_read(struct source *source, const char *path, struct err *err)
{
    *source = (struct source){.path = path ? xstrdup(path) : NULL};
    buf_init(&source->text, SOURCE_MAX + 4096);
    if (!path)
        return true;
    /* a FIFO in its place must not hold us up */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, ERR_CONFIG, "could not open \"%s\"", path);
    source->readable = read_open(fd, source, err);
    close(fd);
    return source->readable;
}

void source_release(struct source *source)
{
    buf_release(&source->text);
    free(source->path);
    *source = (struct source){0};
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool source_may_have_changed(const struct source *source)
{
    const struct stat *was = &source->stat;
    struct stat is;

    if (!source->path)
        return false;
    if (!source->readable || source->young || stat(source->path, &is) != 0)
        return true;
    return is.st_dev != was->st_dev || is.st_ino != was->st_ino || is.st_size != was->st_size ||
           !same_time(is.st_mtim, was->st_mtim) || !same_time(is.st_ctim, was->st_ctim);
}

bool source_equal(const struct source *a, const struct source *b)
{
    return a->readable == b->readable && slice_eq(buf_slice(&a->text), buf_slice(&b->text));
}
