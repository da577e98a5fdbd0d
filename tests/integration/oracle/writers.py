"""Random transactions, from several connections at a time."""

import contextlib
import random
import threading
import time

import psycopg2
from psycopg2 import errors

from . import tables

CLASHES = (errors.UniqueViolation, errors.DeadlockDetected, errors.LockNotAvailable,
           errors.CheckViolation)


class Writer(threading.Thread):
    """Does transactions, `pause` seconds between them, until `stop` is set.

    A server that goes away is waited for: the transaction under way has committed or has not,
    which its notes say. Another error ends the thread and is kept in `failure`.
    """

    def __init__(self, database, seed, stop, pause, truncates):
        super().__init__(name=f"writer {seed}", daemon=True)
        self.database, self.rng = database, random.Random(seed)
        self.pause, self.truncates = pause, truncates
        self.done = self.refused = self.lost = 0
        self.failure = None
        self._stopped = stop
        self._connection = None

    def run(self):
        try:
            while not self._stopped.is_set():
                self._once()
                time.sleep(self.pause)
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure
        finally:
            if self._connection:
                self._connection.close()

    def _once(self):
        try:
            if not self._connection or self._connection.closed:
                self._connection = self.database.connect(autocommit=False)
                with self._connection.cursor() as cursor:
                    cursor.execute("SET deadlock_timeout = '50ms'; SET lock_timeout = '5s'")
                self._connection.commit()
            with self._connection.cursor() as cursor:
                self._transaction(cursor)
            self.done += 1
        except CLASHES:
            self._connection.rollback()
            self.refused += 1
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self.lost += 1
            with contextlib.suppress(psycopg2.Error):
                if self._connection:
                    self._connection.close()
            self._connection = None
            self._stopped.wait(0.1)

    def _transaction(self, cursor):
        cursor.execute("INSERT INTO oracle.txn VALUES (pg_current_xact_id())")
        for _ in range(self.rng.choice((1, 1, 2, 3, 6))):
            rolled_back = self.rng.random() < 0.1
            if rolled_back:
                cursor.execute("SAVEPOINT s")
            self._statement(cursor)
            if rolled_back:
                cursor.execute("ROLLBACK TO s")
        if self.rng.random() < 0.03:
            self._connection.rollback()
        else:
            self._connection.commit()

    def _statement(self, cursor):
        if self.rng.random() < 0.15:
            self._transfer(cursor)
            return
        table = self.rng.choice(tables.ALL)
        if self.rng.random() < self.truncates:
            name = self.rng.choice([table.name, *table.leaves])
            cursor.execute(f"TRUNCATE {tables.quoted(table.schema)}.{tables.quoted(name)}")
            self._insert(cursor, table)
            return
        verbs = (self._insert, self._insert, self._insert, self._update, self._update, self._update,
                 self._rekey, self._remove, self._nothing, self._many)
        self.rng.choice(verbs)(cursor, table)

    def _transfer(self, cursor):
        """From one row to another, within a table or between the two, perhaps in two steps."""
        for amount in (-7, 7):
            table = self.rng.choice(tables.MONEY)
            cursor.execute(f"UPDATE {table.sql} SET amount = amount + %s WHERE id = %s",
                           (amount, self.rng.randint(1, 20)))

    def _insert(self, cursor, table):
        row = table.row(self.rng)
        if not table.key:
            cursor.execute(tables.insert(table), row)
        elif self.rng.random() < 0.3:
            cursor.execute(tables.insert(table) + " ON CONFLICT DO NOTHING", row)
        else:
            changed = self._some(table)
            sets = ", ".join(f"{c.sql} = EXCLUDED.{c.sql}" for c in changed).replace("%", "%%")
            key = ", ".join(map(tables.quoted, table.key))
            cursor.execute(f"{tables.insert(table)} ON CONFLICT ({key}) DO UPDATE SET {sets}", row)

    def _many(self, cursor, table):
        rows = [table.row(self.rng) for _ in range(self.rng.randint(2, 25))]
        cursor.execute(tables.insert(table, len(rows)) + " ON CONFLICT DO NOTHING",
                       [value for row in rows for value in row])

    def _some(self, table):
        """Some of the columns outside the key."""
        free = [column for column in table.columns if column.name not in table.key]
        return self.rng.sample(free, self.rng.randint(1, min(3, len(free))))

    def _which(self, table):
        """Some rows: of an owner, or the first by key of one."""
        owner = self.rng.randint(1, tables.OWNERS)
        if self.rng.random() < 0.3:
            return f"owner = {owner}"
        order = ", ".join(map(tables.quoted, table.key)) or table.columns[1].sql
        some = f"OFFSET {self.rng.randint(0, 5)} LIMIT {self.rng.randint(1, 3)}"
        return (f"(tableoid, ctid) = ANY (ARRAY(SELECT (tableoid, ctid) FROM {table.sql} "
                f"WHERE owner = {owner} ORDER BY {order} {some}))")

    def _update(self, cursor, table):
        """May take rows in and out of shapes, and leaves most TOASTed values alone."""
        changed = self._some(table)
        sets = ", ".join(f"{c.sql} = %s::{c.type}" for c in changed)
        cursor.execute(f"UPDATE {table.sql} SET {sets} WHERE {self._which(table)}",
                       [column.value(self.rng) for column in changed])

    def _rekey(self, cursor, table):
        """A part of the key changes: a partitioned row may move."""
        if not table.key:
            return
        column = table.column(self.rng.choice(table.key))
        cursor.execute(f"SELECT {', '.join(map(tables.quoted, table.key))} FROM {table.sql} "
                       f"WHERE owner = {self.rng.randint(1, tables.OWNERS)} LIMIT 1")
        old = cursor.fetchone()
        if not old:
            return
        test = " AND ".join(f"{tables.quoted(name)} = %s" for name in table.key)
        cursor.execute("SAVEPOINT key")
        try:
            cursor.execute(f"UPDATE {table.sql} SET {column.sql} = %s::{column.type} WHERE {test}",
                           [column.value(self.rng), *old])
        except errors.UniqueViolation:
            cursor.execute("ROLLBACK TO key")

    def _remove(self, cursor, table):
        cursor.execute(f"DELETE FROM {table.sql} WHERE {self._which(table)}")

    def _nothing(self, cursor, table):
        """Updates that change nothing, and one that takes back what it does."""
        column = self.rng.choice(table.columns).sql
        cursor.execute(f"UPDATE {table.sql} SET {column} = {column} WHERE {self._which(table)}")
