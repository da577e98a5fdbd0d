#include "kafka/topic_reader.h"
#include "base/clock.h"
#include "kafka/admin.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ANSWER_MS 5000
#define PARTITION 0
#define BATCH 512

struct topic_reader {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue; /* of the seek at hand, NULL before one */
    rd_kafka_message_t *batch[BATCH];
    size_t nbatch, at; /* batch[at] is the next; the one before is lent */
    int64_t next;      /* the offset that is read next; -1: not known */
    int fd;
    pthread_mutex_t mutex; /* guards: */
    char trouble[TOPIC_TROUBLE_SIZE];
};

/* ---- life ------------------------------------------------------------------------------------ */

static void note_trouble(struct topic_reader *r, const char *text)
{
    pthread_mutex_lock(&r->mutex);
    snprintf(r->trouble, sizeof(r->trouble), "%s", text);
    pthread_mutex_unlock(&r->mutex);
}

/* Called from rd_kafka_poll(). What is worth a word: it goes on trying by itself. That all brokers
 * are down comes behind what they are down for. */
static void take_error(rd_kafka_t *rk, int code, const char *reason, void *arg)
{
    char before[TOPIC_TROUBLE_SIZE];

    (void)rk;
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !topic_reader_trouble(arg, before))
        note_trouble(arg, reason);
}

static bool make_client(struct topic_reader *r, const struct client_config *config,
                        const char *topic, struct err *err)
{
    static const struct client_property ours[] = {
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"isolation.level", "read_committed"},
        {"enable.auto.commit", "false"},
        {"allow.auto.create.topics", "false"},
        {"fetch.wait.max.ms", "100"}, /* so long the end of the topic takes to be known */
        {"topic.metadata.refresh.interval.ms", "10000"},
        {"reconnect.backoff.max.ms", "2000"},
    };
    rd_kafka_conf_t *conf = client_conf(config, ours, sizeof(ours) / sizeof(*ours), err);

    if (!conf)
        return false;
    rd_kafka_conf_set_opaque(conf, r);
    rd_kafka_conf_set_error_cb(conf, take_error);
    r->rk = admin_new(RD_KAFKA_CONSUMER, conf, err);
    if (!r->rk)
        return false;
    r->topic = rd_kafka_topic_new(r->rk, topic, NULL);
    return r->topic || err_set(err, ERR_CONFIG, "topic \"%s\": %s", topic,
                               rd_kafka_err2str(rd_kafka_last_error()));
}

struct topic_reader *topic_reader_new(const struct client_config *config, const char *topic,
                                      struct err *err)
{
    struct topic_reader *r = xcalloc(1, sizeof(*r));

    r->next = -1;
    pthread_mutex_init(&r->mutex, NULL);
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->fd >= 0 ? make_client(r, config, topic, err)
                   : err_errno(err, ERR_IO, "could not make an eventfd"))
        return r;
    topic_reader_free(r);
    return NULL;
}

static void drop_batch(struct topic_reader *r)
{
    while (r->nbatch)
        rd_kafka_message_destroy(r->batch[--r->nbatch]);
    r->at = 0;
}

void topic_reader_unseek(struct topic_reader *r)
{
    drop_batch(r);
    r->next = -1;
    if (!r->queue)
        return;
    rd_kafka_consume_stop(r->topic, PARTITION);
    rd_kafka_queue_destroy(r->queue);
    r->queue = NULL;
}

void topic_reader_free(struct topic_reader *r)
{
    if (!r)
        return;
    topic_reader_unseek(r);
    if (r->topic)
        rd_kafka_topic_destroy(r->topic);
    if (r->rk)
        rd_kafka_destroy(r->rk);
    if (r->fd >= 0)
        close(r->fd);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

/* ---- the topic ------------------------------------------------------------------------------- */

static bool failed(struct topic_reader *r, rd_kafka_resp_err_t code, const char *what,
                   struct err *err)
{
    char trouble[TOPIC_TROUBLE_SIZE];

    rd_kafka_poll(r->rk, 0); /* what it has learnt meanwhile says more */
    if (topic_reader_trouble(r, trouble))
        return err_set(err, ERR_CONN, "%s: %s", what, trouble);
    return err_set(err, ERR_CONN, "%s: %s", what, rd_kafka_err2str(code));
}

bool topic_reader_partitions(struct topic_reader *r, int *partitions, struct err *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(r->rk, 0, r->topic, &metadata, ANSWER_MS);

    *partitions = 0;
    if (code)
        return failed(r, code, "could not ask the Kafka brokers for the topic", err);
    if (metadata->topic_cnt == 1) {
        code = metadata->topics[0].err;
        *partitions = metadata->topics[0].partition_cnt;
    }
    rd_kafka_metadata_destroy(metadata);
    note_trouble(r, "");
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
        *partitions = 0;
        return true;
    }
    return !code || failed(r, code, "could not ask the Kafka brokers for the topic", err);
}

