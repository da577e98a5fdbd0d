/*
 * What test_replica_rebase.c's replica hears of the server and must hold then: commits, rows and
 * acknowledgements in order, with breaks; after each, the tables as they have to be.
 */
#ifndef TESTS_REBASE_STREAM_H
#define TESTS_REBASE_STREAM_H

#include "rebase_server.h"

/* ---- what is expected --------------------------------------------------- */

static void overlay(struct rows *rows, const struct op *op)
{
    struct row *row = &rows->at[op->id];

    if (op->kind == 'I') {
        *row = (struct row){true, op->name, op->qty};
    } else if (op->kind == 'D') {
        *row = (struct row){0};
    } else if (row->there) {
        struct row is = *row;

        if (op->set_name)
            is.name = op->name;
        if (op->set_qty)
            is.qty = op->qty;
        *row = (struct row){0};
        rows->at[op->moved] = is;
    }
}

static void expected(const struct world *w, int table, uint64_t position, struct rows *out)
{
    *out = w->log[w->shown[table]].rows[table];
    for (size_t i = 0; i < w->nops; i++) {
        const struct op *op = &w->ops[i];
        uint64_t over = op->refused ? position : w->shown[table];

        if (op->table == table && (!op->decided || op->decided > over))
            overlay(out, op);
    }
    if (w->slip.active && w->slip.op.table == table)
        overlay(out, &w->slip.op);
}

static void print_rows(const struct rows *rows, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    for (int id = 0; id < IDS; id++) {
        const struct row *row = &rows->at[id];

        if (row->there)
            n += (size_t)snprintf(out + n, size - n, "%s%d:%d:%d", n ? "," : "", id, row->name,
                                  row->qty);
    }
}

static void check_table(struct world *w, int table, uint64_t position)
{
    char want[512], sql[256];
    struct rows rows;

    expected(w, table, position, &rows);
    print_rows(&rows, want, sizeof(want));
    snprintf(sql, sizeof(sql),
             "SELECT id || ':' || ifnull(substr(name, 2), -1) || ':' || ifnull(qty, -1) "
             "FROM %s ORDER BY id",
             names[table]);
    const char *found = ask_of(w->program, sql);
    if (strcmp(found, want) != 0)
        fail_msg("%s at %" PRIu64 " is %s and not %s", names[table], position, found, want);
}

