/*
 * The start: from the catalogue and the files to logs with extents.
 *
 * The catalogue says which logs there are and which segment files count; other files are left over
 * from a crash and deleted. All segments but the last of the stream are sealed and were synced
 * whole, so their footers are read, not their blocks (a reader checks those before it serves them).
 * The last one is scanned, cut behind the last transaction that is whole, and written on.
 *
 * What is not as it should be:
 *
 *     a block of the last segment, behind the mark    a torn tail: cut, Postgres sends it again
 *     before the mark                                 damage: it had been confirmed. The logs that
 *                                                     its refs name end; all, when these are lost
 *     a footer, or the file is missing                the logs that the catalogue has for this
 *                                                     segment end; all, when it has none
 *
 * The durable position is what the catalogue says, though more may have been found: the logs that
 * ended after it are still in the catalogue, and end again when Postgres sends what ended them.
 */
#include "shapelog/io.h"
#include "shapelog/store.h"
#include "base/logging.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A block whose transaction's end has not been seen yet. */
struct pending {
    struct block_head head;
    struct segment *segment; /* borrowed: the store's, or the one being recovered */
    uint64_t data_at;
    size_t refs_at; /* in recovery.refs */
    bool damaged;
};

struct row {
    uint32_t number;
    enum segment_kind kind;
    struct buf logs;
    bool known; /* `logs` is */
};

struct recovery {
    struct shapelog *store;
    struct catalog_stream stream;
    struct row *rows;
    size_t nrows;
    uint32_t last_stream; /* the number of the last segment of the stream */
    struct numbers doomed;
    bool all_doomed;
    struct numbers dropped; /* segments */
    struct pending *pending;
    size_t npending, pending_cap;
    struct buf refs;
    uint32_t attempt; /* the one that `pending` belongs to */
    uint32_t last_attempt;
    struct txn last;
};

/* ---- doom ------------------------------------------------------------------------------------ */

static void doom_refs(struct recovery *r, struct slice refs, uint32_t data_len)
{
    struct reader reader = reader_of(refs);
    struct block_ref ref = {0};

    while (block_read_ref(&reader, data_len, &ref))
        numbers_push(&r->doomed, ref.log);
    if (reader.failed)
        r->all_doomed = true;
}

static void doom_list(struct recovery *r, struct slice logs)
{
    struct reader reader = reader_of(logs);
    uint64_t id = 0;

    while (reader_left(&reader) > 0 && !reader.failed) {
        id += reader_varint(&reader);
        numbers_push(&r->doomed, id);
    }
    if (reader.failed)
        r->all_doomed = true;
}

static struct slice pending_refs(const struct recovery *r, const struct pending *p)
{
    if (p->head.refs_len == 0)
        return (struct slice){"", 0};
    return (struct slice){r->refs.ptr + p->refs_at, p->head.refs_len};
}

/* The rest of an open transaction is lost with the segment, maybe its commit mark. */
static void doom_pending(struct recovery *r)
{
    for (size_t i = 0; i < r->npending; i++) {
        const struct pending *p = &r->pending[i];

        doom_refs(r, pending_refs(r, p), p->head.data_len);
    }
    r->npending = 0;
    buf_clear(&r->refs);
}

static void doom_segment(struct recovery *r, const struct row *row, const struct err *why)
{
    log_error("a segment is damaged or missing: the logs that need it end",
              LOG_UINT("segment", row->number), LOG_ERR(why));
    if (row->known)
        doom_list(r, buf_slice(&row->logs));
    else
        r->all_doomed = true;
    if (row->kind == SEGMENT_STREAM)
        doom_pending(r);
    numbers_push(&r->dropped, row->number);
}

/* ---- blocks to extents ----------------------------------------------------------------------- */

