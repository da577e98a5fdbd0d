/*
 * What shapes have in common that differ in their constants alone: the version
 * of the table, the columns, the clause's tree. Ten thousand shapes
 * `tenant = 'X'` have one form, and each no more than its X. Inside the room.
 *
 * A form is immutable once made; there is one of each in the process, shared by
 * reference count. Any thread.
 */
#ifndef SHAPES_FORM_H
#define SHAPES_FORM_H

#include "base/hash.h"
#include "shapes/where.h"

struct form {
    unsigned refs;                 /* under the lock of all forms */
    struct hash128 is;             /* of its text */
    struct table *table;           /* a reference */
    const struct where_tree *tree; /* NULL: no clause */
    const uint16_t *columns;
};

/* What a form is made of; all of it borrowed. */
struct form_parts {
    struct slice text; /* equal for equal forms, but for the version of the table */
    struct table *table;
    const struct where *where; /* its constants are not looked at; NULL: no clause */
    const uint16_t *columns;
    uint16_t ncolumns;
};

/* The form, made if there is none yet, referenced. */
struct form *form_get(const struct form_parts *parts);
void form_unref(struct form *form);

/* The hash of a text under the key of this process: none can be made that is taken for another. */
struct hash128 form_hash(struct slice text);

#endif
