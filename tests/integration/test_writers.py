"""Files that are written to, one of them copied, amid all kinds of trouble: at the end each
transaction is in Postgres once and whole, or refused and told, and all files equal Postgres;
meanwhile no write flickers. oracle/local.py says how that is known."""

import contextlib
import random
import sqlite3
from collections import Counter

import pytest
from harness import Bridge, Proxy, Replica, wait_for
from oracle.chaos import Chaos
from oracle.local import RULES, TABLES, FileReader, LocalWriter, RemoteWriter, refused_ids

SECRET = "the operator's"
COLUMNS = {"ledger": 'id, tx, part, "of", owner, counter, delta, note', "halves": "id, tx, owner",
           "stock": "id, region, name, qty, noted", "counters": "id, n", "items": "id, stock, name"}
# What each file has of the ledger and of the stock, they overlap; which owners and regions its
# program writes, of which only the regions may be outside of the shape.
FILES = {
    "a": ("owner IN (1, 2)", "region IN (0, 1)", (1, 2), (0, 1, 1, 2)),
    "b": ("owner IN (2, 3)", "region >= 1", (2, 3), (1, 2, 3)),
    "c": (None, None, (1, 2, 3), (0, 1, 2, 3)),
}


def shapes(name):
    ledger, stock, _, _ = FILES[name]
    clauses = [("ledger", ledger), ("halves", ledger), ("stock", stock), ("counters", None),
               ("items", None)]
    return [table + (f" where {where}" if where else "") for table, where in clauses]


class Trouble(Chaos):
    """Also: files that are offline, answers that do not come, one file that is copied."""

    def verbs(self):
        return super().verbs() + [self._offline] * 3 + [self._answer_lost] * 3

    def _offline(self):
        replica = self.rng.choice(self.world.replicas)
        replica.stop()
        self._ended.wait(self.rng.uniform(0.5, 2.0))
        replica.start()

    def _answer_lost(self):
        """Requests arrive, and the connections end while the answers are under way."""
        with self.world.near.add_latency(0.1):
            self._ended.wait(self.rng.uniform(0.1, 0.5))
            self.world.near.cut()


