/*
 * Any bytes as records of the stream's topic. Whatever comes: a transaction that the reader gives
 * is given from its fragment 0 to its last without a hole, in one epoch, and none twice.
 *
 *     input     { record (kafka_record.h) len:1 value }
 *
 * The value is also taken as headers, split at its NULs.
 */
#include "kafka_record.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_headers(struct slice value)
{
    struct reader r = reader_of(value);
    struct frames_header headers[8], again[FRAMES_NHEADERS];
    struct frames_record record = {0}, same = {0};
    struct err err;
    struct buf texts;
    size_t n = 0;

    for (; n < 8; n++) {
        headers[n].name = reader_cstr(&r);
        headers[n].value = reader_cstr(&r);
        if (r.failed)
            break;
    }
    if (!frames_read_headers(headers, n, &record, &err)) {
        if (err.code != ERR_PROTOCOL)
            abort();
        return;
    }
    buf_init(&texts, BUF_NO_LIMIT);
    frames_put_headers(&record, &texts, again);
    if (!frames_read_headers(again, FRAMES_NHEADERS, &same, &err) || same.epoch != record.epoch ||
        same.commit_lsn != record.commit_lsn || same.fragment != record.fragment)
        abort();
    buf_release(&texts);
}

static void read_frames(struct slice value)
{
    struct reader frames = reader_of(value);
    struct slice message;
    size_t sum = 0;

    while (frames_next(&frames, &message))
        sum += 4 + message.len;
    if (reader_done(&frames) ? sum != value.len : sum > value.len)
        abort();
}

/* What the reader has given so far. */
struct given {
    struct frames_record at; /* of the open transaction */
    bool open;
    lsn_t done;
};

static void check(struct given *given, const struct frames_record *record,
                  enum frames_verdict verdict)
{
    if (verdict == FRAMES_VOID || verdict == FRAMES_HEARTBEAT)
        return;
    if (record->commit_lsn <= given->done)
        abort();
    if (verdict == FRAMES_BEGIN && record->fragment != 0)
        abort();
    if (given->open && record->commit_lsn != given->at.commit_lsn)
        abort();
    if (verdict == FRAMES_NEXT && (!given->open || record->epoch != given->at.epoch ||
                                   record->fragment != given->at.fragment + 1))
        abort();
    given->at = *record;
    given->open = !record->last;
    if (record->last)
        given->done = record->commit_lsn;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of((struct slice){(const char *)data, size});
    struct frames_reader reader;
    struct given given = {0};
    enum frames_verdict verdict;
    struct err err;

    frames_reader_init(&reader, LSN_NONE);
    while (reader_left(&input) && !input.failed) {
        uint8_t flags;
        struct frames_record record = read_record(&input, &flags);
        struct slice value = reader_slice(&input, reader_u8(&input));

        if (input.failed)
            break;
        if (!(flags & RECORD_IS_HEARTBEAT))
            record.value = value;
        if (record.value.len)
            read_headers(record.value);
        read_frames(record.value);
        if (frames_reader_take(&reader, &record, &verdict, &err))
            check(&given, &record, verdict);
        else if (err.code != ERR_CORRUPT && err.code != ERR_PROTOCOL)
            abort();
    }
    return 0;
}
