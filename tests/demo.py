#!/usr/bin/env python3
"""What `./dev run` shows: a shop in Postgres that keeps changing, and SQLite files that follow.

Everything lives in temporary folders and ends with Ctrl-C, or after --seconds N. One thread
changes the shop; a second one, the clerk, writes to the first file as any program would, now and
then what the rules refuse; the main thread prints what changed in that file, how long it took from
the commit in Postgres, and what became of the clerk's writes.
"""

import argparse
import contextlib
import random
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "integration"))

from harness import Bridge, Postgres, Replica

SHAPES = ["customers(id, name, city)", "orders where status in ('new', 'paid', 'shipped')"]
RULES = """
[write orders]
operations = update
columns = status
check = status in ('new', 'paid', 'shipped', 'delivered', 'cancelled')
"""
CLERKS = "id % 5 = 0"  # orders that the shop leaves to the clerk
NEXT_STATUS = {"new": "paid", "paid": "shipped", "shipped": "delivered"}
CITIES = ["Kiel", "Porto", "Turku", "Gdansk", "Bergen", "Nantes", "Trieste", "Varna"]
GOODS = ["anchor", "compass", "lantern", "rope, 20 m", "sail cloth", "sextant", "tar", "oar"]
SCHEMA = """
CREATE TABLE customers (
    id int PRIMARY KEY, name text NOT NULL, city text NOT NULL, revision bigint NOT NULL);
CREATE TABLE orders (
    id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, item text NOT NULL,
    cents bigint NOT NULL, status text NOT NULL, revision bigint NOT NULL);
INSERT INTO customers
    SELECT n, (ARRAY['Ada','Bo','Cem','Dana','Emil','Fay','Gus','Hana'])[1 + n %% 8] || ' ' || n,
           (%s)[1 + n %% 8], 0 FROM generate_series(1, 200) n;
INSERT INTO orders
    SELECT n, 1 + n %% 200, (%s)[1 + n %% 8], 100 * (5 + n %% 90),
           (ARRAY['new','paid','shipped','delivered'])[1 + n %% 4], 0 FROM generate_series(1, 2000) n
"""


class Shop(threading.Thread):
    """Changes the shop a few times a second. Each change has a revision: `committed` says when
    (monotonic) each was, so that whoever sees the revision in the replica knows its age."""

    def __init__(self, database, pause):
        super().__init__(name="shop", daemon=True)
        self._connection = database.connect()
        self._pause = pause
        self._last_order = 2000
        self._revision = 0
        self._stopped = threading.Event()
        self.committed = {}
        self.error = None

    def run(self):
        try:
            with contextlib.closing(self._connection), self._connection.cursor() as cursor:
                while not self._stopped.wait(random.expovariate(1 / self._pause)):
                    self._revision += 1
                    random.choice([self._order, self._advance, self._advance, self._move])(cursor)
                    self.committed[self._revision] = time.monotonic()
        except Exception as error:  # told by the main thread, which ends then
            self.error = error

    def stop(self):
        self._stopped.set()
        self.join()

    def _order(self, cursor):
        self._last_order += 1
        cursor.execute("INSERT INTO orders VALUES (%s, %s, %s, %s, 'new', %s)", (
            self._last_order, random.randint(1, 200), random.choice(GOODS),
            100 * random.randint(5, 95), self._revision))

    def _advance(self, cursor):
        cursor.execute(f"SELECT id, status FROM orders WHERE status <> 'delivered' AND NOT {CLERKS} "
                       "ORDER BY random() LIMIT 1")
        order, status = cursor.fetchone()
        cursor.execute("UPDATE orders SET status = %s, revision = %s WHERE id = %s",
                       (NEXT_STATUS[status], self._revision, order))

    def _move(self, cursor):
        cursor.execute("UPDATE customers SET city = %s, revision = %s WHERE id = %s", (
            random.choice(CITIES), self._revision, random.randint(1, 200)))


