"""What a benchmark notes down: seconds, CPU seconds and memory of processes, rows of figures.

CPU comes from /proc/PID/task/*/schedstat (nanoseconds on a CPU, all threads that live); peak
memory from VmHWM, which Linux lets us reset. Nothing here asserts anything.
"""

import contextlib
import os
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.process import environment


def cpu_seconds(pid):
    """CPU seconds of all threads that a process has at the moment; 0 when it is gone."""
    total = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory(pid, name):
    """VmRSS, RssAnon or VmHWM of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/status has no {name}")


def reset_peak(pid):
    """VmHWM counts from here on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def wait_until_quiet(pid, deadline=60.0, share=0.02):
    """Until a process uses less than `share` of a CPU over 0.3 s: its after-work has ended."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        before = cpu_seconds(pid)
        time.sleep(0.3)
        if cpu_seconds(pid) - before < 0.3 * share:
            return
    raise AssertionError(f"process {pid} is still busy after {deadline:g} s")


class Sampler(threading.Thread):
    """Keeps the last reading of a process's CPU and peak memory: it may end at any time.

    (A child's ru_maxrss is no help: it counts what it was before its exec, too.)
    """

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.cpu, self.peak_rss = 0.0, 0
        self._pid = pid
        self._stopped = threading.Event()
        self.start()

    def run(self):
        while not self._stopped.wait(0.02):
            self.cpu = max(self.cpu, cpu_seconds(self._pid))
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, AssertionError):
                self.peak_rss = memory(self._pid, "VmHWM")

    def end(self):
        self._stopped.set()
        self.join()
        return self


@dataclass
class Run:
    """One program's run from start to end."""

    seconds: float
    cpu: float
    peak_rss: int


def run(argv, **settings):
    """Runs a program to its end; a failure is one of the benchmark."""
    started = time.monotonic()
    child = subprocess.Popen(list(map(str, argv)), env=environment(**settings),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
    sampler = Sampler(child.pid)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - started
    sampler.end()
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{argv[0]} ended with {child.returncode}: {said}"
    return Run(seconds, usage.ru_utime + usage.ru_stime, sampler.peak_rss)


@dataclass
class Figure:
    """What one contestant did, a value a turn; `cpu` in seconds by process, a value a turn.

    A turn is of so many units (rows, commits, requests: `per` is their name), if it says so.
    """

    who: str
    unit: str
    values: list = field(default_factory=list)
    cpu: dict = field(default_factory=dict)
    peak_rss: dict = field(default_factory=dict)
    per: str = "row"
    units: int = 0

    def add(self, value, cpu=None, peak_rss=None, units=0):
        self.values.append(value)
        self.units = units
        for name, seconds in (cpu or {}).items():
            self.cpu.setdefault(name, []).append(seconds)
        for name, size in (peak_rss or {}).items():
            self.peak_rss[name] = max(size, self.peak_rss.get(name, 0))

    @property
    def median(self):
        return statistics.median(self.values)

    def as_json(self):
        return {"who": self.who, "unit": self.unit, "median": self.median,
                "min": min(self.values), "max": max(self.values), "values": self.values,
                "cpu_seconds": {name: statistics.median(v) for name, v in self.cpu.items()},
                "cpu_us_a_unit": self._cpu_a_unit(), "a_unit": self.per,
                "peak_rss_bytes": self.peak_rss}

    def _cpu_a_unit(self):
        if not self.units:
            return {}
        return {name: {"median": 1e6 * statistics.median(v) / self.units,
                       "min": 1e6 * min(v) / self.units, "max": 1e6 * max(v) / self.units}
                for name, v in self.cpu.items()}

    def as_text(self):
        span = f"{number(min(self.values))} .. {number(max(self.values))}"
        cpu = ", ".join(f"{name} {statistics.median(v):.2f}" for name, v in self.cpu.items())
        a_unit = ", ".join(f"{name} {number(us['median'])}"
                           for name, us in self._cpu_a_unit().items())
        peak = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in self.peak_rss.items())
        text = f"    {self.who:34} {number(self.median):>9} {self.unit:9}"
        text += f" ({span})" if len(self.values) > 1 else ""
        return (text + (f"  CPU s: {cpu}" if cpu else "")
                + (f"; µs a {self.per}: {a_unit}" if a_unit else "")
                + (f"  peak: {peak}" if peak else ""))


@dataclass
class Ratio:
    """The quotient of two figures, turn by turn; `target` in words, or empty."""

    what: str
    values: list
    target: str = ""

    @classmethod
    def of(cls, figure, ceiling, target=""):
        """Of figures that took turns: each turn's own quotient."""
        return cls(f"{figure.who} / {ceiling.who}",
                   [a / b for a, b in zip(figure.values, ceiling.values, strict=True)], target)

    @classmethod
    def of_cpu(cls, figure, process, ceiling, beside):
        """Of the CPU that one process of each used."""
        pairs = zip(figure.cpu[process], ceiling.cpu[beside], strict=True)
        return cls(f"CPU of {process} / {beside}", [a / b if b else 0.0 for a, b in pairs])

    def as_json(self):
        return {"what": self.what, "median": statistics.median(self.values),
                "min": min(self.values), "max": max(self.values), "values": self.values,
                "target": self.target}

    def as_text(self):
        span = f"{min(self.values):.2f} .. {max(self.values):.2f}"
        target = f"  target {self.target}" if self.target else ""
        return f"  = {self.what:40} {statistics.median(self.values):.2f} ({span}){target}"


@dataclass
class Curve:
    """How one thing grows with another: [(x, values)...]. A row's curves with the same axes are
    one drawing (plots.py)."""

    who: str
    x: str
    y: str
    points: list = field(default_factory=list)
    log: bool = False

    def at(self, x, *values):
        """More values at x, which is the last one or behind it."""
        if not self.points or self.points[-1][0] != x:
            self.points.append((x, []))
        self.points[-1][1].extend(values)

    def last(self):
        return statistics.median(self.points[-1][1])

    def as_json(self):
        return {"who": self.who, "x": self.x, "y": self.y, "log": self.log,
                "points": [{"x": x, "median": statistics.median(values), "min": min(values),
                            "max": max(values)} for x, values in self.points]}

    def as_text(self):
        points = ", ".join(f"{number(x)}: {number(statistics.median(values))}"
                           for x, values in self.points)
        return f"    {self.who}, {self.y} by {self.x}: {points}"


@dataclass
class Row:
    """One row of the table: its figures, what they are to each other, and how they grow."""

    name: str
    what: str
    figures: list
    ratios: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    curves: list = field(default_factory=list)

    def as_json(self):
        return {"name": self.name, "what": self.what,
                "figures": [figure.as_json() for figure in self.figures],
                "ratios": [ratio.as_json() for ratio in self.ratios], "notes": self.notes,
                "curves": [curve.as_json() for curve in self.curves]}

    def as_text(self):
        return "\n".join([f"{self.name}: {self.what}"]
                         + [figure.as_text() for figure in self.figures]
                         + [ratio.as_text() for ratio in self.ratios]
                         + [curve.as_text() for curve in self.curves]
                         + [f"    {note}" for note in self.notes])


def number(value):
    """For people: three figures or so."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 10_000:
        return f"{value / 1000:.3g}k"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
