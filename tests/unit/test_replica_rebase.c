/*
 * The replica that writes, against an oracle. A model of Postgres and its bridge takes the writes,
 * applies or refuses them, changes rows for other writers in between, and says commits and
 * acknowledgements in order; streams break off, the file is closed and opened, answers are lost,
 * shapes are fetched again, triggers are dropped for a while. After every commit line that the file
 * has, each table must be the server's rows at the table's position with the local writes on them
 * that are not acknowledged yet; at the end, when all are, the server's exactly; and what was
 * refused is in _tombolo_rejected, once.
 *
 * TOMBOLO_REBASE_ROUNDS says how many rounds (default 20), TOMBOLO_REBASE_SEED repeats a run.
 */
#include "replica_kit.h"

#include <time.h>
#include <yyjson.h>

#define TABLES 2
#define IDS 7
#define MOST_OPS 4000
#define MOST_LSN 6000
#define STEPS 120
#define NONE (-1)

static const char *const names[TABLES] = {"items", "others"};

struct row {
    bool there;
    int name, qty; /* NONE: NULL */
};

struct rows {
    struct row at[IDS];
};

/* A local statement, and what became of it. */
struct op {
    int table;
    char kind; /* I U D */
    int id, moved;
    bool set_name, set_qty;
    int name, qty;
    int mark;
    uint64_t decided; /* LSN, 0: not yet */
    bool refused;
};

struct message {
    int table;
    char text[160];
    const char *kind;
};

struct commit {
    struct rows rows[TABLES]; /* behind it */
    struct message messages[64];
    size_t nmessages;
    int last; /* the last write that is decided */
    size_t nrejected;
};

struct rejection {
    int id, mutation;
};

/* A write while its table had no triggers, until the replica has found it. */
struct slip {
    bool active, seen;
    struct op op;
    int handle; /* the table's then */
    int64_t seq;
};

struct world {
    struct kit k;
    struct replica *r;
    sqlite3 *program; /* another program's connection */
    uint64_t random;
    /* the server */
    struct commit log[MOST_LSN];
    uint64_t lsn;
    int handle[TABLES];
    uint64_t began[TABLES]; /* where the handle's log begins, with a snapshot */
    int last;
    char nonces[MOST_OPS][40];
    struct rejection rejections[MOST_OPS];
    size_t nrejections;
    size_t received; /* ops that came in some write */
    /* here */
    struct op ops[MOST_OPS];
    size_t nops;
    int marks, mark; /* given so far; of the present transaction, or 0 */
    struct slip slip;
    bool slipping; /* the next statement is unseen */
    /* the stream */
    bool connected;
    uint64_t said;          /* commits up to here are in it */
    uint64_t shown[TABLES]; /* the LSN that the file's table stands at */
};

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % below;
}

static int draw_value(struct world *w)
{
    return draw(w, 5) == 0 ? NONE : (int)draw(w, 50);
}

/* ---- the server --------------------------------------------------------- */

static struct commit *begin_commit(struct world *w)
{
    assert_true(w->lsn + 1 < MOST_LSN);
    struct commit *c = &w->log[w->lsn + 1];

    memcpy(c->rows, w->log[w->lsn].rows, sizeof(c->rows));
    c->nmessages = 0;
    return c;
}

static void end_commit(struct world *w, struct commit *c)
{
    c->last = w->last;
    c->nrejected = w->nrejections;
    w->lsn++;
}

static void put_value(char *out, size_t size, const char *column, bool name, int value)
{
    size_t n = strlen(out);

    if (value == NONE)
        snprintf(out + n, size - n, ",\"%s\":null", column);
    else
        snprintf(out + n, size - n, ",\"%s\":\"%s%d\"", column, name ? "n" : "", value);
}

/* The row's change as a message: an update has only what changed, as under DEFAULT identity. */
static void tell_row(struct commit *c, int table, int id, const struct row *was,
                     const struct row *is)
{
    struct message *m = &c->messages[c->nmessages];

    if (was->there == is->there && (!is->there || memcmp(was, is, sizeof(*is)) == 0))
        return;
    assert_true(c->nmessages++ < 64);
    m->table = table;
    m->kind = !was->there ? "insert" : is->there ? "update" : "delete";
    snprintf(m->text, sizeof(m->text), "{\"id\":\"%d\"", id);
    if (is->there && (!was->there || was->name != is->name))
        put_value(m->text, sizeof(m->text), "name", true, is->name);
    if (is->there && (!was->there || was->qty != is->qty))
        put_value(m->text, sizeof(m->text), "qty", false, is->qty);
    strcat(m->text, "}");
}

static void set_row(struct commit *c, int table, int id, struct row row)
{
    struct row was = c->rows[table].at[id];

    c->rows[table].at[id] = row;
    tell_row(c, table, id, &was, &row);
}

