"""How costs grow: with shapes, with the size of a transaction, with what is there at a restart."""

import contextlib
import time

from backlog import turns
from consumers import SHAPES_A_REQUEST, BridgeConsumer, Follower, Recvlogical, make_shapes
from harness import Bridge
from measure import Curve, Figure, Row, memory, reset_peak, run, wait_until_quiet
from workload import database, load, need_helper

# Kind of clause (bench_shapes.c): how many shapes at most; with --full.
KINDS = {"equal": (100_000, 1_000_000), "listed": (10_000, 100_000), "range": (1000, 10_000),
         "contains": (1000, 10_000), "evaluated": (1000, 10_000)}
WORDS = {"equal": "column = value", "listed": "column IN (two values)",
         "range": "column BETWEEN", "contains": "array @> value", "evaluated": "an expression"}
EVALUATIONS = 20_000_000  # that a point may cost, rows times shapes


def powers(most, first=1):
    """first, 10 first, 100 first ... and `most` itself."""
    counts = []
    while first < most:
        counts.append(first)
        first *= 10
    return [*counts, most]


def ingest(bench):
    """CPU of the stream's thread a row, and memory a shape, by kind and number of shapes."""
    cost = {kind: Curve(words, "shapes", "µs of CPU a row", log=True)
            for kind, words in WORDS.items()}
    held = {kind: Curve(words, "shapes", "bytes a shape", log=True)
            for kind, words in WORDS.items()}
    for kind, most in KINDS.items():
        for count in powers(max(10, int(most[bench.full] * min(1, bench.scale)))):
            found = kind in ("equal", "listed")
            rows = 100_000 if found else max(1000, min(100_000, EVALUATIONS // count))
            for _ in range(bench.repeat):
                said = _shapes(bench, kind, count, bench.size(rows))
                cost[kind].at(count, 1e6 * said["cpu"] / said["rows"])
                if count >= 1000:
                    held[kind].at(count, said["bytes"])
            bench.say(f"{kind}, {count} shapes: {cost[kind].last():.2f} µs a row")
    figures = []
    for kind, curve in cost.items():
        figures.append(Figure(f"{WORDS[kind]}, {curve.points[-1][0]} shapes", "µs a row",
                              curve.points[-1][1]))
    target = Curve("target", "shapes", "bytes a shape", log=True)
    for count in sorted({x for curve in held.values() for x, _ in curve.points}):
        target.at(count, 1000)
    return Row("ingest", "what a row and a shape cost by the number of shapes: the stream's "
               "thread alone, without Postgres", figures,
               curves=[*cost.values(), *(c for c in [*held.values(), target] if c.points)])


def _shapes(bench, kind, count, rows):
    output = bench.folder / "shapes.txt"
    run(["sh", "-c", 'exec "$0" "$@" >"$OUT"', need_helper("bench_shapes"), kind, count, rows],
        OUT=output)
    words = output.read_text().split()
    return dict(zip(words[::2], map(float, words[1::2]), strict=True))


def transaction(bench):
    """Peak memory of the bridge and of pg_recvlogical by the size of one transaction."""
    curves = {who: Curve(who, "rows in the transaction", "MB at the peak", log=True)
              for who in ("bridge", "pg_recvlogical")}
    rates = {who: Curve(who, "rows in the transaction", "rows/s", log=True) for who in curves}
    with database(bench.postgres, "txn") as db:
        one = BridgeConsumer(db, bench.folder, "txn", "bridge", [{"table": "items"}])
        peer = Recvlogical(bench.postgres, db, "tombolo_txn")
        for rows in powers(bench.size(1_000_000), 1000):
            for figure in turns(bench, db, [one, peer], rows, rows, close=False):
                rates[figure.who].at(rows, *figure.values)
                ((_, peak),) = figure.peak_rss.items()
                curves[figure.who].at(rows, peak / 1e6)
        one.close()
    figures = [Figure(f"{curve.who}, {curve.points[-1][0]} rows", "MB", curve.points[-1][1])
               for curve in curves.values()]
    return Row("transaction", "one transaction by its size: peak memory", figures,
               curves=[*curves.values(), *rates.values()])


def restart(bench):
    """From the program's start until it is active, by rows in the log and by shapes."""
    rows, shapes = Curve("rows in one log", "rows or shapes", "ms to active", log=True), \
        Curve("shapes", "rows or shapes", "ms to active", log=True)
    peaks = Figure("peak memory after a restart with most of both", "MB")
    with database(bench.postgres, "restart") as db, contextlib.ExitStack() as stack:
        bridge = Bridge(db, data_dir=bench.folder / "restart", stream_id="restart",
                        max_shapes_per_request=SHAPES_A_REQUEST).start()
        stack.callback(bridge.stop)
        make_shapes(bridge, [{"table": "items"}])
        with contextlib.closing(Follower(bridge, "marker")):
            pass
        there = 0
        for count in powers(bench.size(1_000_000), 1000):
            load(db, count - there, min(1000, count - there))
            there = count
            db.sql("INSERT INTO marker VALUES (%s)", count)
            with contextlib.closing(Follower(bridge, "marker", b'"n":"%d"' % count)):
                pass  # what was committed before is in the log
            _restart(bench, bridge, rows, count)
        made = 0
        for count in powers(bench.shapes, min(100, bench.shapes)):
            make_shapes(bridge, [{"table": "marker", "where": f"n = {-n}"}
                                 for n in range(made + 1, count + 1)])
            made = count
            peaks.values = [_restart(bench, bridge, shapes, count) / 1e6]
    figures = [Figure(f"{curve.points[-1][0]} {curve.who}", "ms", curve.points[-1][1])
               for curve in (rows, shapes)]
    return Row("restart", "restart: ms from the program's start until it is active",
               [*figures, peaks], curves=[rows, shapes])


def _restart(bench, bridge, curve, count):
    """Some restarts; the peak memory of the last."""
    for _ in range(bench.repeat):
        wait_until_quiet(bridge.process.pid)
        bridge.stop()
        began = time.monotonic()
        bridge.start()
        curve.at(count, 1000 * (time.monotonic() - began))
    bench.say(f"{count} {curve.who}: {curve.last():.0f} ms")
    peak = memory(bridge.process.pid, "VmHWM")
    reset_peak(bridge.process.pid)
    return peak
