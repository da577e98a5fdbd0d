"""Who reads a backlog of WAL: the bridge, and pg_recvlogical as its ceiling.

Both are to read the same WAL with all of it already there. So the bridge's walsender is frozen
(SIGSTOP) while the WAL is written, and the clock starts when it goes on; pg_recvlogical is
started after, and its clock starts when it says that streaming is initiated. The bridge's clock
stops when a live client of another shape has the row of `marker` that was committed last;
pg_recvlogical ends by itself when it meets that row.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

from harness import Bridge, wait_for
from harness.process import environment
from measure import Sampler, cpu_seconds, memory, reset_peak, wait_until_quiet
from workload import postgres_program

SHAPES_A_REQUEST = 1000


def make_shapes(bridge, shapes):
    """Has the bridge make them; each answer is read to its end."""
    for at in range(0, len(shapes), SHAPES_A_REQUEST):
        body = {"shapes": shapes[at:at + SHAPES_A_REQUEST], "live": False}
        answer = bridge.post("/v1/sync?replica=bench", body, timeout=600.0)
        lines = answer.body.splitlines()
        assert answer.status == 200 and lines and b'"error"' not in lines[-1], answer.body[-2000:]


def sync_request(replica, shapes):
    """The bytes of a live request to /v1/sync."""
    body = json.dumps({"shapes": shapes, "live": True}).encode()
    return (b"POST /v1/sync?replica=%s HTTP/1.1\r\nHost: bench\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (replica.encode(), len(body), body))


class Follower:
    """A live client of one shape on a socket of its own, which has heard `text`."""

    def __init__(self, bridge, table, text=b'"snapshot_end"'):
        self.socket = socket.create_connection(("127.0.0.1", bridge.port))
        self.socket.sendall(sync_request("follower", [{"table": table}]))
        self._seen = b""
        self.wait(text)

    def wait(self, text, deadline=600.0):
        """Until the stream has had `text`; what came before it is forgotten."""
        self.socket.settimeout(deadline)
        while text not in self._seen:
            data = self.socket.recv(65536)
            assert data, f"the bridge ended the stream: {self._seen[-500:]}"
            self._seen += data
        self._seen = self._seen[self._seen.index(text) + len(text):]

    def close(self):
        self.socket.close()


class BridgeConsumer:
    """A bridge with the stream id `name` that follows `shapes` and the marker."""

    def __init__(self, db, folder, name, who, shapes):
        self.db, self.name, self.who = db, name, who
        self.bridge = Bridge(db, data_dir=folder / name, stream_id=name,
                             max_shapes_per_request=SHAPES_A_REQUEST).start()
        started = time.monotonic()
        make_shapes(self.bridge, shapes)
        self.seconds_to_make_shapes = time.monotonic() - started
        self.follower = Follower(self.bridge, "marker")
        self._walsender = None

    def hold(self):
        """While it is held the WAL goes by it unread."""
        wait_until_quiet(self.bridge.process.pid)
        self._walsender = self.db.value(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s",
            f"tombolo_{self.name}")
        os.kill(self._walsender, signal.SIGSTOP)

    def consume(self, marker, _endpos):
        """Lets go; seconds, CPU seconds by process, peak RSS by process."""
        pid = self.bridge.process.pid
        reset_peak(pid)
        before = cpu_seconds(pid), cpu_seconds(self._walsender)
        started = time.monotonic()
        os.kill(self._walsender, signal.SIGCONT)
        self.follower.wait(b'"n":"%d"' % marker)
        seconds = time.monotonic() - started
        cpu = {"bridge": cpu_seconds(pid) - before[0],
               "walsender": cpu_seconds(self._walsender) - before[1]}
        peak = {"bridge": memory(pid, "VmHWM")}
        wait_until_quiet(pid)
        return seconds, cpu, peak

    def close(self):
        self.follower.close()
        self.bridge.stop()


class Recvlogical:
    """pg_recvlogical -f /dev/null with a slot of its own and a bridge's publication."""

    def __init__(self, postgres, db, publication):
        self.who = "pg_recvlogical"
        self.postgres, self.db, self.publication = postgres, db, publication

    def hold(self):
        self.db.sql("SELECT pg_create_logical_replication_slot('bench', 'pgoutput')")

    def consume(self, _marker, endpos):
        argv = [postgres_program(self.postgres, "pg_recvlogical"), "-h", self.db.host,
                "-p", self.db.port, "-U", self.db.user, "-d", self.db.name, "-S", "bench", "-v",
                "--start", "-o", "proto_version=1", "-o", f"publication_names={self.publication}",
                "--endpos", endpos, "--no-loop", "-f", "/dev/null"]
        child = subprocess.Popen(list(map(str, argv)), env=environment(), text=True,
                                 stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for line in child.stderr:
            if "streaming initiated" in line:
                break
        started = time.monotonic()
        client, walsender = Sampler(child.pid), Sampler(self.db.value(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'bench'"))
        rest = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, f"pg_recvlogical ended with {child.returncode}: {rest}"
        cpu = {"client": usage.ru_utime + usage.ru_stime, "walsender": walsender.end().cpu}
        self._drop_slot()
        return seconds, cpu, {"client": client.end().peak_rss}

    def _drop_slot(self):
        active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'bench'"
        wait_for(lambda: not self.db.value(active), 10, "the slot to be let go")
        self.db.sql("SELECT pg_drop_replication_slot('bench')")

    def close(self):
        pass


@contextlib.contextmanager
def closing_all(consumers):
    try:
        yield consumers
    finally:
        for consumer in consumers:
            consumer.close()
