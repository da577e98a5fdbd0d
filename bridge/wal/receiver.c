#include "wal/receiver.h"
#include "base/clock.h"
#include "base/logging.h"
#include "change/pgoutput.h"
#include "wal/relcache.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FEEDBACK_EVERY_MS 1000    /* at the latest */
#define FEEDBACK_MOVED_MS 100     /* when there is something to confirm */
#define SETTLE_BYTES (512 * 1024) /* publish at the latest after this much input */
#define SETTLE_MS 5               /* or this long */
#define PROBE_AFTER_MS 30000      /* a silent server is asked for a sign of life */
#define GIVE_UP_AFTER_MS 300000   /* and left when none comes */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 10000
#define WAITING_PAUSE_MS 500
#define SHUTDOWN_ASKS 20 /* and so often, with nothing else: the server is waiting to end */
#define SHUTDOWN_MS 2000

struct receiver {
    struct receiver_config config;
    struct receiver_stats stats;
    atomic_bool stop, disconnect;
    int wake_fd;
    pthread_mutex_t error_mutex;
    char last_error[512];

    lsn_t furthest; /* end of the last transaction ever given to the sink */

    /* of the connection that is there */
    struct wal_place place;
    struct relcache relations;
    struct arena arena; /* one message */
    bool in_txn;
    struct txn txn;
    uint64_t next_op;
    lsn_t received; /* end of what was received */
    lsn_t passed,
        settled; /* stream position outside transactions: reached, and given to settle() */
    lsn_t told;  /* last flush position sent */
    size_t unsettled_bytes;
    int64_t settle_by, last_feedback, last_input; /* monotonic ms */
    bool reply_wanted;
    bool progressed; /* it has brought something new */
    lsn_t asked_at;  /* the end of the keepalives that asked for a reply last */
    unsigned asks;   /* how many in a row */
    int64_t asked_since;
};

struct receiver *receiver_new(const struct receiver_config *config, struct err *err)
{
    struct receiver *r = xcalloc(1, sizeof(*r));

    r->config = *config;
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake_fd < 0) {
        err_errno(err, ERR_IO, "could not make an eventfd");
        free(r);
        return NULL;
    }
    pthread_mutex_init(&r->error_mutex, NULL);
    return r;
}

void receiver_free(struct receiver *r)
{
    if (!r)
        return;
    relcache_clear(&r->relations);
    arena_release(&r->arena);
    pthread_mutex_destroy(&r->error_mutex);
    close(r->wake_fd);
    free(r);
}

void receiver_wake(struct receiver *r)
{
    if (eventfd_write(r->wake_fd, 1) < 0) {
        /* it is full: awake already */
    }
}

void receiver_stop(struct receiver *r)
{
    atomic_store(&r->stop, true);
    receiver_wake(r);
}

void receiver_disconnect(struct receiver *r)
{
    atomic_store(&r->disconnect, true);
    receiver_wake(r);
}

const struct receiver_stats *receiver_get_stats(const struct receiver *r)
{
    return &r->stats;
}

void receiver_last_error(struct receiver *r, char text[512])
{
    pthread_mutex_lock(&r->error_mutex);
    memcpy(text, r->last_error, sizeof(r->last_error));
    pthread_mutex_unlock(&r->error_mutex);
}

static void set_state(struct receiver *r, enum receiver_state state)
{
    atomic_store(&r->stats.state, (int)state);
}

/* ---- holding --------------------------------------------------------------------------------- */

static enum receiver_hold hold_of(const struct receiver *r)
{
    return (enum receiver_hold)atomic_load_explicit(&r->stats.hold, memory_order_relaxed);
}

const char *receiver_hold_text(const struct receiver *r)
{
    static const char *const texts[] = {
        [RECEIVER_DISK_FULL] = "there is no room for the shape log",
        [RECEIVER_UNSEEN] = "the database cannot be asked which transactions are visible",
    };

    return texts[hold_of(r)];
}

/* Says when it changes. */
static void set_hold(struct receiver *r, enum receiver_hold hold, const struct err *why)
{
    if (hold == hold_of(r))
        return;
    if (hold == RECEIVER_DISK_FULL)
        log_error("no room for the shape log, the slot is held until there is", LOG_ERR(why));
    else if (hold == RECEIVER_UNSEEN)
        log_error("the stream waits until the database can be asked which transactions are visible",
                  LOG_UINT("unseen", unseen_len(r->config.unseen)));
    else
        log_info(hold_of(r) == RECEIVER_DISK_FULL ? "there is room again, going on"
                                                  : "the stream goes on");
    atomic_store_explicit(&r->stats.hold, (int)hold, memory_order_relaxed);
}

