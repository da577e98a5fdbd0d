#include "kafka/values.h"

#include "change/json.h"
#include "kafka/base64.h"
#include "kafka/decimal.h"
#include "kafka/hstore.h"
#include "kafka/temporal.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_DIMENSIONS 6 /* Postgres's MAXDIM */
#define MONEY_SCALE 2    /* money.fraction.digits */

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

static bool put_number(const struct value_form *form, struct slice text, struct buf *out,
                       struct err *err)
{
    (void)form;
    (void)err;
    buf_put_slice(out, text);
    return true;
}

/* NaN and the infinities are strings: JSON has no such numbers. */
static bool put_float(const struct value_form *form, struct slice text, struct buf *out,
                      struct err *err)
{
    bool is_number = text.len && text.ptr[text.len - 1] >= '0' && text.ptr[text.len - 1] <= '9';

    return is_number ? put_number(form, text, out, err) : put_text(form, text, out, err);
}

/* ---- decimals -------------------------------------------------------------------------------- */

static bool put_unscaled(struct slice text, int scale, struct buf *out, struct err *err)
{
    struct buf bytes;

    buf_init(&bytes, BUF_NO_LIMIT);
    bool ok = decimal_put_unscaled(text, scale, &bytes) && !bytes.failed;
    if (ok) {
        buf_put_u8(out, '"');
        base64_put(out, buf_slice(&bytes));
        buf_put_u8(out, '"');
    }
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

/* The shortest digits that are the double nearest to the text. */
static bool put_double(const struct value_form *form, struct slice text, struct buf *out,
                       struct err *err)
{
    struct buf copy;
    char digits[32];
    int precision = 15;

    buf_init(&copy, BUF_NO_LIMIT);
    buf_put_slice(&copy, text);
    double d = strtod(buf_cstr(&copy), NULL);
    do
        snprintf(digits, sizeof(digits), "%.*g", precision, d);
    while (strtod(digits, NULL) != d && ++precision <= 17);
    buf_release(&copy);
    if (text.len && (text.ptr[text.len - 1] < '0' || text.ptr[text.len - 1] > '9'))
        return put_text(form, text, out, err);
    return put_float(form, slice_of(digits[0] == 'i' ? "Infinity" : digits), out, err);
}

/* Money's text has the signs of the server's lc_monetary around and between its digits. */
static bool money_to_number(struct slice text, char *number, size_t size)
{
    size_t n = 0, digits = 0;

    for (size_t i = 0; i < text.len; i++)
        digits += text.ptr[i] >= '0' && text.ptr[i] <= '9';
    if (digits <= MONEY_SCALE || digits + 3 > size)
        return false;
    if (memchr(text.ptr, '-', text.len) || memchr(text.ptr, '(', text.len))
        number[n++] = '-';
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            continue;
        if (digits-- == MONEY_SCALE)
            number[n++] = '.';
        number[n++] = text.ptr[i];
    }
    number[n] = '\0';
    return true;
}

static bool put_money_as(value_putter *put, const struct value_form *form, struct slice text,
                         struct buf *out, struct err *err)
{
    char number[32];

    if (!money_to_number(text, number, sizeof(number)))
        return err_set(err, ERR_UNSUPPORTED, "money without two decimals: \"%.*s\"",
                       SLICE_ARG(text));
    return put(form, slice_of(number), out, err);
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

/* ---- bytes ----------------------------------------------------------------------------------- */

static bool put_base64(const struct value_form *form, struct slice bytes, struct buf *out,
                       struct err *err)
{
    (void)form;
    (void)err;
    buf_put_u8(out, '"');
    base64_put(out, bytes);
    buf_put_u8(out, '"');
    return true;
}

static bool put_base64_url_safe(const struct value_form *form, struct slice bytes, struct buf *out,
                                struct err *err)
{
    (void)form;
    (void)err;
    buf_put_u8(out, '"');
    base64_put_url_safe(out, bytes);
    buf_put_u8(out, '"');
    return true;
}

static bool put_hex(const struct value_form *form, struct slice bytes, struct buf *out,
                    struct err *err)
{
    (void)form;
    (void)err;
    buf_put_u8(out, '"');
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%02x", (unsigned char)bytes.ptr[i]);
    buf_put_u8(out, '"');
    return true;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind "\x". */
static bool is_hex(struct slice text)
{
    if (text.len < 2 || text.len % 2 || memcmp(text.ptr, "\\x", 2) != 0)
        return false;
    for (size_t i = 2; i < text.len; i++)
        if (nibble(text.ptr[i]) < 0)
            return false;
    return true;
}

/* The bytes of a text in hex, through the putter of the form's placeholders, which takes bytes. */
static bool put_bytea(const struct value_form *form, struct slice text, struct buf *out,
                      struct err *err)
{
    struct buf bytes;

