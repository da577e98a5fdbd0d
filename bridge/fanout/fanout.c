#include "fanout/fanout.h"
#include "base/clock.h"
#include "base/logging.h"
#include "fanout/projection.h"
#include "fanout/routes.h"
#include "shapes/effect.h"

#include <pthread.h>
#include <stdlib.h>

#define SWEEP_EVERY_MS 2000
#define NOT_SENT "the table's replica identity does not send what the shape needs"

/* A log that the stream feeds. */
struct subscription {
    struct shape_entry entry; /* first; its shape is the log's */
    struct log *log;
    struct projection *projection;
    struct followed_table *followed;
};

struct fanout_registration {
    struct log *const *logs;
    size_t n;
    bool done;
    lsn_t registered;
    struct fanout_registration *next;
};

struct fanout {
    struct shapelog *store;
    struct routes routes;
    struct projections projections;
    struct arena arena; /* one change */
    struct txn txn;
    int64_t swept;
    struct fanout_stats stats;

    pthread_mutex_t mutex; /* guards what other threads ask for */
    pthread_cond_t answered;
    struct fanout_registration *asked;
    bool no_waiting;
    atomic_bool has_requests, forget_partitions;
};

struct fanout *fanout_new(struct shapelog *store, fanout_resolver *resolver, void *owner)
{
    struct fanout *f = xcalloc(1, sizeof(*f));
    pthread_condattr_t attr;

    f->store = store;
    f->routes = (struct routes){.resolver = resolver, .owner = owner};
    projections_init(&f->projections, store);
    pthread_mutex_init(&f->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->answered, &attr);
    pthread_condattr_destroy(&attr);
    return f;
}

void fanout_set_no_room(struct fanout *f, fanout_no_room *no_room, void *owner)
{
    f->projections.no_room = no_room;
    f->projections.no_room_owner = owner;
}

