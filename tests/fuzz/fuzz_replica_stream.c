/*
 * Arbitrary bytes as the bridge's stream, cut at places that the input itself chooses, and as its
 * answer to local writes: whatever comes, the reader ends with an error or goes on, and the file
 * stays sound.
 */
#include "base/logging.h"
#include "replica/core.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_answer(struct replica *r, const uint8_t *data, size_t size)
{
    static const long statuses[] = {200, 409, 400, 200, 413, 200};
    const struct slice answer = {(const char *)data, size};
    enum replica_write_verdict verdict;
    struct buf body;
    struct err err;
    bool any;

    buf_init(&body, BUF_NO_LIMIT);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (!r->db.in_txn)
            sqlite3_exec(r->db.db, "INSERT INTO t DEFAULT VALUES; DELETE FROM t", NULL, NULL, NULL);
        r->renumber = true; /* the connection is our own, whose writes it does not look for */
        bool ok = replica_write_request(r, &body, &any, &err);
        if (ok && any)
            ok = replica_write_answer(r, statuses[i], answer, &verdict, &err);
        if (!ok && err.code == ERR_CORRUPT)
            abort();
    }
    buf_release(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct replica_shape shapes[2];
    struct err err;
    struct buf body;

    logging_init(LOG_ERROR, LOG_LOGFMT);
    if (!replica_shape_parse("t", &shapes[0], &err) ||
        !replica_shape_parse("s.u(a) where a > 1", &shapes[1], &err))
        abort();
    struct replica *r = replica_open(":memory:", &err);
    if (!r || !replica_set_shapes(r, shapes, 2, false, &err))
        abort();
    buf_init(&body, BUF_NO_LIMIT);
    /* Twice, so that what one stream left is met by another. */
    for (int round = 0; round < 2; round++) {
        if (!replica_request(r, round == 0, &body, &err))
            abort();
        for (size_t at = 0, n; at < size; at += n) {
            n = 1 + (size_t)data[at] * (round ? 37 : 1);
            n = n < size - at ? n : size - at;
            if (!replica_feed(r, data + at, n, &err))
                break;
        }
        write_and_answer(r, data, size);
        if (replica_end(r, &err) && size == 0)
            abort();
    }
    replica_close(r);
    buf_release(&body);
    replica_shape_release(&shapes[0]);
    replica_shape_release(&shapes[1]);
    return 0;
}
