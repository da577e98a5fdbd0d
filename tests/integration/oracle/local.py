"""Programs that write to replicas' files, and who watches that nothing of it flickers.

The table `ledger` is the record: each transaction puts rows into it, each with an id of its own and
with what the transaction added to which counter; a marked one as many as `of` says, and as many
again into `halves`. Nobody changes or deletes such a row. So what became of a transaction can be
told from any one place: its rows are in the ledger, all of them, or they are in _tombolo_rejected.
The other tables (stock, items) are written to at random, without being kept account of.
"""

import contextlib
import json
import random
import sqlite3
import threading
import time

import psycopg2

TABLES = """
CREATE TABLE ledger (id text PRIMARY KEY, tx text NOT NULL, part int, "of" int, owner int NOT NULL,
                     counter int, delta int, note text CHECK (note <> 'forbidden'));
CREATE TABLE halves (id text PRIMARY KEY, tx text NOT NULL, owner int NOT NULL);
CREATE TABLE counters (id int PRIMARY KEY, n bigint NOT NULL CHECK (n < 1000000));
CREATE TABLE stock (id int PRIMARY KEY, region int NOT NULL, name text UNIQUE,
                    qty int NOT NULL DEFAULT 0 CHECK (qty < 1000), noted text DEFAULT 'here');
CREATE TABLE items (id int PRIMARY KEY, stock int REFERENCES stock ON DELETE CASCADE, name text);
INSERT INTO counters SELECT n, 0 FROM generate_series(1, 6) n;
INSERT INTO stock SELECT n, n % 4, 'first ' || n, 0 FROM generate_series(1, 20) n;
"""
RULES = """
[write ledger]
operations = insert
check = note IS NULL OR note <> 'ruled out'

[write halves]
operations = insert

[write counters]
operations = update
conflict.n = counter

[write stock]
operations = insert, update, delete
conflict.qty = counter

[write items]
operations = insert, update, delete
skip_missing = delete
"""
CERTAIN = range(1, 4)    # counters of writes that Postgres accepts: they only grow
UNCERTAIN = range(4, 6)  # of those that may be refused together with something else
UNTOUCHED = 6            # of those that are


def stock_statement(rng, regions):
    """One that SQLite and Postgres understand alike."""
    n, m, name = rng.randint(1, 24), rng.randint(1, 24), f"name {rng.randint(1, 40)}"
    region = rng.choice(regions)
    return rng.choice((
        f"UPDATE stock SET qty = qty + {m} WHERE id = {n}",
        f"UPDATE stock SET name = '{name}' WHERE id IN ({n}, {m})",
        f"UPDATE stock SET region = {rng.randint(0, 3)} WHERE id = {n}",
        f"UPDATE stock SET id = {m} WHERE id = {n}",
        f"DELETE FROM stock WHERE id = {n}",
        f"INSERT INTO stock(id, region, name) VALUES ({n}, {region}, '{name}')"
        " ON CONFLICT DO NOTHING",
        f"INSERT INTO stock(id, region, name, qty) VALUES ({n}, {region}, '{name}', {m})"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        f"INSERT INTO items(id, stock, name) VALUES ({m}, {n}, '{name}') ON CONFLICT DO NOTHING",
        f"UPDATE items SET stock = {n} WHERE id > {m}",
        f"DELETE FROM items WHERE id = {m}"))


def sqlite_statement(rng, regions):
    n, m, name = rng.randint(1, 24), rng.randint(1, 24), f"name {rng.randint(1, 40)}"
    region = rng.choice(regions)
    return rng.choice((
        stock_statement(rng, regions), stock_statement(rng, regions),
        f"INSERT OR REPLACE INTO stock(id, region, name) VALUES ({n}, {region}, '{name}')",
        f"UPDATE OR REPLACE stock SET id = {m} WHERE id = {n}",
        f"UPDATE OR IGNORE stock SET id = id + 1 WHERE id >= {n}",
        f"REPLACE INTO items(id, stock) SELECT {m}, id FROM stock WHERE id = {n}"))


