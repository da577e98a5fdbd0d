#include "change/message.h"
#include "change/json.h"

#define BOOL_OID 16
#define SHORT_TEXT 4096u

struct format_column {
    uint16_t index;     /* in the table */
    bool in_key;        /* of the primary key, or the table has none */
    bool is_bool;       /* or a domain over it */
    struct slice label; /* `,"name":` */
};

struct message_format {
    bool full;    /* updates carry whole rows and old values */
    bool has_key; /* the table has a primary key: otherwise the whole row is the key */
    uint16_t ncols, nkey;
    struct format_column *cols;
    uint16_t *key;         /* table indexes, in the key's order */
    struct slice key_head; /* `{"key":"\"public\".\"items\"` */
    struct slice relation; /* `","relation":["public","items"]` */
};

/* A name within a key: "/" and "." are doubled, so that keys of two tables never meet. */
static void put_key_name(struct buf *out, struct slice name)
{
    json_put_escaped(out, SLICE("\""));
    for (size_t i = 0; i < name.len; i++) {
        struct slice c = {name.ptr + i, 1};

        if (name.ptr[i] == '/' || name.ptr[i] == '.')
            json_put_escaped(out, c);
        json_put_escaped(out, c);
    }
    json_put_escaped(out, SLICE("\""));
}

static struct slice take(struct buf *b, struct arena *arena)
{
    struct slice s = arena_copy(arena, buf_slice(b));

    buf_clear(b);
    return s;
}

static void format_names(struct message_format *f, const struct table *table, struct arena *arena)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "{\"key\":\"");
    put_key_name(&b, table->nspname);
    buf_put_u8(&b, '.');
    put_key_name(&b, table->relname);
    f->key_head = take(&b, arena);

    buf_put_cstr(&b, "\",\"relation\":[");
    json_put_string(&b, table->nspname);
    buf_put_u8(&b, ',');
    json_put_string(&b, table->relname);
    buf_put_u8(&b, ']');
    f->relation = take(&b, arena);

    for (uint16_t i = 0; i < f->ncols; i++) {
        buf_put_u8(&b, ',');
        json_put_string(&b, table->cols[f->cols[i].index].name);
        buf_put_u8(&b, ':');
        f->cols[i].label = take(&b, arena);
    }
    buf_release(&b);
}

struct message_format *message_format_new(const struct table *table, const uint16_t *columns,
                                          uint16_t ncolumns, bool full, struct arena *arena)
{
    struct message_format *f = arena_calloc(arena, 1, sizeof(*f));

    f->full = full;
    f->has_key = table->npk > 0;
    f->ncols = ncolumns;
    f->cols = arena_calloc(arena, ncolumns, sizeof(*f->cols));
    for (uint16_t i = 0; i < ncolumns; i++) {
        const struct table_column *col = &table->cols[columns[i]];

        f->cols[i].index = columns[i];
        f->cols[i].in_key = !f->has_key || col->pk_index >= 0;
        f->cols[i].is_bool = col->basetypid == BOOL_OID;
    }
    f->nkey = f->has_key ? table->npk : ncolumns;
    f->key = arena_calloc(arena, f->nkey, sizeof(*f->key));
    memcpy(f->key, f->has_key ? table->pk : columns, f->nkey * sizeof(*f->key));
    format_names(f, table, arena);
    return f;
}

/* The key's text up to its closing quote, JSON-escaped: `\"public\".\"items\"/\"7\"`. */
static void put_key_values(const struct message_format *f, const struct tuple *row, struct buf *out)
{
    for (uint16_t i = 0; i < f->nkey; i++) {
        const struct value *v = &row->values[f->key[i]];
        struct slice rest = v->text;

        if (v->kind != VALUE_TEXT) {
            buf_put_cstr(out, "/_");
            continue;
        }
        buf_put_cstr(out, "/\\\"");
        for (const char *slash; rest.len && (slash = memchr(rest.ptr, '/', rest.len));) {
            size_t n = (size_t)(slash - rest.ptr) + 1;

            json_put_escaped(out, (struct slice){rest.ptr, n});
            buf_put_u8(out, '/');
            rest = (struct slice){rest.ptr + n, rest.len - n};
        }
        json_put_escaped(out, rest);
        buf_put_cstr(out, "\\\"");
    }
}

static void put_key(const struct message_format *f, const struct tuple *row, struct buf *out)
{
    buf_put_slice(out, f->key_head);
    put_key_values(f, row, out);
}

/* The key again, inside the headers: key_head without its `{"key":"`. */
static void put_header_key(const struct message_format *f, const char *name,
                           const struct tuple *row, struct buf *out)
{
    const size_t skip = sizeof("{\"key\":\"") - 1;

    buf_put_cstr(out, name);
    buf_put(out, f->key_head.ptr + skip, f->key_head.len - skip);
    put_key_values(f, row, out);
    buf_put_u8(out, '"');
}

static struct slice value_text(const struct format_column *col, const struct value *v,
                               bool spell_bool)
{
    if (spell_bool && col->is_bool && v->text.len == 1)
        return v->text.ptr[0] == 't' ? SLICE("true") : SLICE("false");
    return v->text;
}

