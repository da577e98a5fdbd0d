#include "fetch/post.h"

#include "base/arena.h"
#include "base/clock.h"

#include <string.h>
#include <sys/random.h>

#define CONNECT_MS 10000
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 30000
#define RETRY_AFTER_MOST_S 3600

char *post_url(const char *url, const char *path, const char *id)
{
    static const char known[] = "/v1/sync";
    const size_t len = sizeof(known) - 1;
    size_t n = strlen(url);

    while (n > 0 && url[n - 1] == '/')
        n--;
    if (n >= len && memcmp(url + n - len, known, len) == 0)
        n -= len;
    char *full = xmalloc(n + strlen(path) + strlen(id) + 1);
    memcpy(full, url, n);
    strcpy(full + n, path);
    return strcat(full, id);
}

void post_set_up(CURL *easy, const char *url, struct curl_slist *headers, const struct buf *body,
                 post_taker *take, void *arg, char *text)
{
    text[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body->ptr);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "tombolo/" TOMBOLO_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, arg);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
}

int64_t post_backoff_ms(CURL *easy, unsigned failures)
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
