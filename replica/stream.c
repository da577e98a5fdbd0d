/*
 * From bytes to lines. What has come is kept until its line is whole; yyjson
 * parses the line where it stands. First rows outlive their line, as they wait to be written
 * (lane.h), and to be sorted before that: such a line has a text of its own, and most are read
 * without yyjson (plain.h). While first rows are on their way lines are gathered one by one, so
 * that the text is that which was gathered, and no copy.
 */
#include "replica/core.h"

#include "base/clock.h"
#include "replica/trouble.h"

#include <stdlib.h>
#include <yyjson.h>

#define LINE_LIMIT ((size_t)64 << 20)
#define PADDING LITE_PLAIN_PADDING /* no less than YYJSON_PADDING_SIZE */

static const char commit_line[] = "\n{\"commit\"";

/* In the bytes behind the present line (which still starts `in`). */
bool lite_stream_more_commits(const struct replica *r)
{
    const char *p = r->in.ptr + r->scanned, *end = r->in.ptr + r->in.len;

    if (p == end)
        return false;
    p = memmem(p, (size_t)(end - p), commit_line, sizeof(commit_line) - 1);
    return p && memchr(p + 1, '\n', (size_t)(end - p - 1));
}

/* {"shape":N,"messages":[...]}, the line that nearly all are. */
static bool apply_messages(struct replica *r, yyjson_val *root, yyjson_val *messages,
                           yyjson_doc **doc, struct err *err)
{
    struct lite_feed *feed = lite_apply_feed(r, yyjson_obj_get(root, "shape"), err);

    return feed && lite_rows_apply(r, feed, messages, doc, err);
}

static bool apply_doc(struct replica *r, yyjson_doc **doc, struct err *err)
{
    yyjson_val *root = yyjson_doc_get_root(*doc);
    yyjson_val *messages = yyjson_obj_get(root, "messages");

    if (!yyjson_is_obj(root))
        return err_set(err, ERR_PROTOCOL, "a line of the stream is not an object");
    if (messages)
        return apply_messages(r, root, messages, doc, err);
    return lite_rows_flush(r, err) && lite_apply_line(r, root, err);
}

/* `line` has bytes behind it that may be written. */
static bool parse_line(struct replica *r, char *line, size_t len, struct err *err)
{
    yyjson_read_err why;
    char saved[YYJSON_PADDING_SIZE];

    memcpy(saved, line + len, sizeof(saved));
    memset(line + len, 0, sizeof(saved));
    yyjson_doc *doc = yyjson_read_opts(line, len, YYJSON_READ_INSITU, r->alc, &why);
    memcpy(line + len, saved, sizeof(saved));
    if (!doc) {
        if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
            abort();
        return err_set(err, ERR_PROTOCOL, "a line of the stream is not JSON: %s at byte %zu",
                       why.msg, why.pos);
    }
    bool ok = apply_doc(r, &doc, err);
    yyjson_doc_free(doc);
    return ok;
}

/* The line becomes r->text. One that is all of `in`, in memory of no more than what is kept, takes
 * that along: `in` is empty then. */
static void keep_line(struct replica *r, const char *line, size_t len)
{
    struct lite_text text = {r->in.ptr, r->in.cap};

    if (len + 1 == r->in.len && text.cap <= LITE_TEXT_KEPT && r->text.cap <= r->in.limit) {
        lite_text_swap(&r->text, &text);
        r->in.ptr = text.ptr;
        r->in.cap = text.cap;
        r->in.len = r->scanned = 0;
    } else {
        lite_text_grow(&r->text, len + PADDING);
        memcpy(r->text.ptr, line, len);
    }
    memset(r->text.ptr + len, 0, PADDING);
}

/* Where it may be one of first rows. */
static bool take_kept(struct replica *r, size_t len, struct err *err)
{
    bool taken;
    bool ok =
        lite_rows_take(r, len, &taken, err) && (taken || parse_line(r, r->text.ptr, len, err));

    if (!lite_rows_expected(r))
        lite_rows_release(r);
    return ok;
}

static bool take_line(struct replica *r, char *line, size_t len, struct err *err)
{
    if (len == 0 || (len == 1 && *line == '\r'))
        return true;
    if (!lite_rows_expected(r))
        return parse_line(r, line, len, err);
    keep_line(r, line, len);
    return take_kept(r, len, err);
}

static bool take_lines(struct replica *r, struct err *err)
{
    size_t done = 0;
    bool ok = true;

    while (ok) {
        size_t from = done > r->scanned ? done : r->scanned;
        char *newline = memchr(r->in.ptr + from, '\n', r->in.len - from);

        if (!newline) {
            r->scanned = r->in.len;
            break;
        }
        size_t end = (size_t)(newline - r->in.ptr);
        r->scanned = end; /* at the newline: where lite_stream_more_commits() looks on */
        ok = take_line(r, r->in.ptr + done, end - done, err);
        if (r->in.len == 0) /* it has been taken along */
            return ok;
        done = end + 1;
        r->scanned = done;
    }
    buf_consume(&r->in, done);
    r->scanned -= done < r->scanned ? done : r->scanned;
    return ok;
}

static bool take_bytes(struct replica *r, const void *bytes, size_t n, struct err *err)
{
    buf_put(&r->in, bytes, n);
    if (!buf_room(&r->in, PADDING) || !take_lines(r, err)) {
        if (r->in.failed)
            err_set(err, ERR_LIMIT, "a line of the stream is longer than %zu MB", LINE_LIMIT >> 20);
        return false;
    }
    return true;
}

/* How many of the bytes to take at once: no more than the limit of a line allows, whatever the
 * caller brings; and one line alone where it is to be kept. */
static size_t next_piece(const struct replica *r, const char *bytes, size_t n)
{
    const size_t most = (size_t)1 << 20;

    n = n < most ? n : most;
    const char *newline = r->lane.busy ? memchr(bytes, '\n', n) : NULL;
    return newline ? (size_t)(newline - bytes) + 1 : n;
}

/* Always false, with `err` as it is or as one that a new request helps against. */
static bool fail(struct replica *r, struct err *err)
{
    r->streaming = false;
    lite_rows_drop(r);
    lite_db_rollback(&r->db);
    if (r->stuck)
        lite_trouble_stuck(r, err);
    return false;
}

bool lite_stream_settle(struct replica *r, struct err *err)
{
    return lite_lane_drain(r, err) || fail(r, err);
}

bool replica_feed(struct replica *r, const void *bytes, size_t n, struct err *err)
{
    const char *p = bytes;

    if (!r->streaming)
        return err_set(err, ERR_STOPPED, "the stream has ended");
    while (n > 0) {
        size_t piece = next_piece(r, p, n);

        if (!take_bytes(r, p, piece, err))
            return fail(r, err);
        p += piece;
        n -= piece;
    }
    return true;
}