static void add_extents(struct recovery *r, const struct pending *p, struct slice refs)
{
    struct reader reader = reader_of(refs);
    struct block_ref ref = {0};

    while (block_read_ref(&reader, p->head.data_len, &ref)) {
        struct log *log = registry_by_id(r->store, ref.log);
        const struct extent extent = {p->head.commit_lsn,
                                      p->segment->number,
                                      (uint32_t)(p->data_at + ref.start),
                                      ref.len,
                                      ref.first_op,
                                      ref.last_op,
                                      p->head.xid};

        atomic_fetch_add(&p->segment->full_bytes, (int64_t)ref.len);
        if (!log || !log_shows(log, p->head.commit_lsn, p->head.xid))
            continue;
        extents_push(&log->extents, &extent);
        log->log_bytes += ref.len;
        atomic_fetch_add(&p->segment->live_bytes, (int64_t)ref.len);
        atomic_fetch_add(&p->segment->live_refs, 1);
    }
    if (reader.failed)
        r->all_doomed = true;
}

static void commit_pending(struct recovery *r)
{
    const struct block_head *head = &r->pending[r->npending - 1].head;

    for (size_t i = 0; i < r->npending; i++) {
        const struct pending *p = &r->pending[i];
        const struct slice refs = pending_refs(r, p);

        if (p->damaged)
            doom_refs(r, refs, p->head.data_len);
        else
            add_extents(r, p, refs);
    }
    if (head->commit_lsn > r->last.commit_lsn)
        r->last = (struct txn){head->commit_lsn, head->end_lsn, head->xid, head->time_us};
    r->npending = 0;
    buf_clear(&r->refs);
}

static void add_pending(struct recovery *r, const struct pending *p, struct slice refs)
{
    if (r->npending == r->pending_cap) {
        r->pending_cap = r->pending_cap ? r->pending_cap * 2 : 16;
        r->pending = xrealloc(r->pending, r->pending_cap * sizeof(*r->pending));
    }
    r->pending[r->npending] = *p;
    r->pending[r->npending++].refs_at = r->refs.len;
    buf_put_slice(&r->refs, refs);
    buf_must(&r->refs);
}

static void replay_block(struct recovery *r, const struct pending *p, struct slice refs)
{
    if (p->segment->kind == SEGMENT_COPY) {
        add_extents(r, p, refs);
        return;
    }
    if (p->head.txn != r->attempt) { /* what came before was void */
        r->npending = 0;
        buf_clear(&r->refs);
        r->attempt = p->head.txn;
    }
    if (p->head.txn > r->last_attempt)
        r->last_attempt = p->head.txn;
    add_pending(r, p, refs);
    if (p->head.flags & BLOCK_COMMIT)
        commit_pending(r);
}

/* ---- sealed segments ------------------------------------------------------------------------- */

static void close_segment(struct segment *segment)
{
    int fd = atomic_exchange(&segment->fd, -1);

    if (fd >= 0)
        close(fd);
}

static void recover_sealed(struct recovery *r, const struct row *row)
{
    struct segment *segment = segment_new(r->store->dir, row->number, row->kind);
    struct block_head head;
    struct slice body, refs;
    uint64_t data_at;
    struct err err;

    if (!segment_read_footer(segment, &body, &err)) {
        doom_segment(r, row, &err);
        unlink(segment->path);
        segment_unref(segment);
        return;
    }
    struct footer_reader footer = footer_reader_of(body);

    while (footer_next(&footer, &head, &refs, &data_at)) {
        const struct pending p = {.head = head, .segment = segment, .data_at = data_at};

        replay_block(r, &p, refs);
    }
    free((char *)body.ptr);
    atomic_store(&segment->sealed, true);
    close_segment(segment); /* there may be thousands */
    store_add_segment(r->store, segment);
}

/* ---- the last segment ------------------------------------------------------------------------ */

/* How far the scan has come. */
struct scan {
    struct segment *segment;
    struct slice bytes;
    uint64_t at, mark;
    uint64_t good; /* behind the last commit */
    struct footer footer, good_footer;
};