static void others_write(struct world *w)
{
    struct commit *c = begin_commit(w);

    for (size_t n = 1 + draw(w, 3); n > 0; n--) {
        struct row row = {draw(w, 4) != 0, draw_value(w), draw_value(w)};

        if (!row.there)
            row.name = row.qty = 0;
        set_row(c, (int)draw(w, TABLES), (int)draw(w, IDS), row);
    }
    end_commit(w, c);
}

/* What a mutation does to the server's rows; false when it is refused. */
static bool server_apply(struct world *w, struct commit *c, const struct op *op)
{
    struct row row = c->rows[op->table].at[op->id];

    if (draw(w, 6) == 0 || row.there == (op->kind == 'I'))
        return false;
    if (op->kind == 'D') {
        set_row(c, op->table, op->id, (struct row){0});
        return true;
    }
    if (op->kind == 'I')
        row = (struct row){true, op->name, op->qty};
    if (op->moved != op->id && c->rows[op->table].at[op->moved].there)
        return false;
    if (op->set_name)
        row.name = op->name;
    if (op->set_qty)
        row.qty = op->qty;
    if (draw(w, 8) == 0)
        row.qty = 99; /* a trigger of Postgres's */
    if (op->moved != op->id)
        set_row(c, op->table, op->id, (struct row){0});
    set_row(c, op->table, op->moved, row);
    return true;
}

static void server_reject(struct world *w, int id, int mutation)
{
    w->rejections[w->nrejections++] = (struct rejection){id, mutation};
}

/* A marked write is refused as a whole, another one mutation by mutation. */
static void server_write(struct world *w, struct commit *c, int id, size_t n, bool marked)
{
    struct commit before = *c;
    bool whole = true;
    int guilty = -1;

    for (size_t i = 0; i < n; i++) {
        struct op *op = &w->ops[w->received + i];

        op->decided = w->lsn + 1;
        op->refused = !server_apply(w, c, op);
        if (op->refused && whole && draw(w, 2))
            guilty = (int)i;
        whole = whole && !op->refused;
        if (op->refused && !marked)
            server_reject(w, id, (int)i);
    }
    if (marked && !whole) {
        *c = before;
        for (size_t i = 0; i < n; i++)
            w->ops[w->received + i].refused = true;
        server_reject(w, id, guilty); /* it names the one at fault, or none */
    }
    w->received += n;
}

/* `first` is the first of its write, which is marked or not. */
static void check_mutation(yyjson_val *m, const struct op *op, const struct op *first, bool marked)
{
    static const char *const kinds[] = {"insert", "update", "delete"};
    const char *kind = kinds[op->kind == 'I' ? 0 : op->kind == 'U' ? 1 : 2];
    yyjson_val *key = yyjson_obj_get(yyjson_obj_get(m, "key"), "id");
    char table[40];

    assert_int_equal(op->mark, first->mark);
    assert_int_equal(marked, first->mark != 0);
    snprintf(table, sizeof(table), "public.%s", names[op->table]);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(m, "op")), kind);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(m, "table")), table);
    assert_int_equal(atoi(yyjson_get_str(key)), op->id);
    assert_true(yyjson_is_str(yyjson_obj_get(m, "nonce")));
}

