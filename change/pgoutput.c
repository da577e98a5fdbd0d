#include "change/pgoutput.h"
#include "base/reader.h"

/* From 1970-01-01 to 2000-01-01, Postgres's epoch. */
#define POSTGRES_EPOCH_US INT64_C(946684800000000)

static int64_t read_time(struct reader *r)
{
    return (int64_t)(reader_u64(r) + (uint64_t)POSTGRES_EPOCH_US);
}

static void write_time(struct buf *out, int64_t us)
{
    buf_put_u64(out, (uint64_t)us - (uint64_t)POSTGRES_EPOCH_US);
}

static void write_cstr(struct buf *out, struct slice s)
{
    buf_put_slice(out, s);
    buf_put_u8(out, 0);
}

static void read_begin(struct reader *r, struct txn *txn)
{
    *txn = (struct txn){.commit_lsn = reader_u64(r)};
    txn->time_us = read_time(r);
    txn->xid = reader_u32(r);
}

static void write_begin(struct buf *out, const struct txn *txn)
{
    buf_put_u64(out, txn->commit_lsn);
    write_time(out, txn->time_us);
    buf_put_u32(out, txn->xid);
}

static void read_commit(struct reader *r, struct txn *txn)
{
    if (reader_u8(r) != 0)
        r->failed = true;
    *txn = (struct txn){.commit_lsn = reader_u64(r)};
    txn->end_lsn = reader_u64(r);
    txn->time_us = read_time(r);
}

static void write_commit(struct buf *out, const struct txn *txn)
{
    buf_put_u8(out, 0);
    buf_put_u64(out, txn->commit_lsn);
    buf_put_u64(out, txn->end_lsn);
    write_time(out, txn->time_us);
}

static enum replident read_replident(struct reader *r)
{
    uint8_t c = reader_u8(r);

    if (c != 'd' && c != 'n' && c != 'f' && c != 'i')
        r->failed = true;
    return (enum replident)c;
}

static void read_relation(struct reader *r, struct arena *arena, struct relation *rel)
{
    *rel = (struct relation){.relid = reader_u32(r)};
    rel->nspname = reader_cstr(r);
    if (rel->nspname.len == 0)
        rel->nspname = SLICE("pg_catalog");
    rel->relname = reader_cstr(r);
    rel->replident = read_replident(r);
    rel->ncols = reader_u16(r);
    rel->cols = arena_calloc(arena, rel->ncols, sizeof(*rel->cols));
    for (uint16_t i = 0; i < rel->ncols && !r->failed; i++) {
        struct relation_column *col = &rel->cols[i];

        col->in_identity = reader_u8(r) & 1;
        col->name = reader_cstr(r);
        col->typid = reader_u32(r);
        col->typmod = (int32_t)reader_u32(r);
    }
}

static void write_relation(struct buf *out, const struct relation *rel)
{
    buf_put_u32(out, rel->relid);
    write_cstr(out, rel->nspname);
    write_cstr(out, rel->relname);
    buf_put_u8(out, (uint8_t)rel->replident);
    buf_put_u16(out, rel->ncols);
    for (uint16_t i = 0; i < rel->ncols; i++) {
        buf_put_u8(out, rel->cols[i].in_identity);
        write_cstr(out, rel->cols[i].name);
        buf_put_u32(out, rel->cols[i].typid);
        buf_put_u32(out, (uint32_t)rel->cols[i].typmod);
    }
}

static const struct tuple *read_tuple(struct reader *r, struct arena *arena)
{
    struct tuple *t = arena_alloc(arena, sizeof(*t));

    t->nvalues = reader_u16(r);
    t->values = arena_alloc(arena, t->nvalues * sizeof(*t->values));
    for (uint16_t i = 0; i < t->nvalues && !r->failed; i++) {
        struct value *v = &t->values[i];

        *v = (struct value){.kind = reader_u8(r)};
        if (v->kind == VALUE_TEXT)
            v->text = reader_slice(r, reader_u32(r));
        else if (v->kind != VALUE_NULL && v->kind != VALUE_UNCHANGED)
            r->failed = true;
    }
    return t;
}

static void write_tuple(struct buf *out, uint8_t kind, const struct tuple *t)
{
    buf_put_u8(out, kind);
    buf_put_u16(out, t->nvalues);
    for (uint16_t i = 0; i < t->nvalues; i++) {
        buf_put_u8(out, (uint8_t)t->values[i].kind);
        if (t->values[i].kind == VALUE_TEXT) {
            buf_put_u32(out, (uint32_t)t->values[i].text.len);
            buf_put_slice(out, t->values[i].text);
        }
    }
}

