#include "kafka/admin.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define ASK_AGAIN_MS 100
#define LOOK_MS 500 /* at what may end a wait; an answer takes less where there is one */

rd_kafka_t *admin_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err)
{
    sigset_t all, before;
    char why[384];

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof(why));
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rk)
        return rk;
    rd_kafka_conf_destroy(conf);
    err_set(err, ERR_CONFIG, "librdkafka does not start: %s", why);
    return NULL;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static enum err_code code_of(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
        return ERR_TIMEOUT;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return ERR_CONN;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        return ERR_LIMIT;
    default:
        return ERR_IO;
    }
}

bool admin_err(struct err *err, rd_kafka_resp_err_t code, const char *what)
{
    err_set(err, code_of(code), "%s: %s", what, rd_kafka_err2str(code));
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        err_hint(err, "[kafka] message_max is to be at most the brokers' message.max.bytes and the "
                      "topic's max.message.bytes");
    return false;
}

bool admin_error(struct err *err, rd_kafka_error_t *error, const char *what)
{
    err_set(err, code_of(rd_kafka_error_code(error)), "%s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return false;
}

/* ---- records --------------------------------------------------------------------------------- */

size_t admin_read_headers(const rd_kafka_message_t *message,
                          struct frames_header headers[FRAMES_MAX_HEADERS])
{
    rd_kafka_headers_t *list;
    const char *name;
    const void *value;
    size_t n = 0, size;

    if (rd_kafka_message_headers(message, &list))
        return 0;
    while (n < FRAMES_MAX_HEADERS && !rd_kafka_header_get_all(list, n, &name, &value, &size)) {
        headers[n++] =
            (struct frames_header){slice_of(name), {value ? value : "", value ? size : 0}};
    }
    return n;
}

/* ---- topics ---------------------------------------------------------------------------------- */

static bool take_created(rd_kafka_event_t *event, struct err *err)
{
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    const rd_kafka_topic_result_t **topics;
    size_t n = 0;

    if (rd_kafka_event_error(event))
        return admin_err(err, rd_kafka_event_error(event), "could not make the topic");
    topics = rd_kafka_CreateTopics_result_topics(result, &n);
    rd_kafka_resp_err_t code = n ? rd_kafka_topic_result_error(topics[0]) : 0;
    const char *why = n ? rd_kafka_topic_result_error_string(topics[0]) : NULL;

    if (!code || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS ||
        code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
        return true;
    return err_set(err, code_of(code), "could not make the topic: %s",
                   why ? why : rd_kafka_err2str(code));
}

static bool has_ended(struct admin_wait wait)
{
    return atomic_load(wait.stop);
}

static bool await_created(rd_kafka_queue_t *queue, struct admin_wait wait, struct err *err)
{
    int64_t until = clock_ms() + wait.ms + 1000; /* librdkafka's own error says more */
    rd_kafka_event_t *event = NULL;

    while (!event && !has_ended(wait) && clock_ms() < until)
        event = rd_kafka_queue_poll(queue, LOOK_MS);
    if (!event)
        return has_ended(wait) ? err_set(err, ERR_STOPPED, "stopping")
                               : err_set(err, ERR_TIMEOUT, "no answer from the brokers");
    bool ok = take_created(event, err);

    rd_kafka_event_destroy(event);
    return ok;
}

bool admin_make_topic(rd_kafka_t *rk, const struct admin_topic *topic, struct admin_wait wait,
                      struct err *err)
{
    char why[256];
    rd_kafka_NewTopic_t *new = rd_kafka_NewTopic_new(topic->name, topic->partitions,
                                                     topic->replication_factor, why, sizeof(why));

    if (!new)
        return err_set(err, ERR_CONFIG, "topic \"%s\": %s", topic->name, why);
    if (topic->cleanup_policy)
        rd_kafka_NewTopic_set_config(new, "cleanup.policy", topic->cleanup_policy);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);

    rd_kafka_AdminOptions_set_request_timeout(options, wait.ms, NULL, 0);
    rd_kafka_CreateTopics(rk, &new, 1, options, queue);
    bool ok = await_created(queue, wait, err);

    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(new);
    return ok || err_wrap(err, "topic \"%s\"", topic->name);
}

/* False with a code when it is to be asked again. */
static bool count_partitions(const struct rd_kafka_metadata *metadata, int32_t *n,
                             rd_kafka_resp_err_t *code)
{
    const struct rd_kafka_metadata_topic *topic = metadata->topics;

    *code = metadata->topic_cnt ? topic->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    for (int i = 0; !*code && i < topic->partition_cnt; i++) {
        if (topic->partitions[i].leader < 0)
            *code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    }
    if (*code)
        return false;
    *n = topic->partition_cnt;
    return true;
}

bool admin_partitions(rd_kafka_t *rk, const char *name, struct admin_wait wait, int32_t *n,
                      struct err *err)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    int64_t until = clock_ms() + wait.ms;
    rd_kafka_resp_err_t code = rd_kafka_last_error();
    bool ok = false;

    while (topic && !ok) {
        const struct rd_kafka_metadata *metadata;

        code = rd_kafka_metadata(rk, 0, topic, &metadata, LOOK_MS);
        if (!code) {
            ok = count_partitions(metadata, n, &code);
            rd_kafka_metadata_destroy(metadata);
        }
        if (ok || has_ended(wait) || clock_ms() >= until)
            break;
        clock_sleep_ms(ASK_AGAIN_MS);
    }
    if (topic)
        rd_kafka_topic_destroy(topic);
    if (ok)
        return true;
    admin_err(err, code, "could not look at the topic");
    return err_wrap(err, "topic \"%s\"", name);
}
