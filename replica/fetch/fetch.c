#include "fetch/fetch.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"
#include "fetch/post.h"
#include "fetch/upload.h"
#include "replica/answer.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>

#define SILENCE_MS 35000
/* How soon a local write is noticed. */
#define LOOK_MS 100
#define ONCE_ATTEMPTS 8
/* A malformed stream may be a proxy's doing; but not for ever. */
#define PROTOCOL_FAILURES 4
/* A connection that has brought commits for so long has been none that fails at once. */
#define SETTLED_MS 500
#define ANSWER_LIMIT ((size_t)64 << 10)

struct fetch {
    struct replica *r;
    const struct fetch_options *options;
    CURLM *multi;
    CURL *easy;
    struct upload up;
    struct curl_slist *headers;
    char *url;
    struct buf body;   /* of the request */
    struct buf answer; /* of a response that is not the stream */
    struct err err;    /* why the write callback ended the transfer */
    char curl_text[CURL_ERROR_SIZE];
    int64_t heard_at;
    bool stream; /* the response is the stream */
    bool judged; /* ... or not: its head has been looked at */
    unsigned failures;
    size_t troubled; /* tables left out, as of the last failure */
};

bool fetch_init(struct err *err)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ||
           err_set(err, ERR_IO, "could not initialise curl");
}

/* ---- one connection ---- */

