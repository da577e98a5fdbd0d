/*
 * Growth. A segment that nothing refers to is deleted. One that is mostly dead is emptied first:
 * what live logs need of it is copied into a new segment of kind COPY, which is synced; one
 * transaction in the catalogue puts it in the place of the old ones; then the logs' extents are
 * pointed at it. Runs keep their bounds and bytes: a client's offset may be at any of them.
 *
 * Only segments whose transactions are all committed and durable take part. A copied block has the
 * part of one transaction that one old segment had; it is committed in itself.
 */
#include "shapelog/io.h"
#include "shapelog/store.h"
#include "base/logging.h"

#include <stdlib.h>
#include <unistd.h>

#define WRITE_AT ((size_t)1 << 20)
#define PAYS_FROM 4u /* segments' worth of dead bytes */

/* A live extent of a victim. */
struct item {
    uint64_t log;
    struct extent extent;
    uint32_t to; /* its offset in the copy */
};

struct items {
    struct item *items;
    size_t len, cap;
};

struct copy {
    struct shapelog *store;
    struct segment *segment;
    struct buf bytes; /* not yet written, ... */
    uint64_t written; /* ... from here on */
    struct footer footer;
};

/* ---- which ----------------------------------------------------------------------------------- */

static bool settled(const struct shapelog *store, const struct segment *segment)
{
    return atomic_load(&segment->sealed) &&
           (segment->kind == SEGMENT_COPY || segment->number < store->durable_segment);
}

/* Of the file, by how much of what logs once had in it they have still. Heads are no measure: with
 * small messages they are the larger part of a file in which all is alive. */
static int64_t dead_bytes(const struct segment *segment)
{
    int64_t full = atomic_load(&segment->full_bytes), live = atomic_load(&segment->live_bytes);
    double dead = full > live ? (double)(full - live) / (double)full : 0;

    return (int64_t)(dead * (double)atomic_load(&segment->size));
}

static bool is_dead(const struct segment *segment)
{
    return atomic_load(&segment->live_refs) == 0;
}

static bool is_mostly_dead(const struct segment *segment)
{
    return !is_dead(segment) && dead_bytes(segment) * 2 > (int64_t)atomic_load(&segment->size);
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = (*(struct segment *const *)a)->number, y = (*(struct segment *const *)b)->number;

    return (x > y) - (x < y);
}

/* Settled segments of which `which` says so, by number, referenced. */
static struct segments choose(struct shapelog *store, bool (*which)(const struct segment *))
{
    struct segments chosen = {0};
    struct u64map_slot *slot;
    size_t at = 0;

    pthread_mutex_lock(&store->segments_lock);
    while ((slot = u64map_next(&store->segments, &at))) {
        struct segment *segment = slot->value;

        if (settled(store, segment) && which(segment))
            segments_push(&chosen, segment_ref(segment));
    }
    pthread_mutex_unlock(&store->segments_lock);
    if (chosen.len > 1)
        qsort(chosen.items, chosen.len, sizeof(struct segment *), by_number);
    return chosen;
}

bool compact_pays(struct shapelog *store)
{
    struct u64map_slot *slot;
    int64_t size = 0, dead = 0;
    size_t at = 0;

    pthread_mutex_lock(&store->segments_lock);
    while ((slot = u64map_next(&store->segments, &at))) {
        if (settled(store, slot->value)) {
            struct segment *segment = slot->value;

            size += (int64_t)atomic_load(&segment->size);
            dead += dead_bytes(segment);
        }
    }
    pthread_mutex_unlock(&store->segments_lock);
    return dead * 2 > size && dead > (int64_t)(PAYS_FROM * store->segment_size);
}

/* As many from the front as together fill a segment. */
static void limit(const struct shapelog *store, struct segments *victims)
{
    uint64_t live = 0;
    size_t n = 0;

    while (n < victims->len && (n == 0 || live < store->segment_size))
        live += (uint64_t)atomic_load(&victims->items[n++]->live_bytes);
    while (victims->len > n)
        segment_unref(victims->items[--victims->len]);
}

/* ---- dropping -------------------------------------------------------------------------------- */

/* In one transaction: `made` is there instead of `dropped`, and the rows of ended logs go, some of
 * which may be the reason why these segments are not needed. */
static bool replace(struct shapelog *store, const struct catalog_segment *made,
                    const struct segments *dropped, struct err *err)
{
    uint32_t *numbers = xcalloc(dropped->len, sizeof(*numbers));

    for (size_t i = 0; i < dropped->len; i++)
        numbers[i] = dropped->items[i]->number;
    const struct catalog_batch batch = {
        .made = made,
        .nmade = made ? 1 : 0,
        .dropped = numbers,
        .ndropped = dropped->len,
    };
    bool ok = syncer_apply(store, &batch, err);

    free(numbers);
    return ok;
}