/* A label and a text; as most are short, into room that is asked for once. */
static void put_text(struct buf *out, struct slice label, struct slice text)
{
    size_t worst = label.len + text.len * JSON_WORST + 2;
    bool is_short = text.len <= SHORT_TEXT && worst <= out->limit - out->len;
    char *p = is_short ? buf_room(out, worst) : NULL;

    if (p) {
        memcpy(p, label.ptr, label.len);
        buf_added(out, (size_t)(json_write_string(p + label.len, text) - p));
    } else {
        buf_put_slice(out, label);
        json_put_string(out, text);
    }
}

static void put_value(const struct format_column *col, const struct value *v, bool first,
                      bool spell_bool, struct buf *out)
{
    struct slice label = {col->label.ptr + first, col->label.len - first};

    if (v->kind == VALUE_TEXT) {
        put_text(out, label, value_text(col, v, spell_bool));
    } else {
        buf_put_slice(out, label);
        buf_put(out, "null", 4);
    }
}

/* Which of a row's columns a message carries. */
typedef bool column_filter(const struct message_format *f, const struct format_column *col,
                           const struct change *change);

static bool every_column(const struct message_format *f, const struct format_column *col,
                         const struct change *change)
{
    (void)f, (void)col, (void)change;
    return true;
}

static bool key_column(const struct message_format *f, const struct format_column *col,
                       const struct change *change)
{
    (void)f, (void)change;
    return col->in_key;
}

static bool changed_column(const struct message_format *f, const struct format_column *col,
                           const struct change *change)
{
    const struct value *new = &change->new->values[col->index];
    const struct value *old = change->old ? &change->old->values[col->index] : NULL;

    (void)f;
    if (new->kind == VALUE_UNCHANGED)
        return false;
    if (!old || change->old_is_key || old->kind != new->kind)
        return true;
    return new->kind == VALUE_TEXT && !slice_eq(old->text, new->text);
}

static bool key_or_changed_column(const struct message_format *f, const struct format_column *col,
                                  const struct change *change)
{
    return col->in_key || changed_column(f, col, change);
}

static void put_columns(const struct message_format *f, const struct tuple *row,
                        const struct change *change, column_filter *wanted, bool spell_bool,
                        struct buf *out)
{
    bool first = true;

    for (uint16_t i = 0; i < f->ncols; i++) {
        const struct format_column *col = &f->cols[i];
        const struct value *v = &row->values[col->index];

        if (v->kind == VALUE_UNCHANGED || !wanted(f, col, change))
            continue;
        put_value(col, v, first, spell_bool, out);
        first = false;
    }
    buf_put_u8(out, '}');
}

static void put_headers(const struct message_format *f, const char *operation,
                        const struct message_place *place, struct buf *out)
{
    buf_put_cstr(out, ",\"headers\":{\"operation\":\"");
    buf_put_cstr(out, operation);
    buf_put_slice(out, f->relation);
    if (!place)
        return;
    buf_put_cstr(out, ",\"txids\":[");
    buf_put_dec(out, place->xid);
    buf_put_cstr(out, "],\"lsn\":\"");
    buf_put_dec(out, place->commit_lsn);
    buf_put_cstr(out, "\",\"op_position\":");
    buf_put_dec(out, place->op);
}

void message_put_row(const struct message_format *f, const struct tuple *row, struct buf *out)
{
    put_key(f, row, out);
    buf_put_cstr(out, "\",\"value\":{");
    put_columns(f, row, NULL, every_column, true, out);
    put_headers(f, "insert", NULL, out);
    buf_put_cstr(out, "}}");
}

void message_put_insert(const struct message_format *f, const struct tuple *new,
                        const struct tuple *moved_from, const struct message_place *place,
                        struct buf *out)
{
    put_key(f, new, out);
    buf_put_cstr(out, "\",\"value\":{");
    put_columns(f, new, NULL, every_column, false, out);
    put_headers(f, "insert", place, out);
    if (moved_from)
        put_header_key(f, ",\"key_change_from\":\"", moved_from, out);
    buf_put_cstr(out, "}}");
}

void message_put_update(const struct message_format *f, const struct change *change,
                        const struct message_place *place, struct buf *out)
{
    put_key(f, change->new, out);
    buf_put_cstr(out, "\",\"value\":{");
    put_columns(f, change->new, change, f->full ? every_column : key_or_changed_column, false, out);
    if (f->full && change->old && !change->old_is_key) {
        buf_put_cstr(out, ",\"old_value\":{");
        put_columns(f, change->old, change, changed_column, false, out);
    }
    put_headers(f, "update", place, out);
    buf_put_cstr(out, "}}");
}

void message_put_delete(const struct message_format *f, const struct change *change,
                        const struct tuple *moved_to, const struct message_place *place,
                        struct buf *out)
{
    bool whole = f->full && !change->old_is_key;

    put_key(f, change->old, out);
    buf_put_cstr(out, "\",\"value\":{");
    put_columns(f, change->old, change, whole ? every_column : key_column, false, out);
    put_headers(f, "delete", place, out);
    if (moved_to)
        put_header_key(f, ",\"key_change_to\":\"", moved_to, out);
    buf_put_cstr(out, "}}");
}

bool message_lacks(const struct message_format *f, const struct tuple *row)
{
    for (uint16_t i = 0; i < f->ncols; i++) {
        if (row->values[f->cols[i].index].kind == VALUE_UNCHANGED)
            return true;
    }
    return false;
}
