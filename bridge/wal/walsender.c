#include "wal/walsender.h"
#include "base/clock.h"
#include "base/logging.h"
#include "base/reader.h"
#include "wal/session.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define XLOGDATA_HEADER 25
#define POSTGRES_EPOCH_US INT64_C(946684800000000)

struct walsender {
    struct feed feed; /* first */
    struct walsender_config config;
    struct session session;
    char *text; /* the message at hand */
};

static struct walsender *walsender_of(struct feed *feed)
{
    return (struct walsender *)feed;
}

static bool open_session(struct feed *feed, const atomic_bool *stop, struct wal_place *place,
                         bool *waiting, struct err *err)
{
    struct walsender *w = walsender_of(feed);

    if (!session_open(&w->config, stop, &w->session, waiting, err))
        return false;
    *place = w->session.place;
    place->catchup_lsn = place->server_lsn;
    log_info("streaming", LOG_STR("slot", w->config.slot),
             LOG_LSN("server_lsn", place->server_lsn));
    return true;
}

static void drop_text(struct walsender *w)
{
    PQfreemem(w->text);
    w->text = NULL;
}

/* Postgres below 18 ends the stream at such a row, each time it comes to it; the publication that
 * is there by now does not help, since the row is older. */
static bool lacked_publication(const struct err *err)
{
    return strcmp(err->sqlstate, "42704") == 0 && strstr(err->msg, "publication");
}

static void close_session(struct feed *feed, const struct err *why)
{
    struct walsender *w = walsender_of(feed);

    drop_text(w);
    session_close(&w->session);
    w->session.stuck = lacked_publication(why);
}

/* ---- input ----------------------------------------------------------------------------------- */

/* The stream ended: why? */
static bool stream_end(struct walsender *w, struct err *err)
{
    struct pg_result *res = PQgetResult(w->session.conn);

    if (res && PQresultStatus(res) == PGRES_FATAL_ERROR)
        pg_error(w->session.conn, res, err);
    else
        err_set(err, ERR_CONN, "the server ended the stream");
    PQclear(res);
    return false;
}

/* XLogData: 'w' start:8 end:8 time:8 payload. Keepalive: 'k' end:8 time:8 reply:1. */
static bool read_item(struct slice bytes, struct feed_item *item, struct err *err)
{
    struct reader in = reader_of(bytes);
    uint8_t kind = reader_u8(&in);

    *item = (struct feed_item){.kind = FEED_MESSAGE, .size = bytes.len, .lsn = reader_u64(&in)};
    if (kind == 'w' && bytes.len >= XLOGDATA_HEADER) {
        item->message = (struct slice){bytes.ptr + XLOGDATA_HEADER, bytes.len - XLOGDATA_HEADER};
        return true;
    }
    item->kind = FEED_POSITION;
    reader_u64(&in);
    item->reply = reader_u8(&in) != 0;
    return (kind == 'k' && reader_done(&in)) ||
           err_set(err, ERR_PROTOCOL, "unknown replication message 0x%02x", kind);
}

static enum feed_got next_item(struct feed *feed, struct feed_item *item, struct err *err)
{
    struct walsender *w = walsender_of(feed);

    drop_text(w);
    int n = PQgetCopyData(w->session.conn, &w->text, 1);
    if (n == 0)
        return FEED_NOTHING;
    if (n == -1)
        stream_end(w, err);
    else if (n < 0)
        pg_error(w->session.conn, NULL, err);
    else if (read_item((struct slice){w->text, (size_t)n}, item, err))
        return FEED_ITEM;
    return FEED_FAILED;
}

static bool wait_for_input(struct feed *feed, int wake_fd, bool input, int ms, struct err *err)
{
    struct pg_conn *conn = walsender_of(feed)->session.conn;
    struct pollfd fds[2] = {
        {.fd = input ? PQsocket(conn) : -1, .events = POLLIN},
        {.fd = wake_fd, .events = POLLIN},
    };
    int unsent = PQflush(conn);

    if (unsent > 0)
        fds[0].events |= POLLOUT;
    poll(fds, 2, ms);
    if (unsent < 0 || (input && fds[0].revents && !PQconsumeInput(conn)))
        return pg_error(conn, NULL, err);
    return true;
}

/* ---- feedback -------------------------------------------------------------------------------- */

/* 'r' written:8 flushed:8 applied:8 time:8 reply:1 */
static bool send_feedback(struct feed *feed, lsn_t received, lsn_t flush, bool ask, struct err *err)
{
    struct pg_conn *conn = walsender_of(feed)->session.conn;
    struct buf b;

    buf_init(&b, 64);
    buf_put_u8(&b, 'r');
    buf_put_u64(&b, received > flush ? received : flush);
    buf_put_u64(&b, flush);
    buf_put_u64(&b, flush);
    buf_put_u64(&b, (uint64_t)(clock_unix_us() - POSTGRES_EPOCH_US));
    buf_put_u8(&b, ask);
    int sent = PQputCopyData(conn, b.ptr, (int)b.len);
    buf_release(&b);
    if (sent >= 0 && PQflush(conn) >= 0)
        return true;
    pg_error(conn, NULL, err);
    return err_wrap(err, "could not send feedback");
}

/* ---- life ------------------------------------------------------------------------------------ */

static const struct feed_ops walsender_ops = {
    .open = open_session,
    .close = close_session,
    .next = next_item,
    .wait = wait_for_input,
    .feedback = send_feedback,
};

struct feed *walsender_new(const struct walsender_config *config)
{
    struct walsender *w = xcalloc(1, sizeof(*w));

    w->feed.ops = &walsender_ops;
    w->config = *config;
    return &w->feed;
}

void walsender_free(struct feed *feed)
{
    free(feed);
}
