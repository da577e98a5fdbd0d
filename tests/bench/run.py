#!/usr/bin/env python3
"""Benchmarks: `./dev bench [NAME...]`. docs/PERFORMANCE.md says what each row means.

Every row measures the bridge beside its ceiling, turn by turn in one run, and gives medians, ranges
and the ratio. Nothing here passes or fails by a time. The figures go to build/bench.json too.
"""

import argparse
import datetime
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "integration"))

import backlog
import first_sync
import footprint
import latency
import micro
import through_kafka
import triggers
import writes
from harness import Process
from workload import server

ROWS = {
    "stream": backlog.stream,
    "small": backlog.small,
    "lag": latency.lag,
    "shapes": backlog.shapes,
    "latency": latency.latency,
    "sync": first_sync.sync,
    "writes": writes.writes,
    "triggers": triggers.triggers,
    "idle": footprint.idle,
    "publishing": through_kafka.publishing,
    "kafka_latency": through_kafka.kafka_latency,
    "nodes": through_kafka.nodes,
    "shapelog": micro.shapelog,
}


class Bench:
    """What every row is given: the server, a folder, sizes, and where to say what goes on."""

    def __init__(self, arguments, folder, postgres):
        self.folder, self.postgres = folder, postgres
        self.repeat, self.shapes = arguments.repeat, arguments.shapes
        self._scale = arguments.scale

    def size(self, full):
        """A number of rows or clients, as scaled."""
        return max(1000, int(full * self._scale) // 1000 * 1000)

    @staticmethod
    def say(text):
        print(f"  {text}", file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--repeat", type=int, default=5, help="turns that count (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="0.01: a hundredth of the rows")
    parser.add_argument("--shapes", type=int, default=10_000, help="how many shapes (default 10000)")
    parser.add_argument("--json", type=Path, default=TESTS.parent / "build" / "bench.json")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in ROWS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)} (there are: {', '.join(ROWS)})")
    return given


def machine(postgres):
    """Enough to know what kind it is."""
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {"cpus": os.cpu_count(), "memory_gb": round(memory_kb / 1e6),
            "postgres": postgres.main.value("SHOW server_version"),
            "load_before": os.getloadavg()[0]}


def main():
    given = arguments()
    folder = Path(tempfile.mkdtemp(prefix="tombolo-bench-"))
    report = {"date": datetime.date.today().isoformat(), "repeat": given.repeat, "rows": []}
    try:
        with server() as postgres:
            report["machine"] = machine(postgres)
            bench = Bench(given, folder, postgres)
            for name in given.names or ROWS:
                print(f"== {name}", file=sys.stderr, flush=True)
                rows = ROWS[name](bench)
                for row in rows if isinstance(rows, list) else [rows] if rows else []:
                    print(row.as_text(), flush=True)
                    report["rows"].append(row.as_json())
    except BaseException:
        for process in Process.started:
            print(process.log_tail(), file=sys.stderr)
        raise
    finally:
        for process in Process.started:
            process.kill9()
        shutil.rmtree(folder, ignore_errors=True)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
