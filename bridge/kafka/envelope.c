#include "kafka/envelope.h"

#include "change/json.h"
#include "kafka/schema.h"

#include <inttypes.h>

struct column {
    struct slice name; /* `"name":` */
    struct value_form form;
    bool in_identity;
};

struct envelope {
    struct slice source; /* `"source":{...`, up to what differs from event to event */
    struct slice names;  /* `"schema":"public","table":"items"` */
    struct slice placeholder;
    struct slice database;                 /* `"db":"shop"` */
    struct slice key_schema, value_schema; /* `{"schema":{...},"payload":`, or empty */
    bool tombstones;
    uint16_t ncols, nkey;
    struct column *cols;
    uint16_t *key; /* indexes into cols */
};

/* A piece of the buffer, which may yet move. */
struct span {
    size_t at, len;
};

/* ---- the envelope ---------------------------------------------------------------------------- */

static struct slice keep(struct buf *b, struct arena *arena)
{
    struct slice kept = arena_copy(arena, buf_slice(b));

    buf_clear(b);
    return kept;
}

/* `"name":"text"` */
static void put_field(struct buf *out, const char *name, struct slice text)
{
    buf_printf(out, "\"%s\":", name);
    json_put_string(out, text);
}

static bool pk_is_sent(const struct table *table)
{
    for (uint16_t i = 0; i < table->npk; i++)
        if (!table->cols[table->pk[i]].in_identity)
            return false;
    return table->npk > 0;
}

/* The primary key; the identity's index where that is what old rows are known by. */
static void choose_key(struct envelope *e, const struct table *table, struct arena *arena)
{
    bool by_index = table->replident == REPLIDENT_INDEX && !pk_is_sent(table);

    e->key = arena_calloc(arena, table->ncols, sizeof(*e->key));
    if (!by_index) {
        e->nkey = table->npk;
        if (table->npk)
            memcpy(e->key, table->pk, table->npk * sizeof(*e->key));
        return;
    }
    for (uint16_t i = 0; i < table->ncols; i++)
        if (table->cols[i].in_identity)
            e->key[e->nkey++] = i;
}

static void write_schemas(struct envelope *e, const struct table *table,
                          const struct envelope_settings *settings, struct arena *arena)
{
    const struct schema_source source = {table, &settings->modes, settings->prefix, e->key,
                                         e->nkey};
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "{\"schema\":");
    schema_put_key(&source, &b);
    buf_put_cstr(&b, ",\"payload\":");
    e->key_schema = keep(&b, arena);
    buf_put_cstr(&b, "{\"schema\":");
    schema_put_envelope(&source, &b);
    buf_put_cstr(&b, ",\"payload\":");
    e->value_schema = keep(&b, arena);
    buf_release(&b);
}

struct envelope *envelope_new(const struct table *table, const struct envelope_settings *settings,
                              struct arena *arena)
{
    struct envelope *e = arena_calloc(arena, 1, sizeof(*e));
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "\"source\":{");
    put_field(&b, "version", settings->version);
    buf_put_cstr(&b, ",\"connector\":\"postgresql\",");
    put_field(&b, "name", settings->prefix);
    e->source = keep(&b, arena);
    put_field(&b, "db", settings->database);
    e->database = keep(&b, arena);
    put_field(&b, "schema", table->nspname);
    buf_put_u8(&b, ',');
    put_field(&b, "table", table->relname);
    e->names = keep(&b, arena);
    e->placeholder = arena_copy(arena, settings->placeholder);
    e->tombstones = !settings->no_tombstones;
    e->ncols = table->ncols;
    e->cols = arena_calloc(arena, table->ncols, sizeof(*e->cols));
    for (uint16_t i = 0; i < table->ncols; i++) {
        json_put_string(&b, table->cols[i].name);
        buf_put_u8(&b, ':');
        e->cols[i] =
            (struct column){keep(&b, arena), value_form_of(&table->cols[i], &settings->modes),
                            table->cols[i].in_identity};
    }
    buf_release(&b);
    choose_key(e, table, arena);
    if (settings->schemas)
        write_schemas(e, table, settings, arena);
    return e;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool put_value(const struct envelope *e, const struct column *col, const struct value *value,
                      struct buf *out, struct err *err)
{
    buf_put_slice(out, col->name);
    if (value->kind == VALUE_NULL) {
        buf_put_cstr(out, "null");
        return true;
    }
    bool ok = value->kind == VALUE_UNCHANGED
                  ? value_put_missing(&col->form, e->placeholder, out, err)
                  : value_put(&col->form, value->text, out, err);
    return ok || err_wrap(err, "column %.*s", SLICE_ARG(col->name));
}

/* The row's value, or that of `old` for one that was not sent because it is the same. */
static const struct value *value_of(const struct tuple *row, const struct tuple *old, uint16_t i)
{
    if (row->values[i].kind == VALUE_UNCHANGED && old && old->values[i].kind == VALUE_TEXT)
        return &old->values[i];
    return &row->values[i];
}

