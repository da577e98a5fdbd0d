#include "kafka/hstore.h"

#include "change/json.h"

struct hstore_reader {
    const char *p, *end;
    struct buf word; /* without its quotes and backslashes */
};

static void skip_spaces(struct hstore_reader *r)
{
    while (r->p < r->end && *r->p == ' ')
        r->p++;
}

/* The next word, which Postgres quotes; NULL alone is not. */
static bool read_word(struct hstore_reader *r, bool *is_null)
{
    static const char null[] = "NULL";

    buf_clear(&r->word);
    *is_null = r->end - r->p >= 4 && memcmp(r->p, null, 4) == 0;
    if (*is_null) {
        r->p += 4;
        return true;
    }
    if (r->p == r->end || *r->p++ != '"')
        return false;
    for (; r->p < r->end && *r->p != '"'; r->p++) {
        if (*r->p == '\\' && ++r->p == r->end)
            return false;
        buf_put_u8(&r->word, (uint8_t)*r->p);
    }
    return r->p++ < r->end;
}

/* `"key"=>"value"` as `"key":"value"`. */
static bool read_pair(struct hstore_reader *r, struct buf *out)
{
    bool is_null;

    if (!read_word(r, &is_null) || is_null)
        return false;
    json_put_string(out, buf_slice(&r->word));
    if (r->end - r->p < 2 || memcmp(r->p, "=>", 2) != 0)
        return false;
    r->p += 2;
    if (!read_word(r, &is_null))
        return false;
    buf_put_u8(out, ':');
    if (is_null)
        buf_put_cstr(out, "null");
    else
        json_put_string(out, buf_slice(&r->word));
    return true;
}

static bool put_pairs(struct hstore_reader *r, struct buf *out)
{
    buf_put_u8(out, '{');
    for (skip_spaces(r); r->p < r->end; skip_spaces(r)) {
        if (!read_pair(r, out))
            return false;
        if (r->p < r->end && *r->p++ != ',')
            return false;
        if (r->p < r->end)
            buf_put_u8(out, ',');
    }
    buf_put_u8(out, '}');
    return true;
}

bool hstore_put_object(struct slice text, struct buf *out, struct err *err)
{
    struct hstore_reader r = {text.ptr, text.ptr + text.len, {0}};

    buf_init(&r.word, BUF_NO_LIMIT);
    bool ok = put_pairs(&r, out) || err_set(err, ERR_PROTOCOL, "malformed hstore");
    buf_release(&r.word);
    return ok;
}

bool hstore_put_text(struct slice text, struct buf *out, struct err *err)
{
    struct buf object;

    buf_init(&object, BUF_NO_LIMIT);
    bool ok = hstore_put_object(text, &object, err);
    if (ok)
        json_put_string(out, buf_slice(&object));
    buf_release(&object);
    return ok;
}
