"""Files that are written to by programs that know nothing of us: what they write is in Postgres
exactly once or refused with the reason, and two files and Postgres end equal, whatever is killed,
restored from a backup, or copied."""

import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import threading

import pytest
from harness import Bridge, Proxy, Replica, wait_for
from harness.token import SECRET, token

pytestmark = pytest.mark.sanitized

RULES = """
[shape mine]
table = notes
where = owner = auth.sub

[write stock]
operations = insert, update, delete
check = qty < 1000000
conflict.qty = counter

[write "Odd Names"]
operations = insert, update, delete

[write notes]
operations = insert, update, delete
check = owner = auth.sub
set.owner = auth.sub
"""

TABLES = """
CREATE TABLE stock (id int PRIMARY KEY, name text UNIQUE, qty int NOT NULL DEFAULT 0,
                    made timestamptz DEFAULT '2024-01-01', CHECK (name <> 'forbidden'));
CREATE TABLE "Odd Names" (a uuid, "b c" numeric, v bytea, j jsonb, PRIMARY KEY (a, "b c"));
CREATE TABLE notes (id uuid PRIMARY KEY, owner text NOT NULL, body text);
CREATE TABLE readings (id int PRIMARY KEY, v text);
INSERT INTO stock SELECT i, 'name ' || i, 0 FROM generate_series(1, 10) i;
INSERT INTO readings VALUES (1, 'one');
"""
SHAPES = ["stock", '"Odd Names"', "readings"]


@pytest.fixture
def bridge(database, tmp_path):
    database.sql(TABLES)
    bridge = Bridge(database, data_dir=tmp_path / "bridge", rules=RULES,
                    secret="the operator's", token_secret=SECRET).start()
    yield bridge
    bridge.stop()


class Writer(Replica):
    """A replica whose file is written to."""

    def __init__(self, bridge, path, shapes=None, **settings):
        settings.setdefault("secret", "the operator's")
        super().__init__(bridge, path, SHAPES if shapes is None else shapes, **settings)

    def write(self, *statements):
        """One transaction of a program with Python's sqlite3."""
        with contextlib.closing(sqlite3.connect(self.db_path, timeout=60)) as db, db:
            return [db.execute(statement).rowcount for statement in statements]

    def shell(self, script):
        """The same by sqlite3's shell, which does not trust the schema of a file."""
        done = subprocess.run(["sqlite3", "-bail", str(self.db_path)],
                              input=f".timeout 60000\n{script}", text=True,
                              capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def rejected(self):
        return self.sql('SELECT code, sqlstate, "table", op, "key", after FROM _tombolo_rejected'
                        ' ORDER BY id')

    def settled(self, deadline=60.0):
        """Until everything is acknowledged."""
        self.wait_for(lambda: self.pending() == 0, deadline, f"{self.db_path.name} to be settled")
        return self


@pytest.fixture
def make_writer(bridge, tmp_path):
    made = []

    def make(name="a", **options):
        made.append(Writer(bridge, tmp_path / f"{name}.db", **options))
        return made[-1]

    yield make
    for writer in made:
        writer.stop()


@pytest.fixture
def writer(make_writer):
    return make_writer().once().start()


def stock(database):
    return database.sql("SELECT id, name, qty FROM stock ORDER BY id")


def test_what_any_program_writes_is_in_postgres_and_in_the_other_file(database, writer,
                                                                       make_writer):
    other = make_writer("b").once().start()
    writer.write("UPDATE stock SET name = 'python' WHERE id = 1",
                 "INSERT INTO stock(id, name, qty) VALUES (11, 'new', 3)")
    writer.shell("PRAGMA trusted_schema = 0; INSERT OR REPLACE INTO stock(id, name, qty)"
                 " VALUES (2, 'shell', 7); DELETE FROM stock WHERE id = 3;"
                 """INSERT INTO "Odd Names" VALUES ('6ba7b810-9dad-11d1-80b4-00c04fd430c8',"""
                 """ '1.50', x'00ff', '{"a": [1, 2.50]}');""")
    writer.settled()
    assert writer.rejected() == []
    assert stock(database)[:2] == [(1, "python", 0), (2, "shell", 7)]
    assert stock(database)[-1] == (11, "new", 3)
    assert database.value("SELECT count(*) FROM stock WHERE id = 3") == 0
    assert database.sql('SELECT a::text, "b c"::text, v::text, j::text FROM "Odd Names"') == [
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "1.50", "\\x00ff", '{"a": [1, 2.50]}')]
    for replica in (writer, other):
        replica.wait_for_rows("stock", stock(database), columns="id, name, qty")
        assert replica.sql('SELECT "b c", v FROM "Odd Names"') == [("1.50", b"\x00\xff")]
    assert writer.sql("SELECT made FROM stock WHERE id = 11") == [
        ("2024-01-01 00:00:00.000000+00:00",)]  # Postgres's default


