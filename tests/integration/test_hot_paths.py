"""What the hot paths cost, in instructions (callgrind), against tests/hot/counts.

A count depends on the compiler, the C library and SQLite besides our code, so each line of the file
is for one such build. A build that has no line there is counted and not judged; one that has may
not cost more than 10 % above it, unless the file is changed in the same commit:

    TOMBOLO_HOT_RECORD=1 python3 -m pytest tests/integration/test_hot_paths.py
"""

import os
import re
import subprocess

import pytest
from harness.process import ROOT, environment, program

COUNTS = ROOT / "tests" / "hot" / "counts"
GROWTH = 1.10
HEAD = """\
# Instructions a unit of each hot path (tests/hot), by what it was built with and runs on.
# test_hot_paths.py compares with it, and writes it when TOMBOLO_HOT_RECORD is set.
"""
PATHS = {"stream": "hot_stream", "index": "hot_stream", "where": "hot_stream",
         "serve": "hot_serve", "apply": "hot_apply"}

# The C library has a memcpy for each kind of CPU, and callgrind shows it the real one: all but what
# every x86-64 has is hidden, so that counts from different machines are the same. glibc calls the
# same thing by either name, and passes over names that it does not know.
HIDDEN = ("AVX512F", "AVX512VL", "AVX512BW", "AVX2", "AVX", "AVX2_Usable",
          "AVX_Fast_Unaligned_Load", "SSE4_2", "SSE4_1", "SSSE3", "ERMS", "FSRM", "BMI2", "BMI1", "LZCNT", "MOVBE", "POPCNT",
          "RTM", "Prefer_No_VZEROUPPER")
TUNABLES = "glibc.cpu.hwcaps=" + ",".join(f"-{name}" for name in HIDDEN)


def count(path, folder):
    """(what it was built with, instructions a unit)"""
    out = folder / f"{path}.callgrind"
    helper = program().resolve().parent / "tests" / PATHS[path]
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
         "--toggle-collect=hot_measure", helper, *([path] if PATHS[path] == "hot_stream" else [])],
        env=environment(GLIBC_TUNABLES=TUNABLES), cwd=folder, check=False,
        capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(rf"^path {path} units (\d+) built (\S+)$", done.stdout, re.MULTILINE)
    assert said, done.stdout
    total = int(re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)[1])
    return said[2], total / int(said[1])


def recorded():
    """{(built, path): instructions a unit}"""
    lines = COUNTS.read_text().splitlines() if COUNTS.exists() else []
    fields = [line.split() for line in lines if line and not line.startswith("#")]
    return {(built, path): float(number) for built, path, number in fields}


def record(built, path, number):
    counts = recorded() | {(built, path): round(number)}
    COUNTS.write_text(HEAD + "".join(
        f"{b} {p:8} {n:.0f}\n" for (b, p), n in sorted(counts.items())))


def too_dear(number, before):
    return before is not None and number > before * GROWTH


@pytest.mark.parametrize("path", PATHS)
def test_a_unit_costs_no_more_instructions_than_recorded(path, tmp_path):
    built, number = count(path, tmp_path)
    if os.environ.get("TOMBOLO_HOT_RECORD"):
        record(built, path, number)
    before = recorded().get((built, path))
    print(f"{built} {path}: {number:.0f} instructions a unit, recorded "
          f"{'nothing' if before is None else f'{before:.0f}'}")
    assert not too_dear(number, before), (
        f"{path} costs {number:.0f} instructions a unit, {number / before:.2f} of what "
        f"{COUNTS.relative_to(ROOT)} says; if that is meant, run this with TOMBOLO_HOT_RECORD=1")


def test_a_tenth_more_is_the_most():
    assert too_dear(111, 100) and not too_dear(109, 100) and not too_dear(10**9, None)
