"""`<prefix>.stream` read by a program that shares nothing with the bridge's: what kcat prints, the
headers, the frames, pgoutput's messages.

    topic = StreamTopic(kafka, "shop")
    topic.read()                 # everything that is there; fails where the rules are broken
    topic.rows("orders")         # the inserted rows in order, as tuples of texts
    topic.histories              # each with the position where it begins

The rules: transactions are whole and in commit order, none is there twice, a heartbeat's position
is behind everything before it, epochs do not fall, a new history begins with a heartbeat.
"""

import struct
from dataclasses import dataclass, field

NUMBERS = ("epoch", "commit_lsn", "end_lsn", "xid", "fragment", "last")


@dataclass
class Transaction:
    commit_lsn: int
    end_lsn: int
    xid: int
    fragments: int
    changes: list = field(default_factory=list)  # (op, table, (values...)); op: I, U, D, T


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        value, = struct.unpack_from(f">{form}", self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def take(self, size):
        assert self.at + size <= len(self.data), "a frame is cut off"
        self.at += size
        return self.data[self.at - size:self.at]

    def text(self):
        end = self.data.index(b"\0", self.at)
        text = self.data[self.at:end].decode()
        self.at = end + 1
        return text

    def tuple(self):
        values = []
        for _ in range(self.number("H")):
            kind = chr(self.number("B"))
            values.append(self.take(self.number("I")).decode() if kind == "t" else None)
        return tuple(values)


class StreamTopic:
    def __init__(self, kafka, prefix):
        self.kafka, self.name = kafka, f"{prefix}.stream"
        self.records = self.transactions = self.histories = self.heartbeats = None

    def read(self):
        self.records = self.kafka.consume(self.name)
        self.transactions, self.histories, self.heartbeats = [], [], []
        self._epoch = self._position = 0
        self._open = None
        for record in self.records:
            self._take(record)
        return self

    def rows(self, table):
        return [values for transaction in self.transactions
                for op, name, values in transaction.changes if op == "I" and name == table]

    @property
    def position(self):
        """Everything with a commit LSN below it is there."""
        return self._position

    # ---- the rules ---------------------------------------------------------------------------

    def _take(self, record):
        assert record.partition == 0 and record.key is None, record
        h = {name: int(record.headers[name]) for name in NUMBERS}
        assert h["epoch"] >= self._epoch, f"the epoch falls: {record.headers}"
        self._epoch = h["epoch"]
        history = record.headers["history"]
        if not self.histories or self.histories[-1][0] != history:
            # The topic's first one may have begun before its first record.
            assert record.value is None or not self.histories, f"it begins with rows: {record}"
            assert history not in dict(self.histories), f"a history comes again: {history}"
            self.histories.append((history, h["end_lsn"]))
            self._position, self._open = h["end_lsn"], None
        if record.value is None:
            assert h["end_lsn"] >= self._position and h["last"] == 1 and h["xid"] == 0, h
            self._position = h["end_lsn"]
            self.heartbeats.append(h["end_lsn"])
        else:
            self._take_fragment(h, record.value)

    def _take_fragment(self, h, value):
        assert h["commit_lsn"] >= self._position, f"a transaction is there twice: {h}"
        if h["fragment"] == 0:
            self._open = Transaction(h["commit_lsn"], 0, h["xid"], 0)
        opened = self._open
        assert opened and (opened.commit_lsn, opened.xid) == (h["commit_lsn"], h["xid"]), h
        assert opened.fragments == h["fragment"], f"a gap: {h}"
        opened.fragments += 1
        ended = self._take_frames(value)
        assert ended == bool(h["last"]), h
        if ended:
            opened.end_lsn = h["end_lsn"]
            self.transactions.append(opened)
            self._position, self._open = h["end_lsn"], None

    def _take_frames(self, value):
        frames, relations, ended = _Reader(value), {}, False
        while frames.at < len(value):
            assert not ended, "something follows the commit"
            message = _Reader(frames.take(frames.number("I")))
            ended = self._take_message(chr(message.number("B")), message, relations)
        return ended

    def _take_message(self, kind, message, relations):
        changes = self._open.changes
        if kind == "R":
            relid = message.number("I")
            message.text()
            relations[relid] = message.text()
        elif kind in "IUD":
            table = relations[message.number("I")]  # each record has those that it needs
            message.number("B")
            changes.append((kind, table, message.tuple()))
        elif kind == "T":
            count, _ = message.number("I"), message.number("B")
            changes.extend(("T", relations[message.number("I")], ()) for _ in range(count))
        return kind == "C"
