#include "shapes/where.h"
#include "shapes/constants.h"
#include "shapes/keys.h"
#include "shapes/pack.h"
#include "shapes/typing.h"

#include <stdlib.h>

struct where_tree {
    const struct table *table;
    const struct expr *expr;
    uint32_t nconstants;
    bool uses[]; /* by column */
};

struct where {
    const struct where_tree *tree;
    struct datum constants[]; /* by place */
};

static size_t size_of_tree(const struct table *table)
{
    return sizeof(struct where_tree) + table->ncols * sizeof(bool);
}

static size_t size_of(const struct where_tree *tree)
{
    return sizeof(struct where) + tree->nconstants * sizeof(struct datum);
}

static void note_uses(const struct expr *expr, bool *uses)
{
    if (expr->kind == EXPR_COLUMN)
        uses[expr->column] = true;
    for (uint32_t i = 0; i < expr->nargs; i++) {
        if (expr->args[i])
            note_uses(expr->args[i], uses);
    }
}

static struct expr *compile(struct typing *t)
{
    struct expr *expr = typing_clause(t);

    if (expr && expr->type == PG_UNKNOWN)
        expr = coerce_bool(t, expr, "WHERE clause");
    if (expr && expr->type != PG_BOOL) {
        err_set(t->err, ERR_INPUT, "WHERE clause must return a boolean");
        return NULL;
    }
    return expr;
}

/* Its constants are taken out of the expression. */
static struct where *where_of(struct expr *expr, const struct table *table, struct arena *arena)
{
    struct where_tree *tree = arena_calloc(arena, 1, size_of_tree(table));

    tree->table = table;
    tree->expr = expr;
    note_uses(expr, tree->uses);
    const struct datum *constants = constants_take(expr, arena, &tree->nconstants);
    struct where *where = arena_alloc(arena, size_of(tree));

    where->tree = tree;
    memcpy(where->constants, constants, tree->nconstants * sizeof(*constants));
    return where;
}

/* Types the clause; NULL with the error set. */
static struct where *compile_clause(struct typing *t, const struct clause *clause)
{
    size_t nparams = t->params ? t->params->n : 0;
    t->clause = clause;
    t->param_types = xcalloc(nparams, sizeof(int));
    for (size_t i = 0; i < nparams; i++)
        t->param_types[i] = PG_UNKNOWN;
    struct expr *expr = compile(t);

    free(t->param_types);
    arena_release(&t->scratch);
    return expr ? where_of(expr, t->table, t->arena) : NULL;
}

/* Parses it first. */
static struct where *compile_text(struct typing *t, struct slice text)
{
    struct clause clause;

    if (!clause_parse(text, &clause, t->err))
        return NULL;
    struct where *where = compile_clause(t, &clause);

    clause_release(&clause);
    return where;
}

struct where_text {
    struct clause clause;
};

struct where_text *where_text_new(struct slice clause, struct err *err)
{
    struct where_text *text = xcalloc(1, sizeof(*text));

    if (clause_parse(clause, &text->clause, err))
        return text;
    free(text);
    return NULL;
}

void where_text_free(struct where_text *text)
{
    if (text)
        clause_release(&text->clause);
    free(text);
}

bool where_compile_text(const struct where_text *text, const struct where_params *params,
                        const struct table *table, struct arena *arena, struct where **out,
                        struct err *err)
{
    struct typing t = {.params = params, .table = table, .arena = arena, .err = err};

    *out = compile_clause(&t, &text->clause);
    return *out != NULL;
}

bool where_compile(struct slice text, const struct where_params *params, const struct table *table,
                   struct arena *arena, struct where **out, struct err *err)
{
    struct where_text parsed;

    if (!clause_parse(text, &parsed.clause, err))
        return false;
    bool ok = where_compile_text(&parsed, params, table, arena, out, err);

    clause_release(&parsed.clause);
    return ok;
}

bool where_compile_for_server(struct slice text, const struct where_params *params,
                              const struct table *table, const bool *hidden, struct arena *arena,
                              struct where **out, struct err *err)
{
    struct typing t = {.params = params,
                       .table = table,
                       .hidden = hidden,
                       .at_server = true,
                       .arena = arena,
                       .err = err};

    *out = compile_text(&t, text);
    return *out != NULL;
}

