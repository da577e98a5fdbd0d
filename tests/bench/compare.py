"""Two files of ./dev bench beside each other: `./dev bench --compare A.json B.json`.

A difference counts when the ranges of the two runs do not touch: then no turn of the one was as any
turn of the other. Everything else is noise, whatever the medians say. Times of two machines, or of
two hours of a shared one, are not to be compared; ratios and CPU a unit are.
"""

import json
from dataclasses import dataclass

from measure import number


@dataclass
class Value:
    """A median with its range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, found):
        return cls(found["median"], found["min"], found["max"])

    def __str__(self):
        return f"{number(self.median)} ({number(self.low)} .. {number(self.high)})"


def differences(before, after):
    """The comparison as text, those that differ first."""
    old, new = (_values(json.loads(path.read_text(encoding="utf-8"))) for path in (before, after))
    shared = [key for key in old if key in new]
    beyond = [key for key in shared if _apart(old[key], new[key])]
    within = [key for key in shared if key not in beyond]
    lines = [f"A is {before}, B is {after}; B / A, with the least and the greatest it may be", ""]
    for title, keys in (("differ beyond the noise", beyond), ("do not", within)):
        lines += [f"{len(keys)} {title}", *(_line(key, old[key], new[key]) for key in keys), ""]
    for path, there, missing in ((before, old, new), (after, new, old)):
        alone = [key for key in there if key not in missing]
        if alone:
            lines += [f"{len(alone)} only in {path}", *(f"    {key}" for key in alone), ""]
    return "\n".join(lines).rstrip()


def _values(report):
    """{"row: what": Value} of everything that a run says with a range."""
    found, seen = {}, {}
    for row in report["rows"]:
        times = seen[row["name"]] = seen.get(row["name"], 0) + 1
        name = row["name"] + (f" ({times})" if times > 1 else "")
        for figure in row["figures"]:
            key = f"{name}: {figure['who']}"
            found[f"{key}, {figure['unit']}"] = Value.of(figure)
            for process, used in figure.get("cpu_us_a_unit", {}).items():
                found[f"{key}, µs of CPU of {process} a {figure['a_unit']}"] = Value.of(used)
            for process, size in figure.get("peak_rss_bytes", {}).items():
                found[f"{key}, peak of {process}, MB"] = Value(*[size / 1e6] * 3)
        for ratio in row["ratios"]:
            found[f"{name}: = {ratio['what']}"] = Value.of(ratio)
        for curve in row.get("curves", []):
            for point in curve["points"]:
                key = f"{name}: {curve['who']}, {curve['y']} at {number(point['x'])} {curve['x']}"
                found[key] = Value.of(point)
    return found


def _apart(a, b):
    """Peaks are one value and have no range: a tenth is taken for it."""
    slack = 1.1 if a.low == a.high and b.low == b.high else 1.0
    return a.high * slack < b.low or b.high * slack < a.low


def _line(key, a, b):
    if a.median <= 0 or a.low <= 0:
        return f"    {key:64} {a} -> {b}"
    ratio = f"{b.median / a.median:5.2f} ({b.low / a.high:.2f} .. {b.high / a.low:.2f})"
    return f"    {key:64} {ratio}   {a} -> {b}"
