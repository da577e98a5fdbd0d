/*
 * From messages to rows of a table.
 *
 * Changes are applied in the order they come. A snapshot's rows may be applied
 * in any: where they do not come in the key's order they are gathered, up to
 * BATCH_BYTES, and sorted by the key's first column, because a b-tree larger than
 * the cache takes rows in order many times faster. They are committed
 * every SNAPSHOT_ROWS, with no position: a crash costs the snapshot, not a wrong row.
 */
#include "replica/core.h"

#include "replica/gap.h"
#include "replica/rebase.h"

#include <inttypes.h>
#include <stdlib.h>
#include <yyjson.h>

#define BATCH_BYTES ((size_t)16 << 20)
#define SNAPSHOT_ROWS 20000

/* Fills the table's cells from {"column":"text",...}; columns mostly come in the table's order. */
static bool fill_cells(struct lite_table *t, yyjson_val *value, size_t *nfilled)
{
    const struct lite_schema *s = t->schema;
    size_t i, n, at = 0;
    yyjson_val *name, *v;

    if (!yyjson_is_obj(value))
        return false;
    for (size_t c = 0; c < s->ncolumns; c++)
        t->cells[c].present = false;
    *nfilled = 0;
    yyjson_obj_foreach(value, i, n, name, v)
    {
        struct slice text = {yyjson_get_str(name), yyjson_get_len(name)};

        if (at >= s->ncolumns || !slice_eq(s->columns[at].name, text)) {
            for (at = 0; at < s->ncolumns && !slice_eq(s->columns[at].name, text);)
                at++;
        }
        if (at == s->ncolumns || t->cells[at].present || !(yyjson_is_str(v) || yyjson_is_null(v)))
            return false;
        t->cells[at].present = true;
        t->cells[at].text = (struct slice){yyjson_get_str(v), yyjson_get_len(v)};
        ++*nfilled;
        at++;
    }
    return true;
}

/* The key's cells are there and none of them is NULL. */
static bool key_filled(const struct lite_table *t)
{
    for (size_t i = 0; i < t->schema->nkey; i++) {
        const struct lite_cell *cell = &t->cells[t->schema->key[i]];

        if (!cell->present || !cell->text.ptr)
            return false;
    }
    return true;
}

/* Nothing was written. A value that is none of its column's type is the message's fault, and *why
 * says so; what SQLite refuses is to be looked at here. */
static bool not_written(struct replica *r, struct lite_feed *feed, const char **why,
                        const struct err *err)
{
    if (err->code == ERR_PROTOCOL)
        *why = arena_strdup(&r->session, err->msg);
    else if (err->code == ERR_SQLITE)
        r->stuck = feed;
    return err->code == ERR_PROTOCOL;
}

/* One row in, without asking for order. `*why` set: the message is not one of this table. */
static bool insert_row(struct replica *r, struct lite_feed *feed, yyjson_val *value, bool fresh,
                       const char **why, struct err *err)
{
    size_t n;

    if (!fill_cells(&feed->table, value, &n) || n != feed->schema.ncolumns ||
        !key_filled(&feed->table)) {
        *why = "a row did not have the table's columns";
        return true;
    }
    r->txn_rows++;
    r->progress.rows++;
    bool taken, found;
    if (!lite_rebase_take(r, feed, LITE_SERVER_INSERT, &taken, &found, err))
        return false;
    return taken || lite_table_insert(&feed->table, fresh, err) || not_written(r, feed, why, err);
}

/* ---- snapshots ---- */

static int compare_rows(const void *pa, const void *pb)
{
    const struct lite_row *a = pa, *b = pb;
    int c = (a->number > b->number) - (a->number < b->number);

    if (c == 0)
        c = slice_cmp(a->text, b->text);
    return c ? c : (a->seq > b->seq) - (a->seq < b->seq);
}

/* The first key column, so that comparing follows SQLite's order: integers by value,
 * text and (as hex) blobs by bytes. Floats are left as they come. */
