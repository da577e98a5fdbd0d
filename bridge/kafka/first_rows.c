#include "kafka/first_rows.h"

#include "base/clock.h"
#include "kafka/layout.h"
#include "kafka/posting.h"
#include "pg/catalog.h"
#include "pg/copy.h"
#include "pg/copytext.h"

#define FIRST_ROW_MS (60 * 60 * 1000)

/* ---- rows ------------------------------------------------------------------------------------ */

struct sender {
    struct first_rows *rows;
    const struct table *table;
    struct envelope *envelope;
    struct arena arena, line_arena;
    struct buf topic, out;
    struct txn txn;
    struct envelope_place place;
    uint16_t *places; /* the table's columns, one after the other */
    struct tuple tuple;
};

static void put_select(const struct table *table, struct buf *out)
{
    buf_put_cstr(out, "SELECT ");
    for (uint16_t i = 0; i < table->ncols; i++) {
        if (i)
            buf_put_cstr(out, ", ");
        sql_put_ident(out, table->cols[i].name);
    }
    /* Tables that inherit are published by themselves; partitions are the whole of theirs. */
    buf_put_cstr(out, table->relkind == 'p' ? " FROM " : " FROM ONLY ");
    table_put_quoted(table, out);
}

static void open_sender(struct sender *s, struct first_rows *rows, const struct table *table)
{
    uint16_t n = table->ncols;

    *s = (struct sender){.rows = rows, .table = table, .txn.time_us = clock_unix_us()};
    s->envelope = envelope_new(table, rows->settings, &s->arena);
    buf_init(&s->topic, BUF_NO_LIMIT);
    buf_init(&s->out, BUF_NO_LIMIT);
    posting_put_topic(rows->prefix, table->nspname, table->relname, &s->topic);
    s->place = (struct envelope_place){
        .txn = &s->txn, .lsn = rows->lsn, .now_us = s->txn.time_us, .last_commit = LSN_NONE};
    s->tuple = (struct tuple){n, arena_calloc(&s->arena, n, sizeof(*s->tuple.values))};
    s->places = arena_calloc(&s->arena, n, sizeof(*s->places));
    for (uint16_t i = 0; i < n; i++)
        s->places[i] = i;
}

static void close_sender(struct sender *s)
{
    buf_release(&s->topic);
    buf_release(&s->out);
    arena_release(&s->line_arena);
    arena_release(&s->arena);
}

static bool send_line(struct sender *s, struct slice line, bool last, struct err *err)
{
    struct first_rows *rows = s->rows;
    struct envelope_records records;
    struct slice topic = buf_slice(&s->topic);

    arena_reset(&s->line_arena);
    s->place.snapshot = last         ? "last_in_data_collection"
                        : rows->rows ? "true"
                                     : "first_in_data_collection";
    if (!copytext_split(line, s->places, s->table->ncols, &s->line_arena, s->tuple.values, err))
        return false;
    rows->broker = true;
    if (!envelope_put_row(s->envelope, &s->tuple, &s->place, &s->out, &records, err) ||
        !posting_fits(topic, &records, rows->message_max, err) ||
        !posting_produce(rows->outlet, topic, &records, err))
        return false;
    rows->broker = false;
    rows->rows++;
    if (atomic_load_explicit(rows->stop, memory_order_relaxed) || outlet_is_stopping(rows->outlet))
        return err_set(err, ERR_STOPPED, "the bridge is stopping");
    return true;
}

/* One line behind what is read: of the last row it is said that it is. */
static bool send_lines(struct sender *s, struct err *err)
{
    const struct pg_watch watch = {FIRST_ROW_MS, s->rows->stop, s->rows->stop};
    struct slice line = {NULL, 0};
    struct buf sql, held;
    bool is_held = false;

    buf_init(&sql, BUF_NO_LIMIT);
    buf_init(&held, BUF_NO_LIMIT);
    put_select(s->table, &sql);
    bool ok = pg_copy_begin(s->rows->conn, buf_cstr(&sql), &watch, err);
    while (ok && (ok = pg_copy_line(s->rows->conn, &watch, &line, err)) && line.ptr) {
        ok = !is_held || send_line(s, buf_slice(&held), false, err);
        buf_clear(&held);
        buf_put_slice(&held, line);
        is_held = true;
    }
    ok = ok && (!is_held || send_line(s, buf_slice(&held), true, err));
    pg_copy_end(s->rows->conn, &line);
    buf_release(&held);
    buf_release(&sql);
    return ok;
}

bool first_rows_publish(struct first_rows *rows, struct err *err)
{
    struct table *table = catalog_table_by_oid(rows->conn, rows->relid, err);
    struct sender s;

    if (!table)
        return false;
    open_sender(&s, rows, layout_sent(table));
    bool ok = send_lines(&s, err);
    if (ok && !outlet_flush(rows->outlet, err)) {
        rows->broker = true;
        ok = false;
    }
    close_sender(&s);
    table_unref(table);
    return ok;
}
