/*
 * Runs of messages taken apart (shapelog/messages): any bytes as a run, which must come apart into
 * all of itself; and the same bytes as the values of changes, whose messages must come back out of
 * their run one by one, each with its op. The table's columns are named as misleadingly as can be.
 */
#include "base/reader.h"
#include "change/message.h"
#include "shapelog/messages.h"

#include <stdlib.h>

#define COLUMNS 4u
#define MESSAGES 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- any bytes ------------------------------------------------------------------------------- */

static void check_any(struct slice run)
{
    const char *at = run.ptr, *end = run.ptr + run.len;
    struct slice rest = run, message;
    uint64_t op;

    while (messages_next(&rest, &message)) {
        messages_op(message, &op);
        if (message.ptr != at || !message.len)
            abort();
        at += message.len;
        if (rest.len && (*at++ != ',' || rest.ptr != at))
            abort();
    }
    if (at != end)
        abort();
}

/* ---- changes --------------------------------------------------------------------------------- */

static struct table *make_table(void)
{
    static const struct slice names[COLUMNS] = {
        {"op_position", 11}, {",\"op_position\":7", 16}, {"}},{\"key\":\"", 10}, {"key", 3}};
    struct table *table = table_new();

    table->nspname = SLICE("}},{\"key\":\"");
    table->relname = SLICE(",\"op_position\":1");
    table->ncols = COLUMNS;
    table->cols = arena_calloc(&table->arena, COLUMNS, sizeof(*table->cols));
    for (uint16_t i = 0; i < COLUMNS; i++)
        table->cols[i] = (struct table_column){.name = names[i],
                                               .attnum = (int16_t)(i + 1),
                                               .typid = 25,
                                               .basetypid = 25,
                                               .typmod = -1,
                                               .pk_index = (int16_t)(i ? -1 : 0)};
    table->npk = 1;
    table->pk = arena_calloc(&table->arena, 1, sizeof(*table->pk));
    return table;
}

static const struct tuple *read_tuple(struct reader *r, struct arena *arena)
{
    struct value *values = arena_calloc(arena, COLUMNS, sizeof(*values));
    struct tuple *tuple = arena_calloc(arena, 1, sizeof(*tuple));

    for (uint16_t i = 0; i < COLUMNS; i++) {
        uint8_t len = reader_u8(r);
        struct slice text = reader_slice(r, len);

        values[i].kind = i > 0 && len == 0 ? VALUE_NULL : VALUE_TEXT;
        if (values[i].kind == VALUE_TEXT)
            values[i].text = text;
    }
    *tuple = (struct tuple){.nvalues = COLUMNS, .values = values};
    return tuple;
}

static void put_change(struct reader *r, const struct message_format *format, uint64_t op,
                       struct arena *arena, struct buf *run)
{
    const struct message_place place = {reader_u16(r), reader_u16(r), op};
    uint8_t kind = reader_u8(r);
    const struct tuple *old = read_tuple(r, arena), *new = read_tuple(r, arena);
    const struct change update = {.op = CHANGE_UPDATE, .old = old, .new = new};
    const struct change delete = {.op = CHANGE_DELETE, .old = old};

    switch (kind % 3) {
    case 0:
        message_put_insert(format, new, kind & 4 ? old : NULL, &place, run);
        break;
    case 1:
        message_put_update(format, &update, &place, run);
        break;
    default:
        message_put_delete(format, &delete, kind & 4 ? new : NULL, &place, run);
        break;
    }
}

static void check_changes(struct reader r)
{
    static const uint16_t columns[COLUMNS] = {0, 1, 2, 3};
    struct arena arena = {0};
    struct table *table = make_table();
    const struct message_format *format =
        message_format_new(table, columns, COLUMNS, reader_u8(&r) & 1, &arena);
    uint64_t op = reader_u64(&r), got;
    size_t ends[MESSAGES], n = 0;
    struct slice rest, message;
    struct buf run;

    buf_init(&run, BUF_NO_LIMIT);
    for (; n < MESSAGES && !r.failed; n++) {
        if (n > 0)
            buf_put_u8(&run, ',');
        put_change(&r, format, op + n, &arena, &run);
        ends[n] = run.len;
    }
    rest = buf_slice(&run);
    for (size_t i = 0; i < n; i++) {
        if (!messages_next(&rest, &message) || message.ptr + message.len != run.ptr + ends[i] ||
            !messages_op(message, &got) || got != op + i)
            abort();
    }
    if (messages_next(&rest, &message))
        abort();
    buf_release(&run);
    table_unref(table);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct slice bytes = {(const char *)data, size};

    if (size)
        check_any(bytes);
    check_changes(reader_of(bytes));
    return 0;
}
