/*
 * A record of the stream's topic from a fuzzer's bytes.
 *
 *     input     { epoch:1 commit_lsn:1 xid:1 fragment:1 flags:1 }
 */
#ifndef TESTS_KAFKA_RECORD_H
#define TESTS_KAFKA_RECORD_H

#include "kafka/frames.h"

enum { RECORD_IS_LAST = 1, RECORD_IS_HEARTBEAT = 2 }; /* flags; others are the caller's */

static inline struct frames_record read_record(struct reader *in, uint8_t *flags)
{
    struct frames_record record = {.epoch = reader_u8(in), .commit_lsn = reader_u8(in)};

    record.xid = reader_u8(in);
    record.fragment = reader_u8(in);
    *flags = reader_u8(in);
    record.last = *flags & RECORD_IS_LAST;
    record.end_lsn = record.last ? record.commit_lsn + 1 : 0;
    if (*flags & RECORD_IS_HEARTBEAT)
        record = (struct frames_record){.epoch = record.epoch,
                                        .commit_lsn = record.commit_lsn,
                                        .end_lsn = record.commit_lsn,
                                        .last = true};
    return record;
}

#endif
