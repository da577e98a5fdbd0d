/*
 * One mutation on the connection, inside a transaction that the caller has begun and whose
 * savepoint he takes back when this is refused.
 */
#ifndef WRITE_MUTATION_H
#define WRITE_MUTATION_H

#include "pg/pipe.h"
#include "write/conflict.h"
#include "write/sqlstate.h"

enum write_ran {
    WRITE_RAN,    /* it is done, or there was nothing to do */
    WRITE_UNRUN,  /* refused: `why` */
    WRITE_BROKEN, /* err: the transaction cannot go on; write_class_of() says what to do */
};

/* Blocks. Messages are copied into `why`; nothing is kept in the arena that the caller needs. */
enum write_ran mutation_run(struct pg_conn *conn, const struct write_rules *rules,
                            const struct write_mutation *mutation, struct arena *arena,
                            struct write_refusal *why, struct err *err) MUST_CHECK;

/* The same in three parts, for many at once. A mutation of which one part is false is to be taken
 * back, and run by mutation_run(), which knows why. */

/* plan_release() in any case. The plan lies in the arena. */
bool mutation_plan(const struct write_rules *rules, const struct write_mutation *mutation,
                   struct arena *arena, struct plan *plan) MUST_CHECK;
/* Both its statements: that it may not stand is seen once they have run. */
void mutation_send(struct pg_pipe *pipe, struct plan *plan);
/* Takes what they gave: whether it stands. */
bool mutation_take(struct pg_pipe *pipe, const struct plan *plan, struct arena *arena,
                   struct err *err) MUST_CHECK;

/* Inserts of rows by one statement. */

/* Whether the row may go behind the `n` that begin with `first`: it fares there as by itself. */
bool mutation_may_follow(const struct plan *plan, const struct plan *first, size_t n);
/* Each of them but the first may follow. */
void mutation_send_rows(struct pg_pipe *pipe, struct plan *const *plans, size_t n);
/* Whether all of them stand. */
bool mutation_take_rows(struct pg_pipe *pipe, size_t n, struct err *err) MUST_CHECK;

/* An error of a statement: WRITE_UNRUN when it is for good, which `why` has then. */
enum write_ran mutation_failed(const struct err *err, struct write_refusal *why);

#endif