static void read_sort_key(const struct lite_feed *feed, struct lite_row *row)
{
    const struct lite_column *c = &feed->schema.columns[feed->schema.key[0]];
    yyjson_val *v = yyjson_obj_getn(row->value, c->name.ptr, c->name.len);

    row->number = 0;
    row->text = SLICE("");
    if (!yyjson_is_str(v) || c->lite.kind == LITE_FLOAT4 || c->lite.kind == LITE_FLOAT8)
        return;
    if (c->lite.kind == LITE_INT)
        row->number = strtoll(yyjson_get_str(v), NULL, 10);
    else
        row->text = (struct slice){yyjson_get_str(v), yyjson_get_len(v)};
}

/* Puts the messages' rows into the batch; false when one is no insert. */
static bool gather(struct lite_batch *b, struct lite_feed *feed, yyjson_val *messages,
                   bool *ordered)
{
    size_t i, n, need = b->n + yyjson_arr_size(messages);
    yyjson_val *m;

    if (need > b->cap) {
        b->cap = need * 2;
        b->rows = xrealloc(b->rows, b->cap * sizeof(*b->rows));
    }
    *ordered = true;
    yyjson_arr_foreach(messages, i, n, m)
    {
        struct lite_row *row = &b->rows[b->n];

        *row = (struct lite_row){.seq = b->n, .value = yyjson_obj_get(m, "value")};
        if (!yyjson_equals_str(yyjson_obj_get(yyjson_obj_get(m, "headers"), "operation"), "insert"))
            return false;
        if (feed->schema.nkey > 0)
            read_sort_key(feed, row);
        if (b->n > 0 && compare_rows(row - 1, row) > 0)
            *ordered = false;
        b->n++;
    }
    return true;
}

/* Snapshot rows of the table alone may be committed before the bridge's commit line. */
static bool commit_early(struct replica *r, struct err *err)
{
    if (r->txn_rows < SNAPSHOT_ROWS || r->changes || r->commit_due)
        return true;
    if (!lite_db_commit(&r->db, err))
        return false;
    r->txn_rows = 0;
    lite_db_tidy(&r->db);
    return true;
}

bool lite_rows_flush(struct replica *r, struct err *err)
{
    struct lite_batch *b = &r->batch;
    struct lite_feed *feed = b->feed;
    const char *why = NULL;

    if (b->n == 0)
        return true;
    if (feed->shuffled)
        qsort(b->rows, b->n, sizeof(*b->rows), compare_rows);
    for (size_t i = 0; i < b->n && !why; i++) {
        if (!lite_apply_begin(r, err) || !insert_row(r, feed, b->rows[i].value, true, &why, err) ||
            !commit_early(r, err))
            return false;
    }
    lite_rows_drop(r);
    return !why || lite_apply_misfit(r, feed, 0, why, err);
}

static void keep_text(struct lite_batch *b, yyjson_doc **doc, char **text)
{
    if (b->ndocs == b->docs_cap) {
        b->docs_cap = b->docs_cap ? b->docs_cap * 2 : 16;
        b->docs = xrealloc(b->docs, b->docs_cap * sizeof(*b->docs));
        b->texts = xrealloc(b->texts, b->docs_cap * sizeof(*b->texts));
    }
    b->bytes += yyjson_doc_get_read_size(*doc);
    b->docs[b->ndocs] = *doc;
    b->texts[b->ndocs++] = *text;
    *doc = NULL;
    *text = NULL;
}

static bool apply_snapshot(struct replica *r, struct lite_feed *feed, yyjson_val *messages,
                           yyjson_doc **doc, char **text, struct err *err)
{
    struct lite_batch *b = &r->batch;
    bool ordered;

    if (b->feed != feed && !lite_rows_flush(r, err))
        return false;
    b->feed = feed;
    if (!gather(b, feed, messages, &ordered)) {
        lite_rows_drop(r);
        return lite_apply_misfit(r, feed, 0, "a change came among the snapshot's rows", err);
    }
    if (!ordered && feed->schema.nkey > 0)
        feed->shuffled = true;
    if (feed->shuffled && *text && b->bytes < BATCH_BYTES) {
        keep_text(b, doc, text);
        return true;
    }
    return lite_rows_flush(r, err);
}

/* ---- changes ---- */