    if (!is_hex(text))
        return err_set(err, ERR_PROTOCOL, "a bytea that is not in hex");
    buf_init(&bytes, BUF_NO_LIMIT);
    for (size_t i = 2; i < text.len; i += 2)
        buf_put_u8(&bytes, (uint8_t)(nibble(text.ptr[i]) << 4 | nibble(text.ptr[i + 1])));
    bool ok = form->missing(form, buf_slice(&bytes), out, err);
    buf_release(&bytes);
    return ok;
}

static value_putter *const bytes_putters[] = {[BINARY_BYTES] = put_base64,
                                              [BINARY_BASE64] = put_base64,
                                              [BINARY_BASE64_URL_SAFE] = put_base64_url_safe,
                                              [BINARY_HEX] = put_hex};

void value_put_bytes(enum binary_mode mode, struct slice bytes, struct buf *out)
{
    struct err ignored;

    bytes_putters[mode](NULL, bytes, out, &ignored);
}

/* The last bit of the text is the lowest of the first byte. */
static bool put_bits(const struct value_form *form, struct slice text, struct buf *out,
                     struct err *err)
{
    struct buf bytes;
    unsigned byte = 0;

    buf_init(&bytes, BUF_NO_LIMIT);
    for (size_t i = 0; i < text.len; i++) {
        byte |= (unsigned)(text.ptr[text.len - 1 - i] == '1') << (i % 8);
        if (i % 8 == 7 || i + 1 == text.len) {
            buf_put_u8(&bytes, (uint8_t)byte);
            byte = 0;
        }
    }
    put_base64(form, buf_slice(&bytes), out, err);
    buf_release(&bytes);
    return true;
}

/* ---- hstore ---------------------------------------------------------------------------------- */

static bool put_hstore(const struct value_form *form, struct slice text, struct buf *out,
                       struct err *err)
{
    (void)form;
    return hstore_put_object(text, out, err);
}

static bool put_hstore_text(const struct value_form *form, struct slice text, struct buf *out,
                            struct err *err)
{
    struct buf object;

    (void)form;
    buf_init(&object, BUF_NO_LIMIT);
    bool ok = hstore_put_object(text, &object, err);
    if (ok)
        json_put_string(out, buf_slice(&object));
    buf_release(&object);
    return ok;
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

/* ---- points ---------------------------------------------------------------------------------- */

/* A point in well-known binary: little-endian, type 1, two doubles. */
static void put_wkb(struct buf *out, const double xy[2])
{
    uint8_t wkb[21] = {1, 1};
    uint64_t bits;

    for (size_t k = 0; k < 2; k++) {
        memcpy(&bits, &xy[k], sizeof(bits));
        for (size_t i = 0; i < 8; i++)
            wkb[5 + k * 8 + i] = (uint8_t)(bits >> (i * 8));
    }
    base64_put(out, (struct slice){(const char *)wkb, sizeof(wkb)});
}

/* "(1.5,2)" */
static bool put_point(const struct value_form *form, struct slice text, struct buf *out,
                      struct err *err)
{
    const char *comma = memchr(text.ptr, ',', text.len);
    char *copy = xcalloc(text.len + 1, 1);

