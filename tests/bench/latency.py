"""Latency of one commit, and the lag behind writers. bench_latency.c does the seeing."""

import contextlib
import os
import signal
import subprocess
import time

from harness import Bridge, Replica, wait_for
from harness.process import environment
from measure import Figure, Ratio, Row, cpu_seconds, wait_until_quiet
from workload import database, load, need_helper, postgres_program

LIVE_WRITE = """\
INSERT INTO items SELECT r.* FROM nextval('ids') i, rows_of(i, i, 50000) r;
"""


class Watcher:
    """bench_latency that watches by `mode`, and is ready; go() has its measurements in µs."""

    def __init__(self, db, count, *mode):
        argv = [need_helper("bench_latency"), db.conninfo, count, *mode]
        self.child = subprocess.Popen(list(map(str, argv)), env=environment(), text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.child.stdout.readline() == "ready\n", f"bench_latency {mode} is not ready"

    def go(self):
        """[(µs to the insert's answer, µs to its being seen)...]"""
        out, _ = self.child.communicate("go\n", timeout=600.0)
        assert self.child.returncode == 0, f"bench_latency ended with {self.child.returncode}"
        return [tuple(map(int, line.split())) for line in out.splitlines()]


@contextlib.contextmanager
def frozen(*pids):
    """So that one contestant has the machine, and its WAL, to itself."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def latency(bench):
    """From sending an insert to its being seen, by three watchers; with little and much data."""
    rows = []
    for held in sorted({1000, bench.size(1_000_000)}):
        with database(bench.postgres, "latency") as db:
            rows.append(_latency_holding(bench, db, held))
    return rows


def _latency_holding(bench, db, held):
    count = bench.size(2000, least=100)
    db.sql("CREATE TABLE pulse (n bigint PRIMARY KEY)")
    load(db, held, min(held, 10_000))
    bridge = Bridge(db, data_dir=bench.folder / f"latency-{held}", stream_id="latency").start()
    replica = Replica(bridge, bench.folder / f"latency-{held}.db", ["pulse", "items"])
    replica.once(600.0)
    wait_until_quiet(bridge.process.pid)
    seen = {name: {part: Figure(f"{name}, {part}", "µs") for part in ("p50", "p99")}
            for name in ("insert's answer", "pg_recvlogical's place", "socket", "replica")}
    for turn in range(bench.repeat + 1):
        for name, samples in _latency_turn(bridge, replica, db, count):
            if turn:
                seen[name]["p50"].add(percentile([s[1] for s in samples], 0.5))
                seen[name]["p99"].add(percentile([s[1] for s in samples], 0.99))
            if turn and name == "pg_recvlogical's place":
                answers = [s[0] for s in samples]
                seen["insert's answer"]["p50"].add(percentile(answers, 0.5))
                seen["insert's answer"]["p99"].add(percentile(answers, 0.99))
            bench.say(f"turn {turn}: {name} p50 {percentile([s[1] for s in samples], 0.5)} µs")
    bridge.stop()
    return Row("latency", f"an insert is seen, µs after it was sent; the client holds {held} rows",
               [figure for parts in seen.values() for figure in parts.values()],
               [_added(seen, "socket", "p50", "< 1000"), _added(seen, "socket", "p99", "< 5000"),
                _added(seen, "replica", "p50", "< 1000"),
                _added(seen, "replica", "p99", "< 5000")])


def _added(seen, name, part, target):
    pairs = zip(seen[name][part].values, seen["pg_recvlogical's place"][part].values, strict=True)
    return Ratio(f"{name}, {part}: µs added", [a - b for a, b in pairs], target)


def _latency_turn(bridge, replica, db, count):
    """Each watcher once: (name, samples)."""
    walsender = db.value("SELECT active_pid FROM pg_replication_slots "
                         "WHERE slot_name = 'tombolo_latency'")
    with frozen(walsender, bridge.process.pid):
        yield ("pg_recvlogical's place",
               Watcher(db, count, "recv", "tombolo_latency").go())
    wait_until_quiet(bridge.process.pid)
    yield "socket", Watcher(db, count, "socket", "127.0.0.1", bridge.port).go()
    replica.start()
    replica.wait_for(lambda: len(replica.rows("pulse")) == db.value("SELECT count(*) FROM pulse"),
                     60, "the replica to have caught up")
    yield "replica", Watcher(db, count, "replica", replica.db_path).go()
    replica.stop()


def lag(bench):
    """Single-row transactions by 4 writers; how long after the last one a commit is seen."""
    rows = bench.size(20_000)
    with database(bench.postgres, "lag") as db:
        db.sql("CREATE TABLE pulse (n bigint PRIMARY KEY)")
        script = bench.folder / "live.sql"
        script.write_text(LIVE_WRITE)
        bridge = Bridge(db, data_dir=bench.folder / "lag", stream_id="lag").start()
        answer = bridge.post("/v1/sync?replica=lag", {
            "shapes": [{"table": "items"}, {"table": "pulse"}], "live": False}, timeout=60.0)
        assert answer.status == 200, answer.body
        lags = {"pg_recvlogical's place": Figure("pg_recvlogical's place", "ms"),
                "socket": Figure("bridge, socket of a client", "ms")}
        rates = Figure("4 writers meanwhile", "rows/s")
        for turn in range(bench.repeat + 1):
            for name, ms, rate, cpu in _lag_turn(bench, bridge, db, script, rows):
                if turn:
                    lags[name].add(ms, cpu, units=rows)
                    rates.add(rate)
                bench.say(f"turn {turn}: {name} {ms:.2f} ms behind {rate:.0f} rows/s")
        bridge.stop()
    return Row("lag", f"{rows} single-row transactions by 4 writers: ms from sending one more "
               "to its being seen", [lags["pg_recvlogical's place"], lags["socket"], rates],
               [Ratio("ms added", [b - a for a, b in zip(
                   lags["pg_recvlogical's place"].values, lags["socket"].values, strict=True)],
                   "no lag behind the writers")])


def _lag_turn(bench, bridge, db, script, rows):
    """(name, ms behind, the writers' rate, CPU seconds), for each watcher."""
    pid = bridge.process.pid
    walsender = db.value("SELECT active_pid FROM pg_replication_slots "
                         "WHERE slot_name = 'tombolo_lag'")
    with frozen(walsender, pid):
        watcher = Watcher(db, 1, "recv", "tombolo_lag")
        rate = _write_live(bench, db, script, rows)
        yield "pg_recvlogical's place", watcher.go()[0][1] / 1000, rate, {}
    wait_until_quiet(pid)
    watcher = Watcher(db, 1, "socket", "127.0.0.1", bridge.port)
    before = cpu_seconds(pid), cpu_seconds(walsender)
    rate = _write_live(bench, db, script, rows)
    ms = watcher.go()[0][1] / 1000
    cpu = {"bridge": cpu_seconds(pid) - before[0], "walsender": cpu_seconds(walsender) - before[1]}
    yield "socket", ms, rate, cpu
    wait_for(lambda: bridge.health() == "active", 10, "the bridge to be well")


def _write_live(bench, db, script, rows):
    """By pgbench, 4 clients; rows a second."""
    argv = [postgres_program(bench.postgres, "pgbench"), "-n", "-M", "prepared", "-c", "4",
            "-j", "1", "-t", rows // 4, "-f", script, "-h", db.host, "-p", db.port,
            "-U", db.user, db.name]
    started = time.monotonic()
    done = subprocess.run(list(map(str, argv)), env=environment(), check=False,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"pgbench failed: {done.stderr}"
    return rows / (time.monotonic() - started)
