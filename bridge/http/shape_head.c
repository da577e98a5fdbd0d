/*
 * The headers of answers, kept. All who ask for the same messages get the same headers, and to put
 * these together (the schema above all) costs more than to send what is behind them. A loop keeps
 * a few, each where its key's hash says.
 *
 * Only of answers that are the same whenever they are given: not of live ones, which have a cursor,
 * nor of those without messages, whose tag is never the same twice.
 */
#include "http/shape_private.h"

#include "base/arena.h"

#include <stdlib.h>

#define KEEP_MOST ((size_t)16 * 1024)

/* All that the headers depend on but the table's version. */
struct head_key {
    uint64_t log;
    struct log_offset asked, to;
    uint64_t kind;
};

_Static_assert(sizeof(struct head_key) == 48, "compared as bytes: it has no holes");

struct shape_head {
    struct head_key key;
    struct table *table; /* a reference, so that no other one has its address */
    size_t len;
    char text[];
};

static struct head_key key_of(const struct shape_request_state *get,
                              const struct shape_reply *reply)
{
    struct head_key key = {.log = log_id(get->log), .to = reply->offset};

    if (get->at == SHAPE_OFFSET_AT)
        key.asked = get->offset;
    key.kind = (uint64_t)get->at | (uint64_t)reply->encoding << 8 |
               (uint64_t)reply->up_to_date << 16 | (uint64_t)reply->varies << 17 |
               (uint64_t)get->private << 18 | (uint64_t)get->post << 19;
    return key;
}

void shape_head_free(struct shape_head *head)
{
    if (head)
        table_unref(head->table);
    free(head);
}

static bool is_kept(const struct shape_head *head, const struct head_key *key,
                    const struct table *table)
{
    return head && head->table == table && memcmp(&head->key, key, sizeof(*key)) == 0;
}

/* Takes the reference on the table. */
static struct shape_head *head_new(const struct head_key *key, struct table *table,
                                   struct slice text)
{
    struct shape_head *head = xmalloc(sizeof(*head) + text.len);

    head->key = *key;
    head->table = table;
    head->len = text.len;
    memcpy(head->text, text.ptr, text.len);
    return head;
}

void shape_put_headers(const struct shape_request_state *get, const struct shape_reply *reply,
                       struct http_headers *h)
{
    bool lasts = reply->status == 200 && !get->live && !reply->nothing;
    struct table *table = lasts ? log_table(get->log) : NULL;
    struct head_key key = key_of(get, reply);
    struct slice bytes = {(const char *)&key, sizeof(key)};
    struct shape_head **place = &get->loop->heads[hash_bytes(bytes) % SHAPE_HEADS];

    http_headers_init(h);
    if (table && is_kept(*place, &key, table)) {
        http_headers_lend(h, (struct slice){(*place)->text, (*place)->len});
    } else {
        shape_make_headers(get, reply, h);
        if (table && !h->text.failed && h->text.len <= KEEP_MOST) {
            shape_head_free(*place);
            *place = head_new(&key, table, buf_slice(&h->text));
            return;
        }
    }
    table_unref(table);
}
