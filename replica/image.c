#include "replica/image.h"

#include "replica/json.h"

#include <strings.h>
#include <yyjson.h>

static void put_text(struct buf *out, struct slice text)
{
    if (text.ptr)
        lite_json_string(out, text);
    else
        buf_put_cstr(out, "null");
}

static char *take(struct buf *out, struct arena *arena)
{
    char *text = arena_strdup(arena, buf_cstr(out));

    buf_release(out);
    return text;
}

char *lite_image_make(const struct lite_schema *s, const struct lite_cell *cells, bool key_only,
                      struct arena *arena)
{
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    buf_put_u8(&out, '{');
    for (size_t i = 0; i < s->ncolumns; i++) {
        if (!cells[i].present || (key_only && s->columns[i].pk_index < 0))
            continue;
        if (out.len > 1)
            buf_put_u8(&out, ',');
        lite_json_string(&out, s->columns[i].name);
        buf_put_u8(&out, ':');
        put_text(&out, cells[i].text);
    }
    buf_put_u8(&out, '}');
    return take(&out, arena);
}

static yyjson_doc *parse(const char *json, struct err *err)
{
    yyjson_doc *doc = yyjson_read(json, strlen(json), 0);

    if (!doc)
        err_set(err, ERR_CORRUPT, "a stored row is not JSON: %.80s", json);
    return doc;
}

static void set_cell(struct lite_cell *cell, yyjson_val *v, struct arena *arena)
{
    cell->present = true;
    cell->text = (struct slice){NULL, 0};
    if (yyjson_is_str(v))
        cell->text = arena_copy(arena, (struct slice){yyjson_get_str(v), yyjson_get_len(v)});
}

bool lite_image_read(const char *image, const struct lite_schema *s, struct lite_cell *cells,
                     struct arena *arena, struct err *err)
{
    yyjson_doc *doc = parse(image, err);

    for (size_t i = 0; doc && i < s->ncolumns; i++) {
        struct slice name = s->columns[i].name;
        yyjson_val *v = yyjson_obj_getn(yyjson_doc_get_root(doc), name.ptr, name.len);

        if (v)
            set_cell(&cells[i], v, arena);
    }
    yyjson_doc_free(doc);
    return doc != NULL;
}

/* As SQLite's NOCASE has it: ASCII alone. */
static struct slice fold(struct slice text, struct arena *arena)
{
    struct slice copy = arena_copy(arena, text);
    char *p = (char *)(uintptr_t)copy.ptr;

    for (size_t i = 0; i < copy.len; i++) {
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] - 'A' + 'a');
    }
    return copy;
}

char *lite_row_make(const struct lite_schema *s, const struct lite_cell *cells, struct arena *arena)
{
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    for (size_t i = 0; i < s->nkey; i++) {
        const struct lite_column *c = &s->columns[s->key[i]];
        struct slice text = cells[s->key[i]].text;

        buf_put_u8(&out, i ? ',' : '[');
        put_text(&out, text.ptr && lite_type_folds(c->lite) ? fold(text, arena) : text);
    }
    buf_put_u8(&out, ']');
    return take(&out, arena);
}

bool lite_row_read(const char *row, const struct lite_schema *s, struct lite_cell *cells,
                   struct arena *arena, struct err *err)
{
    yyjson_doc *doc = parse(row, err);
    yyjson_val *list = yyjson_doc_get_root(doc);

    for (size_t i = 0; doc && i < s->nkey; i++)
        set_cell(&cells[s->key[i]], yyjson_arr_get(list, i), arena);
    yyjson_doc_free(doc);
    return doc != NULL;
}
