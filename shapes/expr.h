/*
 * A typed where clause as a tree: every overload is chosen, every cast is a
 * node, every literal is a value. Built by typing.c, evaluated by eval.c,
 * written back as SQL by expr_sql.c. Lives in the clause's arena.
 *
 * When it is complete its constants are taken out of it (constants.c): what is
 * left has places for them, so that clauses which differ in nothing else can
 * share it, and does not change any more.
 */
#ifndef SHAPES_EXPR_H
#define SHAPES_EXPR_H

#include "change/change.h"
#include "shapes/array.h"
#include "shapes/datum.h"
#include "shapes/pgtype.h"

enum expr_kind {
    EXPR_CONST,
    EXPR_PLACE, /* of a constant that was taken out */
    EXPR_COLUMN,
    EXPR_CALL,    /* operator, function or cast: fn(args); strict, unless it takes nulls */
    EXPR_COMPARE, /* cmp(args[0], args[1]) against op */
    EXPR_COLLATE, /* args[0] COLLATE "C" */
    EXPR_AND,
    EXPR_OR,
    EXPR_NOT,
    EXPR_BOOL_TEST, /* IS [NOT] TRUE, FALSE, UNKNOWN */
    EXPR_NULL_TEST, /* IS [NOT] NULL */
    EXPR_DISTINCT,  /* IS [NOT] DISTINCT FROM: args[0] compares args of it for equality */
    EXPR_COALESCE,
    EXPR_GREATEST, /* LEAST too */
    EXPR_ANY,      /* args[0] op ANY or ALL (args[1]), each element by `each` */
    EXPR_ARRAY,    /* ARRAY[...] */
    EXPR_INDEX,    /* args[0][args[1]]... */
    EXPR_SLICE,    /* args[0][args[1]:args[2]]...; an argument may be NULL: bound left out */
};

enum cmp_op { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE };

/* What is known of the collation that a text expression compares by. */
enum collation {
    COLLATION_NONE,     /* not text */
    COLLATION_DEFAULT,  /* the database's own: deterministic, its order unknown here */
    COLLATION_C,        /* by bytes */
    COLLATION_BYTES_EQ, /* another deterministic one: equality is by bytes */
    COLLATION_LOOSE,    /* nondeterministic */
    COLLATION_CONFLICT, /* columns of different ones: Postgres does not compare by any */
    COLLATION_EXPLICIT, /* COLLATE "C" was written */
};

struct expr;

/* How a function is called. `expr` is the call's node, for its types. */
struct call {
    const struct expr *expr;
    struct arena *arena;
    struct err *err;
};

/* Arguments are not null unless the node takes nulls; *out comes zeroed. */
typedef bool func_cb(struct call *call, const struct datum *args, struct datum *out);

enum call_style { CALL_FUNCTION, CALL_BINARY, CALL_PREFIX, CALL_CAST };

/* Constants of an ANY, sorted for a search: a value of its own beside the array. */
struct const_set {
    const struct datum *sorted;
    size_t n;
    bool has_null;
};

struct expr {
    enum expr_kind kind;
    uint8_t type; /* as in pgtype.h */
    uint8_t collation;
    uint8_t op;           /* COMPARE, ANY: enum cmp_op. GREATEST: CMP_LT for LEAST */
    bool negated;         /* NOT of a test; IS NOT DISTINCT FROM */
    bool all;             /* ANY: ALL */
    bool takes_nulls;     /* CALL */
    bool had_column;      /* CONST: folded from what looked at a column */
    uint8_t style;        /* CALL */
    bool by_server;       /* only Postgres can compute it; not in the clause of a shape */
    int16_t column;       /* COLUMN: the table's; BOOL_TEST: the tri it asks for */
    int location;         /* in the text given to the parser, prefix included */
    uint32_t collated_by; /* a column's collation other than the database's own, or 0 */
    union {
        uint32_t param; /* CONST of unknown type: $param, or 0 */
        uint32_t place; /* PLACE: which constant. ANY: 1 + that of its set, or 0: it has none */
    };
    uint32_t nargs;
    union {
        struct datum value; /* CONST */
        struct {            /* all others */
            struct expr **args;
            const char *name; /* CALL, ANY of a call: the operator's or function's */
            union {
                func_cb *fn;       /* CALL */
                datum_cmp *cmp;    /* COMPARE, GREATEST */
                struct expr *each; /* ANY: the operator on (args[0], one element) */
            };
        };
    };
};

/* What an expression is evaluated for, and with. */
struct eval {
    const struct table *table;
    const struct datum *constants; /* by place */
    const struct tuple *row;       /* NULL for an expression without columns */
    struct arena *arena;
    struct err *err;
};

bool expr_eval(struct eval *ev, const struct expr *expr, struct datum *out) MUST_CHECK;

/* The SQL that means the same with search_path = pg_catalog. `constants` NULL: with $1 and so on
 * for them, typed, which is equal for expressions that are equal but for these. */
void expr_put_sql(const struct expr *expr, const struct table *table, const struct datum *constants,
                  struct buf *out);
/* What stands in the places, as literals. */
void expr_put_constants(const struct expr *expr, const struct datum *constants, struct buf *out);

#endif
