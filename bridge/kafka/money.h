/*
 * Money's text as that of a numeric. It has the signs of the server's lc_monetary around and
 * between its digits; two of them are decimals, as Debezium's money.fraction.digits says.
 *
 *     -$1,234.50, ($1,234.50), -1.234,50 EUR  ->  -1234.50
 */
#ifndef KAFKA_MONEY_H
#define KAFKA_MONEY_H

#include "base/err.h"
#include "base/slice.h"

enum { MONEY_SCALE = 2, MONEY_TEXT_SIZE = 32 };

/* ERR_UNSUPPORTED for a text that cannot have two decimals. */
bool money_read(struct slice text, char number[MONEY_TEXT_SIZE], struct err *err) MUST_CHECK;

#endif
