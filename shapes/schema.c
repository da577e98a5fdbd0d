/*
 * The shape API's schema object: what a client needs to read a column's text.
 *
 *     {"id":{"type":"int8","pk_index":0,"not_null":true},"v":{"type":"varchar","max_length":20}}
 */
#include "shapes/shape.h"
#include "change/json.h"

/* pg_type's typmods: lengths carry 4 on top. */
#define TYPMOD_OFFSET 4

static void put_int(struct buf *out, const char *name, int value)
{
    buf_printf(out, ",\"%s\":%d", name, value);
}

static void put_numeric_mods(int32_t typmod, struct buf *out)
{
    int32_t mod = typmod - TYPMOD_OFFSET;

    put_int(out, "precision", mod >> 16 & 0xffff);
    /* Eleven bits with a sign. */
    put_int(out, "scale", ((mod & 0x7ff) ^ 1024) - 1024);
}

/* What `interval year to month` keeps; the bits are those of Postgres's field numbers. */
static const char *interval_fields(int32_t range)
{
    static const struct {
        int32_t range;
        const char *name;
    } rows[] = {{1 << 2, "YEAR"},
                {1 << 1, "MONTH"},
                {1 << 3, "DAY"},
                {1 << 10, "HOUR"},
                {1 << 11, "MINUTE"},
                {1 << 12, "SECOND"},
                {1 << 2 | 1 << 1, "YEAR TO MONTH"},
                {1 << 3 | 1 << 10, "DAY TO HOUR"},
                {1 << 3 | 1 << 10 | 1 << 11, "DAY TO MINUTE"},
                {1 << 3 | 1 << 10 | 1 << 11 | 1 << 12, "DAY TO SECOND"},
                {1 << 10 | 1 << 11, "HOUR TO MINUTE"},
                {1 << 10 | 1 << 11 | 1 << 12, "HOUR TO SECOND"},
                {1 << 11 | 1 << 12, "MINUTE TO SECOND"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].range == range)
            return rows[i].name;
    }
    return NULL;
}

static void put_interval_mods(int32_t typmod, struct buf *out)
{
    const char *fields = interval_fields(typmod >> 16 & 0x7fff);
    int32_t precision = typmod & 0xffff;

    if (fields)
        buf_printf(out, ",\"fields\":\"%s\"", fields);
    if (precision != 0xffff)
        put_int(out, "precision", precision);
}

static bool is_one_of(struct slice name, const char *const *names)
{
    for (; *names; names++) {
        if (slice_is(name, *names))
            return true;
    }
    return false;
}

static void put_mods(struct slice type, int32_t typmod, struct buf *out)
{
    static const char *const clocks[] = {"time", "timetz", "timestamp", "timestamptz", NULL};
    static const char *const bits[] = {"bit", "varbit", NULL};
    static const char *const texts[] = {"varchar", "text", NULL};

    if (is_one_of(type, bits))
        put_int(out, "length", typmod);
    else if (typmod < 0)
        return;
    else if (is_one_of(type, texts))
        put_int(out, "max_length", typmod - TYPMOD_OFFSET);
    else if (slice_is(type, "bpchar"))
        put_int(out, "length", typmod - TYPMOD_OFFSET);
    else if (slice_is(type, "numeric"))
        put_numeric_mods(typmod, out);
    else if (slice_is(type, "interval"))
        put_interval_mods(typmod, out);
    else if (!is_one_of(type, clocks))
        put_int(out, "type_mod", typmod);
    else if (typmod > 0)
        put_int(out, "precision", typmod);
}

static void put_column(const struct table_column *col, bool for_sync, struct buf *out)
{
    bool array = col->ndims > 0 && col->elemtypid && col->class != TYPE_DOMAIN;
    struct slice type = array ? col->elemtypname : col->typname;

    buf_put_cstr(out, "{\"type\":");
    json_put_string(out, type);
    if (array)
        put_int(out, "dims", col->ndims);
    put_mods(type, col->typmod, out);
    if (for_sync && col->class == TYPE_DOMAIN) {
        buf_put_cstr(out, ",\"base\":");
        json_put_string(out, col->basetypname);
    } else if (for_sync && col->class == TYPE_ENUM) {
        buf_put_cstr(out, ",\"base\":\"enum\"");
    }
    if (col->pk_index >= 0)
        put_int(out, "pk_index", col->pk_index);
    if (col->not_null)
        buf_put_cstr(out, ",\"not_null\":true");
    buf_put_u8(out, '}');
}

void shape_put_schema_of(const struct shape *shape, const struct table *table, bool for_sync,
                         struct buf *out)
{
    buf_put_u8(out, '{');
    for (uint16_t i = 0; i < shape->ncolumns; i++) {
        const struct table_column *col = &shape->table->cols[shape->columns[i]];
        int at = table == shape->table ? -1 : table_attnum_index(table, col->attnum);

        if (at >= 0)
            col = &table->cols[at];
        if (i)
            buf_put_u8(out, ',');
        json_put_string(out, col->name);
        buf_put_u8(out, ':');
        put_column(col, for_sync, out);
    }
    buf_put_u8(out, '}');
}

void shape_put_schema(const struct shape *shape, bool for_sync, struct buf *out)
{
    shape_put_schema_of(shape, shape->table, for_sync, out);
}