static long status_of(struct fetch *f)
{
    long status = 0;

    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* A 200 of somebody else, a captive portal say, must not be taken for the stream. */
static void judge(struct fetch *f)
{
    char *type = NULL;

    curl_easy_getinfo(f->easy, CURLINFO_CONTENT_TYPE, &type);
    f->stream = status_of(f) == 200 && type && strcasestr(type, "ndjson");
    f->judged = true;
}

static size_t on_write(char *bytes, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    struct err err;

    n *= size;
    if (!f->judged)
        judge(f);
    if (!f->stream) {
        buf_put(&f->answer, bytes, n);
        return n;
    }
    if (!replica_feed(f->r, bytes, n, &err)) {
        f->err = err; /* of a failure alone: what it overcame may have left words in it too */
        return 0;
    }
    f->heard_at = clock_ms();
    if (f->options->on_bytes)
        f->options->on_bytes(f->options->arg);
    return n;
}

static void set_up(struct fetch *f)
{
    post_set_up(f->easy, f->url, f->headers, &f->body, on_write, f, f->curl_text);
    curl_easy_setopt(f->easy, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(f->easy, CURLOPT_TCP_KEEPALIVE, 1L);
}

static bool stop_asked(const struct fetch *f, int wait_ms)
{
    struct pollfd fd = {.fd = f->options->stop_fd, .events = POLLIN};

    return poll(&fd, fd.fd >= 0, wait_ms) > 0;
}

static bool stopped(struct err *err)
{
    return err_set(err, ERR_STOPPED, "stopped");
}

/* What curl says has ended: the stream, `*code` its verdict, or an upload. */
static bool take_messages(struct fetch *f, bool *ended, CURLcode *code, struct err *err)
{
    int left;

    for (CURLMsg *msg; (msg = curl_multi_info_read(f->multi, &left));) {
        if (msg->easy_handle == f->easy) {
            *ended = true;
            *code = msg->data.result;
        } else if (!upload_done(&f->up, msg->data.result, err)) {
            return false;
        }
    }
    return true;
}

/* Waits for the network, or for a local write to be looked for. */
static void wait_for_work(struct fetch *f)
{
    struct curl_waitfd stop = {.fd = f->options->stop_fd, .events = CURL_WAIT_POLLIN};
    struct replica_progress progress;

    replica_progress(f->r, &progress);
    curl_multi_poll(f->multi, &stop, stop.fd >= 0, progress.writes ? LOOK_MS : 1000, NULL);
}

static bool step(struct fetch *f, bool *ended, CURLcode *code, struct err *err)
{
    int running;

    if (curl_multi_perform(f->multi, &running) != CURLM_OK)
        return err_set(err, ERR_IO, "curl failed");
    return take_messages(f, ended, code, err) && (!stop_asked(f, 0) || stopped(err));
}

/* Runs the transfer to its end, and uploads beside it; curl's verdict in `*code`. */
static bool transfer(struct fetch *f, CURLcode *code, struct err *err)
{
    bool ended = false;

    f->up.renamed = false;
    for (;;) {
        if (!step(f, &ended, code, err))
            return false;
        if (ended)
            return true;
        if (clock_ms() - f->heard_at > SILENCE_MS)
            return err_set(err, ERR_TIMEOUT, "nothing was heard from the bridge for %d s",
                           SILENCE_MS / 1000);
        if (!f->options->once && !upload_step(&f->up, err))
            return false;
        if (f->up.renamed)
            return err_set(err, ERR_CHANGED, "the replica has a new name");
        wait_for_work(f);
    }
}

/* What a transfer that ended means. */
static bool conclude(struct fetch *f, CURLcode code, struct err *err)
{
    if (f->err.code != ERR_NONE) {
        *err = f->err;
        return false;
    }
    if (code != CURLE_OK)
        return err_set(err, ERR_CONN, "%s: %s", f->options->url,
                       f->curl_text[0] ? f->curl_text : curl_easy_strerror(code));
    if (!f->judged)
        judge(f);
    if (f->stream)
        return replica_end(f->r, err);
    if (status_of(f) != 200 && f->options->once)
        return lite_answer_refused(f->r, status_of(f), buf_slice(&f->answer), err);
    if (status_of(f) != 200)
        return lite_answer_unsynced(f->r, status_of(f), buf_slice(&f->answer), err);
    return err_set(err, ERR_CONN, "%s: the answer is not a bridge's stream", f->options->url);
}

static bool connect_once(struct fetch *f, struct err *err)
{
    CURLcode code = CURLE_OK;

    free(f->url);
    f->url = post_url(f->options->url, "/v1/sync?replica=", replica_id(f->r));

    f->stream = f->judged = false;
    f->err = (struct err){0};
    buf_clear(&f->answer);
    if (!replica_request(f->r, !f->options->once, &f->body, err))
        return false;
    f->heard_at = clock_ms();
    set_up(f);
    if (curl_multi_add_handle(f->multi, f->easy) != CURLM_OK)
        return err_set(err, ERR_IO, "curl failed");
    bool ok = transfer(f, &code, err) && conclude(f, code, err);
    curl_multi_remove_handle(f->multi, f->easy);
    upload_abort(&f->up);
    return ok;
}

/* For `once`: sends all that is there. */
static bool upload_all(struct fetch *f, struct err *err)
{
    bool ended;
    CURLcode code;

    for (f->up.not_before = 0;;) {
        if (!upload_step(&f->up, err))
            return false;
        if (!f->up.busy && (f->up.failures > 0 || f->up.stopped)) {
            *err = f->up.err;
            return err_wrap(err, "local writes");
        }
        if (!f->up.busy)
            return true;
        curl_multi_poll(f->multi, NULL, 0, LOOK_MS, NULL);
        if (!step(f, &ended, &code, err))
            return false;
    }
}

/* Both ways: what is acknowledged comes with the rows. Where writes are not taken the rows come all
 * the same. (ERR_CHANGED: that commits came in between is no reason to ask for ever.) */
static bool once(struct fetch *f, struct err *err)
{
    uint64_t pending;

    f->up.failures = 0;
    f->up.stopped = false;
    bool up = upload_all(f, err);
    if (!up && !f->up.stopped)
        return false;
    struct err refused = *err;
    if (!connect_once(f, err) || !replica_pending(f->r, &pending, err))
        return false;
    if (!up)
        *err = refused;
    return up &&
           (pending == 0 || err_set(err, ERR_CHANGED,
                                    "%" PRIu64 " local writes are not acknowledged yet", pending));
}

/* ---- again and again ---- */

static bool hopeless(const struct fetch *f, const struct err *err)
{
    unsigned attempts = f->options->attempts ? f->options->attempts : ONCE_ATTEMPTS;
    struct replica_progress progress;

    replica_progress(f->r, &progress);
    if (f->options->once && (progress.waiting || f->failures + 1 >= attempts))
        return true;
    if (err->code == ERR_PROTOCOL)
        return f->failures >= PROTOCOL_FAILURES;
    return !err_retriable(err->code);
}

/* That a table is tried again which was left out by the last time, and then that it still is, is no
 * news. */
static void say_failure(struct fetch *f, const struct err *err, int wait_ms)
{
    struct replica_progress progress;

    replica_progress(f->r, &progress);
    bool known = err->code == ERR_CHANGED && progress.troubled && progress.troubled == f->troubled;

    f->troubled = progress.troubled;
    if (known)
        log_debug("a table is tried again", LOG_STR("bridge", f->options->url), LOG_ERR(err));
    else
        log_warn("not connected", LOG_STR("bridge", f->options->url), LOG_ERR(err),
                 LOG_INT("again_in_ms", wait_ms));
}

/* After a failure: waits for the next attempt, or ends. */
static bool pause_or_end(struct fetch *f, struct err *err)
{
    if (err->code == ERR_STOPPED || hopeless(f, err))
        return false;
    int wait = (int)post_backoff_ms(f->easy, f->failures++);
    say_failure(f, err, wait);
    if (f->options->on_failure)
        f->options->on_failure(f->options->arg, err);
    return !stop_asked(f, wait) || stopped(err);
}

static bool run(struct fetch *f, struct err *err)
{
    struct replica_progress before, after;

    for (;;) {
        int64_t began = clock_ms();

        replica_progress(f->r, &before);
        bool ok = f->options->once ? once(f, err) : connect_once(f, err);
        if (ok && f->options->once)
            return true;
        replica_progress(f->r, &after);
        if (ok)
            err_set(err, ERR_CONN, "the bridge ended the stream");
        bool settled =
            err->code != ERR_CHANGED || (!f->options->once && clock_ms() - began >= SETTLED_MS);
        if (after.commits > before.commits && settled)
            f->failures = 0;
        if (!pause_or_end(f, err))
            return false;
    }
}

static struct curl_slist *make_headers(const char *token)
{
    struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/json");

    list = curl_slist_append(list, "Accept: application/x-ndjson");
    list = curl_slist_append(list, "Expect:"); /* no round trip before the body */
    if (token) {
        char *header = xmalloc(strlen(token) + 32);

        strcpy(header, "Authorization: Bearer ");
        strcat(header, token);
        list = curl_slist_append(list, header);
        free(header);
    }
    return list;
}

bool fetch_run(struct replica *r, const struct fetch_options *options, struct err *err)
{
    struct fetch f = {.r = r, .options = options};

    replica_use_thread(r);
    buf_init(&f.body, BUF_NO_LIMIT);
    buf_init(&f.answer, ANSWER_LIMIT);
    f.headers = make_headers(options->bearer);
    f.multi = curl_multi_init();
    f.easy = curl_easy_init();
    char *write_url = post_url(options->url, "/v1/write", "");
    bool ok = upload_init(&f.up, r, f.multi, write_url, f.headers) && f.multi && f.easy
                  ? run(&f, err)
                  : err_set(err, ERR_IO, "could not start curl");
    upload_release(&f.up);
    free(write_url);
    curl_easy_cleanup(f.easy);
    curl_multi_cleanup(f.multi);
    curl_slist_free_all(f.headers);
    free(f.url);
    buf_release(&f.body);
    buf_release(&f.answer);
    return ok;
}
