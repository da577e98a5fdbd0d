"""The rows of the table that go through a real Kafka broker: publishing, latency, more nodes.

The broker keeps its data under /tmp and does not call fsync; that is how Kafka comes. It is on the
same machine as everything else, so what is measured includes what it takes.
"""

import contextlib
import os
import select
import signal
import statistics
import time

from backlog import turns
from consumers import Recvlogical
from footprint import park
from harness import Bridge, Kafka, wait_for
from latency import Watcher, frozen, percentile
from measure import Figure, Ratio, Row, cpu_seconds, memory, reset_peak, wait_until_quiet
from workload import database

COMMITS = 50  # in a turn of `nodes`


def publisher_of(kafka, db, folder, name, **settings):
    """A bridge with the stream id `name` that publishes `<name>.stream`."""
    return Bridge(db, data_dir=folder / name, stream_id=name, kafka_brokers=kafka.brokers,
                  kafka_prefix=name, kafka_stream="true", **settings).start()


def publish(db, name, *tables):
    """Puts them into the publication of the stream `name`."""
    db.sql(f"ALTER PUBLICATION tombolo_{name} ADD TABLE {', '.join(tables)}")


def walsender_of(db, name):
    return db.value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s",
                    f"tombolo_{name}")


def wait_until_acknowledged(bridge, lsn):
    """Until the broker has all that was committed before this position, a text."""
    high, low = (int(half, 16) for half in lsn.split("/"))
    wait_for(lambda: bridge.metrics()["tombolo_kafka_acked_lsn"] > (high << 32 | low), 600,
             "the broker to have acknowledged everything", interval=0.01)


class Publisher:
    """A bridge without clients that publishes; it stands where consumers.py has a bridge."""

    def __init__(self, kafka, db, folder, name, who, **settings):
        self.kafka, self.db, self.name, self.who = kafka, db, name, who
        self.bridge = publisher_of(kafka, db, folder, name, **settings)
        if "kafka_topics" in settings:
            wait_for(self._has_tables, 60, "the tables to be published")
        else:
            publish(db, name, "items", "marker")
        self._walsender = None

    def _has_tables(self):
        return self.db.value("SELECT count(*) FROM pg_publication_tables WHERE pubname = %s",
                             f"tombolo_{self.name}") == 2

    def hold(self):
        wait_until_quiet(self.bridge.process.pid)
        self._walsender = walsender_of(self.db, self.name)
        os.kill(self._walsender, signal.SIGSTOP)

    def consume(self, _marker, endpos):
        pids = {"bridge": self.bridge.process.pid, "walsender": self._walsender}
        if self.kafka.process:
            pids["broker"] = self.kafka.process.pid
        reset_peak(pids["bridge"])
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        started = time.monotonic()
        os.kill(self._walsender, signal.SIGCONT)
        wait_until_acknowledged(self.bridge, endpos)
        seconds = time.monotonic() - started
        cpu = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        peak = {"bridge": memory(pids["bridge"], "VmHWM")}
        wait_until_quiet(pids["bridge"])
        return seconds, cpu, peak

    def close(self):
        self.bridge.stop()


def publishing(bench):
    """A backlog into the stream's topic; into the table's topic too."""
    rows = bench.size(200_000)
    with Kafka() as kafka, database(bench.postgres, "publishing") as db:
        consumers = [
            Publisher(kafka, db, bench.folder, "published", "publisher, stream"),
            Publisher(kafka, db, bench.folder, "both", "publisher, stream and topics",
                      kafka_topics="true", kafka_tables="public.items,public.marker"),
            Recvlogical(bench.postgres, db, "tombolo_published")]
        stream, both, ceiling = turns(bench, db, consumers, rows, 1000)
    return Row("publishing", f"{rows} rows in 1000-row transactions, a backlog until the broker "
               "has acknowledged it", [stream, both, ceiling],
               [Ratio.of(stream, ceiling), Ratio.of(both, ceiling), Ratio.of(both, stream)])


# ---- latency -------------------------------------------------------------------------------------


