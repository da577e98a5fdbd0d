#include "kafka/schema.h"

#include "change/json.h"

#define DEBEZIUM "io.debezium."
#define CONNECT "org.apache.kafka.connect.data."

/* The fields of a struct that is the same for all tables; the list ends without a name. */
struct field {
    const char *name, *type;
    bool optional;
};

static const struct field source_fields[] = {
    {"version", "string", false}, {"connector", "string", false}, {"name", "string", false},
    {"ts_ms", "int64", false},    {"snapshot", "string", true},   {"db", "string", false},
    {"sequence", "string", true}, {"ts_us", "int64", true},       {"ts_ns", "int64", true},
    {"schema", "string", false},  {"table", "string", false},     {"txId", "int64", true},
    {"lsn", "int64", true},       {"xmin", "int64", true},        {NULL, NULL, false}};
static const struct field transaction_fields[] = {{"id", "string", false},
                                                  {"total_order", "int64", false},
                                                  {"data_collection_order", "int64", false},
                                                  {NULL, NULL, false}};
static const struct field event_fields[] = {{"op", "string", false},
                                            {"ts_ms", "int64", true},
                                            {"ts_us", "int64", true},
                                            {"ts_ns", "int64", true},
                                            {NULL, NULL, false}};
static const struct field decimal_fields[] = {
    {"scale", "int32", false}, {"value", "bytes", false}, {NULL, NULL, false}};
static const struct field point_fields[] = {{"x", "double", false},
                                            {"y", "double", false},
                                            {"wkb", "bytes", true},
                                            {"srid", "int32", true},
                                            {NULL, NULL, false}};

static const char *boolean(bool b)
{
    return b ? "true" : "false";
}

static void put_fields(const struct field *fields, struct buf *out)
{
    for (size_t i = 0; fields[i].name; i++)
        buf_printf(out, "%s{\"type\":\"%s\",\"optional\":%s,\"field\":\"%s\"}", i ? "," : "",
                   fields[i].type, boolean(fields[i].optional), fields[i].name);
}

/* What stands in a schema for one type; `name` and `fields` may be NULL. */
struct kind {
    uint32_t typid;
    const char *type, *name;
    const struct field *fields;
};

static const struct kind variable_decimal = {0, "struct", DEBEZIUM "data.VariableScaleDecimal",
                                             decimal_fields};

static const struct kind kinds[] = {
    {16, "boolean", NULL, NULL},
    {17, "bytes", NULL, NULL},
    {20, "int64", NULL, NULL},
    {21, "int16", NULL, NULL},
    {23, "int32", NULL, NULL},
    {26, "int64", NULL, NULL},
    {114, "string", DEBEZIUM "data.Json", NULL},
    {142, "string", DEBEZIUM "data.Xml", NULL},
    {600, "struct", DEBEZIUM "data.geometry.Point", point_fields},
    {700, "float", NULL, NULL},
    {701, "double", NULL, NULL},
    {790, "bytes", CONNECT "Decimal", NULL},
    {1082, "int32", DEBEZIUM "time.Date", NULL},
    {1184, "string", DEBEZIUM "time.ZonedTimestamp", NULL},
    {1186, "int64", DEBEZIUM "time.MicroDuration", NULL},
    {1266, "string", DEBEZIUM "time.ZonedTime", NULL},
    {1560, "bytes", DEBEZIUM "data.Bits", NULL},
    {1562, "bytes", DEBEZIUM "data.Bits", NULL},
    {1700, "bytes", CONNECT "Decimal", NULL},
    {2950, "string", DEBEZIUM "data.Uuid", NULL},
    {3802, "string", DEBEZIUM "data.Json", NULL},
};

static struct kind time_kind(uint32_t typid, int64_t unit_us, enum time_mode mode)
{
    bool is_time = typid == 1083;

    if (mode == TIME_CONNECT)
        return is_time ? (struct kind){typid, "int32", CONNECT "Time", NULL}
                       : (struct kind){typid, "int64", CONNECT "Timestamp", NULL};
    if (unit_us == 1000)
        return is_time ? (struct kind){typid, "int32", DEBEZIUM "time.Time", NULL}
                       : (struct kind){typid, "int64", DEBEZIUM "time.Timestamp", NULL};
    return is_time ? (struct kind){typid, "int64", DEBEZIUM "time.MicroTime", NULL}
                   : (struct kind){typid, "int64", DEBEZIUM "time.MicroTimestamp", NULL};
}

