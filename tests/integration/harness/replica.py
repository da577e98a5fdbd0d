"""`tombolo sync`, held by a handle, and the SQLite file that it keeps."""

import contextlib
import signal
import sqlite3
import subprocess
from pathlib import Path

from .process import Process, as_user, environment
from .waiting import wait_for


class Replica:
    """The file `db_path` with `shapes` of `bridge`; `url` puts a Proxy in between.

    start() keeps it in sync until stop() or kill9(); once() brings it up to date and ends.
    """

    def __init__(self, bridge, db_path, shapes, url=None, binary=None, **settings):
        self.binary = Path(binary or bridge.binary).resolve()
        self.url = url or bridge.url
        self.db_path = Path(db_path).resolve()
        self.shapes = list(shapes)
        self.settings = {f"TOMBOLO_{name.upper()}": value for name, value in settings.items()}
        self.process = Process(self.db_path.stem, self.db_path.with_suffix(".log"))

    def _argv(self, *options):
        argv = [self.binary, "sync", "--from", self.url, "--db", self.db_path]
        for shape in self.shapes:
            argv += ["--shape", shape]
        return [*argv, *options]

    def start(self):
        self.process.start(self._argv(), environment(**self.settings))
        return self

    def stop(self, deadline=60.0):
        """Asks it to end; anything but exit code 0 is a failure."""
        if self.process.alive:
            wait_for(self._can_be_asked, deadline, "the sync to take signals")
            code = self.process.stop(deadline)
            assert code == 0, f"sync ended with {code}\n{self.process.log_tail()}"

    def _can_be_asked(self):
        """One that has just been started is ended by SIGTERM like any program."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except FileNotFoundError:
            return True
        caught = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
        return not self.process.alive or int(caught[0], 16) >> (signal.SIGTERM - 1) & 1

    def kill9(self):
        self.process.kill9()

    def restart(self):
        self.stop()
        return self.start()

    def once(self, deadline=60.0):
        """sync --once; anything but exit code 0 is a failure."""
        code = self.try_once(deadline)
        assert code == 0, f"sync --once ended with {code}\n{self.process.log_tail()}"
        return self

    def try_once(self, deadline=60.0):
        """sync --once, and its exit code."""
        self.process.start(self._argv("--once"), environment(**self.settings))
        return self.process.wait(deadline)

    def status(self):
        """What `tombolo status FILE` prints."""
        done = subprocess.run(as_user(None, [self.binary, "status", self.db_path]), check=False,
                              env=environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"status ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def connect(self):
        """A reader of the file, as any other program would be; the caller closes it."""
        return sqlite3.connect(f"file:{self.db_path}?mode=ro", uri=True, timeout=60.0,
                               isolation_level=None)

    def sql(self, query, *params):
        with contextlib.closing(self.connect()) as connection:
            return connection.execute(query, params).fetchall()

    def pending(self):
        """How many local writes are not acknowledged."""
        return self.sql("SELECT (SELECT count(*) FROM _tombolo_pending WHERE due IS NULL)"
                        " + (SELECT count(*) FROM _tombolo_outbox WHERE op IS NOT NULL)")[0][0]

    def rows(self, table, columns="*"):
        """A table's rows, sorted; None while there is no such file or table."""
        try:
            found = self.sql(f'SELECT {columns} FROM "{table}"')
        except sqlite3.OperationalError as error:
            if "no such table" in str(error) or "unable to open" in str(error):
                return None
            raise
        return sorted(found, key=_order)

    def wait_for(self, condition, deadline=60.0, what="the replica"):
        """While sync runs: also fails at once when it ends."""
        self.process.wait_for(condition, deadline, what)

    def wait_for_rows(self, table, expected, deadline=60.0, columns="*"):
        """Until the table holds exactly these rows; says the difference when it does not."""
        expected = sorted(map(tuple, expected), key=_order)

        def difference():
            found = self.rows(table, columns)
            missing = [row for row in expected if row not in (found or [])]
            extra = [row for row in found or [] if row not in expected]
            return (f"{self.db_path.name}'s {table}: missing {missing[:10]}, too many {extra[:10]}"
                    f"\n{self.process.log_tail()}")

        wait_for(lambda: self.rows(table, columns) == expected, deadline, difference)

    def wait_until_equal(self, database, table="t", where="true", columns="*", deadline=60.0):
        """Until the table has the columns and rows that Postgres has."""
        query = f"SELECT {columns} FROM {table} WHERE {where}"

        def said():
            return (f"{table}: the replica has {self.rows(table, columns)}, Postgres"
                    f" {database.sql(query)}\n{self.process.log_tail()}")

        def same():
            theirs = database.sql(query)
            with contextlib.suppress(Exception):
                return sorted(map(str, theirs)) == sorted(map(str, self.rows(table, columns)))
            return False

        wait_for(same, deadline, said)


def _order(row):
    """Rows of any values can be sorted: None first, then by type, then by value."""
    return [(value is not None, type(value).__name__, 0 if value is None else value)
            for value in row]