/* `"before":{...}` or `"before":null`; of a key alone the identity's columns. */
static bool put_row(const struct envelope *e, const char *name, const struct tuple *row,
                    const struct tuple *old, bool is_key, struct buf *out, struct err *err)
{
    const char *comma = "";

    buf_printf(out, "\"%s\":%s", name, row ? "{" : "null");
    for (uint16_t i = 0; row && i < e->ncols; i++) {
        if (is_key && !e->cols[i].in_identity)
            continue;
        buf_put_cstr(out, comma);
        if (!put_value(e, &e->cols[i], value_of(row, old, i), out, err))
            return false;
        comma = ",";
    }
    if (row)
        buf_put_u8(out, '}');
    return true;
}

static bool put_key(const struct envelope *e, const struct tuple *row, const struct tuple *old,
                    struct buf *out, struct span *span, struct err *err)
{
    span->at = out->len;
    buf_put_slice(out, e->key_schema);
    buf_put_u8(out, '{');
    for (uint16_t i = 0; i < e->nkey; i++) {
        if (i)
            buf_put_u8(out, ',');
        if (!put_value(e, &e->cols[e->key[i]], value_of(row, old, e->key[i]), out, err))
            return false;
    }
    buf_put_cstr(out, e->key_schema.len ? "}}" : "}");
    span->len = out->len - span->at;
    return true;
}

static bool key_changed(const struct envelope *e, const struct change *change)
{
    if (change->op != CHANGE_UPDATE || !change->old)
        return false;
    for (uint16_t i = 0; i < e->nkey; i++) {
        const struct value *then = &change->old->values[e->key[i]];
        const struct value *now = value_of(change->new, change->old, e->key[i]);

        if (then->kind != now->kind ||
            (then->kind == VALUE_TEXT && !slice_eq(then->text, now->text)))
            return true;
    }
    return false;
}

/* ---- events ---------------------------------------------------------------------------------- */

static int64_t milliseconds(int64_t us)
{
    return us / 1000 - (us % 1000 < 0);
}

static void put_times(struct buf *out, int64_t us)
{
    buf_printf(out, "\"ts_us\":%" PRId64 ",\"ts_ns\":%" PRId64 "000", us, us);
}

void envelope_put_transaction_id(const struct txn *txn, struct buf *out)
{
    buf_printf(out, "%" PRIu32 ":%" PRIu64, txn->xid, txn->commit_lsn);
}

void envelope_put_source(const struct envelope *e, const struct envelope_place *place,
                         struct buf *out)
{
    buf_put_slice(out, e->source);
    buf_printf(out, ",\"ts_ms\":%" PRId64 ",\"snapshot\":\"%s\",",
               milliseconds(place->txn->time_us), place->snapshot);
    buf_put_slice(out, e->database);
    buf_put_cstr(out, ",\"sequence\":\"[");
    if (place->last_commit == LSN_NONE)
        buf_put_cstr(out, "null");
    else
        buf_printf(out, "\\\"%" PRIu64 "\\\"", place->last_commit);
    buf_printf(out, ",\\\"%" PRIu64 "\\\"]\",", place->lsn);
    put_times(out, place->txn->time_us);
    buf_put_u8(out, ',');
    buf_put_slice(out, e->names);
    buf_put_cstr(out, ",\"txId\":");
    if (place->txn->xid)
        buf_put_dec(out, place->txn->xid);
    else
        buf_put_cstr(out, "null");
    buf_printf(out, ",\"lsn\":%" PRIu64 ",\"xmin\":null}", place->lsn);
}

/* `nth`: of the change's events, from 0. */
static void put_transaction(const struct envelope_place *place, unsigned nth, struct buf *out)
{
    buf_put_cstr(out, "\"transaction\":");
    if (!place->total_order) {
        buf_put_cstr(out, "null");
        return;
    }
    buf_put_cstr(out, "{\"id\":\"");
    envelope_put_transaction_id(place->txn, out);
    buf_printf(out, "\",\"total_order\":%" PRIu64 ",\"data_collection_order\":%" PRIu64 "}",
               place->total_order + nth, place->table_order + nth);
}

/* What an event's value says of the row. */
struct event {
    char op;
    const struct tuple *before, *after, *old; /* `old`: where what `after` lacks is found */
    bool before_is_key;
    unsigned nth; /* of the change's events, from 0 */
};

