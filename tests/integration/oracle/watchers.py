"""Those who look on while replication runs: a reader of a file, and a client of /v1/sync."""

import contextlib
import http.client
import json
import sqlite3
import threading
from collections import Counter

from . import tables
from .history import Timeline, difference
from .values import in_sqlite, in_stream


class Reader(threading.Thread):
    """Reads a replica's file as any program may, each time all of it in one read transaction.

    Kept are the rows at each new position at which the file says that it is consistent.
    """

    def __init__(self, replica, shapes, interval=0.05):
        super().__init__(name=f"reader of {replica.db_path.name}", daemon=True)
        self.replica, self.shapes, self.interval = replica, shapes, interval
        self.timelines = None
        self.samples = []  # [(position, [Counter, one a shape])]
        self.position, self.consistent = 0, False
        self.failure = None
        self.looks = 0
        self._ended = threading.Event()

    def run(self):
        try:
            while not self._ended.is_set():
                with contextlib.suppress(sqlite3.OperationalError):  # no file yet, or no table
                    with contextlib.closing(self.replica.connect()) as connection:
                        self._watch(connection)
                self._ended.wait(self.interval)
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def end(self):
        self._ended.set()
        self.join()

    def _watch(self, connection):
        while not self._ended.is_set():
            self.look(connection)
            self._ended.wait(self.interval)

    def look(self, connection):
        connection.execute("BEGIN")
        try:
            found = connection.execute("SELECT position, consistent FROM _tombolo_state").fetchone()
            if not found:
                return
            if found[0] < self.position:
                raise AssertionError(f"{self.replica.db_path.name} went back from {self.position} "
                                     f"to {found[0]}")
            if not found[1] or (found[0], True) == (self.position, self.consistent):
                self.position, self.consistent = found[0], bool(found[1])
                return
            rows = [self._rows(connection, shape) for shape in self.shapes]
            self.looks += 1
            self._check_money(found[0], rows)
            self.samples.append((found[0], rows))
            self.position, self.consistent = found[0], True
        finally:
            connection.execute("COMMIT")

    @staticmethod
    def _rows(connection, shape):
        columns = ", ".join(column.sql for column in shape.columns)
        return Counter(connection.execute(
            f"SELECT {columns} FROM {tables.quoted(shape.table.local)}").fetchall())

    def _check_money(self, position, rows):
        """Said at once, while the processes are still there to be looked at."""
        money = [found for shape, found in zip(self.shapes, rows) if shape.table in tables.MONEY]
        total = sum(amount for found in money for _, amount in found.elements())
        if len(money) == 2 and total != tables.TOTAL:
            raise AssertionError(f"{self.replica.db_path.name} at {position}: the sum is {total}")

    def check(self, history):
        """Whether every sample was right; when nobody writes."""
        if self.failure:
            raise self.failure
        self.timelines = self.timelines or [Timeline(history, shape) for shape in self.shapes]
        for timeline in self.timelines:
            timeline.update()
        taken, self.samples = self.samples, []
        for position, rows in taken:
            for timeline, found in zip(self.timelines, rows):
                wrong = difference(timeline.at(position), found)
                assert not wrong, (f"{self.replica.db_path.name} at {position}: "
                                   f"{timeline.shape.text}: {wrong}")
        return len(taken)

    def check_now(self, history):
        """Whether the file holds what Postgres holds; up to date, and nobody writes."""
        with contextlib.closing(self.replica.connect()) as connection:
            connection.execute("BEGIN")
            for shape in self.shapes:
                expected = Counter(in_sqlite(shape.columns, row) for row in history.now(shape))
                wrong = difference(expected, self._rows(connection, shape))
                assert not wrong, f"{self.replica.db_path.name}: {shape.text}: {wrong}"
            assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]


