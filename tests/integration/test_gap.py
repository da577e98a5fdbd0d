"""Tables whose triggers were away for a while: what programs wrote to them meanwhile is in Postgres
in the end, and nothing else is."""

import contextlib
import sqlite3
import subprocess

import pytest
from harness import Bridge, Replica

pytestmark = pytest.mark.sanitized

RULES = """
[write stock]
operations = insert, update, delete
"""

TABLES = """
CREATE TABLE stock (id int PRIMARY KEY, name text, qty int NOT NULL DEFAULT 0);
INSERT INTO stock SELECT i, 'name ' || i, i FROM generate_series(1, 1000) i;
"""

WRITES = """UPDATE stock SET qty = qty + 1000 WHERE id % 100 = 0;
DELETE FROM stock WHERE id % 100 = 1;
INSERT INTO stock(id, name, qty) SELECT id + 5000, name, 7 FROM stock WHERE id % 100 = 2;
"""

PENDING = """SELECT (SELECT count(*) FROM _tombolo_pending WHERE due IS NULL)
                  + (SELECT count(*) FROM _tombolo_outbox WHERE op IS NOT NULL)
                  + (SELECT count(*) FROM _tombolo_shapes WHERE status <> 'live')"""
EXPECTED = """SELECT id, name, CASE WHEN id % 100 = 0 THEN qty + 1000 ELSE qty END
    FROM (SELECT i AS id, 'name ' || i AS name, i AS qty FROM generate_series(1, 1000) i) s
    WHERE id % 100 <> 1 UNION ALL
    SELECT i + 5000, 'name ' || i, 7 FROM generate_series(2, 1000, 100) i ORDER BY 1"""


@pytest.fixture
def bridge(database, tmp_path):
    database.sql(TABLES)
    bridge = Bridge(database, data_dir=tmp_path / "bridge", rules=RULES, secret="s").start()
    yield bridge
    bridge.stop()


@pytest.fixture
def replica(bridge, tmp_path):
    replica = Replica(bridge, tmp_path / "a.db", ["stock"], secret="s").once()
    yield replica
    replica.stop()


def shell(replica, script):
    done = subprocess.run(["sqlite3", "-bail", str(replica.db_path)], text=True, timeout=120,
                          input=".timeout 60000\n" + script, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def triggers(replica):
    return [sql for (sql,) in replica.sql("SELECT sql FROM sqlite_schema WHERE type = 'trigger'"
                                          " ORDER BY rowid")]


def rebuild(replica, again):
    """The twelve steps of SQLite's manual, with writes amid them."""
    return f"""BEGIN IMMEDIATE;
CREATE TABLE new_stock (id INTEGER NOT NULL PRIMARY KEY, name TEXT, qty INTEGER, mine TEXT);
INSERT INTO new_stock SELECT id, name, qty, 'x' FROM stock;
DROP TABLE stock;
ALTER TABLE new_stock RENAME TO stock;
{WRITES}
{"".join(sql + ";" for sql in triggers(replica)) if again else ""}
COMMIT;
"""


def check(bridge, database, replica, path):
    other = Replica(bridge, path, ["stock"], secret="s").once()
    expected = database.sql(EXPECTED)
    assert database.sql("SELECT id, name, qty FROM stock ORDER BY id") == expected
    for file in (replica, other):
        assert file.sql("SELECT id, name, qty FROM stock ORDER BY id") == expected
    assert replica.sql("SELECT * FROM _tombolo_rejected") == []


@pytest.mark.parametrize("again", [False, True], ids=["no triggers", "triggers made again"])
def test_writes_amid_a_rebuild_of_the_table_end_in_postgres(bridge, database, replica, tmp_path,
                                                            again):
    shell(replica, rebuild(replica, again))
    database.sql("UPDATE stock SET name = 'x', qty = -1")  # comes in only behind the comparison
    database.sql("UPDATE stock SET name = 'name ' || id, qty = id")
    replica.once()
    check(bridge, database, replica, tmp_path / "b.db")
    assert set(replica.sql("SELECT mine FROM stock WHERE id < 100 AND id > 1")) == {("x",)}


def test_writes_beside_a_live_sync_with_the_triggers_dropped_end_in_postgres(bridge, database,
                                                                             replica, tmp_path):
    replica.start()
    names = [f"DROP TRIGGER {name};" for (name,) in replica.sql(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'")]
    shell(replica, "BEGIN IMMEDIATE;" + "".join(names) + WRITES + "COMMIT;")
    replica.wait_for(lambda: database.sql("SELECT count(*) FROM stock WHERE id > 5000")
                     == [(10,)], 60, "the writes to be in Postgres")
    replica.wait_for(lambda: replica.sql(PENDING) == [(0,)], 60, "the writes to be settled")
    replica.stop()
    check(bridge, database, replica, tmp_path / "b.db")


def test_a_scan_by_hand_finds_writes_with_triggers_turned_off(bridge, database, replica, tmp_path):
    with contextlib.closing(sqlite3.connect(replica.db_path)) as db, db:
        db.execute("UPDATE _tombolo_state SET applying = 1")  # as a program of ours that lost count
        for statement in WRITES.split(";"):
            db.execute(statement)
        db.execute("UPDATE _tombolo_state SET applying = 0")
    replica.once()
    replica.process.start(replica._argv("--once", "--scan"), {"TOMBOLO_SECRET": "s"})
    assert replica.process.wait(60) == 0
    check(bridge, database, replica, tmp_path / "b.db")
