"""The bridge's memory is bounded: by no transaction's size, no number of shapes, no slow client."""

import contextlib
import http.client
import json
import signal
import socket
from pathlib import Path

import pytest
from harness import Bridge, wait_for

MB = 1024 * 1024


def rss(process):
    """Anonymous memory, so without the page cache of mapped files, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


class Peak:
    """The most memory that a process had at any look."""

    def __init__(self, process):
        self.process, self.before = process, rss(process)
        self.most = self.before

    def look(self):
        self.most = max(self.most, rss(self.process))
        return True

    @property
    def grown(self):
        return self.most - self.before


@pytest.fixture
def wide(database):
    """A table for rows of about 300 bytes."""
    database.sql("CREATE TABLE wide (id int PRIMARY KEY, owner int NOT NULL, what text)")
    database.sql(
        "INSERT INTO wide SELECT n, n % 200, repeat('x', 280) FROM generate_series(1, 200) n")
    return database


def published(bridge):
    return bridge.metrics()["tombolo_rows_in_total"]


def write_much(database, rows):
    """A transaction of so many rows."""
    database.sql("INSERT INTO wide SELECT n, n % 200, md5(n::text) || repeat('x', 250) "
                 f"FROM generate_series(1000, {999 + rows}) n")


def follow(bridge, database, rows):
    """How far the memory grows while the transaction goes through."""
    peak = Peak(bridge.process)
    before = published(bridge)
    write_much(database, rows)
    wait_for(lambda: peak.look() and published(bridge) >= before + rows, 240, "the rows to come in",
             interval=0.05)
    wait_for(lambda: peak.look() and bridge.metrics()["tombolo_wal_lag_bytes"] < MB, 60,
             "the rows to be published")
    return peak.grown


def test_transaction_of_a_million_rows_does_not_grow_memory(wide, bridge, make_replica):
    replica = make_replica(["wide"]).once()
    grown = follow(bridge, wide, 1_000_000)
    assert grown < 60 * MB, f"grew by {grown / MB:.0f} MB"
    assert replica.once(deadline=240).sql("SELECT count(*), sum(id) FROM wide") == wide.sql(
        "SELECT count(*), sum(id) FROM wide")


def test_large_transaction_over_200_equality_shapes_does_not_grow_memory(wide, bridge):
    shapes = [{"table": "wide", "where": f"owner = {n}"} for n in range(200)]
    with contextlib.closing(stream(bridge, shapes[:100])), \
            contextlib.closing(stream(bridge, shapes[100:])):
        assert bridge.metrics()["tombolo_shapes"] == 200
        grown = follow(bridge, wide, 400_000)
    assert grown < 60 * MB, f"grew by {grown / MB:.0f} MB"
    found = sum(len(rows_of(bridge, shape)) for shape in shapes[::20])
    assert found == wide.value("SELECT count(*) FROM wide WHERE owner % 20 = 0")


def stream(bridge, shapes):
    """A live /v1/sync whose client has read its head and will read no more."""
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.request("POST", "/v1/sync?replica=lazy", json.dumps({"shapes": shapes}))
    answer = connection.getresponse()
    assert answer.status == 200
    return connection


def rows_of(bridge, shape):
    answer = bridge.post("/v1/sync?replica=once", json.dumps(
        {"shapes": [shape], "live": False}).encode(), timeout=60)
    lines = map(json.loads, answer.body.splitlines())
    return [message for line in lines for message in line.get("messages", ())]


def test_clients_that_never_read_cost_little_memory(wide, bridge):
    with contextlib.ExitStack() as stack:
        peak = Peak(bridge.process)
        for _ in range(50):
            stack.enter_context(contextlib.closing(stream(bridge, [{"table": "wide"}])))
        grown = follow(bridge, wide, 300_000)
        peak.look()
    assert max(grown, peak.grown) < 60 * MB, f"grew by {grown / MB:.0f}, {peak.grown / MB:.0f} MB"


def test_replica_that_stands_still_goes_on_where_it_was(wide, bridge, make_replica):
    """Stopped for longer than its connection is kept, it resumes with what it missed."""
    replica = make_replica(["wide"]).start()
    replica.wait_for(lambda: replica.rows("wide") and len(replica.rows("wide")) == 200)
    replica.process.send_signal(signal.SIGSTOP)
    write_much(wide, 50_000)
    replica.process.send_signal(signal.SIGCONT)
    expected = wide.sql("SELECT count(*), sum(id) FROM wide")
    replica.wait_for(lambda: replica.sql("SELECT count(*), sum(id) FROM wide") == expected, 60)


def make_shapes(bridge, shapes):
    """Each gets its first rows."""
    answer = bridge.post("/v1/sync?replica=many", json.dumps(
        {"shapes": shapes, "live": False}).encode(), timeout=240)
    assert answer.status == 200 and b'"error"' not in answer.body, answer.body[-500:]


@pytest.fixture
def roomy(wide, tmp_path):
    """A bridge that makes many shapes for a request; malloc has a heap for each of the two loops."""
    bridge = Bridge(wide, data_dir=tmp_path / "roomy", http_threads=2,
                    max_shapes_per_request=1000).start()
    yield bridge
    bridge.stop()


def test_ten_thousand_shapes_take_less_than_a_kilobyte_each(roomy):
    """With what malloc keeps of what making them took in passing."""
    before = rss(roomy.process)
    for first in range(0, 10_000, 1000):
        make_shapes(roomy, [{"table": "wide", "where": f"owner = {n}"}
                            for n in range(first, first + 1000)])
    assert roomy.metrics()["tombolo_shapes"] == 10_000
    wait_for(lambda: rss(roomy.process) - before < 10_000 * 1000, 60,
             lambda: f"10 MB at most: it grew by {(rss(roomy.process) - before) / MB:.1f}")
