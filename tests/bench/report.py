"""The generated part of docs/PERFORMANCE.md, and its drawings, from files of ./dev bench.

    ./dev bench --report build/bench.json

writes what stands between the two marks, and docs/plots/. So a figure there is always of a run; of
several, each says which rows are its own: a row is of the last that has it.
"""

import json
import re

import plots
from measure import number

BEGIN = "<!-- begin: written by ./dev bench --report -->"
END = "<!-- end: written by ./dev bench --report -->"


def write(sources, docs):
    runs = _last_of_each([json.loads(source.read_text(encoding="utf-8")) for source in sources])
    rows = [row for run in runs for row in run["rows"]]
    page = docs / "PERFORMANCE.md"
    text = page.read_text(encoding="utf-8")
    parts = re.split(f"{re.escape(BEGIN)}.*?{re.escape(END)}", text, flags=re.DOTALL)
    assert len(parts) == 2, f"{page} needs the lines {BEGIN} and {END}, once"
    drawings = plots.of_run(rows)
    folder = docs / "plots"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for name, svg in drawings.items():
        (folder / name).write_text(svg, encoding="utf-8")
    made = f"{BEGIN}\n\n{_section(runs, rows, drawings)}\n\n{END}"
    page.write_text(made.join(parts), encoding="utf-8")


def _last_of_each(runs):
    last = {row["name"]: n for n, run in enumerate(runs) for row in run["rows"]}
    kept = [run | {"rows": [row for row in run["rows"] if last[row["name"]] == n]}
            for n, run in enumerate(runs)]
    return [run for run in kept if run["rows"]]


def _section(runs, rows, drawings):
    return "\n\n".join([*(_circumstances(run, len(runs) > 1) for run in runs),
                        _ratios(rows), _figures(rows), *(_notes(row) for row in rows if row["notes"]),
                        *(_drawing(name) for name in drawings)])


def _circumstances(found, one_of_several):
    machine = found["machine"]
    scale = found.get("scale", 1.0)
    loads = [f"{machine[name]:.1f}" for name in ("load_before", "load_after") if name in machine]
    text = (f"{found['date']}, commit `{found.get('commit') or 'unknown'}`: "
            f"{machine['cpus']} CPUs, {machine['memory_gb']} GB, PostgreSQL {machine['postgres'].split()[0]}, "
            f"{found['repeat']} turn{'s' if found['repeat'] > 1 else ''}, load average "
            f"{' before and '.join(loads)}{' after' if len(loads) == 2 else ''}.")
    if machine["load_before"] > machine["cpus"] / 2:
        text += " **Others were at work on the machine: neither times nor ratios are to be relied on.**"
    if scale != 1.0:
        text += (f" **Of {scale:g} of the rows, clients and requests**: it shows that everything "
                 "runs, and no more.")
    if one_of_several:
        names = dict.fromkeys(row["name"] for row in found["rows"])
        text = f"{', '.join(f'`{name}`' for name in names)}: {text}"
    return text


def _span(found):
    return f"{number(found['median'])} ({number(found['min'])} .. {number(found['max'])})"


def _cell(text):
    return str(text).replace("|", "\\|")


def _ratios(rows):
    lines = ["| row | ratio | median (range) | target | |", "|---|---|---|---|---|"]
    for row in rows:
        for ratio in row["ratios"]:
            past = plots.margin(ratio)
            mark = "" if past is None else "reached" if past[0] >= 1 else f"{1 / past[0]:.2f} short"
            lines.append(f"| `{row['name']}` | {_cell(ratio['what'])} | {_span(ratio)} | "
                         f"{_cell(ratio['target'])} | {mark} |")
    return "\n".join(lines)


def _figures(rows):
    lines = ["| row | who | median (range) | CPU | peak memory |", "|---|---|---|---|---|"]
    for row in rows:
        if row["figures"]:
            lines.append(f"| `{row['name']}` | *{_cell(row['what'])}* | | | |")
        for figure in row["figures"]:
            span = _span(figure)
            peak = ", ".join(f"{name} {size / 1e6:.0f} MB"
                             for name, size in figure["peak_rss_bytes"].items())
            lines.append(f"| | {_cell(figure['who'])} | {span} {figure['unit']} | {_cpu(figure)} | "
                         f"{peak} |")
    return "\n".join(lines)


def _notes(row):
    return "\n".join([f"`{row['name']}`, {row['what']}:", "", "```", *row["notes"], "```"])


def _cpu(figure):
    """Microseconds a unit where the row says how many there were, else seconds."""
    a_unit = figure.get("cpu_us_a_unit", {})
    if a_unit:
        return ", ".join(f"{name} {number(us['median'])} µs a {figure['a_unit']}"
                         for name, us in a_unit.items())
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in figure["cpu_seconds"].items())


def _drawing(name):
    words = name.removesuffix(".svg").replace("-", " ")
    return f"![{words}](plots/{name})"
