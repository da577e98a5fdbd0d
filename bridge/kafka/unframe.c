#include "kafka/unframe.h"

void unframe_init(struct unframe *u, lsn_t position)
{
    *u = (struct unframe){.position = position, .tell_position = true};
    frames_reader_init(&u->reader, position ? position - 1 : LSN_NONE);
}

static void pass(struct unframe *u, lsn_t lsn)
{
    if (lsn > u->position)
        u->position = lsn;
}

/* A later epoch's first record says where the topic stood. Who has not come as far by the records
 * before it has begun at one of a publisher that did not know yet that it had been replaced. */
static bool is_linked(const struct unframe *u, const struct frames_record *record)
{
    if (!u->reader.epoch || record->epoch <= u->reader.epoch)
        return true;
    return !record->value.len && record->end_lsn <= u->position;
}

bool unframe_take(struct unframe *u, const struct frames_header *headers, size_t nheaders,
                  struct slice value, struct err *err)
{
    struct frames_record record = {.value = value};
    enum frames_verdict verdict;

    if (!frames_read_headers(headers, nheaders, &record, err))
        return false;
    u->unlinked = !is_linked(u, &record);
    if (u->unlinked)
        return err_set(err, ERR_CHANGED, "a publisher began without the one before it");
    if (!frames_reader_take(&u->reader, &record, &verdict, err))
        return false;
    u->size = value.len;
    u->frames = reader_of((struct slice){"", 0});
    u->record = (struct frames_record){0};
    if (verdict == FRAMES_VOID) {
        if (record.epoch == u->reader.epoch)
            pass(u, record.end_lsn);
        return true;
    }
    if (verdict == FRAMES_HEARTBEAT) {
        pass(u, record.end_lsn);
        u->tell_position = true;
        return true;
    }
    u->tell_void = verdict == FRAMES_BEGIN && u->open;
    if (verdict == FRAMES_BEGIN)
        u->open = u->committed = false;
    u->record = record;
    u->frames = reader_of(value);
    u->nmessages = 0;
    return true;
}

/* Begin: 'B' final_lsn:8. Commit: 'C' flags:1 commit_lsn:8 end_lsn:8. */
static bool fits(struct unframe *u, struct slice message)
{
    struct reader in = reader_of(message);
    uint8_t kind = reader_u8(&in);
    bool first = u->record.fragment == 0 && u->nmessages == 0;

    if (u->committed || (kind == 'B') != first)
        return false;
    if (first)
        return reader_u64(&in) == u->record.commit_lsn && !in.failed;
    if (kind != 'C')
        return true;
    reader_u8(&in);
    u->committed = true;
    return u->record.last && reader_u64(&in) == u->record.commit_lsn &&
           reader_u64(&in) == u->record.end_lsn && !in.failed;
}

static enum feed_got malformed(struct err *err)
{
    err_set(err, ERR_PROTOCOL, "a record's headers do not fit its messages");
    return FEED_FAILED;
}

static enum feed_got next_message(struct unframe *u, struct feed_item *item, struct err *err)
{
    if (!frames_next(&u->frames, &item->message)) {
        bool whole = reader_done(&u->frames) && (!u->record.last || u->committed);

        if (u->record.last)
            u->open = false;
        u->record = (struct frames_record){0};
        return whole ? FEED_NOTHING : malformed(err);
    }
    if (!fits(u, item->message))
        return malformed(err);
    u->nmessages++;
    u->open = true;
    item->kind = FEED_MESSAGE;
    item->lsn = u->record.commit_lsn;
    if (u->committed)
        pass(u, u->record.end_lsn);
    return FEED_ITEM;
}

enum feed_got unframe_next(struct unframe *u, struct feed_item *item, struct err *err)
{
    *item = (struct feed_item){.size = u->size, .lsn = u->position};
    u->size = 0;
    if (u->tell_void) {
        u->tell_void = false;
        item->kind = FEED_VOID;
        return FEED_ITEM;
    }
    if (u->tell_position) {
        u->tell_position = false;
        item->kind = FEED_POSITION;
        return FEED_ITEM;
    }
    return next_message(u, item, err);
}
