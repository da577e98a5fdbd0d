#include "shapes/shape.h"
#include "base/hash.h"
#include "base/reader.h"
#include "shapes/form.h"
#include "shapes/ident.h"
#include "shapes/pack.h"

#include <stdlib.h>

bool shape_table_name(struct slice text, struct arena *arena, struct slice *nspname,
                      struct slice *relname, struct err *err)
{
    struct slice *parts;
    size_t n;

    if (!ident_split(text, '.', arena, &parts, &n, err))
        return false;
    if (n > 2)
        return err_set(err, ERR_INPUT, "Invalid relation identifier, too many delimiters: %.*s",
                       SLICE_ARG(text));
    *nspname = n == 2 ? parts[0] : SLICE("public");
    *relname = parts[n - 1];
    return true;
}

/* ---- columns ----------------------------------------------------------- */

/* Names for an error's text, with commas. */
static void add_name(struct buf *names, struct slice name)
{
    if (names->len)
        buf_put_cstr(names, ", ");
    buf_put_slice(names, name);
}

/* False, with the text and the names, when there are any. */
static bool none(const char *text, struct buf *names, const char *tail, struct err *err)
{
    return names->len == 0 ||
           err_set(err, ERR_INPUT, "%s: %.*s%s", text, SLICE_ARG(buf_slice(names)), tail);
}

static bool is_key(const struct table *table, uint16_t column)
{
    return table->npk == 0 || table->cols[column].pk_index >= 0;
}

static bool is_named(const struct slice *names, size_t n, struct slice name)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_eq(names[i], name))
            return true;
    }
    return false;
}

static bool check_key(const struct table *table, const struct slice *names, size_t n,
                      const char *text, struct buf *missing, struct err *err)
{
    /* In the key's order; without a primary key all columns are the key. */
    const uint16_t nkey = table->npk ? table->npk : table->ncols;

    for (uint16_t i = 0; i < nkey; i++) {
        struct slice name = table->cols[table->npk ? table->pk[i] : i].name;

        if (!is_named(names, n, name))
            add_name(missing, name);
    }
    return none(text, missing, "", err);
}

static bool check_known(const struct table *table, const struct slice *names, size_t n,
                        const char *text, struct buf *unknown, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (table_column_index(table, names[i]) < 0)
            add_name(unknown, names[i]);
    }
    return none(text, unknown, "", err);
}

/* What a client may ask about. */
static bool check_queryable(const struct table *table, struct slice text, struct arena *work,
                            struct buf *names, struct err *err)
{
    struct slice *list;
    size_t n;

    return !text.ptr ||
           (ident_split(text, ',', work, &list, &n, err) &&
            check_key(table, list, n,
                      "The list of queryable columns must include all primary key columns, missing",
                      names, err) &&
            check_known(table, list, n,
                        "The following queryable columns are not found on the table", names, err));
}

static bool check_allowed(const struct slice *asked, size_t n, struct slice queryable,
                          struct arena *work, struct buf *refused, struct err *err)
{
    struct slice *list;
    size_t nlist;

    if (!queryable.ptr)
        return true;
    if (!ident_split(queryable, ',', work, &list, &nlist, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_named(list, nlist, asked[i]))
            add_name(refused, asked[i]);
    }
    return none("The following columns are not queryable", refused, "", err);
}

static bool check_generated(const struct shape *shape, struct buf *generated, struct err *err)
{
    for (uint16_t i = 0; i < shape->ncolumns; i++) {
        const struct table_column *col = &shape->table->cols[shape->columns[i]];

        if (col->generated)
            add_name(generated, col->name);
    }
    return none("The following columns are generated and cannot be included in the shape",
                generated,
                shape->all_columns
                    ? ". You can exclude them from the shape by explicitly listing which columns "
                      "to fetch in the 'columns' query param"
                    : "",
                err);
}

static bool select_columns(struct shape *shape, const struct shape_request *request,
                           struct arena *work, struct buf *names, struct err *err)
{
    const struct table *table = shape->table;
    struct slice text = request->columns;
    struct slice *asked = NULL;
    size_t n = 0;

    shape->all_columns = !text.ptr;
    if (text.ptr && (!ident_split(text, ',', work, &asked, &n, err) ||
                     !check_key(table, asked, n,
                                "The list of columns must include all primary key columns, missing",
                                names, err) ||
                     !check_known(table, asked, n,
                                  "The following columns are not found on the table", names, err) ||
                     !check_allowed(asked, n, request->queryable, work, names, err)))
        return false;
    uint16_t *columns = arena_calloc(work, table->ncols, sizeof(*columns));
    for (uint16_t i = 0; i < table->ncols; i++) {
        if (shape->all_columns || is_named(asked, n, table->cols[i].name))
            columns[shape->ncolumns++] = i;
    }
    shape->columns = columns;
    /* What a client may ask about is no choice of columns where it is all of them. */
    if (request->queryable.ptr && slice_eq(text, request->queryable))
        shape->all_columns = shape->ncolumns == table->ncols;
    return check_generated(shape, names, err);
}

