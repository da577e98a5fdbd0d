#include "kafka/start.h"

#include <stdio.h>

bool start_read(int64_t offset, const struct frames_header *headers, size_t nheaders,
                struct slice value, struct start_record *record, struct err *err)
{
    *record = (struct start_record){.offset = offset, .heartbeat = !value.len};
    if (!frames_read_headers(headers, nheaders, &record->frames, err))
        return err_wrap(err, "offset %lld", (long long)offset);
    struct slice history = frames_history(headers, nheaders);
    if (history.len < sizeof(record->history))
        snprintf(record->history, sizeof(record->history), "%.*s", SLICE_ARG(history));
    return record->history[0] ||
           err_set(err, ERR_PROTOCOL, "offset %lld names no history", (long long)offset);
}

/* Behind the last record there may be marks of Kafka transactions. */
bool start_last(const struct start_search *search, struct start_record *last, bool *found,
                struct err *err)
{
    *found = false;
    for (int64_t back = 1; search->high - search->low > 0 && !*found; back *= 2) {
        int64_t at = search->high - back;

        if (at < search->low)
            at = search->low;
        bool whole = at == search->low;

        for (bool more = true; more && at < search->high;) {
            struct start_record record;

            if (!search->read_at(search->owner, at, &record, &more, err))
                return false;
            if (more)
                *last = record;
            *found |= more;
            at = record.offset + 1;
        }
        if (whole)
            break;
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
