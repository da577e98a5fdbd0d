"""Drawings of a run, as plain SVG: how costs grow, and how far each row is from its target.

They follow the reader's light or dark (prefers-color-scheme), and have a ground of their own, since
a page may show them on any. Curves of a row with the same axes are one drawing, ours and the
ceiling's together; a vertical stroke at a point is its range.
"""

import math
import re
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 74, 200, 56, 58
LINE = 15  # between two lines of text

STYLE = """\
svg { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
.ground { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e }
.grid { stroke: #e3e7ec } .axis { stroke: #8c959f } .good { stroke: #1a7f37 }
.title { font-size: 16px; font-weight: 600 }
.c0 { --c: #0969da } .c1 { --c: #bc4c00 } .c2 { --c: #1a7f37 } .c3 { --c: #8250df }
.c4 { --c: #9a6700 } .c5 { --c: #bf3989 }
.line { fill: none; stroke: var(--c); stroke-width: 2 }
.range { stroke: var(--c); stroke-width: 1.2 }
.dot { fill: var(--c) } .name { fill: var(--c); font-weight: 600 }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 }
.grid { stroke: #262c34 } .axis { stroke: #6e7681 } .good { stroke: #3fb950 }
.c0 { --c: #58a6ff } .c1 { --c: #f0883e } .c2 { --c: #3fb950 } .c3 { --c: #bc8cff }
.c4 { --c: #d29922 } .c5 { --c: #f778ba }
}"""


# ---- scales --------------------------------------------------------------------------------------


class Scale:
    """Values to pixels, by their logarithm or as they are."""

    def __init__(self, values, start, end, log):
        self.log = log
        positive = [value for value in values if value > 0]
        if log:
            self.low = 10 ** math.floor(math.log10(min(positive)) + 1e-9)
            self.high = 10 ** math.ceil(math.log10(max(positive)) - 1e-9)
            self.high = max(self.high, self.low * 10)
        else:
            self.low, self.high = 0.0, _above(max(values))
        self._start, self._end = start, end

    def at(self, value):
        if self.log:
            value = max(value, self.low)
            share = math.log10(value / self.low) / math.log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    def ticks(self):
        if not self.log:
            return [self.high * n / 5 for n in range(6)]
        decades = round(math.log10(self.high / self.low))
        steps = (1, 2, 5) if decades <= 2 else (1,)
        ticks = [self.low * 10 ** d * step for d in range(decades) for step in steps]
        return [*ticks, self.high]


def _above(value):
    """A round number at or above it."""
    step = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(n * step for n in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if n * step >= value)


def short(value):
    """A number on an axis: 0.5, 20, 5k, 1M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.3g}"


# ---- pieces --------------------------------------------------------------------------------------


def _text(x, y, words, style="soft", anchor="start", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}"{more}>'
            f'{escape(words)}</text>')


def _stroke(x1, y1, x2, y2, style, more=""):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"{more}/>'


def _document(title, subtitle, height, parts):
    label = escape(f"{title}: {subtitle}")
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="{label}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" class="ground"/>',
        _text(20, 27, title, "ink title"), _text(20, 45, subtitle), *parts, "</svg>", ""])


# ---- curves --------------------------------------------------------------------------------------


def curves(title, lines):
    """A drawing of curves as measure.Curve.as_json() gives them, which have the same axes."""
    log = any(line["log"] for line in lines)
    points = [point for line in lines for point in line["points"]]
    x = Scale([p["x"] for p in points], LEFT, WIDTH - RIGHT, log)
    y = Scale([v for p in points for v in (p["min"], p["max"])], HEIGHT - BOTTOM, TOP + 12, log)
    parts = _axes(x, y, lines[0]["x"])
    for number, line in enumerate(lines):
        parts += _curve(x, y, line["points"], f"c{number % 6}")
    parts += _names(y, lines)
    return _document(title, lines[0]["y"], HEIGHT, parts)


def _axes(x, y, label):
    parts, floor = [], HEIGHT - BOTTOM
    for tick in y.ticks():
        parts += [_stroke(LEFT, y.at(tick), WIDTH - RIGHT, y.at(tick), "grid"),
                  _text(LEFT - 8, y.at(tick) + 4, short(tick), anchor="end")]
    for tick in x.ticks():
        parts += [_stroke(x.at(tick), floor, x.at(tick), floor + 5, "axis"),
                  _text(x.at(tick), floor + 20, short(tick), anchor="middle")]
    parts.append(_stroke(LEFT, floor, WIDTH - RIGHT, floor, "axis"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, floor + 42, label, anchor="middle"))
    return parts


def _curve(x, y, points, colour):
    places = [(x.at(p["x"]), y.at(p["median"])) for p in points]
    path = "M" + " L".join(f"{px:.1f} {py:.1f}" for px, py in places)
    parts = [f'<g class="{colour}">', f'<path class="line" d="{path}"/>']
    for p, (px, py) in zip(points, places, strict=True):
        if p["max"] > p["min"]:
            parts.append(_stroke(px, y.at(p["min"]), px, y.at(p["max"]), "range"))
        parts.append(f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="3.4"/>')
    return [*parts, "</g>"]


def _names(y, lines):
    """Each curve's name at its end, moved down where it would lie on another."""
    wanted = sorted((y.at(line["points"][-1]["median"]), number)
                    for number, line in enumerate(lines))
    rows = {number: _broken(line["who"]) for number, line in enumerate(lines)}
    parts, free = [], TOP
    total = sum(len(words) * LINE for words in rows.values())
    for place, number in wanted:
        place = max(free, min(place, HEIGHT - BOTTOM - total))
        for word in rows[number]:
            parts.append(f'<g class="c{number % 6}">'
                         f'{_text(WIDTH - RIGHT + 12, place + 4, word, "name")}</g>')
            place += LINE
            total -= LINE
        free = place + 3
    return parts


