#include "kafka/place.h"

#include "base/clock.h"
#include "kafka/admin.h"

#include <inttypes.h>
#include <stdio.h>

#define TOPIC_TIMEOUT_MS 5000

/* ---- records --------------------------------------------------------------------------------- */

void place_record_init(struct place_record *r, const struct place *place,
                       const struct frames_record *frame, const struct place_labels *labels)
{
    struct frames_header plain[FRAMES_NHEADERS];
    struct outlet_header *next = r->headers;

    buf_init(&r->texts, BUF_NO_LIMIT);
    snprintf(r->timeline, sizeof(r->timeline), "%" PRIu32, labels->timeline);
    frames_put_headers(frame, &r->texts, plain);
    for (size_t i = 0; i < FRAMES_NHEADERS; i++)
        *next++ = (struct outlet_header){plain[i].name, plain[i].value};
    *next++ = (struct outlet_header){SLICE(FRAMES_HISTORY), slice_of(labels->history)};
    *next++ = (struct outlet_header){SLICE(TAIL_TIMELINE), slice_of(r->timeline)};
    *next++ = (struct outlet_header){SLICE(TAIL_TABLES), slice_of(labels->tables ? "1" : "0")};
    r->record = (struct outlet_record){.topic = slice_of(place->topic),
                                       .partition = 0,
                                       .has_value = frame->value.len > 0,
                                       .value = frame->value,
                                       .headers = r->headers,
                                       .nheaders = PLACE_NHEADERS};
}

/* The offsets' topic is compacted, so there it has a key, and a value for people. */
void place_record_init_at(struct place_record *r, const struct place *place,
                          const struct stream_tail *tail)
{
    const struct frames_record frame = {.epoch = tail->epoch,
                                        .commit_lsn = tail->position,
                                        .end_lsn = tail->position,
                                        .last = true};
    char lsn[LSN_TEXT_SIZE];

    place_record_init(r, place, &frame,
                      &(struct place_labels){tail->history, tail->timeline, tail->tables});
    if (!place->key)
        return;
    snprintf(r->value, sizeof(r->value), "{\"lsn\":\"%s\"}", lsn_format(tail->position, lsn));
    r->record.has_key = r->record.has_value = true;
    r->record.key = slice_of(place->key);
    r->record.value = slice_of(r->value);
}

void place_record_release(struct place_record *r)
{
    buf_release(&r->texts);
}

bool place_produce(const struct place *place, struct outlet *outlet, const struct stream_tail *tail,
                   struct err *err)
{
    struct place_record r;

    place_record_init_at(&r, place, tail);
    bool ok = outlet_produce(outlet, &r.record, err);

    place_record_release(&r);
    return ok;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* One that is read back: of one partition. */
static bool make_topic(const struct place *place, struct outlet *outlet, struct err *err)
{
    const struct admin_topic topic = {
        .name = place->topic,
        .partitions = 1,
        .replication_factor = place->replication_factor,
        .cleanup_policy = place->key ? "compact" : "delete",
    };
    const struct admin_wait wait = {TOPIC_TIMEOUT_MS, outlet_stopping(outlet)};
    rd_kafka_t *rk = outlet_producer(outlet);
    int32_t n;

    if (!admin_make_topic(rk, &topic, wait, err) ||
        !admin_partitions(rk, topic.name, wait, &n, err))
        return false;
    if (n == 1)
        return true;
    err_set(err, ERR_CONFIG, "topic \"%s\" has %d partitions, where it must have one", topic.name,
            (int)n);
    return err_hint(err, "delete it, or choose another [kafka] prefix");
}

/* Higher than those that the end of the topic does not show: it may have been empty meanwhile, or
 * be full of what a publisher had still under way when it was replaced. */
static uint64_t next_epoch(const struct stream_tail *tail)
{
    uint64_t now = (uint64_t)clock_unix_us() / 1000000;

    return tail->epoch < now ? now : tail->epoch + 1;
}

bool place_read(const struct place *place, struct outlet *outlet, uint64_t epoch,
                struct stream_tail *tail, struct err *err)
{
    const struct tail_source source = {
        .client = place->client,
        .topic = place->topic,
        .key = place->key,
        .epoch = place->key ? 0 : epoch,
        .stop = outlet_stopping(outlet),
    };

    if (!make_topic(place, outlet, err) || !tail_read(&source, tail, err))
        return false;
    tail->epoch = next_epoch(tail);
    return true;
}
