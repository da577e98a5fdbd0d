#!/usr/bin/env python3
"""Benchmarks: `./dev bench [NAME...]`. docs/PERFORMANCE.md says what each row means.

Every row measures the bridge beside its ceiling, turn by turn in one run, and gives medians, ranges
and the ratio. Nothing here passes or fails by a time. The figures go to build/bench.json too, which
--compare compares with another one and --report makes the tables and plots of the docs from.
"""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "integration"))

import backlog
import compare
import crowd
import first_sync
import footprint
import growth
import latency
import micro
import report
import serving
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
    "hot": serving.hot,
    "wake": crowd.wake,
    "writes": writes.writes,
    "triggers": triggers.triggers,
    "idle": footprint.idle,
    "clients": crowd.clients,
    "ingest": growth.ingest,
    "transaction": growth.transaction,
    "restart": growth.restart,
    "sync_rows": first_sync.sync_rows,
    "publishing": through_kafka.publishing,
    "kafka_latency": through_kafka.kafka_latency,
    "nodes": through_kafka.nodes,
    "shapelog": micro.shapelog,
}


class Bench:
    """What every row is given: the server, a folder, sizes, and where to say what goes on."""

    def __init__(self, arguments, folder, postgres):
        self.folder, self.postgres = folder, postgres
        self.repeat, self.full = arguments.repeat, arguments.full
        self.shapes, self.scale = arguments.shapes, arguments.scale

    def size(self, full, least=1000):
        """A number of rows or clients, as scaled."""
        return max(least, int(full * self.scale) // least * least)

    @staticmethod
    def say(text):
        print(f"  {text}", file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--repeat", type=int, default=5, help="turns that count (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="0.01: a hundredth of the rows")
    parser.add_argument("--shapes", type=int, default=10_000, help="default 10000")
    parser.add_argument("--json", type=Path, default=TESTS.parent / "build" / "bench.json")
    parser.add_argument("--full", action="store_true",
                        help="the curves to their ends: a million shapes, ten million rows")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"),
                        help="measures nothing: what differs between two such files")
    parser.add_argument("--report", type=Path, nargs="+", metavar="FILE",
                        help="measures nothing: tables and plots of docs/PERFORMANCE.md from them")
    parser.add_argument("--docs", type=Path, default=TESTS.parent / "docs",
                        help="where --report finds PERFORMANCE.md and puts plots/")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in ROWS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)} (there are: {', '.join(ROWS)})")
    return given


def commit():
    """What is measured, with a + where the tree differs from it; empty where git is not."""
    git = ["git", "-C", str(TESTS.parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, text=True,
                              capture_output=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def machine(postgres):
    """Enough to know what kind it is."""
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {"cpus": os.cpu_count(), "memory_gb": round(memory_kb / 1e6),
            "postgres": postgres.main.value("SHOW server_version"),
            "load_before": os.getloadavg()[0]}


def main():
    given = arguments()
    if given.compare:
        print(compare.differences(*given.compare))
    elif given.report:
        report.write(given.report, given.docs)
    else:
        measure(given)


def measure(given):
    folder = Path(tempfile.mkdtemp(prefix="tombolo-bench-"))
    found = {"date": datetime.date.today().isoformat(), "commit": commit(),
             "repeat": given.repeat, "scale": given.scale, "rows": []}
    try:
        with server() as postgres:
            found["machine"] = machine(postgres)
            bench = Bench(given, folder, postgres)
            for name in given.names or ROWS:
                print(f"== {name}", file=sys.stderr, flush=True)
                rows = ROWS[name](bench)
                for row in rows if isinstance(rows, list) else [rows] if rows else []:
                    print(row.as_text(), flush=True)
                    found["rows"].append(row.as_json())
                found["machine"]["load_after"] = os.getloadavg()[0]
                save(found, given.json)
    except BaseException:
        for process in Process.started:
            print(process.log_tail(), file=sys.stderr)
        raise
    finally:
        for process in Process.started:
            process.kill9()
        shutil.rmtree(folder, ignore_errors=True)


def save(found, path):
    """After each row: a run that is broken off keeps those that it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
