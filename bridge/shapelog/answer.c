#include "shapelog/answer.h"

#include <unistd.h>

static bool refuse(const struct subset_body *body, uint64_t n, struct err *err)
{
    unsigned long long limit = body->budget->limit;

    if (body->size + n > body->budget->limit)
        return err_set(err, ERR_BUSY,
                       "The subset is larger than the %llu bytes that may wait for all clients "
                       "(TOMBOLO_UNREAD_SUBSETS). Please ask for fewer rows with subset__limit.",
                       limit);
    return err_set(err, ERR_BUSY,
                   "Subsets that their clients have not read yet take all of the %llu bytes that "
                   "they may (TOMBOLO_UNREAD_SUBSETS). Please try again later.",
                   limit);
}

bool subset_body_grow(struct subset_body *body, uint64_t n, struct err *err)
{
    struct subset_budget *budget = body->budget;

    if (atomic_fetch_add(&budget->taken, n) + n > budget->limit) {
        atomic_fetch_sub(&budget->taken, n);
        return refuse(body, n, err);
    }
    body->size += n;
    return true;
}

void subset_body_close(struct subset_body *body)
{
    if (body->fd >= 0)
        close(body->fd);
    if (body->budget)
        atomic_fetch_sub(&body->budget->taken, body->size);
    *body = (struct subset_body){.fd = -1};
}
