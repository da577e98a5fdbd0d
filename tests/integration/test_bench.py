"""./dev bench: every row runs, at a hundredth of its size; its files are compared, and become
tables and drawings. No figure is judged."""

import copy
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from harness.process import ROOT, environment, program

BENCH = ROOT / "tests" / "bench"
ROWS = ("stream small lag shapes latency sync hot wake writes triggers idle clients ingest "
        "transaction restart sync_rows shapelog").split()
NAMES = {"hot": {"hot-100kB", "hot-10MB"}, "wake": {"wake-all", "wake-one"}}


def bench(*arguments):
    done = subprocess.run(
        [sys.executable, BENCH / "run.py", *map(str, arguments)], check=False, text=True,
        env=environment(TOMBOLO_BIN=program()), capture_output=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def measure(target, *names):
    bench(*names, "--scale", "0.01", "--shapes", "20", "--repeat", "1", "--json", target)
    return json.loads(target.read_text())


@pytest.mark.parametrize("name", ROWS)
def test_a_row_runs_and_says_what_it_found(name, tmp_path):
    found = measure(tmp_path / "bench.json", name)
    rows = found["rows"]
    assert {row["name"] for row in rows} == NAMES.get(name, {name})
    for row in rows:
        assert row["figures"] or row["notes"], row
        for figure in row["figures"]:
            assert figure["min"] <= figure["median"] <= figure["max"], figure
        for curve in row["curves"]:
            assert curve["points"] and curve["x"] and curve["y"], curve


def test_all_rows_but_those_of_kafka_are_tested():
    """Kafka's have a broker of their own, and what they measure is tested with it."""
    text = bench("--help")
    listed = text[text.index("positional"):text.index("options:")].split()
    names = {word.rstrip(",") for word in listed[listed.index("NAME") + 1:]}
    assert names == {*ROWS, "publishing", "kafka_latency", "nodes"}


# ---- what is made of a file ----------------------------------------------------------------------


def curve(who):
    return {"who": who, "x": "shapes", "y": "µs of CPU a row", "log": True,
            "points": [{"x": x, "median": 2.0, "min": 1.0, "max": 3.0} for x in (1, 10, 1000)]}


REPORT = {
    "date": "2026-01-02", "commit": "abc1234", "repeat": 3, "scale": 1.0,
    "machine": {"cpus": 2, "memory_gb": 8, "postgres": "15.1 (x)", "load_before": 0.5,
                "load_after": 1.5},
    "rows": [{
        "name": "stream", "what": "rows & rows: <one> shape", "notes": [],
        "figures": [{"who": "bridge", "unit": "rows/s", "median": 100.0, "min": 90.0, "max": 110.0,
                     "cpu_seconds": {"bridge": 0.5}, "a_unit": "row",
                     "cpu_us_a_unit": {"bridge": {"median": 2.0, "min": 1.8, "max": 2.2}},
                     "peak_rss_bytes": {"bridge": 14e6}}],
        "ratios": [{"what": "bridge / peer", "median": 0.8, "min": 0.7, "max": 0.95,
                    "target": ">= 0.9"}],
        "curves": [curve("a <b>"), curve("another whose name is long enough for two lines")]}]}


def write(path, report):
    path.write_text(json.dumps(report))
    return path


def test_a_run_beside_itself_differs_in_nothing(tmp_path):
    same = write(tmp_path / "a.json", REPORT)
    text = bench("--compare", same, same)
    assert "0 differ beyond the noise" in text and "only in" not in text


def test_what_lies_beyond_all_turns_of_the_other_run_is_said(tmp_path):
    slower = copy.deepcopy(REPORT)
    slower["rows"][0]["figures"][0] |= {"median": 70.0, "min": 60.0, "max": 89.0}
    slower["rows"][0]["ratios"][0] |= {"median": 0.7, "min": 0.6, "max": 0.8}  # still touches
    slower["rows"][0]["curves"].pop()
    files = write(tmp_path / "a.json", REPORT), write(tmp_path / "b.json", slower)
    text = bench("--compare", *files)
    beyond, within = text[:text.index(" do not")], text[text.index(" do not"):]
    assert "1 differ beyond the noise" in beyond
    assert "stream: bridge, rows/s" in beyond and "0.70 (0.55 .. 0.99)" in beyond
    assert "stream: = bridge / peer" in within and "3 only in" in within


def tables(tmp_path, *reports):
    """The page and the folder of drawings that --report makes of them, in a folder of ours."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "PERFORMANCE.md").write_text((ROOT / "docs" / "PERFORMANCE.md").read_text())
    (docs / "plots").mkdir()
    (docs / "plots" / "of-another-run.svg").write_text("<svg/>")
    bench("--report", *(write(tmp_path / f"bench{n}.json", report)
                        for n, report in enumerate(reports)), "--docs", docs)
    return (docs / "PERFORMANCE.md").read_text(), docs / "plots"


def test_tables_and_drawings_are_those_of_the_run_alone(tmp_path):
    text, plots = tables(tmp_path, REPORT)
    before = (ROOT / "docs" / "PERFORMANCE.md").read_text()
    begin, end = "<!-- begin", "<!-- end"
    assert text[:text.index(begin)] == before[:before.index(begin)]
    assert text[text.index(end):] == before[before.index(end):]
    made = text[text.index(begin):text.index(end)]
    assert "| `stream` | bridge / peer | 0.8 (0.7 .. 0.95) | >= 0.9 | 1.12 short |" in made
    assert "100 (90 .. 110) rows/s | bridge 2 µs a row | bridge 14 MB" in made
    assert "2026-01-02, commit `abc1234`" in made
    assert "Of 1 of" not in made and "Others" not in made
    drawn = {path.name for path in plots.iterdir()}
    assert drawn == {"targets.svg", "stream-us-of-cpu-a-row.svg"}
    for name in drawn:
        assert f"(plots/{name})" in made
        ElementTree.parse(plots / name)


def test_rows_of_two_runs_say_which_is_theirs(tmp_path):
    other = copy.deepcopy(REPORT) | {"commit": "def5678"}
    other["rows"][0] |= {"name": "lag", "ratios": []}
    text, _ = tables(tmp_path, REPORT | {"commit": "fedcba9"}, REPORT, other)
    assert "fedcba9" not in text
    assert "\n`stream`: 2026-01-02, commit `abc1234`" in text
    assert "\n`lag`: 2026-01-02, commit `def5678`" in text


def test_a_part_of_the_rows_is_said_to_be_one(tmp_path):
    text, _ = tables(tmp_path, REPORT | {"scale": 0.01})
    assert "Of 0.01 of the rows" in text


def test_a_machine_with_other_work_is_said_to_be_one(tmp_path):
    text, _ = tables(tmp_path, REPORT | {"machine": REPORT["machine"] | {"load_before": 5.0}})
    assert "Others were at work" in text


def test_the_docs_drawings_are_those_that_the_page_shows():
    page = (ROOT / "docs" / "PERFORMANCE.md").read_text()
    for path in (ROOT / "docs" / "plots").iterdir():
        assert f"(plots/{path.name})" in page, f"{path.name} is shown nowhere"
        ElementTree.parse(path)
    assert page.count("](plots/") == len(os.listdir(ROOT / "docs" / "plots"))
