/*
 * From messages to rows of a table.
 *
 * Changes are applied in the order they come. A snapshot's rows may be applied
 * in any: where they do not come in the key's order they are gathered, up to
 * BATCH_BYTES, and sorted by the key's first column, because a b-tree larger than
 * the cache takes rows in order many times faster. They go into the file by the lane
 * (lane.h), and are committed every SNAPSHOT_ROWS, with no position: a crash costs the
 * snapshot, not a wrong row.
 */
#include "replica/core.h"

#include "replica/gap.h"
#include "replica/rebase.h"

#include <inttypes.h>
#include <stdlib.h>
#include <yyjson.h>

#define BATCH_BYTES ((size_t)16 << 20)
#define SNAPSHOT_ROWS 10000
#define SORTED_ROWS 500 /* in a block */

/* Fills the cells from {"column":"text",...}; columns mostly come in the table's order. */
static bool fill_cells(const struct lite_schema *s, struct lite_cell *cells, yyjson_val *value,
                       size_t *nfilled)
{
    size_t i, n, at = 0;
    yyjson_val *name, *v;

    if (!yyjson_is_obj(value))
        return false;
    for (size_t c = 0; c < s->ncolumns; c++)
        cells[c].present = false;
    *nfilled = 0;
    yyjson_obj_foreach(value, i, n, name, v)
    {
        struct slice text = {yyjson_get_str(name), yyjson_get_len(name)};

        if (at >= s->ncolumns || !slice_eq(s->columns[at].name, text)) {
            for (at = 0; at < s->ncolumns && !slice_eq(s->columns[at].name, text);)
                at++;
        }
        if (at == s->ncolumns || cells[at].present || !(yyjson_is_str(v) || yyjson_is_null(v)))
            return false;
        cells[at].present = true;
        cells[at].text = (struct slice){yyjson_get_str(v), yyjson_get_len(v)};
        ++*nfilled;
        at++;
    }
    return true;
}

/* The key's cells are there and none of them is NULL. */
static bool key_filled(const struct lite_schema *s, const struct lite_cell *cells)
{
    for (size_t i = 0; i < s->nkey; i++) {
        const struct lite_cell *cell = &cells[s->key[i]];

        if (!cell->present || !cell->text.ptr)
            return false;
    }
    return true;
}

static bool row_filled(const struct lite_schema *s, struct lite_cell *cells, yyjson_val *value)
{
    size_t n;

    return fill_cells(s, cells, value, &n) && n == s->ncolumns && key_filled(s, cells);
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
    lite_db_begin_sync(&r->db);
    lite_db_tidy(&r->db);
    return true;
}

bool lite_rows_write(struct replica *r, const struct lite_block *block, struct err *err)
{
    struct lite_feed *feed = block->feed;

    for (size_t i = 0; i < block->nrows; i++) {
        if (!lite_apply_begin(r, err))
            return false;
        if (!lite_table_insert_new(&feed->table, block->values + i * feed->schema.ncolumns, err)) {
            r->stuck = err->code == ERR_SQLITE ? feed : NULL;
            return false;
        }
        r->txn_rows++;
        if (!commit_early(r, err))
            return false;
    }
    return true;
}

/* The cells as SQLite's values. False with an ERR_PROTOCOL: one is none of its column's type. */
static bool convert(const struct lite_feed *feed, struct lite_value *values, struct arena *arena,
                    struct err *err)
{
    for (size_t i = 0; i < feed->schema.ncolumns; i++) {
        const struct lite_column *c = &feed->schema.columns[i];
        struct slice text = feed->cells[i].text;

        values[i].storage = LITE_NULL;
        if (text.ptr && !lite_from_pg(c->lite, text, arena, &values[i], err))
            return err_wrap(err, "table \"%s\", column \"%s\"", feed->shape->local, c->name.ptr);
    }
    return true;
}

