/*
 * The world of test_replica_rebase.c, and in it a model of Postgres and its bridge: it takes the
 * replica's writes, applies or refuses them, and changes rows for other writers. Its log has the
 * rows behind each commit.
 */
#ifndef TESTS_REBASE_SERVER_H
#define TESTS_REBASE_SERVER_H

#include "replica_kit.h"

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

#endif
