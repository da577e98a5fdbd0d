#include "kafka/floats.h"

#include "change/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool ends_in_digit(struct slice text)
{
    return text.len && text.ptr[text.len - 1] >= '0' && text.ptr[text.len - 1] <= '9';
}

void floats_put(struct slice text, struct buf *out)
{
    if (ends_in_digit(text))
        buf_put_slice(out, text);
    else
        json_put_string(out, text);
}

void floats_put_nearest(struct slice text, struct buf *out)
{
    struct buf copy;
    char digits[32];
    int precision = 15;

    if (!ends_in_digit(text)) {
        json_put_string(out, text);
        return;
    }
    buf_init(&copy, BUF_NO_LIMIT);
    buf_put_slice(&copy, text);
    double d = strtod(buf_cstr(&copy), NULL);
    do
        snprintf(digits, sizeof(digits), "%.*g", precision, d);
    while (strtod(digits, NULL) != d && ++precision <= 17);
    buf_release(&copy);
    floats_put(slice_of(!isinf(d) ? digits : d < 0 ? "-Infinity" : "Infinity"), out);
}
