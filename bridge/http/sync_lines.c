#include "http/sync_lines.h"
#include "change/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

bool sync_room_for_line(const struct http_out *out)
{
    return http_out_room(out) >= SYNC_LINE_ROOM && http_out_has_run(out);
}

static void put_text(struct http_out *out, const char *fmt, ...) PRINTF(2, 3);
static void put_text(struct http_out *out, const char *fmt, ...)
{
    char line[SYNC_LINE_ROOM];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    http_out_put(out, (struct slice){line, (size_t)n});
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void release_run(void *arg)
{
    log_runs_release(arg, 1);
    free(arg);
}

bool sync_fits(const struct http_out *out, uint32_t len)
{
    return len > HTTP_OUT_COPY_MOST ? sync_room_for_line(out)
                                    : http_out_room(out) >= len + SYNC_LINE_ROOM;
}

static bool put_run(struct http_out *out, size_t shape, const struct log_run *run, struct err *err)
{
    bool ok = true;

    put_text(out, "{\"shape\":%zu,\"messages\":[", shape);
    if (run->len > HTTP_OUT_COPY_MOST) {
        struct log_run *copy = xmalloc(sizeof(*copy));

        *copy = *run;
        http_out_put_file(out, run->fd, (off_t)run->offset, run->len, release_run, copy);
    } else {
        struct log_run copy = *run;

        ok = http_out_copy_file(out, run->fd, run->offset, run->len, err);
        log_runs_release(&copy, 1);
    }
    put_text(out, "]}\n");
    return ok;
}

static bool take_run(struct sync_shape *s, const struct log_run *run, struct err *err)
{
    struct log_run copy = *run;
    bool ok = sync_feed_take(s, run->fd, run->offset, run->len, err);

    log_runs_release(&copy, 1);
    return ok;
}

static bool take_block(struct sync_shape *s, struct snapshot_block *block, struct err *err)
{
    bool ok = sync_feed_take(s, block->fd, block->offset, block->len, err);

    snapshot_block_release(block);
    return ok;
}

static bool put_block(struct http_out *out, size_t shape, const struct snapshot_block *block,
                      struct err *err)
{
    bool ok = true;

    put_text(out, "{\"shape\":%zu,\"messages\":[", shape);
    if (block->len > HTTP_OUT_COPY_MOST) {
        http_out_put_file(out, block->fd, (off_t)block->offset, block->len, snapshot_block_drop,
                          snapshot_block_keep(block));
    } else {
        ok = http_out_copy_file(out, block->fd, block->offset, block->len, err);
        snapshot_block_release(block);
    }
    put_text(out, "]}\n");
    return ok;
}

bool sync_put_run(struct http_out *out, struct sync_shape *s, const struct log_run *run,
                  struct err *err)
{
    return sync_is_feed(s) ? take_run(s, run, err) : put_run(out, sync_index(s), run, err);
}

bool sync_put_block(struct http_out *out, struct sync_shape *s, struct snapshot_block *block,
                    struct err *err)
{
    return sync_is_feed(s) ? take_block(s, block, err) : put_block(out, sync_index(s), block, err);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* What the bearer may write of the table, if anything. */
static void put_writes(const struct sync_shape *s, struct buf *b)
{
    const struct sync_session *session = s->session;
    bool ops[WRITE_DELETE + 1], any = false;

    if (!session->service->may_write(session->service->owner, &session->auth,
                                     log_shape(s->log)->table, ops))
        return;
    for (int op = WRITE_INSERT; op <= WRITE_DELETE; op++) {
        if (ops[op])
            buf_printf(b, "%s\"%s\"", any ? "," : ",\"writes\":[",
                       write_op_name((enum write_op)op));
        any = any || ops[op];
    }
    if (any)
        buf_put_u8(b, ']');
}

bool sync_put_open(struct http_out *out, const struct sync_shape *s)
{
    const struct shape *shape = log_shape(s->log);
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_printf(&b, "{\"open\":{\"shape\":%zu,\"handle\":", sync_index(s));
    json_put_string(&b, log_handle(s->log));
    buf_put_cstr(&b, ",\"table\":[");
    json_put_string(&b, shape->table->nspname);
    buf_put_u8(&b, ',');
    json_put_string(&b, shape->table->relname);
    buf_put_cstr(&b, "],\"schema\":");
    log_put_schema(s->log, true, &b);
    put_writes(s, &b);
    sync_put_lineage(s, &b);
    buf_printf(&b, ",\"snapshot\":%s}}\n", s->cursor.after ? "false" : "true");
    bool ok = b.len <= http_out_room(out) || b.len > HTTP_OUT_OWNED / 2;
    if (ok && b.len <= http_out_room(out)) {
        http_out_put(out, buf_slice(&b));
        buf_release(&b);
    } else if (ok) {
        /* A table of very many columns: hand the text over. */
        http_out_put_shared(out, buf_slice(&b), free, b.ptr);
    } else {
        buf_release(&b);
    }
    return ok;
}

void sync_put_refetch(struct http_out *out, const struct sync_shape *s, const char *reason)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_printf(&b, "{\"refetch\":{\"shape\":%zu,\"reason\":", sync_index(s));
    json_put_string(&b, slice_of(reason));
    buf_put_cstr(&b, "}}\n");
    http_out_put(out, buf_slice(&b));
    buf_release(&b);
}

enum http_pull sync_put_error(struct http_out *out, long shape, const char *message, bool retry)
{
    struct buf b;

    buf_init(&b, BUF_NO_LIMIT);
    buf_put_cstr(&b, "{\"error\":{\"message\":");
    json_put_string(&b, slice_of(message));
    if (shape >= 0)
        buf_printf(&b, ",\"shape\":%ld", shape);
    buf_printf(&b, ",\"retry\":%s}}\n", retry ? "true" : "false");
    http_out_put(out, buf_slice(&b));
    buf_release(&b);
    return HTTP_END;
}

/* The shapes from number `first` on. */
static bool have_passed(const struct sync_session *session, size_t first, lsn_t at)
{
    for (size_t i = first; i < session->nshapes; i++) {
        const struct sync_shape *s = &session->shapes[i];
        lsn_t limit = s->phase == SYNC_LIVE ? log_limit(s->log) : UINT64_MAX;

        if (at + 1 < limit)
            return false;
    }
    return true;
}

bool sync_is_consistent(const struct sync_session *session, lsn_t at)
{
    return have_passed(session, 0, at);
}

bool sync_ack_is_due(const struct sync_session *session, lsn_t at)
{
    return session->acks && session->acks->due &&
           have_passed(session, session->request.nshapes, at);
}

void sync_put_snapshot_end(struct http_out *out, const struct sync_shape *s)
{
    if (!sync_is_feed(s))
        put_text(out, "{\"snapshot_end\":{\"shape\":%zu}}\n", sync_index(s));
}

void sync_put_commit(struct sync_session *session, struct http_out *out, lsn_t lsn)
{
    int64_t at = shapelog_commit_time(session->service->store, lsn);
    char at_text[48] = "";

    session->said_consistent = sync_is_consistent(session, lsn);
    if (sync_ack_is_due(session, lsn))
        sync_put_ack(session, out);
    if (at)
        snprintf(at_text, sizeof(at_text), ",\"at\":\"%" PRId64 "\"", at);
    put_text(out, "{\"commit\":{\"lsn\":\"%" PRIu64 "\",\"consistent\":%s%s}}\n", lsn,
             session->said_consistent ? "true" : "false", at_text);
    session->said = lsn;
    session->joined = false;
    session->commit = 0;
}

void sync_put_keepalive(struct sync_session *session, struct http_out *out)
{
    session->said_consistent = sync_is_consistent(session, session->position);
    put_text(out, "{\"keepalive\":{\"lsn\":\"%" PRIu64 "\",\"consistent\":%s}}\n",
             session->position, session->said_consistent ? "true" : "false");
    session->said = session->position;
}

void sync_put_waiting(const struct sync_session *session, struct http_out *out)
{
    put_text(out, "{\"waiting\":{\"lsn\":\"%" PRIu64 "\"}}\n",
             shapelog_published(session->service->store));
}
