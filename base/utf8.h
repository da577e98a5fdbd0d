/*
 * Whether bytes are text: UTF-8, as Postgres takes it.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

/* Well-formed: no overlong forms of one byte, nothing cut short. */
bool utf8_is_valid(struct slice s);
/* The same, without a NUL, which no text of Postgres's can hold. */
bool utf8_is_text(struct slice s);

#endif
