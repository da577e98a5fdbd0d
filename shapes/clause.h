/*
 * The text of a where clause, or of an order, parsed by libpg_query: the one place that knows it.
 *
 * libpg_query's tree comes as JSON, the same in its majors 15 to 17 as far as
 * it is used here. It lives until clause_release() and is never kept.
 */
#ifndef SHAPES_CLAUSE_H
#define SHAPES_CLAUSE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

#include <yyjson.h>

#define CLAUSE_PREFIX "SELECT 1 WHERE "
#define CLAUSE_PREFIX_LEN ((int)sizeof(CLAUSE_PREFIX) - 1)

struct clause {
    char *sql; /* prefix and clause; locations count from its start */
    yyjson_doc *doc;
    yyjson_val *where; /* the expression */
    yyjson_val *order; /* or the list of SortBy nodes */
};

/* On failure there is nothing to release. Refuses what is nested so deeply that a reader of the
 * tree could run out of stack. */
bool clause_parse(struct slice text, struct clause *out, struct err *err) MUST_CHECK;
/* The same for the list behind ORDER BY. Its errors count places from the start of clause->sql. */
bool clause_parse_order(struct slice text, struct clause *out, struct err *err) MUST_CHECK;
void clause_release(struct clause *clause);

/* A node is an object with one member: its name and its fields. */
const char *node_name(yyjson_val *node);
yyjson_val *node_fields(yyjson_val *node);
/* Where it stands in clause->sql; the prefix's end when it does not say. */
int node_location(yyjson_val *fields);
/* The string of a String node, or NULL. */
const char *node_string(yyjson_val *node);
/* A field that is a string itself; "" when it is not there. */
const char *node_field_str(yyjson_val *fields, const char *name);
/* The value of an A_Const with `ival`; false when it is written in a way that is not read here. */
bool clause_int_const(const struct clause *clause, yyjson_val *fields, int64_t *out) MUST_CHECK;

/* ERR_INPUT, "At location L: ...", L counted in the clause; returns false. */
bool clause_error(struct err *err, int location, const char *fmt, ...) PRINTF(3, 4);

#endif