class Writers:
    """`server`: a Postgres. The files, those who write to them, and all that is between."""

    def __init__(self, server, folder, seed):
        print(f"--seed {seed}")
        self.server, self.folder, self.rng = server, folder, random.Random(seed)
        self.database = server.create_database(f"writers_{seed}")
        self.database.sql(TABLES)
        (folder / "rules.ini").write_text(RULES)
        self.far = Proxy(server.port).start()
        self.bridge = Bridge(self.database.through(self.far), data_dir=folder / "bridge",
                             config=str(folder / "rules.ini"), secret=SECRET, keepalive="200ms")
        self.near = Proxy(self.bridge.port).start()
        self.replicas, self.writers, self.readers = [], [], []
        self.remote = RemoteWriter(self.database, self.rng.random())

    def __enter__(self):
        self.bridge.start()
        for name in FILES:
            replica = self._replica(name, name).once()
            if name == "c":  # SQLite too refuses what stands in the way of the server's rows
                with contextlib.closing(sqlite3.connect(replica.db_path, timeout=60)) as db:
                    db.execute("CREATE UNIQUE INDEX once ON stock(name)")
                replica.once()
            self._add(name, replica)
        self.remote.start()
        return self

    def __exit__(self, *exc):
        for thread in [self.remote, *self.writers, *self.readers]:
            with contextlib.suppress(BaseException):
                thread.end()
        for replica in self.replicas:
            replica.kill9()
        self.bridge.kill9()
        self.near.stop()
        self.far.stop()

    def _replica(self, name, like):
        return Replica(self.bridge, self.folder / f"{name}.db", shapes(like), url=self.near.url,
                       secret=SECRET)

    def _add(self, name, replica, shared=()):
        writer = LocalWriter(replica, self.rng.random(), *FILES[name[0]][2:])
        reader = FileReader(replica, writer.committed, shared)
        self.replicas.append(replica.start())
        self.writers.append(writer)
        self.readers.append(reader)
        for thread in (writer, reader):
            thread.start()

    def copy(self):
        """A file is copied while writes wait in it; both go on."""
        original, writer = self.replicas[0], self.writers[0]
        original.kill9()
        wait_for(lambda: original.pending() > 3, 60, "writes that wait")
        copy = self._replica(f"a{len(self.replicas)}", "a")
        with contextlib.closing(original.connect()) as db, \
                contextlib.closing(sqlite3.connect(copy.db_path)) as to:
            db.backup(to)
        with contextlib.closing(copy.connect()) as db:
            shared = {row[0] for row in db.execute("SELECT id FROM ledger")} | set(refused_ids(db))
        shared &= set(writer.committed)
        self.readers[0].shared |= shared
        self._add(copy.db_path.stem, copy, shared)
        original.start()

    def processes(self):
        return [holder.process for holder in [self.bridge, *self.replicas]]

    def storm(self, times):
        trouble = Trouble(self, self.rng.random(), times)
        trouble.start()
        trouble.join()
        print(" ".join(trouble.done))
        if trouble.failure:
            raise trouble.failure

    # ---- the end ----

    def calm(self, deadline=60.0):
        """Nobody writes any more; all that waits goes up, and all is everywhere."""
        for thread in [self.remote, *self.writers]:
            thread.end()
        for replica in self.replicas:
            replica.wait_for(lambda replica=replica: replica.pending() == 0, deadline,
                             f"{replica.db_path.name} to be settled")
        for replica in self.replicas:
            for shape, (table, columns) in zip(shapes(replica.db_path.name[0]), COLUMNS.items()):
                expected = self.database.sql(f"SELECT {columns} FROM {shape}")
                replica.wait_for_rows(table, expected, deadline, columns)
            assert replica.sql("SELECT (SELECT count(*) FROM _tombolo_pending),"
                               " (SELECT count(*) FROM _tombolo_base)") == [(0, 0)]
            assert replica.sql("PRAGMA integrity_check") == [("ok",)]
        for reader in self.readers:
            reader.end()

    def check(self):
        """Each write is in Postgres or is told as refused, once; the counters have every step."""
        ledger = self.database.sql('SELECT id, tx, "of" FROM ledger')
        halves = {row[0] for row in self.database.sql("SELECT id FROM halves")}
        self._check_whole(ledger, halves)
        there = {row[0] for row in ledger}
        refused = {replica.db_path.stem: self._refused(replica) for replica in self.replicas}
        for writer, reader in zip(self.writers, self.readers):
            for row_id, fate in writer.fate.items():
                self._check_fate(row_id, fate, row_id in there, refused)
            flickered = reader.vanished & there
            assert not flickered, f"{reader.name}: {flickered} were away for a while"
        assert self.database.sql("SELECT id, n FROM counters ORDER BY id") == self.database.sql(
            "SELECT c.id, coalesce(sum(delta), 0) FROM counters c LEFT JOIN ledger l"
            " ON l.counter = c.id GROUP BY c.id ORDER BY c.id")

    @staticmethod
    def _refused(replica):
        with contextlib.closing(replica.connect()) as db:
            return refused_ids(db)

    @staticmethod
    def _check_whole(ledger, halves):
        parts = Counter((tx, of) for _, tx, of in ledger)
        assert not {tx: n for (tx, of), n in parts.items() if n != of}
        assert {row_id for row_id, _, of in ledger if of > 1} == halves

    def _check_fate(self, row_id, fate, accepted, refused):
        told = [name for name, ids in refused.items() for refusal in ids if refusal == row_id]
        assert fate == "either" or accepted == (fate == "accepted"), \
            f"{row_id} was to be {fate}: accepted {accepted}, told as refused by {told}"
        if accepted:
            assert not told, f"{row_id} is in Postgres, and refused in {told}"
            return
        shared = [reader for reader in self.readers if row_id in reader.shared]
        own = row_id.split("-")[0]
        mine = {reader.replica.db_path.stem for reader in shared} | {own}
        assert told and mine.issuperset(told) and len(told) == len(set(told)), \
            f"{row_id} was refused, and told in {told}, not once in {mine}"


def suffer(world, rounds, times):
    for n in range(rounds):
        world.storm(times)
        if n == 0:
            world.copy()
    world.calm()
    world.check()
    fates = Counter(fate for writer in world.writers for fate in writer.fate.values())
    looks = sum(reader.looks for reader in world.readers)
    print(f"writes: {dict(fates)}; {looks} looks")
    assert min(fates[fate] for fate in ("accepted", "refused", "either")) > 5 and looks > 100


@pytest.mark.sanitized
def test_whatever_happens_each_write_is_accounted_for(own_postgres, tmp_path, seed):
    with Writers(own_postgres, tmp_path, seed) as world:
        suffer(world, rounds=2, times=10)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_whatever_happens_for_long_each_write_is_accounted_for(own_postgres, tmp_path, seed):
    with Writers(own_postgres, tmp_path, seed) as world:
        suffer(world, rounds=20, times=30)
