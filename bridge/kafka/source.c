#include "kafka/source.h"
#include "base/logging.h"
#include "change/unseen.h"
#include "kafka/start.h"
#include "kafka/topic_reader.h"
#include "kafka/unframe.h"
#include "pg/publication.h"
#include "pg/server.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define MARGIN 1000 /* records further back, where a publisher was replaced */
#define PASSED_BY "the topic's retention has passed this node by"

struct source {
    struct feed feed; /* first */
    struct source_config config;
    char topic[256];
    struct topic_reader *reader;
    struct unframe unframe;
    char history[FRAMES_HISTORY_SIZE];
    bool in_history; /* a record of it has come */
    lsn_t began;     /* where this process began in it; LSN_NONE: it has not */
    int64_t margin;
    char gap[512]; /* why the last one cannot be gone on with; "" */
    atomic_int_fast64_t offset, end;
};

static struct source *source_of(struct feed *feed)
{
    return (struct source *)feed;
}

/* ---- Postgres -------------------------------------------------------------------------------- */

struct server {
    char system_id[32];
    lsn_t wal, confirmed;
};

static bool await(bool *waiting, struct err *err)
{
    *waiting = true;
    return err_hint(err, "a publisher is a bridge with the same TOMBOLO_STREAM_ID and kafka.stream "
                         "on; see docs/KAFKA.md");
}

static bool find_slot(const struct source *s, struct pg_conn *conn, struct server *server,
                      bool *waiting, struct err *err)
{
    const char *slot = s->config.slot;
    struct slot_status status;

    if (!server_slot_status(conn, slot, &status, err))
        return false;
    if (!status.exists || status.confirmed_flush_lsn == LSN_NONE ||
        strcmp(status.wal_status, "lost") == 0) {
        err_set(err, ERR_BUSY, "the publisher's replication slot \"%s\" is not there yet", slot);
        return await(waiting, err);
    }
    if (!status.same_database)
        return err_set(err, ERR_CONFIG, "slot \"%s\" is of database \"%s\", not of this one", slot,
                       status.database);
    server->confirmed = status.confirmed_flush_lsn;
    return true;
}

static bool find_publication(const struct source *s, struct pg_conn *conn, bool *waiting,
                             struct err *err)
{
    const char *name = s->config.publication;
    bool exists;

    if (!publication_exists(conn, name, &exists, err))
        return false;
    if (exists)
        return publication_check(conn, name, err);
    err_set(err, ERR_BUSY, "the publication \"%s\" is not there yet", name);
    return await(waiting, err);
}

static bool look_at_server(const struct source *s, struct server *server, bool *waiting,
                           struct err *err)
{
    struct pg_conn *conn = pg_connect(s->config.conninfo, "tombolo setup", false, err);
    bool ok = conn && server_check_readable(conn, err) &&
              find_slot(s, conn, server, waiting, err) && find_publication(s, conn, waiting, err) &&
              server_identify(conn, server->system_id, &server->wal, err);

    pg_close(conn);
    return ok;
}

/* ---- the topic ------------------------------------------------------------------------------- */

static bool read_at(void *owner, int64_t offset, struct start_record *record, bool *found,
                    struct err *err)
{
    const struct source *s = owner;
    struct topic_record at;

    if (!topic_reader_at(s->reader, offset, &at, found, err))
        return false;
    *record = (struct start_record){.offset = offset};
    return !*found || start_read(at.offset, at.headers, at.nheaders, at.value, record, err) ||
           err_wrap(err, "topic \"%s\"", s->topic);
}

static bool await_topic(const struct source *s, const char *what, bool *waiting, struct err *err)
{
    err_set(err, ERR_BUSY, "the topic \"%s\" %s", s->topic, what);
    return await(waiting, err);
}

static bool look_at_topic(struct source *s, struct start_search *search, struct start_record *last,
                          bool *waiting, struct err *err)
{
    int partitions;
    bool found;

    if (!topic_reader_partitions(s->reader, &partitions, err))
        return false;
    if (partitions == 0)
        return await_topic(s, "is not there yet", waiting, err);
    if (partitions != 1)
        return err_set(err, ERR_CONFIG, "topic \"%s\" has %d partitions, a stream has one",
                       s->topic, partitions);
    *search = (struct start_search){.owner = s, .read_at = read_at};
    if (!topic_reader_range(s->reader, &search->low, &search->high, err) ||
        !start_last(search, last, &found, err))
        return false;
    atomic_store(&s->end, search->high);
    return found || await_topic(s, "is empty", waiting, err);
}

/* "<system id>-<10 hex digits>" */
static bool check_system(const struct source *s, const struct start_record *last,
                         const struct server *server, struct err *err)
{
    size_t len = strcspn(last->history, "-");

    if (len == strlen(server->system_id) && strncmp(last->history, server->system_id, len) == 0)
        return true;
    err_set(err, ERR_CONFIG,
            "topic \"%s\" is of the database system %.*s, DATABASE_URL leads to %s", s->topic,
            (int)len, last->history, server->system_id);
    return err_hint(err,
                    "a node takes its snapshots from the Postgres whose changes are published");
}

