"""Electric's own clients in Node: tests/clients, installed from npm once for each lock file.

    with NodeClient(folder, url, {"table": "items"}) as client:
        client.wait_for_rows([{"id": 1, "v": "x"}])

The packages go to build/clients, the programs beside them; no install script of theirs runs.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
import threading
from pathlib import Path

from .process import ROOT, Process, environment
from .waiting import wait_for

CLIENTS = ROOT / "tests" / "clients"
INSTALL = ("npm", "ci", "--ignore-scripts", "--omit=peer", "--no-audit", "--no-fund", "--silent")


def installed():
    """The folder with node_modules and our programs."""
    assert shutil.which("node"), "there is no node: ./dev test installs it"
    lock_file = (CLIENTS / "package-lock.json").read_bytes()
    folder = ROOT / "build" / "clients" / hashlib.sha256(lock_file).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / "lock", "w") as lock:  # two runs at once: the second finds it done
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(CLIENTS / name, folder)
            done = subprocess.run(INSTALL, cwd=folder, check=False, capture_output=True, text=True,
                                  timeout=300)
            assert done.returncode == 0, f"npm ci failed: {done.stderr or done.stdout}"
            (folder / "complete").touch()
        for program in CLIENTS.glob("*.*"):
            if program.suffix in (".mjs", ".html"):
                put(program, folder / program.name)
    return folder


def put(program, path):
    """Copies a program that another node may be reading just now: one that finds its file empty
    ends at once, with 0."""
    if not path.exists() or path.read_bytes() != program.read_bytes():
        shutil.copy(program, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)


class NodeClient:
    """follow.mjs with one shape: `rows` as it last said them (None: not yet), every line it said.

    `options`: use, liveSse, log, offset, subsetMethod, headers, syncMode, messages, quiet.
    """

    def __init__(self, folder, url, params, name="client", **options):
        self.config = {"url": url, "params": params, **options}
        self.process = Process(name, Path(folder) / f"{name}.log")
        self.said, self.rows, self.handle = [], None, None
        self._asked = 0
        self._reader = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    def start(self):
        programs = installed()
        self._child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "node", programs / "follow.mjs",
             json.dumps(self.config)], cwd=programs, env=environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=open(self.process.log_path, "ab"), text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def stop(self):
        """Ends it; also fails when it saw what cannot be."""
        self._child.stdin.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join(60)
        self.check()

    def _read(self):
        for line in self._child.stdout:
            said = json.loads(line)
            self.said.append(said)
            if "rows" in said:
                self.rows, self.handle = said["rows"], said.get("handle")

    def check(self):
        wrong = [said for said in self.said if "wrong" in said]
        assert not wrong, wrong[:5]

    def errors(self):
        return [said for said in self.said if "error" in said and "done" not in said]

    def requests(self):
        return [said["request"] for said in self.said[:] if "request" in said]

    def controls(self, which):
        return sum(said.get("control") == which for said in self.said[:])

    def do(self, verb, deadline=60.0, **arguments):
        """Has it do something, and returns the result; AssertionError when that failed."""
        self._asked += 1
        asked = self._asked
        self._child.stdin.write(json.dumps({"do": verb, "id": asked, **arguments}) + "\n")
        self._child.stdin.flush()
        done = self.wait_for(lambda: [said for said in self.said[:] if said.get("done") == asked],
                             f"{verb} to be done", deadline)[0]
        assert "error" not in done, done
        return done.get("result")

    def wait_for(self, condition, what, deadline=60.0):
        def happened():
            self.check()
            found = condition()
            assert found or self._child.poll() is None, \
                f"node ended with {self._child.returncode}\n{self.process.log_tail()}"
            return found

        return wait_for(happened, deadline, lambda: f"{what}\n{self.tail()}")

    def wait_for_rows(self, expected, deadline=60.0, key="id"):
        """Until its rows are these, in any order."""
        def sorted_rows(rows):
            return sorted(rows, key=lambda row: (str(type(row[key])), row[key]))

        wanted = sorted_rows(expected)
        self.wait_for(lambda: self.rows is not None and sorted_rows(self.rows) == wanted,
                      f"{len(wanted)} rows, as {wanted[:3]}", deadline)

    def tail(self):
        return "\n".join(json.dumps(said)[:300] for said in self.said[-15:]) + \
            "\n" + self.process.log_tail()
