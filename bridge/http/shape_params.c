#include "http/shape_params.h"
#include "change/json.h"
#include "http/shape_fields.h"

/* ---- what is wrong, as JSON ------------------------------------------------------------------ */

static void put_field(struct buf *out, const char *field, struct slice text, bool first)
{
    if (!first)
        buf_put_u8(out, ',');
    json_put_string(out, slice_of(field));
    buf_put_cstr(out, ":[");
    json_put_string(out, text);
    buf_put_u8(out, ']');
}

/* The problems of one part as an object's members; returns how many. */
static size_t put_part(struct buf *out, const struct shape_fields *f, bool of_subset)
{
    size_t n = 0;

    for (size_t i = 0; i < f->nproblems; i++) {
        if (f->problems[i].in_subset == of_subset)
            put_field(out, f->problems[i].field, f->problems[i].text, n++ == 0);
    }
    return n;
}

static const char head[] = "{\"message\":\"Invalid request\",\"errors\":{";

static void put_problems(struct buf *out, const struct shape_fields *f)
{
    struct buf nested;

    buf_init(&nested, BUF_NO_LIMIT);
    buf_put_cstr(out, head);
    bool some = put_part(out, f, false) > 0;
    if (put_part(&nested, f, true)) {
        buf_put_cstr(out, some ? ",\"subset\":{" : "\"subset\":{");
        buf_put_slice(out, buf_slice(&nested));
        buf_put_u8(out, '}');
    }
    buf_put_cstr(out, "}}");
    buf_release(&nested);
}

void shape_invalid_put(struct buf *out, const char *field, const struct err *err)
{
    const size_t len = sizeof("subset.") - 1;
    bool nested = strncmp(field, "subset.", len) == 0, plain = err->code == ERR_PG;

    buf_put_cstr(out, head);
    if (nested)
        buf_put_cstr(out, "\"subset\":{");
    json_put_string(out, slice_of(nested ? field + len : field));
    buf_put_cstr(out, plain ? ":" : ":[");
    json_put_string(out, slice_of(err->msg));
    buf_put_cstr(out, plain ? "" : "]");
    buf_put_cstr(out, nested ? "}}}" : "}}");
}

/* ---- the shape ------------------------------------------------------------------------------- */

/* "full" is `when_full`; absent is the default, whose name is `otherwise`. */
static bool read_choice(struct shape_fields *f, const char *field, const char *chosen,
                        const char *otherwise)
{
    struct slice text = shape_fields_text(f, PART_SHAPE, field);

    if (text.ptr && !slice_is(text, chosen) && !slice_is(text, otherwise))
        shape_fields_wrong(f, PART_SHAPE, field, "is invalid");
    return text.ptr && slice_is(text, chosen);
}

/* Everything that has a type of its own, but for the parameters' numbers. */
static void cast_shape(struct shape_fields *f, struct shape_params *out)
{
    bool given;

    out->name = shape_fields_text(f, PART_SHAPE, "shape");
    out->shape.table = shape_fields_text(f, PART_SHAPE, "table");
    out->shape.where = shape_fields_text(f, PART_SHAPE, "where");
    out->shape.columns = shape_fields_names(f, "columns");
    out->shape.queryable = shape_fields_names(f, "queryable_columns");
    if (!out->shape.columns.ptr)
        out->shape.columns = out->shape.queryable;
    out->shape.replica =
        read_choice(f, "replica", "full", "default") ? SHAPE_REPLICA_FULL : SHAPE_REPLICA_DEFAULT;
    out->shape.changes_only = read_choice(f, "log", "changes_only", "full");
    out->handle = shape_fields_text(f, PART_SHAPE, "handle");
    out->compaction = shape_fields_bool(f, "experimental_compaction");
    out->live = shape_fields_flag(f, "live", &given);
    out->sse = shape_fields_flag(f, "live_sse", &given);
    if (!given)
        out->sse = shape_fields_flag(f, "experimental_live_sse", &given);
}

/* ---- the offset ------------------------------------------------------------------------------ */

static bool take_number(struct slice *text, uint64_t *out)
{
    size_t n = 0;

    for (*out = 0; n < text->len && text->ptr[n] >= '0' && text->ptr[n] <= '9'; n++) {
        if (__builtin_mul_overflow(*out, (uint64_t)10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(text->ptr[n] - '0'), out))
            return false;
    }
    text->ptr += n;
    text->len -= n;
    return n > 0;
}

static bool parse_offset(struct slice text, struct shape_params *out)
{
    if (slice_is(text, "-1") || slice_is(text, "-1_0")) {
        out->at = SHAPE_OFFSET_START;
        return true;
    }
    if (slice_is(text, "now")) {
        out->at = SHAPE_OFFSET_NOW;
        return true;
    }
    out->at = SHAPE_OFFSET_AT;
    if (!take_number(&text, &out->offset.lsn) || text.len == 0 || text.ptr[0] != '_')
        return false;
    text = (struct slice){text.ptr + 1, text.len - 1};
    if (slice_is(text, "inf")) {
        out->offset.op = UINT64_MAX;
        return true;
    }
    return take_number(&text, &out->offset.op) && text.len == 0;
}

static bool check_offset(struct shape_fields *f, struct slice text, struct shape_params *out)
{
    if (!parse_offset(text, out))
        return shape_fields_wrong(f, PART_SHAPE, "offset", "has invalid format");
    if (out->at != SHAPE_OFFSET_AT)
        out->handle = SLICE("");
    else if (!out->handle.len)
        return shape_fields_wrong(f, PART_SHAPE, "handle", "can't be blank when offset != -1");
    return true;
}

