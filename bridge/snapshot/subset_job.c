#include "snapshot/subset_job.h"
#include "base/clock.h"
#include "base/logging.h"
#include "change/json.h"
#include "change/message.h"
#include "pg/catalog.h"
#include "pg/copy.h"
#include "pg/copytext.h"
#include "pg/reading.h"
#include "shapelog/io.h"
#include "snapshot/failure.h"
#include "snapshot/retry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define WRITE_SIZE ((size_t)64 * 1024)

struct run {
    const struct subset_job *job;
    const struct shape *shape; /* the log's */
    struct subset_answer *answer;
    struct arena arena, line_arena;
    struct subset *subset;
    struct snapshot snapshot;
    lsn_t position; /* read after it */
    struct message_format *format;
    struct tuple row; /* in the table's order; columns that are not selected stay null */
    uint32_t mark;
    struct buf out; /* not yet in the file */
    struct subset_body body;
    uint64_t rows;
};

static bool failed(struct run *r, enum err_code code, const char *text)
{
    return err_set(&r->answer->err, code, "%s", text);
}

static bool may_go_on(struct run *r)
{
    if (atomic_load(r->job->stop))
        return failed(r, ERR_STOPPED, "the bridge is stopping");
    if (atomic_load(r->job->gone))
        return failed(r, ERR_STOPPED, "nobody waits for it any more");
    return true;
}

static bool pause_for(struct run *r, struct retry *retry, const char *text)
{
    return may_go_on(r) && retry_pause(retry, text, &r->answer->err);
}

/* ---- the log --------------------------------------------------------------------------------- */

/* Until the log follows its table: what happens after our snapshot must be in it. */
static bool await_log(struct run *r)
{
    for (struct retry retry = retry_begin();;) {
        struct log *log = r->job->log;
        enum log_state state = log_state(log);

        if (state == LOG_COPYING || state == LOG_LIVE)
            break;
        if (state == LOG_ENDED)
            return log_failure(log, &r->answer->err)
                       ? false
                       : failed(r, ERR_CHANGED, "the shape has ended meanwhile");
        if (!pause_for(r, &retry,
                       "Snapshot query took too long to start reading from the database"))
            return false;
    }
    r->shape = log_shape(r->job->log);
    return r->shape || failed(r, ERR_BUSY, "the bridge is starting");
}

/* ---- the snapshot ---------------------------------------------------------------------------- */

static bool begin(struct run *r)
{
    struct err *err = &r->answer->err;
    struct pg_conn *conn = r->job->conn;

    if (reading_begin(conn, r->shape->table, r->job->config->lock_timeout_ms, err))
        return reading_snapshot(conn, &r->arena, &r->snapshot, &r->position, err);
    if (err->code == ERR_BUSY)
        err_wrap(err, "Snapshot timed out while waiting for a table lock");
    return false;
}

/* Postgres sends a commit to the stream before it is seen by others: until all is seen that clients
 * may have had from the log. */
static bool take_snapshot(struct run *r)
{
    const struct snapshot_config *config = r->job->config;
    const lsn_t published = shapelog_published(config->store);

    r->answer->after = published;
    for (struct retry retry = retry_begin();;) {
        if (!begin(r))
            return false;
        if (!unseen_misses(config->unseen, &r->snapshot, published))
            return true;
        if (!pg_run(r->job->conn, "ROLLBACK", &r->answer->err) ||
            !pause_for(r, &retry, RETRY_INVISIBLE))
            return false;
    }
}

/* Types the subset against the table as it is now, which the shape has to fit still. */
static bool compile(struct run *r, struct table **now)
{
    struct err *err = &r->answer->err;

    *now = catalog_table_by_oid(r->job->conn, r->shape->table->relid, err);
    if (!*now) {
        if (err->code == ERR_NOT_FOUND)
            failed(r, ERR_CHANGED, "the table has been dropped or renamed");
        return false;
    }
    const char *misfit = shape_misfit(r->shape, *now);
    if (misfit)
        return failed(r, ERR_CHANGED, misfit);
    return subset_compile(r->job->request, r->shape, *now, r->job->queryable, &r->arena, &r->subset,
                          &r->answer->field, err);
}

/* ---- the response's file --------------------------------------------------------------------- */

