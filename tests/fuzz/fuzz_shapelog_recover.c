/*
 * Arbitrary bytes where the shape log expects its own files. The first byte says where:
 *
 *     0   the last segment of the stream, wholly synced by what the catalogue says
 *     1   the same, nothing of it synced
 *     2   a sealed segment before the last one
 *     3   a segment that compaction wrote
 *     4   a snapshot file
 *
 * The store is opened and everything in it read. It may lose logs; it may not crash, nor read past
 * what is there. Half of the inputs get their checksums put right first, so that what lies behind
 * them is reached: bit 7 of the first byte asks for that. Damage is logged, a line each: run it
 * with -close_fd_mask=2.
 */
#include "../unit/test_shapelog_fixture.h"
#include "base/hash.h"
#include "shapelog/block.h"
#include "shapelog/catalog.h"
#include "shapelog/segment.h"
#include "shapelog/snapshot_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#define HEAD 32u

enum place { LAST_SYNCED, LAST_UNSYNCED, SEALED, COPIED, SNAPSHOT, PLACES };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static char db[1 << 20];
static size_t db_len;

static void must(bool ok)
{
    if (!ok)
        abort();
}

static size_t load(const char *path, char *to, size_t max)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, to, max) : -1;

    must(n >= 0);
    close(fd);
    return (size_t)n;
}

