/*
 * What taking writes needs of the bridge beside the workers (write/pool.h): who may write what, the
 * bridge's own tables in the source, and what is forgotten of them.
 *
 * The tables are made when the rules first allow a write, by the keeper; until they are there a
 * write is told to come again.
 */
#ifndef SERVE_WRITES_H
#define SERVE_WRITES_H

#include "rules/site.h"
#include "settings/config.h"
#include "write/pool.h"

#include <pthread.h>
#include <stdatomic.h>

struct writes {
    const struct config *config;
    struct rules_site *rules;
    struct write_pool *pool;
    atomic_bool ready;             /* the tables are there */
    int64_t next_look, next_prune; /* the keeper's */
    bool failed;
    pthread_mutex_t mutex;
    char trouble[256]; /* why the tables are not there; "": they are, or nobody may write */
};

/* What `config` points to, and the rules, must outlive it. */
bool writes_open(struct writes *writes, const struct config *config, struct rules_site *rules,
                 struct err *err) MUST_CHECK;
/* In this order; _close() after pg_stop(). Nothing happens when it was not opened. */
void writes_stop(struct writes *writes);
void writes_close(struct writes *writes);

/* The keeper: whether there is something to look after, and doing so. Blocks. False when the
 * connection failed. */
bool writes_are_due(const struct writes *writes);
bool writes_look(struct writes *writes, struct pg_conn *conn, struct err *err) MUST_CHECK;

/* Why no write can be taken now; false: nothing is known to be in the way. Any thread. */
bool writes_trouble(struct writes *writes, char text[256]);

#endif