/* Fills the block with the rows. False: one does not fit the table, and `err` says why. */
static bool fill_block(struct lite_block *block, struct lite_feed *feed,
                       const struct lite_row *rows, size_t n, struct err *err)
{
    size_t ncolumns = feed->schema.ncolumns;

    block->feed = feed;
    block->nrows = n;
    for (size_t i = 0; i < n; i++) {
        if (!row_filled(&feed->schema, feed->cells, rows[i].value))
            return err_set(err, ERR_PROTOCOL, "a row did not have the table's columns");
        if (!convert(feed, block->values + i * ncolumns, &block->arena, err))
            return false;
    }
    return true;
}

/* What came does not fit, once all before it is written. */
static bool misfit(struct replica *r, struct lite_feed *feed, const char *why, struct err *err)
{
    if (!lite_lane_drain(r, err))
        return false;
    lite_rows_drop(r);
    return lite_apply_misfit(r, feed, 0, arena_strdup(&r->session, why), err);
}

/* Rows into the lane; with the line's text, unless somebody else keeps theirs. */
static bool put_rows(struct replica *r, struct lite_feed *feed, const struct lite_row *rows,
                     size_t n, struct lite_text *text, struct err *err)
{
    struct lite_block *block = lite_lane_block(r, n * feed->schema.ncolumns);
    struct err why;

    if (!fill_block(block, feed, rows, n, &why))
        return misfit(r, feed, why.msg, err);
    if (text)
        lite_text_swap(&block->text, text);
    r->progress.rows += n;
    return lite_lane_put(r, block, err);
}

/* What waits to be sorted; its texts are let go of once the lane has written all. */
static bool put_sorted(struct replica *r, struct err *err)
{
    struct lite_batch *b = &r->batch;
    struct lite_feed *feed = b->feed;

    qsort(b->rows, b->n, sizeof(*b->rows), compare_rows);
    for (size_t i = 0; i < b->n; i += SORTED_ROWS) {
        size_t n = b->n - i < SORTED_ROWS ? b->n - i : SORTED_ROWS;

        if (!put_rows(r, feed, b->rows + i, n, NULL, err))
            return false;
    }
    return true;
}

bool lite_rows_flush(struct replica *r, struct err *err)
{
    if ((r->batch.n > 0 && !put_sorted(r, err)) || !lite_lane_drain(r, err))
        return false;
    lite_rows_drop(r);
    return true;
}

static void keep_text(struct replica *r, yyjson_doc **doc)
{
    struct lite_batch *b = &r->batch;

    if (b->ndocs == b->docs_cap) {
        b->docs_cap = b->docs_cap ? b->docs_cap * 2 : 16;
        b->docs = xrealloc(b->docs, b->docs_cap * sizeof(*b->docs));
        b->texts = xrealloc(b->texts, b->docs_cap * sizeof(*b->texts));
    }
    b->bytes += yyjson_doc_get_read_size(*doc);
    b->docs[b->ndocs] = *doc;
    b->texts[b->ndocs++] = r->text.ptr;
    *doc = NULL;
    r->text = (struct lite_text){0};
}

static bool apply_snapshot(struct replica *r, struct lite_feed *feed, yyjson_val *messages,
                           yyjson_doc **doc, struct err *err)
{
    struct lite_batch *b = &r->batch;
    bool ordered;

    if (b->feed && b->feed != feed && !lite_rows_flush(r, err))
        return false;
    b->feed = feed;
    if (!gather(b, feed, messages, &ordered))
        return misfit(r, feed, "a change came among the snapshot's rows", err);
    if (!ordered && feed->schema.nkey > 0)
        feed->shuffled = true;
    if (!feed->shuffled) {
        size_t n = b->n;

        b->n = 0;
        return put_rows(r, feed, b->rows, n, &r->text, err);
    }
    if (b->bytes >= BATCH_BYTES)
        return lite_rows_flush(r, err);
    keep_text(r, doc);
    return true;
}

/* ---- changes ---- */

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

