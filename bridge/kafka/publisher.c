#include "kafka/publisher_private.h"

#include "base/arena.h"
#include "kafka/anew.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORD_OVERHEAD 1024 /* headers, and what Kafka puts around a record */

/* ---- the outlet's calls, on the publishing thread -------------------------------------------- */

static bool may_start(void *owner)
{
    struct publisher *p = owner;

    return p->config.is_connected(p->config.owner);
}

static bool started(void *owner, struct err *err)
{
    struct publisher *p = owner;

    return standing_find(&p->standing, p->outlet, err);
}

static bool committing(void *owner, lsn_t lsn, struct err *err)
{
    struct publisher *p = owner;

    return standing_commit(&p->standing, p->outlet, lsn, err);
}

/* After a failure of ours the pause's end connects anew. Once it has, and found the brokers away,
 * that is for us again. */
static void ready(void *owner)
{
    struct publisher *p = owner;

    if (!setback_is_waiting(&p->setback))
        p->config.reconnect(p->config.owner);
}

/* ---- from beginning to end ------------------------------------------------------------------- */

static void free_publisher(struct publisher *p)
{
    topics_free(p->topics);
    frames_writer_release(&p->writer);
    standing_release(&p->standing);
    setback_release(&p->setback);
    free(p);
}

/* Which topic says where the topics stand. */
static void set_place(struct publisher *p)
{
    const struct publisher_config *config = &p->config;
    struct place *place = &p->standing.place;

    p->standing.stream = config->stream;
    place->client = &config->outlet.client;
    place->key = config->stream ? NULL : config->slot;
    place->replication_factor = config->outlet.replication_factor;
    if (config->stream || config->outlet.transactional_id)
        snprintf(place->topic, sizeof(place->topic), "%s.%s", config->prefix,
                 config->stream ? "stream" : "offsets");
}

static void set_outlet(struct publisher *p)
{
    struct outlet_config *outlet = &p->config.outlet;

    snprintf(p->transactional_id, sizeof(p->transactional_id), "%s-%s", p->config.prefix,
             p->config.slot);
    if (outlet->transactional_id)
        outlet->transactional_id = p->transactional_id;
    outlet->ordered_topic = p->config.stream ? p->standing.place.topic : NULL;
    outlet->owner = p;
    outlet->may_start = may_start;
    outlet->started = started;
    outlet->committing = committing;
    outlet->ready = ready;
}

struct publisher *publisher_new(const struct publisher_config *config, struct err *err)
{
    struct publisher *p = xcalloc(1, sizeof(*p));

    p->config = *config;
    p->sink.ops = &publisher_sink_ops;
    standing_init(&p->standing);
    setback_init(&p->setback);
    set_place(p);
    set_outlet(p);
    p->reset = p->noted = anew_is_noted(config->data_dir);
    frames_writer_init(&p->writer, 0, config->outlet.message_max - RECORD_OVERHEAD,
                       publisher_put_frame, p);
    p->topics = config->topics ? topics_new(config->topics, err) : NULL;
    p->outlet = p->topics || !config->topics ? outlet_new(&p->config.outlet, err) : NULL;
    if (p->outlet && p->topics)
        topics_set_outlet(p->topics, p->outlet);
    if (p->outlet)
        return p;
    free_publisher(p);
    return NULL;
}

void publisher_stop(struct publisher *p)
{
    if (p->topics)
        topics_stop(p->topics);
    outlet_stop(p->outlet);
}

void publisher_free(struct publisher *p)
{
    if (!p)
        return;
    outlet_free(p->outlet);
    free_publisher(p);
}

struct wal_sink *publisher_sink(struct publisher *p)
{
    return &p->sink;
}

bool publisher_reset(struct publisher *p, struct err *err)
{
    if (!anew_note(p->config.data_dir, err))
        return false;
    p->reset = p->noted = true;
    if (p->topics)
        topics_reset(p->topics);
    p->taking = false;
    outlet_reset(p->outlet);
    return true;
}

static enum publisher_state state_of(const struct publisher *p, const struct outlet_stats *o,
                                     bool failed)
{
    if (failed || o->state == OUTLET_FAILED)
        return PUBLISHER_FAILED;
    if (o->state != OUTLET_OPEN)
        return PUBLISHER_CONNECTING;
    return p->taking && !o->stalled ? PUBLISHER_PUBLISHING : PUBLISHER_BEHIND;
}

void publisher_get_stats(struct publisher *p, struct publisher_stats *stats)
{
    struct outlet_stats o;
    struct err failure;
    bool failed = setback_get(&p->setback, &failure);

    outlet_get_stats(p->outlet, &o);
    *stats = (struct publisher_stats){
        .state = state_of(p, &o, failed),
        .records = o.records,
        .bytes = o.bytes,
        .errors = o.errors,
        .queued_bytes = o.queued_bytes,
        .spooled_bytes = o.spooled_bytes,
        .acked = o.acked,
    };
    snprintf(stats->error, sizeof(stats->error), "%s", failed ? failure.msg : o.error);
}
