#include "kafka/spool.h"

#include "base/arena.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_SIZE ((size_t)256 * 1024)
#define MEMORY_LIMIT ((size_t)8 * 1024 * 1024)
#define LENGTH_SIZE sizeof(uint32_t)
#define SUFFIX ".spool"

/* A segment's memory never moves, so that its reader need not hold the lock. */
struct segment {
    struct segment *next;
    char *bytes; /* NULL while it is in its file */
    size_t capacity, size, read;
    uint64_t file; /* its number; 0: none */
};

struct spool {
    char *dir;
    uint64_t limit, bytes, file_bytes, next_file;
    size_t memory; /* of the segments that are there */
    struct segment *head, *tail;
};

static void file_path(const struct spool *s, uint64_t file, char path[4096])
{
    snprintf(path, 4096, "%s/%012" PRIu64 SUFFIX, s->dir, file);
}

static void remove_files(const struct spool *s)
{
    DIR *dir = opendir(s->dir);
    char path[4096];

    for (struct dirent *e; dir && (e = readdir(dir));) {
        size_t len = strlen(e->d_name), suffix = strlen(SUFFIX);

        if (len <= suffix || strcmp(e->d_name + len - suffix, SUFFIX) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", s->dir, e->d_name);
        unlink(path);
    }
    if (dir)
        closedir(dir);
}

struct spool *spool_new(const char *dir, uint64_t limit)
{
    struct spool *s = xcalloc(1, sizeof(*s));

    s->dir = xstrdup(dir);
    s->limit = limit;
    s->next_file = 1;
    remove_files(s);
    return s;
}

static void drop_head(struct spool *s)
{
    struct segment *head = s->head;
    char path[4096];

    if (head->file) {
        file_path(s, head->file, path);
        unlink(path);
        s->file_bytes -= head->size;
    }
    if (head->bytes)
        s->memory -= head->capacity;
    s->head = head->next;
    if (!s->head)
        s->tail = NULL;
    free(head->bytes);
    free(head);
}

void spool_clear(struct spool *s)
{
    while (s->head)
        drop_head(s);
    s->bytes = 0;
}

void spool_free(struct spool *s)
{
    if (!s)
        return;
    spool_clear(s);
    free(s->dir);
    free(s);
}

uint64_t spool_bytes(const struct spool *s)
{
    return s->bytes;
}

uint64_t spool_file_bytes(const struct spool *s)
{
    return s->file_bytes;
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static bool read_all(int fd, char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = read(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            errno = done == 0 ? EIO : errno;
            return false;
        }
        p += done;
        n -= (size_t)done;
    }
    return true;
}

/* Puts the segment into a file. */
static bool store(struct spool *s, struct segment *seg, struct err *err)
{
    char path[4096];

    if (mkdir(s->dir, 0700) < 0 && errno != EEXIST)
        return err_errno(err, ERR_IO, "could not make %s", s->dir);
    file_path(s, s->next_file, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_all(fd, seg->bytes, seg->size);

    if (!ok)
        err_errno(err, ERR_IO, "could not write %s", path);
    if (fd >= 0)
        close(fd);
    if (!ok) {
        unlink(path);
        return false;
    }
    seg->file = s->next_file++;
    s->file_bytes += seg->size;
    s->memory -= seg->capacity;
    free(seg->bytes);
    seg->bytes = NULL;
    return true;
}

/* Gets it back. */
static bool load(struct spool *s, struct segment *seg, struct err *err)
{
    char path[4096];

    file_path(s, seg->file, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = xmalloc(seg->capacity);
    bool ok = fd >= 0 && read_all(fd, bytes, seg->size);

    if (!ok)
        err_errno(err, ERR_IO, "could not read %s", path);
    if (fd >= 0)
        close(fd);
    if (!ok) {
        free(bytes);
        return false;
    }
    unlink(path);
    s->file_bytes -= seg->size;
    s->memory += seg->capacity;
    seg->file = 0;
    seg->bytes = bytes;
    return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A new tail; the one that was it goes into a file if memory is full, unless it is being read. */
static bool add_segment(struct spool *s, size_t needed, struct err *err)
{
    size_t capacity = needed > SEGMENT_SIZE ? needed : SEGMENT_SIZE;

    bool full = s->tail && s->tail != s->head && s->memory + capacity > MEMORY_LIMIT;

    if (full && s->file_bytes + s->tail->size > s->limit)
        return err_set(err, ERR_LIMIT, "there is no room for what the brokers have not taken yet");
    if (full && !store(s, s->tail, err))
        return false;
    struct segment *seg = xcalloc(1, sizeof(*seg));

    seg->bytes = xmalloc(capacity);
    seg->capacity = capacity;
    s->memory += capacity;
    if (s->tail)
        s->tail->next = seg;
    else
        s->head = seg;
    s->tail = seg;
    return true;
}

bool spool_put(struct spool *s, const struct slice *parts, size_t n, struct err *err)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += parts[i].len;
    if (size > UINT32_MAX)
        return err_set(err, ERR_LIMIT, "a record of %zu bytes", size);
    size_t needed = LENGTH_SIZE + size;
    uint32_t length = (uint32_t)size;

    if ((!s->tail || s->tail->capacity - s->tail->size < needed) && !add_segment(s, needed, err))
        return false;
    char *at = s->tail->bytes + s->tail->size;

    memcpy(at, &length, LENGTH_SIZE);
    at += LENGTH_SIZE;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len)
            memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    s->tail->size += needed;
    s->bytes += size;
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

bool spool_take(struct spool *s, struct slice *entry, struct err *err)
{
    uint32_t length;

    *entry = (struct slice){0};
    while (s->head && s->head->read == s->head->size) {
        if (!s->head->next) {
            s->head->read = s->head->size = 0;
            return true;
        }
        drop_head(s);
    }
    struct segment *head = s->head;

    if (!head)
        return true;
    if (!head->bytes && !load(s, head, err))
        return false;
    memcpy(&length, head->bytes + head->read, LENGTH_SIZE);
    *entry = (struct slice){head->bytes + head->read + LENGTH_SIZE, length};
    head->read += LENGTH_SIZE + length;
    s->bytes -= length;
    return true;
}