static bool apply_insert(struct replica *r, struct lite_feed *feed, yyjson_val *value,
                         const char **why, struct err *err)
{
    bool taken, found;

    if (!row_filled(&feed->schema, feed->table.cells, value)) {
        *why = "a row did not have the table's columns";
        return true;
    }
    if (!lite_rebase_take(r, feed, LITE_SERVER_INSERT, &taken, &found, err))
        return false;
    return taken || lite_table_insert(&feed->table, err) || not_written(r, feed, why, err);
}

static bool apply_update(struct replica *r, struct lite_feed *feed, yyjson_val *value,
                         const char **why, struct err *err)
{
    bool taken, found = false;
    size_t n;

    if (feed->schema.nkey == 0 || !fill_cells(&feed->schema, feed->table.cells, value, &n) ||
        !key_filled(&feed->schema, feed->table.cells)) {
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

    if (!fill_cells(&feed->schema, feed->table.cells, value, &n) ||
        !key_filled(&feed->schema, feed->table.cells) ||
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

    r->txn_rows++;
    r->progress.rows++;
    if (yyjson_equals_str(op, "insert"))
        return apply_insert(r, feed, value, why, err);
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

/* Whether first rows of the feed are on their way: what else it is the lane may know better. */
static bool in_lane(const struct replica *r, const struct lite_feed *feed)
{
    return r->lane.busy && r->batch.feed == feed;
}

/* The feed whose first rows the line may be, which are to be written as they come; or NULL. The
 * line's head is taken away. */
static struct lite_feed *feed_of_plain(struct replica *r, struct slice *line)
{
    size_t shape;

    if (!lite_plain_head(line, &shape) || shape >= r->nfeeds || r->batch.n > 0)
        return NULL;
    struct lite_feed *feed = &r->feeds[shape];
    bool first = r->lane.busy ? in_lane(r, feed) : feed->phase == LITE_SNAPSHOT && !feed->skip;

    return first && !feed->shuffled ? feed : NULL;
}

bool lite_rows_take(struct replica *r, size_t len, bool *taken, struct err *err)
{
    struct slice line = {r->text.ptr, len};
    struct lite_feed *feed = feed_of_plain(r, &line);

    *taken = false;
    if (!feed)
        return true;
    struct lite_block *block = lite_lane_block(r, feed->schema.ncolumns);
    if (!lite_plain_read(&feed->plain, &feed->schema, line, block))
        return true;
    *taken = true;
    r->batch.feed = block->feed = feed;
    lite_text_swap(&block->text, &r->text);
    r->progress.rows += block->nrows;
    return lite_lane_put(r, block, err);
}

bool lite_rows_expected(const struct replica *r)
{
    if (r->lane.busy)
        return true;
    for (size_t i = 0; i < r->nfeeds; i++) {
        if (r->feeds[i].phase == LITE_SNAPSHOT)
            return true;
    }
    return false;
}

bool lite_rows_apply(struct replica *r, struct lite_feed *feed, yyjson_val *messages,
                     yyjson_doc **doc, struct err *err)
{
    if (!yyjson_is_arr(messages))
        return err_set(err, ERR_PROTOCOL, "the stream's messages are not an array");
    if (in_lane(r, feed))
        return apply_snapshot(r, feed, messages, doc, err);
    if (!lite_lane_drain(r, err))
        return false;
    if (feed->skip)
        return true;
    if (feed->phase == LITE_CLOSED)
        return err_set(err, ERR_PROTOCOL, "table \"%s\": rows before its shape was opened",
                       feed->shape->local);
    if (feed->phase == LITE_SNAPSHOT)
        return apply_snapshot(r, feed, messages, doc, err);
    return apply_changes(r, feed, messages, err);
}

void lite_rows_drop(struct replica *r)
{
    struct lite_batch *b = &r->batch;

    lite_lane_drop(r);
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
    lite_lane_rest(r);
    free(r->text.ptr);
    free(r->batch.rows);
    free(r->batch.docs);
    free(r->batch.texts);
    r->text = (struct lite_text){0};
    r->batch = (struct lite_batch){0};
}
