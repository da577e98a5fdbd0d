"""What capturing costs a program that writes to its SQLite file (bench_triggers.c)."""

import shutil
import subprocess

from harness.process import environment
from measure import Figure, Ratio, Row
from workload import need_helper


def triggers(bench):
    """Inserts and updates with our triggers beside the bare table, by rows a transaction."""
    return [_row(bench, group, bench.size(rows)) for group, rows in ((1000, 100_000), (1, 20_000))]


def _row(bench, group, rows):
    figures = {(what, who): Figure(f"{what}s, {who}", "rows/s")
               for what in ("insert", "update") for who in ("bare", "captured")}
    for turn in range(bench.repeat + 1):
        for captured in ((0, 1), (1, 0))[turn % 2]:
            taken = _run(bench, captured, rows, group)
            for what in ("insert", "update") if turn else ():
                seconds, cpu = taken[what]
                figures[what, ("bare", "captured")[captured]].add(rows / seconds, {"writer": cpu},
                                                                  units=rows)
    return Row("triggers", f"{rows} rows, {group} a transaction", list(figures.values()),
               [Ratio.of(figures[what, "captured"], figures[what, "bare"])
                for what in ("insert", "update")])


def _run(bench, captured, rows, group):
    folder = bench.folder / "triggers"
    folder.mkdir()
    argv = [need_helper("bench_triggers"), folder, str(captured), str(rows), str(group)]
    done = subprocess.run(argv, env=environment(), check=True, capture_output=True, text=True,
                          timeout=600)
    shutil.rmtree(folder)
    words = done.stdout.split()
    return {words[0]: (float(words[1]), float(words[2])),
            words[3]: (float(words[4]), float(words[5]))}
