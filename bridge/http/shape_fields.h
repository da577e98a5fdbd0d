/*
 * The parameters of a request to /v1/shape by name, wherever they were given:
 * in the query string, or in a POST's JSON body, which overrides it; and what
 * is wrong with them. Inside the endpoint only; shape_params.c says which there are.
 *
 * A body may have its subset under "subset"; without that key, the keys that a
 * subset can have (where, order_by, limit, offset, params) are the subset's,
 * and the others the shape's. An empty text counts as absent.
 *
 * What says which rows may be seen (shape, table, where, params, columns, queryable_columns) must
 * not differ between the two: a proxy that allows requests by their query string would be evaded by
 * a body.
 */
#ifndef HTTP_SHAPE_FIELDS_H
#define HTTP_SHAPE_FIELDS_H

#include "http/request.h"
#include "shapes/where.h"

#include <yyjson.h>

#define SHAPE_MAX_PROBLEMS 16

/* One a field. */
struct shape_problem {
    bool in_subset;
    const char *field;
    struct slice text;
};

struct shape_fields {
    struct arena *arena;
    const struct http_query *query;
    yyjson_doc *doc;    /* of the body, or NULL; freed by shape_fields_release() */
    yyjson_val *body;   /* the shape's part of it; NULL: none */
    yyjson_val *subset; /* the subset's; NULL: none */
    bool flat;          /* they are one object */
    struct shape_problem problems[SHAPE_MAX_PROBLEMS];
    size_t nproblems;
};

/* Where a field is to be looked for. */
enum shape_part { PART_SHAPE, PART_SUBSET };

/* Parses the body, if there is one. On failure *error is the whole answer's JSON, in the arena, and
 * there is nothing to release. */
bool shape_fields_read(const struct http_request *request, struct arena *arena,
                       struct shape_fields *out, struct slice *error) MUST_CHECK;
void shape_fields_release(struct shape_fields *f);

/* Whether any field of a subset was given. */
bool shape_fields_has_subset(const struct shape_fields *f);

/* Notes what is wrong with a field, the first thing only. Always false. */
bool shape_fields_wrong(struct shape_fields *f, enum shape_part part, const char *field,
                        const char *text);

/* The readers note a problem when the field is there but is none of what they read. */

/* A text, or {NULL, 0} when absent. */
struct slice shape_fields_text(struct shape_fields *f, enum shape_part part, const char *field);
/* Anything that is given but "false" is true. */
bool shape_fields_flag(struct shape_fields *f, const char *field, bool *given);
/* "true", "false", "1", "0". */
bool shape_fields_bool(struct shape_fields *f, const char *field);
/* A whole number; *given says whether there is one. */
int64_t shape_fields_int(struct shape_fields *f, enum shape_part part, const char *field,
                         bool *given);
/* A comma list of names, quoted where it was a JSON list; checked. {NULL, 0} when absent. */
struct slice shape_fields_names(struct shape_fields *f, const char *field);
/* The parameters of a clause: a map from 1..n to texts; of a subset also as a JSON text. */
struct where_params shape_fields_params(struct shape_fields *f, enum shape_part part);

#endif
