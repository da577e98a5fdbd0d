"""Thousands of waiting clients, slow ones, and ones that vanish: what they cost, and that none is lost."""

import contextlib
import select
import socket
import struct
from pathlib import Path

import pytest
from harness import Bridge, Connection, ShapeApi, ShapeReader, target, wait_for

KB, MB = 1024, 1024 * 1024
PARKED = 5000


def rss(process):
    """Anonymous memory in bytes: what the kernel holds for the sockets is not in it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["RssAnon"].split()[0]) * KB


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, v text)")
    return database


@pytest.fixture
def bridge(items, tmp_path):
    bridge = Bridge(items, data_dir=tmp_path / "bridge", long_poll_timeout="1h").start()
    yield bridge
    bridge.stop()


def connections(bridge):
    return bridge.metrics()["tombolo_http_connections"]


def parked(bridge):
    return bridge.metrics()["tombolo_shape_requests"]


class Crowd:
    """Connections that each wait for the next change behind `offset`."""

    def __init__(self, bridge, n, reader):
        self.bridge, self.reader = bridge, reader
        self.sockets = []
        while len(self.sockets) < n:  # no more at a time than the kernel queues for the bridge
            self.sockets += [socket.create_connection(("127.0.0.1", bridge.port), 60)
                             for _ in range(min(100, n - len(self.sockets)))]
            wait_for(lambda: connections(bridge) > len(self.sockets), 60,
                     f"{len(self.sockets)} connections")
        self.ask()

    def ask(self):
        """All of them send the live request of the reader's offset."""
        path = target("/v1/shape", table="items", offset=self.reader.offset,
                      handle=self.reader.handle, live="true", cursor=self.reader.cursor)
        request = f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        for connection in self.sockets:
            connection.sendall(request)

    def answers(self, deadline=60.0):
        """The body that each got: {body: how many}; the number is that of all."""
        found, waiting = {}, {connection.fileno(): [connection, b""] for connection in self.sockets}
        poll = select.poll()
        for number in waiting:
            poll.register(number, select.POLLIN)
        while waiting:
            ready = poll.poll(deadline * 1000)
            assert ready, f"{len(waiting)} have no answer"
            for number, _ in ready:
                data = waiting[number][0].recv(65536)
                assert data, "a connection was closed"
                waiting[number][1] += data
                body = whole_body(waiting[number][1])
                if body is not None:
                    found[body] = found.get(body, 0) + 1
                    poll.unregister(number)
                    del waiting[number]
        return found

    def vanish(self):
        """Without a word: the connections are reset."""
        for connection in self.sockets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        self.sockets = []


def whole_body(answer):
    """The body when it is all there, else None."""
    head, mark, rest = answer.partition(b"\r\n\r\n")
    if not mark:
        return None
    assert head.startswith(b"HTTP/1.1 200 "), head
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if lines.get(b"transfer-encoding") == b"chunked":
        return rest if rest.endswith(b"0\r\n\r\n") else None
    return rest if len(rest) == int(lines[b"content-length"]) else None


@contextlib.contextmanager
def crowd(bridge, n, reader):
    made = Crowd(bridge, n, reader)
    try:
        yield made
    finally:
        made.vanish()


def test_all_of_five_thousand_get_the_change_and_each_costs_little(items, bridge):
    reader = ShapeReader(bridge, table="items").catch_up()
    with crowd(bridge, 50, reader) as few:  # what is made once is there before it is measured
        items.sql("INSERT INTO items VALUES (0, 'x')")
        assert sum(few.answers().values()) == 50
    reader.catch_up()
    wait_for(lambda: connections(bridge) <= 2, 60, "the few to be gone")
    before = rss(bridge.process)
    with crowd(bridge, PARKED, reader) as many:
        for n in (1, 2):
            wait_for(lambda: parked(bridge) == PARKED, 60, "all to wait")
            items.sql(f"INSERT INTO items VALUES ({n}, 'x')")
            ((body, count),) = many.answers().items()
            assert count == PARKED and b'"id":"%d"' % n in body and b"up-to-date" in body
            reader.catch_up()
            many.ask()
        wait_for(lambda: parked(bridge) == PARKED, 60, "all to wait")
        grown = rss(bridge.process) - before
        assert grown / PARKED < KB, f"{grown / PARKED:.0f} bytes a client"
        items.sql("INSERT INTO items VALUES (3, 'x')")
        ((_, count),) = many.answers().items()
        assert count == PARKED


def test_parked_clients_that_vanish_leave_nothing_behind(items, bridge):
    reader = ShapeReader(bridge, table="items").catch_up()
    grown = []
    for n in range(7):
        with crowd(bridge, 500, reader) as some:
            some.vanish()
            items.sql(f"INSERT INTO items VALUES ({n}, 'x')")
        wait_for(lambda: connections(bridge) <= 2, 60, "all to be gone")
        wait_for(lambda n=n: reader.catch_up() and len(reader.rows()) == n + 1, 60)
        grown.append(rss(bridge.process))
    assert grown[-1] - grown[0] < MB, grown  # what the first 500 took is used again


def test_clients_that_do_not_read_cost_no_memory(items, bridge):
    """200 of them ask for 20 MB each, as a body and as events, and take next to nothing of it."""
    items.sql("INSERT INTO items SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
    api = ShapeApi(bridge)
    reply = api.get(table="items", offset="-1")
    handle = reply["electric-handle"]
    items.sql("UPDATE items SET v = repeat('y', 1000)")
    reader = ShapeReader(bridge, table="items").catch_up()
    wait_for(lambda: reader.catch_up() and
             all(row["v"][0] == "y" for row in reader.rows().values()), 60)
    before = rss(bridge.process)
    with contextlib.ExitStack() as stack:
        for n in range(200):
            lazy = stack.enter_context(Connection(bridge.port))
            lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            live = {"live": "true", "live_sse": "true"} if n % 2 else {}
            lazy.send("GET", api.target(table="items", offset="0_inf", handle=handle, **live))
            assert lazy.receive_head().status == 200
        items.sql("INSERT INTO items VALUES (0, 'x')")
        wait_for(lambda: reader.catch_up() and len(reader.rows()) == 20001, 60)
        grown = rss(bridge.process) - before
    assert grown < 40 * MB, f"grew by {grown / MB:.0f} MB"
    wait_for(lambda: connections(bridge) <= 2, 60, "all to be gone")
