#include "kafka/tail.h"

#include "base/clock.h"
#include "kafka/admin.h"
#include "kafka/client.h"

#include <stdio.h>
#include <string.h>

#define FIRST_RECORDS 16 /* looked at; more when there is no whole transaction among them */
#define MORE_RECORDS 8   /* times */
#define TIMEOUT_MS 5000  /* without any answer */
#define ASK_MS 500       /* looking at `stop` in between */
#define POLL_MS 100

struct reading {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    rd_kafka_topic_t *topic;
    const struct tail_source *source;
    struct stream_tail *tail;
};

/* ---- one record ------------------------------------------------------------------------------ */

static uint32_t read_timeline(struct slice text)
{
    uint64_t timeline = 0;

    for (size_t i = 0; i < text.len && timeline <= UINT32_MAX; i++)
        timeline = timeline * 10 + (uint64_t)(text.ptr[i] - '0');
    return (uint32_t)timeline;
}

/* A record of before there were these headers is without them. What the offsets' topic has is said
 * of the tables' topics and of nothing else. */
static void take_labels(struct stream_tail *tail, const struct tail_source *source,
                        const struct frames_header *headers, size_t n)
{
    tail->timeline = 0;
    tail->tables = source->key != NULL;
    for (size_t i = 0; i < n; i++) {
        struct slice value = headers[i].value;

        if (slice_is(headers[i].name, TAIL_TABLES))
            tail->tables = slice_is(value, "1");
        else if (slice_is(headers[i].name, TAIL_TIMELINE))
            tail->timeline = read_timeline(value);
    }
}

static bool take_record(struct stream_tail *tail, const struct tail_source *source,
                        const rd_kafka_message_t *msg, struct err *err)
{
    struct frames_header headers[FRAMES_MAX_HEADERS];
    size_t n = admin_read_headers(msg, headers);
    struct frames_record record;

    if (!frames_read_headers(headers, n, &record, err)) {
        err_wrap(err, "offset %lld", (long long)msg->offset);
        return err_hint(err, "whoever else writes to this topic must not: delete the topic");
    }
    if (record.epoch < tail->epoch)
        return true;
    tail->epoch = record.epoch;
    if (!record.last)
        return true;
    tail->found = true;
    tail->position = record.end_lsn;
    snprintf(tail->history, sizeof(tail->history), "%.*s", SLICE_ARG(frames_history(headers, n)));
    take_labels(tail, source, headers, n);
    return true;
}

static bool has_key(const rd_kafka_message_t *msg, const char *key)
{
    return !key || slice_is((struct slice){msg->key, msg->key_len}, key);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* From `offset` to the end. */
static bool read_from(struct reading *r, int64_t offset, struct err *err)
{
    int64_t until = clock_ms() + TIMEOUT_MS;
    bool ok = true, done = false;

    *r->tail = (struct stream_tail){.end = r->tail->end, .epoch = r->source->epoch};
    if (rd_kafka_consume_start_queue(r->topic, 0, offset, r->queue))
        return admin_err(err, rd_kafka_last_error(), "could not read");
    while (ok && !done) {
        rd_kafka_message_t *msg = rd_kafka_consume_queue(r->queue, POLL_MS);

        if (atomic_load(r->source->stop))
            ok = err_set(err, ERR_STOPPED, "stopping");
        else if (!msg && clock_ms() > until)
            ok = err_set(err, ERR_TIMEOUT, "no answer from the brokers");
        else if (msg && msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            done = msg->offset >= r->tail->end; /* before it lies what is not committed yet */
        else if (msg && msg->err)
            ok = admin_err(err, msg->err, "could not read");
        else if (msg)
            ok = !has_key(msg, r->source->key) || take_record(r->tail, r->source, msg, err);
        if (msg && !msg->err)
            until = clock_ms() + TIMEOUT_MS;
        if (msg)
            rd_kafka_message_destroy(msg);
    }
    rd_kafka_consume_stop(r->topic, 0);
    return ok;
}

static bool find_range(const struct reading *r, int64_t *low, int64_t *high, struct err *err)
{
    int64_t until = clock_ms() + TIMEOUT_MS;
    rd_kafka_resp_err_t code;

    do {
        code = rd_kafka_query_watermark_offsets(r->rk, rd_kafka_topic_name(r->topic), 0, low, high,
                                                ASK_MS);
    } while (code == RD_KAFKA_RESP_ERR__TIMED_OUT && clock_ms() < until &&
             !atomic_load(r->source->stop));
    return !code || admin_err(err, code, "could not ask where the topic ends");
}

static bool read_tail(struct reading *r, struct err *err)
{
    int64_t low, high;

    if (!find_range(r, &low, &high, err))
        return false;
    r->tail->end = high;
    for (int64_t n = FIRST_RECORDS;; n *= MORE_RECORDS) {
        int64_t from = high - low > n ? high - n : low;

        if (from == high)
            return true;
        if (!read_from(r, from, err))
            return false;
        if (r->tail->found || from == low)
            return true;
    }
}

static rd_kafka_t *make_consumer(const struct client_config *client, struct err *err)
{
    static const struct client_property ours[] = {
        {"isolation.level", "read_committed"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"enable.auto.commit", "false"},
        {"group.id", "tombolo"},
        {"reconnect.backoff.max.ms", "1000"},
        {"fetch.wait.max.ms", "10"},
    };
    rd_kafka_conf_t *conf = client_conf(client, ours, sizeof(ours) / sizeof(ours[0]), err);

    return conf ? admin_new(RD_KAFKA_CONSUMER, conf, err) : NULL;
}

bool tail_read(const struct tail_source *source, struct stream_tail *tail, struct err *err)
{
    struct reading r = {.source = source, .tail = tail};

    *tail = (struct stream_tail){0};
    r.rk = make_consumer(source->client, err);
    if (!r.rk)
        return false;
    r.topic = rd_kafka_topic_new(r.rk, source->topic, NULL);
    r.queue = rd_kafka_queue_new(r.rk);
    bool ok = read_tail(&r, err);

    rd_kafka_queue_destroy(r.queue);
    rd_kafka_topic_destroy(r.topic);
    rd_kafka_destroy(r.rk);
    return ok || err_wrap(err, "topic \"%s\"", source->topic);
}
