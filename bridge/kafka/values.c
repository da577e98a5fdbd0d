/*
 * Putters, each of them the text of some types in one form, and the table that says which a type
 * has in which mode, with the form of its placeholder. What takes more than a line or two is a
 * codec of its own: temporal, decimal, money, floats, bytes, hstore, point, array.
 */
#include "kafka/values.h"

#include "change/json.h"
#include "kafka/array.h"
#include "kafka/decimal.h"
#include "kafka/floats.h"
#include "kafka/hstore.h"
#include "kafka/money.h"
#include "kafka/point.h"
#include "kafka/temporal.h"

static bool put_text(const struct value_form *form, struct slice text, struct buf *out,
                     struct err *err)
{
    (void)form;
    (void)err;
    json_put_string(out, text);
    return true;
}

static bool put_bool(const struct value_form *form, struct slice text, struct buf *out,
                     struct err *err)
{
    (void)form;
    (void)err;
    buf_put_cstr(out, text.len && (*text.ptr == 't' || *text.ptr == '1') ? "true" : "false");
    return true;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool put_number(const struct value_form *form, struct slice text, struct buf *out,
                       struct err *err)
{
    (void)form;
    (void)err;
    buf_put_slice(out, text);
    return true;
}

static bool put_float(const struct value_form *form, struct slice text, struct buf *out,
                      struct err *err)
{
    (void)form;
    (void)err;
    floats_put(text, out);
    return true;
}

static bool put_double(const struct value_form *form, struct slice text, struct buf *out,
                       struct err *err)
{
    (void)form;
    (void)err;
    floats_put_nearest(text, out);
    return true;
}

static bool put_unscaled(struct slice text, int scale, struct buf *out, struct err *err)
{
    struct buf bytes;

    buf_init(&bytes, BUF_NO_LIMIT);
    bool ok = decimal_put_unscaled(text, scale, &bytes) && !bytes.failed;
    if (ok)
        bytes_put(BINARY_BYTES, buf_slice(&bytes), out);
    buf_release(&bytes);
    if (ok)
        return true;
    err_set(err, ERR_UNSUPPORTED, "the numeric %.*s has no precise form with %d decimals",
            (int)(text.len < 100 ? text.len : 100), text.ptr, scale);
    return err_hint(err, "set decimal.handling.mode to string or double");
}

static bool put_decimal(const struct value_form *form, struct slice text, struct buf *out,
                        struct err *err)
{
    return put_unscaled(text, form->scale, out, err);
}

static bool put_variable_decimal(const struct value_form *form, struct slice text, struct buf *out,
                                 struct err *err)
{
    (void)form;
    buf_printf(out, "{\"scale\":%d,\"value\":", decimal_scale(text));
    if (!put_unscaled(text, decimal_scale(text), out, err))
        return false;
    buf_put_u8(out, '}');
    return true;
}

static bool put_money_as(value_putter *put, const struct value_form *form, struct slice text,
                         struct buf *out, struct err *err)
{
    char number[MONEY_TEXT_SIZE];

    return money_read(text, number, err) && put(form, slice_of(number), out, err);
}

static bool put_money(const struct value_form *form, struct slice text, struct buf *out,
                      struct err *err)
{
    return put_money_as(put_decimal, form, text, out, err);
}

static bool put_money_text(const struct value_form *form, struct slice text, struct buf *out,
                           struct err *err)
{
    return put_money_as(put_text, form, text, out, err);
}

static bool put_money_double(const struct value_form *form, struct slice text, struct buf *out,
                             struct err *err)
{
    return put_money_as(put_double, form, text, out, err);
}

/* ---- dates and times ------------------------------------------------------------------------- */

static bool put_date(const struct value_form *form, struct slice text, struct buf *out,
                     struct err *err)
{
    (void)form;
    return temporal_put_date(text, out, err);
}

static bool put_time(const struct value_form *form, struct slice text, struct buf *out,
                     struct err *err)
{
    return temporal_put_time(text, form->unit_us, out, err);
}

static bool put_timestamp(const struct value_form *form, struct slice text, struct buf *out,
                          struct err *err)
{
    return temporal_put_timestamp(text, form->unit_us, out, err);
}

static bool put_timestamptz(const struct value_form *form, struct slice text, struct buf *out,
                            struct err *err)
{
    (void)form;
    return temporal_put_timestamptz(text, out, err);
}

static bool put_timetz(const struct value_form *form, struct slice text, struct buf *out,
                       struct err *err)
{
    (void)form;
    return temporal_put_timetz(text, out, err);
}

static bool put_interval(const struct value_form *form, struct slice text, struct buf *out,
                         struct err *err)
{
    (void)form;
    return temporal_put_interval(text, out, err);
}

static bool put_interval_text(const struct value_form *form, struct slice text, struct buf *out,
                              struct err *err)
{
    (void)form;
    return temporal_put_interval_text(text, out, err);
}

/* ---- bytes, hstore, points ------------------------------------------------------------------- */

static bool put_bytea(const struct value_form *form, struct slice text, struct buf *out,
                      struct err *err)
{
    struct buf bytes;