const struct fanout_stats *fanout_get_stats(const struct fanout *f)
{
    return &f->stats;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

static struct subscription *subscription_of(struct shape_entry *entry)
{
    return (struct subscription *)entry;
}

static void unsubscribe(struct fanout *f, struct subscription *sub)
{
    shape_index_remove(sub->followed->index, &sub->entry);
    projections_put(&f->projections, sub->projection);
    routes_unfollow(&f->routes, sub->followed);
    log_unref(sub->log);
    free(sub);
}

/* Ends by the transaction at hand. The subscription stays until it is over: its projection's lane
 * may hold messages of it. */
static void end_by_txn(struct fanout *f, struct subscription *sub, const char *reason)
{
    if (log_state(sub->log) == LOG_ENDED || !log_wants(sub->log, &f->txn))
        return;
    log_end_by(f->store, sub->log, &f->txn, reason);
    if (log_state(sub->log) != LOG_ENDED)
        return; /* not certain before its snapshot is known */
    atomic_fetch_add_explicit(&f->stats.ended, 1, memory_order_relaxed);
    f->swept = 0;
}

/* Whether a change of the table's rows touches what the shape uses. */
static bool is_touched(const struct shape *shape, const struct fanout_rewrite *rewrite)
{
    bool touched = rewrite->all || shape->all_columns;

    for (size_t i = 0; !touched && i < rewrite->ncolumns; i++) {
        int at = table_column_index(shape->table, rewrite->columns[i]);

        touched = at >= 0 && shape_uses(shape, (uint16_t)at);
    }
    return touched;
}

static void end_touched(struct fanout *f, uint32_t relid, const struct fanout_rewrite *rewrite)
{
    struct arena arena = {0};

    for (struct followed_table *t = routes_table(&f->routes, relid); t; t = t->next) {
        size_t n;
        struct shape_entry **entries = shape_index_table(t->index, relid, &arena, &n);

        for (size_t i = 0; i < n; i++) {
            if (is_touched(entries[i]->shape, rewrite))
                end_by_txn(f, subscription_of(entries[i]), rewrite->reason);
        }
    }
    arena_release(&arena);
}

void fanout_add(struct fanout *f, struct log *log)
{
    struct subscription *sub = xcalloc(1, sizeof(*sub));
    const struct shape *shape = log_shape(log);

    sub->log = log_ref(log);
    sub->entry.shape = shape;
    sub->followed = routes_follow(&f->routes, shape);
    sub->projection = projections_get(&f->projections, sub->followed->table, shape);
    shape_index_add(sub->followed->index, &sub->entry);
}

/* Logs are ended by other threads too: lets go of those, or of all. */
static void sweep(struct fanout *f, bool all)
{
    struct arena arena = {0};
    size_t n;
    struct shape_entry **entries = routes_entries(&f->routes, &arena, &n);

    for (size_t i = 0; i < n; i++) {
        struct subscription *sub = subscription_of(entries[i]);

        if (all || log_state(sub->log) == LOG_ENDED)
            unsubscribe(f, sub);
    }
    arena_release(&arena);
}

void fanout_free(struct fanout *f)
{
    if (!f)
        return;
    sweep(f, true);
    projections_release(&f->projections);
    routes_release(&f->routes);
    arena_release(&f->arena);
    pthread_cond_destroy(&f->answered);
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

/* ---- requests of other threads --------------------------------------------------------------- */

struct fanout_registration *fanout_register_begin(struct fanout *f, struct log *const *logs,
                                                  size_t n)
{
    struct fanout_registration *reg = xcalloc(1, sizeof(*reg));

    reg->logs = logs;
    reg->n = n;
    pthread_mutex_lock(&f->mutex);
    reg->next = f->asked;
    f->asked = reg;
    atomic_store(&f->has_requests, true);
    pthread_mutex_unlock(&f->mutex);
    return reg;
}

static void withdraw(struct fanout *f, struct fanout_registration *reg)
{
    for (struct fanout_registration **at = &f->asked; *at; at = &(*at)->next) {
        if (*at == reg) {
            *at = reg->next;
            return;
        }
    }
}

bool fanout_register_wait(struct fanout *f, struct fanout_registration *reg, int timeout_ms,
                          lsn_t *registered, struct err *err)
{
    int64_t deadline = clock_us() + (int64_t)timeout_ms * 1000;
    struct timespec until = {deadline / 1000000, deadline % 1000000 * 1000};
    int rc = 0;

    pthread_mutex_lock(&f->mutex);
    while (!reg->done && !f->no_waiting && rc == 0)
        rc = pthread_cond_timedwait(&f->answered, &f->mutex, &until);
    if (!reg->done)
        withdraw(f, reg);
    pthread_mutex_unlock(&f->mutex);

    bool done = reg->done;
    *registered = reg->registered;
    free(reg);
    return done || err_set(err, ERR_TIMEOUT, "the replication stream is not there yet");
}

void fanout_end_waits(struct fanout *f)
{
    pthread_mutex_lock(&f->mutex);
    f->no_waiting = true;
    pthread_cond_broadcast(&f->answered);
    pthread_mutex_unlock(&f->mutex);
}

void fanout_forget_partitions(struct fanout *f)
{
    atomic_store(&f->forget_partitions, true);
}

/* Takes registrations only when all that the log holds has gone by once more since the connection
 * was made: only then are the transactions known that a snapshot may still miss. */
static void serve_requests(struct fanout *f, lsn_t position)
{
    lsn_t last = shapelog_last_commit(f->store);

    pthread_mutex_lock(&f->mutex);
    struct fanout_registration *regs = position >= last ? f->asked : NULL;
    if (regs)
        f->asked = NULL;
    atomic_store(&f->has_requests, f->asked != NULL);

    for (struct fanout_registration *reg = regs, *next; reg; reg = next) {
        next = reg->next;
        reg->registered = position;
        for (size_t i = 0; i < reg->n; i++) {
            log_register(reg->logs[i], position);
            fanout_add(f, reg->logs[i]);
        }
        reg->done = true;
    }
    if (regs)
        pthread_cond_broadcast(&f->answered);
    pthread_mutex_unlock(&f->mutex);
}

/* ---- the stream ------------------------------------------------------------------------------ */

void fanout_connected(struct fanout *f)
{
    routes_forget(&f->routes, 0);
}

bool fanout_begin(struct fanout *f, const struct txn *txn, struct err *err)
{
    bool known;

    f->txn = *txn;
    /* A known one goes through all the same: it may end logs that were to end before a crash. Its
     * appends do nothing. */
    while (!shapelog_begin(f->store, txn, &known, err)) {
        if (!projections_retry(&f->projections, err))
            return false;
    }
    return true;
}

bool fanout_relation(struct fanout *f, const struct relation *relation, struct err *err)
{
    (void)err;
    routes_forget(&f->routes, relation->relid);
    return true;
}

/* Whether an update or delete comes without the whole old row. */
static bool lacks_old(const struct change *change)
{
    return change->op != CHANGE_INSERT && (!change->old || change->old_is_key);
}

/* Calls for each shape of the route's table. */
static size_t each_shape(struct fanout *f, const struct route *route,
                         const struct relation *relation,
                         bool (*each)(struct fanout *f, struct subscription *sub,
                                      const struct route *route, const struct relation *relation))
{
    struct arena arena = {0};
    size_t n, found = 0;
    struct shape_entry **entries =
        shape_index_table(route->to->index, route->to->table->relid, &arena, &n);

    for (size_t i = 0; i < n; i++)
        found += each(f, subscription_of(entries[i]), route, relation);
    arena_release(&arena);
    return found;
}

static bool end_misled(struct fanout *f, struct subscription *sub, const struct route *route,
                       const struct relation *relation)
{
    const struct shape *shape = sub->entry.shape;
    const struct table *table = shape->table;
    bool misled = false;

    for (uint16_t i = 0; !misled && i < table->ncols; i++)
        misled = table->cols[i].in_identity && shape_needs_old(shape, i) && route->map[i] >= 0 &&
                 !relation->cols[route->map[i]].in_identity;
    if (misled)
        end_by_txn(f, sub, NOT_SENT);
    return misled;
}

static bool end_hurt(struct fanout *f, struct subscription *sub, const struct route *route,
                     const struct relation *relation)
{
    const struct shape *shape = sub->entry.shape;
    bool whole = shape->all_columns || shape->table->npk == 0;
    bool hurt = route->found.renamed || (whole && route->found.added);

    (void)relation;
    for (uint16_t i = 0; route->found.lost && !hurt && i < shape->table->ncols; i++)
        hurt = route->lost[i] && shape_uses(shape, i);
    if (hurt)
        end_by_txn(f, sub, "the table's columns have changed");
    return hurt;
}

/* The relation has other columns than the table: ends the shapes that are not what they were. Those
 * that wait for their snapshot stay until it is known, and are asked again. */
static void end_all_hurt(struct fanout *f, struct route *route, const struct relation *relation)
{
    const struct table_map *found = &route->found;

    if (!(found->renamed || found->added || found->lost) || route->clean == route->to->generation)
        return;
    if (each_shape(f, route, relation, end_hurt) == 0)
        route->clean = route->to->generation;
}

/* Asks one subscription what the change is to it. */
static void ask(struct fanout *f, struct subscription *sub, const struct change *change,
                struct projection **touched)
{
    const struct shape *shape = sub->entry.shape;
    enum effect_kind kind;
    struct err err;

    if (log_state(sub->log) == LOG_ENDED || !log_wants(sub->log, &f->txn))
        return;
    if (shape->needs_full && lacks_old(change)) {
        end_by_txn(f, sub, NOT_SENT);
        return;
    }
    if (!shape_effect(shape, change, &f->arena, &kind, &err)) {
        end_by_txn(f, sub, err.msg);
        return;
    }
    if (kind == EFFECT_NONE)
        return;
    if (kind != EFFECT_DELETE && kind != EFFECT_UPDATE &&
        message_lacks(sub->projection->format, change->new)) {
        end_by_txn(f, sub, "a large value of a row under a new key was not sent");
        return;
    }
    projection_want(sub->projection, kind, sub->log);
    if (!sub->projection->touched) {
        sub->projection->touched = true;
        sub->projection->next_touched = *touched;
        *touched = sub->projection;
    }
}

static bool append_all(struct fanout *f, struct projection *touched, const struct change *change,
                       uint64_t op, struct err *err)
{
    const struct message_place place = {f->txn.commit_lsn, f->txn.xid, op};
    uint64_t messages = 0, rows_out = 0;
    bool ok = true;

    for (struct projection *p = touched; p; p = p->next_touched) {
        p->touched = false;
        ok = projection_append(&f->projections, p, change, &place, &messages, &rows_out, err) && ok;
    }
    atomic_fetch_add_explicit(&f->stats.messages, messages, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->stats.rows_out, rows_out, memory_order_relaxed);
    return ok;
}

static bool take_route(struct fanout *f, const struct route *route, const struct relation *relation,
                       const struct change *change, uint64_t op, struct err *err)
{
    struct projection *touched = NULL;
    struct change mapped = *change;
    uint32_t relid = route->to->table->relid;
    size_t n;

    mapped.relid = relid;
    mapped.old = route_tuple(route, change->old, NULL, &f->arena);
    mapped.new =
        route_tuple(route, change->new, change->old_is_key ? NULL : change->old, &f->arena);
    /* The identity was changed since some shapes were made, or a partition has another one: ends
     * those that took a column for part of it which is not. */
    if (lacks_old(change) && !route->identity_holds)
        each_shape(f, route, relation, end_misled);
    struct shape_entry **entries =
        shape_index_find(route->to->index, relid, &mapped, &f->arena, &n);
    for (size_t i = 0; i < n; i++)
        ask(f, subscription_of(entries[i]), &mapped, &touched);
    return append_all(f, touched, &mapped, op, err);
}

bool fanout_change(struct fanout *f, const struct relation *relation, const struct change *change,
                   uint64_t op, struct err *err)
{
    struct relation_routes *routes;

    if (!routes_of(&f->routes, relation, &routes, err))
        return false;
    arena_reset(&f->arena);
    for (size_t i = 0; i < routes->n; i++) {
        end_all_hurt(f, &routes->routes[i], relation);
        if (!take_route(f, &routes->routes[i], relation, change, op, err))
            return false;
    }
    return true;
}

bool fanout_rewrite_table(struct fanout *f, uint32_t relid, const struct fanout_rewrite *rewrite,
                          struct err *err)
{
    struct relation_routes *routes;

    if (!routes_ancestors(&f->routes, relid, &routes, err))
        return false;
    end_touched(f, relid, rewrite);
    for (size_t i = 0; i < routes->nancestors; i++)
        end_touched(f, routes->ancestors[i], rewrite);
    return true;
}

bool fanout_truncate(struct fanout *f, const uint32_t *relids, uint32_t n, struct err *err)
{
    const struct fanout_rewrite rewrite = {.reason = "the table was truncated", .all = true};

    for (uint32_t i = 0; i < n; i++) {
        if (!fanout_rewrite_table(f, relids[i], &rewrite, err))
            return false;
    }
    return true;
}

bool fanout_commit(struct fanout *f, const struct txn *txn, struct err *err)
{
    while (!shapelog_commit(f->store, txn, err)) {
        if (!projections_retry(&f->projections, err))
            return false;
    }
    return true;
}

void fanout_rollback(struct fanout *f)
{
    shapelog_rollback(f->store);
}

bool fanout_settle(struct fanout *f, lsn_t position, lsn_t end_lsn, struct err *err)
{
    int64_t now = clock_ms();

    if (atomic_exchange_explicit(&f->forget_partitions, false, memory_order_relaxed))
        routes_forget(&f->routes, 0);
    if (atomic_load_explicit(&f->has_requests, memory_order_relaxed))
        serve_requests(f, position);
    if (now - f->swept >= SWEEP_EVERY_MS) {
        f->swept = now;
        sweep(f, false);
    }
    /* After a reconnect the stream goes over what is published already. */
    if (position <= shapelog_published(f->store))
        return true;
    return shapelog_publish(f->store, position, end_lsn, err);
}
