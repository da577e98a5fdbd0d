#include "kafka/frames.h"

#include "base/arena.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

/* ---- headers --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint64_t max;
} header_kinds[FRAMES_NHEADERS] = {
    {"epoch", UINT64_MAX}, {"commit_lsn", UINT64_MAX}, {"end_lsn", UINT64_MAX},
    {"xid", UINT32_MAX},   {"fragment", UINT32_MAX},   {"last", 1},
};

void frames_put_headers(const struct frames_record *record, struct buf *out,
                        struct frames_header headers[FRAMES_NHEADERS])
{
    const uint64_t values[FRAMES_NHEADERS] = {record->epoch, record->commit_lsn, record->end_lsn,
                                              record->xid,   record->fragment,   record->last};
    size_t at[FRAMES_NHEADERS + 1];

    for (size_t i = 0; i < FRAMES_NHEADERS; i++) {
        at[i] = out->len;
        buf_put_dec(out, values[i]);
    }
    at[FRAMES_NHEADERS] = out->len;
    for (size_t i = 0; i < FRAMES_NHEADERS; i++)
        headers[i] = (struct frames_header){slice_of(header_kinds[i].name),
                                            {out->ptr + at[i], at[i + 1] - at[i]}};
}

static bool read_number(struct slice text, uint64_t max, uint64_t *v)
{
    *v = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c < '0' || c > '9' || __builtin_mul_overflow(*v, 10, v) ||
            __builtin_add_overflow(*v, (uint64_t)(c - '0'), v))
            return false;
    }
    return text.len > 0 && *v <= max;
}

static bool read_header(const struct frames_header *header, uint64_t *values, unsigned *seen,
                        struct err *err)
{
    for (unsigned i = 0; i < FRAMES_NHEADERS; i++) {
        if (!slice_is(header->name, header_kinds[i].name))
            continue;
        if (*seen & 1u << i || !read_number(header->value, header_kinds[i].max, &values[i]))
            return err_set(err, ERR_PROTOCOL, "a record's header \"%s\" is wrong or twice there",
                           header_kinds[i].name);
        *seen |= 1u << i;
    }
    return true;
}

bool frames_read_headers(const struct frames_header *headers, size_t n,
                         struct frames_record *record, struct err *err)
{
    uint64_t v[FRAMES_NHEADERS] = {0};
    unsigned seen = 0;

    for (size_t i = 0; i < n; i++)
        if (!read_header(&headers[i], v, &seen, err))
            return false;
    for (unsigned i = 0; i < FRAMES_NHEADERS; i++)
        if (!(seen & 1u << i))
            return err_set(err, ERR_PROTOCOL, "a record has no header \"%s\"",
                           header_kinds[i].name);
    record->epoch = v[0];
    record->commit_lsn = v[1];
    record->end_lsn = v[2];
    record->xid = (uint32_t)v[3];
    record->fragment = (uint32_t)v[4];
    record->last = v[5] != 0;
    return true;
}

struct slice frames_history(const struct frames_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_is(headers[i].name, FRAMES_HISTORY))
            return headers[i].value;
    }
    return (struct slice){"", 0};
}

/* ---- writing --------------------------------------------------------------------------------- */

struct announced {
    uint64_t record; /* the record that it was last written to */
    struct buf message;
};

void frames_writer_init(struct frames_writer *w, uint64_t epoch, size_t limit, frames_emit *emit,
                        void *owner)
{
    *w = (struct frames_writer){.epoch = epoch, .limit = limit, .emit = emit, .owner = owner};
    buf_init(&w->value, BUF_NO_LIMIT);
}

void frames_writer_connected(struct frames_writer *w)
{
    struct u64map_slot *slot;

    for (size_t at = 0; (slot = u64map_next(&w->relations, &at));) {
        struct announced *relation = slot->value;

        buf_release(&relation->message);
        free(relation);
    }
    u64map_release(&w->relations);
}

void frames_writer_release(struct frames_writer *w)
{
    frames_writer_connected(w);
    buf_release(&w->value);
}

void frames_writer_relation(struct frames_writer *w, uint32_t relid, struct slice message)
{
    struct announced *relation = u64map_get(&w->relations, relid);

    if (!relation) {
        relation = xcalloc(1, sizeof(*relation));
        buf_init(&relation->message, BUF_NO_LIMIT);
        u64map_set(&w->relations, relid, relation);
    }
    buf_clear(&relation->message);
    buf_put_slice(&relation->message, message);
    relation->record = 0;
}

static void put_frame(struct buf *out, struct slice message)
{
    buf_put_u32(out, (uint32_t)message.len);
    buf_put_slice(out, message);
}

static void start_record(struct frames_writer *w, uint32_t fragment)
{
    buf_clear(&w->value);
    w->at.fragment = fragment;
    w->nrecords++;
}

static bool emit_record(struct frames_writer *w, struct err *err)
{
    if (w->value.failed)
        return err_set(err, ERR_LIMIT, "no memory for a record of the stream");
    w->at.value = buf_slice(&w->value);
    return w->emit(w->owner, &w->at, err);
}

/* How many bytes the message and the relations that the record lacks take. */
static size_t size_of(const struct frames_writer *w, const uint32_t *relids, size_t n,
                      struct slice message)
{
    size_t size = 4 + message.len;

