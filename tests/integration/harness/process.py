"""A child process held by a handle: started, asked to stop, killed, its log read.

A child dies with us, even when we are killed with -9: setpriv sets its parent-death signal.
The kernel sends that signal when the *thread* that started the child ends, so all children
are started by one thread that lives as long as the program does; a test may therefore
start and restart things from threads of its own.

Children are in sessions of their own: Ctrl-C reaches us, and we stop them in order.
"""

import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
SANITIZER_REPORT = re.compile(
    r"^.*(ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|: runtime error: ).*$", re.MULTILINE)

_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def program():
    """The tombolo to be tested: $TOMBOLO_BIN, or build/tombolo."""
    path = Path(os.environ.get("TOMBOLO_BIN", ROOT / "build" / "tombolo"))
    if not path.exists():
        raise AssertionError(f"there is no program at {path}: build it with ./dev build")
    return path


def as_user(user, argv, death_signal="KILL"):
    """argv with the switch to `user` (None: stay who we are) put in front of it."""
    switch = ["setpriv", "--pdeathsig", death_signal]
    if user:
        switch += ["--reuid", user, "--regid", user, "--init-groups"]
    return [*switch, "--", *map(str, argv)]


def environment(**settings):
    """A child's environment: the little it needs of ours, and `settings`.

    So a DATABASE_URL or TOMBOLO_* of the person who runs the tests changes nothing.
    """
    kept = ("PATH", "HOME", "TMPDIR", "TERM", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env["LC_ALL"] = "C.UTF-8"
    env.update({name: str(value) for name, value in settings.items()})
    return env


class Process:
    """One program, perhaps started several times; all its runs write to one log file, in whose
    folder they run: a tombolo.ini of the person who runs the tests changes nothing."""

    started = []  # whatever ran since the list was last cleared; conftest.py looks at it

    def __init__(self, name, log_path):
        self.name = name
        self.log_path = Path(log_path).resolve()
        self._child = None

    def start(self, argv, env, user=None, death_signal="KILL", stdout=None):
        """`stdout`: None goes to the log as stderr does; or a file object."""
        assert not self.alive, f"{self.name} runs already"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self._child = _spawner.submit(
                subprocess.Popen, as_user(user, argv, death_signal), env=env,
                cwd=self.log_path.parent, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log,
                start_new_session=True).result()
        if self not in Process.started:
            Process.started.append(self)
        return self

    @property
    def pid(self):
        return self._child.pid if self._child else None

    @property
    def alive(self):
        return self._child is not None and self._child.poll() is None

    @property
    def returncode(self):
        """The last run's exit code, negative for a signal; None while it runs."""
        return self._child.poll() if self._child else None

    def send_signal(self, number):
        self._child.send_signal(number)

    def wait(self, deadline=60.0):
        """Waits for its end and returns the exit code."""
        try:
            return self._child.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} has not ended after {deadline:g} s\n{self.log_tail()}") from None

    def stop(self, deadline=60.0, number=signal.SIGTERM):
        """Asks it to end and returns the exit code; one that does not end is a failure."""
        if not self.alive:
            return self.returncode
        self.send_signal(number)
        try:
            return self.wait(deadline)
        except AssertionError:
            self.kill9()
            raise

    def kill9(self):
        if self.alive:
            self._child.kill()
            self._child.wait()

    def wait_for(self, condition, deadline, what):
        """wait_for() that fails at once when the process ends meanwhile."""
        def happened():
            result = condition()
            if not result and not self.alive:
                raise AssertionError(f"{self.name} ended with {self.returncode} while "
                                     f"waiting for {what}\n{self.log_tail()}")
            return result
        return wait_for(happened, deadline, lambda: f"{what}\n{self.log_tail()}")

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines=40):
        tail = "\n".join(self.log().splitlines()[-lines:])
        return f"--- the end of {self.name}'s log ({self.log_path}):\n{tail}"

    def log_contains(self, text, times=None):
        """Whether its log has `text`; with `times`, exactly so often."""
        found = self.log().count(text)
        return found > 0 if times is None else found == times

    def sanitizer_report(self):
        """The first sanitizer report in the log with what follows it, or None."""
        text = self.log()
        found = SANITIZER_REPORT.search(text)
        return text[found.start():found.start() + 6000] if found else None


def runs(pid):
    """Whether there is such a process, and not only its zombie."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def children(parent):
    """The pids of a process's children."""
    pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[1]) == parent]


def _stat(pid):
    """The fields of /proc/PID/stat from the state on, or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2:].split()
