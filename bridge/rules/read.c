/*
 * The sections as they are written. Each kind of section has a table of its
 * entries; what can be told of one without the catalogue is told here.
 */
#include "rules/rules_private.h"
#include "settings/inifile.h"
#include "shapes/ident.h"

#include <stdlib.h>

#define SHAPE "shape "
#define WRITE "write "

struct reader {
    struct rules *rules;
    struct arena *arena; /* the rules' */
    struct arena scratch;
    struct named_shape **last_shape;
    struct named_write **last_write;
    struct slice role; /* the first [write] section's, as it is written, and ... */
    int role_line;     /* ... its line; 0: there is none yet */
};

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool again(struct err *err)
{
    return err_set(err, ERR_CONFIG, "is set a second time");
}

/* ---- [shape NAME] ---------------------------------------------------------------------------- */

/* Without the space beside its commas, which a request's list may not have. */
static struct slice without_space(struct slice list, struct arena *arena)
{
    char *bytes = arena_alloc(arena, list.len + 1);
    bool quoted = false;
    size_t n = 0;

    for (size_t i = 0; i < list.len; i++) {
        size_t end = i;

        quoted ^= list.ptr[i] == '"';
        while (!quoted && end < list.len && (list.ptr[end] == ' ' || list.ptr[end] == '\t'))
            end++;
        bool beside = n == 0 || bytes[n - 1] == ',' || end == list.len || list.ptr[end] == ',';
        if (end > i && beside)
            i = end - 1;
        else
            bytes[n++] = list.ptr[i];
    }
    return (struct slice){bytes, n};
}

static bool shape_table(struct reader *r, struct named_shape *shape, struct slice value, int line,
                        struct err *err)
{
    struct slice nspname, relname;

    (void)line;
    shape->table = value;
    return shape_table_name(value, &r->scratch, &nspname, &relname, err);
}

static bool shape_where(struct reader *r, struct named_shape *shape, struct slice value, int line,
                        struct err *err)
{
    shape->where_line = line;
    shape->where = value;
    return claims_split(value, r->arena, &shape->clause, err);
}

static bool shape_columns(struct reader *r, struct named_shape *shape, struct slice value, int line,
                          struct err *err)
{
    struct slice *names;
    size_t n;

    shape->columns_line = line;
    shape->columns = without_space(value, r->arena);
    return ident_split(shape->columns, ',', &r->scratch, &names, &n, err);
}

static const struct {
    const char *name;
    bool (*take)(struct reader *r, struct named_shape *shape, struct slice value, int line,
                 struct err *err);
    size_t at; /* of its text in struct named_shape */
} shape_entries[] = {
    {"table", shape_table, offsetof(struct named_shape, table)},
    {"where", shape_where, offsetof(struct named_shape, where)},
    {"columns", shape_columns, offsetof(struct named_shape, columns)},
};

static struct named_shape *find_shape(struct reader *r, struct slice name, int line)
{
    struct named_shape *shape = strmap_get(&r->rules->shapes, name);

    if (shape)
        return shape;
    shape = arena_calloc(r->arena, 1, sizeof(*shape));
    shape->name = arena_copy(r->arena, name);
    shape->line = line;
    strmap_set(&r->rules->shapes, shape->name, shape);
    *r->last_shape = shape;
    r->last_shape = &shape->next;
    return shape;
}

static bool take_shape(struct reader *r, const struct inifile_entry *entry, struct err *err)
{
    struct named_shape *shape =
        find_shape(r, slice_of(entry->section + strlen(SHAPE)), entry->line);

    for (size_t i = 0; i < sizeof(shape_entries) / sizeof(*shape_entries); i++) {
        if (strcmp(entry->name, shape_entries[i].name) != 0)
            continue;
        if (((struct slice *)(void *)((char *)shape + shape_entries[i].at))->ptr)
            return again(err);
        return shape_entries[i].take(r, shape, arena_copy(r->arena, slice_of(entry->value)),
                                     entry->line, err);
    }
    err_set(err, ERR_CONFIG, "is not known");
    return err_hint(err, "a shape has table, where and columns");
}

/* ---- [write TABLE] --------------------------------------------------------------------------- */