static bool check_live(struct shape_fields *f, const struct shape_params *out)
{
    if (out->live && out->at == SHAPE_OFFSET_START)
        return shape_fields_wrong(f, PART_SHAPE, "live", "can't be true when offset == -1");
    if (out->live && out->at == SHAPE_OFFSET_NOW)
        return shape_fields_wrong(f, PART_SHAPE, "live", "can't be true when offset is 'now'");
    if (out->sse && !out->live)
        return shape_fields_wrong(f, PART_SHAPE, "live_sse",
                                  "can't be true unless live is also true");
    return true;
}

/* ---- stages ---------------------------------------------------------------------------------- */

/* A text that is no number counts as 0. */
static uint64_t read_cursor(const struct shape_fields *f)
{
    uint64_t cursor;
    struct slice text;

    return http_query_get(f->query, "cursor", &text) && take_number(&text, &cursor) && !text.len
               ? cursor
               : 0;
}

/* Before it is copied: what the parser would refuse does not wait for its turn to be refused. */
static void check_clause(struct shape_fields *f, enum shape_part part, struct slice clause)
{
    struct err err;

    if (!where_check_size(clause, "where clause", &err))
        shape_fields_wrong(f, part, "where", err.msg);
}

/* What is named has all that defines it. */
static bool check_named(struct shape_fields *f, const struct shape_params *out)
{
    static const char text[] = "can't be given together with shape";
    const struct {
        const char *field;
        bool given;
    } fields[] = {
        {"table", out->shape.table.len > 0},
        {"where", out->shape.where.len > 0},
        {"columns", out->shape.columns.ptr != NULL},
        {"params", shape_fields_params(f, PART_SHAPE).n > 0},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        if (fields[i].given)
            shape_fields_wrong(f, PART_SHAPE, fields[i].field, text);
    }
    return f->nproblems == 0;
}

static bool check_table(struct shape_fields *f, struct shape_params *out)
{
    if (out->name.len)
        return check_named(f, out);
    if (!out->shape.table.len)
        shape_fields_wrong(f, PART_SHAPE, "table", "can't be blank");
    check_clause(f, PART_SHAPE, out->shape.where);
    out->shape.params = shape_fields_params(f, PART_SHAPE);
    return f->nproblems == 0;
}

static bool check_subset(struct shape_fields *f, struct shape_params *out)
{
    struct subset_request *s = &out->subset;
    bool has_limit, has_offset;

    out->is_subset = shape_fields_has_subset(f);
    if (!out->is_subset)
        return true;
    s->where = shape_fields_text(f, PART_SUBSET, "where");
    s->order_by = shape_fields_text(f, PART_SUBSET, "order_by");
    s->params = shape_fields_params(f, PART_SUBSET);
    check_clause(f, PART_SUBSET, s->where);
    int64_t limit = shape_fields_int(f, PART_SUBSET, "limit", &has_limit);
    int64_t offset = shape_fields_int(f, PART_SUBSET, "offset", &has_offset);
    if (has_limit && limit <= 0)
        shape_fields_wrong(f, PART_SUBSET, "limit", "must be greater than 0");
    if (has_offset && offset < 0)
        shape_fields_wrong(f, PART_SUBSET, "offset", "must be greater than or equal to 0");
    if ((has_limit || has_offset) && !s->order_by.len)
        shape_fields_wrong(f, PART_SUBSET, "order_by",
                           "order_by is required when limit or offset is present");
    s->limit = (uint64_t)limit;
    s->offset = (uint64_t)offset;
    return f->nproblems == 0;
}

static bool check_all(struct shape_fields *f, struct shape_params *out)
{
    struct slice offset = shape_fields_text(f, PART_SHAPE, "offset");

    cast_shape(f, out);
    out->cursor = read_cursor(f);
    if (!offset.ptr)
        shape_fields_wrong(f, PART_SHAPE, "offset", "can't be blank");
    return f->nproblems == 0 && check_offset(f, offset, out) && check_live(f, out) &&
           check_table(f, out) && check_subset(f, out);
}

/* A definition is checked as a GET's is; the rest of a GET's parameters does not count. */
static bool check_delete(struct shape_fields *f, struct shape_params *out)
{
    cast_shape(f, out);
    if (f->nproblems)
        return false;
    if (out->shape.table.len)
        return check_table(f, out);
    return out->handle.len || shape_fields_wrong(f, PART_SHAPE, "handle",
                                                 "can't be blank when shape definition is missing");
}

static bool read_params(const struct http_request *request, struct arena *arena,
                        bool (*check)(struct shape_fields *f, struct shape_params *out),
                        struct shape_params *out, struct shape_invalid *invalid)
{
    struct shape_fields f;
    struct buf b;

    *out = (struct shape_params){0};
    *invalid = (struct shape_invalid){.status = 400};
    if (request->body.len > SHAPE_BODY_LIMIT) {
        *invalid = (struct shape_invalid){413, SLICE("{\"error\":\"Request body too large\"}")};
        return false;
    }
    if (!shape_fields_read(request, arena, &f, &invalid->body))
        return false;
    bool ok = check(&f, out);
    if (!ok) {
        buf_init(&b, BUF_NO_LIMIT);
        put_problems(&b, &f);
        invalid->body = arena_copy(arena, buf_slice(&b));
        buf_release(&b);
    }
    shape_fields_release(&f);
    return ok;
}

bool shape_params_read(const struct http_request *request, struct arena *arena,
                       struct shape_params *out, struct shape_invalid *invalid)
{
    return read_params(request, arena, check_all, out, invalid);
}

bool shape_params_read_delete(const struct http_request *request, struct arena *arena,
                              struct shape_params *out, struct shape_invalid *invalid)
{
    return read_params(request, arena, check_delete, out, invalid);
}