def test_a_table_that_may_not_be_written_is_not_captured(writer):
    writer.write("UPDATE readings SET v = 'local'")
    assert writer.pending() == 0
    assert "readings" in writer.status()
    assert writer.status().count("writes go up") == 2


def test_what_is_refused_is_taken_back_and_told(database, writer):
    writer.write("UPDATE stock SET name = 'forbidden' WHERE id = 1")
    writer.settled()
    writer.write("UPDATE stock SET qty = 5000000 WHERE id = 2")
    writer.write("UPDATE stock SET name = 'name 4' WHERE id = 3")
    writer.write("INSERT INTO _tombolo_tx DEFAULT VALUES",
                 "UPDATE stock SET qty = qty + 1 WHERE id = 5",
                 "UPDATE stock SET name = 'forbidden' WHERE id = 6", "DELETE FROM _tombolo_tx")
    writer.write("UPDATE stock SET name = 'fine' WHERE id = 7")
    writer.settled()
    writer.wait_for_rows("stock", stock(database), columns="id, name, qty")
    rejected = writer.rejected()
    assert [json.loads(row[4])["id"] for row in rejected] == ["1", "2", "3", "5", "6"]
    assert [row[1] for row in rejected if row[1]].count("23505") == 1
    assert database.value("SELECT qty FROM stock WHERE id = 5") == 0
    assert database.value("SELECT name FROM stock WHERE id = 7") == "fine"
    tell = subprocess.run([writer.binary, "rejected", writer.db_path], capture_output=True,
                          text=True, check=True).stdout
    assert tell.count("update of stock") == 5


def test_a_refused_write_can_be_tried_again(database, writer):
    def rejected(*options):
        subprocess.run([writer.binary, "rejected", writer.db_path, *options], check=True)

    database.sql("INSERT INTO stock VALUES (20, 'taken')")
    writer.wait_for(lambda: writer.sql("SELECT 1 FROM stock WHERE id = 20"), what="the row")
    writer.write("UPDATE stock SET name = 'taken' WHERE id = 1", "DELETE FROM stock WHERE id = 2",
                 "UPDATE stock SET name = 'taken' WHERE id = 3")
    writer.settled()
    assert len(writer.rejected()) == 2
    database.sql("UPDATE stock SET name = 'free' WHERE id = 20")
    rejected("--retry", "1")
    writer.settled()
    rejected("--discard", "all")
    assert writer.rejected() == []
    writer.wait_for_rows("stock", stock(database), columns="id, name, qty")
    assert stock(database)[0] == (1, "taken", 0)


def test_written_offline_it_goes_up_with_once(database, make_writer):
    writer = make_writer().once()
    for _ in range(20):
        writer.write("UPDATE stock SET qty = qty + 1")
    assert writer.pending() == 200
    database.sql("UPDATE stock SET qty = qty + 100")
    writer.once()
    assert writer.pending() == 0
    assert stock(database) == [(i, f"name {i}", 120) for i in range(1, 11)]
    assert writer.rows("stock", "id, name, qty") == stock(database)


def test_a_token_writes_what_its_rules_allow(database, bridge, make_writer):
    own = make_writer("ann", shapes=["@mine"], secret="", token=token(sub="ann")).once()
    ids = [f"00000000-0000-0000-0000-00000000000{i}" for i in range(3)]
    own.write(f"INSERT INTO mine(id, owner, body) VALUES ('{ids[0]}', 'ann', 'hers')",
              f"INSERT INTO mine(id, body) VALUES ('{ids[1]}', 'hers too')",
              f"INSERT INTO mine(id, owner, body) VALUES ('{ids[2]}', 'bob', 'his')")
    own.once()
    assert database.sql("SELECT id::text, owner FROM notes ORDER BY id") == [
        (ids[0], "ann"), (ids[1], "ann")]
    assert own.rows("mine", "id, owner") == [(ids[0], "ann"), (ids[1], "ann")]
    assert len(own.rejected()) == 1
    stolen = make_writer("bob", shapes=["@mine"], secret="", token=token(sub="bob"))
    shutil.copy(own.db_path, stolen.db_path)
    stolen.write("DELETE FROM mine")
    stolen.try_once()
    assert database.value("SELECT count(*) FROM notes") == 2


# ---- copies ---------------------------------------------------------------


def backup(replica, path):
    with contextlib.closing(sqlite3.connect(replica.db_path)) as db, \
            contextlib.closing(sqlite3.connect(path)) as to:
        db.backup(to)