    if (!comma || text.len < 5 || text.ptr[0] != '(') {
        free(copy);
        return err_set(err, ERR_PROTOCOL, "not a point: \"%.*s\"", SLICE_ARG(text));
    }
    memcpy(copy, text.ptr, text.len);
    size_t at = (size_t)(comma - text.ptr);
    const double xy[2] = {strtod(copy + 1, NULL), strtod(copy + at + 1, NULL)};
    free(copy);
    buf_put_cstr(out, "{\"x\":");
    put_float(form, (struct slice){text.ptr + 1, at - 1}, out, err);
    buf_put_cstr(out, ",\"y\":");
    put_float(form, (struct slice){comma + 1, text.len - at - 2}, out, err);
    buf_put_cstr(out, ",\"wkb\":\"");
    put_wkb(out, xy);
    buf_put_cstr(out, "\",\"srid\":null}");
    return true;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

struct array_reader {
    const struct value_form *form;
    const char *p, *end;
    struct buf element; /* without its quotes and backslashes */
    struct buf *out;
};

static bool malformed_array(struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "malformed array");
}

static bool read_element(struct array_reader *r, struct err *err)
{
    bool quoted = r->p < r->end && *r->p == '"';

    buf_clear(&r->element);
    for (r->p += quoted; r->p < r->end; r->p++) {
        if (quoted ? *r->p == '"' : *r->p == r->form->delimiter || *r->p == '}')
            break;
        if (*r->p == '\\' && ++r->p == r->end)
            break;
        buf_put_u8(&r->element, (uint8_t)*r->p);
    }
    if (r->p == r->end)
        return malformed_array(err);
    r->p += quoted;
    struct slice text = buf_slice(&r->element);
    if (!quoted && slice_is(text, "NULL")) {
        buf_put_cstr(r->out, "null");
        return true;
    }
    return r->form->put(r->form, text, r->out, err);
}

static bool read_array(struct array_reader *r, int depth, struct err *err);

static bool read_item(struct array_reader *r, int depth, struct err *err)
{
    if (r->p < r->end && *r->p == '{')
        return read_array(r, depth + 1, err);
    return read_element(r, err);
}

static bool read_array(struct array_reader *r, int depth, struct err *err)
{
    if (depth >= MAX_DIMENSIONS || r->p == r->end || *r->p++ != '{')
        return malformed_array(err);
    buf_put_u8(r->out, '[');
    if (r->p < r->end && *r->p == '}') {
        r->p++;
        buf_put_u8(r->out, ']');
        return true;
    }
    while (read_item(r, depth, err)) {
        if (r->p == r->end)
            return malformed_array(err);
        char c = *r->p++;
        buf_put_u8(r->out, c == '}' ? ']' : ',');
        if (c == '}')
            return true;
        if (c != r->form->delimiter)
            return malformed_array(err);
    }
    return false;
}

/* Bounds that do not begin with 1 stand in front: "[0:1]={a,b}". */
static bool put_array(const struct value_form *form, struct slice text, struct buf *out,
                      struct err *err)
{
    const char *end = text.ptr + text.len;
    const char *bounds = text.len && *text.ptr == '[' ? memchr(text.ptr, '=', text.len) : NULL;
    struct array_reader r = {form, bounds ? bounds + 1 : text.ptr, end, {0}, out};

