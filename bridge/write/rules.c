#include "write/rules.h"
#include "pg/catalog.h"

#include <stdio.h>

/* pg_type oids */
enum { INT8 = 20, INT2 = 21, INT4 = 23, FLOAT4 = 700, FLOAT8 = 701, NUMERIC = 1700, JSONB = 3802 };

bool write_conflict_parse(struct slice name, enum write_conflict *out)
{
    static const char *const names[] = {
#define X(symbol, text) text,
        WRITE_CONFLICT_MAP(X)
#undef X
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (slice_is(name, names[i])) {
            *out = (enum write_conflict)i;
            return true;
        }
    }
    return false;
}

const struct write_grant *write_rules_find(const struct write_rules *rules, struct slice nspname,
                                           struct slice relname)
{
    if (slice_is(nspname, "tombolo"))
        return NULL;
    for (size_t i = 0; i < rules->ngrants; i++) {
        const struct table *table = rules->grants[i].rule->table;

        if (slice_eq(table->relname, relname) && slice_eq(table->nspname, nspname))
            return &rules->grants[i];
    }
    return NULL;
}

/* ---- the catalogue ----------------------------------------------------- */

/* The equality that the type's own index has. varchar and cidr have that of what they are stored
 * as; arrays, enums and ranges that of their kind. */
static const char columns_sql[] =
    "SELECT a.attgenerated <> '' OR a.attidentity = 'a',"
    "       CASE WHEN e.operator IS NULL THEN NULL"
    "            WHEN x.elem <> 0 THEN 'OPERATOR(pg_catalog.=)' ELSE e.operator END"
    "  FROM unnest($1::oid[], $2::oid[], $3::int2[]) WITH ORDINALITY AS x(typid, elem, attnum, i)"
    "  JOIN pg_attribute a ON a.attrelid = $4::oid AND a.attnum = x.attnum AND NOT a.attisdropped"
    "  JOIN pg_type t ON t.oid = CASE WHEN x.elem <> 0 THEN x.elem ELSE x.typid END"
    "  LEFT JOIN LATERAL (SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname) AS operator"
    "    FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'"
    "    JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3"
    "     AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype"
    "    JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace"
    "   WHERE c.opcdefault AND c.opcintype = CASE"
    "         WHEN t.oid = 'varchar'::regtype THEN 'text'::regtype"
    "         WHEN t.oid = 'cidr'::regtype THEN 'inet'::regtype"
    "         WHEN t.typtype = 'e' THEN 'anyenum'::regtype"
    "         WHEN t.typtype = 'r' THEN 'anyrange'::regtype"
    "         WHEN t.typtype = 'm' THEN 'anymultirange'::regtype ELSE t.oid END"
    "   LIMIT 1) e ON true"
    " ORDER BY x.i";

static void put_number(struct buf *list, long long number)
{
    buf_printf(list, "%s%lld", list->len ? "," : "{", number);
}

static const char *finished(struct buf *list, struct arena *arena)
{
    buf_put_u8(list, '}');
    const char *text = arena_copy(arena, buf_slice(list)).ptr;
    buf_release(list);
    return text;
}

static bool read_columns(struct pg_conn *conn, struct write_table *rule, struct arena *arena,
                         struct err *err)
{
    const struct table *table = rule->table;
    struct buf types, elems, attnums;

    buf_init(&types, BUF_NO_LIMIT);
    buf_init(&elems, BUF_NO_LIMIT);
    buf_init(&attnums, BUF_NO_LIMIT);
    for (uint16_t i = 0; i < table->ncols; i++) {
        put_number(&types, table->cols[i].basetypid);
        put_number(&elems, table->cols[i].elemtypid);
        put_number(&attnums, table->cols[i].attnum);
    }
    const char *params[] = {finished(&types, arena), finished(&elems, arena),
                            finished(&attnums, arena), arena_printf(arena, "%u", table->relid)};
    struct pg_result *res = pg_query_prepared(conn, columns_sql, params, 4, err);

    if (!res)
        return false;
    bool ok = pg_rows(res) == table->ncols;
    for (uint16_t i = 0; ok && i < table->ncols; i++) {
        struct slice equals = pg_value(res, i, 1);

        rule->columns[i].generated = pg_bool(res, i, 0);
        rule->columns[i].equals = equals.ptr ? arena_copy(arena, equals).ptr : NULL;
    }
    pg_result_free(res);
    return ok ||
           err_set(err, ERR_CHANGED, "table \"%.*s\" has been altered", SLICE_ARG(table->relname));
}

/* Foreign keys that only look are the commonest triggers, and lead to nothing. Functions and
 * operators of Postgres's own are not in pg_depend. */