/* Nameless from the start where the file system knows how, so that nothing is left behind. */
static int open_nameless(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    struct arena arena = {0};
    char *path = arena_printf(&arena, "%s/subset.XXXXXX", dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    arena_release(&arena);
    return fd;
}

static bool open_file(struct run *r)
{
    const char *dir = shapelog_dir(r->job->config->store);

    r->body.fd = open_nameless(dir);
    return r->body.fd >= 0 ||
           err_errno(&r->answer->err, ERR_IO, "could not make a file in \"%s\"", dir);
}

static bool flush(struct run *r)
{
    const uint64_t at = r->body.size;
    size_t done;
    bool ok = subset_body_grow(&r->body, r->out.len, &r->answer->err) &&
              io_write(r->body.fd, buf_slice(&r->out), at, &done, &r->answer->err);

    buf_clear(&r->out);
    return ok;
}

static void put_quoted_number(struct buf *out, const char *before, uint64_t number)
{
    buf_printf(out, "%s\"%llu\"", before, (unsigned long long)number);
}

static void put_head(struct run *r)
{
    const struct snapshot *s = &r->snapshot;
    struct buf *out = &r->out;

    buf_printf(out, "{\"metadata\":{\"snapshot_mark\":%u", r->mark);
    put_quoted_number(out, ",\"xmin\":", s->xmin);
    put_quoted_number(out, ",\"xmax\":", s->xmax);
    buf_put_cstr(out, ",\"xip_list\":[");
    for (size_t i = 0; i < s->nxip; i++)
        put_quoted_number(out, i ? "," : "", s->xip[i]);
    put_quoted_number(out, "],\"database_lsn\":", r->position);
    buf_put_cstr(out, "},\"data\":[");
}

/* A snapshot's message, its headers opened once more for the mark. */
static bool put_row(struct run *r, struct slice line)
{
    const char end[] = "}}";

    arena_reset(&r->line_arena);
    if (!copytext_split(line, r->shape->columns, r->shape->ncolumns, &r->line_arena, r->row.values,
                        &r->answer->err))
        return false;
    if (r->rows++)
        buf_put_u8(&r->out, ',');
    message_put_row(r->format, &r->row, &r->out);
    r->out.len -= sizeof(end) - 1;
    buf_printf(&r->out, ",\"snapshot_mark\":%u%s", r->mark, end);
    return r->out.len < WRITE_SIZE || flush(r);
}

/* ---- the query ------------------------------------------------------------------------------- */

/* Whose fault it is that Postgres refused the query. Of the shape's own clause we know that it can
 * be run: its snapshot was made by it. */
static void blame(struct run *r)
{
    struct subset_answer *answer = r->answer;
    const char *state = answer->err.sqlstate;
    bool by_value = strncmp(state, "22", 2) == 0 || strncmp(state, "42", 2) == 0;

    if (answer->err.code != ERR_PG || !r->subset || strcmp(state, "42501") == 0)
        return;
    if (strcmp(state, "42883") == 0 && r->job->request->order_by.len)
        answer->field = "subset.order_by"; /* a type that has no order */
    else if (by_value && r->job->request->where.len)
        answer->field = "subset.where";
}

static bool copy_rows(struct run *r)
{
    const struct subset_job *job = r->job;
    const struct pg_watch watch = {job->config->first_row_ms, job->stop, job->gone};
    struct err *err = &r->answer->err;
    struct slice line = {NULL, 0};
    struct buf sql;

    buf_init(&sql, BUF_NO_LIMIT);
    subset_put_select(r->subset, &sql);
    bool ok = pg_copy_begin(job->conn, buf_cstr(&sql), &watch, err);
    buf_release(&sql);
    while (ok && (ok = pg_copy_line(job->conn, &watch, &line, err)) && line.ptr)
        ok = put_row(r, line) && may_go_on(r);
    pg_copy_end(job->conn, &line);
    return ok;
}

static bool write_body(struct run *r)
{
    const struct shape *shape = r->shape;
    uint16_t ncols = shape->table->ncols;

    r->format = message_format_new(shape->table, shape->columns, shape->ncolumns,
                                   shape->replica == SHAPE_REPLICA_FULL, &r->arena);
    r->row = (struct tuple){ncols, arena_calloc(&r->arena, ncols, sizeof(*r->row.values))};
    for (uint16_t i = 0; i < ncols; i++)
        r->row.values[i].kind = VALUE_NULL;
    put_head(r);
    if (!copy_rows(r))
        return false;
    buf_put_cstr(&r->out, "]}");
    return flush(r) && pg_run(r->job->conn, "COMMIT", &r->answer->err);
}

static uint32_t random_mark(void)
{
    uint32_t mark;

    if (getrandom(&mark, sizeof(mark), 0) != sizeof(mark))
        mark = (uint32_t)clock_us();
    return mark & INT32_MAX;
}

static bool run(struct run *r)
{
    struct table *now = NULL;

    bool ok = await_log(r) && take_snapshot(r) && compile(r, &now) && open_file(r) && write_body(r);
    table_unref(now);
    return ok;
}

/* Whatever state the connection is left in: it must be fit for the next. */
static void end_transaction(struct pg_conn *conn)
{
    struct err err;

    if (pg_alive(conn) && !pg_run(conn, "ROLLBACK", &err))
        log_debug("no rollback", LOG_ERR(&err));
}

void subset_job_run(const struct subset_job *job, struct subset_answer *answer)
{
    struct run r = {.job = job,
                    .answer = answer,
                    .mark = random_mark(),
                    .body = {.fd = -1, .budget = job->config->subset_budget}};

    buf_init(&r.out, BUF_NO_LIMIT);
    if (run(&r)) {
        answer->body = r.body;
    } else {
        blame(&r);
        failure_name(&answer->err);
        if (atomic_load(job->stop)) { /* whatever the pool's cancel made of it */
            answer->field = NULL;
            failed(&r, ERR_STOPPED, "the bridge is stopping");
        }
        end_transaction(job->conn);
        subset_body_close(&r.body);
    }
    buf_release(&r.out);
    arena_release(&r.line_arena);
    arena_release(&r.arena);
}
