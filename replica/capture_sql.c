#include "replica/capture_sql.h"

#include "replica/sql.h"

#include <strings.h>

/* What every outbox row begins with, behind layout and op: tx, nonce. */
#define MARK "(SELECT max(id) FROM _tombolo_tx),random()"

struct maker {
    struct sql sql;
    const struct capture_table *t;
    int64_t layout;
};

static const char *const suffixes[] = {[CAPTURE_BEFORE_INSERT] = "bi",
                                       [CAPTURE_AFTER_INSERT] = "ai",
                                       [CAPTURE_BEFORE_UPDATE] = "bu",
                                       [CAPTURE_AFTER_UPDATE] = "au",
                                       [CAPTURE_AFTER_DELETE] = "ad"};

char *capture_trigger_name(int64_t layout, enum capture_trigger which, struct arena *arena)
{
    return arena_printf(arena, "_tombolo_capture_%lld_%s", (long long)layout, suffixes[which]);
}

/* ---- pieces ---- */

static const char *key_name(const struct maker *m, size_t i)
{
    return m->t->columns[m->t->key[i]].name;
}

/* Whether the key's own index finds keys by their very bytes. */
static bool key_is_exact(const struct maker *m, size_t i)
{
    return strcasecmp(m->t->indexes[0].parts[i].collation, "BINARY") == 0;
}

/* The noted row has the key of OLD or NEW, byte for byte. */
static void put_noted_is(struct maker *m, const char *row)
{
    for (size_t i = 0; i < m->t->nkey; i++)
        sql_put(&m->sql, "%s_tombolo_victims.v%d IS %s.\"%w\" COLLATE BINARY", i ? " AND " : "",
                (int)m->t->key[i], row, key_name(m, i));
}

/* The table has the noted row: looked up by the index, then compared byte for byte. */
static void put_noted_is_there(struct maker *m)
{
    sql_put(&m->sql, "EXISTS (SELECT 1 FROM \"%w\" AS _tombolo_t WHERE ", m->t->name);
    for (size_t i = 0; i < m->t->nkey; i++) {
        const char *and = i ? " AND " : "";
        int at = (int)m->t->key[i];

        sql_put(&m->sql, "%s_tombolo_t.\"%w\" COLLATE \"%w\" = _tombolo_victims.v%d", and,
                key_name(m, i), m->t->indexes[0].parts[i].collation, at);
        if (!key_is_exact(m, i))
            sql_put(&m->sql, " AND _tombolo_t.\"%w\" COLLATE BINARY IS _tombolo_victims.v%d",
                    key_name(m, i), at);
    }
    sql_put(&m->sql, ")");
}

/* v0,v1,.. from `first` on, as many as the table has columns. */
static void put_places(struct maker *m, const char *prefix, size_t first)
{
    for (size_t i = 0; i < m->t->ncolumns; i++)
        sql_put(&m->sql, ",%sv%d", prefix, (int)(first + i));
}

static void put_columns(struct maker *m, const char *row)
{
    for (size_t i = 0; i < m->t->ncolumns; i++)
        sql_put(&m->sql, ",%s.\"%w\"", row, m->t->columns[i].name);
}

/* INSERT INTO _tombolo_outbox(layout,op,tx,nonce,v0,..): one image, or both. */
static void put_outbox(struct maker *m, size_t images)
{
    sql_put(&m->sql, "INSERT INTO _tombolo_outbox(layout,op,tx,nonce");
    for (size_t i = 0; i < images; i++)
        put_places(m, "", i * m->t->ncolumns);
    sql_put(&m->sql, ") ");
}

/* A row of the table under the name _tombolo_t that has NEW's key. */
static void put_new_row(struct maker *m)
{
    for (size_t i = 0; i < m->t->nkey; i++)
        sql_put(&m->sql, "%s_tombolo_t.\"%w\" COLLATE \"%w\" = NEW.\"%w\"", i ? " AND " : " WHERE ",
                key_name(m, i), m->t->indexes[0].parts[i].collation, key_name(m, i));
}

/* NEW's value of an index's expression: it is evaluated on a row made of NEW's columns. */
static void put_new_expression(struct maker *m, const char *expression)
{
    sql_put(&m->sql, "(SELECT %s\n FROM (SELECT ", expression);
    for (size_t i = 0; i < m->t->ncolumns; i++)
        sql_put(&m->sql, "%sNEW.\"%w\" AS \"%w\"", i ? "," : "", m->t->columns[i].name,
                m->t->columns[i].name);
    sql_put(&m->sql, ") AS \"%w\")", m->t->name);
}

