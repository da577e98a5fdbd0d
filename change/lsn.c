#include "change/lsn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char *lsn_format(lsn_t lsn, char text[LSN_TEXT_SIZE])
{
    snprintf(text, LSN_TEXT_SIZE, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
    return text;
}

static bool take_hex(struct slice *text, uint32_t *v)
{
    size_t i = 0;

    *v = 0;
    for (; i < text->len && i < 8; i++) {
        char c = text->ptr[i];
        uint32_t digit;

        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (uint32_t)((c | 0x20) - 'a' + 10);
        else
            break;
        *v = *v << 4 | digit;
    }
    *text = (struct slice){text->ptr + i, text->len - i};
    return i > 0;
}

bool lsn_parse(struct slice text, lsn_t *lsn)
{
    uint32_t high, low;

    /* Empty first: a NULL value of Postgres has no pointer to count from. */
    if (text.len == 0 || !take_hex(&text, &high) || text.len == 0 || text.ptr[0] != '/')
        return false;
    text = (struct slice){text.ptr + 1, text.len - 1};
    if (!take_hex(&text, &low) || text.len != 0)
        return false;
    *lsn = (lsn_t)high << 32 | low;
    return true;
}

static bool take_decimal(struct slice *text, uint64_t *v)
{
    size_t i = 0;

    *v = 0;
    for (; i < text->len && text->ptr[i] >= '0' && text->ptr[i] <= '9'; i++) {
        if (*v > UINT64_MAX / 10 - 1)
            return false;
        *v = *v * 10 + (uint64_t)(text->ptr[i] - '0');
    }
    *text = (struct slice){text->ptr + i, text->len - i};
    return i > 0;
}

static bool take_char(struct slice *text, char c)
{
    if (text->len == 0 || text->ptr[0] != c)
        return false;
    *text = (struct slice){text->ptr + 1, text->len - 1};
    return true;
}

bool snapshot_parse(struct slice text, struct arena *arena, struct snapshot *snapshot,
                    struct err *err)
{
    struct slice rest = text;
    size_t most = 1;

    *snapshot = (struct snapshot){0};
    for (size_t i = 0; i < text.len; i++)
        most += text.ptr[i] == ',';
    bool ok = take_decimal(&rest, &snapshot->xmin) && take_char(&rest, ':') &&
              take_decimal(&rest, &snapshot->xmax) && take_char(&rest, ':');
    snapshot->xip = arena_calloc(arena, most, sizeof(*snapshot->xip));
    while (ok && rest.len) {
        ok = (snapshot->nxip == 0 || take_char(&rest, ',')) &&
             take_decimal(&rest, &snapshot->xip[snapshot->nxip]);
        snapshot->nxip++;
    }
    if (!ok)
        return err_set(err, ERR_PROTOCOL, "malformed snapshot \"%.*s\"", SLICE_ARG(text));
    return true;
}

void snapshot_format(const struct snapshot *snapshot, struct buf *out)
{
    buf_put_dec(out, snapshot->xmin);
    buf_put_u8(out, ':');
    buf_put_dec(out, snapshot->xmax);
    buf_put_u8(out, ':');
    for (size_t i = 0; i < snapshot->nxip; i++) {
        if (i)
            buf_put_u8(out, ',');
        buf_put_dec(out, snapshot->xip[i]);
    }
}

/* Less than on the circle of 32-bit ids. */
static bool xid_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

bool snapshot_sees(const struct snapshot *snapshot, uint32_t xid)
{
    if (xid_before(xid, (uint32_t)snapshot->xmin))
        return true;
    if (!xid_before(xid, (uint32_t)snapshot->xmax))
        return false;
    for (size_t i = 0; i < snapshot->nxip; i++) {
        if ((uint32_t)snapshot->xip[i] == xid)
            return false;
    }
    return true;
}
