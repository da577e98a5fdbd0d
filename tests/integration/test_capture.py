"""Statements of every form, by programs that know nothing of us, into a file that is synced: what
they make of its tables is what Postgres has in the end."""

import contextlib
import json
import random
import sqlite3
import subprocess

import pytest
from harness import Bridge, Database, Replica
from harness.node import installed

pytestmark = pytest.mark.sanitized

RULES = """
[write people]
operations = insert, update, delete

[write pairs]
operations = insert, update, delete
"""

TABLES = """
CREATE TABLE people (id int PRIMARY KEY, mail text UNIQUE DEFERRABLE, age int, score float8);
CREATE TABLE pairs (a text, b int, v bytea, PRIMARY KEY (a, b));
"""



class Statements:
    """Random statements; values collide often."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *of):
        return self.random.choice(of)

    def id(self):
        return self.random.randint(1, 9)

    def mail(self):
        return self.pick("NULL", "'a'", "'b'", "'c'", "'d'", "'it''s'", "'\u00fc\u20ac'")

    def age(self):
        return self.pick("NULL", "0", "1", "2147483647", "-7")

    def score(self):
        return self.pick("NULL", "0.1 + 0.2", "1e300", "-2.5", "3", "9e999")

    def person(self):
        return f"({self.id()}, {self.mail()}, {self.age()}, {self.score()})"

    def pair(self):
        a, v = self.pick("'1'", "'x'", "'y'"), self.pick("NULL", "x'00ff10'", "zeroblob(3)")
        return f"({a}, {self.id()}, {v})"

    def people(self):
        verb = self.pick("INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE")
        rows = ", ".join(self.person() for _ in range(self.random.randint(1, 3)))
        return self.pick(
            f"{verb} INTO people(id, mail, age, score) VALUES {rows}",
            f"INSERT INTO people(id, mail, age, score) VALUES {self.person()} ON CONFLICT (id)"
            f" DO UPDATE SET mail = excluded.mail, age = {self.age()}",
            f"{self.pick('UPDATE', 'UPDATE OR REPLACE', 'UPDATE OR IGNORE')} people SET"
            f" mail = {self.mail()} WHERE id = {self.id()}",
            f"UPDATE OR REPLACE people SET id = {self.id()} WHERE id = {self.id()}",
            f"UPDATE people SET age = {self.age()}, score = {self.score()} WHERE id > {self.id()}",
            f"DELETE FROM people WHERE id = {self.id()}",
            f"INSERT OR REPLACE INTO people SELECT id + 1, mail, age, score FROM people"
            f" WHERE id = {self.id()}")

    def pairs(self):
        return self.pick(
            f"REPLACE INTO pairs VALUES {self.pair()}",
            f"UPDATE OR REPLACE pairs SET a = 'y' WHERE b = {self.id()}",
            f"UPDATE OR IGNORE pairs SET b = b + 1 WHERE a = '{self.pick('1', 'x', 'y')}'",
            f"DELETE FROM pairs WHERE b = {self.id()}")

    def transaction(self):
        each = [self.pick(self.people, self.pairs)() for _ in range(self.random.randint(1, 4))]
        if self.random.random() < 0.3:
            each = ["INSERT INTO _tombolo_tx DEFAULT VALUES", *each, "DELETE FROM _tombolo_tx"]
        return each


def by_python(path, statements):
    with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        for statement in statements:
            with contextlib.suppress(sqlite3.IntegrityError):
                db.execute(statement)
        db.execute("COMMIT")


def by_shell(path, statements):
    """It goes on behind a statement that a constraint refuses."""
    script = ".timeout 60000\nBEGIN IMMEDIATE;\n" + ";\n".join(statements) + ";\nCOMMIT;\n"
    subprocess.run(["sqlite3", str(path)], input=script, text=True, capture_output=True,
                   timeout=120, check=False)


def by_node(path, statements):
    """A newer SQLite than the system's, built into a package of Node's."""
    done = subprocess.run(["node", installed() / "statements.mjs", str(path)], cwd=installed(),
                          input=json.dumps(statements), text=True, capture_output=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr


WRITERS = (by_python, by_shell, by_python, by_python, by_shell, by_python, by_python, by_node)


def of_postgres(database: Database):
    return (database.sql("SELECT id, mail, age, score::text FROM people ORDER BY id"),
            database.sql("SELECT a, b, encode(v, 'hex') FROM pairs ORDER BY a, b"))


def of_file(replica):
    score = "CASE WHEN score = 9e999 THEN 'Infinity' ELSE printf('%!.17g', score) END"
    people = replica.sql(f"SELECT id, mail, age, {score}, score IS NULL FROM people ORDER BY id")
    return ([(i, mail, age, None if null else float(text)) for i, mail, age, text, null in people],
            replica.sql("SELECT a, b, lower(hex(v)) FROM pairs ORDER BY a, b"))


def as_floats(tables):
    people, pairs = tables
    return ([(i, mail, age, None if score is None else float(score))
             for i, mail, age, score in people], [(a, b, v or "") for a, b, v in pairs])


def test_statements_of_every_form_end_in_postgres_as_they_are_in_the_file(database, tmp_path, seed):
    print(f"--seed {seed}")
    database.sql(TABLES)
    bridge = Bridge(database, data_dir=tmp_path / "bridge", rules=RULES, secret="s").start()
    replica = Replica(bridge, tmp_path / "a.db", ["people", "pairs"], secret="s").once()
    with contextlib.closing(sqlite3.connect(replica.db_path)) as db:
        db.execute("CREATE UNIQUE INDEX mails ON people(mail)")  # as in Postgres
    replica.once().start()
    statements = Statements(seed)
    for _ in range(4):
        for n in range(25):
            WRITERS[n % len(WRITERS)](replica.db_path, statements.transaction())
        replica.wait_for(lambda: replica.pending() == 0, 60, "the writes to be settled")
        assert replica.sql("SELECT * FROM _tombolo_rejected") == []
        assert of_file(replica) == as_floats(of_postgres(database))
    replica.stop()
    bridge.stop()
