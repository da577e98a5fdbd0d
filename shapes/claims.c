#include "shapes/claims.h"
#include "base/buf.h"
#include "shapes/clause.h"

#include <ctype.h>
#include <stdlib.h>

#define MOST_NAMES 8 /* of one claim */
#define MOST_PLACES 256

/* Where a claim is written. */
struct place {
    int begin, end; /* in clause.sql */
    struct claim claim;
    size_t number; /* of its parameter, from 1 */
};

struct split {
    struct clause clause;
    struct arena *arena;
    struct place places[MOST_PLACES];
    size_t n;
    struct err *err;
};

static bool is_word_start(char c)
{
    return isalpha((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* Behind the identifier that begins at `p`; NULL: there is none. */
static const char *skip_identifier(const char *p)
{
    if (is_word_start(*p)) {
        while (is_word_start(*p) || isdigit((unsigned char)*p) || *p == '$')
            p++;
        return p;
    }
    if (*p != '"')
        return NULL;
    for (p++; *p; p++) {
        if (*p == '"' && *++p != '"')
            return p;
    }
    return NULL;
}

/* The reference's text: identifiers and dots, nothing in between. */
static bool find_end(const struct split *s, struct place *place)
{
    const char *p = s->clause.sql + place->begin;

    for (size_t i = 0; i <= place->claim.n; i++) {
        if (i > 0 && *p++ != '.')
            p = "";
        p = skip_identifier(p);
        if (!p)
            return clause_error(s->err, place->begin, "write auth.CLAIM without space in it");
    }
    place->end = (int)(p - s->clause.sql);
    return true;
}

static bool read_names(const struct split *s, yyjson_val *parts, struct place *place)
{
    size_t n = yyjson_arr_size(parts) - 1, i, max;
    struct slice *names = arena_calloc(s->arena, n, sizeof(*names));
    yyjson_val *part;

    if (n > MOST_NAMES)
        return clause_error(s->err, place->begin, "the claim has too many names");
    yyjson_arr_foreach(parts, i, max, part)
    {
        const char *name = node_string(part);

        if (!name)
            return clause_error(s->err, place->begin, "auth must be followed by a claim's name");
        if (i > 0)
            names[i - 1] = arena_copy(s->arena, slice_of(name));
    }
    place->claim = (struct claim){names, n};
    return true;
}

static bool take_reference(struct split *s, yyjson_val *fields)
{
    yyjson_val *parts = yyjson_obj_get(fields, "fields");
    const char *first = node_string(yyjson_arr_get_first(parts));
    struct place place = {.begin = node_location(fields)};

    if (!first || strcmp(first, "auth") != 0 || yyjson_arr_size(parts) < 2)
        return true; /* a column's, be it called auth */
    if (s->n == MOST_PLACES)
        return clause_error(s->err, place.begin, "the clause names claims too often");
    if (!read_names(s, parts, &place) || !find_end(s, &place))
        return false;
    s->places[s->n++] = place;
    return true;
}

/* As deep as clause_parse() lets a tree be. */
static bool walk(struct split *s, yyjson_val *node)
{
    size_t i, max;
    yyjson_val *key, *value;

    if (yyjson_is_arr(node)) {
        yyjson_arr_foreach(node, i, max, value)
        {
            if (!walk(s, value))
                return false;
        }
    }
    if (!yyjson_is_obj(node))
        return true;
    yyjson_obj_foreach(node, i, max, key, value)
    {
        if (yyjson_equals_str(key, "ParamRef"))
            return clause_error(s->err, node_location(value),
                                "a clause that is configured has no parameters: name a claim, as "
                                "in auth.sub");
        bool ok = yyjson_equals_str(key, "ColumnRef") ? take_reference(s, value) : walk(s, value);
        if (!ok)
            return false;
    }
    return true;
}

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return (x->begin > y->begin) - (x->begin < y->begin);
}

static bool same_claim(const struct claim *a, const struct claim *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = slice_eq(a->names[i], b->names[i]);
    return same;
}

/* Each claim once, in the order in which they come. */
static void number(struct split *s, struct claims_clause *out)
{
    struct claim *claims = arena_calloc(s->arena, s->n ? s->n : 1, sizeof(*claims));
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        size_t known = 0;

        while (known < n && !same_claim(&claims[known], &s->places[i].claim))
            known++;
        if (known == n)
            claims[n++] = s->places[i].claim;
        s->places[i].number = known + 1;
    }
    out->claims = claims;
    out->n = n;
}

static void put_text(const struct split *s, struct claims_clause *out)
{
    const char *sql = s->clause.sql;
    int from = CLAUSE_PREFIX_LEN;
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    for (size_t i = 0; i < s->n; i++) {
        const struct place *place = &s->places[i];

        buf_put(&text, sql + from, (size_t)(place->begin - from));
        /* Brackets keep the number and the sign before it apart from what stands beside them. */
        buf_printf(&text, "($%zu)", place->number);
        from = place->end;
    }
    buf_put_cstr(&text, sql + from);
    out->text = arena_copy(s->arena, (struct slice){buf_cstr(&text), text.len});
    buf_release(&text);
}

bool claims_split(struct slice clause, struct arena *arena, struct claims_clause *out,
                  struct err *err)
{
    struct split *s = xcalloc(1, sizeof(*s));

    s->arena = arena;
    s->err = err;
    bool ok = clause_parse(clause, &s->clause, err);
    if (ok && walk(s, s->clause.where)) {
        qsort(s->places, s->n, sizeof(*s->places), compare_places);
        number(s, out);
        put_text(s, out);
    } else {
        ok = false;
    }
    if (s->clause.sql)
        clause_release(&s->clause);
    free(s);
    return ok;
}