#define TREE CATALOG_PARTITION_TREE("$1")
static const char plain_sql[] =
    "WITH RECURSIVE tree AS MATERIALIZED (SELECT c.* FROM pg_class c WHERE c.oid IN " TREE "),"
    " leads AS (SELECT EXISTS (SELECT FROM tree c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid"
    "     LEFT JOIN pg_proc p ON p.oid = t.tgfoid"
    "    WHERE c.relhasrules OR t.tginitdeferred OR NOT t.tgisinternal"
    "       OR p.proname ~ '^RI_FKey_(cascade|setnull|setdefault)_') AS it),"
    /* With what they are made of: domains of domains, arrays and rows of domains. */
    " types(oid) AS ("
    "   SELECT a.atttypid FROM tree c"
    "     JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped"
    "   UNION SELECT part.oid FROM types u JOIN pg_type t ON t.oid = u.oid CROSS JOIN LATERAL ("
    "     VALUES (t.typbasetype), (t.typelem)"
    "     UNION ALL SELECT rngsubtype FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)"
    "     UNION ALL SELECT atttypid FROM pg_attribute"
    "        WHERE attrelid = t.typrelid AND NOT attisdropped) AS part(oid)),"
    " expressions AS ("
    "   SELECT 'pg_constraint'::regclass, k.oid FROM tree c"
    "     JOIN pg_constraint k ON k.conrelid = c.oid"
    "   UNION ALL SELECT 'pg_constraint'::regclass, k.oid FROM types u"
    "     JOIN pg_constraint k ON k.contypid = u.oid"
    "   UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM tree c"
    "     JOIN pg_index i ON i.indrelid = c.oid"
    "   UNION ALL SELECT 'pg_attrdef'::regclass, f.oid FROM tree c"
    "     JOIN pg_attrdef f ON f.adrelid = c.oid),"
    " looks AS (SELECT EXISTS (SELECT FROM tree WHERE relrowsecurity)"
    "   OR EXISTS (SELECT FROM tree c JOIN pg_constraint k ON k.conrelid = c.oid"
    "     WHERE k.confrelid IN (SELECT oid FROM tree))"
    "   OR EXISTS (SELECT FROM pg_depend d WHERE (d.classid, d.objid) IN (TABLE expressions)"
    "     AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)) AS it)"
    " SELECT NOT leads.it, NOT (leads.it OR looks.it) FROM leads, looks";

static bool read_plain(struct pg_conn *conn, struct write_table *rule, struct err *err)
{
    char relid[16];
    const char *params[] = {relid};

    snprintf(relid, sizeof(relid), "%u", rule->table->relid);
    struct pg_result *res = pg_query_prepared(conn, plain_sql, params, 1, err);
    if (!res)
        return false;
    rule->plain = pg_bool(res, 0, 0);
    rule->rows_are_alone = pg_bool(res, 0, 1);
    pg_result_free(res);
    return true;
}

/* ---- rules that cannot work -------------------------------------------- */

static bool wrong(const struct write_table *rule, uint16_t column, struct err *err,
                  const char *text)
{
    return err_set(err, ERR_CONFIG, "column \"%.*s\" of table \"%.*s\" %s",
                   SLICE_ARG(rule->table->cols[column].name), SLICE_ARG(rule->table->relname),
                   text);
}

static bool is_number(uint32_t typid)
{
    return typid == INT2 || typid == INT4 || typid == INT8 || typid == FLOAT4 || typid == FLOAT8 ||
           typid == NUMERIC;
}

static bool check_function(struct pg_conn *conn, const struct write_function *function,
                           struct arena *arena, struct err *err)
{
    const char *params[] = {arena_copy(arena, function->nspname).ptr,
                            arena_copy(arena, function->name).ptr};
    struct pg_result *res =
        pg_query_params(conn,
                        "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
                        " WHERE n.nspname = $1 AND p.proname = $2 AND p.prokind = 'f'"
                        "   AND p.proargtypes = '3802 3802 3802'::oidvector"
                        "   AND p.prorettype = 'jsonb'::regtype AND NOT p.proretset",
                        params, 2, err);

    if (!res)
        return false;
    bool ok = pg_rows(res) == 1;
    pg_result_free(res);
    return ok || err_set(err, ERR_CONFIG,
                         "there is no function \"%.*s\".\"%.*s\"(current jsonb, base jsonb, new "
                         "jsonb) that returns jsonb",
                         SLICE_ARG(function->nspname), SLICE_ARG(function->name));
}

static bool check_column(struct pg_conn *conn, const struct write_table *rule, uint16_t i,
                         struct arena *arena, struct err *err)
{
    const struct table_column *col = &rule->table->cols[i];
    const struct write_column *column = &rule->columns[i];

    if (column->generated && col->pk_index >= 0 && rule->ops[WRITE_INSERT])
        return wrong(rule, i, err,
                     "is generated: replicas give the keys of their rows themselves (GENERATED BY "
                     "DEFAULT lets them)");
    if (column->generated && column->writable)
        return wrong(rule, i, err, "is generated: it cannot be written");
    if (col->pk_index >= 0 && column->conflict != CONFLICT_MERGE &&
        column->conflict != CONFLICT_REJECT)
        return wrong(rule, i, err, "is part of the key: it can only be merged or rejected");
    switch (column->conflict) {
    case CONFLICT_COUNTER:
        return is_number(col->basetypid) || wrong(rule, i, err, "is no number: it cannot count");
    case CONFLICT_MIN:
    case CONFLICT_MAX:
        return column->equals || wrong(rule, i, err, "is of a type that has no order");
    case CONFLICT_UNION:
        return col->elemtypid || col->basetypid == JSONB ||
               wrong(rule, i, err, "is neither an array nor jsonb: there is no union of it");
    case CONFLICT_FUNCTION:
        return check_function(conn, &column->function, arena, err);
    default:
        return true;
    }
}

bool write_table_check(struct pg_conn *conn, struct write_table *rule, struct arena *arena,
                       struct err *err)
{
    const struct table *table = rule->table;

    if (slice_is(table->nspname, "tombolo"))
        return err_set(err, ERR_CONFIG, "the tables of schema tombolo are the bridge's own");
    if (table->npk == 0)
        return err_set(err, ERR_CONFIG,
                       "table \"%.*s\" has no primary key: its rows cannot be told apart",
                       SLICE_ARG(table->relname));
    if (!read_columns(conn, rule, arena, err) || !read_plain(conn, rule, err))
        return false;
    for (uint16_t i = 0; i < table->ncols; i++) {
        if (!check_column(conn, rule, i, arena, err))
            return false;
    }
    return !rule->function.name.ptr || check_function(conn, &rule->function, arena, err);
}
