/*
 * What went wrong with first rows or a subset, in the words that clients of
 * the shape API know.
 */
#ifndef SNAPSHOT_FAILURE_H
#define SNAPSHOT_FAILURE_H

#include "base/err.h"

/* Puts them in front of Postgres's; code and SQLSTATE stay. No harm done twice. */
void failure_name(struct err *err);

#endif
