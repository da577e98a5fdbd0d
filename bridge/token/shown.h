/*
 * A piece of a stranger's text for an error message: cut short, printable ASCII alone.
 */
#ifndef TOKEN_SHOWN_H
#define TOKEN_SHOWN_H

#include "base/slice.h"

struct shown {
    char text[52];
};

/* printf("%s", SHOWN(s)) */
#define SHOWN(s) (shown(s).text)

struct shown shown(struct slice s);

#endif
