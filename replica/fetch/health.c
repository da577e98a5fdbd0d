#include "fetch/health.h"

#include "fetch/post.h"

#include <curl/curl.h>
#include <stdlib.h>

#define WAIT_MS 10000L

static size_t on_write(char *bytes, size_t size, size_t n, void *arg)
{
    struct buf *answer = arg;

    buf_put(answer, bytes, size * n);
    return answer->failed ? 0 : size * n;
}

bool fetch_health(const char *url, struct buf *answer, bool *active, struct err *err)
{
    char *full = post_url(url, "/v1/health", "");
    char text[CURL_ERROR_SIZE] = "";
    CURL *easy = curl_easy_init();
    long status = 0;

    if (!easy) {
        free(full);
        return err_set(err, ERR_IO, "could not start curl");
    }
    curl_easy_setopt(easy, CURLOPT_URL, full);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "tombolo/" TOMBOLO_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, WAIT_MS);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    free(full);
    *active = status == 200;
    if (code != CURLE_OK)
        return err_set(err, ERR_CONN, "could not ask %s: %s", url,
                       text[0] ? text : curl_easy_strerror(code));
    if (status != 200 && status != 202)
        return err_set(err, ERR_PROTOCOL, "%s: not a bridge's answer: %ld", url, status);
    return true;
}
