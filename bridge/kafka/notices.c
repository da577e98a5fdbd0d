#include "kafka/notices.h"

#include "change/json.h"
#include "kafka/schema.h"

#include <inttypes.h>

struct notices {
    struct envelope *nobody; /* of a table without name and columns: messages have such a source */
    struct slice server;     /* `{"serverName":"shop"}` */
    enum binary_mode binary;
    struct slice schemas[SCHEMA_HEARTBEAT + 1]; /* `{"schema":{...},"payload":`, or empty */
};

struct notices *notices_new(const struct envelope_settings *settings, struct arena *arena)
{
    const struct table nobody = {.nspname = SLICE(""), .relname = SLICE("")};
    struct notices *n = arena_calloc(arena, 1, sizeof(*n));
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    n->nobody = envelope_new(&nobody, settings, arena);
    n->binary = settings->modes.binary;
    buf_put_cstr(&b, "{\"serverName\":");
    json_put_string(&b, settings->prefix);
    buf_put_u8(&b, '}');
    n->server = arena_copy(arena, buf_slice(&b));
    for (int i = 0; settings->schemas && i <= SCHEMA_HEARTBEAT; i++) {
        buf_clear(&b);
        buf_put_cstr(&b, "{\"schema\":");
        schema_put((enum schema_of)i, n->binary, &b);
        buf_put_cstr(&b, ",\"payload\":");
        n->schemas[i] = arena_copy(arena, buf_slice(&b));
    }
    buf_release(&b);
    return n;
}

/* A record whose key ends where its value begins. */
struct draft {
    const struct notices *notices;
    struct buf *out;
    size_t value_at;
    struct slice schema; /* of the part at hand */
};

static void open_part(struct draft *d, enum schema_of schema)
{
    d->schema = d->notices->schemas[schema];
    buf_put_slice(d->out, d->schema);
}

static void close_part(const struct draft *d)
{
    if (d->schema.len)
        buf_put_u8(d->out, '}');
}

static struct draft begin(const struct notices *n, struct buf *out, enum schema_of key)
{
    struct draft d = {.notices = n, .out = out};

    buf_clear(out);
    open_part(&d, key);
    return d;
}

static void begin_value(struct draft *d, enum schema_of value)
{
    close_part(d);
    d->value_at = d->out->len;
    open_part(d, value);
}

static bool finish(const struct draft *d, struct envelope_records *records, unsigned nevents,
                   struct err *err)
{
    const struct buf *out = d->out;

    close_part(d);
    if (out->failed)
        return err_set(err, ERR_LIMIT, "a record of more than %zu bytes", out->limit);
    *records = (struct envelope_records){.n = 1, .nevents = nevents};
    records->records[0] =
        (struct envelope_record){.has_key = true,
                                 .has_value = true,
                                 .key = {out->ptr, d->value_at},
                                 .value = {out->ptr + d->value_at, out->len - d->value_at}};
    return true;
}

static int64_t milliseconds(int64_t us)
{
    return us / 1000 - (us % 1000 < 0);
}

/* ---- transactions ---------------------------------------------------------------------------- */

static void put_id(const struct txn *txn, struct buf *out)
{
    buf_put_cstr(out, "\"id\":\"");
    envelope_put_transaction_id(txn, out);
    buf_put_u8(out, '"');
}

static struct draft begin_status(const struct notices *n, const struct txn *txn, const char *status,
                                 struct buf *out)
{
    struct draft d = begin(n, out, SCHEMA_TRANSACTION_KEY);

    buf_put_u8(out, '{');
    put_id(txn, out);
    buf_put_u8(out, '}');
    begin_value(&d, SCHEMA_TRANSACTION);
    buf_printf(out, "{\"status\":\"%s\",", status);
    put_id(txn, out);
    buf_put_cstr(out, ",\"event_count\":");
    return d;
}

static bool finish_status(const struct draft *d, const struct txn *txn,
                          struct envelope_records *records, struct err *err)
{
    buf_printf(d->out, ",\"ts_ms\":%" PRId64 "}", milliseconds(txn->time_us));
    return finish(d, records, 0, err);
}

bool notices_put_begin(const struct notices *n, const struct txn *txn, struct buf *out,
                       struct envelope_records *records, struct err *err)
{
    const struct draft d = begin_status(n, txn, "BEGIN", out);

    buf_put_cstr(out, "null,\"data_collections\":null");
    return finish_status(&d, txn, records, err);
}

static void put_counts(const struct notices_count *counts, size_t n, struct buf *out)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += counts[i].n;
    buf_printf(out, "%" PRIu64 ",\"data_collections\":[", sum);
    for (size_t i = 0; i < n; i++) {
        buf_put_cstr(out, i ? ",{\"data_collection\":\"" : "{\"data_collection\":\"");
        json_put_escaped(out, counts[i].nspname);
        if (counts[i].nspname.len)
            buf_put_u8(out, '.');
        json_put_escaped(out, counts[i].relname);
        buf_printf(out, "\",\"event_count\":%" PRIu64 "}", counts[i].n);
    }
    buf_put_u8(out, ']');
}

bool notices_put_end(const struct notices *n, const struct txn *txn,
                     const struct notices_count *counts, size_t ncounts, struct buf *out,
                     struct envelope_records *records, struct err *err)
{
    const struct draft d = begin_status(n, txn, "END", out);

    put_counts(counts, ncounts, out);
    return finish_status(&d, txn, records, err);
}

/* ---- messages and heartbeats ----------------------------------------------------------------- */

bool notices_put_message(const struct notices *n, struct slice prefix, struct slice content,
                         const struct envelope_place *place, struct buf *out,
                         struct envelope_records *records, struct err *err)
{
    struct draft d = begin(n, out, SCHEMA_MESSAGE_KEY);

    buf_put_cstr(out, "{\"prefix\":");
    json_put_string(out, prefix);
    buf_put_u8(out, '}');
    begin_value(&d, SCHEMA_MESSAGE);
    buf_printf(out, "{\"op\":\"m\",\"ts_ms\":%" PRId64 ",", milliseconds(place->now_us));
    envelope_put_source(n->nobody, place, out);
    buf_put_cstr(out, ",\"message\":{\"prefix\":");
    json_put_string(out, prefix);
    buf_put_cstr(out, ",\"content\":");
    bytes_put(n->binary, content, out);
    buf_put_cstr(out, "}}");
    return finish(&d, records, 1, err);
}

bool notices_put_heartbeat(const struct notices *n, int64_t now_us, struct buf *out,
                           struct envelope_records *records, struct err *err)
{
    struct draft d = begin(n, out, SCHEMA_HEARTBEAT_KEY);

    buf_put_slice(out, n->server);
    begin_value(&d, SCHEMA_HEARTBEAT);
    buf_printf(out, "{\"ts_ms\":%" PRId64 "}", milliseconds(now_us));
    return finish(&d, records, 0, err);
}
