/*
 * Applies the transactions of a request in Postgres, each exactly once, each whole.
 *
 * Several consecutive ones share a commit (a group), each in a savepoint of its own whose
 * constraints are checked before it is released; one that fails is taken back alone. In the same
 * commit tombolo.replicas takes the id and the nonce of the last, and tombolo.rejections what was
 * refused. A commit that fails is done again one by one. Of a transaction that was refused and is
 * not marked what can go goes: each refused mutation costs a savepoint or two more, and what is
 * before it runs once more (where a deferred constraint refuses, as often as it can be halved).
 *
 * Exactly once: the replica's row is locked first, and says where in the request to go on. So a
 * request whose answer was lost, at whatever moment, is simply applied again.
 *
 * The sender has to keep two things: ids without gaps, and a repeat of a request holds at least
 * what it held before (what was acknowledged may be left out).
 *
 * Deferrable constraints are deferred to the end of the replica's transaction, and triggers run
 * under the search_path that the bridge's user has by default, as the role of the rules.
 */
#ifndef WRITE_APPLY_H
#define WRITE_APPLY_H

#include "write/conflict.h"

enum write_status {
    WRITE_AGAIN,    /* not decided: send it again */
    WRITE_APPLIED,  /* all of it */
    WRITE_PARTLY,   /* but for the mutations that were rejected */
    WRITE_REJECTED, /* nothing of it */
};

/* Of a transaction as a whole, where no mutation can be named. */
#define WRITE_WHOLE (-1)

struct write_rejection {
    int mutation; /* from 0, or WRITE_WHOLE */
    struct slice code, sqlstate, message;
};

struct write_result {
    enum write_status status;
    bool repeated; /* decided by an earlier request: xid and lsn are 0 */
    uint32_t xid;  /* of the commit; 0 where nothing was written */
    lsn_t lsn;     /* at or behind the commit; a stream that has passed it has the effects */
    struct write_rejection *rejections;
    size_t nrejections;
};

enum write_answer {
    WRITE_DONE,
    WRITE_FORK,      /* 409: a restored or cloned file: the replica takes another id */
    WRITE_FORBIDDEN, /* 403: the replica is another subject's */
    WRITE_CROWDED,   /* 403: the subject has as many replicas as it may */
};

/* How long mutations took, without their commit; of those that went through without a hitch. */
struct write_took {
    size_t mutations;
    int64_t us;
};

struct write_outcome {
    enum write_answer answer;
    int64_t last_id;              /* the last that was decided, as far as we know */
    struct write_result *results; /* request->ntxns of them, with WRITE_DONE */
    struct write_took took;
    bool schema_changed; /* an error looked as if the rules' tables are no longer as they were */
};

struct write_limits {
    size_t group;        /* transactions to a commit: from 64 savepoints on Postgres gets slower */
    size_t group_rows;   /* mutations to a commit, unless one transaction alone has more */
    int attempts;        /* for what may go the next time: deadlocks, locks, time-outs */
    int lock_timeout_ms; /* 0: none */
    int statement_timeout_ms;
    int replicas; /* that a subject may have, but for the operator; 0: no limit */
};

/* Nothing is decided. The results lie in the arena. */
void write_outcome_init(struct write_outcome *outcome, const struct write_request *request,
                        struct arena *arena);

/* Blocks. True also when the attempts ran out: the rest is WRITE_AGAIN, and err says what was in
 * the way. False with the error when Postgres cannot be written to now: `outcome` says what was
 * decided, the rest is WRITE_AGAIN; write_class_of(err) says whether to connect again or to stop
 * (WRITE_PERMANENT: to stop too; it is the bridge's own statements that were refused).
 * The connection is then closed by the caller, or idle. Everything lies in the arena. */
bool write_apply(struct pg_conn *conn, const struct write_rules *rules,
                 const struct write_request *request, const struct write_limits *limits,
                 struct arena *arena, struct write_outcome *outcome, struct err *err) MUST_CHECK;

#endif