/* The table's row that NEW conflicts with in this index. */
static void put_conflict(struct maker *m, const struct capture_index *index)
{
    for (size_t i = 0; i < index->nparts; i++) {
        const struct capture_part *p = &index->parts[i];

        sql_put(&m->sql, i ? " AND " : "");
        if (p->column) {
            sql_put(&m->sql, "\"%w\".\"%w\" COLLATE \"%w\" = NEW.\"%w\"", m->t->name, p->column,
                    p->collation, p->column);
        } else {
            sql_put(&m->sql, "(%s\n) COLLATE \"%w\" = ", p->expression, p->collation);
            put_new_expression(m, p->expression);
        }
    }
    if (index->where)
        sql_put(&m->sql, " AND (%s\n)", index->where);
}

/* ---- when an update can meet another row ---- */

/* Nothing but the index's columns decides, one of them changes, and none becomes NULL: what
 * ON DELETE SET NULL writes meets nobody. */
static void put_may_meet(struct maker *m, const struct capture_index *index)
{
    sql_put(&m->sql, "(");
    for (size_t i = 0; i < index->nparts; i++)
        sql_put(&m->sql, "%sOLD.\"%w\" IS NOT NEW.\"%w\" COLLATE BINARY", i ? " OR " : "(",
                index->parts[i].column, index->parts[i].column);
    sql_put(&m->sql, ")");
    for (size_t i = 0; i < index->nparts; i++)
        sql_put(&m->sql, " AND NEW.\"%w\" IS NOT NULL", index->parts[i].column);
    sql_put(&m->sql, ")");
}

static void put_update_condition(struct maker *m)
{
    for (size_t i = 0; i < m->t->nindexes; i++) {
        if (!m->t->indexes[i].simple)
            return;
    }
    for (size_t i = 0; i < m->t->nindexes; i++) {
        sql_put(&m->sql, i ? " OR " : " AND (");
        put_may_meet(m, &m->t->indexes[i]);
    }
    sql_put(&m->sql, ")");
}

/* ---- statements ---- */

/* Drops what was noted and is still there. */
static void put_forget_present(struct maker *m)
{
    sql_put(&m->sql, "DELETE FROM _tombolo_victims WHERE layout = %lld AND ", m->layout);
    put_noted_is_there(m);
    sql_put(&m->sql, ";\n");
}

static void put_note(struct maker *m, size_t at, bool update)
{
    sql_put(&m->sql, "INSERT INTO _tombolo_victims(layout");
    put_places(m, "", 0);
    sql_put(&m->sql, ") SELECT %lld", m->layout);
    for (size_t i = 0; i < m->t->ncolumns; i++)
        sql_put(&m->sql, ",\"%w\".\"%w\"", m->t->name, m->t->columns[i].name);
    sql_put(&m->sql, " FROM \"%w\" WHERE ", m->t->name);
    put_conflict(m, &m->t->indexes[at]);
    for (size_t i = 0; update && i < m->t->nkey; i++)
        sql_put(&m->sql, "%s\"%w\".\"%w\" COLLATE BINARY IS OLD.\"%w\"", i ? " AND " : " AND NOT (",
                m->t->name, key_name(m, i), key_name(m, i));
    sql_put(&m->sql, update ? ")" : "");
    for (size_t i = 0; i < m->t->nkey; i++)
        sql_put(&m->sql, "%s_tombolo_victims.v%d IS \"%w\".\"%w\" COLLATE BINARY",
                i ? " AND " : " AND NOT EXISTS (SELECT 1 FROM _tombolo_victims WHERE ",
                (int)m->t->key[i], m->t->name, key_name(m, i));
    sql_put(&m->sql, " AND _tombolo_victims.layout = %lld);\n", m->layout);
}

static void put_before(struct maker *m, bool update)
{
    if (update)
        put_forget_present(m);
    for (size_t i = 0; i < m->t->nindexes; i++)
        put_note(m, i, update);
}

/* What noted rows an AFTER trigger finds evicted. An update that meets nobody may be the action of
 * a foreign key while another row is being evicted, which is told by who evicts it. */
static void put_evicted(struct maker *m, bool update)
{
    sql_put(&m->sql, " FROM _tombolo_victims WHERE layout = %lld AND ", m->layout);
    if (update) {
        sql_put(&m->sql, "NOT (");
        put_noted_is(m, "OLD");
        sql_put(&m->sql, ") AND (");
        put_noted_is(m, "NEW");
        sql_put(&m->sql, " OR ");
    }
    sql_put(&m->sql, "NOT ");
    put_noted_is_there(m);
    if (update) {
        sql_put(&m->sql, ")");
        put_update_condition(m);
    }
    sql_put(&m->sql, ";\n");
}

static void put_evictions(struct maker *m, bool update)
{
    put_outbox(m, 1);
    sql_put(&m->sql, "SELECT %lld,'D'," MARK, m->layout);
    put_places(m, "", 0);
    put_evicted(m, update);
}