/* ---- where to begin -------------------------------------------------------------------------- */

/* Why what is held cannot go on with the topic, or NULL. */
static const char *broken(const struct source *s, const struct feed_history *ours,
                          const struct start_record *last)
{
    lsn_t end = last->frames.last ? last->frames.end_lsn : last->frames.commit_lsn;

    if (!ours->system_id[0])
        return NULL;
    if (strcmp(ours->system_id, last->history) != 0)
        return "the topic has another history than this node";
    if (s->gap[0])
        return s->gap;
    if (ours->lsn == UINT64_MAX)
        return "the topic does not have the last transaction that it had";
    if (ours->lsn != LSN_NONE && ours->lsn > end)
        return "the topic ends before what was received from it";
    if (ours->lsn != LSN_NONE && ours->durable == LSN_NONE && s->began == LSN_NONE)
        return "nothing of what was received had been stored";
    return NULL;
}

/* What is not durable has to come again; from where this process began if nothing is. */
static lsn_t needed_from(const struct source *s, const struct feed_history *ours, lsn_t confirmed)
{
    lsn_t from = ours->durable != LSN_NONE ? ours->durable : s->began;

    return from != LSN_NONE && from < confirmed ? from : confirmed;
}

struct beginning {
    lsn_t position;
    int64_t offset;
    const char *reset; /* why everything is to be fetched again; NULL */
};

static bool find_beginning(struct source *s, const struct start_search *search,
                           const struct start_record *last, const struct feed_history *ours,
                           lsn_t confirmed, struct beginning *begin, bool *waiting, struct err *err)
{
    bool covered;

    begin->reset = broken(s, ours, last);
    begin->position = begin->reset ? confirmed : needed_from(s, ours, confirmed);
    if (!start_find(search, last, begin->position, s->margin, &begin->offset, &covered, err))
        return false;
    if (!covered && begin->position < confirmed) {
        begin->reset = PASSED_BY;
        begin->position = confirmed;
        if (!start_find(search, last, confirmed, s->margin, &begin->offset, &covered, err))
            return false;
    }
    return covered || await_topic(s, "begins behind the publisher's slot", waiting, err);
}

static bool settle_history(struct source *s, const struct feed_history *ours,
                           const struct start_record *last, const struct beginning *begin,
                           struct err *err)
{
    struct feed_history now = {.lsn = ours->lsn};

    if (begin->reset) {
        log_warn("everything must be fetched again", LOG_STR("reason", begin->reset));
        unseen_clear(s->config.unseen);
    }
    snprintf(now.system_id, sizeof(now.system_id), "%s", last->history);
    snprintf(now.slot, sizeof(now.slot), "%s", s->config.slot);
    if ((begin->reset || !ours->system_id[0]) &&
        !s->config.keep.set(s->config.keep.owner, &now, begin->reset, err))
        return false;
    s->gap[0] = '\0';
    s->began = begin->position;
    snprintf(s->history, sizeof(s->history), "%s", last->history);
    return true;
}

static bool start_reading(struct source *s, const struct beginning *begin, struct err *err)
{
    if (!topic_reader_seek(s->reader, begin->offset, err))
        return false;
    unframe_init(&s->unframe, begin->position);
    s->in_history = false;
    atomic_store(&s->offset, begin->offset);
    log_info("streaming", LOG_STR("topic", s->topic), LOG_INT("offset", begin->offset),
             LOG_LSN("lsn", begin->position));
    return true;
}

static bool open_topic(struct feed *feed, const atomic_bool *stop, struct wal_place *place,
                       bool *waiting, struct err *err)
{
    struct source *s = source_of(feed);
    struct feed_history ours;
    struct start_search search;
    struct start_record last;
    struct server server;
    struct beginning begin;
    lsn_t end;

    (void)stop;
    s->config.keep.get(s->config.keep.owner, &ours);
    if (!look_at_server(s, &server, waiting, err) ||
        !look_at_topic(s, &search, &last, waiting, err) || !check_system(s, &last, &server, err) ||
        !find_beginning(s, &search, &last, &ours, server.confirmed, &begin, waiting, err) ||
        !start_end(&search, &last, &end, err) || !settle_history(s, &ours, &last, &begin, err) ||
        !start_reading(s, &begin, err)) {
        topic_reader_unseek(s->reader);
        return false;
    }
    *place = (struct wal_place){.confirmed = begin.position,
                                .server_lsn = server.wal,
                                .catchup_lsn = end != LSN_NONE ? end : begin.position};
    snprintf(place->system_id, sizeof(place->system_id), "%s", server.system_id);
    return true;
}

/* What was read does not lead to what follows: the next time it begins further back; if it has been
 * at the topic's beginning, what would have led there is gone. */