def _broken(words, most=25):
    """In lines of so many letters."""
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + len(word) >= most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


# ---- targets -------------------------------------------------------------------------------------

TARGET = re.compile(r"^(<=|>=|<|>) *([\d.]+)")


def margin(ratio):
    """How many times a ratio is past its target: (median, low, high); 1 is the target itself. None
    where it has none, or where a quotient says nothing since it may be negative."""
    found = TARGET.match(ratio["target"])
    values = [ratio[name] for name in ("median", "min", "max")]
    if not found or float(found[2]) == 0 or values[0] <= 0 or values[1] <= 0:
        return None
    target = float(found[2])
    if found[1].startswith(">"):
        return tuple(value / target for value in values)
    return target / values[0], target / values[2], target / values[1]


def targets(rows):
    """All ratios that have a target; right of the line it is reached."""
    found = [(row["name"], ratio, past) for row in rows for ratio in row["ratios"]
             if (past := margin(ratio))]
    if not found:
        return None
    height = TOP + 26 + 34 * len(found) + BOTTOM
    left, floor = 330, height - BOTTOM
    x = Scale([v for _, _, past in found for v in (*past, 0.5, 2)], left, WIDTH - 30, True)
    parts = []
    for tick in x.ticks():
        parts += [_stroke(x.at(tick), TOP + 8, x.at(tick), floor, "grid"),
                  _text(x.at(tick), floor + 20, short(tick), anchor="middle")]
    parts += [_stroke(x.at(1), TOP + 8, x.at(1), floor, "good", ' style="stroke-width:2"'),
              _text((left + WIDTH - 30) / 2, floor + 42, "times past the target", anchor="middle")]
    for number, (name, ratio, past) in enumerate(found):
        parts += _target(x, TOP + 30 + 34 * number, name, ratio, past, left)
    return _document("Where each row stands", "median and range; right of the line the target is "
                     "reached", height, parts)


def _target(x, y, name, ratio, past, left):
    middle, low, high = past
    what = ratio["what"] if len(ratio["what"]) < 47 else ratio["what"][:45] + "…"
    return [_text(left - 14, y - 2, name, "ink", "end"),
            _text(left - 14, y + 12, what, "soft", "end", ' font-size="11"'),
            f'<g class="{"c2" if middle >= 1 else "c1"}">',
            _stroke(x.at(low), y, x.at(high), y, "range", ' style="stroke-width:6;opacity:.45"'),
            f'<circle class="dot" cx="{x.at(middle):.1f}" cy="{y:.1f}" r="5"/>', "</g>"]


# ---- a run ---------------------------------------------------------------------------------------


def of_run(rows):
    """{file name: SVG} of a run's rows."""
    drawings = {}
    overview = targets(rows)
    if overview:
        drawings["targets.svg"] = overview
    for row in rows:
        axes = {}
        for curve in row.get("curves", []):
            axes.setdefault((curve["x"], curve["y"]), []).append(curve)
        for (_, y), lines in axes.items():
            slug = re.sub(r"[^a-z]+", "-", y.lower().replace("µ", "u")).strip("-")
            title = row["what"].split(":")[0].split(";")[0]
            drawings[f"{row['name']}-{slug}.svg"] = curves(title[0].upper() + title[1:], lines)
    return drawings
