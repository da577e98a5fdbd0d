/*
 * Which partition a key belongs to, as Kafka's Java producer has it (murmur2): records of ours lie
 * where Debezium's and Kafka Connect's of the same key would.
 */
#ifndef KAFKA_PARTITION_H
#define KAFKA_PARTITION_H

#include "base/slice.h"

#include <stdint.h>

uint32_t partition_hash(struct slice key);
/* From 0 to below `npartitions`, which is positive. */
int32_t partition_of(struct slice key, int32_t npartitions);

#endif