class Clerk(threading.Thread):
    """Writes to the replica's file in plain SQLite, and waits for each write in Postgres and in
    the other replica. The rules let status be changed, and nothing else."""

    def __init__(self, database, replica, other, pause):
        super().__init__(name="clerk", daemon=True)
        self._database, self._replica, self._other = database, replica, other
        self._pause = pause
        self._stopped = threading.Event()
        self.error, self.accepted, self.refused = None, 0, 0

    def run(self):
        try:
            with contextlib.closing(sqlite3.connect(self._replica.db_path, timeout=20,
                                                    isolation_level=None)) as db:
                while not self._stopped.wait(self._pause):
                    if self.accepted <= self.refused:
                        self._cancel(db)
                    else:
                        self._cheat(db)
        except Exception as error:  # told by the main thread, which ends then
            self.error = error

    def stop(self):
        self._stopped.set()
        self.join()

    def _pick(self, db):
        return db.execute(f"SELECT id, cents FROM orders WHERE status = 'new' AND {CLERKS} "
                          "ORDER BY random() LIMIT 1").fetchone()

    def _until(self, condition):
        end = time.monotonic() + 20
        while not condition():
            if self._stopped.is_set():
                return False
            assert time.monotonic() < end, "a write of the clerk's has not come through"
            time.sleep(0.001)
        return True

    def _cancel(self, db):
        """Allowed. The row then leaves the shape, there as here."""
        order, _ = self._pick(db)
        began = time.monotonic()
        db.execute("UPDATE orders SET status = 'cancelled' WHERE id = ?", (order,))
        if self._until(lambda: self._database.value(
                "SELECT status FROM orders WHERE id = %s", order) == "cancelled"):
            told("the clerk", "writes", f"id {order}: status cancelled, here; it is in Postgres after",
                 began)
        if self._until(lambda: not self._other.sql(f"SELECT 1 FROM orders WHERE id = {order}")):
            told("replica 2", "follows", f"id {order} has left it too, after", began)
            self.accepted += 1

    def _cheat(self, db):
        """Not allowed: taken back here, and kept with the reason."""
        order, cents = self._pick(db)
        began = time.monotonic()
        db.execute("UPDATE orders SET cents = 1 WHERE id = ?", (order,))

        def refusal():
            return db.execute("SELECT message FROM _tombolo_rejected ORDER BY id DESC").fetchall()

        if self._until(lambda: len(refusal()) > self.refused):
            told("the clerk", "cheats", f"id {order}: cents {cents} -> 1; refused after", began)
            told("", "", f"  {refusal()[0][0]}")
            ((now,),) = db.execute("SELECT cents FROM orders WHERE id = ?", (order,))
            assert now == cents, f"cents are {now} after the refusal, and were {cents}"
            self.refused += 1


def told(who, verb, text, began=None):
    """One line; how long since `began`."""
    age = f"{(time.monotonic() - began) * 1000:.1f} ms" if began else ""
    print(f"{time.strftime('%H:%M:%S')}  {who:<10} {verb:<7} {text:<70} {age:>9}", flush=True)


class Watch:
    """Sees what changes in the replica's tables. One SQLite connection, reading only."""

    TABLES = {"customers": ("id", "name", "city"),
              "orders": ("id", "customer", "item", "cents", "status", "revision")}

    def __init__(self, replica):
        self._reader = replica.connect()
        self._version = None
        self._rows = {}
        self.changes()

    def changes(self):
        """[(table, old row or None, new row or None)] since the last call."""
        ((version,),) = self._reader.execute("PRAGMA data_version")
        if version == self._version:
            return []
        self._version = version
        found = []
        self._reader.execute("BEGIN")  # both tables as of one moment
        for table, columns in self.TABLES.items():
            query = f"SELECT {', '.join(columns)} FROM {table}"
            now = {row[0]: row for row in self._reader.execute(query)}
            before = self._rows.get(table, {})
            found += [(table, before.get(key), now.get(key)) for key in sorted({*before, *now})
                      if before.get(key) != now.get(key)]
            self._rows[table] = now
        self._reader.execute("COMMIT")
        return found

    def count(self, table):
        return len(self._rows[table])

    def close(self):
        self._reader.close()


