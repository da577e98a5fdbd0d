/*
 * Whether this server can be replicated from, said plainly.
 */
#ifndef PG_SERVER_H
#define PG_SERVER_H

#include "pg/pg.h"

/* Version, wal_level, free slots and senders, the user's REPLICATION attribute. The error's text
 * says what is wrong, its hint what to do. Warns in the log of minor versions with known bugs. */
bool server_check(struct pg_conn *conn, const char *slot, struct err *err) MUST_CHECK;
/* The part of it that matters to who reads the stream elsewhere: version and encoding. */
bool server_check_readable(struct pg_conn *conn, struct err *err) MUST_CHECK;

/* Which database system it is, and where its WAL ends that the stream can have. */
bool server_identify(struct pg_conn *conn, char system_id[32], lsn_t *flushed,
                     struct err *err) MUST_CHECK;

/* What pg_replication_slots says of a slot. */
struct slot_status {
    bool exists, active;
    int active_pid;
    char plugin[64];
    char database[64];
    bool same_database;
    char wal_status[16]; /* reserved, extended, unreserved, lost; "" before Postgres 13 */
    lsn_t restart_lsn, confirmed_flush_lsn;
    uint64_t retained_bytes; /* WAL kept for it */
};
bool server_slot_status(struct pg_conn *conn, const char *slot, struct slot_status *status,
                        struct err *err) MUST_CHECK;

/* Writes a message into the WAL and makes it be flushed; *lsn is a position behind it: when the
 * stream has passed *lsn, it has passed all that was committed before this call. */
bool server_fence(struct pg_conn *conn, lsn_t *lsn, struct err *err) MUST_CHECK;

#endif