bool topic_reader_range(struct topic_reader *r, int64_t *low, int64_t *high, struct err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        r->rk, rd_kafka_topic_name(r->topic), PARTITION, low, high, ANSWER_MS);

    return !code || failed(r, code, "could not ask the Kafka brokers for the topic's offsets", err);
}

bool topic_reader_seek(struct topic_reader *r, int64_t offset, struct err *err)
{
    static const uint64_t one = 1;

    topic_reader_unseek(r);
    r->queue = rd_kafka_queue_new(r->rk);
    if (rd_kafka_consume_start_queue(r->topic, PARTITION, offset, r->queue) != 0) {
        rd_kafka_queue_destroy(r->queue);
        r->queue = NULL;
        return failed(r, rd_kafka_last_error(), "could not read the topic", err);
    }
    r->next = offset;
    rd_kafka_queue_io_event_enable(r->queue, r->fd, &one, sizeof(one));
    return eventfd_write(r->fd, 1) == 0 || err_errno(err, ERR_IO, "could not write to an eventfd");
}

/* ---- records --------------------------------------------------------------------------------- */

static enum topic_got take_failure(struct topic_reader *r, const rd_kafka_message_t *message,
                                   struct err *err)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        note_trouble(r, "");
        return TOPIC_END;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        err_set(err, ERR_CHANGED, "the topic has no offset %lld any more: %s",
                (long long)message->offset, rd_kafka_message_errstr(message));
        return TOPIC_FAILED;
    default:
        err_set(err, ERR_CONN, "could not read the topic: %s", rd_kafka_message_errstr(message));
        return TOPIC_FAILED;
    }
}

/* The descriptor is taken first: what comes afterwards makes it readable again. */
static bool fill_batch(struct topic_reader *r)
{
    eventfd_t ignored;

    drop_batch(r);
    if (eventfd_read(r->fd, &ignored) < 0) {
        /* nothing has come, or it is a long run */
    }
    ssize_t n = rd_kafka_consume_batch_queue(r->queue, 0, r->batch, BATCH);
    r->nbatch = n > 0 ? (size_t)n : 0;
    if (r->nbatch)
        note_trouble(r, "");
    else
        rd_kafka_poll(r->rk, 0);
    return r->nbatch > 0;
}

enum topic_got topic_reader_next(struct topic_reader *r, struct topic_record *record,
                                 struct err *err)
{
    if (r->at == r->nbatch && !fill_batch(r))
        return TOPIC_NOTHING;
    const rd_kafka_message_t *message = r->batch[r->at++];

    r->next = message->err ? -1 : message->offset + 1;
    if (message->err)
        return take_failure(r, message, err);
    record->offset = message->offset;
    record->value = (struct slice){message->payload ? message->payload : "", message->len};
    record->nheaders = admin_read_headers(message, record->headers);
    return TOPIC_RECORD;
}

bool topic_reader_at(struct topic_reader *r, int64_t offset, struct topic_record *record,
                     bool *found, struct err *err)
{
    int64_t give_up = clock_ms() + ANSWER_MS;
    enum topic_got got;

    if (offset != r->next && !topic_reader_seek(r, offset, err))
        return false;
    while ((got = topic_reader_next(r, record, err)) == TOPIC_NOTHING) {
        struct pollfd pfd = {.fd = r->fd, .events = POLLIN};

        if (clock_ms() > give_up)
            return failed(r, RD_KAFKA_RESP_ERR__TIMED_OUT, "could not read the topic", err);
        poll(&pfd, 1, 100);
    }
    *found = got == TOPIC_RECORD;
    return got != TOPIC_FAILED;
}

int topic_reader_fd(const struct topic_reader *r)
{
    return r->fd;
}

bool topic_reader_trouble(struct topic_reader *r, char text[TOPIC_TROUBLE_SIZE])
{
    pthread_mutex_lock(&r->mutex);
    memcpy(text, r->trouble, sizeof(r->trouble));
    pthread_mutex_unlock(&r->mutex);
    return text[0] != '\0';
}
