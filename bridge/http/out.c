#include "http/out.h"

#include "base/arena.h"
#include "shapelog/io.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define OWN_LIMIT ((size_t)256 * 1024) /* a round, and the head before it */
#define KEEP_OWN ((size_t)16 * 1024)
#define TURN_BYTES ((uint64_t)2 << 20) /* one connection's share of a turn */
#define FRAME_SIZE 18                  /* 16 digits and CR LF */
#define VECTORS 16

struct http_out *http_out_new(void)
{
    struct http_out *out = xmalloc(sizeof(*out));

    out->next = NULL;
    buf_init(&out->own, OWN_LIMIT);
    out->nruns = out->at = 0;
    out->failed = false;
    http_out_round(out);
    return out;
}

static void let_go(struct http_out_run *run)
{
    if (run->release)
        run->release(run->arg);
    run->release = NULL;
}

void http_out_clear(struct http_out *out)
{
    for (; out->at < out->nruns; out->at++)
        let_go(&out->runs[out->at]);
    out->nruns = out->at = 0;
    out->failed = false;
    if (out->own.cap > KEEP_OWN)
        buf_release(&out->own);
    buf_clear(&out->own);
    http_out_round(out);
}

void http_out_free(struct http_out *out)
{
    http_out_clear(out);
    buf_release(&out->own);
    free(out);
}

void http_out_round(struct http_out *out)
{
    if (http_out_empty(out)) {
        out->nruns = out->at = 0;
        buf_clear(&out->own);
    }
    out->round_owned = 0;
    out->round_runs = 0;
    out->round_size = 0;
}

static bool owned_is_last(const struct http_out *out)
{
    return out->nruns > out->at && out->runs[out->nruns - 1].kind == HTTP_RUN_OWNED;
}

size_t http_out_room(const struct http_out *out)
{
    if (out->failed || (out->round_runs >= HTTP_OUT_RUNS && !owned_is_last(out)))
        return 0;
    return HTTP_OUT_OWNED - out->round_owned;
}

bool http_out_is_round_empty(const struct http_out *out)
{
    return !out->failed && out->round_size == 0;
}

bool http_out_has_run(const struct http_out *out)
{
    return !out->failed && out->round_runs + 3 <= HTTP_OUT_RUNS;
}

static void add_run(struct http_out *out, struct http_out_run run)
{
    assert(out->nruns < sizeof(out->runs) / sizeof(out->runs[0]));
    out->runs[out->nruns++] = run;
}

static void put_owned(struct http_out *out, struct slice bytes)
{
    size_t at = out->own.len;

    buf_put_slice(&out->own, bytes);
    if (out->own.failed)
        out->failed = true;
    else if (owned_is_last(out))
        out->runs[out->nruns - 1].len += bytes.len;
    else
        add_run(out, (struct http_out_run){.kind = HTTP_RUN_OWNED, .at = at, .len = bytes.len});
}

void http_out_put(struct http_out *out, struct slice bytes)
{
    if (bytes.len == 0 || out->failed)
        return;
    if (bytes.len > http_out_room(out)) {
        out->failed = true;
        return;
    }
    out->round_runs += !owned_is_last(out);
    out->round_owned += bytes.len;
    out->round_size += bytes.len;
    put_owned(out, bytes);
}

void http_out_put_cstr(struct http_out *out, const char *cstr)
{
    http_out_put(out, slice_of(cstr));
}

void http_out_put_core(struct http_out *out, struct slice bytes)
{
    if (!out->failed)
        put_owned(out, bytes);
}

static void put_run(struct http_out *out, struct http_out_run run)
{
    if (out->round_runs >= HTTP_OUT_RUNS)
        out->failed = true;
    if (out->failed || run.len == 0) {
        let_go(&run);
        return;
    }
    out->round_runs++;
    out->round_size += run.len;
    add_run(out, run);
}

void http_out_put_shared(struct http_out *out, struct slice bytes, void (*release)(void *arg),
                         void *arg)
{
    put_run(out, (struct http_out_run){.kind = HTTP_RUN_SHARED,
                                       .ptr = bytes.ptr,
                                       .len = bytes.len,
                                       .release = release,
                                       .arg = arg});
}

bool http_out_copy_file(struct http_out *out, int fd, uint64_t offset, size_t len, struct err *err)
{
    char bytes[HTTP_OUT_COPY_MOST];

    assert(len <= sizeof(bytes));
    if (!io_read(fd, bytes, len, offset, err))
        return false;
    http_out_put(out, (struct slice){bytes, len});
    return true;
}

void http_out_put_file(struct http_out *out, int fd, off_t offset, size_t len,
                       void (*release)(void *arg), void *arg)
{
    put_run(out, (struct http_out_run){.kind = HTTP_RUN_FILE,
                                       .fd = fd,
                                       .offset = offset,
                                       .len = len,
                                       .release = release,
                                       .arg = arg});
}