class Repeating(threading.Thread):
    """Does once() again and again until end(); what went wrong is in `failure`."""

    def __init__(self, name, pause):
        super().__init__(name=name, daemon=True)
        self.pause, self.failure = pause, None
        self._ended = threading.Event()

    def run(self):
        try:
            while not self._ended.is_set():
                self.once()
                self._ended.wait(self.pause)
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def once(self):
        raise NotImplementedError

    def end(self):
        self._ended.set()
        self.join()
        if self.failure:
            raise self.failure


class LocalWriter(Repeating):
    """A program that writes to a file, `owners` and `regions` being what is in its shapes.

    `committed`: the ids of its rows in the ledger; `fate` of each: "accepted", "refused", "either".
    """

    def __init__(self, replica, seed, owners, regions, pause=0.1):
        name = replica.db_path.stem
        super().__init__(f"writer of {name}", pause)
        self.replica, self.rng = replica, random.Random(seed)
        self.owners, self.regions = owners, regions
        self.committed, self.fate = [], {}
        self._number = 0

    def once(self):
        """A connection for some transactions, as programs that come and go have it."""
        with contextlib.closing(sqlite3.connect(self.replica.db_path, timeout=60,
                                                isolation_level=None)) as db:
            for _ in range(self.rng.choice((1, 1, 5))):
                self._transaction(db)
                time.sleep(self.rng.random() * self.pause)

    def _transaction(self, db):
        self._number += 1
        tx = f"{self.replica.db_path.stem}-{self._number}"
        marked, wrong = self.rng.random() < 0.5, self.rng.random() < 0.12
        random_too = self.rng.random() < 0.5
        db.execute("BEGIN IMMEDIATE")
        try:
            if marked:
                db.execute("INSERT INTO _tombolo_tx DEFAULT VALUES")
            ids = self._account(db, tx, marked, wrong,
                                UNCERTAIN if marked and (wrong or random_too) else CERTAIN)
            if random_too:
                for _ in range(self.rng.randint(1, 3)):
                    db.execute(sqlite_statement(self.rng, self.regions))
            db.execute("DELETE FROM _tombolo_tx")
        except sqlite3.IntegrityError:
            db.execute("ROLLBACK")
            return
        db.execute("COMMIT")
        fate = "refused" if wrong else "either" if marked and random_too else "accepted"
        self.fate.update(dict.fromkeys(ids, fate))
        self.committed += ids

    def _account(self, db, tx, marked, wrong, counters):
        """The ledger's rows; `wrong`: with something that is refused, and then not counted."""
        parts = self.rng.randint(2, 4) if marked else 1
        ids = [f"{tx}.{part}" for part in range(1, parts + 1)]
        owner, bad = self.rng.choice(self.owners), self.rng.randrange(parts) if wrong else None
        for part, row_id in enumerate(ids):
            counter, delta = self.rng.choice(counters), self.rng.randint(1, 9)
            note = None
            if part == bad:
                note = self._wrong(db, marked)
            elif marked or not wrong:
                changed = db.execute("UPDATE counters SET n = n + ? WHERE id = ?", (delta, counter))
                assert changed.rowcount == 1, f"counter {counter} is not to be seen"
            db.execute('INSERT INTO ledger(id, tx, part, "of", owner, counter, delta, note)'
                       " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                       (row_id, tx, part, parts, owner, counter, delta, note))
            if marked:
                db.execute("INSERT INTO halves VALUES (?, ?, ?)", (row_id, tx, owner))
        return ids

    def _wrong(self, db, marked):
        """The note of a row that Postgres, a rule, or the replica refuses; or none, and another write that is."""
        other = self.rng.choice((None, "UPDATE counters SET n = n + 1000000 WHERE id = ?",
                                 "DELETE FROM counters WHERE id = ?"))
        # Where the row is deleted already, and nobody has refused that yet, nothing is written.
        if marked and other and db.execute(other, (UNTOUCHED,)).rowcount:
            return None
        return self.rng.choice(("forbidden", "ruled out", "a NUL \0 in it"))


class RemoteWriter(Repeating):
    """Somebody who changes Postgres itself."""

    def __init__(self, database, seed, pause=0.1):
        super().__init__("writer of Postgres", pause)
        self.database, self.rng = database, random.Random(seed)
        self._number = 0

    def once(self):
        self._number += 1
        with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError,
                                 psycopg2.IntegrityError):
            with contextlib.closing(self.database.connect(autocommit=False)) as connection:
                with connection.cursor() as cursor:
                    self._transaction(cursor, f"postgres-{self._number}")
                connection.commit()

    def _transaction(self, cursor, tx):
        counter, delta = self.rng.randint(1, 5), self.rng.randint(1, 9)
        owner = self.rng.randint(1, 3)
        for part in range(2):
            cursor.execute("INSERT INTO ledger VALUES (%s, %s, %s, 2, %s, %s, %s)",
                           (f"{tx}.{part}", tx, part, owner, counter, delta))
            cursor.execute("INSERT INTO halves VALUES (%s, %s, %s)", (f"{tx}.{part}", tx, owner))
            cursor.execute("UPDATE counters SET n = n + %s WHERE id = %s", (delta, counter))
        for _ in range(self.rng.randint(0, 3)):
            cursor.execute(stock_statement(self.rng, range(4)))
        if self.rng.random() < 0.01:
            cursor.execute("TRUNCATE items")