class Stream(threading.Thread):
    """A live /v1/sync: each commit line is a cut that must be right, not only those a reader meets.

    It starts over with snapshots when the connection ends.
    """

    def __init__(self, bridge, requests, shapes, host=None, port=None):
        super().__init__(name="stream", daemon=True)
        self.address = (host or "127.0.0.1", port or bridge.port)
        self.requests, self.shapes = requests, shapes
        self.cuts = []  # [(position, {shape: {row: +-n}})], or None where it starts over
        self.position, self.consistent = 0, False
        self.failure = None
        self._held = self._changed = None
        self._ended = threading.Event()
        self._connection = None

    def run(self):
        while not self._ended.is_set():
            try:
                self._follow()
            except (OSError, http.client.HTTPException):
                pass
            except Exception as failure:  # pylint: disable=broad-except
                self.failure = failure
                return
            self.consistent = False
            self._ended.wait(0.1)

    def end(self):
        self._ended.set()
        with contextlib.suppress(Exception):
            self._connection.sock.shutdown(2)
        self.join()

    def _follow(self):
        self._connection = http.client.HTTPConnection(*self.address, timeout=60)
        with contextlib.closing(self._connection):
            self._connection.request("POST", "/v1/sync?replica=oracle", json.dumps(
                {"shapes": self.requests}), {"content-type": "application/json"})
            answer = self._connection.getresponse()
            if answer.status != 200:
                assert answer.status == 503, f"{answer.status}: {answer.read()[:1000]}"
                return
            self._held = [{} for _ in self.shapes]
            self._changed = [Counter() for _ in self.shapes]
            self.cuts.append(None)
            for line in answer:
                if not line.endswith(b"\n"):
                    return
                self._take(json.loads(line))

    def _take(self, line):
        if "messages" in line:
            for message in line["messages"]:
                self._message(line["shape"], message)
        elif "open" in line and line["open"]["snapshot"]:
            self._drop(line["open"]["shape"])
        elif "commit" in line or "keepalive" in line:
            said = line.get("commit") or line["keepalive"]
            self._cut(int(said["lsn"]), said["consistent"])
        elif "error" in line:
            assert line["error"].get("retry"), f"the stream says {line}"

    def _drop(self, index):
        for rows in self._held[index].values():
            self._changed[index].subtract(rows)
        self._held[index] = {}

    def _message(self, index, message):
        """A key's rows are counted: a table without a primary key may have several alike."""
        shape, held, changed = self.shapes[index], self._held[index], self._changed[index]
        operation = message["headers"].get("operation")
        if not operation:
            raise AssertionError(f"a message without an operation: {message}")
        key, value = message["key"], message["value"]
        rows = held.setdefault(key, Counter())
        if operation == "insert":
            row = self._row(shape, value)
            assert not rows or not shape.table.key, f"{shape.text}: inserted twice: {message}"
            rows[row] += 1
            changed[row] += 1
            return
        assert rows, f"{shape.text}: {operation} of a row that is not there: {message}"
        old = next(iter(rows))
        rows[old] -= 1
        changed[old] -= 1
        rows += Counter()
        if operation == "update":
            new = dict(zip([column.name for column in shape.columns], old), **value)
            row = self._row(shape, new)
            rows[row] += 1
            changed[row] += 1
        if not rows:
            del held[key]

    @staticmethod
    def _row(shape, value):
        return in_stream(shape.columns, [value[column.name] for column in shape.columns])

    def _cut(self, position, consistent):
        assert position >= self.position or not self.consistent, \
            f"the stream went back from {self.position} to {position}"
        if consistent:
            changed = [Counter({row: n for row, n in c.items() if n}) for c in self._changed]
            self.cuts.append((position, changed))
            self._changed = [Counter() for _ in self.shapes]
        self.position, self.consistent = position, consistent

    def check(self, history):
        """Whether every cut was right; when nobody writes and the stream is up to date."""
        if self.failure:
            raise self.failure
        if not hasattr(self, "timelines"):
            self.timelines = [Timeline(history, shape, in_stream) for shape in self.shapes]
            self.rows = [Counter() for _ in self.shapes]
        for timeline in self.timelines:
            timeline.update()
        cuts, checked = self.cuts[:len(self.cuts)], 0
        del self.cuts[:len(cuts)]
        for cut in cuts:
            if not cut:
                self.rows = [Counter() for _ in self.shapes]
                continue
            for timeline, rows, changed in zip(self.timelines, self.rows, cut[1]):
                for row, n in changed.items():
                    rows[row] += n
                    if not rows[row]:
                        del rows[row]
                wrong = difference(timeline.at(cut[0]), rows)
                assert not wrong, f"the stream at {cut[0]}: {timeline.shape.text}: {wrong}"
            checked += 1
        return checked


def settled(watcher, position):
    """Whether it has come to the position and is consistent."""
    if watcher.failure:
        raise watcher.failure
    return watcher.consistent and watcher.position >= position
