#include "fetch/fetch.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/logging.h"
#include "replica/answer.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>

#define SILENCE_MS 35000
#define CONNECT_MS 10000
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 30000
#define RETRY_AFTER_MOST_S 3600
#define ONCE_ATTEMPTS 8
/* A malformed stream may be a proxy's doing; but not for ever. */
#define PROTOCOL_FAILURES 4
#define ANSWER_LIMIT ((size_t)64 << 10)

struct fetch {
    struct replica *r;
    const struct fetch_options *options;
    CURLM *multi;
    CURL *easy;
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

    n *= size;
    if (!f->judged)
        judge(f);
    if (!f->stream) {
        buf_put(&f->answer, bytes, n);
        return n;
    }
    if (!replica_feed(f->r, bytes, n, &f->err))
        return 0;
    f->heard_at = clock_ms();
    if (f->options->on_bytes)
        f->options->on_bytes(f->options->arg);
    return n;
}

static void set_up(struct fetch *f)
{
    CURL *e = f->easy;

    curl_easy_setopt(e, CURLOPT_URL, f->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, f->body.ptr);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->body.len);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, f->headers);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "tombolo/" TOMBOLO_VERSION);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->curl_text);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
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

/* Runs the transfer to its end; curl's verdict in `*code`. */
static bool transfer(struct fetch *f, CURLcode *code, struct err *err)
{
    struct curl_waitfd stop = {.fd = f->options->stop_fd, .events = CURL_WAIT_POLLIN};
    int running = 1, left;

    for (;;) {
        if (curl_multi_perform(f->multi, &running) != CURLM_OK)
            return err_set(err, ERR_IO, "curl failed");
        if (!running)
            break;
        if (stop_asked(f, 0))
            return stopped(err);
        if (clock_ms() - f->heard_at > SILENCE_MS)
            return err_set(err, ERR_TIMEOUT, "nothing was heard from the bridge for %d s",
                           SILENCE_MS / 1000);
        curl_multi_poll(f->multi, &stop, stop.fd >= 0, 1000, NULL);
    }
    CURLMsg *msg = curl_multi_info_read(f->multi, &left);
    *code = msg ? msg->data.result : CURLE_RECV_ERROR;
    return true;
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
    if (status_of(f) != 200)
        return lite_answer_refused(f->r, status_of(f), buf_slice(&f->answer), err);
    return err_set(err, ERR_CONN, "%s: the answer is not a bridge's stream", f->options->url);
}

static bool connect_once(struct fetch *f, struct err *err)
{
    CURLcode code = CURLE_OK;

    f->stream = f->judged = false;
    f->err = (struct err){0};
    f->curl_text[0] = '\0';
    buf_clear(&f->answer);
    if (!replica_request(f->r, !f->options->once, &f->body, err))
        return false;
    f->heard_at = clock_ms();
    set_up(f);
    if (curl_multi_add_handle(f->multi, f->easy) != CURLM_OK)
        return err_set(err, ERR_IO, "curl failed");
    bool ok = transfer(f, &code, err) && conclude(f, code, err);
    curl_multi_remove_handle(f->multi, f->easy);
    return ok;
}

/* ---- again and again ---- */

static int backoff_ms(const struct fetch *f)
{
    unsigned shift = f->failures < 10 ? f->failures : 10;
    int64_t most = (int64_t)BACKOFF_FIRST_MS << shift;
    curl_off_t after = 0;
    uint32_t random = 0;

    most = most < BACKOFF_MOST_MS ? most : BACKOFF_MOST_MS;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        random = (uint32_t)clock_us();
    int64_t wait = most / 2 + random % (most / 2 + 1);
    if (curl_easy_getinfo(f->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0) {
        after = after < RETRY_AFTER_MOST_S ? after : RETRY_AFTER_MOST_S;
        wait += (int64_t)after * 1000; /* the jitter comes on top: not all at the same second */
    }
    return (int)wait;
}

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

/* After a failure: waits for the next attempt, or ends. */
static bool pause_or_end(struct fetch *f, struct err *err)
{
    if (err->code == ERR_STOPPED || hopeless(f, err))
        return false;
    int wait = backoff_ms(f);
    f->failures++;
    log_warn("not connected", LOG_STR("bridge", f->options->url), LOG_ERR(err),
             LOG_INT("again_in_ms", wait));
    return !stop_asked(f, wait) || stopped(err);
}

static bool run(struct fetch *f, struct err *err)
{
    struct replica_progress before, after;

    for (;;) {
        replica_progress(f->r, &before);
        bool ok = connect_once(f, err);
        if (ok && f->options->once)
            return true;
        replica_progress(f->r, &after);
        if (ok)
            err_set(err, ERR_CONN, "the bridge ended the stream");
        if (after.commits > before.commits && err->code != ERR_CHANGED)
            f->failures = 0;
        if (!pause_or_end(f, err))
            return false;
    }
}

static char *make_url(const char *url, const char *id)
{
    static const char path[] = "/v1/sync";
    size_t n = strlen(url);
    char *full = xmalloc(n + sizeof(path) + strlen(id) + 16);

    while (n > 0 && url[n - 1] == '/')
        n--;
    memcpy(full, url, n);
    full[n] = '\0';
    if (n < sizeof(path) - 1 || strcmp(full + n - (sizeof(path) - 1), path) != 0)
        strcat(full, path);
    strcat(full, "?replica=");
    return strcat(full, id);
}

static struct curl_slist *make_headers(const char *secret)
{
    struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/json");

    list = curl_slist_append(list, "Accept: application/x-ndjson");
    list = curl_slist_append(list, "Expect:"); /* no round trip before the body */
    if (secret) {
        char *bearer = xmalloc(strlen(secret) + 32);

        strcpy(bearer, "Authorization: Bearer ");
        strcat(bearer, secret);
        list = curl_slist_append(list, bearer);
        free(bearer);
    }
    return list;
}

bool fetch_run(struct replica *r, const struct fetch_options *options, struct err *err)
{
    struct fetch f = {.r = r, .options = options};

    buf_init(&f.body, BUF_NO_LIMIT);
    buf_init(&f.answer, ANSWER_LIMIT);
    f.url = make_url(options->url, replica_id(r));
    f.headers = make_headers(options->secret);
    f.multi = curl_multi_init();
    f.easy = curl_easy_init();
    bool ok = f.multi && f.easy ? run(&f, err) : err_set(err, ERR_IO, "could not start curl");
    curl_easy_cleanup(f.easy);
    curl_multi_cleanup(f.multi);
    curl_slist_free_all(f.headers);
    free(f.url);
    buf_release(&f.body);
    buf_release(&f.answer);
    return ok;
}
