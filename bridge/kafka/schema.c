#include "kafka/schema.h"

#include "change/json.h"

#define DEBEZIUM "io.debezium."
#define CONNECT "org.apache.kafka.connect.data."
#define POSTGRESQL DEBEZIUM "connector.postgresql."
#define COMMON DEBEZIUM "connector.common."

/* The fields of a struct that is the same for all tables; the list ends without a name. */
struct field {
    const char *name, *type;
    bool optional;
};

static const struct field source_head[] = {{"version", "string", false},
                                           {"connector", "string", false},
                                           {"name", "string", false},
                                           {"ts_ms", "int64", false},
                                           {NULL, NULL, false}};
static const struct field source_tail[] = {
    {"db", "string", false},  {"sequence", "string", true}, {"ts_us", "int64", true},
    {"ts_ns", "int64", true}, {"schema", "string", false},  {"table", "string", false},
    {"txId", "int64", true},  {"lsn", "int64", true},       {"xmin", "int64", true},
    {NULL, NULL, false}};
static const struct field prefix_fields[] = {{"prefix", "string", true}, {NULL, NULL, false}};
static const struct field id_fields[] = {{"id", "string", false}, {NULL, NULL, false}};
static const struct field status_fields[] = {{"status", "string", false},
                                             {"id", "string", false},
                                             {"event_count", "int64", true},
                                             {NULL, NULL, false}};
static const struct field count_fields[] = {
    {"data_collection", "string", false}, {"event_count", "int64", false}, {NULL, NULL, false}};
static const struct field server_name_fields[] = {{"serverName", "string", false},
                                                  {NULL, NULL, false}};
static const struct field time_fields[] = {{"ts_ms", "int64", false}, {NULL, NULL, false}};
static const struct field transaction_fields[] = {{"id", "string", false},
                                                  {"total_order", "int64", false},
                                                  {"data_collection_order", "int64", false},
                                                  {NULL, NULL, false}};
static const struct field event_fields[] = {{"op", "string", false},
                                            {"ts_ms", "int64", true},
                                            {"ts_us", "int64", true},
                                            {"ts_ns", "int64", true},
                                            {NULL, NULL, false}};
static const struct field message_fields[] = {
    {"op", "string", false}, {"ts_ms", "int64", true}, {NULL, NULL, false}};
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

static const struct kind interval_text = {1186, "string", DEBEZIUM "time.Interval", NULL};
static const struct kind json = {0, "string", DEBEZIUM "data.Json", NULL};

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

static const char *bytes_type(enum binary_mode mode)
{
    return mode == BINARY_BYTES ? "bytes" : "string";
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
    if (typid == 17)
        return (struct kind){typid, bytes_type(modes->binary), NULL, NULL};
    if (typid == 1186 && modes->interval == INTERVAL_STRING)
        return interval_text;
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

/* Of texts that may be null. */
static void put_map(bool optional, struct buf *out)
{
    buf_printf(out,
               "{\"type\":\"map\",\"keys\":{\"type\":\"string\",\"optional\":false},"
               "\"values\":{\"type\":\"string\",\"optional\":true},\"optional\":%s",
               boolean(optional));
}

static void put_column(const struct table_column *column, const struct value_modes *modes,
                       bool optional, struct buf *out)
{
    struct value_form form = value_form_of(column, modes);
    uint32_t typid = form.is_array ? column->elemtypid : column->basetypid;
    struct kind kind =
        value_is_hstore(column) ? json : kind_of(typid, column->basetypmod, &form, modes);

    if (form.is_array)
        buf_put_cstr(out, "{\"type\":\"array\",\"items\":");
    if (value_is_hstore(column) && modes->hstore == HSTORE_MAP)
        put_map(optional || form.is_array, out);
    else
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

static void put_source(struct buf *out)
{
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    put_fields(source_head, out);
    buf_put_cstr(out, ",{\"type\":\"string\",\"optional\":true,\"name\":\"" DEBEZIUM "data.Enum\","
                      "\"version\":1,\"parameters\":{\"allowed\":\"true,first,"
                      "first_in_data_collection,last_in_data_collection,last,false,incremental\"},"
                      "\"default\":\"false\",\"field\":\"snapshot\"},");
    put_fields(source_tail, out);
    buf_put_cstr(out, "],\"optional\":false,"
                      "\"name\":\"io.debezium.connector.postgresql.Source\","
                      "\"version\":1,\"field\":\"source\"}");
}

void schema_put_envelope(const struct schema_source *s, struct buf *out)
{
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    put_row(s, "before", out);
    put_row(s, "after", out);
    put_source(out);
    buf_put_cstr(out, ",{\"type\":\"struct\",\"fields\":[");
    put_fields(transaction_fields, out);
    buf_put_cstr(out, "],\"optional\":true,\"name\":\"event.block\",\"version\":1,"
                      "\"field\":\"transaction\"},");
    put_fields(event_fields, out);
    buf_put_cstr(out, "],\"optional\":false");
    put_name(s, "Envelope", out);
    buf_put_u8(out, '}');
}

/* ---- what is no table's ---------------------------------------------------------------------- */

static void put_struct(const char *name, const struct field *fields, struct buf *out)
{
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    put_fields(fields, out);
    buf_printf(out, "],\"optional\":false,\"name\":\"%s\",\"version\":1", name);
}

static void put_message(enum binary_mode mode, struct buf *out)
{
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    put_fields(message_fields, out);
    buf_put_u8(out, ',');
    put_source(out);
    buf_put_cstr(out, ",{\"type\":\"struct\",\"fields\":[");
    put_fields(prefix_fields, out);
    buf_printf(out,
               ",{\"type\":\"%s\",\"optional\":true,\"field\":\"content\"}],\"optional\":false,"
               "\"name\":\"" POSTGRESQL "Message\",\"version\":1,\"field\":\"message\"}],"
               "\"optional\":false,\"name\":\"" POSTGRESQL "MessageValue\",\"version\":1",
               bytes_type(mode));
}

static void put_transaction(struct buf *out)
{
    buf_put_cstr(out, "{\"type\":\"struct\",\"fields\":[");
    put_fields(status_fields, out);
    buf_put_cstr(out, ",{\"type\":\"array\",\"items\":{\"type\":\"struct\",\"fields\":[");
    put_fields(count_fields, out);
    buf_put_cstr(out, "],\"optional\":true,\"name\":\"event.collection\",\"version\":1},"
                      "\"optional\":true,\"field\":\"data_collections\"},");
    put_fields(time_fields, out);
    buf_put_cstr(out, "],\"optional\":false,\"name\":\"" COMMON
                      "TransactionMetadataValue\",\"version\":1");
}

void schema_put(enum schema_of what, enum binary_mode mode, struct buf *out)
{
    switch (what) {
    case SCHEMA_MESSAGE_KEY:
        put_struct(POSTGRESQL "MessageKey", prefix_fields, out);
        break;
    case SCHEMA_MESSAGE:
        put_message(mode, out);
        break;
    case SCHEMA_TRANSACTION_KEY:
        put_struct(COMMON "TransactionMetadataKey", id_fields, out);
        break;
    case SCHEMA_TRANSACTION:
        put_transaction(out);
        break;
    case SCHEMA_HEARTBEAT_KEY:
        put_struct(COMMON "ServerNameKey", server_name_fields, out);
        break;
    case SCHEMA_HEARTBEAT:
        put_struct(COMMON "Heartbeat", time_fields, out);
        break;
    }
    buf_put_u8(out, '}');
}
