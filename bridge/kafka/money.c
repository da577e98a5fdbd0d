#include "kafka/money.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool money_read(struct slice text, char number[MONEY_TEXT_SIZE], struct err *err)
{
    size_t n = 0, digits = 0;

    for (size_t i = 0; i < text.len; i++)
        digits += is_digit(text.ptr[i]);
    if (digits <= MONEY_SCALE || digits + sizeof("-.") > MONEY_TEXT_SIZE)
        return err_set(err, ERR_UNSUPPORTED, "money without two decimals: \"%.*s\"",
                       SLICE_ARG(text));
    if (memchr(text.ptr, '-', text.len) || memchr(text.ptr, '(', text.len))
        number[n++] = '-';
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i]))
            continue;
        if (digits-- == MONEY_SCALE)
            number[n++] = '.';
        number[n++] = text.ptr[i];
    }
    number[n] = '\0';
    return true;
}
