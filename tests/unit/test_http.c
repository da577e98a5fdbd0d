/* The protocol: raw requests and what is answered, however their bytes arrive. */
#include "http_util.h"

struct exchange {
    const char *name, *request, *answer;
};

/* Each ends with the connection closed by the server. */
#define H "Host: x\r\n"
#define BYE "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define POST(headers) "POST /echo HTTP/1.1\r\n" H headers "\r\n"

static const struct exchange good[] = {
    {"get", BYE, "200 hello|"},
    {"normalised paths",
     "GET /v1/hello/ HTTP/1.1\r\n" H "\r\n"
     "GET //v1//hello HTTP/1.1\r\n" H "\r\n"
     "GET /v1/%68ell%6F HTTP/1.1\r\n" H "\r\n"
     "GET http://x/v1/hello HTTP/1.1\r\n" H "\r\n" BYE,
     "200 hello|200 hello|200 hello|200 hello|200 hello|"},
    {"an escaped slash is no slash", "GET /v1%2fhello HTTP/1.1\r\n" H "\r\n" BYE,
     "404 Not found|200 hello|"},
    {"unknown path", "GET /nope HTTP/1.1\r\n" H "\r\n" BYE, "404 Not found|200 hello|"},
    {"unknown path with a body", "POST /nope HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" BYE,
     "404 Not found|200 hello|"},
    {"other method",
     "PUT /echo HTTP/1.1\r\n" H "\r\n"
     "PURGE /echo HTTP/1.1\r\n" H "\r\n" BYE,
     "405 Method not allowed|405 Method not allowed|200 hello|"},
    {"body by length", POST("Content-Length: 3\r\n") "abc" BYE, "200 abc|200 hello|"},
    {"empty body", POST("Content-Length: 0\r\n") POST("") BYE, "200 |200 |200 hello|"},
    {"body by chunks",
     POST("Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n" BYE,
     "200 abcde|200 hello|"},
    {"chunks with a trailer, which is no header",
     POST("Transfer-Encoding: Chunked\r\n") "1\r\na\r\n0\r\nHost: y\r\nExpect: cake\r\n\r\n" BYE,
     "200 a|200 hello|"},
    {"expect", POST("Content-Length: 0\r\nExpect: 100-continue\r\n") BYE, "200 |200 hello|"},
    {"chunked answer", "GET /chunked?n=7 HTTP/1.1\r\n" H "\r\n" BYE,
     "200 123456789\n123456789\n123456789\n123456789\n123456789\n123456789\n123456789\n|"
     "200 hello|"},
    {"empty chunked answer", "GET /chunked?n=0 HTTP/1.1\r\n" H "\r\n" BYE, "200 |200 hello|"},
    {"sized answer", "GET /sized?n=2&says=20 HTTP/1.1\r\n" H "\r\n" BYE,
     "200 123456789\n123456789\n|200 hello|"},
    {"no body by status",
     "GET /empty?status=204 HTTP/1.1\r\n" H "\r\nGET /empty?status=304 HTTP/1.1\r\n" H "\r\n" BYE,
     "204|304|200 hello|"},
    {"http/1.0 ends by itself", "GET /v1/hello HTTP/1.0\r\n\r\n", "200 hello|"},
    {"http/1.0 keep-alive",
     "GET /v1/hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
     "200 hello|200 hello|"},
    {"http/1.0 gets no chunks", "GET /chunked?n=2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
     "200 123456789\n123456789\n|"},
    {"query", "GET /params?a=1&b=%20+x&params%5B1%5D=p&a=2&live HTTP/1.1\r\n" H "\r\n" BYE,
     "200 a=1;b=  x;params[1]=p;a=2;live=;|200 hello|"},
    {"upgrade is not taken up",
     "GET /v1/hello HTTP/1.1\r\n" H "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" BYE,
     "200 hello|200 hello|"},
    {"empty lines before a request", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n\r\n" BYE,
     "200 hello|200 hello|"},
    {"empty header value", "GET / HTTP/1.1\r\n" H "X-A:\r\nX-B: \r\n\r\n" BYE,
     "200 hello|200 hello|"},
    {"secret without one configured", "GET /secret HTTP/1.1\r\n" H "\r\n" BYE,
     "200 hello|200 hello|"},
};

/* What follows each of these must never be answered as a request. */
#define SMUGGLED "GET /v1/hello HTTP/1.1\r\n" H "\r\n"

static const struct exchange bad[] = {
    {"length and chunks",
     POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n" SMUGGLED, "400"},
    {"chunks and length",
     POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") "0\r\n\r\n" SMUGGLED, "400"},
    {"two lengths", POST("Content-Length: 5\r\nContent-Length: 6\r\n") "abcdef" SMUGGLED, "400"},
    {"two equal lengths", POST("Content-Length: 5\r\nContent-Length: 5\r\n") "abcde" SMUGGLED,
     "400"},
    {"list of lengths", POST("Content-Length: 5, 5\r\n") "abcde" SMUGGLED, "400"},
    {"signed length", POST("Content-Length: +5\r\n") "abcde" SMUGGLED, "400"},
    {"hex length", POST("Content-Length: 0x5\r\n") "abcde" SMUGGLED, "400"},
    {"endless length", POST("Content-Length: 99999999999999999999\r\n") SMUGGLED, "400"},
    {"space before the colon", "GET / HTTP/1.1\r\n" H "X : y\r\n\r\n" SMUGGLED, "400"},
    {"chunked with a space before the colon",
     POST("Transfer-Encoding : chunked\r\n") "0\r\n\r\n" SMUGGLED, "400"},
    {"folded header", "GET / HTTP/1.1\r\n" H "X: a\r\n folded\r\n\r\n" SMUGGLED, "400"},
    {"first header indented", "GET / HTTP/1.1\r\n " H "\r\n" SMUGGLED, "400"},
    {"other coding before chunked",
     POST("Transfer-Encoding: gzip, chunked\r\n") "0\r\n\r\n" SMUGGLED, "501"},
    {"other coding alone", POST("Transfer-Encoding: gzip\r\n") "0\r\n\r\n" SMUGGLED, "501"},
    {"coding like chunked", POST("Transfer-Encoding: xchunked\r\n") "0\r\n\r\n" SMUGGLED, "501"},
    {"quoted chunked", POST("Transfer-Encoding: \"chunked\"\r\n") "0\r\n\r\n" SMUGGLED, "501"},
    {"chunked twice",
     POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n" SMUGGLED,
     "400"},
    {"chunked in http/1.0",
     "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED, "400"},
    {"chunk size that is none", POST("Transfer-Encoding: chunked\r\n") "x\r\n" SMUGGLED, "400"},
    {"chunk size too large",
     POST("Transfer-Encoding: chunked\r\n") "fffffffffffffffff\r\n" SMUGGLED, "400"},
    {"chunk longer than its size",
     POST("Transfer-Encoding: chunked\r\n") "3\r\nabcd\r\n0\r\n\r\n" SMUGGLED, "400"},
    {"space behind the chunk size",
     POST("Transfer-Encoding: chunked\r\n") "3 \r\nabc\r\n0\r\n\r\n" SMUGGLED, "400"},
    {"bare newlines",
     "GET / HTTP/1.1\n"
     "Host: x\n\n" SMUGGLED,
     "400"},
    {"bare newline in the head", "GET / HTTP/1.1\r\n" H "X: y\nZ: w\r\n\r\n" SMUGGLED, "400"},
    {"bare return in a value", "GET / HTTP/1.1\r\n" H "X: y\rZ: w\r\n\r\n" SMUGGLED, "400"},
    {"head ended by a bare return", "GET / HTTP/1.1\r\n" H "\rX: y\r\n\r\n" SMUGGLED, "400"},
    {"header without a colon", "GET / HTTP/1.1\r\n" H "Xyz\r\n\r\n" SMUGGLED, "400"},
    {"length in a trailer",
     POST("Transfer-Encoding: chunked\r\n") "0\r\nContent-Length: 7\r\n\r\n" SMUGGLED, "400"},
    {"no host", "GET / HTTP/1.1\r\n\r\n" SMUGGLED, "400"},
    {"two hosts", "GET / HTTP/1.1\r\n" H H "\r\n" SMUGGLED, "400"},
    {"http/0.9", "GET /\r\n\r\n" SMUGGLED, "505"},
    {"http/2.0", "GET / HTTP/2.0\r\n" H "\r\n" SMUGGLED, "505"},
    {"http/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
    {"http/1.2", "GET / HTTP/1.2\r\n" H "\r\n" SMUGGLED, "505"},
    {"no http", "\x16\x03\x01\x02\x01\xfc", "400"},
    {"unknown method", "BREW / HTTP/1.1\r\n" H "\r\n" SMUGGLED, "400"},
    {"connect", "CONNECT x:443 HTTP/1.1\r\n" H "\r\n" SMUGGLED, "400"},
    {"space in the target", "GET /a b HTTP/1.1\r\n" H "\r\n" SMUGGLED, "400"},
    {"broken escape in the path", "GET /%zz HTTP/1.1\r\n" H "\r\n" SMUGGLED, "400"},
    {"broken escape in the query", "GET /params?a=1&b=%4 HTTP/1.1\r\n" H "\r\n" SMUGGLED, "400"},
    {"unknown expectation", POST("Expect: cake\r\nContent-Length: 3\r\n") "abc" SMUGGLED, "417"},
    {"body too long", POST("Content-Length: 1001\r\n") SMUGGLED, "413"},
    {"body where none is taken", "GET / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" SMUGGLED,
     "413"},
    {"chunked body too long",
     "POST /tiny HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n"
     "0\r\n\r\n" SMUGGLED,
     "413"},
};

/* Sends the request in pieces that end at `cut` and at the end; says what was answered. */
static void converse(struct rig *rig, const char *request, size_t n, size_t cut, struct buf *answer)
{
    rig_say(rig, request, cut);
    rig_say(rig, request + cut, n - cut);
    rig_turn(rig);
    digest(answer, buf_slice(&rig->heard), false);
}

static void check_good(struct rig *rig, const struct exchange *e, size_t cut)
{
    struct buf answer;

    buf_init(&answer, BUF_NO_LIMIT);
    converse(rig, e->request, strlen(e->request), cut, &answer);
    if (strcmp(buf_cstr(&answer), e->answer) != 0 || !rig->ended)
        fail_msg("%s, cut at %zu: \"%s\"%s, not \"%s\"", e->name, cut, buf_cstr(&answer),
                 rig->ended ? "" : " and open", e->answer);
    buf_release(&answer);
    rig_close(rig);
    rig_open(rig);
}

static void test_good_requests_are_answered_wherever_they_are_cut(void **state)
{
    struct rig *rig = rig_new();

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (size_t cut = 0; cut < strlen(good[i].request); cut++)
            check_good(rig, &good[i], cut);
    }
    rig_free(rig);
}

static void test_requests_that_drip_byte_by_byte_are_answered(void **state)
{
    struct rig *rig = rig_new();
    struct buf answer;

    (void)state;
    buf_init(&answer, BUF_NO_LIMIT);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (size_t at = 0; good[i].request[at]; at++)
            rig_say(rig, good[i].request + at, 1);
        rig_turn(rig);
        digest(&answer, buf_slice(&rig->heard), false);
        assert_string_equal(buf_cstr(&answer), good[i].answer);
        rig_close(rig);
        rig_open(rig);
    }
    buf_release(&answer);
    rig_free(rig);
}

static void check_bad(struct rig *rig, const struct exchange *e, size_t cut)
{
    struct buf answer;

    buf_init(&answer, BUF_NO_LIMIT);
    converse(rig, e->request, strlen(e->request), cut, &answer);
    const char *first_end = strchr(buf_cstr(&answer), '|');
    if (answer.len < 3 || memcmp(answer.ptr, e->answer, 3) != 0 || !first_end || first_end[1] ||
        !rig->ended)
        fail_msg("%s, cut at %zu: \"%s\"%s, not one %s", e->name, cut, buf_cstr(&answer),
                 rig->ended ? "" : " and open", e->answer);
    buf_release(&answer);
    rig_close(rig);
    rig_open(rig);
}

static void test_bad_requests_get_one_answer_and_the_end_wherever_they_are_cut(void **state)
{
    struct rig *rig = rig_new();

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t cut = 0; cut < strlen(bad[i].request); cut++)
            check_bad(rig, &bad[i], cut);
    }
    assert_true(atomic_load(&rig->metrics.bad_requests) > 0);
    rig_free(rig);
}

/* A head of exactly `n` bytes: the request line, Host, and a long header or target. */
static void say_head_of(struct rig *rig, size_t n, bool in_target)
{
    struct buf text;

    buf_init(&text, BUF_NO_LIMIT);
    buf_put_cstr(&text, "GET /?");
    const char *rest = " HTTP/1.1\r\n" H "Connection: close\r\nX: \r\n\r\n";
    size_t fill = n - text.len - strlen(rest);
    for (size_t i = 0; in_target && i < fill; i++)
        buf_put_cstr(&text, "a");
    buf_put(&text, rest, strlen(rest) - 4);
    for (size_t i = 0; !in_target && i < fill; i++)
        buf_put_cstr(&text, "a");
    buf_put_cstr(&text, "\r\n\r\n");
    assert_int_equal(text.len, n);
    rig_say(rig, text.ptr, text.len);
    rig_turn(rig);
    buf_release(&text);
}

static void check_head_of(struct rig *rig, size_t n, bool in_target, const char *status)
{
    say_head_of(rig, n, in_target);
    assert_true(rig->ended && rig->heard.len > 12);
    assert_memory_equal(rig->heard.ptr + 9, status, 3);
    rig_close(rig);
    rig_open(rig);
}

static void test_heads_and_urls_have_limits(void **state)
{
    struct rig *rig = rig_new();

    (void)state;
    check_head_of(rig, 32 * 1024 - 1, false, "200");
    check_head_of(rig, 32 * 1024 + 1, false, "431");
    check_head_of(rig, 100 * 1024, false, "431");
    check_head_of(rig, 16 * 1024, true, "200");
    check_head_of(rig, 17 * 1024, true, "414");
    check_head_of(rig, 100 * 1024, true, "414");
    rig_free(rig);
}

static void test_too_many_headers_are_refused(void **state)
{
    struct rig *rig = rig_new();

    (void)state;
    rig_say(rig, "GET / HTTP/1.1\r\n", 16);
    for (int i = 0; i < 200; i++)
        rig_say(rig, "a: b\r\n", 6);
    rig_say(rig, "\r\n", 2);
    assert_true(rig->ended);
    assert_memory_equal(rig->heard.ptr, "HTTP/1.1 431 ", 13);
    rig_free(rig);
}

static void test_endless_trailers_are_refused(void **state)
{
    struct rig *rig = rig_new();
    const char *start = POST("Transfer-Encoding: chunked\r\n") "0\r\n";

    (void)state;
    rig_say(rig, start, strlen(start));
    for (int i = 0; i < 20000 && !rig->ended; i++)
        rig_say(rig, "abc: def\r\n", 10);
    assert_true(rig->ended);
    assert_memory_equal(rig->heard.ptr, "HTTP/1.1 431 ", 13);
    rig_free(rig);
}

static void test_continue_is_said_before_the_body_and_not_before_a_refusal(void **state)
{
    struct rig *rig = rig_new();
    const char *fits = POST("Content-Length: 3\r\nExpect: 100-continue\r\n");
    const char *long_body = POST("Content-Length: 3000\r\nExpect: 100-continue\r\n");
    struct buf answer;

    (void)state;
    buf_init(&answer, BUF_NO_LIMIT);
    rig_say(rig, fits, strlen(fits));
    digest(&answer, buf_slice(&rig->heard), false);
    assert_string_equal(buf_cstr(&answer), "100|");
    rig_say(rig, "abc", 3);
    digest(&answer, buf_slice(&rig->heard), false);
    assert_string_equal(buf_cstr(&answer), "100|200 abc|");
    rig_close(rig);
    rig_open(rig);
    rig_say(rig, long_body, strlen(long_body));
    assert_memory_equal(rig->heard.ptr, "HTTP/1.1 413 ", 13);
    buf_release(&answer);
    rig_free(rig);
}

static void test_large_bodies_come_back_whole(void **state)
{
    struct rig *rig = rig_new();
    size_t n = 3u << 20;
    char *body = xmalloc(n);
    const char *head =
        "POST /big HTTP/1.1\r\n" H "Connection: close\r\nContent-Length: 3145728\r\n\r\n";

    (void)state;
    for (size_t i = 0; i < n; i++)
        body[i] = (char)(i * 31 + i / 251);
    rig_say(rig, head, strlen(head));
    rig_say(rig, body, n);
    for (int i = 0; i < 10000 && !rig->ended; i++)
        rig_turn(rig);
    assert_true(rig->ended && rig->heard.len > n);
    assert_memory_equal(rig->heard.ptr + rig->heard.len - n, body, n);
    free(body);
    rig_free(rig);
}

/* The head of the answer to a GET, or to a HEAD, without the lines that differ by nature. */
static void head_of(struct rig *rig, const char *method, const char *path, struct buf *out)
{
    char request[256];
    struct slice raw, line;

    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\n" H "\r\n", method, path);
    buf_clear(&rig->heard);
    rig_say(rig, request, strlen(request));
    rig_turn(rig);
    raw = buf_slice(&rig->heard);
    buf_clear(out);
    while (digest_line(&raw, &line) && line.len) {
        if (memcmp(line.ptr, "date: ", 6) != 0 && memcmp(line.ptr, "x-req", 5) != 0)
            buf_printf(out, "%.*s\n", SLICE_ARG(line));
    }
    if (strcmp(method, "HEAD") == 0)
        assert_int_equal(raw.len, 0);
    else
        assert_true(raw.len > 0);
}

static void test_head_is_get_without_the_body(void **state)
{
    static const char *const paths[] = {"/v1/hello", "/chunked?n=3", "/sized?n=2&says=20", "/nope"};
    struct rig *rig = rig_new();
    struct buf get, head;

    (void)state;
    buf_init(&get, BUF_NO_LIMIT);
    buf_init(&head, BUF_NO_LIMIT);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        head_of(rig, "HEAD", paths[i], &head);
        head_of(rig, "GET", paths[i], &get);
        assert_string_equal(buf_cstr(&get), buf_cstr(&head));
    }
    buf_release(&get);
    buf_release(&head);
    rig_free(rig);
}

