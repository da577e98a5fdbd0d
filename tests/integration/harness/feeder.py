"""Writes `<prefix>.stream` as a publisher does, from a slot, one step at a time: for what a test of
a fan-out node wants of a topic that a real publisher does not do on request.

    with Feeder(kafka, database, "shop") as feeder:   # publication, slot, topic, first heartbeat
        feeder.feed()                                 # what was committed by now, then a heartbeat
        with feeder.running():                        # again and again, in a thread
            ...

The format is that of bridge/kafka/frames.h and publisher.h, read here once more.
"""

import contextlib
import struct
import threading

B, C, R, T = b"BCRT"
ROWS = b"IUD"


def _relids(message):
    """The relations that a message names."""
    if message[0] in ROWS:
        return [struct.unpack_from(">I", message, 1)[0]]
    if message[0] == T:
        count, = struct.unpack_from(">I", message, 1)
        return list(struct.unpack_from(f">{count}I", message, 6))
    return []


class Feeder:
    """`limit`: a fragment's value is closed when it has more bytes than this."""

    def __init__(self, kafka, database, prefix, limit=100000, history="0123456789", epoch=1):
        self.kafka, self.database, self.topic = kafka, database, f"{prefix}.stream"
        self.limit, self.epoch = limit, epoch
        system_id = database.value("SELECT system_identifier FROM pg_control_system()")
        self.history = f"{system_id}-{history}"
        self.slot = self.publication = "tombolo_default"
        self.relations = {}
        self.fed = 0  # transactions

    def __enter__(self):
        self.database.sql(f"CREATE PUBLICATION {self.publication}")
        self.make_slot()
        self.begin()
        return self

    def __exit__(self, *exc):
        self.drop_slot()

    def make_slot(self):
        self.database.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", self.slot)

    def drop_slot(self):
        self.database.sql("SELECT pg_drop_replication_slot(%s)", self.slot)

    def begin(self):
        """A new history; the broker makes the topic of its first record."""
        self.heartbeat(self.confirmed())

    def confirmed(self):
        return self.database.value(
            "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots"
            " WHERE slot_name = %s", self.slot)

    # ---- records -----------------------------------------------------------------------------

    def record(self, value, commit_lsn, end_lsn, xid=0, fragment=0, last=1, **others):
        """One record; `others` replace headers."""
        headers = {"epoch": self.epoch, "commit_lsn": commit_lsn, "end_lsn": end_lsn, "xid": xid,
                   "fragment": fragment, "last": last, "history": self.history, **others}
        if value:
            self.kafka.produce_bytes(self.topic, value, headers)
        else:  # of records without a key kcat passes over the empty ones
            self.kafka.produce(self.topic, None, key="heartbeat", headers=headers, partition=0)

    def heartbeat(self, position):
        self.record(b"", position, position)

    def send(self, messages, fragments=None):
        """One transaction's messages; only its first `fragments` records when that is given."""
        commit_lsn, _, xid = struct.unpack_from(">QqI", messages[0], 1)
        _, end_lsn = struct.unpack_from(">QQ", messages[-1], 2)
        values = self._fragments(messages)
        for n, value in enumerate(values[:fragments]):
            last = n + 1 == len(values)
            self.record(value, commit_lsn, end_lsn if last else 0, xid, n, int(last))
        return len(values)

    def _fragments(self, messages):
        values, value, has = [], b"", set()
        for message in messages:
            if message[0] == R:
                self.relations[struct.unpack_from(">I", message, 1)[0]] = message
                continue
            if len(value) > self.limit:
                values.append(value)
                value, has = b"", set()
            for relid in _relids(message):
                if relid not in has:
                    value += self._frame(self.relations[relid])
                    has.add(relid)
            value += self._frame(message)
        return values + [value]

    @staticmethod
    def _frame(message):
        return struct.pack(">I", len(message)) + message

    # ---- the stream --------------------------------------------------------------------------

    def transactions(self):
        """What was committed by now and not confirmed, and the position behind it."""
        position = self.database.value("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
        rows = self.database.sql(
            "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, '0/0'::pg_lsn + %s, NULL,"
            " 'proto_version', '1', 'publication_names', %s, 'messages', 'true')",
            self.slot, position, self.publication)
        transactions = []
        for data, in rows:
            message = bytes(data)
            if message[0] == B:
                transactions.append([])
            transactions[-1].append(message)
        return transactions, position

    def confirm(self, position):
        self.database.sql("SELECT pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s)", self.slot,
                          position)

    def feed(self, confirm=True):
        transactions, position = self.transactions()
        for messages in transactions:
            self.send(messages)
        if position > self.confirmed():
            self.heartbeat(position)
            if confirm:
                self.confirm(position)
        self.fed += len(transactions)
        return self

    @contextlib.contextmanager
    def running(self):
        ended = threading.Event()
        failure = []

        def run():
            try:
                while not ended.wait(0.05):
                    self.feed()
            except BaseException as why:  # pylint: disable=broad-except
                failure.append(why)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()
        if failure:
            raise failure[0]