def test_a_file_restored_from_a_backup_loses_nothing_and_repeats_nothing(database, tmp_path,
                                                                         make_writer):
    writer = make_writer().once()
    writer.write("UPDATE stock SET qty = qty + 1 WHERE id = 1")
    writer.once()
    writer.write("UPDATE stock SET qty = qty + 1 WHERE id = 2")
    backup(writer, tmp_path / "backup.db")
    writer.once()
    writer.write("UPDATE stock SET qty = qty + 1 WHERE id = 3")
    writer.once()
    for suffix in ("", "-wal", "-shm"):
        writer.db_path.with_name(writer.db_path.name + suffix).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", writer.db_path)
    writer.write("UPDATE stock SET qty = qty + 1 WHERE id = 4")
    writer.once()
    assert [row[2] for row in stock(database)][:5] == [1, 1, 1, 1, 0]
    assert writer.rows("stock", "id, name, qty") == stock(database)
    assert writer.rejected() == []


def test_a_file_whose_replica_was_forgotten_loses_nothing_and_repeats_nothing(
        database, bridge, make_writer):
    """It has not written for two years. Once it was in touch all the while: its next write goes up
    as any. Once it is a copy from then, and nobody knows what became of what waits in it."""
    writer = make_writer("writer")
    writer.once()
    writer.write("INSERT INTO stock VALUES (100, 'known', 1, NULL)")
    writer.once()
    writer.write("UPDATE stock SET qty = qty + 5 WHERE id = 100")
    copy = make_writer("copy")
    backup(writer, copy.db_path)
    writer.once()
    writer.once()
    years = 2 * 365 * 24 * 3600 * 10**6
    copy.write(f"UPDATE _tombolo_state SET contact = contact - {years}")
    bridge.stop()
    database.sql("UPDATE tombolo.replicas SET seen_at = now() - interval '2 years';"
                 "UPDATE tombolo.decided SET at = now() - interval '2 years';"
                 "UPDATE tombolo.memory SET since = now() - interval '3 years'")
    bridge.start()  # which looks at once what can be forgotten
    wait_for(lambda: database.value("SELECT count(*) FROM tombolo.replicas") == 0, 60,
             "the replica to be forgotten")
    copy.once()
    assert [row[0] for row in copy.rejected()] == ["unknown"]
    before = writer.sql("SELECT replica FROM _tombolo_state")
    writer.write("UPDATE stock SET qty = qty + 100 WHERE id = 100")
    writer.once()
    writer.once()
    copy.once()
    assert writer.sql("SELECT replica FROM _tombolo_state") == before
    for each in (writer, copy):
        assert each.sql("SELECT qty FROM stock WHERE id = 100") == [(106,)]
    assert database.value("SELECT qty FROM stock WHERE id = 100") == 106
    assert copy.sql("SELECT replica FROM _tombolo_state") != before


def test_two_copies_of_a_file_both_write(database, make_writer):
    first, second = make_writer("a").once(), make_writer("b")
    first.write("UPDATE stock SET qty = qty + 1 WHERE id = 1")
    backup(first, second.db_path)
    for _ in range(4):
        for i, writer in enumerate((first, second)):
            writer.write(f"UPDATE stock SET qty = qty + 10 WHERE id = {i + 2}")
            writer.once()
    assert [row[2] for row in stock(database)][:3] == [1, 40, 40]
    assert first.once().rows("stock", "id, qty") == second.once().rows("stock", "id, qty")
    names = {writer.sql("SELECT replica FROM _tombolo_state")[0][0] for writer in (first, second)}
    assert len(names) == 2


# ---- everything is killed ---------------------------------------------------