/* False when the scan cannot go on: the tail is torn, or what follows is lost. */
static bool scan_block(struct recovery *r, struct scan *scan)
{
    struct block block;
    const struct slice rest = {scan->bytes.ptr + scan->at, scan->bytes.len - (size_t)scan->at};
    enum block_state state = block_read(rest, &block);

    if (state == BLOCK_BAD || block_size(&block.head) > rest.len ||
        (state == BLOCK_DATA_BAD && scan->at >= scan->mark))
        return false;
    footer_add(&scan->footer, &block.head, block.refs);
    const struct pending p = {
        .head = block.head,
        .segment = scan->segment,
        .data_at = scan->at + BLOCK_HEAD_SIZE + block.head.refs_len,
        .damaged = state == BLOCK_DATA_BAD,
    };

    replay_block(r, &p, block.refs);
    scan->at += block_size(&block.head);
    if (block.head.flags & BLOCK_COMMIT) {
        size_t len = scan->footer.body.len;

        scan->good = scan->at;
        scan->good_footer = scan->footer;
        scan->good_footer.body.len = len;
    }
    return true;
}

static bool scan_blocks(struct recovery *r, struct scan *scan, struct err *err)
{
    while (scan->at < scan->bytes.len && scan_block(r, scan))
        ;
    r->npending = 0;
    buf_clear(&r->refs);
    /* What lies whole between `good` and the mark was voided by a rollback. */
    if (scan->at < scan->mark) {
        log_error("the log is damaged before the point up to which it was synced: all logs end",
                  LOG_UINT("segment", scan->segment->number), LOG_UINT("offset", scan->at));
        r->all_doomed = true;
    }
    if (ftruncate(atomic_load(&scan->segment->fd), (off_t)scan->good) != 0)
        return err_errno(err, ERR_IO, "could not cut \"%s\"", scan->segment->path);
    return io_sync(atomic_load(&scan->segment->fd), err);
}

/* The stream writes on where the scan has ended. */
static void continue_tail(struct recovery *r, struct scan *scan)
{
    struct tail *tail = &r->store->appender.tail;
    size_t len = scan->good_footer.body.len;
    struct buf body = scan->footer.body; /* the good one's is its beginning */

    body.len = scan->good > SEGMENT_HEAD_SIZE ? len : 0;
    tail->footer = scan->good > SEGMENT_HEAD_SIZE ? scan->good_footer : scan->footer;
    if (scan->good == SEGMENT_HEAD_SIZE) {
        tail->footer.blocks = 0;
        tail->footer.last = (struct block_head){0};
    }
    tail->footer.body = body;
    tail->segment = segment_ref(scan->segment);
    tail->written = scan->good;
    atomic_store(&scan->segment->size, scan->good);
    atomic_store(&scan->segment->checked, true);
}

static bool recover_tail(struct recovery *r, const struct row *row, struct err *err)
{
    const struct catalog_mark *mark = &r->stream.mark;
    struct scan scan = {.segment = segment_new(r->store->dir, row->number, row->kind),
                        .at = SEGMENT_HEAD_SIZE,
                        .good = SEGMENT_HEAD_SIZE,
                        .mark = mark->segment == row->number ? mark->offset : 0};
    struct err why = {0};

    if (!segment_open(scan.segment, &why) || !segment_load(scan.segment, &scan.bytes, &why)) {
        doom_segment(r, row, &why);
        segment_unref(scan.segment);
        return true;
    }
    bool ok = true;

    if (!segment_head_good(scan.segment, scan.bytes)) {
        err_set(&why, ERR_CORRUPT, "segment %u has no good head", row->number);
        doom_segment(r, row, &why);
        unlink(scan.segment->path);
        segment_unref(scan.segment);
    } else {
        footer_init(&scan.footer);
        store_add_segment(r->store, scan.segment);
        ok = scan_blocks(r, &scan, err);
        continue_tail(r, &scan);
    }
    free((char *)scan.bytes.ptr);
    return ok;
}

/* ---- the catalogue --------------------------------------------------------------------------- */

static void load_log(void *context, const struct catalog_log *row)
{
    struct recovery *r = context;
    struct shapelog *store = r->store;
    struct log *log = log_new(store, row->id, row->handle, LOG_LOADED);
    struct arena arena = {0};
    struct snapshot snapshot;
    struct err err;

    log->registered = row->registered;
    log->limit = row->limit;
    log->snapshot_bytes = row->snapshot_bytes;
    if (row->chunk_size > 0)
        log->chunk_size = (size_t)row->chunk_size;
    if (row->snapshot.len > 0 && snapshot_parse(row->snapshot, &arena, &snapshot, &err))
        log->snapshot = snapshot_share(store, &snapshot);
    arena_release(&arena);
    registry_add(store, log);
    if (row->id >= r->stream.next_id)
        r->stream.next_id = row->id + 1;
}