bool compact_drop_dead(struct shapelog *store, struct err *err)
{
    struct segments dead = choose(store, is_dead);
    bool ok = dead.len == 0 || replace(store, NULL, &dead, err);

    for (size_t i = 0; ok && i < dead.len; i++)
        store_drop_segment(store, dead.items[i]);
    segments_release(&dead);
    return ok;
}

/* ---- what is alive --------------------------------------------------------------------------- */

static struct segment *victim(const struct segments *victims, uint32_t number)
{
    size_t lo = 0, hi = victims->len;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (victims->items[mid]->number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < victims->len && victims->items[lo]->number == number ? victims->items[lo] : NULL;
}

static void add_item(struct items *items, uint64_t log, const struct extent *extent)
{
    if (items->len == items->cap) {
        items->cap = items->cap ? items->cap * 2 : 256;
        items->items = xrealloc(items->items, items->cap * sizeof(*items->items));
    }
    items->items[items->len++] = (struct item){.log = log, .extent = *extent};
}

static void collect(struct shapelog *store, const struct segments *victims, struct items *items)
{
    uint64_t at = 0;
    struct log *log;

    while ((log = shapelog_next(store, &at))) {
        pthread_mutex_lock(log_stripe(log));
        for (uint32_t i = 0; i < log->extents.len; i++) {
            const struct extent *e = extents_at(&log->extents, i);

            if (victim(victims, e->segment))
                add_item(items, log->id, e);
        }
        pthread_mutex_unlock(log_stripe(log));
        log_unref(log);
    }
}

#define COMPARE(a, b)                                                                              \
    if ((a) != (b))                                                                                \
    return (a) < (b) ? -1 : 1

/* In the order in which they are copied. */
static int by_place(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    COMPARE(x->extent.commit_lsn, y->extent.commit_lsn);
    COMPARE(x->extent.segment, y->extent.segment);
    COMPARE(x->extent.offset, y->extent.offset);
    COMPARE(x->log, y->log);
    return 0;
}

/* In the order in which they are looked up again. */
static int by_log(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    COMPARE(x->log, y->log);
    COMPARE(x->extent.segment, y->extent.segment);
    COMPARE(x->extent.offset, y->extent.offset);
    return 0;
}

/* ---- copying --------------------------------------------------------------------------------- */

static bool copy_write(struct copy *copy, struct err *err)
{
    size_t done;
    bool ok = io_write(atomic_load(&copy->segment->fd), buf_slice(&copy->bytes), copy->written,
                       &done, err);

    copy->written += done;
    buf_consume(&copy->bytes, done);
    return ok;
}

/* Appends bytes [offset, offset + len) of the segment. */
static bool copy_bytes(const struct segment *from, uint64_t offset, uint32_t len, struct buf *data,
                       struct err *err)
{
    char *to = buf_room(data, len);

    buf_must(data);
    if (!io_read(atomic_load(&from->fd), to, len, offset, err))
        return false;
    buf_added(data, len);
    return true;
}

/* Reads what the items need into `data`, each byte once though several logs may want it; notes
 * where each item is in there. The items are by place. */
static bool gather(const struct segment *from, struct item *items, size_t n, struct buf *data,
                   struct err *err)
{
    uint64_t begin = 0, end = 0; /* of the stretch of the old file that ends the data */

    buf_clear(data);
    for (size_t i = 0; i < n; i++) {
        const struct extent *e = &items[i].extent;
        uint64_t item_end = (uint64_t)e->offset + e->len;

        if (data->len == 0 || e->offset > end) {
            begin = end = e->offset;
            begin -= data->len; /* an offset in the old file less `begin` is one in the data */
        }
        if (item_end > end) {
            if (!copy_bytes(from, end, (uint32_t)(item_end - end), data, err))
                return false;
            end = item_end;
        }
        items[i].to = (uint32_t)(e->offset - begin);
    }
    return true;
}

static void put_refs(const struct item *items, size_t n, struct buf *out)
{
    struct block_ref before = {0};

    for (size_t i = 0; i < n; i++) {
        const struct extent *e = &items[i].extent;
        const struct block_ref ref = {items[i].log, items[i].to, e->len, e->first_op, e->last_op};

        block_put_ref(out, &ref, &before);
        before = ref;
    }
}

/* One block: items of one transaction in one segment. */
static bool copy_block(struct copy *copy, const struct segment *from, struct item *items, size_t n,
                       struct buf *data, struct err *err)
{
    struct buf *out = &copy->bytes;
    const size_t at = out->len;

