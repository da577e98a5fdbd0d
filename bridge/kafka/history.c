#include "kafka/history.h"

#include "base/clock.h"
#include "wal/timelines.h"

#include <stdio.h>
#include <sys/random.h>

void history_name_system(const char *system_id, char history[FRAMES_HISTORY_SIZE])
{
    snprintf(history, FRAMES_HISTORY_SIZE, "%.20s-", system_id);
}

void history_name(const struct wal_place *place, char history[FRAMES_HISTORY_SIZE])
{
    uint8_t random[5] = {0};

    if (getrandom(random, sizeof(random), 0) < 0)
        memcpy(random, &(int64_t){clock_unix_us()}, sizeof(random));
    snprintf(history, FRAMES_HISTORY_SIZE, "%.20s-%02x%02x%02x%02x%02x", place->system_id,
             random[0], random[1], random[2], random[3], random[4]);
}

static bool is_of_system(const char *history, const struct wal_place *place)
{
    size_t id = strlen(place->system_id);

    return strncmp(history, place->system_id, id) == 0 && history[id] == '-';
}

static bool is_in_timeline(const struct wal_place *place, uint32_t timeline, lsn_t lsn)
{
    return !timeline || !place->timelines || timelines_have(place->timelines, timeline, lsn);
}

const char *history_diverges(const struct stream_tail *tail, const struct wal_place *place,
                             bool is_void)
{
    if (!is_of_system(tail->history, place))
        return "this is another database system";
    if (is_void)
        return "the slot or the server's history is another";
    if (place->server_lsn < tail->position)
        return "the server's WAL is behind the topic";
    if (!is_in_timeline(place, tail->timeline, tail->position))
        return "the server's timeline does not contain all that the topic has";
    return NULL;
}

const char *history_ends(const struct stream_tail *tail, const struct wal_place *place,
                         const char *diverges)
{
    if (!tail->found)
        return "the topic is empty";
    if (!diverges && place->confirmed > tail->position)
        return "the slot is beyond the topic";
    return diverges;
}
