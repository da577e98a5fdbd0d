/*
 * A mutation as SQL: which statements it takes under the rules of its table, and their parameters.
 * Pure: no connection. Values are never in the text, names come from the catalogue, parameters have
 * their column's type, and every operator and function is written with its schema, so that the
 * session's search_path is the users' own business (their triggers run under it).
 */
#ifndef WRITE_CONFLICT_H
#define WRITE_CONFLICT_H

#include "write/rules.h"

/* code, name in answers and in tombolo.rejections */
#define WRITE_CODE_MAP(X)                                                                          \
    X(WRITE_NOT_ALLOWED, "not_allowed") /* the rules have no such table, operation or column */    \
    X(WRITE_INVALID, "invalid")         /* no such column, a key that is none, a base missing */   \
    X(WRITE_CHECK, "check")             /* the new row is outside of the clause */                 \
    X(WRITE_MISSING, "missing")         /* no such row, or none that may be changed */             \
    X(WRITE_CONFLICTS, "conflict")      /* it has changed meanwhile */                             \
    X(WRITE_REFUSED, "refused")         /* Postgres said no: sqlstate says how */

enum write_code {
#define X(symbol, name) symbol,
    WRITE_CODE_MAP(X)
#undef X
};

const char *write_code_name(enum write_code code);

/* Why a mutation is not applied. */
struct write_refusal {
    enum write_code code;
    struct err err; /* message; the SQLSTATE where Postgres gave one */
};

struct statement {
    struct buf sql;
    const char *const *values; /* NUL-terminated, NULL is null */
    const uint32_t *types;     /* oids */
    int nparams;
};

/* What a mutation takes, in this order; a statement with an empty text is not needed. */
struct plan {
    const struct write_grant *grant;
    const struct write_mutation *mutation;
    /* Rows of `look` and `write` have: the columns that the check uses (`shown`, the table's
     * column each), then a boolean for each column that must not have changed (`same`). A delete's
     * row is the old one, what `write` gives otherwise is the new one and has no booleans. */
    uint16_t *shown, *same;
    size_t nshown, nsame;
    struct statement look;  /* the old row; locked where we are going to update it */
    struct statement write; /* gives the row, or none when there is no such row; or says so by the
                               number of rows alone, where nothing of it is looked at */
};

/* Refuses what the rules do not allow. Everything but the buffers lies in the arena;
 * plan_release() in any case. */
bool plan_make(const struct write_grant *grant, const struct write_mutation *mutation,
               struct arena *arena, struct plan *plan, struct write_refusal *why) MUST_CHECK;
void plan_release(struct plan *plan);
/* A row of `n` parameters from `first` on: "($3, $4)". */
void conflict_put_row(struct buf *sql, size_t first, size_t n);

#endif