static struct kind kind_of(uint32_t typid, int32_t typmod, const struct value_form *form,
                           const struct value_modes *modes)
{
    static const char *const decimals[] = {"bytes", "string", "double"};
    bool is_decimal = typid == 1700 || typid == 790;

    if (typid == 1083 || typid == 1114)
        return time_kind(typid, form->unit_us, modes->time);
    if (is_decimal && modes->decimal != DECIMAL_PRECISE)
        return (struct kind){typid, decimals[modes->decimal], NULL, NULL};
    if (typid == 1700 && typmod < 0)
        return variable_decimal;
    if (typid == 17 && modes->binary != BINARY_BYTES)
        return (struct kind){typid, "string", NULL, NULL};
    if (typid == 1560 && typmod == 1)
        return kinds[0];
    if (typid == 1082 && modes->time == TIME_CONNECT)
        return (struct kind){typid, "int32", CONNECT "Date", NULL};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (kinds[i].typid == typid)
            return kinds[i];
    return (struct kind){typid, "string", NULL, NULL};
}

/* Without the closing brace. */
static void put_kind(const struct kind *kind, int scale, int32_t typmod, bool optional,
                     struct buf *out)
{
    buf_printf(out, "{\"type\":\"%s\"", kind->type);
    if (kind->fields) {
        buf_put_cstr(out, ",\"fields\":[");
        put_fields(kind->fields, out);
        buf_put_u8(out, ']');
    }
    buf_printf(out, ",\"optional\":%s", boolean(optional));
    if (kind->name)
        buf_printf(out, ",\"name\":\"%s\",\"version\":1", kind->name);
    if (kind->name && slice_is(slice_of(kind->name), CONNECT "Decimal"))
        buf_printf(out, ",\"parameters\":{\"scale\":\"%d\"}", scale);
    if (kind->name && slice_is(slice_of(kind->name), DEBEZIUM "data.Bits"))
        buf_printf(out, ",\"parameters\":{\"length\":\"%d\"}", typmod > 0 ? typmod : INT32_MAX);
}

static void put_column(const struct table_column *column, const struct value_modes *modes,
                       bool optional, struct buf *out)
{
    struct value_form form = value_form_of(column, modes);
    uint32_t typid = form.is_array ? column->elemtypid : column->basetypid;
    struct kind kind = kind_of(typid, column->basetypmod, &form, modes);

    if (form.is_array)
        buf_put_cstr(out, "{\"type\":\"array\",\"items\":");
    put_kind(&kind, form.scale, column->basetypmod, optional || form.is_array, out);
    if (form.is_array)
        buf_printf(out, "},\"optional\":%s", boolean(optional));
    buf_put_cstr(out, ",\"field\":");
    json_put_string(out, column->name);
    buf_put_u8(out, '}');
}

static bool in_key(const struct schema_source *s, uint16_t column)
{
    for (uint16_t i = 0; i < s->nkey; i++)
        if (s->key[i] == column)
            return true;
    return false;
}

/* `,"name":"<prefix>.<schema>.<table>.<what>"` */
static void put_name(const struct schema_source *s, const char *what, struct buf *out)
{
    buf_put_cstr(out, ",\"name\":\"");
    json_put_escaped(out, s->prefix);
    buf_put_u8(out, '.');
    json_put_escaped(out, s->table->nspname);
    buf_put_u8(out, '.');
    json_put_escaped(out, s->table->relname);
    buf_printf(out, ".%s\"", what);
}

void schema_put_key(const struct schema_source *s, struct buf *out)
{
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    for (uint16_t i = 0; i < s->nkey; i++) {
        if (i)
            buf_put_u8(out, ',');
        put_column(&s->table->cols[s->key[i]], s->modes, false, out);
    }
    buf_put_cstr(out, "],\"optional\":false");
    put_name(s, "Key", out);
    buf_put_u8(out, '}');
}

static void put_row(const struct schema_source *s, const char *field, struct buf *out)
{
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    for (uint16_t i = 0; i < s->table->ncols; i++) {
        if (i)
            buf_put_u8(out, ',');
        put_column(&s->table->cols[i], s->modes, !in_key(s, i), out);
    }
    buf_put_cstr(out, "],\"optional\":true");
    put_name(s, "Value", out);
    buf_printf(out, ",\"field\":\"%s\"},", field);
}

void schema_put_envelope(const struct schema_source *s, struct buf *out)
{
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    put_row(s, "before", out);
    put_row(s, "after", out);
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    put_fields(source_fields, out);
    buf_put_cstr(out, "],\"optional\":false,"
                      "\"name\":\"io.debezium.connector.postgresql.Source\","
                      "\"field\":\"source\"},{\"type\":\"struct\",\"fields\":[");
    put_fields(transaction_fields, out);
    buf_put_cstr(out, "],\"optional\":true,\"name\":\"event.block\",\"version\":1,"
                      "\"field\":\"transaction\"},");
    put_fields(event_fields, out);
    buf_put_cstr(out, "],\"optional\":false");
    put_name(s, "Envelope", out);
    buf_put_u8(out, '}');
}