    buf_init(&bytes, BUF_NO_LIMIT);
    bool ok = bytes_read_hex(text, &bytes, err);
    if (ok)
        bytes_put(form->binary, buf_slice(&bytes), out);
    buf_release(&bytes);
    return ok;
}

static bool put_bits(const struct value_form *form, struct slice text, struct buf *out,
                     struct err *err)
{
    struct buf bytes;

    (void)form;
    (void)err;
    buf_init(&bytes, BUF_NO_LIMIT);
    bytes_read_bits(text, &bytes);
    bytes_put(BINARY_BYTES, buf_slice(&bytes), out);
    buf_release(&bytes);
    return true;
}

static bool put_hstore(const struct value_form *form, struct slice text, struct buf *out,
                       struct err *err)
{
    (void)form;
    return hstore_put_object(text, out, err);
}

static bool put_hstore_text(const struct value_form *form, struct slice text, struct buf *out,
                            struct err *err)
{
    (void)form;
    return hstore_put_text(text, out, err);
}

static bool put_point(const struct value_form *form, struct slice text, struct buf *out,
                      struct err *err)
{
    (void)form;
    return point_put(text, out, err);
}

/* ---- placeholders ---------------------------------------------------------------------------- */

static bool put_null(const struct value_form *form, struct slice bytes, struct buf *out,
                     struct err *err)
{
    (void)form;
    (void)bytes;
    (void)err;
    buf_put_cstr(out, "null");
    return true;
}

/* The bytes as an array's elements. */
static bool put_missing_numbers(const struct value_form *form, struct slice bytes, struct buf *out,
                                struct err *err)
{
    (void)form;
    (void)err;
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, i ? ",%d" : "%d", bytes.ptr[i]);
    return true;
}

static bool put_missing_bytes(const struct value_form *form, struct slice bytes, struct buf *out,
                              struct err *err)
{
    (void)err;
    bytes_put(form->binary, bytes, out);
    return true;
}

static bool put_missing_base64(const struct value_form *form, struct slice bytes, struct buf *out,
                               struct err *err)
{
    (void)form;
    (void)err;
    bytes_put(BINARY_BYTES, bytes, out);
    return true;
}

static bool put_missing_decimal(const struct value_form *form, struct slice bytes, struct buf *out,
                                struct err *err)
{
    buf_put_cstr(out, "{\"scale\":0,\"value\":");
    put_missing_base64(form, bytes, out, err);
    buf_put_u8(out, '}');
    return true;
}

/* As a map of one key, whose value is the same. */
static bool put_missing_hstore(const struct value_form *form, struct slice text, struct buf *out,
                               struct err *err)
{
    buf_put_u8(out, '{');
    put_text(form, text, out, err);
    buf_put_u8(out, ':');
    put_text(form, text, out, err);
    buf_put_u8(out, '}');
    return true;
}

/* ---- which form ------------------------------------------------------------------------------ */

/* Types of which more is asked than which putter. */
enum oid { OID_BOX = 603, OID_MONEY = 790, OID_TIME = 1083, OID_BIT = 1560, OID_NUMERIC = 1700 };

/* A type's putter, and those of its placeholder: for a value, and among an array's elements. */
struct kind {
    value_putter *put, *missing, *missing_element;
};

#define TEXT(put) put, put_text, put_text
#define NUMBER(put) put, put_null, put_missing_numbers
#define BASE64(put) put, put_missing_base64, put_missing_base64
#define OPAQUE(put) put, put_null, put_null

static const struct kind kind_text = {TEXT(put_text)};
static const struct kind kind_one_bit = {OPAQUE(put_bool)};
static const struct kind kind_variable_decimal = {put_variable_decimal, put_missing_decimal,
                                                  put_missing_decimal};
static const struct kind kind_hstore[] = {
    [HSTORE_JSON] = {TEXT(put_hstore_text)},
    [HSTORE_MAP] = {put_hstore, put_missing_hstore, put_missing_hstore},
};

/* Each type and its kinds by mode, the first for those that the modes are not about. */
enum mode_kind { MODE_NONE, MODE_DECIMAL, MODE_INTERVAL };