static void note_unlinked(struct source *s)
{
    if (s->margin > s->end)
        snprintf(s->gap, sizeof(s->gap), PASSED_BY);
    s->margin = s->gap[0] ? MARGIN : s->margin * 10;
}

static void close_topic(struct feed *feed, const struct err *why)
{
    struct source *s = source_of(feed);

    if (why->code == ERR_CORRUPT)
        snprintf(s->gap, sizeof(s->gap), "%s", why->msg);
    if (s->unframe.unlinked)
        note_unlinked(s);
    else
        s->margin = MARGIN;
    topic_reader_unseek(s->reader);
}

/* ---- what it brings -------------------------------------------------------------------------- */

/* What stands before the history's first record is of no use. */
static bool take_record(struct source *s, const struct topic_record *record, struct err *err)
{
    bool ours = slice_is(frames_history(record->headers, record->nheaders), s->history);

    atomic_store_explicit(&s->offset, record->offset + 1, memory_order_relaxed);
    if (!ours && !s->in_history)
        return true;
    if (!ours)
        return err_set(err, ERR_CHANGED, "the topic has begun another history at offset %lld",
                       (long long)record->offset);
    s->in_history = true;
    return unframe_take(&s->unframe, record->headers, record->nheaders, record->value, err) ||
           err_wrap(err, "topic \"%s\", offset %lld", s->topic, (long long)record->offset);
}

static enum feed_got next_item(struct feed *feed, struct feed_item *item, struct err *err)
{
    struct source *s = source_of(feed);

    for (;;) {
        enum feed_got got = unframe_next(&s->unframe, item, err);
        struct topic_record record;

        if (got != FEED_NOTHING)
            return got;
        switch (topic_reader_next(s->reader, &record, err)) {
        case TOPIC_RECORD:
            if (!take_record(s, &record, err))
                return FEED_FAILED;
            break;
        case TOPIC_END:
            break;
        case TOPIC_NOTHING:
            return FEED_NOTHING;
        case TOPIC_FAILED:
            return FEED_FAILED;
        }
    }
}

static bool wait_for_input(struct feed *feed, int wake_fd, bool input, int ms, struct err *err)
{
    struct pollfd fds[2] = {
        {.fd = input ? topic_reader_fd(source_of(feed)->reader) : -1, .events = POLLIN},
        {.fd = wake_fd, .events = POLLIN},
    };

    (void)err;
    poll(fds, 2, ms);
    return true;
}

/* Nobody is told how far a node is. A topic in which nothing happens is silent: the brokers are
 * there as long as nothing else is known. */
static bool take_feedback(struct feed *feed, lsn_t received, lsn_t flush, bool ask, struct err *err)
{
    struct source *s = source_of(feed);
    char trouble[TOPIC_TROUBLE_SIZE];

    (void)received;
    (void)flush;
    (void)err;
    if (ask && !topic_reader_trouble(s->reader, trouble))
        s->unframe.tell_position = true;
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

static const struct feed_ops source_ops = {
    .open = open_topic,
    .close = close_topic,
    .next = next_item,
    .wait = wait_for_input,
    .feedback = take_feedback,
};

bool source_parse(const char *url, char **brokers, char **prefix, struct err *err)
{
    static const char scheme[] = "kafka://";
    const char *rest =
        strncmp(url, scheme, sizeof(scheme) - 1) == 0 ? url + sizeof(scheme) - 1 : "";
    const char *slash = strchr(rest, '/');

    if (!slash || slash == rest || !slash[1] || strchr(slash + 1, '/'))
        return err_set(err, ERR_CONFIG,
                       "source \"%s\" is not kafka://broker[:port][,broker[:port]...]/prefix", url);
    *brokers = strndup(rest, (size_t)(slash - rest));
    *prefix = xstrdup(slash + 1);
    return true;
}

struct feed *source_new(const struct source_config *config, struct err *err)
{
    struct source *s = xcalloc(1, sizeof(*s));

    s->feed.ops = &source_ops;
    s->config = *config;
    s->margin = MARGIN;
    s->offset = s->end = -1;
    snprintf(s->topic, sizeof(s->topic), "%s.stream", config->prefix);
    s->reader = topic_reader_new(&config->client, s->topic, err);
    if (s->reader)
        return &s->feed;
    free(s);
    return NULL;
}

void source_free(struct feed *feed)
{
    if (!feed)
        return;
    topic_reader_free(source_of(feed)->reader);
    free(feed);
}

void source_get_status(struct feed *feed, struct source_status *status)
{
    struct source *s = source_of(feed);

    snprintf(status->topic, sizeof(status->topic), "%s", s->topic);
    status->offset = atomic_load_explicit(&s->offset, memory_order_relaxed);
    status->end = atomic_load_explicit(&s->end, memory_order_relaxed);
    if (!topic_reader_trouble(s->reader, status->trouble))
        status->trouble[0] = '\0';
}