/* INSERT, UPDATE and DELETE: an old tuple, a new one, or both in this order. */
static void read_change(struct reader *r, struct arena *arena, enum change_op op, struct change *c)
{
    *c = (struct change){.op = op, .relid = reader_u32(r)};

    uint8_t kind = reader_u8(r);
    if (kind == 'K' || kind == 'O') {
        c->old_is_key = kind == 'K';
        c->old = read_tuple(r, arena);
        kind = op == CHANGE_DELETE ? 0 : reader_u8(r);
    }
    if (kind == 'N')
        c->new = read_tuple(r, arena);
    if (!c->new != (op == CHANGE_DELETE) || (op == CHANGE_INSERT && c->old) ||
        (op == CHANGE_DELETE && !c->old))
        r->failed = true;
}

static void write_change(struct buf *out, const struct change *c)
{
    buf_put_u32(out, c->relid);
    if (c->old)
        write_tuple(out, c->old_is_key ? 'K' : 'O', c->old);
    if (c->new)
        write_tuple(out, 'N', c->new);
}

static void read_truncate(struct reader *r, struct arena *arena, struct pgoutput_truncate *t)
{
    t->nrelids = reader_u32(r);
    t->flags = reader_u8(r);
    if (t->nrelids > reader_left(r) / 4) {
        r->failed = true;
        t->nrelids = 0;
    }
    t->relids = arena_calloc(arena, t->nrelids, sizeof(*t->relids));
    for (uint32_t i = 0; i < t->nrelids; i++)
        t->relids[i] = reader_u32(r);
}

static void write_truncate(struct buf *out, const struct pgoutput_truncate *t)
{
    buf_put_u32(out, t->nrelids);
    buf_put_u8(out, t->flags);
    for (uint32_t i = 0; i < t->nrelids; i++)
        buf_put_u32(out, t->relids[i]);
}

static void read_message(struct reader *r, struct pgoutput_message *m)
{
    uint8_t flags = reader_u8(r);

    if (flags > 1)
        r->failed = true;
    m->transactional = flags & 1;
    m->lsn = reader_u64(r);
    m->prefix = reader_cstr(r);
    m->content = reader_slice(r, reader_u32(r));
}

static void write_message(struct buf *out, const struct pgoutput_message *m)
{
    buf_put_u8(out, m->transactional);
    buf_put_u64(out, m->lsn);
    write_cstr(out, m->prefix);
    buf_put_u32(out, (uint32_t)m->content.len);
    buf_put_slice(out, m->content);
}

bool pgoutput_read(struct slice msg, struct arena *arena, struct pgoutput *out, struct err *err)
{
    struct reader r = reader_of(msg);

    *out = (struct pgoutput){.kind = reader_u8(&r)};
    switch (out->kind) {
    case PGOUTPUT_BEGIN:
        read_begin(&r, &out->txn);
        break;
    case PGOUTPUT_COMMIT:
        read_commit(&r, &out->txn);
        break;
    case PGOUTPUT_ORIGIN:
        reader_u64(&r);
        reader_cstr(&r);
        break;
    case PGOUTPUT_RELATION:
        read_relation(&r, arena, &out->relation);
        break;
    case PGOUTPUT_TYPE:
        reader_u32(&r);
        reader_cstr(&r);
        reader_cstr(&r);
        break;
    case PGOUTPUT_INSERT:
        read_change(&r, arena, CHANGE_INSERT, &out->change);
        break;
    case PGOUTPUT_UPDATE:
        read_change(&r, arena, CHANGE_UPDATE, &out->change);
        break;
    case PGOUTPUT_DELETE:
        read_change(&r, arena, CHANGE_DELETE, &out->change);
        break;
    case PGOUTPUT_TRUNCATE:
        read_truncate(&r, arena, &out->truncate);
        break;
    case PGOUTPUT_MESSAGE:
        read_message(&r, &out->message);
        break;
    default:
        return err_set(err, ERR_PROTOCOL, "unknown pgoutput message 0x%02x", (unsigned)out->kind);
    }
    if (!reader_done(&r))
        return err_set(err, ERR_PROTOCOL, "malformed pgoutput message '%c' of %zu bytes",
                       (char)out->kind, msg.len);
    return true;
}

void pgoutput_write(struct buf *out, const struct pgoutput *msg)
{
    buf_put_u8(out, (uint8_t)msg->kind);
    switch (msg->kind) {
    case PGOUTPUT_BEGIN:
        write_begin(out, &msg->txn);
        break;
    case PGOUTPUT_COMMIT:
        write_commit(out, &msg->txn);
        break;
    case PGOUTPUT_ORIGIN:
        buf_put_u64(out, 0);
        buf_put_u8(out, 0);
        break;
    case PGOUTPUT_RELATION:
        write_relation(out, &msg->relation);
        break;
    case PGOUTPUT_TYPE:
        buf_put_u32(out, 0);
        buf_put_u16(out, 0);
        break;
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        write_change(out, &msg->change);
        break;
    case PGOUTPUT_TRUNCATE:
        write_truncate(out, &msg->truncate);
        break;
    case PGOUTPUT_MESSAGE:
        write_message(out, &msg->message);
        break;
    }
}