    for (size_t i = 0; i < n; i++) {
        const struct announced *relation = u64map_get(&w->relations, relids[i]);

        assert(relation);
        if (relation->record != w->nrecords)
            size += 4 + relation->message.len;
    }
    return size;
}

bool frames_writer_begin(struct frames_writer *w, const struct txn *txn, struct slice message,
                         struct err *err)
{
    w->at =
        (struct frames_record){.epoch = w->epoch, .commit_lsn = txn->commit_lsn, .xid = txn->xid};
    start_record(w, 0);
    return frames_writer_add(w, NULL, 0, message, err);
}

bool frames_writer_add(struct frames_writer *w, const uint32_t *relids, size_t nrelids,
                       struct slice message, struct err *err)
{
    size_t size = size_of(w, relids, nrelids, message);

    if (w->value.len && size > w->limit - w->value.len) {
        if (!emit_record(w, err))
            return false;
        start_record(w, w->at.fragment + 1);
        size = size_of(w, relids, nrelids, message);
    }
    if (size > w->limit)
        return err_set(err, ERR_LIMIT,
                       "a change takes %zu bytes, a record of the stream at most %zu", size,
                       w->limit);
    for (size_t i = 0; i < nrelids; i++) {
        struct announced *relation = u64map_get(&w->relations, relids[i]);

        if (relation->record != w->nrecords)
            put_frame(&w->value, buf_slice(&relation->message));
        relation->record = w->nrecords;
    }
    put_frame(&w->value, message);
    return true;
}

bool frames_writer_commit(struct frames_writer *w, const struct txn *txn, struct slice message,
                          struct err *err)
{
    if (!frames_writer_add(w, NULL, 0, message, err))
        return false;
    w->at.end_lsn = txn->end_lsn;
    w->at.last = true;
    return emit_record(w, err);
}

bool frames_writer_heartbeat(struct frames_writer *w, lsn_t position, struct err *err)
{
    w->at = (struct frames_record){
        .epoch = w->epoch, .commit_lsn = position, .end_lsn = position, .last = true};
    start_record(w, 0);
    return emit_record(w, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

void frames_reader_init(struct frames_reader *r, lsn_t done)
{
    *r = (struct frames_reader){.done = done};
}

static bool is_heartbeat(const struct frames_record *record)
{
    return !record->value.len;
}

static bool is_sane(const struct frames_record *record)
{
    if (is_heartbeat(record))
        return record->last && !record->fragment && !record->xid &&
               record->commit_lsn == record->end_lsn;
    return record->commit_lsn != LSN_NONE &&
           (record->last ? record->end_lsn > record->commit_lsn : record->end_lsn == LSN_NONE);
}

static bool gap(const struct frames_reader *r, const struct frames_record *record, struct err *err)
{
    char here[LSN_TEXT_SIZE], open[LSN_TEXT_SIZE];

    if (r->open)
        err_set(err, ERR_CORRUPT,
                "the stream's topic has a gap: fragment %" PRIu32 " of %s after fragment %" PRIu32
                " of the unfinished %s",
                record->fragment, lsn_format(record->commit_lsn, here), r->fragment,
                lsn_format(r->commit_lsn, open));
    else
        err_set(err, ERR_CORRUPT,
                "the stream's topic has a gap: fragment %" PRIu32 " of %s without those before it",
                record->fragment, lsn_format(record->commit_lsn, here));
    return err_hint(err, "records have been deleted: fetch the shapes again from Postgres");
}

/* Whether the record may come while a transaction is open. */
static bool continues(const struct frames_reader *r, const struct frames_record *record)
{
    if (is_heartbeat(record))
        return record->end_lsn <= r->commit_lsn;
    if (record->commit_lsn != r->commit_lsn || record->xid != r->xid)
        return false;
    if (record->fragment == 0)
        return true;
    return record->epoch == r->open_epoch && record->fragment - 1 == r->fragment;
}

static void advance(struct frames_reader *r, const struct frames_record *record)
{
    r->open = !record->last;
    r->open_epoch = record->epoch;
    r->commit_lsn = record->commit_lsn;
    r->xid = record->xid;
    r->fragment = record->fragment;
    if (record->last)
        r->done = record->commit_lsn;
}

bool frames_reader_take(struct frames_reader *r, const struct frames_record *record,
                        enum frames_verdict *verdict, struct err *err)
{
    if (!is_sane(record))
        return err_set(err, ERR_PROTOCOL, "a record's headers contradict each other");
    *verdict = FRAMES_VOID;
    if (record->epoch < r->epoch)
        return true;
    r->epoch = record->epoch;
    if (!is_heartbeat(record) && record->commit_lsn <= r->done)
        return true;
    if (r->open ? !continues(r, record) : record->fragment > 0)
        return gap(r, record, err);
    if (is_heartbeat(record)) {
        *verdict = FRAMES_HEARTBEAT;
        return true;
    }
    *verdict = record->fragment ? FRAMES_NEXT : FRAMES_BEGIN;
    advance(r, record);
    return true;
}

bool frames_next(struct reader *frames, struct slice *message)
{
    if (frames->failed || !reader_left(frames))
        return false;
    *message = reader_slice(frames, reader_u32(frames));
    return !frames->failed;
}
