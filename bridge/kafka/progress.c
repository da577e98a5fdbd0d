/*
 * The file: a line that names the format, then one a table:
 *
 *     relid begun|done limit snapshot published
 */
#include "kafka/progress.h"

#include "base/logging.h"
#include "change/standing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_NAME "kafka_tables"
#define FORMAT "tombolo kafka tables 1\n"
#define FILE_MAX (64 * 1024 * 1024)

enum standing { WANTED, QUEUED, BEGUN, SENT, DONE };

/* What first rows have. */
struct extent {
    bool there;
    struct arena arena; /* of what follows */
    struct snapshot snapshot;
    lsn_t limit;
    struct slice published;
};

struct entry {
    uint32_t relid;
    enum standing standing;
    struct extent now;  /* the first: rows of it are in the topic, or some */
    struct extent next; /* of those that are QUEUED */
    lsn_t position;     /* where the stream stood when they were */
};

struct progress {
    pthread_mutex_t mutex;
    char *path;
    struct u64map entries;
};

static char *path_in(const char *data_dir, const char *suffix)
{
    size_t size = strlen(data_dir) + sizeof("/" FILE_NAME) + strlen(suffix);
    char *path = xmalloc(size);

    snprintf(path, size, "%s/" FILE_NAME "%s", data_dir, suffix);
    return path;
}

static void free_entry(struct entry *e)
{
    arena_release(&e->now.arena);
    arena_release(&e->next.arena);
    free(e);
}

static struct entry *entry_of(struct progress *p, uint32_t relid)
{
    struct entry *e = u64map_get(&p->entries, relid);

    if (!e) {
        e = xcalloc(1, sizeof(*e));
        e->relid = relid;
        u64map_set(&p->entries, relid, e);
    }
    return e;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* Up to the next space or the end. */
static struct slice next_word(struct slice *line)
{
    const char *space = memchr(line->ptr, ' ', line->len);
    size_t len = space ? (size_t)(space - line->ptr) : line->len;
    struct slice word = {line->ptr, len};

    *line = (struct slice){line->ptr + len + (space ? 1 : 0), line->len - len - (space ? 1 : 0)};
    return word;
}

static bool read_line(struct progress *p, struct slice line, struct err *err)
{
    struct slice word = next_word(&line);
    uint64_t relid = 0;

    for (size_t i = 0; i < word.len && relid <= UINT32_MAX; i++)
        relid = relid * 10 + (uint64_t)(word.ptr[i] - '0');
    struct entry *e = entry_of(p, (uint32_t)relid);
    word = next_word(&line);
    if (!lsn_parse(next_word(&line), &e->now.limit))
        return err_set(err, ERR_CORRUPT, "no position");
    if (!snapshot_parse(next_word(&line), &e->now.arena, &e->now.snapshot, err))
        return false;
    e->now.published = arena_copy(&e->now.arena, line);
    e->now.there = true;
    e->standing = slice_is(word, "done") ? DONE : WANTED;
    return true;
}

static bool read_lines(struct progress *p, struct slice text, struct err *err)
{
    const size_t head = sizeof(FORMAT) - 1;

    if (text.len < head || memcmp(text.ptr, FORMAT, head) != 0)
        return err_set(err, ERR_CORRUPT, "another format");
    text = (struct slice){text.ptr + head, text.len - head};
    while (text.len) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t len = end ? (size_t)(end - text.ptr) : 0;

        if (!end)
            return err_set(err, ERR_CORRUPT, "cut short");
        if (!read_line(p, (struct slice){text.ptr, len}, err))
            return false;
        text = (struct slice){end + 1, text.len - len - 1};
    }
    return true;
}

static void read_file(struct progress *p)
{
    FILE *f = fopen(p->path, "re");
    struct buf text;
    struct err err;
    size_t n;

    if (!f)
        return;
    buf_init(&text, FILE_MAX);
    for (char *room; (room = buf_room(&text, 4096)) && (n = fread(room, 1, 4096, f)) > 0;)
        buf_added(&text, n);
    if (!read_lines(p, buf_slice(&text), &err))
        log_warn(
            "the first rows of tables will be published again: what is known of them cannot be "
            "read",
            LOG_STR("file", p->path), LOG_ERR(&err));
    buf_release(&text);
    fclose(f);
}

static void put_entry(const struct entry *e, struct buf *out)
{
    char limit[LSN_TEXT_SIZE];

    buf_printf(out, "%" PRIu32 " %s %s ", e->relid, e->standing == DONE ? "done" : "begun",
               lsn_format(e->now.limit, limit));
    snapshot_format(&e->now.snapshot, out);
    buf_put_u8(out, ' ');
    buf_put_slice(out, e->now.published);
    buf_put_u8(out, '\n');
}

static bool write_all(int fd, struct slice text)
{
    while (text.len) {
        ssize_t n = write(fd, text.ptr, text.len);

        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            text = (struct slice){text.ptr + n, text.len - (size_t)n};
    }
    return fsync(fd) == 0;
}

/* A new file in the place of the old one. */
static bool replace_file(const struct progress *p, struct slice text, struct err *err)
{
    struct buf temporary;

    buf_init(&temporary, BUF_NO_LIMIT);
    buf_printf(&temporary, "%s.new", p->path);
    int fd = open(buf_cstr(&temporary), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_all(fd, text);
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    ok = ok && rename(buf_cstr(&temporary), p->path) == 0;
    if (!ok)
        err_errno(err, ERR_IO, "could not write \"%s\"", p->path);
    buf_release(&temporary);
    return ok;
}

/* Under the mutex. */
static bool save(const struct progress *p, struct err *err)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    buf_put_cstr(&text, FORMAT);
    for (size_t at = 0;;) {
        const struct u64map_slot *slot = u64map_next(&p->entries, &at);

        if (!slot)
            break;
        if (((const struct entry *)slot->value)->now.there)
            put_entry(slot->value, &text);
    }
    bool ok = replace_file(p, buf_slice(&text), err);
    buf_release(&text);
    return ok;
}