static void load_segment(void *context, const struct catalog_segment *segment)
{
    struct recovery *r = context;
    struct row row = {.number = segment->number,
                      .kind = segment->kind == SEGMENT_COPY ? SEGMENT_COPY : SEGMENT_STREAM,
                      .known = segment->logs.ptr != NULL};

    buf_init(&row.logs, BUF_NO_LIMIT);
    buf_put_slice(&row.logs, segment->logs);
    buf_must(&row.logs);
    r->rows = xrealloc(r->rows, (r->nrows + 1) * sizeof(*r->rows));
    r->rows[r->nrows++] = row;
    if (row.kind == SEGMENT_STREAM)
        r->last_stream = row.number;
    if (row.number >= atomic_load(&r->store->next_segment))
        atomic_store(&r->store->next_segment, row.number + 1);
}

static bool load_catalog(struct recovery *r, struct err *err)
{
    struct shapelog *store = r->store;

    if (!catalog_get_stream(store->catalog, &r->stream, err)) {
        if (err->code != ERR_CORRUPT)
            return false;
        log_error("the catalogue is damaged: all logs end", LOG_ERR(err));
        if (!catalog_reset(store->catalog, err) ||
            !catalog_get_stream(store->catalog, &r->stream, err))
            return false;
    }
    if (!catalog_each_log(store->catalog, load_log, r, err) ||
        !catalog_each_segment(store->catalog, load_segment, r, err))
        return false;
    store->source = r->stream.source;
    store->next_id = store->reserved_id = r->stream.next_id;
    return true;
}

/* ---- the folders ----------------------------------------------------------------------------- */

/* Calls for each file whose name is a number and the suffix; other names are not ours. */
static bool each_file(const char *dir, const char *folder, const char *suffix,
                      void (*each)(struct recovery *r, uint64_t number, const char *path),
                      struct recovery *r, struct err *err)
{
    struct buf path;
    struct dirent *entry;

    buf_init(&path, BUF_NO_LIMIT);
    buf_printf(&path, "%s/%s", dir, folder);
    DIR *files = opendir(buf_cstr(&path));
    if (!files) {
        err_errno(err, ERR_IO, "could not read folder \"%s\"", buf_cstr(&path));
        buf_release(&path);
        return false;
    }
    while ((entry = readdir(files))) {
        char *end;
        uint64_t number = strtoull(entry->d_name, &end, 10);

        if (end == entry->d_name || strcmp(end, suffix) != 0)
            continue;
        buf_clear(&path);
        buf_printf(&path, "%s/%s/%s", dir, folder, entry->d_name);
        each(r, number, buf_cstr(&path));
    }
    closedir(files);
    buf_release(&path);
    return true;
}

static void see_segment(struct recovery *r, uint64_t number, const char *path)
{
    for (size_t i = 0; i < r->nrows; i++) {
        if (r->rows[i].number == number)
            return;
    }
    unlink(path);
    if (number >= atomic_load(&r->store->next_segment) && number < UINT32_MAX)
        atomic_store(&r->store->next_segment, (uint32_t)number + 1);
}

static void see_snapshot(struct recovery *r, uint64_t id, const char *path)
{
    struct log *log = registry_by_id(r->store, id);

    if (log && log->snapshot_bytes > 0)
        log->touched = true; /* until missing_snapshots() */
    else
        unlink(path);
}

static void missing_snapshots(struct recovery *r)
{
    for (size_t i = 0; i < r->store->nlogs; i++) {
        struct log *log = r->store->logs[i].log;

        if (log->snapshot_bytes > 0 && !log->touched) {
            log_error("a snapshot is missing: its log ends", LOG_STR("log", log->handle));
            numbers_push(&r->doomed, log->id);
        }
        log->touched = false;
    }
}

/* ---- together -------------------------------------------------------------------------------- */