static void save(const char *path, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

    must(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

/* A catalogue with two logs; the snapshot of the second has whatever size the input has. */
static void add_log(struct catalog *catalog, uint64_t id, uint64_t snapshot_bytes)
{
    struct shape *shape = new_shape((unsigned)id);
    char handle[32];
    struct err err;

    snprintf(handle, sizeof(handle), "handle-%u", (unsigned)id);
    const struct catalog_new_log log = {.row = {.id = id,
                                                .handle = slice_of(handle),
                                                .registered = 1,
                                                .limit = 2,
                                                .snapshot = SLICE("1:3:2"),
                                                .snapshot_bytes = snapshot_bytes},
                                        .shape = shape};
    must(catalog_add_logs(catalog, &log, 1, &err));
    shape_unref(shape);
}

static void make_catalog(enum place place, size_t size)
{
    const struct catalog_segment segments[] = {
        {1, SEGMENT_STREAM, {0}}, {2, SEGMENT_STREAM, {0}}, {3, SEGMENT_COPY, {0}}};
    const struct catalog_mark mark = {100, 100, place == LAST_SYNCED ? 2 : 1,
                                      place == LAST_SYNCED ? size : HEAD};
    struct catalog_batch batch = {.mark = &mark};
    struct err err;
    struct catalog *catalog = catalog_open(dir, &err);

    must(catalog != NULL);
    add_log(catalog, 1, 0);
    add_log(catalog, 2, place == SNAPSHOT ? size : 0);
    batch.made = place == COPIED ? &segments[2] : place == SEALED ? segments : &segments[1];
    batch.nmade = place == SNAPSHOT ? 0 : place == SEALED ? 2 : 1;
    must(catalog_apply(catalog, &batch, &err));
    catalog_close(catalog);
}

/* The catalogue depends on the place and the size alone: the last one made is kept. */
static void put_catalog(enum place place, size_t size)
{
    static enum place made_place = PLACES;
    static size_t made_size;
    char path[128];

    snprintf(path, sizeof(path), "%s/tombolo.db", dir);
    if (place != made_place || size != made_size) {
        unlink(path);
        make_catalog(place, size);
        db_len = load(path, db, sizeof(db));
        must(db_len < sizeof(db));
        made_place = place;
        made_size = size;
    } else {
        save(path, db, db_len);
    }
}

static void put_be(char *at, uint64_t v)
{
    for (size_t i = 8; i-- > 0; v >>= 8)
        at[i] = (char)(v & 0xff);
}

static void put_sum(char *bytes, size_t len)
{
    put_be(bytes + len - 8, hash_bytes((struct slice){bytes, len - 8}));
}

/* Head and checksums of a segment as they have to be. */
static void mend_segment(char *bytes, size_t len, uint32_t number, enum segment_kind kind)
{
    struct segment *segment = segment_new(dir, number, kind);
    struct err err;
    size_t at = HEAD;

    if (len >= HEAD) {
        must(segment_create(segment, &err));
        must(pread(atomic_load(&segment->fd), bytes, HEAD, 0) == HEAD);
    }
    segment_unref(segment);
    while (at + BLOCK_HEAD_SIZE < len && memcmp(bytes + at + 8, "TBLK", 4) == 0) {
        struct reader r = reader_of((struct slice){bytes + at + 16, 8});
        uint64_t refs = reader_u32(&r), body = reader_u32(&r);

        if (BLOCK_HEAD_SIZE + refs + body > len - at)
            break;
        put_be(bytes + at + 24,
               hash_bytes((struct slice){bytes + at + BLOCK_HEAD_SIZE + refs, (size_t)body}));
        put_be(bytes + at,
               hash_bytes((struct slice){bytes + at + 8, BLOCK_HEAD_SIZE - 8 + (size_t)refs}));
        at += (size_t)(BLOCK_HEAD_SIZE + refs + body);
    }
    if (at < len && len - at >= 40)
        put_sum(bytes + at, len - at);
}

/* The table's length depends on the number of blocks in the trailer. */
static void mend_snapshot(char *bytes, size_t len)
{
    if (len < 32)
        return;
    struct reader r = reader_of((struct slice){bytes + len - 16, 4});
    uint64_t table = (uint64_t)reader_u32(&r) * 20;

    memcpy(bytes + len - 32, SNAPSHOT_MAGIC, 8);
    put_be(bytes + len - 24, 2);
    if (table <= len - 32)
        put_sum(bytes + len - 32 - table, (size_t)table + 32);
}

static void put_file(enum place place, char *bytes, size_t len, bool mend)
{
    const uint32_t number = place == COPIED ? 3 : place == SEALED ? 1 : 2;
    struct buf path;

    buf_init(&path, BUF_NO_LIMIT);
    if (place == SNAPSHOT)
        buf_printf(&path, "%s/snapshots/2.snap", dir);
    else
        segment_path(dir, number, &path);
    if (mend && place == SNAPSHOT)
        mend_snapshot(bytes, len);
    else if (mend)
        mend_segment(bytes, len, number, place == COPIED ? SEGMENT_COPY : SEGMENT_STREAM);
    save(buf_cstr(&path), bytes, len);
    buf_release(&path);
}

static void read_all(void)
{
    struct shapelog *store = open_store(dir, 0);
    uint64_t at = 0;
    struct log *log;

    while ((log = shapelog_next(store, &at))) {
        free(read_log(store, log));
        free(read_snapshot(store, log));
        log_unref(log);
    }
    shapelog_close(store);
}

static void set_up(void)
{
    char path[128];

    snprintf(dir, sizeof(dir), "/dev/shm/fuzz_shapelog.XXXXXX");
    if (!mkdtemp(dir)) {
        snprintf(dir, sizeof(dir), "/tmp/fuzz_shapelog.XXXXXX");
        must(mkdtemp(dir) != NULL);
    }
    snprintf(path, sizeof(path), "%s/segments", dir);
    must(mkdir(path, 0750) == 0);
    snprintf(path, sizeof(path), "%s/snapshots", dir);
    must(mkdir(path, 0750) == 0);
}

static void tear_down(void)
{
    remove_folder(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (!dir[0]) {
        set_up();
        atexit(tear_down);
    }
    enum place place = (enum place)((data[0] & 0x7f) % PLACES);
    size_t len = size - 1;
    char *bytes = malloc(len + 1);

    memcpy(bytes, data + 1, len);
    put_catalog(place, len);
    put_file(place, bytes, len, data[0] & 0x80);
    free(bytes);
    read_all();
    return 0;
}