/* Nobody prunes the list while the keeper alone cannot connect; but it has a bound. */
static void look_at_unseen(struct receiver *r)
{
    bool full = unseen_len(r->config.unseen) >= r->config.max_unseen;

    if (full && hold_of(r) == RECEIVER_FLOWS)
        set_hold(r, RECEIVER_UNSEEN, NULL);
    else if (!full && hold_of(r) == RECEIVER_UNSEEN)
        set_hold(r, RECEIVER_FLOWS, NULL);
}

/* ---- one message ----------------------------------------------------------------------------- */

static bool need_txn(const struct receiver *r, bool wanted, char kind, struct err *err)
{
    if (r->in_txn == wanted)
        return true;
    return err_set(err, ERR_PROTOCOL, "pgoutput message '%c' %s a transaction", kind,
                   wanted ? "outside" : "inside");
}

static bool on_begin(struct receiver *r, const struct txn *txn, struct err *err)
{
    if (!need_txn(r, false, 'B', err))
        return false;
    r->in_txn = true;
    r->txn = *txn;
    r->next_op = 0;
    return r->config.sink->ops->begin(r->config.sink, txn, err);
}

static bool on_commit(struct receiver *r, const struct txn *txn, struct err *err)
{
    if (!need_txn(r, true, 'C', err))
        return false;
    if (txn->commit_lsn != r->txn.commit_lsn)
        return err_set(err, ERR_PROTOCOL, "a commit that is not its begin's");
    r->txn.end_lsn = txn->end_lsn;
    /* Before the sink: once it is published, a worker may ask whether its snapshot sees it. */
    unseen_add(r->config.unseen, &r->txn);
    if (!r->config.sink->ops->commit(r->config.sink, &r->txn, err))
        return false;
    r->in_txn = false;
    r->passed = txn->end_lsn;
    r->progressed |= txn->end_lsn > r->furthest;
    if (txn->end_lsn > r->furthest)
        r->furthest = txn->end_lsn;
    look_at_unseen(r);
    atomic_fetch_add_explicit(&r->stats.transactions, 1, memory_order_relaxed);
    atomic_store_explicit(&r->stats.commit_time_us, txn->time_us, memory_order_relaxed);
    atomic_store_explicit(&r->stats.receive_time_us, clock_unix_us(), memory_order_relaxed);
    return true;
}

static bool on_relation(struct receiver *r, const struct relation *announced, struct err *err)
{
    bool changed;
    const struct relation *relation = relcache_put(&r->relations, announced, &changed);

    return !changed || r->config.sink->ops->relation(r->config.sink, relation, err);
}

static bool on_change(struct receiver *r, const struct change *change, struct err *err)
{
    const struct relation *relation = relcache_get(&r->relations, change->relid);

    if (!need_txn(r, true, 'I', err))
        return false;
    if (!relation)
        return err_set(err, ERR_PROTOCOL, "a change of relation %u, which was not announced",
                       change->relid);
    if ((change->new && change->new->nvalues != relation->ncols) ||
        (change->old && change->old->nvalues != relation->ncols))
        return err_set(err, ERR_PROTOCOL, "a row of \"%.*s\" with %u columns instead of %u",
                       SLICE_ARG(relation->relname),
                       change->new ? change->new->nvalues : change->old->nvalues, relation->ncols);
    uint64_t op = r->next_op;

    r->next_op += 2;
    atomic_fetch_add_explicit(&r->stats.changes, 1, memory_order_relaxed);
    return r->config.sink->ops->change(r->config.sink, relation, change, op, err);
}

