/*
 * The history of a topic (kafka/publisher.h): its name, "<system id>-<10 hex digits>", and whether
 * it goes on with the server that the stream has come to.
 */
#ifndef KAFKA_HISTORY_H
#define KAFKA_HISTORY_H

#include "kafka/frames.h"
#include "kafka/tail.h"
#include "wal/feed.h"

/* The name of a new one. */
void history_name(const struct wal_place *place, char history[FRAMES_HISTORY_SIZE]);
/* All that is said of it where it does not matter which one it is: "<system id>-". */
void history_name_system(const char *system_id, char history[FRAMES_HISTORY_SIZE]);

/* Why this server does not have what the topics have, or NULL. `is_void`: that is known already. */
const char *history_diverges(const struct stream_tail *tail, const struct wal_place *place,
                             bool is_void);
/* Why the stream's topic cannot go on in its history, or NULL; `diverges` is the above. */
const char *history_ends(const struct stream_tail *tail, const struct wal_place *place,
                         const char *diverges);

#endif