static const struct {
    uint32_t typid;
    enum mode_kind mode;
    struct kind kinds[3];
} types[] = {
    {16, MODE_NONE, {{OPAQUE(put_bool)}}},
    {17, MODE_NONE, {{put_bytea, put_missing_bytes, put_missing_bytes}}},
    {20, MODE_NONE, {{NUMBER(put_number)}}}, /* int8 */
    {21, MODE_NONE, {{NUMBER(put_number)}}}, /* int2 */
    {23, MODE_NONE, {{NUMBER(put_number)}}}, /* int4 */
    {26, MODE_NONE, {{NUMBER(put_number)}}}, /* oid */
    {600, MODE_NONE, {{OPAQUE(put_point)}}},
    {700, MODE_NONE, {{NUMBER(put_float)}}}, /* float4 */
    {701, MODE_NONE, {{NUMBER(put_float)}}}, /* float8 */
    {OID_MONEY,
     MODE_DECIMAL,
     {{BASE64(put_money)}, {TEXT(put_money_text)}, {NUMBER(put_money_double)}}},
    {1082, MODE_NONE, {{NUMBER(put_date)}}},
    {OID_TIME, MODE_NONE, {{NUMBER(put_time)}}},
    {1114, MODE_NONE, {{NUMBER(put_timestamp)}}},
    {1184, MODE_NONE, {{TEXT(put_timestamptz)}}},
    {1186, MODE_INTERVAL, {{NUMBER(put_interval)}, {TEXT(put_interval_text)}}},
    {1266, MODE_NONE, {{TEXT(put_timetz)}}},
    {OID_BIT, MODE_NONE, {{BASE64(put_bits)}}},
    {1562, MODE_NONE, {{BASE64(put_bits)}}}, /* varbit */
    {OID_NUMERIC, MODE_DECIMAL, {{BASE64(put_decimal)}, {TEXT(put_text)}, {NUMBER(put_double)}}},
};

bool value_is_hstore(const struct table_column *column)
{
    return slice_is(column->elemtypid ? column->elemtypname : column->basetypname, "hstore");
}

static const struct kind *kind_of(const struct table_column *column, uint32_t typid,
                                  const struct value_modes *modes)
{
    const size_t chosen[] = {[MODE_NONE] = 0,
                             [MODE_DECIMAL] = (size_t)modes->decimal,
                             [MODE_INTERVAL] = (size_t)modes->interval};

    if (value_is_hstore(column))
        return &kind_hstore[modes->hstore];
    if (typid == OID_NUMERIC && column->basetypmod < 0 && modes->decimal == DECIMAL_PRECISE)
        return &kind_variable_decimal;
    if (typid == OID_BIT && column->basetypmod == 1)
        return &kind_one_bit;
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        if (types[i].typid == typid)
            return &types[i].kinds[chosen[types[i].mode]];
    return &kind_text;
}

/* A numeric's typmod holds precision and scale; the scale has 11 bits and a sign. */
static int numeric_scale(int32_t typmod)
{
    return (((typmod - 4) & 0x7ff) ^ 1024) - 1024;
}

static int64_t unit_of(uint32_t typid, int32_t typmod, enum time_mode mode)
{
    bool milliseconds = typmod >= 0 && typmod <= 3;

    if (mode == TIME_CONNECT)
        return 1000;
    if (mode == TIME_ADAPTIVE_TIME_MICROSECONDS && typid == OID_TIME)
        return 1;
    return milliseconds ? 1000 : 1;
}

struct value_form value_form_of(const struct table_column *column, const struct value_modes *modes)
{
    uint32_t typid = column->elemtypid ? column->elemtypid : column->basetypid;
    int32_t typmod = column->basetypmod;
    bool is_array = column->elemtypid != 0;
    const struct kind *kind = kind_of(column, typid, modes);

    return (struct value_form){.put = kind->put,
                               .missing = is_array ? kind->missing_element : kind->missing,
                               .scale = typid == OID_MONEY ? MONEY_SCALE : numeric_scale(typmod),
                               .unit_us = unit_of(typid, typmod, modes->time),
                               .binary = modes->binary,
                               .is_array = is_array,
                               .delimiter = typid == OID_BOX ? ';' : ','};
}

static bool put_element(const void *owner, struct slice element, struct buf *out, struct err *err)
{
    const struct value_form *form = owner;

    return form->put(form, element, out, err);
}

bool value_put(const struct value_form *form, struct slice text, struct buf *out, struct err *err)
{
    const struct array_elements elements = {form->delimiter, put_element, form};

    return form->is_array ? array_put(text, &elements, out, err) : form->put(form, text, out, err);
}

bool value_put_missing(const struct value_form *form, struct slice placeholder, struct buf *out,
                       struct err *err)
{
    if (form->is_array)
        buf_put_u8(out, '[');
    if (!form->missing(form, placeholder, out, err))
        return false;
    if (form->is_array)
        buf_put_u8(out, ']');
    return true;
}
