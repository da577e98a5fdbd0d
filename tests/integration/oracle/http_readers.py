"""Clients of /v1/shape while replication runs: a shape each, by long polls or as a stream of events.

What such a client holds whenever it is told that it is up to date is one of the cuts that
watchers.Stream has: compared with what Postgres held at the LSN that it was told.
"""

import contextlib
import json
import random
import threading
from collections import Counter

from harness import Connection, target

from . import tables
from .history import Timeline, difference
from .values import in_stream


class ShapeClient(threading.Thread):
    """`events`: by live_sse. Starts over at a 409, and counts them in `refetches`; `again` counts
    messages that came twice, as they may for who resumes behind an LSN and not behind a message."""

    def __init__(self, shape, seed, events, host, port):
        super().__init__(name=f"{'events' if events else 'polls'} of {shape.text}", daemon=True)
        self.shape, self.events, self.address = shape, events, (port, host)
        self.rng = random.Random(seed)
        self.asked = self._definition()
        self.cuts = []  # [(position, {row: +-n})], or None where it starts over
        self.position, self.consistent = 0, False
        self.refetches = self.again = self.requests = 0
        self.failure = None
        self._timeline = self._rows = self._connection = None
        self._ended = threading.Event()
        self._start_over(None)

    def _definition(self):
        asked = {"table": self.shape.table.sql, "where": self.shape.where}
        if self.shape.columns != self.shape.table.columns:
            asked["columns"] = ",".join(column.sql for column in self.shape.columns)
        if self.rng.random() < 0.5:
            asked["replica"] = "full"
        return asked

    def _start_over(self, handle):
        self.handle, self.offset, self.cursor = handle, "-1", None
        self.last = (0, -1)  # (lsn, op) of the latest change
        self.held, self.changed = {}, Counter()
        self.cuts.append(None)
        self.consistent = False

    def run(self):
        while not self._ended.is_set():
            try:
                self._follow()
            except (OSError, ConnectionError):
                pass
            except Exception as failure:  # pylint: disable=broad-except
                self.failure = failure
                return
            self.consistent = False
            self._ended.wait(0.05)

    def end(self):
        self._ended.set()
        with contextlib.suppress(Exception):
            self._connection.socket.shutdown(2)
        self.join()

    # ---- requests -------------------------------------------------------------------------------

    def _follow(self):
        """Catches up, then waits for what comes, as long as the connection holds."""
        with contextlib.closing(Connection(*self.address)) as self._connection:
            while not self._ended.is_set():
                self._ask()
                while self.consistent and not self._ended.is_set():
                    if self.events and not self._listen():
                        return
                    if not self.events:
                        self._ask(live="true", cursor=self.cursor)

    def _send(self, **live):
        self.requests += 1
        self._connection.send("GET", target("/v1/shape", **self.asked, offset=self.offset,
                                            handle=self.handle, **live))

    def _ask(self, **live):
        self._send(**live)
        reply = self._connection.receive()
        if self._other_than_200(reply):
            return
        # What a 409 named may have ended too: from the beginning on, another handle is as good.
        handles = (None, reply["electric-handle"])
        assert reply["electric-handle"] and (self.offset == "-1" or self.handle in handles), reply
        self.handle, self.cursor = reply["electric-handle"], reply["electric-cursor"]
        # Changes are known by their offsets: what stands behind the header's was not sent.
        self.consistent = False
        messages = reply.json()
        for message in messages:
            self._take(message)
        if "electric-up-to-date" not in reply:
            assert messages or self.offset == "-1" or self.offset.startswith("0_"), reply
        assert self.consistent == ("electric-up-to-date" in reply), reply
        self.offset = reply["electric-offset"]

    def _listen(self):
        """Events until the connection has lasted long enough; False: it is to be a new one."""
        self._send(live="true", live_sse="true")
        reply = self._connection.receive_head()
        if reply.status != 200:
            reply.body = b"".join(iter(self._connection.receive_chunk, b"")) \
                if reply["transfer-encoding"] else b""
            self._other_than_200(reply)
            return False
        assert reply["content-type"] == "text/event-stream", reply
        self._connection.socket.settimeout(self.rng.uniform(0.2, 1.5))
        batch, rest = [], b""
        try:
            while chunk := self._connection.receive_chunk():
                *events, rest = (rest + chunk).split(b"\n\n")
                for event in events:
                    if not event.startswith(b":"):
                        assert event.startswith(b"data: "), event
                        batch.append(json.loads(event[6:]))
                    if batch and batch[-1]["headers"].get("control") == "up-to-date":
                        self._take_batch(batch)
                        batch = []
        except (TimeoutError, ConnectionError):
            pass
        # What came of another batch: takes it and goes on exactly there, or leaves it.
        if batch and self.rng.random() < 0.5:
            self._take_batch(batch, exact=True)
        return False

    def _take_batch(self, batch, exact=False):
        """And where to go on: exactly there, or as Electric's client does."""
        for message in batch:
            self._take(message)
        if self.last > (0, -1):
            exact = exact or self.rng.random() < 0.5
            self.offset = f"{self.last[0]}_{self.last[1] if exact else 0}"

    def _other_than_200(self, reply):
        """True at 409 and 503; anything else is a failure."""
        if reply.status == 200:
            return False
        if reply.status == 409:
            self.refetches += 1
            self._start_over(reply["electric-handle"])
            return True
        assert reply.status == 503 and reply["retry-after"], f"{self.asked} {self.offset}: {reply}"
        self.consistent = False
        self._ended.wait(0.2)
        return True

    # ---- messages -------------------------------------------------------------------------------

    def _take(self, message):
        headers = message["headers"]
        if headers.get("control") == "up-to-date":
            self._cut(int(headers["global_last_seen_lsn"]))
        elif headers.get("control") != "snapshot-end":
            assert "operation" in headers, message
            if not self._is_known(headers):
                self._change(headers["operation"], message)

    def _is_known(self, headers):
        if "lsn" not in headers:
            return False
        here = (int(headers["lsn"]), headers["op_position"])
        if here <= self.last:
            assert self.events, f"{self.asked}: {here} came again after {self.last}"
            assert here[0] == self.last[0], f"{self.asked}: {here} came again after {self.last}"
            self.again += 1
            return True
        self.last = here
        return False

    def _change(self, operation, message):
        """A key's rows are counted: a table without a primary key may have several alike."""
        rows = self.held.setdefault(message["key"], Counter())
        if operation == "insert":
            assert not rows or not self.shape.table.key, f"{self.asked}: twice: {message}"
            self._count(rows, self._row(message["value"]), 1)
            return
        assert rows, f"{self.asked}: not there: {message}"
        old = next(iter(rows))
        values = dict(zip([column.name for column in self.shape.columns], old))
        for name, value in message.get("old_value", {}).items():
            column = next(c for c in self.shape.columns if c.name == name)
            assert in_stream([column], [value]) == (values[name],), f"{values}: {message}"
        self._count(rows, old, -1)
        if operation == "update":
            self._count(rows, self._row({**values, **message["value"]}), 1)
        if not rows:
            del self.held[message["key"]]

    def _count(self, rows, row, n):
        rows[row] += n
        self.changed[row] += n
        if not rows[row]:
            del rows[row]

    def _row(self, value):
        return in_stream(self.shape.columns, [value[column.name] for column in self.shape.columns])

    def _cut(self, position):
        assert position >= self.position, f"{self.asked}: from {self.position} to {position}"
        self.position = position
        self.cuts.append((position, {row: n for row, n in self.changed.items() if n}))
        self.changed = Counter()
        self.consistent = True

    # ---- what is checked ------------------------------------------------------------------------

    def check(self, history):
        """Whether every cut was right; when nobody writes and it is up to date. Their number."""
        if self.failure:
            raise self.failure
        self._timeline = self._timeline or Timeline(history, self.shape, in_stream)
        self._timeline.update()
        cuts, checked = self.cuts[:len(self.cuts)], 0
        del self.cuts[:len(cuts)]
        for cut in cuts:
            if not cut:
                self._rows = Counter()
                continue
            for row, n in cut[1].items():
                self._rows[row] += n
                if not self._rows[row]:
                    del self._rows[row]
            wrong = difference(self._timeline.at(cut[0]), self._rows)
            assert not wrong, f"{self.name} ({self.asked}) at {cut[0]}: {wrong}"
            checked += 1
        return checked
