/*
 * One line on a terminal that says how the first rows come in: how many, and how fast.
 * Nothing where standard error is no terminal.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "replica/replica.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown; /* whether there is anything to show at all */
    bool drawn; /* a line stands on the terminal */
    int64_t started, drawn_at;
    uint64_t rows_before;
};

void progress_init(struct progress *p, bool wanted);
/* Draws at most ten times a second; ends the line when nothing is being fetched any more. */
void progress_update(struct progress *p, const struct replica *r);
/* Takes the line away, so that other text can be written. */
void progress_end(struct progress *p);

#endif
