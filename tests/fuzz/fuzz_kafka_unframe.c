/*
 * Any bytes as records that a fan-out node reads. Whatever comes: what it is given of them is
 * transactions in commit order, each from its Begin to its Commit, none twice, and nothing after
 * an error; where it begins can be found, or not, without end.
 *
 *     input     { record (kafka_record.h) nmessages:1 { kind:1 } }
 *
 * Flag 4 puts a wrong LSN into messages, flag 8 cuts the value, flag 16 is another history.
 */
#include "kafka/start.h"
#include "kafka/unframe.h"
#include "kafka_record.h"

#include <stdint.h>
#include <stdlib.h>

#define MAX_RECORDS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct record {
    struct buf texts, value;
    struct frames_header headers[FRAMES_NHEADERS + 1];
};

struct topic {
    struct record records[MAX_RECORDS];
    size_t n;
};

static void put_message(struct buf *out, uint8_t kind, const struct frames_record *of, bool wrong)
{
    struct buf message;

    buf_init(&message, BUF_NO_LIMIT);
    buf_put_u8(&message, kind);
    if (kind == 'C')
        buf_put_u8(&message, 0);
    buf_put_u64(&message, of->commit_lsn + wrong);
    buf_put_u64(&message, of->end_lsn);
    buf_put_u32(out, (uint32_t)message.len);
    buf_put_slice(out, buf_slice(&message));
    buf_release(&message);
}

static void put_value(struct buf *out, struct reader *in, uint8_t flags,
                      const struct frames_record *of)
{
    for (uint8_t n = reader_u8(in) & 7; n; n--)
        put_message(out, reader_u8(in), of, flags & 4);
    if (flags & 8 && out->len)
        out->len--;
}

static void take_record(struct reader *in, struct record *out)
{
    uint8_t flags;
    const struct frames_record record = read_record(in, &flags);

    buf_init(&out->texts, BUF_NO_LIMIT);
    buf_init(&out->value, BUF_NO_LIMIT);
    if (!(flags & RECORD_IS_HEARTBEAT))
        put_value(&out->value, in, flags, &record);
    frames_put_headers(&record, &out->texts, out->headers);
    out->headers[FRAMES_NHEADERS] =
        (struct frames_header){SLICE(FRAMES_HISTORY), slice_of(flags & 16 ? "2" : "1")};
}

/* What the node has been given. */
struct given {
    bool open;
    lsn_t begun, done, position;
};

static void check(struct given *given, const struct feed_item *item)
{
    struct reader in = reader_of(item->message);
    uint8_t kind = reader_u8(&in);

    switch (item->kind) {
    case FEED_POSITION:
        if (item->lsn < given->position)
            abort();
        given->position = item->lsn;
        return;
    case FEED_VOID:
        given->open = false;
        return;
    case FEED_MESSAGE:
        break;
    }
    if ((kind == 'B') == given->open)
        abort();
    given->open = kind != 'C';
    if (kind == 'B')
        given->begun = reader_u64(&in);
    if (kind == 'B' && given->begun <= given->done)
        abort();
    if (kind == 'C')
        given->done = given->begun;
}

static void read_topic(const struct topic *topic, size_t from, lsn_t position)
{
    struct given given = {.done = position ? position - 1 : 0};
    struct unframe unframe;
    struct feed_item item;
    enum feed_got got = FEED_NOTHING;
    struct err err;

    unframe_init(&unframe, position);
    for (size_t i = from; i < topic->n && got == FEED_NOTHING; i++) {
        const struct record *r = &topic->records[i];

        if (!unframe_take(&unframe, r->headers, FRAMES_NHEADERS, buf_slice(&r->value), &err))
            break;
        while ((got = unframe_next(&unframe, &item, &err)) == FEED_ITEM)
            check(&given, &item);
    }
}

static bool read_at(void *owner, int64_t offset, struct start_record *record, bool *found,
                    struct err *err)
{
    const struct topic *topic = owner;
    const struct record *r = &topic->records[offset];

    if (offset < 0 || (size_t)offset >= topic->n)
        abort();
    *found = true;
    return start_read(offset, r->headers, FRAMES_NHEADERS + 1, buf_slice(&r->value), record, err);
}

static void begin(struct topic *topic, lsn_t position)
{
    struct start_search search = {.high = (int64_t)topic->n, .owner = topic, .read_at = read_at};
    struct start_record last;
    bool found, covered;
    int64_t offset;
    struct err err;

    if (!start_last(&search, &last, &found, &err) || found != (topic->n > 0))
        abort();
    if (found && !start_find(&search, &last, position, 2, &offset, &covered, &err))
        abort();
    if (found && (offset < 0 || (size_t)offset >= topic->n))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of((struct slice){(const char *)data, size});
    lsn_t position = reader_u8(&input);
    struct topic topic = {.n = 0};

    while (reader_left(&input) && !input.failed && topic.n < MAX_RECORDS)
        take_record(&input, &topic.records[topic.n++]);
    read_topic(&topic, 0, position);
    begin(&topic, position);
    for (size_t i = 0; i < topic.n; i++) {
        buf_release(&topic.records[i].texts);
        buf_release(&topic.records[i].value);
    }
    return 0;
}