static bool on_message(struct receiver *r, struct slice bytes, struct err *err)
{
    struct pgoutput msg;

    arena_reset(&r->arena);
    r->config.sink->message = bytes;
    if (!pgoutput_read(bytes, &r->arena, &msg, err))
        return false;
    switch (msg.kind) {
    case PGOUTPUT_BEGIN:
        return on_begin(r, &msg.txn, err);
    case PGOUTPUT_COMMIT:
        return on_commit(r, &msg.txn, err);
    case PGOUTPUT_RELATION:
        return on_relation(r, &msg.relation, err);
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        return on_change(r, &msg.change, err);
    case PGOUTPUT_TRUNCATE:
        return need_txn(r, true, 'T', err) &&
               r->config.sink->ops->truncate(r->config.sink, msg.truncate.relids,
                                             msg.truncate.nrelids, err);
    case PGOUTPUT_MESSAGE:
        /* Others belong to no transaction, and to nobody here. */
        if (!msg.message.transactional || !r->in_txn)
            return true;
        return r->config.sink->ops->message(r->config.sink, msg.message.prefix, msg.message.content,
                                            err);
    case PGOUTPUT_ORIGIN:
    case PGOUTPUT_TYPE:
        break;
    }
    return true;
}

/* ---- the stream's own messages --------------------------------------------------------------- */

static void note_received(struct receiver *r, lsn_t lsn)
{
    if (lsn > r->received) {
        r->received = lsn;
        atomic_store_explicit(&r->stats.received_lsn, lsn, memory_order_relaxed);
    }
}

