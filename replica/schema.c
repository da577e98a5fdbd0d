#include "replica/schema.h"

#include "replica/sql.h"

#include <strings.h>
#include <yyjson.h>

static struct slice text_member(yyjson_val *object, const char *name, struct arena *arena)
{
    yyjson_val *v = yyjson_obj_get(object, name);

    if (!yyjson_is_str(v))
        return SLICE("");
    return arena_copy(arena, (struct slice){yyjson_get_str(v), yyjson_get_len(v)});
}

static bool parse_column(yyjson_val *name, yyjson_val *v, struct arena *arena,
                         struct lite_column *c, struct err *err)
{
    yyjson_val *pk = yyjson_obj_get(v, "pk_index");
    struct slice text = {yyjson_get_str(name), yyjson_get_len(name)};

    *c = (struct lite_column){.name = arena_copy(arena, text), .pk_index = -1};
    c->type = text_member(v, "type", arena);
    c->base = text_member(v, "base", arena);
    c->dims = yyjson_get_int(yyjson_obj_get(v, "dims"));
    c->not_null = yyjson_get_bool(yyjson_obj_get(v, "not_null"));
    if (yyjson_is_uint(pk) && yyjson_get_uint(pk) < 1600)
        c->pk_index = (int)yyjson_get_uint(pk);
    else if (pk && !yyjson_is_null(pk))
        return err_set(err, ERR_PROTOCOL, "schema: column \"%s\" has a bad pk_index", c->name.ptr);
    if (!c->type.len || !c->name.len || memchr(text.ptr, '\0', text.len))
        return err_set(err, ERR_PROTOCOL, "schema: column \"%s\" has no name or no type",
                       c->name.ptr);
    c->lite = lite_type_of(c->type, c->base, c->dims);
    return true;
}

static bool check_names(const struct lite_schema *s, struct err *err)
{
    for (size_t i = 0; i < s->ncolumns; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcasecmp(s->columns[i].name.ptr, s->columns[j].name.ptr) != 0)
                continue;
            err_set(err, ERR_UNSUPPORTED,
                    "columns \"%s\" and \"%s\" differ only by case, which SQLite ignores",
                    s->columns[j].name.ptr, s->columns[i].name.ptr);
            return err_hint(err, "name only one of them in the shape's column list");
        }
    }
    return true;
}

static bool collect_key(struct lite_schema *s, struct arena *arena, struct err *err)
{
    s->key = arena_calloc(arena, s->ncolumns, sizeof(*s->key));
    for (int at = 0;; at++) {
        size_t found = s->ncolumns;

        for (size_t i = 0; i < s->ncolumns; i++) {
            if (s->columns[i].pk_index == at)
                found = i;
        }
        if (found == s->ncolumns)
            break;
        s->key[s->nkey++] = found;
    }
    for (size_t i = 0, n = 0; i < s->ncolumns; i++) {
        if (s->columns[i].pk_index >= 0 && ++n > s->nkey)
            return err_set(err, ERR_PROTOCOL, "schema: the primary key's places have a gap");
    }
    return true;
}

bool lite_schema_parse(yyjson_val *object, struct arena *arena, struct lite_schema *schema,
                       struct err *err)
{
    size_t i, n;
    yyjson_val *name, *v;

    *schema = (struct lite_schema){0};
    if (!yyjson_is_obj(object) || yyjson_obj_size(object) == 0)
        return err_set(err, ERR_PROTOCOL, "schema: not an object with columns");
    if (yyjson_obj_size(object) > 1600)
        return err_set(err, ERR_PROTOCOL, "schema: more columns than Postgres allows");
    schema->columns = arena_calloc(arena, yyjson_obj_size(object), sizeof(*schema->columns));
    yyjson_obj_foreach(object, i, n, name, v)
    {
        if (!parse_column(name, v, arena, &schema->columns[schema->ncolumns++], err))
            return false;
    }
    return check_names(schema, err) && collect_key(schema, arena, err);
}

bool lite_schema_read(struct slice json, struct arena *arena, struct lite_schema *schema,
                      struct err *err)
{
    yyjson_doc *doc = yyjson_read(json.ptr, json.len, 0);

    if (!doc)
        return err_set(err, ERR_CORRUPT, "the stored schema is not JSON");
    bool ok = lite_schema_parse(yyjson_doc_get_root(doc), arena, schema, err);
    yyjson_doc_free(doc);
    return ok;
}

static bool column_same(const struct lite_column *a, const struct lite_column *b)
{
    return slice_eq(a->name, b->name) && a->pk_index == b->pk_index && slice_eq(a->type, b->type) &&
           slice_eq(a->base, b->base) && (a->dims > 0) == (b->dims > 0);
}

bool lite_schema_same(const struct lite_schema *a, const struct lite_schema *b)
{
    if (a->ncolumns != b->ncolumns)
        return false;
    for (size_t i = 0; i < a->ncolumns; i++) {
        if (!column_same(&a->columns[i], &b->columns[i]))
            return false;
    }
    return true;
}

static bool is_rowid_key(const struct lite_schema *s, const struct lite_column *c)
{
    return s->nkey == 1 && c->pk_index == 0 && c->lite.rowid;
}

char *lite_schema_ddl(const struct lite_schema *schema, const char *table, struct arena *arena)
{
    struct sql sql;
    bool key_done = schema->nkey == 0;

    sql_init(&sql);
    sql_put(&sql, "CREATE TABLE \"%w\"(", table);
    for (size_t i = 0; i < schema->ncolumns; i++) {
        const struct lite_column *c = &schema->columns[i];

        sql_put(&sql, "%s\n  \"%w\" %s", i ? "," : "", c->name.ptr, lite_type_decl(c->lite));
        if (is_rowid_key(schema, c)) {
            sql_put(&sql, " PRIMARY KEY");
            key_done = true;
        }
        if (c->pk_index >= 0)
            sql_put(&sql, " NOT NULL");
    }
    for (size_t i = 0; i < schema->nkey && !key_done; i++) {
        sql_put(&sql, i ? ", \"%w\"" : ",\n  PRIMARY KEY (\"%w\"",
                schema->columns[schema->key[i]].name.ptr);
    }
    sql_put(&sql, key_done ? "\n)" : ")\n)");
    return sql_take(&sql, arena);
}

const char *lite_schema_rowid(const struct lite_schema *schema)
{
    static const char *const words[] = {"rowid", "_rowid_", "oid"};

    for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
        bool taken = false;

        for (size_t i = 0; i < schema->ncolumns; i++)
            taken = taken || strcasecmp(schema->columns[i].name.ptr, words[w]) == 0;
        if (!taken)
            return words[w];
    }
    return NULL;
}