static bool recover_segments(struct recovery *r, struct err *err)
{
    for (size_t i = 0; i < r->nrows; i++) {
        const struct row *row = &r->rows[i];

        if (row->number != r->last_stream)
            recover_sealed(r, row);
        else if (!recover_tail(r, row, err))
            return false;
    }
    return true;
}

static void end_doomed(struct recovery *r)
{
    struct shapelog *store = r->store;
    uint64_t at = 0;
    struct log *log;

    for (size_t i = 0; i < r->doomed.len; i++) {
        log = registry_by_id(store, r->doomed.items[i]);
        if (log)
            shapelog_end_log(store, log, "a part of the log is damaged");
    }
    while (r->all_doomed && (log = shapelog_next(store, &at))) {
        shapelog_end_log(store, log, "the log is damaged");
        log_unref(log);
    }
}

static void sort_logs(struct shapelog *store)
{
    for (size_t i = 0; i < store->nlogs; i++) {
        if (store->logs[i].log)
            extents_sort(&store->logs[i].log->extents);
    }
}

/* The mark is where the log now ends: the tail was synced by the scan, and what was missing before
 * it has been paid for. So it protects all of what is there before the durable position, which
 * replayed transactions move without a sync, passes it. True when that is news. */
static bool move_mark(struct recovery *r)
{
    const struct tail *tail = &r->store->appender.tail;
    struct catalog_mark *mark = &r->stream.mark;
    const struct catalog_mark before = *mark;

    if (r->last.commit_lsn > mark->last_commit)
        mark->last_commit = r->last.commit_lsn;
    mark->segment = tail->segment ? tail->segment->number : 0;
    mark->offset = tail->segment ? tail->written : 0;
    return mark->last_commit != before.last_commit || mark->segment != before.segment ||
           mark->offset != before.offset;
}

/* What recovery has decided is in the catalogue before anyone builds on it. */
static bool record(struct recovery *r, struct err *err)
{
    struct shapelog *store = r->store;
    const bool moved = move_mark(r);
    struct numbers ended = syncer_take_ended(store);
    uint32_t *dropped = xcalloc(r->dropped.len, sizeof(*dropped));

    for (size_t i = 0; i < r->dropped.len; i++)
        dropped[i] = (uint32_t)r->dropped.items[i];
    const struct catalog_batch batch = {.ended = ended.items,
                                        .nended = ended.len,
                                        .dropped = dropped,
                                        .ndropped = r->dropped.len,
                                        .mark = &r->stream.mark};
    bool ok = (!moved && ended.len == 0 && r->dropped.len == 0) ||
              catalog_apply(store->catalog, &batch, err);

    free(ended.items);
    free(dropped);
    return ok;
}

static void set_positions(struct recovery *r)
{
    struct shapelog *store = r->store;
    const struct catalog_mark *mark = &r->stream.mark;

    atomic_store(&store->last_commit, mark->last_commit);
    atomic_store(&store->published, mark->last_commit);
    atomic_store(&store->durable, mark->end_lsn);
    store->durable_segment = mark->segment;
    store->sync.mark = *mark;
    store->appender.attempt = r->last_attempt;
    if (r->last.commit_lsn != LSN_NONE && r->last.time_us != 0)
        times_add(&store->times, r->last.commit_lsn, r->last.time_us);
}

static bool recover(struct recovery *r, struct err *err)
{
    struct shapelog *store = r->store;

    if (!load_catalog(r, err) || !each_file(store->dir, "segments", ".seg", see_segment, r, err) ||
        !each_file(store->dir, "snapshots", ".snap", see_snapshot, r, err))
        return false;
    missing_snapshots(r);
    if (!recover_segments(r, err))
        return false;
    sort_logs(store);
    end_doomed(r);
    if (!record(r, err))
        return false;
    set_positions(r);
    return true;
}

bool store_recover(struct shapelog *store, struct err *err)
{
    struct recovery r = {.store = store};

    buf_init(&r.refs, BUF_NO_LIMIT);
    bool ok = recover(&r, err);

    for (size_t i = 0; i < r.nrows; i++)
        buf_release(&r.rows[i].logs);
    free(r.rows);
    free(r.doomed.items);
    free(r.dropped.items);
    free(r.pending);
    buf_release(&r.refs);
    return ok;
}
