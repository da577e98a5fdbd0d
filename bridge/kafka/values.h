/*
 * One value of Postgres's as Kafka Connect's JSON converter writes Debezium's: which form a
 * column has is chosen once, by its type and the handling modes; then texts go through it.
 *
 *     boolean, bit(1)          true, false
 *     integers, oid            42
 *     real, double precision   1.5, "NaN", "Infinity"
 *     numeric(p,s), money      precise: base64 of the unscaled integer; string; double
 *     numeric                  precise: {"scale":2,"value":base64}; string; double
 *     date                     days since 1970
 *     time, timestamp          micro- or milliseconds: time.precision.mode
 *     timetz, timestamptz      text in GMT
 *     interval                 about so many microseconds, or "P1Y2M3DT4H5M6.78S"
 *     bytea                    base64 or hex: binary.handling.mode
 *     hstore                   a text with a JSON object in it, or the object
 *     bit(n), varbit           base64 of the bits, lowest byte first
 *     point                    {"x":1.5,"y":2.0,"wkb":base64,"srid":null}
 *     arrays                   JSON arrays of their elements' form
 *     all others               Postgres's text
 *
 * Debezium leaves out columns of types that it does not know; here they are sent as text.
 */
#ifndef KAFKA_VALUES_H
#define KAFKA_VALUES_H

#include "base/buf.h"
#include "base/err.h"
#include "change/table.h"
#include "kafka/bytes.h"

/* decimal.handling.mode, time.precision.mode, interval.handling.mode, hstore.handling.mode:
 * Debezium's names, the first of each is its default. */
enum decimal_mode { DECIMAL_PRECISE, DECIMAL_STRING, DECIMAL_DOUBLE };
enum time_mode { TIME_ADAPTIVE, TIME_ADAPTIVE_TIME_MICROSECONDS, TIME_CONNECT };
enum interval_mode { INTERVAL_NUMERIC, INTERVAL_STRING };
enum hstore_mode { HSTORE_JSON, HSTORE_MAP };

struct value_modes {
    enum decimal_mode decimal;
    enum time_mode time;
    enum binary_mode binary;
    enum interval_mode interval;
    enum hstore_mode hstore;
};

struct value_form;

/* Writes a text that is not NULL. */
typedef bool value_putter(const struct value_form *form, struct slice text, struct buf *out,
                          struct err *err);

struct value_form {
    value_putter *put;     /* of an element where `is_array` */
    value_putter *missing; /* writes the placeholder of a value that the stream left out */
    int scale;             /* of a decimal */
    int64_t unit_us;       /* of a time */
    enum binary_mode binary;
    bool is_array;
    char delimiter; /* between an array's elements */
};

/* hstore is an extension's: it has no oid of its own, but its name. */
bool value_is_hstore(const struct table_column *column);
/* The form of a column's values. */
struct value_form value_form_of(const struct table_column *column, const struct value_modes *modes);
/* ERR_UNSUPPORTED where the form cannot say the value: NaN as a precise decimal. */
bool value_put(const struct value_form *form, struct slice text, struct buf *out,
               struct err *err) MUST_CHECK;
/* `placeholder` in the value's form: bytes for bytes, an array of it for an array, its bytes as the
 * elements of an array of numbers; null where the form has no place for it. */
bool value_put_missing(const struct value_form *form, struct slice placeholder, struct buf *out,
                       struct err *err) MUST_CHECK;

#endif