def kafka_latency(bench):
    """From sending an insert to a live client's socket: a bridge with a slot, and a node."""
    count = bench.size(1000)
    parts = {"p50": 0.5, "p99": 0.99}
    seen = {who: {part: Figure(f"{who}, {part}", "µs") for part in parts}
            for who in ("bridge with a slot", "through Kafka")}
    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(Kafka())
        db = stack.enter_context(database(bench.postgres, "kafka_latency"))
        db.sql("CREATE TABLE pulse (n bigint PRIMARY KEY)")
        direct = Bridge(db, data_dir=bench.folder / "direct", stream_id="direct").start()
        stack.callback(direct.stop)
        publisher = publisher_of(kafka, db, bench.folder, "relayed")
        stack.callback(publisher.stop)
        node = node_of(kafka, db, bench.folder, "relayed", 1)
        stack.callback(node.stop)
        walsenders = walsender_of(db, "direct"), walsender_of(db, "relayed")
        ways = [("bridge with a slot", direct, (walsenders[1], publisher.process.pid)),
                ("through Kafka", node, (walsenders[0], direct.process.pid))]
        for turn in range(bench.repeat + 1):
            for who, door, others in ways[:: 1 if turn % 2 else -1]:
                with frozen(*others):
                    samples = Watcher(db, count, "socket", "127.0.0.1", door.port).go()
                for bridge in (direct, publisher, node):
                    wait_until_quiet(bridge.process.pid)
                for part, share in parts.items():
                    value = percentile([sample[1] for sample in samples], share)
                    bench.say(f"turn {turn}: {who} {part} {value} µs")
                    if turn:
                        seen[who][part].add(value)
    return Row("kafka_latency", f"{count} inserts, one by one: µs until a live client has it",
               [figure for figures in seen.values() for figure in figures.values()],
               [_added(seen, part) for part in parts])


def _added(seen, part):
    direct, relayed = (figures[part].values for figures in seen.values())
    return Ratio(f"{part}: µs added by Kafka",
                 [b - a for a, b in zip(direct, relayed, strict=True)])


# ---- nodes ---------------------------------------------------------------------------------------


def node_of(kafka, db, folder, name, number):
    """A fan-out node of the stream that publisher_of(name) publishes."""
    return Bridge(db, data_dir=folder / f"{name}-node-{number}", stream_id=name,
                  source=f"kafka://{kafka.brokers}/{name}").start()


class Crowd:
    """Parked clients in one thread, which notes when the first and the last have a text."""

    def __init__(self, doors, count):
        """As many on each of the bridges."""
        self._sockets = {client.fileno(): client for door in doors
                         for client in park(door, count // len(doors))}
        self._epoll = select.epoll()
        for client in self._sockets.values():
            self._epoll.register(client, select.EPOLLIN)

    def wait(self, text):
        """Until all have had `text`, which comes in one piece: (first, last) by the clock."""
        missing = set(self._sockets)
        first, end = None, time.monotonic() + 60
        while missing:
            assert time.monotonic() < end, f"{len(missing)} clients never had {text}"
            for fd, _ in self._epoll.poll(1.0, len(self._sockets)):
                data = self._sockets[fd].recv(65536)
                assert data, "a stream was ended"
                if text in data:
                    missing.discard(fd)
                    first = first or time.monotonic()
        return first, time.monotonic()

    def close(self):
        self._epoll.close()
        for client in self._sockets.values():
            client.close()


def nodes(bench):
    """One commit wakes the same clients, of one node or of two."""
    clients = bench.size(2000)
    seen = {count: {who: Figure(f"{words}, {who}", "ms", per="client") for who in ("first", "last")}
            for count, words in ((1, "one node"), (2, "two nodes"))}
    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(Kafka())
        db = stack.enter_context(database(bench.postgres, "nodes"))
        publisher = publisher_of(kafka, db, bench.folder, "spread")
        stack.callback(publisher.stop)
        both = [node_of(kafka, db, bench.folder, "spread", number) for number in (1, 2)]
        for node in both:
            stack.callback(node.stop)
        for turn in range(bench.repeat + 1):
            for count in (1, 2) if turn % 2 else (2, 1):
                first, last, cpu = _wake(db, both[:count], clients, turn * 10 + count)
                bench.say(f"turn {turn}: {count} of 2 nodes: {first:.1f} and {last:.1f} ms")
                if turn:
                    seen[count]["first"].add(first)
                    seen[count]["last"].add(last, cpu, units=clients * COMMITS)
    return Row("nodes", f"ms from sending an insert until the first and the last of {clients} "
               f"clients have it, median of {COMMITS}",
               [figure for figures in seen.values() for figure in figures.values()],
               [Ratio.of(seen[2]["last"], seen[1]["last"])])


def _wake(db, doors, clients, run):
    """(ms to the first client, ms to the last, CPU seconds of all commits)"""
    times = []
    with contextlib.closing(Crowd(doors, clients)) as crowd, \
            contextlib.closing(db.connect()) as connection, connection.cursor() as cursor:
        for door in doors:
            wait_until_quiet(door.process.pid)
        before = [cpu_seconds(door.process.pid) for door in doors], time.process_time()
        for n in range(run * COMMITS, (run + 1) * COMMITS):
            sent = time.monotonic()
            cursor.execute("INSERT INTO marker VALUES (%s)", (n,))
            times.append([1000 * (when - sent) for when in crowd.wait(b'"n":"%d"' % n)])
        used = [cpu_seconds(door.process.pid) - had
                for door, had in zip(doors, before[0], strict=True)]
        cpu = {"busier node": max(used), "nodes": sum(used),
               "clients": time.process_time() - before[1]}
    return *(statistics.median(column) for column in zip(*times, strict=True)), cpu