/* ---- where ------------------------------------------------------------- */

static bool check_where_columns(const struct shape *shape, struct err *err)
{
    for (uint16_t i = 0; shape->where && i < shape->table->ncols; i++) {
        struct slice name = shape->table->cols[i].name;

        if (!shape->table->cols[i].generated || !where_uses(shape->where, i))
            continue;
        err_set(err, ERR_INPUT, "At location 0: column %.*s is generated and cannot be used",
                SLICE_ARG(name));
        return err_hint(err, "replication does not carry generated columns");
    }
    return true;
}

static bool compile_where(struct shape *shape, const struct shape_request *request,
                          struct arena *work, struct err *err)
{
    if (request->where.len == 0)
        return true;
    return where_compile(request->where, &request->params, shape->table, work, &shape->where,
                         err) &&
           check_where_columns(shape, err);
}

/* ---- the shape --------------------------------------------------------- */

/* Lengths in front keep parts from running into each other. */
static void put_part(struct buf *out, struct slice part)
{
    buf_put_dec(out, part.len);
    buf_put_u8(out, ':');
    buf_put_slice(out, part);
}

typedef void put_clause(const struct where *where, struct buf *out);

static void put_identity(const struct shape *shape, put_clause *put, struct buf *out)
{
    const unsigned asked[] = {shape->all_columns, shape->replica, shape->changes_only,
                              shape->keyed_by_identity};
    const struct table *table = shape->table;
    struct buf where;

    buf_put_dec(out, table->relid);
    buf_put_u8(out, ' ');
    put_part(out, table->nspname);
    put_part(out, table->relname);
    for (uint16_t i = 0; i < table->npk; i++)
        put_part(out, table->cols[table->pk[i]].name);
    buf_put_u8(out, ' ');
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
        buf_put_dec(out, asked[i]);
    buf_put_u8(out, ' ');
    for (uint16_t i = 0; i < shape->ncolumns; i++)
        put_part(out, table->cols[shape->columns[i]].name);
    if (!shape->where)
        return;
    buf_init(&where, BUF_NO_LIMIT);
    put(shape->where, &where);
    buf_put_u8(out, ' ');
    put_part(out, buf_slice(&where));
    buf_release(&where);
}

void shape_put_identity(const struct shape *shape, struct buf *out)
{
    put_identity(shape, where_put_canonical, out);
}

uint64_t shape_hash(const struct shape *shape)
{
    struct buf identity;

    buf_init(&identity, BUF_NO_LIMIT);
    shape_put_identity(shape, &identity);
    uint64_t hash = hash_bytes(buf_slice(&identity));
    buf_release(&identity);
    return hash;
}

/* ---- the request ------------------------------------------------------- */

/* A text that may not be given: its length 4, or all ones, then the bytes. */
static void put_text(struct buf *out, struct slice text)
{
    buf_put_u32(out, text.ptr ? (uint32_t)text.len : UINT32_MAX);
    buf_put_slice(out, text);
}

static struct slice read_text(struct reader *in)
{
    uint32_t len = reader_u32(in);

    return len == UINT32_MAX ? (struct slice){NULL, 0} : reader_slice(in, len);
}

/* Table, clause, columns, the number of parameters, each of them. */
static void put_asked(const struct shape *shape, const struct shape_request *request,
                      struct buf *out)
{
    put_text(out, request->table);
    put_text(out, request->where);
    put_text(out, shape->all_columns ? (struct slice){NULL, 0} : request->columns);
    buf_put_u32(out, (uint32_t)request->params.n);
    for (size_t i = 0; i < request->params.n; i++)
        put_text(out, request->params.values[i]);
}

void shape_get_request(const struct shape *shape, struct arena *arena,
                       struct shape_request *request)
{
    struct reader in = reader_of(shape->asked);

    *request = (struct shape_request){.replica = shape->replica,
                                      .changes_only = shape->changes_only,
                                      .keyed_by_identity = shape->keyed_by_identity};
    request->table = read_text(&in);
    request->where = read_text(&in);
    request->columns = read_text(&in);

    size_t n = reader_u32(&in);
    struct slice *values = n ? arena_calloc(arena, n, sizeof(*values)) : NULL;

