"""The server, the tables and the rows that all benchmarks share.

The row is the one of the ceilings' own measurements: 12 columns, about 245 bytes as text. `marker`
is a table of one column that no load writes to: a row in it says that all before it has arrived.
"""

import contextlib
import os
from pathlib import Path

from harness import Postgres, program

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
    "wal_sender_timeout": "5min",
}

SCHEMA = """
CREATE TABLE items (
    id bigint PRIMARY KEY, org_id int NOT NULL, owner_id int NOT NULL, title text NOT NULL,
    status text NOT NULL, priority int, price numeric(12,2), created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL, done bool NOT NULL, meta jsonb, body text);
CREATE TABLE marker (n bigint PRIMARY KEY);
CREATE SEQUENCE ids;
CREATE FUNCTION rows_of(first bigint, last bigint, owners bigint) RETURNS SETOF items
LANGUAGE sql AS $$
    SELECT g, (g % 1000)::int, (g % owners)::int, 'Item title number ' || g || ' lorem ipsum',
           (ARRAY['open', 'closed', 'pending', 'review'])[1 + g % 4], (g % 5)::int,
           (g % 100000) / 100.0, timestamptz '2026-01-01 00:00:00+00' + g * interval '1.234567 s',
           timestamptz '2026-02-01 00:00:00+00' + g * interval '1.000123 s', g % 3 = 0,
           jsonb_build_object('tag', 't' || g % 17, 'n', g % 1001, 'ok', g % 2 = 0),
           repeat(md5(g::text), 2)
    FROM generate_series(first, last) g $$;
CREATE PROCEDURE load(rows bigint, a_transaction bigint, owners bigint) LANGUAGE plpgsql AS $$
DECLARE
    first bigint;
BEGIN
    FOR i IN 1 .. rows / a_transaction LOOP
        first := nextval('ids');
        INSERT INTO items SELECT * FROM rows_of(first, first + a_transaction - 1, owners);
        PERFORM setval('ids', first + a_transaction - 1);
        COMMIT;
    END LOOP;
END $$;
"""


@contextlib.contextmanager
def server():
    """A server with fsync, as in earnest."""
    with Postgres(settings=SETTINGS, fsync=True) as postgres:
        yield postgres


@contextlib.contextmanager
def database(postgres, name):
    """A database with the tables; dropped at the end with its slots."""
    made = postgres.create_database(name)
    made.sql(SCHEMA)
    yield made
    made.drop()


def load(db, rows, a_transaction, owners=50_000):
    """Writes rows of items in transactions of `a_transaction` rows."""
    with contextlib.closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("CALL load(%s, %s, %s)", (rows, a_transaction, owners))


def helper(name):
    """One of our C programs, as it was built with the bridge; None where it was not."""
    path = program().resolve().parent / "tests" / name
    return path if path.exists() else None


def need_helper(name):
    path = helper(name)
    assert path, f"{name} is not built: cmake --build the folder of {program()}"
    return path


def postgres_program(postgres, name):
    return Path(postgres.build.bin) / name


def postgres_cpu(postgres):
    """CPU seconds of the server: all its processes, those that have ended too."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    parent = str(postgres.process.pid)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = (entry / "stat").read_text()
            fields = text[text.rindex(")") + 2:].split()
            if entry.name == parent:
                total += sum(map(int, fields[11:15]))
            elif fields[1] == parent:
                total += sum(map(int, fields[11:13]))
    return total / ticks
