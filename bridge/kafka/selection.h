/*
 * Which tables are published: "*", or patterns schema.table with commas in between, in which each *
 * stands for any characters.
 *
 *     public.*, sales.order_*
 *
 * Tables of Postgres's own schemas and of schema tombolo are never chosen.
 */
#ifndef KAFKA_SELECTION_H
#define KAFKA_SELECTION_H

#include "base/err.h"
#include "base/slice.h"

/* ERR_CONFIG for what is no list of patterns. */
bool selection_check(const char *patterns, struct err *err) MUST_CHECK;
bool selection_has(const char *patterns, struct slice nspname, struct slice relname);

#endif