/* POST /v1/write, as far as the model goes: ids in order, each once. */
static void server_take(struct world *w, const char *body)
{
    yyjson_doc *doc = yyjson_read(body, strlen(body), 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *txn;
    struct commit *c = NULL;
    size_t i, n, most = 1 + draw(w, 4);

    assert_non_null(doc);
    yyjson_arr_foreach(yyjson_obj_get(root, "transactions"), i, n, txn)
    {
        int id = yyjson_get_int(yyjson_obj_get(txn, "id"));
        const char *nonce = yyjson_get_str(yyjson_obj_get(txn, "nonce"));
        bool marked = yyjson_get_bool(yyjson_obj_get(txn, "marked"));
        yyjson_val *mutations = yyjson_obj_get(txn, "mutations"), *m;
        size_t j, nm;

        if (i == 0)
            assert_in_range(id, 1, w->last + 1);
        if (id <= w->last) {
            assert_string_equal(nonce, w->nonces[id]);
            continue;
        }
        assert_int_equal(id, w->last + 1);
        if (i >= most)
            break;
        c = c ? c : begin_commit(w);
        yyjson_arr_foreach(mutations, j, nm, m)
            check_mutation(m, &w->ops[w->received + j], &w->ops[w->received], marked);
        w->last = id;
        strcpy(w->nonces[id], nonce);
        server_write(w, c, id, yyjson_arr_size(mutations), marked);
    }
    if (c)
        end_commit(w, c);
    yyjson_doc_free(doc);
}

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
    bool gap = number_of(w, "SELECT gap FROM _tombolo_shapes WHERE local = '%s'", name) != 0;
    if (slip->seen && !gap) {
        /* An empty table deletes nothing. */
        assert_true(slip->handle != w->handle[slip->op.table] || slip->op.kind == 'D');
        slip->active = false;
    }
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

/* ---- local statements --------------------------------------------------- */

static void add_op(struct world *w, struct op op)
{
    assert_true(w->nops < MOST_OPS);
    op.mark = w->mark;
    if (w->slipping)
        w->slip = (struct slip){.active = true, .op = op, .handle = w->handle[op.table]};
    else
        w->ops[w->nops++] = op;
}

static const char *literal(int value, bool name, char *out)
{
    if (value == NONE)
        strcpy(out, "NULL");
    else
        sprintf(out, name ? "'n%d'" : "%d", value);
    return out;
}

/* As triggers see it: over a row that is visible, an update of what differs. */
static void local_put(struct world *w, int t, int id, const struct row *was, char *sql)
{
    struct row is = {true, draw_value(w), draw_value(w)};
    char name[16], qty[16];

    sprintf(sql, "INSERT OR REPLACE INTO %s VALUES (%d, %s, %s);", names[t], id,
            literal(is.name, true, name), literal(is.qty, false, qty));
    if (!was->there)
        add_op(w,
               (struct op){
                   .table = t, .kind = 'I', .id = id, .moved = id, .name = is.name, .qty = is.qty});
    else if (was->name != is.name || was->qty != is.qty)
        add_op(w, (struct op){.table = t,
                              .kind = 'U',
                              .id = id,
                              .moved = id,
                              .set_name = was->name != is.name,
                              .name = is.name,
                              .set_qty = was->qty != is.qty,
                              .qty = is.qty});
}

static void local_update(struct world *w, int t, int id, const struct row *was, char *sql)
{
    int qty = draw_value(w);
    char text[16];

    sprintf(sql, "UPDATE %s SET qty = %s WHERE id = %d;", names[t], literal(qty, false, text), id);
    if (was->there && was->qty != qty)
        add_op(w, (struct op){
                      .table = t, .kind = 'U', .id = id, .moved = id, .set_qty = true, .qty = qty});
}

static void local_move(struct world *w, int t, int id, const struct rows *now, char *sql)
{
    int to = (int)draw(w, IDS);

    if (w->slipping || to == id || !now->at[id].there || now->at[to].there)
        return;
    sprintf(sql, "UPDATE %s SET id = %d WHERE id = %d;", names[t], to, id);
    add_op(w, (struct op){.table = t, .kind = 'U', .id = id, .moved = to});
}

static void local_delete(struct world *w, int t, int id, const struct row *was, char *sql)
{
    sprintf(sql, "DELETE FROM %s WHERE id = %d;", names[t], id);
    if (was->there)
        add_op(w, (struct op){.table = t, .kind = 'D', .id = id, .moved = id});
}

static void local_statement(struct world *w, char *sql)
{
    uint64_t position =
        strtoull(ask_of(w->program, "SELECT position FROM _tombolo_state"), NULL, 10);
    int t = (int)draw(w, TABLES), id = (int)draw(w, IDS);
    struct rows now;

    sql[0] = '\0';
    if (w->slip.active && w->slip.op.table == t)
        return;
    expected(w, t, position, &now);
    switch (draw(w, 5)) {
    case 0:
        local_delete(w, t, id, &now.at[id], sql);
        break;
    case 1:
        local_move(w, t, id, &now, sql);
        break;
    case 2:
    case 3:
        local_update(w, t, id, &now.at[id], sql);
        break;
    default:
        local_put(w, t, id, &now.at[id], sql);
        break;
    }
}

static void local_write(struct world *w)
{
    char sql[1024] = "BEGIN;", one[256];
    bool marked = draw(w, 3) == 0;

    if (marked)
        strcat(sql, "INSERT INTO _tombolo_tx DEFAULT VALUES;");
    w->mark = marked ? ++w->marks : 0;
    for (size_t n = 1 + draw(w, 3); n > 0; n--) {
        local_statement(w, one);
        strcat(sql, one);
    }
    if (marked)
        strcat(sql, "DELETE FROM _tombolo_tx;");
    if (sqlite3_exec(w->program, strcat(sql, "COMMIT;"), NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(w->program));
    check_tables(w);
}

/* The triggers vanish, and may be made again to the same letter behind the write. */
static void local_slip(struct world *w)
{
    char one[256], drop[512], again[256], *sql;
    sqlite3_stmt *stmt;

    if (w->slip.active || number_of(w, "SELECT count(*) FROM _tombolo_shapes WHERE status <> 'live'"
                                       " OR gap"))
        return;
    w->mark = 0;
    w->slipping = true;
    local_statement(w, one);
    w->slipping = false;
    if (!w->slip.active)
        return;
    w->slip.seq = number_of(w, "SELECT max(ifnull((SELECT max(seq) FROM _tombolo_outbox), 0),"
                               " ifnull((SELECT max(seq) FROM _tombolo_pending), 0))");
    snprintf(drop, sizeof(drop),
             "SELECT 'DROP TRIGGER ' || group_concat(name, '; DROP TRIGGER ')"
             " FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = '%s'",
             names[w->slip.op.table]);
    snprintf(again, sizeof(again),
             "SELECT group_concat(sql, ';') || ';' FROM (SELECT sql FROM"
             " sqlite_schema WHERE type = 'trigger' AND tbl_name = '%s' ORDER BY rowid)",
             names[w->slip.op.table]);
    assert_int_equal(sqlite3_prepare_v2(w->program, again, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    sql = sqlite3_mprintf("BEGIN; %s; %s; %s COMMIT;", ask_of(w->program, drop), one,
                          draw(w, 2) ? (const char *)sqlite3_column_text(stmt, 0) : "");
    sqlite3_finalize(stmt);
    if (sqlite3_exec(w->program, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(w->program));
    sqlite3_free(sql);
    check_tables(w);
}

/* ---- a round ------------------------------------------------------------ */

static void step(struct world *w)
{
    if (!w->connected)
        connect(w);
    switch (draw(w, 17)) {
    case 0:
        crash(w);
        break;
    case 1:
        refetch(w);
        break;
    case 16:
        local_slip(w);
        break;
    case 2:
    case 3:
    case 4:
        upload(w);
        break;
    case 5:
    case 6:
    case 7:
        catch_up(w);
        break;
    case 8:
    case 9:
    case 10:
        others_write(w);
        break;
    default:
        local_write(w);
        break;
    }
}

static bool all_acknowledged(struct world *w)
{
    uint64_t n;

    assert_true(replica_pending(w->r, &n, &w->k.err));
    return n == 0 && !w->slip.active && gaps(w) == 0;
}

static size_t refused(const struct world *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->nops; i++)
        n += w->ops[i].refused;
    return n;
}

static void check_end(struct world *w)
{
    char count[32];

    for (int t = 0; t < TABLES; t++) {
        assert_int_equal(w->shown[t], w->lsn);
        check_table(w, t, w->lsn);
    }
    for (size_t i = 0; i < w->nops; i++)
        assert_int_not_equal(w->ops[i].decided, 0);
    snprintf(count, sizeof(count), "%zu", refused(w));
    assert_answer(&w->k, "SELECT count(*) FROM _tombolo_rejected WHERE code <> 'unknown'", count);
    assert_answer(&w->k, "SELECT count(*) FROM _tombolo_base", "0");
    assert_answer(&w->k, "SELECT count(*) FROM _tombolo_pending", "0");
    assert_answer(&w->k, "SELECT count(*) FROM _tombolo_writes", "0");
}

static void run_round(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    kit_init(&w->k);
    w->random = seed * 0x9e3779b97f4a7c15u + 1;
    w->r = kit_open(&w->k, names[0], names[1]);
    w->program = kit_reader(&w->k);
    w->lsn = 1;
    others_write(w);
    connect(w);
    for (int i = 0; i < STEPS; i++)
        step(w);
    for (int i = 0; i < 2000 && !all_acknowledged(w); i++) {
        if (!w->connected)
            connect(w);
        upload(w);
        catch_up(w);
        if (i % 20 == 19)
            w->connected = false; /* an answer that was not decided is asked for again */
    }
    if (!w->connected)
        connect(w);
    catch_up(w);
    check_end(w);
    sqlite3_close(w->program);
    replica_close(w->r);
    kit_release(&w->k);
    free(w);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_tables_are_the_servers_with_the_pending_writes_on_them(void **state)
{
    uint64_t seed = setting("TOMBOLO_REBASE_SEED", (uint64_t)time(NULL) * 1000);
    uint64_t rounds = setting("TOMBOLO_REBASE_ROUNDS", 20);

    (void)state;
    print_message("TOMBOLO_REBASE_SEED=%" PRIu64 " and following\n", seed);
    for (uint64_t i = 0; i < rounds; i++) {
        if (getenv("TOMBOLO_REBASE_SAY"))
            fprintf(stderr, "TOMBOLO_REBASE_SEED=%" PRIu64 "\n", seed + i);
        run_round(seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_are_the_servers_with_the_pending_writes_on_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