    if (!gather(from, items, n, data, err))
        return false;
    if (buf_room(out, BLOCK_HEAD_SIZE))
        buf_added(out, BLOCK_HEAD_SIZE);
    put_refs(items, n, out);
    buf_must(out);
    const struct block_head head = {
        .flags = BLOCK_COPY | BLOCK_COMMIT,
        .refs_len = (uint32_t)(out->len - at - BLOCK_HEAD_SIZE),
        .data_len = (uint32_t)data->len,
        .data_sum = hash_bytes(buf_slice(data)),
        .commit_lsn = items[0].extent.commit_lsn,
        .xid = items[0].extent.xid,
    };
    const uint64_t data_at = copy->written + out->len;

    buf_put_slice(out, buf_slice(data));
    buf_must(out);
    block_write_head(out->ptr + at, &head);
    footer_add(&copy->footer, &head,
               (struct slice){out->ptr + at + BLOCK_HEAD_SIZE, head.refs_len});
    for (size_t i = 0; i < n; i++)
        items[i].to += (uint32_t)data_at;
    return out->len < WRITE_AT || copy_write(copy, err);
}

/* How many of the items, from the first on, belong into one block. */
static size_t block_items(const struct item *items, size_t n)
{
    size_t i = 1;

    while (i < n && items[i].extent.commit_lsn == items[0].extent.commit_lsn &&
           items[i].extent.segment == items[0].extent.segment)
        i++;
    return i;
}

static bool copy_items(struct copy *copy, const struct segments *victims, struct items *items,
                       struct err *err)
{
    struct buf data;
    bool ok = true;

    buf_init(&data, BUF_NO_LIMIT);
    for (size_t i = 0, n; ok && i < items->len; i += n) {
        struct item *first = &items->items[i];

        n = block_items(first, items->len - i);
        ok = copy_block(copy, victim(victims, first->extent.segment), first, n, &data, err);
    }
    buf_release(&data);
    return ok;
}

/* Seals and makes durable, names included. */
static bool copy_finish(struct copy *copy, struct err *err)
{
    struct buf path;

    footer_put(&copy->footer, copy->written + copy->bytes.len, &copy->bytes);
    buf_must(&copy->bytes);
    if (!copy_write(copy, err) || !io_sync(atomic_load(&copy->segment->fd), err))
        return false;
    atomic_store(&copy->segment->size, copy->written);
    atomic_store(&copy->segment->sealed, true);
    buf_init(&path, BUF_NO_LIMIT);
    buf_printf(&path, "%s/segments", copy->store->dir);
    bool ok = io_sync_dir(buf_cstr(&path), err);
    buf_release(&path);
    return ok;
}

/* ---- taking over ----------------------------------------------------------------------------- */

static int compare_place(const struct item *item, const struct extent *extent)
{
    COMPARE(item->extent.segment, extent->segment);
    COMPARE(item->extent.offset, extent->offset);
    return 0;
}

static const struct item *find_item(const struct item *items, size_t n, const struct extent *extent)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (compare_place(&items[mid], extent) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && compare_place(&items[lo], extent) == 0 ? &items[lo] : NULL;
}

/* Points the log's extents at the copy. */
static void redirect(struct log *log, const struct item *items, size_t n,
                     const struct segments *victims, struct segment *to)
{
    pthread_mutex_lock(log_stripe(log));
    for (uint32_t i = 0; i < log->extents.len; i++) {
        struct extent *e = extents_at(&log->extents, i);
        struct segment *from = victim(victims, e->segment);
        const struct item *item = from ? find_item(items, n, e) : NULL;

        if (!item)
            continue;
        atomic_fetch_add(&to->full_bytes, (int64_t)e->len);
        atomic_fetch_add(&to->live_bytes, (int64_t)e->len);
        atomic_fetch_add(&to->live_refs, 1);
        atomic_fetch_sub(&from->live_bytes, (int64_t)e->len);
        atomic_fetch_sub(&from->live_refs, 1);
        e->segment = to->number;
        e->offset = item->to;
    }
    pthread_mutex_unlock(log_stripe(log));
}

static struct log *log_by_id(struct shapelog *store, uint64_t id)
{
    pthread_mutex_lock(&store->registry);
    struct log *log = registry_by_id(store, id);

