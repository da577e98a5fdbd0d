#include "kafka/start.h"

#include <stdio.h>

#define FIRST_BACK 16 /* records */

bool start_read(int64_t offset, const struct frames_header *headers, size_t nheaders,
                struct slice value, struct start_record *record, struct err *err)
{
    *record = (struct start_record){.offset = offset, .size = value.len, .heartbeat = !value.len};
    if (!frames_read_headers(headers, nheaders, &record->frames, err))
        return err_wrap(err, "offset %lld", (long long)offset);
    struct slice history = frames_history(headers, nheaders);
    if (history.len < sizeof(record->history))
        snprintf(record->history, sizeof(record->history), "%.*s", SLICE_ARG(history));
    return record->history[0] ||
           err_set(err, ERR_PROTOCOL, "offset %lld names no history", (long long)offset);
}

struct stretch {
    int64_t from, end; /* offsets */
    bool found;
    struct start_record last; /* of the records of the highest epoch */
    size_t records, bytes;    /* all of them */
};

static bool read_stretch(const struct start_search *search, struct stretch *s, struct err *err)
{
    for (int64_t at = s->from; at < s->end;) {
        struct start_record record;
        bool more;

        if (!search->read_at(search->owner, at, &record, &more, err))
            return false;
        if (!more || record.offset >= s->end)
            return true;
        if (!s->found || record.frames.epoch >= s->last.frames.epoch)
            s->last = record;
        s->found = true;
        s->records++;
        s->bytes += record.size;
        at = record.offset + 1;
    }
    return true;
}

/* Backwards, by stretches that double; in one there may be marks of Kafka transactions alone. */
bool start_last(const struct start_search *search, struct start_record *last, bool *found,
                struct err *err)
{
    size_t records = 0, bytes = 0;
    int64_t end = search->high;

    *found = false;
    for (int64_t back = FIRST_BACK; end > search->low; back *= 2) {
        int64_t from = search->high - back > search->low ? search->high - back : search->low;
        struct stretch s = {.from = from, .end = end};

        if (!read_stretch(search, &s, err))
            return false;
        if (s.found && (!*found || s.last.frames.epoch > last->frames.epoch))
            *last = s.last;
        *found |= s.found;
        records += s.records;
        bytes += s.bytes;
        if (records > START_QUEUE_RECORDS || bytes > (size_t)START_QUEUE_KB << 10)
            return true;
        end = from;
    }
    return true;
}

bool start_end(const struct start_search *search, const struct start_record *last, lsn_t *position,
               struct err *err)
{
    struct start_record record = *last;
    int64_t at = last->offset;

    *position = LSN_NONE;
    for (bool found = true; found;) {
        if (record.frames.last && record.frames.epoch == last->frames.epoch) {
            *position = record.frames.end_lsn;
            return true;
        }
        /* Before the first fragment, or at least towards it: marks lie in between. */
        int64_t first = record.offset - (int64_t)record.frames.fragment;

        at = (first < at ? first : at) - 1;
        if (at < search->low)
            return true;
        if (!search->read_at(search->owner, at, &record, &found, err))
            return false;
    }
    return true;
}

static bool is_needed(const struct start_record *record, lsn_t position)
{
    return record->heartbeat ? record->frames.end_lsn > position
                             : record->frames.commit_lsn >= position;
}

static bool same_history(const struct start_record *a, const struct start_record *b)
{
    return strcmp(a->history, b->history) == 0;
}

bool start_find(const struct start_search *search, const struct start_record *last, lsn_t position,
                int64_t margin, int64_t *offset, bool *covered, struct err *err)
{
    int64_t low = search->low, high = search->high;
    struct start_record before = {0}; /* the last one that is not needed */

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        struct start_record record;
        bool found;

        if (!search->read_at(search->owner, middle, &record, &found, err))
            return false;
        if (!found || (same_history(&record, last) && is_needed(&record, position))) {
            high = middle;
        } else {
            before = record;
            low = record.offset + 1;
        }
    }
    *covered = same_history(&before, last);
    *offset = before.offset;
    if (before.frames.epoch < last->frames.epoch)
        *offset = before.offset - search->low > margin ? before.offset - margin : search->low;
    return true;
}
