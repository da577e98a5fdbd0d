#include "fetch/upload.h"

#include "base/clock.h"
#include "base/logging.h"
#include "fetch/post.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_MS 90000
#define ANSWER_LIMIT ((size_t)16 << 20)
#define STOPPED_MS 300000

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
    post_set_up(e, u->url, u->headers, &u->body, on_write, u, u->curl_text);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)ANSWER_MS);
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
    int64_t wait = post_backoff_ms(u->easy, u->failures++);

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
