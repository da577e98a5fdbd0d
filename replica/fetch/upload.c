#include "fetch/upload.h"

#include "base/clock.h"
#include "base/logging.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CONNECT_MS 10000
#define ANSWER_MS 90000
#define ANSWER_LIMIT ((size_t)16 << 20)
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 30000
#define RETRY_AFTER_MOST_S 3600
#define STOPPED_MS 300000

int64_t backoff_ms(CURL *easy, unsigned failures)
{
    unsigned shift = failures < 10 ? failures : 10;
    int64_t most = (int64_t)BACKOFF_FIRST_MS << shift;
    curl_off_t after = 0;
    uint32_t random = 0;

    most = most < BACKOFF_MOST_MS ? most : BACKOFF_MOST_MS;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        random = (uint32_t)clock_us();
    int64_t wait = most / 2 + random % (most / 2 + 1);
    if (curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0) {
        after = after < RETRY_AFTER_MOST_S ? after : RETRY_AFTER_MOST_S;
        wait += (int64_t)after * 1000; /* the jitter comes on top: not all at the same second */
    }
    return wait;
}

static size_t on_write(char *bytes, size_t size, size_t n, void *arg)
{
    struct upload *u = arg;

    buf_put(&u->answer, bytes, size * n);
    return u->answer.failed ? 0 : size * n;
}

bool upload_init(struct upload *u, struct replica *r, CURLM *multi, const char *url,
                 struct curl_slist *headers)
{
    *u = (struct upload){.r = r, .multi = multi, .headers = headers, .easy = curl_easy_init()};
    buf_init(&u->body, BUF_NO_LIMIT);
    buf_init(&u->answer, ANSWER_LIMIT);
    u->url = strdup(url);
    return u->easy && u->url;
}

void upload_release(struct upload *u)
{
    upload_abort(u);
    curl_easy_cleanup(u->easy);
    free(u->url);
    buf_release(&u->body);
    buf_release(&u->answer);
}

static bool send_body(struct upload *u, struct err *err)
{
    CURL *e = u->easy;

    buf_clear(&u->answer);
    u->curl_text[0] = '\0';
    curl_easy_setopt(e, CURLOPT_URL, u->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, u->body.ptr);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)u->body.len);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, u->headers);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "tombolo/" TOMBOLO_VERSION);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, u);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, u->curl_text);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)ANSWER_MS);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    u->busy = curl_multi_add_handle(u->multi, e) == CURLM_OK;
    return u->busy || err_set(err, ERR_IO, "curl failed");
}

bool upload_step(struct upload *u, struct err *err)
{
    bool any;

    if (u->busy || clock_ms() < u->not_before)
        return true;
    if (!replica_write_request(u->r, &u->body, &any, err))
        return false;
    return !any || send_body(u, err);
}

static void fail(struct upload *u)
{
    int64_t wait = backoff_ms(u->easy, u->failures++);

    u->not_before = clock_ms() + wait;
    log_warn("local writes are not up yet", LOG_ERR(&u->err), LOG_INT("again_in_ms", wait));
}

static void stop(struct upload *u)
{
    if (!u->stopped)
        log_warn("local writes are not taken", LOG_ERR(&u->err));
    u->stopped = true;
    u->not_before = clock_ms() + STOPPED_MS;
}

static void go_on(struct upload *u, enum replica_write_verdict verdict)
{
    switch (verdict) {
    case REPLICA_WRITE_AGAIN:
        fail(u);
        return;
    case REPLICA_WRITE_STOP:
        stop(u);
        return;
    case REPLICA_WRITE_RENAMED:
        u->renamed = true;
        break;
    default:
        break;
    }
    u->failures = 0;
    u->stopped = false;
}

bool upload_done(struct upload *u, CURLcode code, struct err *err)
{
    enum replica_write_verdict verdict = REPLICA_WRITE_AGAIN;
    long status = 0;
    bool ok = true;

    if (code != CURLE_OK) {
        err_set(&u->err, ERR_CONN, "%s: %s", u->url,
                u->curl_text[0] ? u->curl_text : curl_easy_strerror(code));
    } else {
        curl_easy_getinfo(u->easy, CURLINFO_RESPONSE_CODE, &status);
        ok = replica_write_answer(u->r, status, buf_slice(&u->answer), &verdict, &u->err);
    }
    upload_abort(u);
    if (!ok && u->err.code == ERR_PROTOCOL) { /* not the bridge that answered, it may be */
        verdict = REPLICA_WRITE_AGAIN;
        ok = true;
    }
    if (ok)
        go_on(u, verdict);
    else
        *err = u->err;
    return ok;
}

void upload_abort(struct upload *u)
{
    if (u->busy)
        curl_multi_remove_handle(u->multi, u->easy);
    u->busy = false;
}