/* A key column that may be NULL would let in rows that nothing can name. */
static void put_guard(struct maker *m)
{
    for (size_t i = 0; i < m->t->nkey && !m->t->rowid; i++) {
        if (m->t->columns[m->t->key[i]].not_null)
            continue;
        sql_put(&m->sql,
                "SELECT RAISE(ABORT, 'a row of a synced table must have its primary key') "
                "WHERE NEW.\"%w\" IS NULL;\n",
                key_name(m, i));
    }
}

/* Whether an insert can only replace the row that has its very key: which is there then. */
static bool evicts_itself_alone(const struct maker *m)
{
    bool exact = m->t->nindexes == 1;

    for (size_t i = 0; exact && i < m->t->nkey; i++)
        exact = key_is_exact(m, i);
    return exact;
}

static void put_after_insert(struct maker *m)
{
    put_guard(m);
    if (!evicts_itself_alone(m))
        put_evictions(m, false);
    put_outbox(m, 2);
    sql_put(&m->sql,
            "SELECT %lld,CASE WHEN _tombolo_victims.layout IS NULL THEN 'I' ELSE 'U' END," MARK,
            m->layout);
    put_places(m, "_tombolo_victims.", 0);
    put_columns(m, "_tombolo_t");
    sql_put(&m->sql,
            " FROM \"%w\" AS _tombolo_t LEFT JOIN _tombolo_victims"
            " ON _tombolo_victims.layout = %lld AND ",
            m->t->name, m->layout);
    put_noted_is(m, "_tombolo_t");
    put_new_row(m);
    sql_put(&m->sql, ";\nDELETE FROM _tombolo_victims WHERE layout = %lld;\n", m->layout);
}

static void put_after_update(struct maker *m)
{
    put_guard(m);
    put_evictions(m, true);
    sql_put(&m->sql, "DELETE");
    put_evicted(m, true);
    sql_put(&m->sql, "UPDATE _tombolo_victims SET ");
    for (size_t i = 0; i < m->t->ncolumns; i++)
        sql_put(&m->sql, "%sv%d=NEW.\"%w\"", i ? "," : "", (int)i, m->t->columns[i].name);
    sql_put(&m->sql, " WHERE layout = %lld AND ", m->layout);
    put_noted_is(m, "OLD");
    sql_put(&m->sql, ";\n");
    put_outbox(m, 2);
    sql_put(&m->sql, "SELECT %lld,'U'," MARK, m->layout);
    put_columns(m, "OLD");
    put_columns(m, "_tombolo_t");
    sql_put(&m->sql, " FROM \"%w\" AS _tombolo_t", m->t->name);
    put_new_row(m);
    sql_put(&m->sql, ";\n");
}

static void put_after_delete(struct maker *m)
{
    put_outbox(m, 1);
    sql_put(&m->sql, "VALUES (%lld,'D'," MARK, m->layout);
    put_columns(m, "OLD");
    sql_put(&m->sql, ");\nDELETE FROM _tombolo_victims WHERE layout = %lld AND ", m->layout);
    put_noted_is(m, "OLD");
    sql_put(&m->sql, ";\n");
}

char *capture_trigger_sql(const struct capture_table *table, int64_t layout,
                          enum capture_trigger which, struct arena *arena)
{
    static const char *const events[] = {[CAPTURE_BEFORE_INSERT] = "BEFORE INSERT",
                                         [CAPTURE_AFTER_INSERT] = "AFTER INSERT",
                                         [CAPTURE_BEFORE_UPDATE] = "BEFORE UPDATE",
                                         [CAPTURE_AFTER_UPDATE] = "AFTER UPDATE",
                                         [CAPTURE_AFTER_DELETE] = "AFTER DELETE"};
    struct maker m = {.t = table, .layout = layout};

    sql_init(&m.sql);
    sql_put(&m.sql,
            "CREATE TRIGGER %s %s ON \"%w\" WHEN"
            " (SELECT applying FROM _tombolo_state WHERE id = 1) IS NOT 1",
            capture_trigger_name(layout, which, arena), events[which], table->name);
    if (which == CAPTURE_BEFORE_UPDATE)
        put_update_condition(&m);
    sql_put(&m.sql, " BEGIN\n");
    switch (which) {
    case CAPTURE_BEFORE_INSERT:
        put_before(&m, false);
        break;
    case CAPTURE_AFTER_INSERT:
        put_after_insert(&m);
        break;
    case CAPTURE_BEFORE_UPDATE:
        put_before(&m, true);
        break;
    case CAPTURE_AFTER_UPDATE:
        put_after_update(&m);
        break;
    default:
        put_after_delete(&m);
        break;
    }
    sql_put(&m.sql, "END");
    return sql_take(&m.sql, arena);
}

char *capture_triggers_sql(const struct capture_table *table, int64_t layout, struct arena *arena)
{
    char *all = arena_strdup(arena, "");

    for (int i = 0; i < CAPTURE_TRIGGERS; i++)
        all = arena_printf(arena, "%s%s;\n", all,
                           capture_trigger_sql(table, layout, (enum capture_trigger)i, arena));
    return all;
}
