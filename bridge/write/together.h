/*
 * The short way of a write: what goes through without a hitch, of one request or of several, in one
 * commit and few round trips.
 *
 * Everything is sent at once: what is decided by this, the mutations. Then what came of it is read,
 * and committed when all of it stands. A request of which anything is not plain (a mutation that is
 * refused, a row that is not there, a lock that takes longer than a moment, something decided
 * before, a replica's first write) is left to write_apply(), which does it alone and says why, and
 * the others are sent again. So here is no word of what is refused.
 *
 * Requests share a commit when they have the same subject, role and claims: what a trigger of one
 * leaves behind in the transaction (a setting, say) is no other bearer's.
 */
#ifndef WRITE_TOGETHER_H
#define WRITE_TOGETHER_H

#include "write/apply.h"

/* A lock for longer than this is not waited for: others share the commit. */
#define TOGETHER_LOCK_MS 100
/* Of a commit: what does not stand takes all others back with it. */
#define TOGETHER_MOST 50

struct write_share {
    const struct write_rules *rules;
    const struct write_request *request;
    struct arena *arena; /* what is kept */
    struct write_outcome *outcome;
    size_t from; /* those before were decided by us; moved on by what is committed */
};

/* Whether they may share a commit. */
bool write_may_share(const struct write_rules *a, const struct write_rules *b);

/* Applies what is plain of `n` requests, at most TOGETHER_MOST, of different replicas. Of each so
 * many transactions as `limits` has for a commit, all or none. Blocks. False when the connection is
 * lost: what was under way may have been committed. */
bool write_together(struct pg_conn *conn, struct write_share *shares, size_t n,
                    const struct write_limits *limits, struct write_took *took,
                    struct err *err) MUST_CHECK;

#endif