/* The frame is a run of its own, so that it can be shortened to the digits it needs. */
void http_out_open_chunk(struct http_out *out)
{
    static const char blank[] = "                  ";

    out->frame_at = out->own.len;
    out->frame_run = out->nruns;
    buf_put(&out->own, blank, FRAME_SIZE);
    add_run(out,
            (struct http_out_run){.kind = HTTP_RUN_OWNED, .at = out->frame_at, .len = FRAME_SIZE});
}

/* A chunk's size, at the end of `frame`; returns where it begins. */
static size_t put_frame(uint64_t size, char frame[FRAME_SIZE])
{
    size_t at = FRAME_SIZE;

    frame[--at] = '\n';
    frame[--at] = '\r';
    for (; size; size >>= 4)
        frame[--at] = "0123456789abcdef"[size & 15];
    return at;
}

void http_out_close_chunk(struct http_out *out)
{
    char frame[FRAME_SIZE];
    size_t spare;

    if (out->failed)
        return;
    if (out->round_size == 0) {
        out->nruns = out->frame_run;
        out->own.len = out->frame_at;
        return;
    }
    spare = put_frame(out->round_size, frame);
    memcpy(out->own.ptr + out->frame_at + spare, frame + spare, FRAME_SIZE - spare);
    out->runs[out->frame_run].at += spare;
    out->runs[out->frame_run].len -= spare;
    http_out_put_core(out, SLICE("\r\n"));
}

static int gather(const struct http_out *out, struct iovec *iov, uint64_t *size)
{
    int n = 0;

    *size = 0;
    for (uint32_t i = out->at; i < out->nruns && n < VECTORS; i++) {
        const struct http_out_run *run = &out->runs[i];

        if (run->kind == HTTP_RUN_FILE)
            break;
        const char *p = run->kind == HTTP_RUN_OWNED ? out->own.ptr + run->at : run->ptr;
        /* iovec has no const; sendmsg() does not write there. */
        iov[n++] = (struct iovec){(void *)(uintptr_t)p, run->len};
        *size += run->len;
    }
    return n;
}

/* `n` bytes from the front are gone. */
static void advance(struct http_out *out, size_t n)
{
    while (out->at < out->nruns) {
        struct http_out_run *run = &out->runs[out->at];
        size_t step = n < run->len ? n : run->len;

        if (run->kind == HTTP_RUN_OWNED)
            run->at += step;
        else if (run->kind == HTTP_RUN_SHARED)
            run->ptr += step;
        else
            run->offset += (off_t)step;
        run->len -= step;
        n -= step;
        if (run->len)
            return;
        let_go(run);
        out->at++;
    }
}

/* What is next, as far as it is in memory; *asked: how much that is. */
static ssize_t send_memory(const struct http_out *out, int fd, uint64_t *asked)
{
    struct iovec iov[VECTORS];
    int n = gather(out, iov, asked);
    bool more = out->at + (uint32_t)n < out->nruns;
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};

    return sendmsg(fd, &msg, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
}

static ssize_t send_file(const struct http_out_run *run, int fd, uint64_t *asked)
{
    off_t offset = run->offset;

    *asked = run->len < TURN_BYTES ? run->len : TURN_BYTES;
    ssize_t n = sendfile(fd, run->fd, &offset, (size_t)*asked);

    if (n == 0) {
        errno = ENODATA; /* the file is shorter than was promised */
        return -1;
    }
    return n;
}

/* sendfile() knows no MSG_MORE: what little stands behind a file would be a packet of its own. */
static bool needs_cork(const struct http_out *out)
{
    return out->runs[out->at].kind == HTTP_RUN_FILE && out->at + 1 < out->nruns;
}

/* Without it (no TCP) it is only slower. */
static void set_cork(int fd, int on)
{
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

static enum http_flush send_runs(struct http_out *out, int fd, uint64_t *sent, bool *corked)
{
    uint64_t turn = 0, asked;

    while (!http_out_empty(out)) {
        const struct http_out_run *run = &out->runs[out->at];

        if (turn >= TURN_BYTES)
            return HTTP_FLUSH_BLOCKED;
        if (!*corked && needs_cork(out)) {
            set_cork(fd, 1);
            *corked = true;
        }
        ssize_t n =
            run->kind == HTTP_RUN_FILE ? send_file(run, fd, &asked) : send_memory(out, fd, &asked);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? HTTP_FLUSH_BLOCKED : HTTP_FLUSH_FAILED;
        turn += (uint64_t)n;
        *sent += (uint64_t)n;
        advance(out, (size_t)n);
        /* Not asked until it says so: it most likely would, for one system call more. */
        if ((uint64_t)n < asked)
            return HTTP_FLUSH_BLOCKED;
    }
    return HTTP_FLUSH_DONE;
}

enum http_flush http_out_flush(struct http_out *out, int fd, uint64_t *sent)
{
    bool corked = false;
    enum http_flush result = send_runs(out, fd, sent, &corked);
    int why = errno;

    if (corked)
        set_cork(fd, 0);
    errno = why;
    return result;
}
