"""Waiting for a condition, and finding a port that nobody has."""

import random
import socket
import time

# Below Linux's ephemeral range (32768 and up), so that no client connection of
# another test takes a port between its being found here and its being bound.
PORTS = range(20000, 32000)


def wait_for(condition, deadline=10.0, what=None, interval=0.02):
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
    """A port of 127.0.0.1 that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no free port between {PORTS.start} and {PORTS.stop}")
