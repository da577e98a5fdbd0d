/*
 * A session's feeds: the shapes behind those that were asked for (sync_acks.h).
 */
#include "http/sync_session.h"
#include "shapelog/io.h"

#include <stdlib.h>

static const struct {
    const char *table, *columns;
} feeds[] = {
    [ACKS_REPLICAS] = {"tombolo.replicas", "replica,last_id,nonce"},
    [ACKS_REJECTIONS] = {"tombolo.rejections", "replica,id,mutation,code,sqlstate,message"},
};

bool sync_is_feed(const struct sync_shape *s)
{
    return s >= s->session->shapes + s->session->request.nshapes;
}

static enum acks_feed feed_of(const struct sync_shape *s)
{
    const struct sync_session *session = s->session;

    return (enum acks_feed)(s - (session->shapes + session->request.nshapes));
}

/* A replica's name costs nothing to make up: those of a subject share their shapes. */
void sync_feeds_add(struct sync_session *session, struct slice replica)
{
    const struct token *token = session->auth.token;
    struct arena *arena = &session->arena;
    struct slice *params = arena_calloc(arena, 2, sizeof(*params));
    struct sync_shape_request *requests = arena_calloc(arena, ACKS_NFEEDS, sizeof(*requests));
    struct slice name = arena_copy(arena, replica);

    params[0] = token ? arena_copy(arena, token_subject(token)) : SLICE("");
    params[1] = name;
    session->acks = xcalloc(1, sizeof(*session->acks));
    acks_init(session->acks, name.ptr);
    for (int i = 0; i < ACKS_NFEEDS; i++) {
        requests[i].shape = (struct shape_request){
            .table = slice_of(feeds[i].table),
            .where = token ? SLICE("subject = $1") : SLICE("subject = $1 AND replica = $2"),
            .params = {params, token ? 1 : 2},
            .columns = slice_of(feeds[i].columns),
        };
        session->shapes[session->nshapes++].request = &requests[i];
    }
}

/* A log tells of what its snapshot held only by the snapshot. In one that replicas share the last
 * row may be of any of them. */
void sync_feeds_resume(struct sync_session *session)
{
    struct sync_shape *s = session->shapes + session->request.nshapes + ACKS_REPLICAS;

    if (!session->acks || session->auth.token || !session->position ||
        session->position > shapelog_published(session->service->store))
        return;
    lsn_t limit = log_limit(s->log), last = log_last(s->log, session->position);

    if (last && limit && last >= limit && last > log_first(s->log))
        s->cursor.after = last - 1;
}

bool sync_feed_take(struct sync_shape *s, int fd, uint64_t offset, size_t len, struct err *err)
{
    struct acks *acks = s->session->acks;
    char *bytes = xmalloc(len);
    bool ok = io_read(fd, bytes, len, offset, err) &&
              acks_take(acks, feed_of(s), (struct slice){bytes, len}, err);

    free(bytes);
    return ok || err_wrap(err, "acknowledgements of replica \"%s\"", acks->replica);
}

void sync_put_ack(struct sync_session *session, struct http_out *out)
{
    struct buf line;

    buf_init(&line, BUF_NO_LIMIT);
    acks_put(session->acks, &line);
    http_out_put_shared(out, buf_slice(&line), free, line.ptr);
}
