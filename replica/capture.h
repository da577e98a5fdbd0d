/*
 * Catching local writes: triggers in plain SQL on the user's tables put every insert, update and
 * delete, by whatever program, into _tombolo_outbox in the same transaction. They need none of
 * our code, and no function that a locked-down SQLite refuses; capture_sql.h has the idea behind
 * them. outbox.h reads what they wrote.
 *
 *     _tombolo_outbox    seq, layout, op, tx, nonce, v0, v1, ..: no constraint but seq's, for a
 *                        conflict clause of the user's statement (OR IGNORE) holds in triggers too.
 *                        The nonce is random: it names the write in every copy of the file.
 *                        'I' after image; 'U' before image, then after image; 'D' before image.
 *                        The columns have no type, so every value stays what it was. A row with
 *                        seq alone stands for the last one dropped, so that no seq is given out
 *                        twice: AUTOINCREMENT costs 2 us a row, and loses count after OR FAIL.
 *     _tombolo_layouts   a row a table and form of it; "live" on the present one
 *     _tombolo_places    which column stands at v0, v1, .. of a layout; its place in the key
 *     _tombolo_victims   scratch of the triggers, empty but for what OR IGNORE leaves
 *     _tombolo_tx        a program that wants its transaction to be accepted or refused as one:
 *                            BEGIN; INSERT INTO _tombolo_tx DEFAULT VALUES; ..; COMMIT
 *                        Outbox rows carry the latest mark. Writes behind a marked transaction
 *                        count as part of it, unless it ended with DELETE FROM _tombolo_tx.
 *
 * One outbox for all tables: its seq is the order of all writes, one scan reads it and one
 * statement drops what was sent. A table of its own for each user's table would need a shared
 * counter, one more write for each row. It is as wide as the widest table asks; the
 * others' rows spend a byte on each column that they do not use. Rows are dropped by
 * lite_outbox_forget() alone.
 *
 * Our own writes are not captured: every transaction of lite_db_begin() sets
 * _tombolo_state.applying and unsets it before it commits, so nobody else ever sees it set, and
 * triggers of the user's still run.
 *
 * What is captured is the final state of each row without fail, whatever form the statement has.
 * Where triggers of the user's write to the same table, ours should run first, and so be made
 * last: lite_capture_verify() says when they are not. Two habits of such triggers may hide
 * an evicted row: a BEFORE trigger that inserts into its own table, and RAISE(IGNORE) in an AFTER
 * trigger that runs before ours.
 *
 * A captured table's columns cannot be dropped by ALTER TABLE (SQLite refuses, naming the
 * trigger): lite_capture_remove() first.
 *
 * Functions open a transaction where there is none. Errors: ERR_INPUT for a table that cannot be
 * captured, with the reason; else what SQLite says. Threads: as the lite_db.
 */
#ifndef REPLICA_CAPTURE_H
#define REPLICA_CAPTURE_H

#include "replica/db.h"

enum lite_capture_state {
    LITE_CAPTURE_INTACT,
    LITE_CAPTURE_ORDER,    /* other triggers were made later, and run first */
    LITE_CAPTURE_TRIGGERS, /* some are missing or not as we made them */
    LITE_CAPTURE_COLUMNS,  /* columns were added, dropped or renamed, or the key is another */
    LITE_CAPTURE_INDEXES,  /* what is unique has changed */
    LITE_CAPTURE_REBUILT,  /* the table was made anew: no trigger is left */
    LITE_CAPTURE_RENAMED,  /* the table has another name */
    LITE_CAPTURE_GONE,     /* there is no such table */
    LITE_CAPTURE_REFUSED,  /* it can no longer be captured */
};

struct lite_capture {
    int64_t layout;
    const char *table;
    enum lite_capture_state state;
    const char *what; /* in words: which columns, triggers, the new name; "" when intact */
    bool gap;         /* writes may have slipped by, since we do not know when */
};

/* Captures the table from now on; anew when it is captured. Refuses a table that cannot be:
 * a view, a virtual table, one without primary key or with rows that lack theirs, one whose
 * indexes use functions that a trigger may not call. */
bool lite_capture_install(struct lite_db *db, const char *table, struct err *err) MUST_CHECK;
/* Drops the triggers; the outbox stays. Fine when the table is not captured, or gone. */
bool lite_capture_remove(struct lite_db *db, const char *table, struct err *err) MUST_CHECK;

/* Whether the schema has changed since the last verification that found everything intact: cheap.
 */
bool lite_capture_moved(struct lite_db *db, bool *moved, struct err *err) MUST_CHECK;
/* All captured tables as they are now, in the arena. */
bool lite_capture_verify(struct lite_db *db, struct arena *arena, struct lite_capture **captures,
                         size_t *n, struct err *err) MUST_CHECK;
/* Makes what verification found right again; a table that is gone, renamed or refused
 * is no longer captured. What slipped by is not found by this. */
bool lite_capture_repair(struct lite_db *db, const struct lite_capture *capture,
                         struct err *err) MUST_CHECK;
/* The same for one table that the replica itself has made anew; nothing where it is not captured.
 */
bool lite_capture_heal(struct lite_db *db, const char *table, struct err *err) MUST_CHECK;

/* state.c and db.c: whether the file has captures; the flag in every transaction. */
bool lite_capture_find(struct lite_db *db, struct err *err) MUST_CHECK;
bool lite_capture_applying(struct lite_db *db, bool applying, struct err *err) MUST_CHECK;

#endif
