"""`./dev run` shows changes and leaves nothing behind, whichever way it ends."""

import contextlib
import os
import signal
import sys
from pathlib import Path

from harness import Process
from harness.process import ROOT, environment, program


def run_demo(tmp_path, *arguments):
    """The demo as a Process, its temporary folder and its log in tmp_path."""
    (tmp_path / "tmp").mkdir()
    demo = Process("demo", tmp_path / "log")
    demo.start([sys.executable, ROOT / "tests" / "demo.py", "--pause", "0.05", *arguments],
               environment(TOMBOLO_BIN=program(), TMPDIR=tmp_path / "tmp",
                           PYTHONDONTWRITEBYTECODE=1))
    return demo


def still_running(text):
    """The command lines of the processes that have the text in theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append(path.read_text())
    return [line for line in found if str(text) in line]


def test_demo_ends_by_itself_and_leaves_nothing(tmp_path):
    demo = run_demo(tmp_path, "--seconds", "4")
    assert demo.wait(90) == 0, demo.log_tail()
    assert demo.log_contains("changes seen")
    assert os.listdir(tmp_path / "tmp") == []


def test_demo_ends_with_ctrl_c_and_leaves_nothing(tmp_path):
    demo = run_demo(tmp_path)
    demo.wait_for(lambda: demo.log_contains("update"), 60, "a change to be shown")
    url = next(line.split()[1] for line in demo.log().splitlines() if line.startswith("    psql"))
    port = url.rsplit(":", 1)[1].split("/")[0]
    folders = [p for p in Path("/tmp").glob("tombolo-pg-*") if list(p.glob(f".s.PGSQL.{port}"))]
    assert len(folders) == 1
    assert demo.stop(60, signal.SIGINT) == 0, demo.log_tail()
    assert os.listdir(tmp_path / "tmp") == [] and not folders[0].exists()
    assert still_running(tmp_path / "tmp") == []
