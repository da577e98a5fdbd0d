/*
 * pgoutput, protocol version 1, text: the messages inside a replication
 * stream's XLogData. Source: PostgreSQL documentation, "Logical Replication
 * Message Formats".
 *
 *     BEGIN     'B' final_lsn:8 time:8 xid:4
 *     COMMIT    'C' flags:1 commit_lsn:8 end_lsn:8 time:8
 *     ORIGIN    'O' lsn:8 name\0
 *     RELATION  'R' relid:4 nspname\0 relname\0 replident:1 ncols:2
 *               { flags:1 name\0 typid:4 typmod:4 }
 *     TYPE      'Y' typid:4 nspname\0 typname\0
 *     INSERT    'I' relid:4 'N' tuple
 *     UPDATE    'U' relid:4 [ ('K'|'O') tuple ] 'N' tuple
 *     DELETE    'D' relid:4 ('K'|'O') tuple
 *     TRUNCATE  'T' nrels:4 flags:1 { relid:4 }
 *     MESSAGE   'M' flags:1 lsn:8 prefix\0 len:4 content
 *     tuple     ncols:2 { 'n' | 'u' | 't' len:4 text }
 *
 * Integers are big-endian; times are microseconds since 2000-01-01 UTC on the
 * wire and since 1970 here. A message that is unknown, cut or has bytes left
 * over is an error: to skip one could be to lose a row.
 */
#ifndef CHANGE_PGOUTPUT_H
#define CHANGE_PGOUTPUT_H

#include "base/arena.h"
#include "base/buf.h"
#include "change/change.h"
#include "change/relation.h"

enum pgoutput_kind {
    PGOUTPUT_BEGIN = 'B',
    PGOUTPUT_COMMIT = 'C',
    PGOUTPUT_ORIGIN = 'O',
    PGOUTPUT_RELATION = 'R',
    PGOUTPUT_TYPE = 'Y',
    PGOUTPUT_INSERT = 'I',
    PGOUTPUT_UPDATE = 'U',
    PGOUTPUT_DELETE = 'D',
    PGOUTPUT_TRUNCATE = 'T',
    PGOUTPUT_MESSAGE = 'M',
};

struct pgoutput_truncate {
    uint32_t nrelids;
    uint32_t *relids;
    uint8_t flags; /* 1 CASCADE, 2 RESTART IDENTITY */
};

struct pgoutput_message {
    bool transactional;
    lsn_t lsn;
    struct slice prefix, content;
};

struct pgoutput {
    enum pgoutput_kind kind;
    union {
        struct txn txn; /* BEGIN: commit_lsn, xid, time. COMMIT: commit_lsn, end_lsn, time */
        struct change change;
        struct relation relation;
        struct pgoutput_truncate truncate;
        struct pgoutput_message message;
    };
};

/* Reads one message. What it points to lies in `msg` (borrowed) or in the arena. */
bool pgoutput_read(struct slice msg, struct arena *arena, struct pgoutput *out,
                   struct err *err) MUST_CHECK;

/* Writes one message, the bytes that pgoutput_read() reads. */
void pgoutput_write(struct buf *out, const struct pgoutput *msg);

#endif
