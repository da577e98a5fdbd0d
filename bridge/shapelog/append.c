/*
 * The stream's side: transactions come in, blocks go to the tail.
 *
 * A message is copied into its lane's filling, with a ref for each log. When a filling has enough,
 * or at the commit, it becomes a block in the tail's buffer: from here on its place in the file is
 * known, and the logs get their extents. They cannot be read before shapelog_publish() has written
 * the buffer and moved the published position, so an extent that is there too early does no harm;
 * shapelog_rollback() takes it back.
 *
 * Everything that can fail happens in tail_ready(), before a call has changed anything: so a call
 * that met a full disk may be made again.
 */
#include "shapelog/io.h"
#include "shapelog/store.h"

#include <assert.h>
#include <stdlib.h>

#define TAIL_MAX ((size_t)1 << 20)      /* the tail is written when it holds this */
#define FILLING_MAX ((size_t)256 << 10) /* data of a block, unless one message is larger */
#define FILLING_REFS_MAX ((size_t)16384)
#define HELD_MAX ((size_t)8 << 20) /* in all lanes together */
#define POOL_MAX 32u

void appender_init(struct appender *appender)
{
    buf_init(&appender->tail.bytes, BUF_NO_LIMIT);
    footer_init(&appender->tail.footer);
}

static void filling_free(struct filling *filling)
{
    buf_release(&filling->data);
    free(filling->refs);
    free(filling);
}

void appender_release(struct shapelog *store)
{
    struct appender *a = &store->appender;

    while (a->pool) {
        struct filling *filling = a->pool;

        a->pool = filling->next;
        filling_free(filling);
    }
    for (size_t i = 0; i < a->touched.len; i++)
        log_unref(a->touched.items[i]);
    segment_unref(a->tail.segment);
    buf_release(&a->tail.bytes);
    buf_release(&a->tail.footer.body);
    free(a->dirty);
    free(a->in_txn.items);
    free(a->touched.items);
}

/* ---- lanes ----------------------------------------------------------------------------------- */

struct lane *shapelog_lane_new(struct shapelog *store)
{
    (void)store;
    return xcalloc(1, sizeof(struct lane));
}

void shapelog_lane_free(struct shapelog *store, struct lane *lane)
{
    (void)store;
    assert(!lane || !lane->filling);
    free(lane);
}

static void lane_open(struct appender *a, struct lane *lane)
{
    struct filling *filling = a->pool;

    if (filling) {
        a->pool = filling->next;
        a->npool--;
    } else {
        filling = xcalloc(1, sizeof(*filling));
        buf_init(&filling->data, BUF_NO_LIMIT);
    }
    lane->filling = filling;
    lane->block = ++a->blocks;
    if (a->ndirty == a->dirty_cap) {
        a->dirty_cap = a->dirty_cap ? a->dirty_cap * 2 : 16;
        a->dirty = xrealloc(a->dirty, a->dirty_cap * sizeof(struct lane *));
    }
    a->dirty[a->ndirty++] = lane;
}

static size_t filling_size(const struct filling *filling)
{
    return filling->data.len + filling->nrefs * sizeof(struct ref);
}

/* Empties the lane; it stays in `dirty` for the caller to take out. */
static void lane_close(struct appender *a, struct lane *lane)
{
    struct filling *filling = lane->filling;

    a->held -= filling_size(filling);
    lane->filling = NULL;
    buf_clear(&filling->data);
    filling->nrefs = 0;
    if (a->npool >= POOL_MAX || filling->data.cap > 4 * FILLING_MAX ||
        filling->cap > 4 * FILLING_REFS_MAX) {
        filling_free(filling);
        return;
    }
    filling->next = a->pool;
    a->pool = filling;
    a->npool++;
}

static struct ref *filling_add_ref(struct filling *filling)
{
    if (filling->nrefs == filling->cap) {
        filling->cap = filling->cap ? filling->cap * 2 : 16;
        filling->refs = xrealloc(filling->refs, filling->cap * sizeof(*filling->refs));
    }
    return &filling->refs[filling->nrefs++];
}

/* ---- the tail -------------------------------------------------------------------------------- */

static uint64_t tail_end(const struct tail *tail)
{
    return tail->written + tail->bytes.len;
}

static bool tail_write(struct shapelog *store, struct err *err)
{
    struct tail *tail = &store->appender.tail;
    size_t done;

    if (tail->bytes.len == 0)
        return true;
    bool ok = io_write(atomic_load(&tail->segment->fd), buf_slice(&tail->bytes), tail->written,
                       &done, err);

    tail->written += done;
    buf_consume(&tail->bytes, done);
    atomic_store(&tail->segment->size, tail->written);
    if (done > 0) {
        struct sync_state *sync = &store->sync;

        pthread_mutex_lock(&store->sync_lock);
        if (sync->written.len == 0 || sync->written.items[sync->written.len - 1] != tail->segment)
            segments_push(&sync->written, segment_ref(tail->segment));
        pthread_mutex_unlock(&store->sync_lock);
    }
    return ok || err_wrap(err, "segment %u", tail->segment->number);
}