/* The value of a header in what was heard, or "". */
static struct slice heard_header(struct rig *rig, const char *name)
{
    struct slice raw = buf_slice(&rig->heard), line;
    size_t n = strlen(name);

    while (digest_line(&raw, &line) && line.len) {
        if (line.len > n + 2 && memcmp(line.ptr, name, n) == 0 && line.ptr[n] == ':')
            return (struct slice){line.ptr + n + 2, line.len - n - 2};
    }
    return SLICE("");
}

static void ask(struct rig *rig, const char *request)
{
    buf_clear(&rig->heard);
    rig_say(rig, request, strlen(request));
    rig_turn(rig);
}

static void test_405_says_what_is_allowed(void **state)
{
    struct rig *rig = rig_new();

    (void)state;
    ask(rig, "POST /v1/hello HTTP/1.1\r\n" H "\r\n");
    assert_true(slice_is(heard_header(rig, "allow"), "GET, HEAD"));
    rig_free(rig);
}

static void test_request_ids_are_echoed_or_made(void **state)
{
    struct rig *rig = rig_new();
    char first[40];

    (void)state;
    ask(rig, "GET / HTTP/1.1\r\n" H "X-Request-Id: abc-123-of-20-letters\r\n\r\n");
    assert_true(slice_is(heard_header(rig, "x-request-id"), "abc-123-of-20-letters"));
    ask(rig, "GET / HTTP/1.1\r\n" H "X-Request-Id: with space\r\n\r\n");
    assert_int_equal(heard_header(rig, "x-request-id").len, 32);
    memcpy(first, heard_header(rig, "x-request-id").ptr, 32);
    ask(rig, "GET / HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(heard_header(rig, "x-request-id").len, 32);
    assert_memory_not_equal(heard_header(rig, "x-request-id").ptr, first, 32);
    assert_int_equal(heard_header(rig, "date").len, 29);
    rig_free(rig);
}

static void add_cors(void *arg, struct http_conn *conn, const struct http_request *request,
                     int status, struct http_headers *headers)
{
    (void)arg;
    (void)conn;
    http_headers_add(headers, "x-hook", request ? "with" : "without");
    if (status != 200 && !http_headers_has(headers, "cache-control"))
        http_headers_add(headers, "cache-control", "no-store");
}

static bool refuse_all(void *arg, struct http_conn *conn, struct http_request *request)
{
    (void)arg;
    (void)request;
    http_respond(conn, 401, NULL, SLICE("{}"));
    return false;
}

static void test_hooks_add_headers_and_guard_routes(void **state)
{
    struct rig *rig = rig_new();

    (void)state;
    rig->config.add_headers = add_cors;
    rig->config.authorise = refuse_all;
    ask(rig, "GET / HTTP/1.1\r\n" H "\r\n");
    assert_true(slice_is(heard_header(rig, "x-hook"), "with"));
    assert_int_equal(heard_header(rig, "cache-control").len, 0);
    ask(rig, "GET //s%65cret/ HTTP/1.1\r\n" H "\r\n");
    assert_memory_equal(rig->heard.ptr, "HTTP/1.1 401 ", 13);
    ask(rig, "GET /x HTTP/1.1\r\n\r\n");
    assert_memory_equal(rig->heard.ptr, "HTTP/1.1 400 ", 13);
    assert_true(slice_is(heard_header(rig, "x-hook"), "without"));
    assert_true(slice_is(heard_header(rig, "cache-control"), "no-store"));
    rig_free(rig);
}

static void test_a_header_cannot_be_forged_through_a_value(void **state)
{
    struct rig *rig = rig_new();

    (void)state;
    ask(rig, "GET /forged?v=fine HTTP/1.1\r\n" H "\r\n");
    assert_true(slice_is(heard_header(rig, "x-echo"), "fine"));
    ask(rig, "GET /forged?v=a%0d%0aset-cookie:%20b HTTP/1.1\r\n" H "\r\n");
    assert_memory_equal(rig->heard.ptr, "HTTP/1.1 500 ", 13);
    assert_null(memmem(rig->heard.ptr, rig->heard.len, "set-cookie", 10));
    rig_free(rig);
}

static void test_a_source_that_breaks_its_length_cuts_the_connection(void **state)
{
    struct rig *rig = rig_new();

    (void)state;
    ask(rig, "GET /sized?n=2&says=21 HTTP/1.1\r\n" H "\r\n");
    assert_true(rig->ended);
    rig_close(rig);
    rig_open(rig);
    ask(rig, "GET /sized?n=9&says=15 HTTP/1.1\r\n" H "\r\n");
    assert_true(rig->ended);
    assert_null(memmem(rig->heard.ptr ? rig->heard.ptr : "", rig->heard.len, "9\n123456", 8));
    assert_int_equal(atomic_load(&rig->metrics.aborted), 2);
    rig_free(rig);
}

static void test_a_thousand_requests_down_one_pipe_are_answered_in_order(void **state)
{
    struct rig *rig = rig_new();
    struct buf all, answer, want;

    (void)state;
    buf_init(&all, BUF_NO_LIMIT);
    buf_init(&answer, BUF_NO_LIMIT);
    buf_init(&want, BUF_NO_LIMIT);
    for (int i = 0; i < 1000; i++) {
        buf_printf(&all, "GET /params?n=%d HTTP/1.1\r\n" H "\r\n", i);
        buf_printf(&want, "200 n=%d;|", i);
        if (i % 10 == 0) {
            buf_put_cstr(&all, POST("Content-Length: 2\r\n") "ab");
            buf_put_cstr(&want, "200 ab|");
        }
    }
    rig_say(rig, all.ptr, all.len);
    for (int i = 0; i < 200; i++)
        rig_turn(rig);
    digest(&answer, buf_slice(&rig->heard), false);
    assert_string_equal(buf_cstr(&answer), buf_cstr(&want));
    buf_release(&all);
    buf_release(&answer);
    buf_release(&want);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_requests_are_answered_wherever_they_are_cut),
        cmocka_unit_test(test_requests_that_drip_byte_by_byte_are_answered),
        cmocka_unit_test(test_bad_requests_get_one_answer_and_the_end_wherever_they_are_cut),
        cmocka_unit_test(test_heads_and_urls_have_limits),
        cmocka_unit_test(test_too_many_headers_are_refused),
        cmocka_unit_test(test_endless_trailers_are_refused),
        cmocka_unit_test(test_continue_is_said_before_the_body_and_not_before_a_refusal),
        cmocka_unit_test(test_large_bodies_come_back_whole),
        cmocka_unit_test(test_head_is_get_without_the_body),
        cmocka_unit_test(test_405_says_what_is_allowed),
        cmocka_unit_test(test_request_ids_are_echoed_or_made),
        cmocka_unit_test(test_hooks_add_headers_and_guard_routes),
        cmocka_unit_test(test_a_header_cannot_be_forged_through_a_value),
        cmocka_unit_test(test_a_source_that_breaks_its_length_cuts_the_connection),
        cmocka_unit_test(test_a_thousand_requests_down_one_pipe_are_answered_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