    if (log)
        log_ref(log);
    pthread_mutex_unlock(&store->registry);
    return log;
}

static void redirect_all(struct shapelog *store, struct items *items,
                         const struct segments *victims, struct segment *to)
{
    if (items->len > 1)
        qsort(items->items, items->len, sizeof(*items->items), by_log);
    for (size_t i = 0, n; i < items->len; i += n) {
        const struct item *first = &items->items[i];

        for (n = 1; i + n < items->len && first[n].log == first->log;)
            n++;
        struct log *log = log_by_id(store, first->log);

        if (log)
            redirect(log, first, n, victims, to);
        log_unref(log);
    }
}

static bool take_over(struct copy *copy, const struct segments *victims, struct items *items,
                      struct err *err)
{
    struct shapelog *store = copy->store;
    struct buf logs;

    buf_init(&logs, BUF_NO_LIMIT);
    footer_logs(buf_slice(&copy->footer.body), &logs);
    const struct catalog_segment row = {copy->segment->number, SEGMENT_COPY, buf_slice(&logs)};
    bool ok = replace(store, &row, victims, err);

    buf_release(&logs);
    if (!ok)
        return false;
    store_add_segment(store, segment_ref(copy->segment));
    redirect_all(store, items, victims, copy->segment);
    for (size_t i = 0; i < victims->len; i++)
        store_drop_segment(store, victims->items[i]);
    return true;
}

/* False without an error when a victim is damaged: its logs have ended, there is less to copy. */
static bool check_victims(struct shapelog *store, const struct segments *victims, bool *damaged,
                          struct err *err)
{
    for (size_t i = 0; i < victims->len; i++) {
        if (segment_check(victims->items[i], err))
            continue;
        *damaged = err->code == ERR_CORRUPT;
        if (*damaged)
            store_segment_damaged(store, victims->items[i], err);
        return *damaged;
    }
    return true;
}

static bool copy_victims(struct shapelog *store, const struct segments *victims, struct err *err)
{
    struct items items = {0};
    struct copy copy = {.store = store, .written = SEGMENT_HEAD_SIZE};

    collect(store, victims, &items);
    if (items.len > 1)
        qsort(items.items, items.len, sizeof(*items.items), by_place);
    copy.segment = segment_new(store->dir, atomic_fetch_add(&store->next_segment, 1), SEGMENT_COPY);
    buf_init(&copy.bytes, BUF_NO_LIMIT);
    footer_init(&copy.footer);
    bool ok = segment_create(copy.segment, err) && copy_items(&copy, victims, &items, err) &&
              copy_finish(&copy, err) && take_over(&copy, victims, &items, err);
    if (!ok)
        unlink(copy.segment->path);
    segment_unref(copy.segment);
    buf_release(&copy.bytes);
    buf_release(&copy.footer.body);
    free(items.items);
    return ok || err_wrap(err, "compaction");
}

bool compact_pass(struct shapelog *store, bool *worked, struct err *err)
{
    struct segments victims = choose(store, is_mostly_dead);
    bool damaged = false;

    limit(store, &victims);
    *worked = victims.len > 0;
    bool ok = check_victims(store, &victims, &damaged, err);
    if (ok && !damaged && victims.len > 0)
        ok = copy_victims(store, &victims, err);
    if (ok && *worked)
        log_debug("segments were compacted", LOG_UINT("segments", victims.len));
    segments_release(&victims);
    return ok;
}

/* ---- the logs in a footer -------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool collect_ids(struct slice body, struct numbers *ids)
{
    struct footer_reader footer = footer_reader_of(body);
    struct block_head head;
    struct slice refs;
    uint64_t at;

    while (footer_next(&footer, &head, &refs, &at)) {
        struct reader r = reader_of(refs);
        struct block_ref ref = {0};

        while (block_read_ref(&r, head.data_len, &ref)) {
            if (ids->len == 0 || ids->items[ids->len - 1] != ref.log)
                numbers_push(ids, ref.log);
        }
        if (r.failed)
            return false;
    }
    return !footer.r.failed;
}

bool footer_logs(struct slice body, struct buf *out)
{
    struct numbers ids = {0};
    uint64_t before = 0;
    bool ok = collect_ids(body, &ids);

    if (ids.len > 1)
        qsort(ids.items, ids.len, sizeof(*ids.items), by_value);
    /* A list that is empty is yet one that is known: it begins with a zero, which no log is. */
    buf_put_varint(out, 0);
    for (size_t i = 0; ok && i < ids.len; i++) {
        if (ids.items[i] == before)
            continue;
        buf_put_varint(out, ids.items[i] - before);
        before = ids.items[i];
    }
    free(ids.items);
    return ok;
}