class FileReader(Repeating):
    """Looks at a file again and again, each time in one read transaction.

    `committed`: the ids that its program has written so far. They are shown, or refused. Not so
    those that are `shared` with a copy of the file: what the other copy has sent and Postgres has
    refused is only told there. `vanished` has those of them that were neither at some time.
    """

    def __init__(self, replica, committed, shared=(), pause=0.1):
        super().__init__(f"reader of {replica.db_path.stem}", pause)
        self.replica, self.committed, self.shared = replica, committed, set(shared)
        self.rng = random.Random(replica.db_path.stem)
        self.vanished = set()
        self.looks = 0
        self._counters = {}

    def once(self):
        with contextlib.closing(self.replica.connect()) as db:
            for _ in range(self.rng.randint(1, 20)):
                self._look(db)
                time.sleep(self.rng.random() * self.pause)

    def _look(self, db):
        known = self.shared.union(self.committed)
        db.execute("BEGIN")
        ledger = db.execute('SELECT id, tx, "of" FROM ledger').fetchall()
        halves = {row[0] for row in db.execute("SELECT id FROM halves")}
        counters = dict(db.execute("SELECT id, n FROM counters").fetchall())
        refused = refused_ids(db)
        consistent, = db.execute("SELECT consistent FROM _tombolo_state").fetchone()
        db.execute("COMMIT")
        self.looks += 1
        self._whole(ledger, halves if consistent else None)
        self._nothing_lost(known, {row[0] for row in ledger}, refused)
        self._counters_grow(counters)

    def _whole(self, ledger, halves):
        seen = {}
        for row_id, tx, of in ledger:
            seen.setdefault((tx, of), []).append(row_id)
        for (tx, of), ids in seen.items():
            assert len(ids) == of, f"{self.name}: {ids} of the {of} rows of {tx}"
            assert of == 1 or halves is None or halves.issuperset(ids), \
                f"{self.name}: the other halves of {tx} are missing"

    def _nothing_lost(self, known, ledger, refused):
        assert len(refused) == len(set(refused)), f"{self.name}: refused twice: {refused}"
        both = ledger.intersection(refused)
        assert not both, f"{self.name}: shown, and refused: {both}"
        gone = known - ledger - set(refused)
        self.vanished |= gone & self.shared
        gone -= self.shared
        assert not gone, f"{self.name}: neither shown nor refused: {gone}"

    def _counters_grow(self, counters):
        """All that is added is more than 0, and what was seen stays in."""
        for counter in CERTAIN:
            before, now = self._counters.get(counter, 0), counters[counter]
            assert now >= before, f"{self.name}: counter {counter} went from {before} to {now}"
        self._counters = counters


def refused_ids(db):
    """Of the ledger's rows, those that _tombolo_rejected has."""
    return [json.loads(key)["id"] for key, in db.execute(
        "SELECT \"key\" FROM _tombolo_rejected WHERE \"table\" = 'ledger'")]