/* "insert, update" */
static bool read_ops(struct reader *r, struct slice value, bool ops[WRITE_OPS], struct err *err)
{
    struct slice *names;
    size_t n;

    if (!ident_split(without_space(value, &r->scratch), ',', &r->scratch, &names, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        int op = WRITE_INSERT;

        while (op < WRITE_OPS && !slice_is(names[i], write_op_name((enum write_op)op)))
            op++;
        if (op == WRITE_OPS)
            return err_set(err, ERR_CONFIG, "\"%.*s\" is none of insert, update, delete",
                           SLICE_ARG(names[i]));
        if (ops[op])
            return err_set(err, ERR_CONFIG, "names \"%.*s\" twice", SLICE_ARG(names[i]));
        ops[op] = true;
    }
    return true;
}

static bool write_operations(struct reader *r, struct named_write *write,
                             const struct inifile_entry *entry, struct err *err)
{
    if (write->has_ops)
        return again(err);
    write->has_ops = true;
    return read_ops(r, slice_of(entry->value), write->ops, err);
}

static bool write_skip(struct reader *r, struct named_write *write,
                       const struct inifile_entry *entry, struct err *err)
{
    if (write->has_skip)
        return again(err);
    write->has_skip = true;
    if (!read_ops(r, slice_of(entry->value), write->skip, err))
        return false;
    return !write->skip[WRITE_INSERT] ||
           err_set(err, ERR_CONFIG, "is for update and delete: an insert has no row to miss");
}

static bool write_columns(struct reader *r, struct named_write *write,
                          const struct inifile_entry *entry, struct err *err)
{
    struct slice *names;

    if (write->columns_line)
        return again(err);
    write->columns_line = entry->line;
    if (!ident_split(without_space(slice_of(entry->value), r->arena), ',', r->arena, &names,
                     &write->ncolumns, err))
        return false;
    write->columns = names;
    return true;
}

static bool write_check(struct reader *r, struct named_write *write,
                        const struct inifile_entry *entry, struct err *err)
{
    if (write->check_line)
        return again(err);
    write->check_line = entry->line;
    if (!claims_split(slice_of(entry->value), r->arena, &write->check, err))
        return false;
    if (write->check.n)
        write->check_text = where_text_new(write->check.text, err);
    return !write->check.n || write->check_text;
}

/* A claim and nothing else. */
static bool read_claim(struct reader *r, struct slice value, struct claims_clause *out,
                       struct err *err)
{
    return claims_split(value, r->arena, out, err) &&
           ((out->n == 1 && slice_is(out->text, "($1)")) ||
            err_set(err, ERR_CONFIG, "must be a claim, as auth.sub"));
}

/* One for all: the transaction that it is set for may write to several tables. */
static bool same_role(struct reader *r, const struct named_write *write,
                      const struct inifile_entry *entry, struct err *err)
{
    if (r->rules->first_write == write) {
        r->role_line = entry->line;
        r->role = arena_copy(r->arena, slice_of(entry->value));
        return true;
    }
    if (r->role_line && slice_is(r->role, entry->value))
        return true;
    err_set(err, ERR_CONFIG, "differs from that of the first [write] section");
    return err_hint(err, "a transaction may write to several tables, and has one role: name it in "
                         "each section, or in none");
}

static bool write_role(struct reader *r, struct named_write *write,
                       const struct inifile_entry *entry, struct err *err)
{
    struct slice *names;
    size_t n;

    if (write->role.ptr || write->role_claim.n)
        return again(err);
    if (!same_role(r, write, entry, err))
        return false;
    if (begins_with(entry->value, "auth."))
        return read_claim(r, slice_of(entry->value), &write->role_claim, err);
    if (!ident_split(slice_of(entry->value), ',', r->arena, &names, &n, err))
        return false;
    write->role = arena_copy(r->arena, names[0]); /* its NUL is needed */
    return (n == 1 && !slice_is(write->role, "none")) ||
           err_set(err, ERR_CONFIG, "must be the name of a role, or a claim, as auth.role");
}

/* A kind, or the name of a function. */
static bool read_conflict(struct reader *r, struct slice value, struct column_entry *out,
                          struct err *err)
{
    struct write_function *f = &out->function;

    if (write_conflict_parse(value, &out->conflict) && out->conflict != CONFLICT_FUNCTION)
        return true;
    out->conflict = CONFLICT_FUNCTION;
    if (memchr(value.ptr, '.', value.len))
        return shape_table_name(value, r->arena, &f->nspname, &f->name, err);
    err_set(err, ERR_CONFIG, "\"%.*s\" is no kind of conflict",
            (int)(value.len < 60 ? value.len : 60), value.ptr);
    return err_hint(err, "merge, reject, counter, min, max, union, keep, or a function as "
                         "schema.name");
}

static bool write_conflict(struct reader *r, struct named_write *write,
                           const struct inifile_entry *entry, struct err *err)
{
    if (write->conflict_line)
        return again(err);
    write->conflict_line = write->conflict.line = entry->line;
    return read_conflict(r, slice_of(entry->value), &write->conflict, err);
}

/* `prefix.COLUMN`: the column's entry in the list; NULL with the error. */
static struct column_entry *add_column(struct reader *r, struct column_entry **list,
                                       const struct inifile_entry *entry, struct err *err)
{
    struct slice *names;
    size_t n;

    if (!ident_split(slice_of(strchr(entry->name, '.') + 1), ',', r->arena, &names, &n, err))
        return NULL;
    for (; *list; list = &(*list)->next) {
        if (slice_eq((*list)->column, names[0])) {
            again(err);
            return NULL;
        }
    }
    *list = arena_calloc(r->arena, 1, sizeof(**list));
    (*list)->column = names[0];
    (*list)->line = entry->line;
    return *list;
}

static bool write_set(struct reader *r, struct named_write *write,
                      const struct inifile_entry *entry, struct err *err)
{
    struct column_entry *set = add_column(r, &write->set, entry, err);

    return set && read_claim(r, slice_of(entry->value), &set->claim, err);
}

static bool write_column_conflict(struct reader *r, struct named_write *write,
                                  const struct inifile_entry *entry, struct err *err)
{
    struct column_entry *of = add_column(r, &write->conflicts, entry, err);

    return of && read_conflict(r, slice_of(entry->value), of, err);
}

static const struct {
    const char *name; /* with a dot behind it: a column's name follows */
    bool (*take)(struct reader *r, struct named_write *write, const struct inifile_entry *entry,
                 struct err *err);
} write_entries[] = {
    {"operations", write_operations},
    {"columns", write_columns},
    {"check", write_check},
    {"set.", write_set},
    {"role", write_role},
    {"conflict", write_conflict},
    {"conflict.", write_column_conflict},
    {"skip_missing", write_skip},
};

/* By the table that it names, not by how it is written. */
static struct named_write *find_write(struct reader *r, const struct inifile_entry *entry,
                                      struct err *err)
{
    struct slice section = slice_of(entry->section);
    struct named_write *write = strmap_get(&r->rules->writes, section), *other;

    if (write)
        return write;
    write = arena_calloc(r->arena, 1, sizeof(*write));
    if (!shape_table_name(slice_of(entry->section + strlen(WRITE)), r->arena, &write->nspname,
                          &write->relname, err))
        return NULL;
    for (other = r->rules->first_write; other; other = other->next) {
        if (slice_eq(other->nspname, write->nspname) && slice_eq(other->relname, write->relname)) {
            err_set(err, ERR_CONFIG, "the table has a section already, in line %d", other->line);
            return NULL;
        }
    }
    section = arena_copy(r->arena, section);
    write->section = section.ptr;
    write->line = entry->line;
    strmap_set(&r->rules->writes, section, write);
    *r->last_write = write;
    r->last_write = &write->next;
    return write;
}

static bool take_write(struct reader *r, const struct inifile_entry *entry, struct err *err)
{
    struct named_write *write = find_write(r, entry, err);

    for (size_t i = 0; write && i < sizeof(write_entries) / sizeof(*write_entries); i++) {
        const char *name = write_entries[i].name;
        bool dotted = name[strlen(name) - 1] == '.';

        if (dotted ? begins_with(entry->name, name) : strcmp(entry->name, name) == 0)
            return write_entries[i].take(r, write, entry, err);
    }
    if (!write)
        return false;
    err_set(err, ERR_CONFIG, "is not known");
    return err_hint(err, "a table to write has operations, columns, check, set.COLUMN, role, "
                         "conflict, conflict.COLUMN and skip_missing");
}

/* ---- the file -------------------------------------------------------------------------------- */

static bool take_entry(void *arg, const struct inifile_entry *entry, struct err *err)
{
    struct reader *r = arg;

    if (!inifile_is_rule(entry->section))
        return true;
    bool ok =
        begins_with(entry->section, SHAPE) ? take_shape(r, entry, err) : take_write(r, entry, err);

    arena_reset(&r->scratch);
    if (ok)
        return true;
    err_wrap(err, "[%s] %s", entry->section, entry->name);
    return rules_wrong(r->rules->path, entry->line, err);
}

/* What is only told once all entries are there. */
static bool check_whole(struct reader *r, struct err *err)
{
    for (const struct named_shape *s = r->rules->first_shape; s; s = s->next) {
        if (s->table.len)
            continue;
        err_set(err, ERR_CONFIG, "[" SHAPE "%.100s] names no table", s->name.ptr);
        return rules_wrong(r->rules->path, s->line, err);
    }
    for (const struct named_write *w = r->rules->first_write; w; w = w->next) {
        if (!w->has_ops)
            err_set(err, ERR_CONFIG, "[%s] names no operations", w->section);
        else if (r->role_line && !w->role.ptr && !w->role_claim.n)
            err_set(err, ERR_CONFIG, "[%s] names no role, and the section before does", w->section);
        else
            continue;
        return rules_wrong(r->rules->path, w->line, err);
    }
    return true;
}

struct rules *rules_read(FILE *file, const char *path, struct err *err)
{
    struct rules *rules = xcalloc(1, sizeof(*rules));
    struct reader r = {.rules = rules,
                       .arena = &rules->arena,
                       .last_shape = &rules->first_shape,
                       .last_write = &rules->first_write};

    atomic_init(&rules->refs, 1);
    rules->path = arena_copy(&rules->arena, slice_of(path));
    bool ok = inifile_read(file, path, take_entry, &r, err) && check_whole(&r, err);
    arena_release(&r.scratch);
    if (ok)
        return rules;
    rules_unref(rules);
    return NULL;
}
