#include "kafka/events.h"

#include "base/clock.h"
#include "kafka/posting.h"

void events_init(struct events *e)
{
    e->messages =
        (struct tally){.nspname = SLICE(""), .relname = SLICE(NOTICES_MESSAGE_COLLECTION)};
    buf_init(&e->out, BUF_NO_LIMIT);
}

void events_release(struct events *e)
{
    u64map_release(&e->tallies);
    buf_release(&e->out);
    arena_release(&e->arena);
}

struct tally *events_tally(struct events *e, const struct table *table)
{
    struct tally *tally = u64map_get(&e->tallies, table->relid);

    if (!tally) {
        tally = arena_calloc(&e->arena, 1, sizeof(*tally));
        u64map_set(&e->tallies, table->relid, tally);
    }
    if (!slice_eq(tally->nspname, table->nspname))
        tally->nspname = arena_copy(&e->arena, table->nspname);
    if (!slice_eq(tally->relname, table->relname))
        tally->relname = arena_copy(&e->arena, table->relname);
    return tally;
}

void events_rollback(struct events *e)
{
    for (struct tally *tally = e->touched, *next; tally; tally = next) {
        next = tally->next;
        tally->events = 0;
        tally->next = NULL;
    }
    e->touched = NULL;
    e->n = 0;
}

void events_begin(struct events *e, const struct txn *txn)
{
    events_rollback(e);
    e->txn = *txn;
}

static bool put_begin(struct events *e, struct err *err)
{
    struct envelope_records records;

    if (!notices_put_begin(e->origin->notices, &e->txn, &e->out, &records, err))
        return false;
    posting_put(e->outlet, e->topic, OUTLET_BY_KEY, &records);
    return true;
}

bool events_next(struct events *e, const struct tally *tally, struct envelope_place *place,
                 struct err *err)
{
    if (e->metadata && !e->n && !put_begin(e, err))
        return false;
    *place = (struct envelope_place){.txn = &e->txn,
                                     .lsn = e->txn.commit_lsn,
                                     .last_commit = e->last_commit,
                                     .now_us = clock_unix_us(),
                                     .snapshot = "false"};
    if (e->metadata) {
        place->total_order = e->n + 1;
        place->table_order = tally->events + 1;
    }
    return true;
}

void events_add(struct events *e, struct tally *tally, unsigned n)
{
    if (!tally->events) {
        tally->next = e->touched;
        e->touched = tally;
    }
    e->n += n;
    tally->events += n;
}

static bool put_end(struct events *e, struct err *err)
{
    struct arena arena = {0};
    struct envelope_records records;
    size_t n = 0, i = 0;

    for (const struct tally *tally = e->touched; tally; tally = tally->next)
        n++;
    struct notices_count *counts = arena_calloc(&arena, n, sizeof(*counts));
    for (const struct tally *tally = e->touched; tally; tally = tally->next)
        counts[i++] = (struct notices_count){tally->nspname, tally->relname, tally->events};
    bool ok = notices_put_end(e->origin->notices, &e->txn, counts, n, &e->out, &records, err);
    if (ok)
        posting_put(e->outlet, e->topic, OUTLET_BY_KEY, &records);
    arena_release(&arena);
    return ok;
}

bool events_commit(struct events *e, const struct txn *txn, struct err *err)
{
    bool ok = !e->n || !e->metadata || put_end(e, err);

    e->last_commit = txn->commit_lsn;
    events_rollback(e);
    return ok;
}