static int64_t number_of(struct world *w, const char *fmt, ...)
{
    char sql[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(sql, sizeof(sql), fmt, ap);
    va_end(ap);
    return strtoll(ask_of(w->program, sql), NULL, 10);
}

/* The number of the log that the table's rows are of; -1: they are being fetched. */
static int handle_of(struct world *w, int table)
{
    return (int)number_of(w,
                          "SELECT ifnull((SELECT substr(handle, 2) FROM _tombolo_shapes"
                          " WHERE local = '%s' AND status = 'live'), -1)",
                          names[table]);
}

/* A write that slipped by is a write like others once it is found; where the log that it was made
 * on has ended, it may be told as unknown. */
static void check_slip(struct world *w)
{
    struct slip *slip = &w->slip;
    const char *name = names[slip->op.table];

    if (!slip->active)
        return;
    if (number_of(w,
                  "SELECT count(*) FROM _tombolo_pending WHERE \"table\" = '%s' AND seq > %" PRId64,
                  name, slip->seq) > 0) {
        w->ops[w->nops++] = slip->op;
        slip->active = false;
        return;
    }
    int handle = handle_of(w, slip->op.table);
    bool gap = number_of(w, "SELECT gap FROM _tombolo_shapes WHERE local = '%s'", name) != 0;

    assert_false(slip->seen && !gap && handle == slip->handle);
    slip->active = gap || handle < 0 || handle == slip->handle;
    slip->seen = gap;
}

static void check_tables(struct world *w)
{
    check_slip(w);
    uint64_t position =
        strtoull(ask_of(w->program, "SELECT position FROM _tombolo_state"), NULL, 10);

    for (int t = 0; t < TABLES; t++) {
        char sql[128];

        snprintf(sql, sizeof(sql),
                 "SELECT \"offset\" FROM _tombolo_shapes WHERE local = '%s' AND status = 'live'",
                 names[t]);
        const char *offset = ask_of(w->program, sql);
        if (*offset)
            w->shown[t] = strtoull(offset, NULL, 10);
        if (w->shown[t])
            check_table(w, t, position);
    }
}

/* ---- the stream --------------------------------------------------------- */

static int64_t gaps(struct world *w)
{
    return number_of(w, "SELECT count(*) FROM _tombolo_shapes WHERE gap");
}

/* A write that slipped by is found: another stream is needed. */
static void feed(struct world *w)
{
    if (w->connected && !kit_try(&w->k, w->r, SIZE_MAX / 4)) {
        if (w->k.err.code != ERR_CHANGED || gaps(w) == 0)
            fail_msg("%s", w->k.err.msg);
        w->connected = false;
    }
    buf_clear(&w->k.stream);
    check_tables(w);
}

static void say_message(struct world *w, const struct message *m, uint64_t lsn)
{
    buf_printf(&w->k.stream,
               "{\"shape\":%d,\"messages\":[{\"value\":%s,\"headers\":{\"operation\":\"%s\","
               "\"lsn\":\"%" PRIu64 "\"}}]}\n",
               m->table, m->text, m->kind, lsn);
}

static void say_ack(struct world *w, uint64_t lsn)
{
    const struct commit *c = &w->log[lsn];
    struct buf *out = &w->k.stream;

    buf_printf(out, "{\"ack\":{\"last\":%d,\"nonce\":\"%s\",\"rejected\":[", c->last,
               w->nonces[c->last]);
    for (size_t i = 0; i < c->nrejected; i++)
        buf_printf(out,
                   "%s{\"id\":%d,\"mutation\":%d,\"code\":\"refused\",\"sqlstate\":\"23505\","
                   "\"message\":\"no\"}",
                   i ? "," : "", w->rejections[i].id, w->rejections[i].mutation);
    buf_put_cstr(out, "]}}\n");
}

/* One commit for the tables of `which` (bits), those at or behind `from` alone. */
static void say_log_commit(struct world *w, uint64_t lsn, const uint64_t *from)
{
    const struct commit *c = &w->log[lsn];

    for (size_t i = 0; i < c->nmessages; i++) {
        if (from[c->messages[i].table] < lsn)
            say_message(w, &c->messages[i], lsn);
    }
    if (c->last > 0)
        say_ack(w, lsn);
    say_commit(&w->k, lsn);
}

static void say_rows(struct world *w, int table, uint64_t lsn, int from, int to)
{
    for (int id = from; id < to; id++) {
        const struct row *row = &w->log[lsn].rows[table].at[id];
        char text[160];

        if (!row->there)
            continue;
        snprintf(text, sizeof(text), "{\"id\":\"%d\"", id);
        put_value(text, sizeof(text), "name", true, row->name);
        put_value(text, sizeof(text), "qty", false, row->qty);
        strcat(text, "}");
        say(&w->k, table, "insert", text);
    }
}

static void say_writable(struct world *w, int table, bool snapshot)
{
    char handle[16];

    snprintf(handle, sizeof(handle), "h%d", w->handle[table]);
    say_open_writable(&w->k, table, handle, ITEMS, snapshot);
}

/* What the table's log has behind its snapshot. */
static void say_log(struct world *w, int table, uint64_t lsn)
{
    for (uint64_t at = w->began[table] + 1; at <= lsn; at++) {
        const struct commit *c = &w->log[at];

        for (size_t i = 0; i < c->nmessages; i++) {
            if (c->messages[i].table == table)
                say_message(w, &c->messages[i], at);
        }
    }
}

/* The rest of the snapshots that were begun, and the commit that completes them. */
static void say_snapshots(struct world *w, const bool *snapshot, uint64_t lsn)
{
    for (int t = 0; t < TABLES; t++) {
        if (snapshot[t]) {
            say_rows(w, t, w->began[t], 3, IDS);
            say_snapshot_end(&w->k, t);
            say_log(w, t, lsn);
        }
    }
    if (w->log[lsn].last > 0)
        say_ack(w, lsn);
    say_commit(&w->k, lsn);
    w->said = lsn;
}

static void read_shapes(struct world *w, const char *body, uint64_t *from, bool *snapshot)
{
    yyjson_doc *doc = yyjson_read(body, strlen(body), 0);
    yyjson_val *shapes = yyjson_obj_get(yyjson_doc_get_root(doc), "shapes");

    for (int t = 0; t < TABLES; t++) {
        yyjson_val *shape = yyjson_arr_get(shapes, (size_t)t);
        const char *handle = yyjson_get_str(yyjson_obj_get(shape, "handle"));
        const char *offset = yyjson_get_str(yyjson_obj_get(shape, "offset"));

        snapshot[t] = !handle || atoi(handle + 1) != w->handle[t] || !offset;
        from[t] = snapshot[t] ? UINT64_MAX : strtoull(offset, NULL, 10);
    }
    yyjson_doc_free(doc);
}

/* A stream begins: snapshots are in two parts, and what the others missed comes in between. */
static void connect(struct world *w)
{
    uint64_t from[TABLES], first = w->lsn;
    bool snapshot[TABLES];

    read_shapes(w, kit_request(&w->k, w->r), from, snapshot);
    w->connected = true;
    for (int t = 0; t < TABLES; t++) {
        say_writable(w, t, snapshot[t]);
        if (snapshot[t])
            say_rows(w, t, w->began[t], 0, 3);
        else if (from[t] < first)
            first = from[t];
    }
    while (first < w->lsn) {
        say_log_commit(w, ++first, from);
        if (draw(w, 2))
            feed(w);
    }
    say_snapshots(w, snapshot, w->lsn);
    feed(w);
}

static void catch_up(struct world *w)
{
    static const uint64_t from[TABLES] = {0};

    while (w->said < w->lsn) {
        say_log_commit(w, ++w->said, from);
        if (draw(w, 3))
            feed(w);
    }
    feed(w);
}

/* In the running stream, with writes and commits while its rows come. */
static void refetch(struct world *w)
{
    bool snapshot[TABLES] = {false};
    int t = (int)draw(w, TABLES);
    uint64_t from[TABLES] = {0};

    catch_up(w);
    if (!w->connected)
        return;
    snapshot[t] = true;
    w->handle[t]++;
    others_write(w);
    w->began[t] = w->lsn;
    buf_printf(&w->k.stream, "{\"refetch\":{\"shape\":%d,\"reason\":\"why not\"}}\n", t);
    say_writable(w, t, true);
    say_rows(w, t, w->lsn, 0, 3);
    from[t] = UINT64_MAX;
    while (w->said < w->lsn)
        say_log_commit(w, ++w->said, from);
    feed(w);
    say_snapshots(w, snapshot, w->lsn);
    feed(w);
}

/* What comes behind a commit cannot be read, before the commit is in the file. */
static void garble(struct world *w)
{
    static const uint64_t from[TABLES] = {0};

    say_log_commit(w, w->said + 1, from);
    buf_put_cstr(&w->k.stream, "{garbled\n");
    say_commit(&w->k, w->said + 2);
    assert_false(kit_try(&w->k, w->r, SIZE_MAX / 4));
}

/* The file is closed amid a transaction of Postgres's, or a stream just ends. */
static void crash(struct world *w)
{
    if (w->connected && w->said < w->lsn && draw(w, 3) == 0) {
        garble(w);
        w->connected = false;
        return;
    }
    if (w->connected && w->said < w->lsn && draw(w, 2)) {
        static const uint64_t from[TABLES] = {0};

        say_log_commit(w, w->said + 1, from);
        (void)kit_try(&w->k, w->r, SIZE_MAX / 4); /* what it has committed is seen below */
    } else if (w->connected && w->said < w->lsn) {
        const struct commit *c = &w->log[w->said + 1];

        for (size_t i = 0; i < c->nmessages; i++)
            say_message(w, &c->messages[i], w->said + 1);
        kit_feed(&w->k, w->r);
    }
    buf_clear(&w->k.stream);
    if (draw(w, 2)) {
        replica_close(w->r);
        w->r = kit_open(&w->k, names[0], names[1]);
    }
    w->connected = false;
    if (draw(w, 3) == 0) {
        int t = (int)draw(w, TABLES);

        w->handle[t]++;
        w->began[t] = w->lsn;
    }
    check_tables(w);
}

static void upload(struct world *w)
{
    enum replica_write_verdict verdict;
    char answer[64];
    bool any;

    if (!replica_write_request(w->r, &w->k.body, &any, &w->k.err))
        fail_msg("%s", w->k.err.msg);
    check_tables(w);
    if (any && draw(w, 8)) {
        server_take(w, buf_cstr(&w->k.body));
        if (draw(w, 4)) {
            snprintf(answer, sizeof(answer), "{\"last\":%d,\"results\":[]}", w->last);
            if (!replica_write_answer(w->r, 200, slice_of(answer), &verdict, &w->k.err))
                fail_msg("%s", w->k.err.msg);
        }
    }
    check_tables(w);
}

#endif