void receiver_note_server_lsn(struct receiver *r, lsn_t lsn)
{
    uint_fast64_t known = atomic_load_explicit(&r->stats.server_lsn, memory_order_relaxed);

    while (lsn > known &&
           !atomic_compare_exchange_weak_explicit(&r->stats.server_lsn, &known, lsn,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* A server that shuts down asks again and again, until all that it sent is confirmed. */
static void note_asked(struct receiver *r, lsn_t end)
{
    if (end != r->asked_at) {
        r->asked_at = end;
        r->asks = 0;
        r->asked_since = clock_ms();
    }
    r->asks++;
}

/* What is left to confirm may be held back for good then: that every transaction can be seen is
 * found out with queries, and it takes none any more. Without us it ends, and nothing is lost. */
static bool is_shutting_down(const struct receiver *r)
{
    return r->asks >= SHUTDOWN_ASKS && r->told < r->asked_at && r->received == r->asked_at &&
           clock_ms() - r->asked_since >= SHUTDOWN_MS;
}

static void on_position(struct receiver *r, const struct feed_item *item)
{
    receiver_note_server_lsn(r, item->lsn);
    /* Inside a transaction it says nothing of what precedes our next commit. */
    if (!r->in_txn && item->lsn > r->passed)
        r->passed = item->lsn;
    if (item->reply)
        note_asked(r, item->lsn);
    r->reply_wanted |= item->reply;
}

static void roll_back(struct receiver *r)
{
    if (r->in_txn)
        r->config.sink->ops->rollback(r->config.sink);
    r->in_txn = false;
}

static bool on_item(struct receiver *r, const struct feed_item *item, struct err *err)
{
    atomic_fetch_add_explicit(&r->stats.received_bytes, item->size, memory_order_relaxed);
    r->unsettled_bytes += item->size;
    note_received(r, item->lsn);
    switch (item->kind) {
    case FEED_POSITION:
        on_position(r, item);
        return true;
    case FEED_VOID:
        roll_back(r);
        return true;
    case FEED_MESSAGE:
        break;
    }
    if (!on_message(r, item->message, err))
        return false;
    if (hold_of(r) == RECEIVER_DISK_FULL) /* the sink had to wait for room, and got it */
        set_hold(r, RECEIVER_FLOWS, NULL);
    return true;
}

/* ---- settling and feedback ------------------------------------------------------------------- */

static bool settle(struct receiver *r, struct err *err)
{
    /* Every commit record that begins before `passed` has been given. */
    lsn_t position = r->passed ? r->passed - 1 : 0;

    if (r->config.sink->ops->settle(r->config.sink, position, r->passed, err)) {
        if (hold_of(r) == RECEIVER_DISK_FULL)
            set_hold(r, RECEIVER_FLOWS, NULL);
        r->settled = r->passed;
        r->unsettled_bytes = 0;
        r->settle_by = 0;
        return true;
    }
    if (err->code != ERR_DISK_FULL)
        return false;
    set_hold(r, RECEIVER_DISK_FULL, err);
    return true;
}

static bool send_feedback(struct receiver *r, lsn_t flush, bool ask, struct err *err)
{
    struct feed *feed = r->config.feed;

    if (!feed->ops->feedback(feed, r->received, flush, ask, err))
        return false;
    r->told = flush;
    r->reply_wanted = false;
    r->last_feedback = clock_ms();
    atomic_store_explicit(&r->stats.confirmed_lsn, flush, memory_order_relaxed);
    return true;
}

static lsn_t confirmable(struct receiver *r)
{
    lsn_t flush = r->config.sink->ops->confirmable(r->config.sink);
    lsn_t floor = unseen_floor(r->config.unseen);

    if (flush > floor)
        flush = floor;
    /* What the log holds from before a restart has to go by first: only then are those known again
     * that a snapshot may miss. And a server that hears of more than it has sent sends no sign of
     * where its WAL ends. */
    if (flush > r->settled)
        flush = r->settled;
    return flush > r->told ? flush : r->told;
}

static bool feedback_if_due(struct receiver *r, int64_t now, struct err *err)
{
    int64_t since = now - r->last_feedback;
    bool ask = now - r->last_input > PROBE_AFTER_MS && since > PROBE_AFTER_MS / 3;

    if (now - r->last_input > GIVE_UP_AFTER_MS)
        return err_set(err, ERR_CONN, "the server has been silent for %d s",
                       GIVE_UP_AFTER_MS / 1000);
    if (!r->reply_wanted && !ask && since < FEEDBACK_MOVED_MS)
        return true;
    lsn_t flush = confirmable(r);
    if (r->reply_wanted || ask || since >= FEEDBACK_EVERY_MS || flush > r->told)
        return send_feedback(r, flush, ask, err);
    return true;
}

static void take_wakeup(struct receiver *r)
{
    eventfd_t count;

    if (eventfd_read(r->wake_fd, &count) < 0) {
        /* somebody else read it */
    }
}

bool receiver_wait_for_room(struct receiver *r, struct err *err)
{
    struct feed *feed = r->config.feed;

    set_hold(r, RECEIVER_DISK_FULL, err);
    r->last_input = clock_ms(); /* it is we who do not read */
    if (!feedback_if_due(r, r->last_input, err) ||
        !feed->ops->wait(feed, r->wake_fd, false, FEEDBACK_MOVED_MS, err))
        return false;
    take_wakeup(r);
    if (atomic_load(&r->stop) || atomic_load(&r->disconnect))
        return err_set(err, ERR_CONN, "the stream ends while there is no room");
    return true;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool wait_for_input(struct receiver *r, struct err *err)
{
    struct feed *feed = r->config.feed;
    bool held = hold_of(r) != RECEIVER_FLOWS; /* read no further */
    /* Confirmable moves by the syncer's and the keeper's work, which wake nobody: look soon while
     * something is unconfirmed. */
    bool unconfirmed = r->told < r->settled;
    int ms = held || unconfirmed ? FEEDBACK_MOVED_MS : FEEDBACK_EVERY_MS;

    if (!feed->ops->wait(feed, r->wake_fd, !held, ms, err))
        return false;
    take_wakeup(r);
    return true;
}

/* Reads what is there; *more says that the loop stopped for another reason than an empty feed. */
static bool read_some(struct receiver *r, bool *more, struct err *err)
{
    struct feed *feed = r->config.feed;
    enum feed_got got = FEED_NOTHING;
    struct feed_item item;

    *more = true;
    while (r->unsettled_bytes < SETTLE_BYTES &&
           (got = feed->ops->next(feed, &item, err)) == FEED_ITEM) {
        if (!on_item(r, &item, err))
            return false;
        r->last_input = clock_ms();
        if (!r->settle_by)
            r->settle_by = r->last_input + SETTLE_MS;
        if (!r->in_txn && r->last_input >= r->settle_by)
            return true;
        if (r->reply_wanted || hold_of(r) != RECEIVER_FLOWS)
            return true;
    }
    *more = got == FEED_ITEM || r->unsettled_bytes >= SETTLE_BYTES;
    return got != FEED_FAILED;
}

static bool step(struct receiver *r, struct err *err)
{
    bool more = false;

    look_at_unseen(r);
    if (hold_of(r) == RECEIVER_FLOWS && !read_some(r, &more, err))
        return false;
    if (!r->in_txn && !settle(r, err))
        return false;
    if (r->in_txn)
        r->unsettled_bytes = 0;
    if (hold_of(r) != RECEIVER_FLOWS) {
        r->last_input = clock_ms(); /* it is we who do not read */
        more = false;
    }
    if (!feedback_if_due(r, clock_ms(), err))
        return false;
    if (is_shutting_down(r))
        return err_set(err, ERR_CONN, "the server is shutting down");
    return more || wait_for_input(r, err);
}

static void stream(struct receiver *r, struct err *err)
{
    bool ok = true;

    r->in_txn = false;
    r->received = r->passed = r->settled = r->told = 0;
    r->unsettled_bytes = 0;
    r->settle_by = 0;
    r->reply_wanted = r->progressed = false;
    atomic_store(&r->stats.hold, RECEIVER_FLOWS);
    r->asked_at = 0;
    r->asks = 0;
    r->last_feedback = 0;
    r->last_input = clock_ms();
    atomic_store(&r->disconnect, false);
    r->config.sink->ops->connected(r->config.sink, &r->place);
    while (ok && !atomic_load(&r->stop) && !atomic_load(&r->disconnect))
        ok = step(r, err);
    roll_back(r);
    atomic_store(&r->stats.hold, RECEIVER_FLOWS);
    if (ok) {
        err_set(err, ERR_CONN, "the server is shutting down, or what we need of it is gone");
        struct err ignored;
        if (!send_feedback(r, confirmable(r), false, &ignored))
            log_debug("no last feedback", LOG_ERR(&ignored));
    }
    relcache_clear(&r->relations);
}

static void note_error(struct receiver *r, const struct err *err)
{
    pthread_mutex_lock(&r->error_mutex);
    memcpy(r->last_error, err->msg, sizeof(r->last_error));
    pthread_mutex_unlock(&r->error_mutex);
    atomic_fetch_add_explicit(&r->stats.errors, 1, memory_order_relaxed);
}

static void pause_ms(struct receiver *r, int64_t ms)
{
    struct pollfd pfd = {.fd = r->wake_fd, .events = POLLIN};
    int64_t until = clock_ms() + ms;
    eventfd_t count;

    for (int64_t now; !atomic_load(&r->stop) && (now = clock_ms()) < until;) {
        if (poll(&pfd, 1, (int)(until - now)) > 0 && eventfd_read(r->wake_fd, &count) < 0)
            continue;
    }
}

/* One connection, from its making to its end; false when it could not be made. */
static bool connect_and_stream(struct receiver *r, bool *waiting, struct err *err)
{
    struct feed *feed = r->config.feed;

    *waiting = false;
    if (!feed->ops->open(feed, &r->stop, &r->place, waiting, err))
        return false;
    atomic_store(&r->stats.catchup_lsn, r->place.catchup_lsn);
    atomic_store(&r->stats.server_lsn, r->place.server_lsn); /* may be less than before */
    set_state(r, RECEIVER_STREAMING);
    stream(r, err);
    feed->ops->close(feed, err);
    return true;
}

void receiver_run(struct receiver *r)
{
    int64_t backoff = BACKOFF_FIRST_MS;
    bool was_waiting = false;

    while (!atomic_load(&r->stop)) {
        struct err err = {0};
        bool waiting = false;
        int64_t began = clock_ms();
        bool streamed = connect_and_stream(r, &waiting, &err);

        if (atomic_load(&r->stop))
            break;
        note_error(r, &err);
        set_state(r, waiting ? RECEIVER_WAITING : RECEIVER_STARTING);
        if (!waiting || !was_waiting)
            log_at(waiting ? LOG_INFO : LOG_WARN,
                   streamed ? "the replication stream broke" : "could not start replication",
                   LOG_ERR(&err));
        was_waiting = waiting;
        /* What ends each stream at once will again; one that has brought something new may have
         * been cut by chance. */
        bool lasted = streamed && (r->progressed || clock_ms() - began >= BACKOFF_MOST_MS);
        backoff = lasted ? BACKOFF_FIRST_MS : backoff * 2;
        if (backoff > BACKOFF_MOST_MS)
            backoff = BACKOFF_MOST_MS;
        pause_ms(r, waiting ? WAITING_PAUSE_MS : backoff);
        atomic_fetch_add_explicit(&r->stats.reconnects, 1, memory_order_relaxed);
    }
    set_state(r, RECEIVER_STARTING);
}