    for (size_t i = 0; i < n; i++)
        values[i] = read_text(&in);
    request->params = (struct where_params){values, n};
}

/* ---- old rows ---------------------------------------------------------- */

static bool needs_whole_rows(const struct shape *shape)
{
    return !shape->keyed_by_identity || shape->replica == SHAPE_REPLICA_FULL;
}

bool shape_needs_old(const struct shape *shape, uint16_t column)
{
    return needs_whole_rows(shape) || is_key(shape->table, column) ||
           (shape->where && where_uses(shape->where, column));
}

static bool needs_full(const struct shape *shape)
{
    const struct table *table = shape->table;
    bool full = needs_whole_rows(shape);

    for (uint16_t i = 0; !full && i < table->ncols; i++)
        full = !table->cols[i].in_identity && shape_needs_old(shape, i);
    return full;
}

/* ---- making one -------------------------------------------------------- */

static bool build(struct shape *shape, const struct shape_request *request, struct arena *work,
                  const char **field, struct err *err)
{
    struct buf names;

    buf_init(&names, BUF_NO_LIMIT);
    *field = "queryable_columns";
    bool ok = check_queryable(shape->table, request->queryable, work, &names, err);
    if (ok) {
        *field = "columns";
        ok = select_columns(shape, request, work, &names, err);
    }
    buf_release(&names);
    if (!ok)
        return false;
    *field = "where";
    return compile_where(shape, request, work, err);
}

/* The form that it shares, and who it is: by the form's text and the constants, which together say
 * what shape_put_identity() does. */
static void identify(struct shape *shape)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    put_identity(shape, where_put_form, &text);
    shape->form = form_get(&(struct form_parts){.text = buf_slice(&text),
                                                .table = shape->table,
                                                .where = shape->where,
                                                .columns = shape->columns,
                                                .ncolumns = shape->ncolumns});
    if (shape->where)
        where_put_constants(shape->where, &text);
    shape->is = form_hash(buf_slice(&text));
    buf_release(&text);
}

/* From where it was built to memory of its own, as much as it needs: behind the struct the clause's
 * constants, and what was asked. */
static struct shape *settle(struct shape *built, struct slice asked)
{
    size_t where = built->where ? where_packed_size(built->where) : 0;
    struct shape *shape = xmalloc(sizeof(*shape) + where + asked.len);
    char *behind = (char *)(shape + 1);

    identify(built);
    memcpy(shape, built, sizeof(*shape));
    atomic_init(&shape->refs, 1);
    shape->table = shape->form->table;
    shape->columns = shape->form->columns;
    if (built->where)
        shape->where = where_pack(built->where, shape->form->tree, behind);
    shape->asked = (struct slice){memcpy(behind + where, asked.ptr, asked.len), asked.len};
    shape->needs_full = needs_full(shape);
    return shape;
}

struct shape *shape_new(const struct shape_request *request, struct table *table,
                        const char **field, struct err *err)
{
    struct shape built = {.table = table,
                          .replica = request->replica,
                          .changes_only = request->changes_only,
                          .keyed_by_identity = request->keyed_by_identity};
    struct shape *shape = NULL;
    struct arena work = {0};
    struct buf asked;

    buf_init(&asked, BUF_NO_LIMIT);
    if (build(&built, request, &work, field, err)) {
        put_asked(&built, request, &asked);
        shape = settle(&built, buf_slice(&asked));
    }
    buf_release(&asked);
    arena_release(&work);
    return shape;
}

struct shape *shape_ref(struct shape *shape)
{
    atomic_fetch_add_explicit(&shape->refs, 1, memory_order_relaxed);
    return shape;
}

void shape_unref(struct shape *shape)
{
    if (!shape || atomic_fetch_sub_explicit(&shape->refs, 1, memory_order_acq_rel) != 1)
        return;
    form_unref(shape->form);
    free(shape);
}

void shape_put_from(const struct shape *shape, struct buf *out)
{
    buf_put_cstr(out, "SELECT ");
    for (uint16_t i = 0; i < shape->ncolumns; i++) {
        if (i)
            buf_put_cstr(out, ", ");
        sql_put_ident(out, shape->table->cols[shape->columns[i]].name);
    }
    /* Tables that inherit are not part of a plain table; partitions are the whole of theirs. */
    buf_put_cstr(out, shape->table->relkind == 'p' ? " FROM " : " FROM ONLY ");
    table_put_quoted(shape->table, out);
}

void shape_put_select(const struct shape *shape, struct buf *out)
{
    shape_put_from(shape, out);
    if (!shape->where)
        return;
    buf_put_cstr(out, " WHERE (");
    where_put_sql(shape->where, out);
    buf_put_u8(out, ')');
}
