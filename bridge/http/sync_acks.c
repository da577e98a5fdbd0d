#include "http/sync_acks.h"
#include "change/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <yyjson.h>

#define REJECTIONS_LIMIT ((size_t)64 * 1024 * 1024) /* bytes of what is not said yet */

void acks_init(struct acks *acks, const char *replica)
{
    *acks = (struct acks){.replica = replica, .due = true};
    buf_init(&acks->nonce, BUF_NO_LIMIT);
}

static void forget_rejections(struct acks *acks)
{
    for (size_t i = acks->first; i < acks->n; i++)
        free(acks->rejections[i].json);
    acks->first = acks->n = acks->bytes = 0;
}

void acks_release(struct acks *acks)
{
    forget_rejections(acks);
    free(acks->rejections);
    buf_release(&acks->nonce);
}

static struct slice text_of(yyjson_val *row, const char *column)
{
    yyjson_val *val = yyjson_obj_get(row, column);

    return (struct slice){yyjson_get_str(val), yyjson_get_len(val)};
}

/* A text that the column's type has checked; 0 where it is not given. */
static int64_t number_of(yyjson_val *row, const char *column)
{
    const char *text = yyjson_get_str(yyjson_obj_get(row, column));

    return text ? strtoll(text, NULL, 10) : 0;
}

/* What did not change is left out. */
static void take_replica(struct acks *acks, yyjson_val *row)
{
    struct slice nonce = text_of(row, "nonce");

    if (!yyjson_obj_get(row, "last_id"))
        return;
    acks->last = number_of(row, "last_id");
    acks->due = true;
    if (!nonce.ptr)
        return;
    buf_clear(&acks->nonce);
    buf_put_slice(&acks->nonce, nonce);
}

static void put_member(struct buf *b, const char *name, struct slice text)
{
    buf_printf(b, ",\"%s\":", name);
    json_put_string(b, text);
}

static void put_rejection(struct buf *b, yyjson_val *row)
{
    buf_printf(b, "{\"id\":%" PRId64 ",\"mutation\":%" PRId64, number_of(row, "id"),
               number_of(row, "mutation"));
    put_member(b, "code", text_of(row, "code"));
    put_member(b, "sqlstate", text_of(row, "sqlstate"));
    put_member(b, "message", text_of(row, "message"));
    buf_put_u8(b, '}');
}

static void add_rejection(struct acks *acks, yyjson_val *row)
{
    struct buf json;

    if (acks->n == acks->cap) {
        acks->cap = acks->cap ? 2 * acks->cap : 8;
        acks->rejections = xrealloc(acks->rejections, acks->cap * sizeof(*acks->rejections));
    }
    buf_init(&json, BUF_NO_LIMIT);
    put_rejection(&json, row);
    acks->rejections[acks->n++] = (struct acks_rejection){
        number_of(row, "id"), number_of(row, "mutation"), xstrdup(buf_cstr(&json))};
    acks->bytes += json.len + sizeof(*acks->rejections);
    acks->due = true;
    buf_release(&json);
}

/* The client has acknowledged it meanwhile, as a rule with all that came before it. */
static void drop_rejection(struct acks *acks, int64_t id, int64_t mutation)
{
    for (size_t i = acks->first; i < acks->n; i++) {
        struct acks_rejection *r = &acks->rejections[i];

        if (r->id != id || r->mutation != mutation)
            continue;
        acks->bytes -= strlen(r->json) + sizeof(*r);
        free(r->json);
        memmove(acks->rejections + acks->first + 1, acks->rejections + acks->first,
                (i - acks->first) * sizeof(*r));
        acks->first++;
        return;
    }
}

/* The replica's row, when somebody deletes it by hand, takes nothing back; a rejection never
 * changes but by being deleted. */
static void take_message(struct acks *acks, enum acks_feed feed, yyjson_val *message)
{
    yyjson_val *headers = yyjson_obj_get(message, "headers");
    yyjson_val *row = yyjson_obj_get(message, "value");
    yyjson_val *operation = yyjson_obj_get(headers, "operation");
    bool gone = yyjson_equals_str(operation, "delete");

    if (!slice_is(text_of(row, "replica"), acks->replica))
        return;
    if (feed == ACKS_REPLICAS && !gone)
        take_replica(acks, row);
    else if (feed == ACKS_REJECTIONS && gone)
        drop_rejection(acks, number_of(row, "id"), number_of(row, "mutation"));
    else if (feed == ACKS_REJECTIONS && yyjson_equals_str(operation, "insert"))
        add_rejection(acks, row);
}

bool acks_take(struct acks *acks, enum acks_feed feed, struct slice messages, struct err *err)
{
    yyjson_arr_iter iter;
    yyjson_val *message;
    struct buf list;

    buf_init(&list, BUF_NO_LIMIT);
    buf_put_u8(&list, '[');
    buf_put_slice(&list, messages);
    buf_put_u8(&list, ']');
    yyjson_doc *doc = yyjson_read(list.ptr, list.len, 0);
    buf_release(&list);
    if (!doc)
        return err_set(err, ERR_CORRUPT, "the log of acknowledgements is not JSON");
    yyjson_arr_iter_init(yyjson_doc_get_root(doc), &iter);
    while ((message = yyjson_arr_iter_next(&iter)))
        take_message(acks, feed, message);
    yyjson_doc_free(doc);
    return acks->bytes <= REJECTIONS_LIMIT ||
           err_set(err, ERR_LIMIT, "too many rejected writes are not acknowledged");
}

void acks_put(struct acks *acks, struct buf *out)
{
    buf_printf(out, "{\"ack\":{\"last\":%" PRId64, acks->last);
    if (acks->nonce.len)
        put_member(out, "nonce", buf_slice(&acks->nonce));
    buf_put_cstr(out, ",\"rejected\":[");
    for (size_t i = acks->first; i < acks->n; i++) {
        if (i > acks->first)
            buf_put_u8(out, ',');
        buf_put_cstr(out, acks->rejections[i].json);
    }
    buf_put_cstr(out, "]}}\n");
    forget_rejections(acks);
    acks->due = false;
}