/* Puts the footer behind the blocks, writes, and hands the segment to the syncer. */
static bool tail_seal(struct shapelog *store, struct err *err)
{
    struct tail *tail = &store->appender.tail;
    struct segment *segment = tail->segment;

    if (!tail->sealing) {
        footer_put(&tail->footer, tail_end(tail), &tail->bytes);
        buf_must(&tail->bytes);
        tail->sealing = true;
    }
    if (!tail_write(store, err))
        return false;
    tail->sealing = false;
    buf_release(&segment->index);
    segment->index = tail->footer.body;
    footer_init(&tail->footer);
    pthread_mutex_lock(&store->sync_lock);
    segments_push(&store->sync.sealed, segment_ref(segment));
    pthread_mutex_unlock(&store->sync_lock);
    atomic_store(&segment->sealed, true);
    segment_unref(segment);
    tail->segment = NULL;
    return true;
}

static bool tail_begin(struct shapelog *store, struct err *err)
{
    struct tail *tail = &store->appender.tail;
    struct segment *segment =
        segment_new(store->dir, atomic_fetch_add(&store->next_segment, 1), SEGMENT_STREAM);

    if (!segment_create(segment, err)) {
        segment_unref(segment);
        return false;
    }
    tail->segment = segment_ref(segment);
    tail->written = SEGMENT_HEAD_SIZE;
    pthread_mutex_lock(&store->sync_lock);
    segments_push(&store->sync.made, segment_ref(segment));
    segments_push(&store->sync.written, segment_ref(segment));
    pthread_mutex_unlock(&store->sync_lock);
    store_add_segment(store, segment);
    return true;
}

static bool tail_prepare(struct shapelog *store, struct err *err)
{
    struct tail *tail = &store->appender.tail;

    if (tail->segment && !tail->sealing && tail->bytes.len >= TAIL_MAX && !tail_write(store, err))
        return false;
    if (tail->segment && (tail->sealing || tail_end(tail) >= store->segment_size) &&
        !tail_seal(store, err))
        return false;
    return tail->segment || tail_begin(store, err);
}