/* ---- opened and closed ----------------------------------------------------------------------- */

struct progress *progress_open(const char *data_dir)
{
    struct progress *p = xcalloc(1, sizeof(*p));

    pthread_mutex_init(&p->mutex, NULL);
    p->path = path_in(data_dir, "");
    read_file(p);
    return p;
}

static void forget(struct progress *p, const struct u64map *relids)
{
    struct u64map kept = {0};

    for (size_t at = 0;;) {
        const struct u64map_slot *slot = u64map_next(&p->entries, &at);

        if (!slot)
            break;
        if (relids && u64map_get(relids, slot->key))
            u64map_set(&kept, slot->key, slot->value);
        else
            free_entry(slot->value);
    }
    u64map_release(&p->entries);
    p->entries = kept;
}

void progress_free(struct progress *p)
{
    if (!p)
        return;
    forget(p, NULL);
    pthread_mutex_destroy(&p->mutex);
    free(p->path);
    free(p);
}

void progress_forget_folder(const char *data_dir)
{
    char *path = path_in(data_dir, "");

    unlink(path);
    free(path);
}

/* ---- what becomes of a table ----------------------------------------------------------------- */

bool progress_wants(struct progress *p, const struct table *table)
{
    pthread_mutex_lock(&p->mutex);
    const struct entry *e = u64map_get(&p->entries, table->relid);
    bool wants = !e || e->standing == WANTED ||
                 (e->standing == DONE && !published_since(e->now.published, table->published));
    pthread_mutex_unlock(&p->mutex);
    return wants;
}

bool progress_takes(struct progress *p, uint32_t relid, const struct txn *txn)
{
    pthread_mutex_lock(&p->mutex);
    const struct entry *e = u64map_get(&p->entries, relid);
    const struct extent *extent = NULL;

    if (e)
        extent = e->now.there ? &e->now : e->standing == QUEUED ? &e->next : NULL;
    bool takes =
        extent && (txn->commit_lsn >= extent->limit || !snapshot_sees(&extent->snapshot, txn->xid));
    pthread_mutex_unlock(&p->mutex);
    return takes;
}

static void copy_snapshot(const struct snapshot *from, struct arena *arena, struct snapshot *to)
{
    *to = *from;
    to->xip = arena_calloc(arena, from->nxip, sizeof(*from->xip));
    for (size_t i = 0; i < from->nxip; i++)
        to->xip[i] = from->xip[i];
}

void progress_queued(struct progress *p, const struct table *table, const struct snapshot *snapshot,
                     lsn_t limit, lsn_t position)
{
    pthread_mutex_lock(&p->mutex);
    struct entry *e = entry_of(p, table->relid);
    struct extent *next = &e->next;

    arena_reset(&next->arena);
    copy_snapshot(snapshot, &next->arena, &next->snapshot);
    next->limit = limit;
    next->published = arena_copy(&next->arena, table->published);
    next->there = true;
    e->position = position;
    e->standing = QUEUED;
    pthread_mutex_unlock(&p->mutex);
}

bool progress_begun(struct progress *p, uint32_t relid, struct err *err)
{
    bool ok = true;

    pthread_mutex_lock(&p->mutex);
    struct entry *e = u64map_get(&p->entries, relid);

    if (e && e->standing == QUEUED) {
        if (e->now.there) {
            e->now.published = arena_copy(&e->now.arena, e->next.published);
        } else {
            e->now = e->next;
            e->next = (struct extent){0};
        }
        e->standing = BEGUN;
        ok = save(p, err);
    }
    pthread_mutex_unlock(&p->mutex);
    return ok;
}

void progress_sent(struct progress *p, uint32_t relid, bool ok)
{
    pthread_mutex_lock(&p->mutex);
    struct entry *e = u64map_get(&p->entries, relid);

    if (e && (e->standing == QUEUED || e->standing == BEGUN))
        e->standing = ok ? SENT : WANTED;
    pthread_mutex_unlock(&p->mutex);
}

/* Those that are SENT, and were queued before `acked`. True when there are any. */
static bool move_sent(struct progress *p, lsn_t acked, enum standing to)
{
    bool moved = false;

    for (size_t at = 0;;) {
        const struct u64map_slot *slot = u64map_next(&p->entries, &at);

        if (!slot)
            return moved;
        struct entry *e = slot->value;
        if (e->standing == SENT && e->position < acked) {
            e->standing = to;
            moved = true;
        }
    }
}

bool progress_acked(struct progress *p, lsn_t acked, struct err *err)
{
    pthread_mutex_lock(&p->mutex);
    bool ok = !move_sent(p, acked, DONE) || save(p, err);
    pthread_mutex_unlock(&p->mutex);
    return ok;
}

void progress_connected(struct progress *p)
{
    pthread_mutex_lock(&p->mutex);
    move_sent(p, UINT64_MAX, WANTED);
    pthread_mutex_unlock(&p->mutex);
}

bool progress_keep(struct progress *p, const struct u64map *relids, struct err *err)
{
    pthread_mutex_lock(&p->mutex);
    size_t before = p->entries.len;
    forget(p, relids);
    bool ok = p->entries.len == before || save(p, err);
    pthread_mutex_unlock(&p->mutex);
    return ok;
}