class Storm:
    """Two files and Postgres are written to; counts what the counters must come to."""

    def __init__(self, seed, database, bridge, writers, proxy):
        self.random = random.Random(seed)
        self.database, self.bridge, self.writers, self.proxy = database, bridge, writers, proxy
        self.counted = {i: 0 for i in range(1, 11)}

    def count(self, i, by):
        self.counted[i] += by

    def local(self):
        writer, i, by = self.random.choice(self.writers), self.random.randint(1, 10), \
            self.random.randint(1, 9)
        statements = [f"UPDATE stock SET qty = qty + {by} WHERE id = {i}"]
        n = self.random.randint(100, 140)
        extra = self.random.choice([
            None, f"INSERT OR REPLACE INTO stock(id, name, qty) VALUES ({n}, 'n{n}', {by})",
            f"DELETE FROM stock WHERE id = {n}",
            f"UPDATE stock SET name = 'n{n}' WHERE id = {self.random.randint(100, 140)}",
            f"UPDATE OR IGNORE stock SET id = {n} WHERE id = {self.random.randint(100, 140)}"])
        with contextlib.suppress(sqlite3.IntegrityError):
            if extra:
                writer.write(extra)
        changed = writer.write(*statements)
        self.count(i, by * changed[0])

    def remote(self):
        i, n = self.random.randint(1, 10), self.random.randint(100, 140)
        self.database.sql("UPDATE stock SET qty = qty + 1 WHERE id = %s", i)
        self.count(i, 1)
        self.database.sql("DELETE FROM stock WHERE id = %s", n)

    def trouble(self):
        what = self.random.randint(0, 5)
        if what == 0:
            self.bridge.kill9()
            self.bridge.start()
        elif what == 1:
            self.proxy.cut()
        else:
            writer = self.random.choice(self.writers)
            writer.kill9()
            writer.start()

    def blow(self, steps):
        for step in range(steps):
            self.local() if self.random.random() < 0.8 else self.remote()
            if step % 15 == 14:
                self.trouble()

    def calm(self):
        """All is settled; the counters say that each write counted once."""
        for writer in self.writers:
            if not writer.process.alive:
                writer.start()
            writer.settled(60)
        for i, name, qty in stock(self.database):
            if i <= 10:
                assert (qty, name) == (self.counted[i], f"name {i}"), f"row {i}"
        for writer in self.writers:
            writer.wait_for_rows("stock", stock(self.database), columns="id, name, qty",
                                 deadline=60)


class Streamer(threading.Thread):
    """Litestream's habits: a read transaction that is always open, short write locks, tables of
    its own, and checkpoints that nobody else is to make."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self._path, self._stopped, self.error = path, threading.Event(), None
        self.rounds = 0

    def _connect(self):
        return contextlib.closing(sqlite3.connect(self._path, timeout=60, isolation_level=None))

    def run(self):
        try:
            with self._connect() as db, self._connect() as reader:
                db.execute("PRAGMA wal_autocheckpoint = 0")
                while not self._stopped.wait(0.02):
                    reader.execute("BEGIN")
                    reader.execute("SELECT count(*) FROM _litestream_seq").fetchone()
                    for _ in range(10):
                        db.execute("BEGIN IMMEDIATE")
                        db.execute("INSERT INTO _litestream_lock VALUES (1)")
                        db.execute("ROLLBACK")
                    reader.execute("COMMIT")
                    self.rounds += 1
                    if self.rounds % 20 == 0:
                        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            self.error = error

    def stop(self):
        self._stopped.set()
        self.join()


def test_a_streamer_of_backups_and_a_writer_get_on_beside_us(database, make_writer):
    writer = make_writer().once()
    writer.write("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
                 "CREATE TABLE _litestream_lock (id INTEGER)")
    streamer = Streamer(writer.db_path)
    streamer.start()
    writer.start()
    try:
        for _ in range(60):
            writer.write("UPDATE stock SET qty = qty + 1 WHERE id = 1")
            database.sql("UPDATE stock SET qty = qty + 1 WHERE id = 1")
        writer.settled()
        writer.wait_for_rows("stock", stock(database), columns="id, name, qty")
    finally:
        streamer.stop()
    assert streamer.error is None and streamer.rounds > 0
    assert database.value("SELECT qty FROM stock WHERE id = 1") == 120
    assert writer.sql("PRAGMA integrity_check") == [("ok",)]
    assert writer.sql("SELECT count(*) FROM _litestream_lock") == [(0,)]


def test_two_files_and_postgres_end_equal_whatever_is_killed(database, bridge, make_writer, seed):
    print(f"--seed {seed}")
    proxy = Proxy(bridge.port).start()
    writers = [make_writer("a", url=proxy.url).once().start(), make_writer("b").once().start()]
    storm = Storm(seed, database, bridge, writers, proxy)
    for _ in range(3):
        storm.blow(60)
        storm.calm()
    for writer in writers:
        refused = [json.loads(row[4])["id"] for row in writer.rejected()]
        assert all(int(i) >= 100 for i in refused), refused  # the counters' rows are never refused
        assert writer.sql("PRAGMA integrity_check") == [("ok",)]


def test_a_busy_program_loses_no_write_while_the_syncer_is_killed(database, bridge, make_writer):
    """The file's writers do not know whether a syncer is there."""
    writer = make_writer().once()
    for round_ in range(6):
        writer.start()
        for _ in range(20):
            writer.write("UPDATE stock SET qty = qty + 1 WHERE id = 1")
        writer.kill9() if round_ % 2 else writer.stop()
    writer.once()
    assert database.value("SELECT qty FROM stock WHERE id = 1") == 120
    wait_for(lambda: bridge.health() == "active", 60, "the bridge")