    buf_init(&r.element, BUF_NO_LIMIT);
    bool ok = read_array(&r, 0, err);
    if (ok && r.p != end)
        ok = malformed_array(err);
    buf_release(&r.element);
    return ok;
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

static bool put_missing_decimal(const struct value_form *form, struct slice bytes, struct buf *out,
                                struct err *err)
{
    buf_put_cstr(out, "{\"scale\":0,\"value\":");
    put_base64(form, bytes, out, err);
    buf_put_u8(out, '}');
    return true;
}

static bool is_json_number(value_putter *put)
{
    static value_putter *const numbers[] = {put_number,    put_float,   put_double,
                                            put_date,      put_time,    put_money_double,
                                            put_timestamp, put_interval};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (numbers[i] == put)
            return true;
    return false;
}

/* ---- which form ------------------------------------------------------------------------------ */

/* Each type and its putters by mode, the first for those that the modes are not about. */
enum mode_kind { MODE_NONE, MODE_DECIMAL, MODE_INTERVAL };

static const struct {
    uint32_t typid;
    enum mode_kind mode;
    value_putter *put[3];
} types[] = {
    {16, MODE_NONE, {put_bool}}, /* bool */
    {17, MODE_NONE, {put_bytea}},
    {20, MODE_NONE, {put_number}}, /* int8 */
    {21, MODE_NONE, {put_number}}, /* int2 */
    {23, MODE_NONE, {put_number}}, /* int4 */
    {26, MODE_NONE, {put_number}}, /* oid */
    {600, MODE_NONE, {put_point}},
    {700, MODE_NONE, {put_float}}, /* float4 */
    {701, MODE_NONE, {put_float}}, /* float8 */
    {790, MODE_DECIMAL, {put_money, put_money_text, put_money_double}},
    {1082, MODE_NONE, {put_date}},
    {1083, MODE_NONE, {put_time}},
    {1114, MODE_NONE, {put_timestamp}},
    {1184, MODE_NONE, {put_timestamptz}},
    {1186, MODE_INTERVAL, {put_interval, put_interval_text}},
    {1266, MODE_NONE, {put_timetz}},
    {1560, MODE_NONE, {put_bits}}, /* bit */
    {1562, MODE_NONE, {put_bits}}, /* varbit */
    {1700, MODE_DECIMAL, {put_decimal, put_text, put_double}},
};

static value_putter *putter_of(uint32_t typid, const struct value_modes *modes)
{
    const size_t chosen[] = {[MODE_NONE] = 0,
                             [MODE_DECIMAL] = (size_t)modes->decimal,
                             [MODE_INTERVAL] = (size_t)modes->interval};

    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        if (types[i].typid == typid)
            return types[i].put[chosen[types[i].mode]];
    return put_text;
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
    if (mode == TIME_ADAPTIVE_TIME_MICROSECONDS && typid == 1083)
        return 1;
    return milliseconds ? 1000 : 1;
}

bool value_is_hstore(const struct table_column *column)
{
    return slice_is(column->elemtypid ? column->elemtypname : column->basetypname, "hstore");
}

struct value_form value_form_of(const struct table_column *column, const struct value_modes *modes)
{
    uint32_t typid = column->elemtypid ? column->elemtypid : column->basetypid;
    int32_t typmod = column->basetypmod;
    struct value_form form = {.put = putter_of(typid, modes),
                              .missing = put_text,
                              .scale = typid == 790 ? MONEY_SCALE : numeric_scale(typmod),
                              .unit_us = unit_of(typid, typmod, modes->time),
                              .is_array = column->elemtypid != 0,
                              .delimiter = typid == 603 ? ';' : ','}; /* box */

    if (form.put == put_decimal && typmod < 0)
        form.put = put_variable_decimal;
    if (form.put == put_bits && typid == 1560 && typmod == 1)
        form.put = put_bool;
    if (value_is_hstore(column))
        form.put = modes->hstore == HSTORE_MAP ? put_hstore : put_hstore_text;
    if (form.put == put_hstore)
        form.missing = put_missing_hstore;
    if (form.put == put_bits || form.put == put_decimal || form.put == put_money)
        form.missing = put_base64;
    if (form.put == put_variable_decimal)
        form.missing = put_missing_decimal;
    if (is_json_number(form.put))
        form.missing = form.is_array ? put_missing_numbers : put_null;
    if (form.put == put_bool || form.put == put_point)
        form.missing = put_null;
    if (form.put == put_bytea)
        form.missing = bytes_putters[modes->binary];
    return form;
}

bool value_put(const struct value_form *form, struct slice text, struct buf *out, struct err *err)
{
    return form->is_array ? put_array(form, text, out, err) : form->put(form, text, out, err);
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
