/*
 * A shape's where clause: Postgres's SQL, parsed by libpg_query, typed against
 * the catalogue, evaluated on rows in Postgres's text format with Postgres's
 * semantics. What cannot be evaluated exactly as Postgres would is refused
 * when it is compiled, never approximated.
 *
 * The grammar, types, functions and error texts are those of the shape API
 * (docs/WHERE.md lists them). Three-valued: a row is in the shape only when
 * the clause is true.
 *
 * A compiled clause is immutable and may be evaluated by several threads at a
 * time, each with its own scratch arena.
 */
#ifndef SHAPES_WHERE_H
#define SHAPES_WHERE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "change/change.h"
#include "change/table.h"

/* The longest clause taken, in bytes. */
#define WHERE_MAX_SIZE ((size_t)65536)

/* Whether a text is not too long to be one, for where_compile() refuses it then; `what` it is. */
bool where_check_size(struct slice text, const char *what, struct err *err) MUST_CHECK;

enum tri { TRI_FALSE, TRI_TRUE, TRI_NULL };

struct where;
struct where_tree; /* all of it but the constants */

/* params[i] is $(i+1); a NULL ptr means that it was not given. */
struct where_params {
    const struct slice *values;
    size_t n;
};

/* Compiles the clause. The result lives in the arena, borrows `table` (which must outlive it) and
 * nothing else. Errors: ERR_INPUT or ERR_UNSUPPORTED with the shape API's text, "At location 17:
 * ...". */
bool where_compile(struct slice clause, const struct where_params *params,
                   const struct table *table, struct arena *arena, struct where **out,
                   struct err *err) MUST_CHECK;

/* The same for a clause that only Postgres evaluates, of a subset: it may also compare enums with
 * literals, and text in the order of any collation. `hidden`: by column, those that it may not name
 * (NULL: none). For where_put_sql() alone. */
bool where_compile_for_server(struct slice clause, const struct where_params *params,
                              const struct table *table, const bool *hidden, struct arena *arena,
                              struct where **out, struct err *err) MUST_CHECK;

/* A clause that is compiled again and again, with other parameters: parsed once, which is nearly
 * all of the work. Immutable, any thread; NULL with where_compile()'s errors. */
struct where_text;
struct where_text *where_text_new(struct slice clause, struct err *err) MUST_CHECK;
void where_text_free(struct where_text *text); /* NULL is allowed */
bool where_compile_text(const struct where_text *text, const struct where_params *params,
                        const struct table *table, struct arena *arena, struct where **out,
                        struct err *err) MUST_CHECK;

/* Whether the clause fits the table, before its `nparams` parameters are known: what it names and
 * how it is typed, not whether a value can be read. */
bool where_check(struct slice clause, size_t nparams, const struct table *table,
                 struct err *err) MUST_CHECK;

/* Evaluates for a row whose values[i] is the table's column i (generated columns that the stream
 * does not carry must not be used by the clause: where_uses()). No value used may be
 * VALUE_UNCHANGED. False when Postgres would raise an error for this row (division by zero,
 * overflow): err has its text and SQLSTATE. */
bool where_eval(const struct where *where, const struct tuple *row, struct arena *scratch,
                enum tri *result, struct err *err) MUST_CHECK;

/* Whether the clause looks at the table's column i. */
bool where_uses(const struct where *where, int column);

/* Whether there may be rows for which it raises an error: all but plain comparisons count as if. */
bool where_may_raise(const struct where *where);

/* The clause for Postgres to evaluate, with parameters as typed literals; the caller puts it in
 * parentheses, with search_path = pg_catalog. It means the same there as where_eval() does here. */
void where_put_sql(const struct where *where, struct buf *out);

/* A text that is equal for clauses that are equal up to white space, comments, and literals against
 * parameters: for a shape's identity. */
void where_put_canonical(const struct where *where, struct buf *out);
/* The same in two parts: a text that is equal for clauses whose trees are, and the constants. */
void where_put_form(const struct where *where, struct buf *out);
void where_put_constants(const struct where *where, struct buf *out);

/*
 * Clauses that a hash finds. When the clause is `column = constant` or `column IN (constants)`, or
 * an AND with such a term in it, it can only be true for rows whose column has one of these values.
 */
struct where_keys {
    int column;           /* the table's column index, or -1: not such a clause */
    size_t n;             /* number of values; 0: the clause is never true */
    struct slice *values; /* as where_key_of() gives them */
};

/* The values may lie in the arena. */
struct where_keys where_keys(const struct where *where, struct arena *arena);

/* The canonical form of a value of the column, equal for values that `=` calls equal (1.0 and 1.00
 * of a numeric). Lies in the scratch arena or is `text` itself. An unreadable value gives false and
 * no error: no clause has it. */
bool where_key_of(const struct table_column *column, struct slice text, struct arena *scratch,
                  struct slice *key);

#endif