static bool put_event(const struct envelope *e, const struct event *event,
                      const struct envelope_place *place, struct buf *out, struct span *span,
                      struct err *err)
{
    span->at = out->len;
    buf_put_slice(out, e->value_schema);
    buf_put_u8(out, '{');
    if (!put_row(e, "before", place->no_before ? NULL : event->before, NULL, event->before_is_key,
                 out, err))
        return false;
    buf_put_u8(out, ',');
    if (!put_row(e, "after", event->after, event->old, false, out, err))
        return false;
    buf_put_u8(out, ',');
    envelope_put_source(e, place, out);
    buf_put_u8(out, ',');
    put_transaction(place, event->nth, out);
    buf_printf(out, ",\"op\":\"%c\",\"ts_ms\":%" PRId64 ",", event->op,
               milliseconds(place->now_us));
    put_times(out, place->now_us);
    buf_put_cstr(out, e->value_schema.len ? "}}" : "}");
    span->len = out->len - span->at;
    return true;
}

static bool written(const struct buf *out, struct err *err)
{
    return !out->failed || err_set(err, ERR_LIMIT, "a record of more than %zu bytes", out->limit);
}

/* One record, whose spans are in `out`; the key is none when it is empty. */
static void add(struct envelope_records *records, const struct buf *out, struct span key,
                struct span value)
{
    records->records[records->n++] =
        (struct envelope_record){.has_key = key.len > 0,
                                 .has_value = value.len > 0,
                                 .key = {out->ptr + key.at, key.len},
                                 .value = {out->ptr + value.at, value.len}};
}

static void add_tombstone(const struct envelope *e, struct envelope_records *records,
                          const struct buf *out, struct span key)
{
    if (e->tombstones && key.len)
        add(records, out, key, (struct span){0, 0});
}

/* A row that goes or comes under one key: one event. */
static bool put_simple(const struct envelope *e, const struct event *event,
                       const struct envelope_place *place, struct buf *out,
                       struct envelope_records *records, struct err *err)
{
    const struct tuple *row = event->after ? event->after : event->before;
    struct span key = {0, 0}, value;

    if (e->nkey && row && !put_key(e, row, event->old, out, &key, err))
        return false;
    if (!put_event(e, event, place, out, &value, err) || !written(out, err))
        return false;
    add(records, out, key, value);
    records->nevents = 1;
    if (event->op == 'd')
        add_tombstone(e, records, out, key);
    return true;
}

/* Without its schema: Connect's headers have none. */
static struct slice bare_key(const struct envelope *e, const struct buf *out, struct span key)
{
    size_t head = e->key_schema.len, tail = head ? 1 : 0;

    return (struct slice){out->ptr + key.at + head, key.len - head - tail};
}

/* A row that moves to another key: it goes, and comes. */
static bool put_move(const struct envelope *e, const struct change *change,
                     const struct envelope_place *place, struct buf *out,
                     struct envelope_records *records, struct err *err)
{
    const struct event gone = {'d', change->old, NULL, NULL, change->old_is_key, 0};
    const struct event come = {'c', NULL, change->new, change->old, false, 1};
    struct span old_key, new_key, gone_value, come_value;

    if (!put_key(e, change->old, NULL, out, &old_key, err) ||
        !put_key(e, change->new, change->old, out, &new_key, err) ||
        !put_event(e, &gone, place, out, &gone_value, err) ||
        !put_event(e, &come, place, out, &come_value, err) || !written(out, err))
        return false;
    add(records, out, old_key, gone_value);
    records->records[0].header = ENVELOPE_NEWKEY;
    records->records[0].header_value = bare_key(e, out, new_key);
    add_tombstone(e, records, out, old_key);
    add(records, out, new_key, come_value);
    records->records[records->n - 1].header = ENVELOPE_OLDKEY;
    records->records[records->n - 1].header_value = bare_key(e, out, old_key);
    records->nevents = 2;
    return true;
}

static void start(struct buf *out, struct envelope_records *records)
{
    buf_clear(out);
    *records = (struct envelope_records){0};
}

bool envelope_put_change(const struct envelope *e, const struct change *change,
                         const struct envelope_place *place, struct buf *out,
                         struct envelope_records *records, struct err *err)
{
    static const char ops[] = {[CHANGE_INSERT] = 'c', [CHANGE_UPDATE] = 'u', [CHANGE_DELETE] = 'd'};
    const struct event event = {ops[change->op], change->old,        change->new,
                                change->old,     change->old_is_key, 0};

    start(out, records);
    if (key_changed(e, change))
        return put_move(e, change, place, out, records, err);
    return put_simple(e, &event, place, out, records, err);
}

bool envelope_put_row(const struct envelope *e, const struct tuple *row,
                      const struct envelope_place *place, struct buf *out,
                      struct envelope_records *records, struct err *err)
{
    const struct event event = {'r', NULL, row, NULL, false, 0};

    start(out, records);
    return put_simple(e, &event, place, out, records, err);
}

bool envelope_put_truncate(const struct envelope *e, const struct envelope_place *place,
                           struct buf *out, struct envelope_records *records, struct err *err)
{
    const struct event event = {'t', NULL, NULL, NULL, false, 0};

    start(out, records);
    return put_simple(e, &event, place, out, records, err);
}
