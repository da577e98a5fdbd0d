"""Waiting for a condition, and finding a port that nobody has."""

import fcntl
import functools
import random
import socket
import time
from pathlib import Path

# Below Linux's ephemeral range (32768 and up), so that no client connection of
# another test takes a port between its being found here and its being bound.
PORTS = range(20000, 32000)


def wait_for(condition, deadline=60.0, what=None, interval=0.02):
    """Calls condition() until it gives something true, and returns that.

    After `deadline` seconds AssertionError says `what` was waited for (a string,
    or a function that makes one, called only then).
    """
    end = time.monotonic() + deadline
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= end:
            said = what() if callable(what) else what or condition.__name__
            raise AssertionError(f"after {deadline:g} s still waiting for {said}")
        time.sleep(interval)


def free_port():
    """A port of 127.0.0.1 that nobody listens on, and that no other process of these tests is given
    while this one lives: what it is for may come up late, or be started again."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if _reserve(port):
            return port
    raise AssertionError(f"no free port between {PORTS.start} and {PORTS.stop}")


PORTS_FILE = Path(__file__).resolve().parents[3] / "build" / "ports"
_reserved = set()


@functools.cache
def _ports_file():
    PORTS_FILE.parent.mkdir(exist_ok=True)
    return open(PORTS_FILE, "ab")  # its locks last until it is closed


def _reserve(port):
    """Locks the byte of this number in a file that all processes of this tree have in common."""
    if port in _reserved:
        return False
    try:
        fcntl.lockf(_ports_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _reserved.add(port)
    return True