bool where_check(struct slice text, size_t nparams, const struct table *table, struct err *err)
{
    struct arena arena = {0};
    const struct where_params params = {arena_calloc(&arena, nparams, sizeof(struct slice)),
                                        nparams};
    struct typing t = {
        .params = &params, .any_params = true, .table = table, .arena = &arena, .err = err};
    bool ok = compile_text(&t, text) != NULL;

    arena_release(&arena);
    return ok;
}

bool where_eval(const struct where *where, const struct tuple *row, struct arena *scratch,
                enum tri *result, struct err *err)
{
    struct eval ev = {where->tree->table, where->constants, row, scratch, err};
    struct datum d;

    if (!expr_eval(&ev, where->tree->expr, &d))
        return false;
    *result = d.null ? TRI_NULL : d.b ? TRI_TRUE : TRI_FALSE;
    return true;
}

bool where_uses(const struct where *where, int column)
{
    return where->tree->uses[column];
}

/* From text to text: the same bytes. */
static bool is_relabelling(const struct expr *expr)
{
    return expr->kind == EXPR_CALL && expr->style == CALL_CAST && pgtype_is_text(expr->type) &&
           pgtype_is_text(expr->args[0]->type);
}

static bool may_raise(const struct expr *expr)
{
    static const bool never[EXPR_SLICE + 1] = {
        [EXPR_PLACE] = true,   [EXPR_COLUMN] = true,    [EXPR_COMPARE] = true,
        [EXPR_AND] = true,     [EXPR_OR] = true,        [EXPR_NOT] = true,
        [EXPR_COLLATE] = true, [EXPR_BOOL_TEST] = true, [EXPR_NULL_TEST] = true,
    };
    bool raises = expr->kind == EXPR_ANY ? expr->each->kind != EXPR_COMPARE
                                         : !never[expr->kind] && !is_relabelling(expr);

    for (uint32_t i = 0; !raises && i < expr->nargs; i++)
        raises = may_raise(expr->args[i]);
    return raises;
}

bool where_may_raise(const struct where *where)
{
    return may_raise(where->tree->expr);
}

void where_put_sql(const struct where *where, struct buf *out)
{
    expr_put_sql(where->tree->expr, where->tree->table, where->constants, out);
}

void where_put_canonical(const struct where *where, struct buf *out)
{
    /* Every literal and parameter is a typed constant in it, white space is ours. */
    where_put_sql(where, out);
}

void where_put_form(const struct where *where, struct buf *out)
{
    expr_put_sql(where->tree->expr, where->tree->table, NULL, out);
}

void where_put_constants(const struct where *where, struct buf *out)
{
    expr_put_constants(where->tree->expr, where->constants, out);
}

struct where_keys where_keys(const struct where *where, struct arena *arena)
{
    struct where_keys keys;

    keys_find(where->tree->expr, where->tree->table, where->constants, arena, &keys);
    return keys;
}

/* ---- packing ----------------------------------------------------------- */

static struct where_tree *pack_tree(struct pack *pack, const struct where_tree *from)
{
    struct where_tree *tree = pack_put(pack, from, size_of_tree(from->table));
    const struct expr *expr = pack_expr(pack, from->expr);

    if (tree)
        tree->expr = expr;
    return tree;
}

size_t where_tree_size(const struct where *where)
{
    struct pack pack = {NULL, 0};

    pack_tree(&pack, where->tree);
    return pack.used;
}

const struct where_tree *where_tree_pack(const struct where *where, const struct table *table,
                                         void *to)
{
    struct pack pack = {to, 0};
    struct where_tree *tree = pack_tree(&pack, where->tree);

    tree->table = table;
    return tree;
}

static struct where *pack_where(struct pack *pack, const struct where *from)
{
    struct where *where = pack_put(pack, from, size_of(from->tree));

    pack_constants(pack, from->tree->expr, from->constants, where ? where->constants : NULL);
    return where;
}

size_t where_packed_size(const struct where *where)
{
    struct pack pack = {NULL, 0};

    pack_where(&pack, where);
    return pack.used;
}

struct where *where_pack(const struct where *from, const struct where_tree *tree, void *to)
{
    struct pack pack = {to, 0};
    struct where *where = pack_where(&pack, from);

    where->tree = tree;
    return where;
}