def describe(table, old, new):
    columns = Watch.TABLES[table]
    if not old:
        said = dict(zip(columns, new))
        said.pop("revision", None)
        return "enters", f"{', '.join(f'{name} {value}' for name, value in said.items())}"
    if not new:
        return "leaves", f"id {old[0]} (was {old[-2]})" if table == "orders" else f"id {old[0]}"
    changed = [f"{name} {was} -> {now}" for name, was, now in zip(columns, old, new)
               if was != now and name != "revision"]
    return "update", f"id {new[0]}: {', '.join(changed)}"


def show(change, shop, lags):
    """One line of one change, with its age where its row tells its revision."""
    table, old, new = change
    verb, text = describe(table, old, new)
    changed_by_shop = table == "orders" and new and (not old or old[-1] != new[-1])
    committed = shop.committed.get(new[-1]) if changed_by_shop else None
    if committed:
        lags.append((time.monotonic() - committed) * 1000)
    told(table, verb, text, committed)


def greet(database, replica):
    print(f"""
Postgres holds a shop that keeps changing. Its rows:
    psql {database.url}
A SQLite file follows it, in two shapes: {'; '.join(SHAPES)}
    sqlite3 {replica.db_path}
Try it. In the first:
    UPDATE orders SET status = 'paid', item = 'a whale' WHERE id = 1;
and in the second:
    SELECT * FROM orders WHERE id = 1;
    UPDATE orders SET status = 'paid' WHERE id = 4;      -- it goes up
    UPDATE orders SET cents = 1 WHERE id = 8;            -- it is refused: see _tombolo_rejected
Ctrl-C ends everything and leaves nothing. The last column: from commit to being read here.
""", flush=True)


def follow(shop, clerk, replica, bridge, seconds):
    """Prints changes until the time is over; the lags seen, in milliseconds."""
    watch, lags = Watch(replica), []
    end = time.monotonic() + (seconds or float("inf"))
    try:
        while time.monotonic() < end:
            for thread in (shop, clerk):
                if thread.error:
                    raise thread.error
            for process in (bridge.process, replica.process):
                assert process.alive, f"{process.name} has ended\n{process.log_tail()}"
            for change in watch.changes():
                show(change, shop, lags)
            time.sleep(0.001)
    finally:
        watch.close()
    return lags


def demo(folder, seconds, pause, version):
    with contextlib.ExitStack() as ends:
        server = ends.enter_context(Postgres(version))
        database = server.create_database("shop")
        database.sql(SCHEMA, CITIES, GOODS)
        bridge = Bridge(database, data_dir=folder / "bridge", rules=RULES).start()
        ends.callback(bridge.stop)
        replicas = []
        for name in ("replica.db", "replica2.db"):
            replicas.append(Replica(bridge, folder / name, SHAPES).start())
            ends.callback(replicas[-1].stop)
        for replica in replicas:
            replica.wait_for(lambda r=replica: r.rows("orders") and r.rows("customers"), 60,
                             "the first rows")
        replica, other = replicas
        greet(database, replica)
        shop = Shop(database, pause)
        shop.start()
        ends.callback(shop.stop)
        clerk = Clerk(database, replica, other, 4 * pause)
        clerk.start()
        ends.callback(clerk.stop)
        lags = follow(shop, clerk, replica, bridge, seconds)
        if lags:
            print(f"{len(lags)} changes seen; from commit to here: median "
                  f"{statistics.median(lags):.1f} ms, longest {max(lags):.1f} ms", flush=True)
        assert lags or not seconds, f"no change arrived\n{replica.process.log_tail()}"
        print(f"the clerk's writes: {clerk.accepted} in Postgres and the second replica, "
              f"{clerk.refused} refused and taken back", flush=True)


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(prog="./dev run", description="A live demo.")
    parser.add_argument("--seconds", type=float, help="end by itself after so long")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between changes, about")
    parser.add_argument("--pg", type=int, help="the major version of Postgres")
    asked = parser.parse_args()
    # SIGINT too: a shell that starts us in the background leaves it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    folder = Path(tempfile.mkdtemp(prefix="tombolo-demo-"))
    try:
        demo(folder, asked.seconds, asked.pause, asked.pg)
    except KeyboardInterrupt:
        print("\nended; nothing is left behind", flush=True)
    except AssertionError as error:
        sys.exit(f"./dev run: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