/* Makes sure that a block can be put into the tail. */
static inline bool tail_ready(struct shapelog *store, struct err *err)
{
    const struct tail *tail = &store->appender.tail;

    if (tail->segment && !tail->sealing && tail->bytes.len < TAIL_MAX &&
        tail_end(tail) < store->segment_size)
        return true;
    return tail_prepare(store, err);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void put_refs(const struct filling *filling, struct buf *out)
{
    struct block_ref before = {0};

    for (size_t i = 0; i < filling->nrefs; i++) {
        const struct ref *ref = &filling->refs[i];
        const struct block_ref now = {ref->log->id, ref->start, ref->end - ref->start,
                                      ref->first_op, ref->last_op};

        block_put_ref(out, &now, &before);
        before = now;
    }
}

/* Gives the logs their extents, and the segment its account of them. */
static void hand_out(struct shapelog *store, const struct filling *filling, uint64_t data_at)
{
    struct appender *a = &store->appender;
    struct extent extent = {
        .commit_lsn = a->txn.commit_lsn, .segment = a->tail.segment->number, .xid = a->txn.xid};
    int64_t refs = 0, bytes = 0, full = 0;

    for (size_t i = 0; i < filling->nrefs; i++) {
        const struct ref *ref = &filling->refs[i];

        extent.offset = (uint32_t)(data_at + ref->start);
        extent.len = ref->end - ref->start;
        extent.first_op = ref->first_op;
        extent.last_op = ref->last_op;
        full += extent.len;
        if (log_add_extent(ref->log, &extent)) {
            refs++;
            bytes += extent.len;
        }
    }
    atomic_fetch_add(&a->tail.segment->live_refs, refs);
    atomic_fetch_add(&a->tail.segment->live_bytes, bytes);
    atomic_fetch_add(&a->tail.segment->full_bytes, full);
}

/* Makes a block of what is in the filling (none: an empty block). Needs tail_ready(). */
static void put_block(struct shapelog *store, const struct filling *filling, bool commit)
{
    struct appender *a = &store->appender;
    struct buf *out = &a->tail.bytes;
    const struct slice data = filling ? buf_slice(&filling->data) : (struct slice){"", 0};
    const size_t at = out->len;

    if (buf_room(out, BLOCK_HEAD_SIZE))
        buf_added(out, BLOCK_HEAD_SIZE);
    if (filling)
        put_refs(filling, out);
    struct block_head head = {
        .flags = commit ? BLOCK_COMMIT : 0,
        .refs_len = (uint32_t)(out->len - at - BLOCK_HEAD_SIZE),
        .data_len = (uint32_t)data.len,
        .data_sum = hash_bytes(data),
        .commit_lsn = a->txn.commit_lsn,
        .xid = a->txn.xid,
        .txn = a->attempt,
        .end_lsn = commit ? a->txn.end_lsn : LSN_NONE,
        .time_us = commit ? a->txn.time_us : 0,
    };
    const uint64_t data_at = tail_end(&a->tail);

    buf_put_slice(out, data);
    buf_must(out);
    block_write_head(out->ptr + at, &head);
    footer_add(&a->tail.footer, &head,
               (struct slice){out->ptr + at + BLOCK_HEAD_SIZE, head.refs_len});
    buf_must(&a->tail.footer.body);
    a->any = true;
    if (filling)
        hand_out(store, filling, data_at);
}

static void flush_lane(struct shapelog *store, struct lane *lane)
{
    struct appender *a = &store->appender;
    size_t i = 0;

    put_block(store, lane->filling, false);
    lane_close(a, lane);
    while (a->dirty[i] != lane)
        i++;
    memmove(&a->dirty[i], &a->dirty[i + 1], (--a->ndirty - i) * sizeof(struct lane *));
}

static void flush_all(struct shapelog *store, bool commit)
{
    struct appender *a = &store->appender;

    for (size_t i = 0; i < a->ndirty; i++) {
        put_block(store, a->dirty[i]->filling, commit && i + 1 == a->ndirty);
        lane_close(a, a->dirty[i]);
    }
    a->ndirty = 0;
}

/* ---- transactions ---------------------------------------------------------------------------- */

bool shapelog_begin(struct shapelog *store, const struct txn *txn, bool *known, struct err *err)
{
    struct appender *a = &store->appender;
    const struct tail *tail = &a->tail;

    assert(!a->open);
    if (!tail_ready(store, err))
        return false;
    a->open = true;
    a->known = *known = txn->commit_lsn <= shapelog_last_commit(store);
    a->txn = *txn;
    a->number++;
    a->attempt++;
    a->any = false;
    a->mark = (struct tail_mark){tail->segment->number, tail_end(tail), tail->footer.body.len,
                                 tail->footer.blocks, tail->footer.last};
    return true;
}

/* Keeps the log for the end of the transaction. */
static void touch(struct appender *a, struct log *log)
{
    log->txn = a->number;
    log->open_block = 0;
    logs_push(&a->in_txn, log_ref(log));
}

/* The message at [start, end) of the lane's data is for the log: lengthens the log's last ref when
 * it ends just there. */
static void add_ref(struct appender *a, struct lane *lane, struct log *log, uint32_t start,
                    uint32_t end, uint32_t op)
{
    struct filling *filling = lane->filling;

    if (log->txn != a->number)
        touch(a, log);
    if (log->open_block == lane->block && filling->refs[log->open_ref].end + 1 == start) {
        filling->refs[log->open_ref].end = end;
        filling->refs[log->open_ref].last_op = op;
        return;
    }
    log->open_block = lane->block;
    log->open_ref = (uint32_t)filling->nrefs;
    *filling_add_ref(filling) = (struct ref){log, start, end, op, op};
    a->held += sizeof(struct ref);
}

static bool takes(const struct appender *a, const struct log *log)
{
    return log_state_of(log) != LOG_ENDED && log->registered < a->txn.commit_lsn;
}

static void add_message(struct shapelog *store, struct lane *lane, struct slice message,
                        uint32_t op, struct log *const *logs, size_t nlogs)
{
    struct appender *a = &store->appender;

    if (!lane->filling)
        lane_open(a, lane);
    struct buf *data = &lane->filling->data;
    const size_t before = data->len;

    if (before)
        buf_put_u8(data, ',');
    uint32_t start = (uint32_t)data->len;
    buf_put_slice(data, message);
    buf_must(data);
    a->held += data->len - before;
    for (size_t i = 0; i < nlogs; i++) {
        if (takes(a, logs[i]))
            add_ref(a, lane, logs[i], start, (uint32_t)data->len, op);
    }
}

static bool lane_is_full(const struct lane *lane, size_t more)
{
    const struct filling *filling = lane->filling;

    return filling &&
           (filling->data.len + more > FILLING_MAX || filling->nrefs >= FILLING_REFS_MAX);
}

bool shapelog_append(struct shapelog *store, struct lane *lane, struct slice message, uint64_t op,
                     struct log *const *logs, size_t nlogs, struct err *err)
{
    struct appender *a = &store->appender;
    size_t takers = 0;

    assert(a->open);
    if (a->known)
        return true;
    if (message.len == 0 || message.len > MESSAGE_MAX || op > UINT32_MAX)
        return err_set(err, ERR_LIMIT,
                       "a message of %zu bytes, op %llu, is beyond the log's limits", message.len,
                       (unsigned long long)op);
    if (!tail_ready(store, err))
        return false;
    while (takers < nlogs && !takes(a, logs[takers]))
        takers++;
    if (takers == nlogs)
        return true;
    if (lane_is_full(lane, message.len))
        flush_lane(store, lane);
    else if (a->held >= HELD_MAX)
        flush_all(store, false);
    add_message(store, lane, message, (uint32_t)op, logs + takers, nlogs - takers);
    return true;
}

bool shapelog_commit(struct shapelog *store, const struct txn *txn, struct err *err)
{
    struct appender *a = &store->appender;

    assert(a->open && a->txn.commit_lsn == txn->commit_lsn);
    if (!tail_ready(store, err))
        return false;
    a->open = false;
    if (a->known)
        return true;
    a->txn = *txn;
    if (a->ndirty > 0)
        flush_all(store, true);
    else if (a->any)
        put_block(store, NULL, true);
    for (size_t i = 0; i < a->in_txn.len; i++) {
        struct log *log = a->in_txn.items[i];

        if (log->touched) {
            log_unref(log);
        } else {
            log->touched = true;
            logs_push(&a->touched, log);
        }
    }
    a->in_txn.len = 0;
    atomic_store_explicit(&store->last_commit, txn->commit_lsn, memory_order_release);
    times_add(&store->times, txn->commit_lsn, txn->time_us);
    return true;
}

/* Blocks of the transaction that were not written yet are cut off; those that were stay, void. */
static void cut_tail(struct appender *a)
{
    struct tail *tail = &a->tail;

    if (!tail->segment || tail->segment->number != a->mark.segment || a->mark.end < tail->written ||
        tail->sealing)
        return;
    tail->bytes.len = (size_t)(a->mark.end - tail->written);
    tail->footer.body.len = a->mark.footer_len;
    tail->footer.blocks = a->mark.footer_blocks;
    tail->footer.last = a->mark.footer_last;
}

void shapelog_rollback(struct shapelog *store)
{
    struct appender *a = &store->appender;

    if (!a->open)
        return;
    a->open = false;
    for (size_t i = 0; i < a->ndirty; i++)
        lane_close(a, a->dirty[i]);
    a->ndirty = 0;
    for (size_t i = 0; i < a->in_txn.len; i++) {
        log_drop_txn(store, a->in_txn.items[i], a->txn.commit_lsn);
        log_unref(a->in_txn.items[i]);
    }
    a->in_txn.len = 0;
    if (!a->known)
        cut_tail(a);
}

/* ---- publishing ------------------------------------------------------------------------------ */

/* Tells the syncer where it may get to. Also where there is nothing to sync the position goes into
 * the catalogue first: a slot that was confirmed beyond what its folder knows of was moved on by
 * another (wal/session.c). */
static void note_position(struct shapelog *store, lsn_t end_lsn)
{
    const struct tail *tail = &store->appender.tail;
    struct sync_state *sync = &store->sync;

    pthread_mutex_lock(&store->sync_lock);
    bool moved = end_lsn > sync->mark.end_lsn;
    if (moved)
        sync->mark.end_lsn = end_lsn;
    sync->mark.last_commit = shapelog_last_commit(store);
    if (tail->segment && !tail->sealing) {
        sync->mark.segment = tail->segment->number;
        sync->mark.offset = tail->written;
    }
    bool waits = sync->dirty || sync->busy || sync->written.len || sync->made.len ||
                 sync->sealed.len || sync->ended.len;
    if ((moved || waits) && !sync->dirty) {
        sync->dirty = true;
        pthread_cond_signal(&store->sync_wanted);
    }
    pthread_mutex_unlock(&store->sync_lock);
}

bool shapelog_publish(struct shapelog *store, lsn_t position, lsn_t end_lsn, struct err *err)
{
    struct appender *a = &store->appender;
    uint64_t listeners = 0;

    assert(!a->open);
    if (!tail_write(store, err))
        return false;
    if (position > shapelog_published(store))
        atomic_store_explicit(&store->published, position, memory_order_release);
    note_position(store, end_lsn);
    for (size_t i = 0; i < a->touched.len; i++) {
        struct log *log = a->touched.items[i];

        log->touched = false;
        listeners |= wait_queue(log);
        log_unref(log);
    }
    a->touched.len = 0;
    wait_wake(store, listeners);
    return true;
}
