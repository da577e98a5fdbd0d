/*
 * The snapshot pool's requests, and the lists of those that wait. How many
 * wait, and how many bytes they take, is bounded over all lists together.
 *
 *     request_new() -> queue_add() -> [queue_take() <-> queue_join()] -> queue_forget() -> done
 *
 * Private to this room: everything but request_new() and request_free() is
 * called holding the pool's mutex.
 */
#ifndef SNAPSHOT_QUEUE_H
#define SNAPSHOT_QUEUE_H

#include "base/arena.h"
#include "base/hash.h"
#include "shapelog/answer.h"

struct request;

struct requests {
    struct request *first, *last; /* oldest first */
    size_t n;
};

/* Either waits, and then it is in a list; or it is at work, and then in none. */
struct request {
    struct arena arena;
    size_t size;
    struct shape_request shape;
    shape_answered *done;
    void *arg;
    bool find_only;         /* no log is made */
    bool gone;              /* nobody waits for the answer; under the pool's mutex */
    struct requests *where; /* the list it is in; likewise */
    struct request *prev, *next;
};

/* Zero is empty. */
struct queue {
    struct requests fresh;    /* nobody has begun with */
    struct requests absent;   /* the looker has found no log of theirs */
    struct u64map unanswered; /* arg -> struct request */
    size_t n, size;           /* all that wait, other lists too, and what they take */
};

/* Copies the texts. */
struct request *request_new(const struct shape_request *shape, shape_answered *done, void *arg);
void request_free(struct request *r);

void queue_release(struct queue *q);
/* Behind all that are fresh. False: too much waits already. */
bool queue_add(struct queue *q, struct request *r) MUST_CHECK;
/* The request with this `arg`, until queue_forget(); or NULL. */
struct request *queue_find(const struct queue *q, const void *arg);
/* It is about to be answered: after that `arg` may be another's. */
void queue_forget(struct queue *q, const struct request *r);

/* Waits again, in this list: one of the queue's or the caller's own. */
void queue_join(struct queue *q, struct requests *list, struct request *r);
void queue_leave(struct queue *q, struct request *r);
/* The list's first, which leaves it; NULL: it is empty. */
struct request *queue_take(struct queue *q, struct requests *list);
/* The list's first, and up to `most` in all that ask for the same table, leave it for another.
 * Looks at so many only that it does not take long. */
void queue_gather(struct queue *q, struct requests *from, struct requests *to, size_t most);
/* All of the list, which leave it; linked by `next`. */
struct request *queue_take_all(struct queue *q, struct requests *list);
/* All of the list become fresh again, before those who came later. */
void queue_put_back(struct queue *q, struct requests *list);

#endif
