/*
 * Whether a shape goes on where its replica was. Under the same handle it does as long as the log
 * reaches back to there. Under another node's handle it does when both logs are of one lineage
 * (shapes/lineage.h) and the replica's position is behind the limit of both: then its rows are
 * Postgres's at that position, and the log here has all that follows, none of it hidden by its own
 * snapshot. A replica that is ahead of this node waits for it.
 */
#include "http/sync_session.h"
#include "shapes/lineage.h"

static bool history_of(const struct sync_shape *s, char history[32])
{
    const struct service *service = s->session->service;

    return service->history(service->owner, history);
}

/* Of the shape's log, if it were known by this handle and limit. */
static bool make_lineage(const struct sync_shape *s, struct slice handle, lsn_t limit,
                         char text[LINEAGE_SIZE])
{
    char history[32];

    if (!history_of(s, history))
        return false;
    struct table *table = log_table(s->log);
    const struct lineage lineage = {
        .history = slice_of(history),
        .shape = log_shape(s->log),
        .table = table,
        .handle = handle,
        .limit = limit,
    };

    lineage_put(&lineage, text);
    table_unref(table);
    return true;
}

/* *limit: of the log that the replica has been given. */
static bool same_lineage(const struct sync_shape *s, lsn_t *limit)
{
    const struct sync_shape_request *r = s->request;
    char ours[LINEAGE_SIZE];

    return lineage_limit(r->lineage, limit) && make_lineage(s, r->handle, *limit, ours) &&
           slice_is(r->lineage, ours);
}

/* NULL: it can. */
static const char *why_not_resume(const struct sync_shape *s)
{
    const struct sync_shape_request *r = s->request;
    lsn_t theirs = 0, ours = log_limit(s->log);
    bool related = same_lineage(s, &theirs);

    if (!slice_eq(log_handle(s->log), r->handle)) {
        if (!related)
            return "the shape was begun anew while this replica was away";
        if (!ours || r->after + 1 < ours || r->after + 1 < theirs)
            return "this node's rows are younger than this replica's";
        return NULL;
    }
    if (r->after < log_first(s->log))
        return "what has changed since this replica was last here is not kept any more";
    if (r->after > shapelog_published(s->session->service->store) && !related)
        return "this replica is ahead of what the bridge has of the shape";
    return NULL;
}

void sync_resume(struct sync_session *session)
{
    for (size_t i = 0; i < session->request.nshapes; i++) {
        struct sync_shape *s = &session->shapes[i];
        const char *why = s->request->resumes ? why_not_resume(s) : NULL;

        if (why)
            s->refetch = xstrdup(why);
        else if (s->request->resumes)
            s->cursor.after = s->request->after;
    }
}

/* Once another history has begun, which is known before its name, the log is none of it. */
void sync_put_lineage(const struct sync_shape *s, struct buf *out)
{
    lsn_t limit = log_limit(s->log);
    char text[LINEAGE_SIZE];

    if (limit && make_lineage(s, log_handle(s->log), limit, text) &&
        shapelog_resets(s->session->service->store) == s->session->history)
        buf_printf(out, ",\"lineage\":\"%s\"", text);
}

bool sync_awaits_limit(const struct sync_shape *s)
{
    char history[32];

    return log_state(s->log) == LOG_PENDING && history_of(s, history);
}
