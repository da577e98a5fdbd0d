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

/* Reads on from `at` to the end, and keeps the last record whose epoch is not below `epoch`. */
static bool last_from(const struct start_search *search, int64_t at, uint64_t epoch,
                      struct start_record *last, bool *found, struct err *err)
{
    for (bool more = true; more && at < search->high;) {
        struct start_record record;

        if (!search->read_at(search->owner, at, &record, &more, err))
            return false;
        if (more && record.frames.epoch >= epoch) {
            *last = record;
            *found = true;
        }
        at = record.offset + 1;
    }
    return true;
}

/* Epochs never fall but for what is late: one that is higher than the last record's, in steps that
 * double, says that the last one is. */
static bool pass_over_late(const struct start_search *search, struct start_record *last,
                           struct err *err)
{
    int64_t end = last->offset;

    for (int64_t back = 1; back <= START_BACK && end - back >= search->low; back *= 2) {
        struct start_record record;
        bool found;

        if (!search->read_at(search->owner, end - back, &record, &found, err))
            return false;
        if (found && record.frames.epoch > last->frames.epoch)
            return last_from(search, record.offset, record.frames.epoch, last, &found, err);
    }
    return true;
}

/* Behind the last record there may be marks of Kafka transactions. */
bool start_last(const struct start_search *search, struct start_record *last, bool *found,
                struct err *err)
{
    *found = false;
    for (int64_t back = 1; search->high - search->low > 0 && !*found; back *= 2) {
        int64_t at = search->high - back > search->low ? search->high - back : search->low;

        if (!last_from(search, at, 0, last, found, err))
            return false;
        if (at == search->low)
            break;
    }
    return !*found || pass_over_late(search, last, err);
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