static bool apply_update(struct replica *r, struct lite_feed *feed, yyjson_val *value,
                         const char **why, struct err *err)
{
    bool taken, found = false;
    size_t n;

    if (feed->schema.nkey == 0 || !fill_cells(&feed->table, value, &n) ||
        !key_filled(&feed->table)) {
        *why = "an update did not have the table's key or columns";
        return true;
    }
    if (!lite_rebase_take(r, feed, LITE_SERVER_UPDATE, &taken, &found, err))
        return false;
    if (!taken && !lite_table_update(&feed->table, &found, err))
        return not_written(r, feed, why, err);
    if (!found)
        *why = "an update came for a row that is not here";
    return true;
}

static bool apply_delete(struct replica *r, struct lite_feed *feed, yyjson_val *value,
                         const char **why, struct err *err)
{
    bool taken, found;
    size_t n;

    if (!fill_cells(&feed->table, value, &n) || !key_filled(&feed->table) ||
        (feed->schema.nkey == 0 && n != feed->schema.ncolumns)) {
        *why = "a delete did not have the table's key";
        return true;
    }
    if (!lite_rebase_take(r, feed, LITE_SERVER_DELETE, &taken, &found, err))
        return false;
    return taken || lite_table_remove(&feed->table, &found, err) || /* what is gone is gone */
           not_written(r, feed, why, err);
}

static bool apply_change(struct replica *r, struct lite_feed *feed, yyjson_val *m, const char **why,
                         struct err *err)
{
    yyjson_val *op = yyjson_obj_get(yyjson_obj_get(m, "headers"), "operation");
    yyjson_val *value = yyjson_obj_get(m, "value");

    if (yyjson_equals_str(op, "insert"))
        return insert_row(r, feed, value, false, why, err);
    r->txn_rows++;
    r->progress.rows++;
    if (yyjson_equals_str(op, "update"))
        return apply_update(r, feed, value, why, err);
    if (yyjson_equals_str(op, "delete"))
        return apply_delete(r, feed, value, why, err);
    if (op)
        *why = "a change was neither insert, update nor delete";
    return true; /* control messages of the log mean nothing here */
}

/* Where a change stands; 1 behind what has been applied when it does not say. */
static uint64_t lsn_of(const struct replica *r, yyjson_val *message)
{
    const char *lsn = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(message, "headers"), "lsn"));

    return lsn ? strtoull(lsn, NULL, 10) : r->state.position + 1;
}

static bool apply_changes(struct replica *r, struct lite_feed *feed, yyjson_val *messages,
                          struct err *err)
{
    const char *why = NULL;
    size_t i, n;
    yyjson_val *m;

    if (!lite_rows_flush(r, err) || !lite_apply_begin(r, err))
        return false;
    if (feed->skip) /* it has just been found that local writes slipped by */
        return true;
    r->changes = true;
    yyjson_arr_foreach(messages, i, n, m)
    {
        if (feed->shape->gap && !lite_gap_before(r, feed, lsn_of(r, m), err))
            return false;
        if (!apply_change(r, feed, m, &why, err)) {
            r->stuck_lsn = lsn_of(r, m);
            return false;
        }
        if (why)
            return lite_apply_misfit(r, feed, lsn_of(r, m), why, err);
    }
    return true;
}

bool lite_rows_apply(struct replica *r, struct lite_feed *feed, yyjson_val *messages,
                     yyjson_doc **doc, char **text, struct err *err)
{
    if (!yyjson_is_arr(messages))
        return err_set(err, ERR_PROTOCOL, "the stream's messages are not an array");
    if (feed->skip)
        return true;
    if (feed->phase == LITE_CLOSED)
        return err_set(err, ERR_PROTOCOL, "table \"%s\": rows before its shape was opened",
                       feed->shape->local);
    if (feed->phase == LITE_SNAPSHOT)
        return apply_snapshot(r, feed, messages, doc, text, err);
    return apply_changes(r, feed, messages, err);
}

void lite_rows_drop(struct replica *r)
{
    struct lite_batch *b = &r->batch;

    for (size_t i = 0; i < b->ndocs; i++) {
        yyjson_doc_free(b->docs[i]);
        free(b->texts[i]);
    }
    b->n = b->ndocs = b->bytes = 0;
    b->feed = NULL;
}

void lite_rows_release(struct replica *r)
{
    lite_rows_drop(r);
    free(r->batch.rows);
    free(r->batch.docs);
    free(r->batch.texts);
}
