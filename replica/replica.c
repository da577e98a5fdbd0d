/*
 * The replica's life: opening, which shapes, a request. The stream's way
 * through it begins in stream.c.
 */
#include "replica/core.h"

#include "base/clock.h"
#include "replica/acks.h"
#include "replica/json.h"
#include "replica/pending.h"
#include "replica/trouble.h"

#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>
#include <yyjson.h>

#define LINE_LIMIT ((size_t)64 << 20)
#define PIECE ((size_t)1 << 20)

void replica_own_sqlite(void)
{
#ifndef TOMBOLO_EXTENSION /* where SQLite is the program's that loaded us */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
#endif
}

struct replica *replica_open(const char *path, struct err *err)
{
    struct replica *r = xcalloc(1, sizeof(*r));

    if (!lite_db_open(&r->db, path, err)) {
        free(r);
        return NULL;
    }
    r->trouble_ms = LITE_TROUBLE_MS;
    buf_init(&r->in, LINE_LIMIT + PIECE);
    buf_init(&r->ack, BUF_NO_LIMIT);
    r->alc = yyjson_alc_dyn_new();
    if (!r->alc)
        abort();
    if (!lite_state_open(&r->db, &r->state, err)) {
        err_wrap(err, "%s", path);
        replica_close(r);
        return NULL;
    }
    r->sent = r->state.write_acked;
    r->renumber = true;
    return r;
}

static void close_feeds(struct replica *r)
{
    lite_rows_release(r);
    for (size_t i = 0; i < r->nfeeds; i++)
        lite_table_release(&r->feeds[i].table);
    r->nfeeds = r->nshapes = 0;
    r->feeds = r->stuck = NULL;
    r->shapes = NULL;
}

void replica_close(struct replica *r)
{
    if (!r)
        return;
    close_feeds(r);
    lite_trouble_forget(r);
    lite_db_rollback(&r->db);
    lite_state_close(&r->db);
    lite_db_close(&r->db);
    yyjson_alc_dyn_free(r->alc);
    buf_release(&r->in);
    buf_release(&r->ack);
    arena_release(&r->session);
    free(r);
}

void replica_use_thread(struct replica *r)
{
    r->lane.wanted = true;
}

const char *replica_id(const struct replica *r)
{
    return r->state.replica;
}

/* Forgets the stream that was, and reads the shapes as they are stored. */
static bool begin_session(struct replica *r, struct err *err)
{
    r->streaming = false;
    lite_rows_drop(r);
    lite_db_rollback(&r->db);
    close_feeds(r);
    buf_clear(&r->in);
    r->scanned = 0;
    r->changes = r->commit_due = r->reconnect = r->db.relaxed = false;
    arena_reset(&r->session);
    if (!lite_state_read(&r->db, &r->state, err) ||
        !lite_shapes_load(&r->db, &r->session, &r->shapes, &r->nshapes, err))
        return false;
    r->feeds = arena_calloc(&r->session, r->nshapes, sizeof(*r->feeds));
    for (size_t i = 0; i < r->nshapes; i++) {
        if (!lite_trouble_waits(lite_trouble_of(r, r->shapes[i].id)))
            r->feeds[r->nfeeds++].shape = &r->shapes[i];
    }
    lite_trouble_waiting(r, &r->retry_at);
    return lite_acks_begin(r, err);
}

/* ---- the request ---- */

static void put_table(struct buf *body, const struct lite_shape *s)
{
    struct buf name;

    buf_init(&name, BUF_NO_LIMIT);
    lite_put_name(&name, s->schema);
    buf_put_u8(&name, '.');
    lite_put_name(&name, s->table);
    buf_put_cstr(body, "{\"table\":");
    lite_json_string(body, buf_slice(&name));
    buf_release(&name);
}

static void put_lineage(struct buf *body, const char *lineage)
{
    if (!lineage)
        return;
    buf_put_cstr(body, ",\"lineage\":");
    lite_json_string(body, slice_of(lineage));
}

static void put_shape(struct buf *body, const struct lite_shape *s, const struct lite_trouble *t)
{
    if (s->name) {
        buf_put_cstr(body, "{\"shape\":");
        lite_json_string(body, slice_of(s->name));
    } else {
        put_table(body, s);
    }
    if (s->where) {
        buf_put_cstr(body, ",\"where\":");
        lite_json_string(body, slice_of(s->where));
    }
    if (s->params)
        buf_printf(body, ",\"params\":%s", s->params);
    if (s->columns)
        buf_printf(body, ",\"columns\":%s", s->columns);
    if (s->handle && s->status == LITE_LIVE) {
        buf_put_cstr(body, ",\"handle\":");
        lite_json_string(body, slice_of(s->handle));
        buf_printf(body, ",\"offset\":\"%" PRIu64 "_inf\"", s->offset);
        put_lineage(body, s->lineage);
    } else if (lite_trouble_refusal(t)) {
        buf_put_cstr(body, ",\"handle\":");
        lite_json_string(body, slice_of(t->handle));
        buf_put_cstr(body, ",\"refused\":");
        lite_json_string(body, slice_of(t->reason));
    }
    buf_put_u8(body, '}');
}

bool replica_request(struct replica *r, bool live, struct buf *body, struct err *err)
{
    if (!begin_session(r, err))
        return false;
    if (r->nshapes == 0)
        return err_set(err, ERR_INPUT, "the replica has no shapes");
    if (r->nfeeds == 0)
        return lite_trouble_err(r, "no table can be applied", err);
    buf_clear(body);
    buf_put_cstr(body, "{\"shapes\":[");
    for (size_t i = 0; i < r->nfeeds; i++) {
        if (i > 0)
            buf_put_u8(body, ',');
        put_shape(body, r->feeds[i].shape, lite_trouble_of(r, r->feeds[i].shape->id));
    }
    buf_printf(body, "],\"live\":%s,\"writes\":true}", live ? "true" : "false");
    if (body->failed)
        return err_set(err, ERR_LIMIT, "the request is too long");
    r->streaming = true;
    return true;
}

bool replica_end(struct replica *r, struct err *err)
{
    size_t open = 0;

    if (!lite_stream_settle(r, err))
        return false;
    for (size_t i = 0; i < r->nfeeds; i++)
        open += r->feeds[i].phase == LITE_STREAMING;
    bool whole = r->streaming && open == r->nfeeds && !r->changes && r->in.len == 0;
    r->streaming = false;
    lite_rows_drop(r);
    lite_db_rollback(&r->db);
    if (whole && r->nfeeds < r->nshapes)
        return lite_trouble_err(r, "a table is tried again", err);
    return whole || err_set(err, ERR_CONN, "the stream ended before the file was up to date");
}

void replica_progress(const struct replica *r, struct replica_progress *out)
{
    int64_t again_at;

    if (r->lane.busy) {
        *out = r->lane.progress;
        out->rows = r->progress.rows;
        return;
    }
    *out = r->progress;
    out->waiting = lite_trouble_waiting(r, &again_at);
    out->troubled = lite_trouble_count(r);
    out->position = r->state.position;
    out->consistent = r->state.consistent;
    out->writes = r->db.captured;
    out->fetching = 0;
    for (size_t i = 0; i < r->nfeeds; i++)
        out->fetching += r->feeds[i].shape->status != LITE_LIVE;
}

const char *replica_shape_name(const struct replica *r, size_t index)
{
    return index < r->nfeeds ? r->feeds[index].shape->local : NULL;
}
