"""Live clients that wait: what one costs in memory, and how soon a commit wakes all, or one.

The ceiling is bench_loop.c, a bare epoll loop that receives the replication stream itself. Bridge
and loop take turns; who is not measured has no clients, and its walsender's work is what Postgres
does for anybody who listens.
"""

import contextlib
import resource
import statistics
import subprocess
import time

from harness import Bridge
from harness.process import environment
from measure import Curve, Figure, Ratio, Row, cpu_seconds, memory, wait_until_quiet
from workload import database, need_helper

COMMITS = 20  # in a turn
A_PROCESS = 5000  # clients
SPARE = 300  # file descriptors that are not clients'


class Clients:
    """Programs of up to A_PROCESS clients, from addresses of their own; all wait for `table`."""

    def __init__(self, port, table, count, source=2):
        self.programs = []
        while count > 0:
            self.programs.append(subprocess.Popen(
                [need_helper("bench_crowd"), str(port), table, str(min(count, A_PROCESS)),
                 str(source + len(self.programs))], env=environment(), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            count -= A_PROCESS
        self.sources = len(self.programs)
        for program in self.programs:
            assert program.stdout.readline() == "parked\n", "bench_crowd parked no clients"

    def expect(self, text):
        for program in self.programs:
            program.stdin.write(text + "\n")
            program.stdin.flush()

    def seen(self):
        """(when the first had it, when the last, CPU seconds of hearing)"""
        lines = [list(map(int, program.stdout.readline().split())) for program in self.programs]
        assert all(lines), "a program of clients has ended"
        first, last, cpu = zip(*lines, strict=True)
        return min(first) / 1e6, max(last) / 1e6, sum(cpu) / 1e6

    def close(self):
        for program in self.programs:
            program.communicate()


class BareLoop:
    """bench_loop on a port of its own."""

    who = "bare loop"

    def __init__(self, db, publication):
        self._child = subprocess.Popen(
            [need_helper("bench_loop"), db.conninfo, publication], env=environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.port, self.pid = int(self._child.stdout.readline()), self._child.pid

    def stop(self):
        self._child.kill()
        self._child.communicate()


class BridgeDoor:
    who = "bridge"

    def __init__(self, bridge):
        self.port, self.pid = bridge.port, bridge.process.pid


def most_clients():
    """What the limit of open files lets one server have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE


@contextlib.contextmanager
def _bridge(bench, name):
    """(database, a bridge with shapes of marker and pulse)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        db = stack.enter_context(database(bench.postgres, name))
        db.sql("CREATE TABLE pulse (n bigint PRIMARY KEY)")
        bridge = Bridge(db, data_dir=bench.folder / name, stream_id=name).start()
        stack.callback(bridge.stop)
        with contextlib.closing(Clients(bridge.port, "marker", 1)), \
                contextlib.closing(Clients(bridge.port, "pulse", 1)):
            pass  # both shapes are there from now on
        yield db, bridge
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def wake(bench):
    """One commit for 10,000 clients; and for one among as many as the limit of files allows."""
    most = most_clients()
    all_, among = min(most, bench.size(10_000, least=100)), min(most, bench.size(100_000))
    with _bridge(bench, "wake") as (db, bridge):
        loop = BareLoop(db, "tombolo_wake")
        doors = [BridgeDoor(bridge), loop]
        rows = [_row(bench, db, doors, "wake-all", f"{all_} clients woken by one commit",
                     (("marker", all_),)),
                _row(bench, db, doors, "wake-one", f"one client woken among {among}",
                     (("marker", 1), ("pulse", among - 1)))]
        loop.stop()
    return rows


def _row(bench, db, doors, name, what, crowds):
    figures = {(door.who, part): Figure(f"{door.who}, {part}", "ms", per="client")
               for door in doors for part in ("first", "last")}
    for turn in range(bench.repeat + 1):
        for door in doors[:: 1 if turn % 2 else -1]:
            first, last, cpu, peak = _turn(db, door, crowds, name)
            bench.say(f"turn {turn}: {door.who}, first {first:.2f} and last {last:.2f} ms")
            if turn:
                figures[door.who, "first"].add(first)
                figures[door.who, "last"].add(last, cpu, {door.who: peak},
                                              units=crowds[0][1] * COMMITS)
    return Row(name, f"{what}: ms from sending an insert until they have it, median of {COMMITS}",
               list(figures.values()),
               [Ratio.of(figures["bridge", "last"], figures["bare loop", "last"], "<= 1.3"),
                Ratio.of_cpu(figures["bridge", "last"], "bridge",
                             figures["bare loop", "last"], "bare loop")])


def _turn(db, door, crowds, name):
    """(ms to the first client, ms to the last, CPU seconds of all commits, peak memory)"""
    times, numbers = [], db.value("SELECT coalesce(max(n), 0) FROM marker")
    hearing = 0.0
    with contextlib.ExitStack() as stack:
        source, parked = 2, []
        for table, count in crowds:
            parked.append(Clients(door.port, table, count, source))
            source += parked[-1].sources
            stack.callback(parked[-1].close)
        connection = stack.enter_context(contextlib.closing(db.connect()))
        cursor = stack.enter_context(connection.cursor())
        wait_until_quiet(door.pid, share=0.3)  # thousands of streams' heartbeats go on
        before = cpu_seconds(door.pid)
        for n in range(numbers + 1, numbers + 1 + COMMITS):
            parked[0].expect(f'"n":"{n}"')
            sent = time.monotonic()
            cursor.execute("INSERT INTO marker VALUES (%s)", (n,))
            first, last, cpu = parked[0].seen()
            hearing += cpu
            times.append((1000 * (first - sent), 1000 * (last - sent)))
        used = {door.who: cpu_seconds(door.pid) - before, "clients": hearing}
        peak = memory(door.pid, "VmRSS")
    wait_until_quiet(door.pid)
    return *(statistics.median(column) for column in zip(*times, strict=True)), used, peak


def clients(bench):
    """Anonymous memory of the bridge by the number of parked clients."""
    most = min(most_clients(), bench.size(20_000))
    counts = [count for count in (1000, 2000, 5000, 10_000) if count < most] + [most]
    total, target = (Curve(who, "parked clients", "MB, anonymous")
                     for who in ("bridge", "target, 1 kB each"))
    each = []
    with _bridge(bench, "clients") as (_, bridge), contextlib.ExitStack() as stack:
        pid, source, parked = bridge.process.pid, 2, 0
        wait_until_quiet(pid)
        start = memory(pid, "RssAnon")
        total.at(0, start / 1e6)
        target.at(0, start / 1e6)
        for count in counts:
            crowd = Clients(bridge.port, "marker", count - parked, source)
            stack.callback(crowd.close)
            source, parked = source + crowd.sources, count
            wait_until_quiet(pid)
            grown = memory(pid, "RssAnon")
            total.at(count, grown / 1e6)
            target.at(count, start / 1e6 + count / 1000)
            each.append((grown - start) / count)
            bench.say(f"{count} clients: {each[-1]:.0f} bytes each")
    figure = Figure(f"a parked client, of {most}", "bytes")
    figure.add(each[-1])
    return Row("clients", "memory by the number of parked clients: the kernel's aside", [figure],
               [Ratio("kB a parked client", [each[-1] / 1000], "< 1, kernel aside")],
               curves=[total, target])
