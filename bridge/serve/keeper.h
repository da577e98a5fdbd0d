/*
 * The keeper: one thread with an ordinary connection that looks after what the
 * stream does not tell.
 *
 *   often        which decoded transactions every new snapshot sees by now (change/unseen.h)
 *   when asked   a fence: a position that the stream passes after everything committed so far
 *   now and then the files with the keys for tokens
 *   when asked   the rules, when they were read again or a table was altered
 *   now and then the bridge's tables for writes (writes.h)
 *   now and then the catalogue: tables dropped, altered or rewritten, partitions attached or
 *                detached, replica identity or publication lost; and the slot's state, for the
 *                metrics
 *
 * A log whose table is not what it was ends, with the reason.
 */
#ifndef SERVE_KEEPER_H
#define SERVE_KEEPER_H

#include "change/unseen.h"
#include "fanout/fanout.h"
#include "rules/site.h"
#include "shapelog/shapelog.h"
#include "snapshot/pool.h"
#include "wal/receiver.h"

struct keeper;
struct writes;

struct keeper_config {
    const char *conninfo, *slot, *publication;
    struct shapelog *store;
    struct unseen *unseen;
    struct fanout *fanout;
    struct snapshot_pool *pool;
    struct receiver *receiver;
    bool node; /* the stream is a publisher's: slot, publication and event triggers are its own */
    int64_t catalog_interval_ms;
    bool manual_publishing; /* as the pool's */
    int lock_timeout_ms;
    struct token_keys *tokens; /* NULL: none */
    struct rules_site *rules;
    struct writes *writes;
    uint64_t log_growth; /* a log this many times its snapshot begins anew; 0: never */
};

struct keeper *keeper_new(const struct keeper_config *config, struct err *err) MUST_CHECK;
/* It ends as soon as the server, or pg_stop(), lets it. */
void keeper_stop(struct keeper *keeper);
/* Answers the fences that wait with false. */
void keeper_free(struct keeper *keeper);

typedef void keeper_fenced(void *arg, bool ok, lsn_t lsn);
/* Any thread; answered on the keeper's. */
void keeper_fence(struct keeper *keeper, keeper_fenced *fenced, void *arg);

/* Any thread: something in the catalogue has changed. */
void keeper_check_soon(struct keeper *keeper);

/* The catalogue has been compared since the start. */
bool keeper_ready(const struct keeper *keeper);

#endif
