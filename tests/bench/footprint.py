"""What the bridge takes while nothing happens: idle, a shape, a parked client of each kind."""

import resource
import socket
import time

from consumers import SHAPES_A_REQUEST, make_shapes, sync_request
from harness import Bridge, ShapeApi
from harness.http_raw import target
from measure import Figure, Ratio, Row, cpu_seconds, memory, wait_until_quiet
from workload import database, load

IDLE_SECONDS = 10
GROUP = 50  # how many clients are opened before their answers are read
CAUGHT_UP = b'"consistent":true'
FIRST = 1000  # clients that are there already: what the first of them need is the loops' and pools'


def idle(bench):
    """Memory and CPU of an idle bridge; memory a shape and a parked client."""
    shapes, clients = bench.shapes, bench.size(2000)
    with database(bench.postgres, "idle") as db:
        load(db, 1000, 1000, owners=shapes)
        bridge = Bridge(db, data_dir=bench.folder / "idle", stream_id="idle",
                        max_shapes_per_request=SHAPES_A_REQUEST,
                        long_poll_timeout="10min").start()
        pid = bridge.process.pid
        make_shapes(bridge, [{"table": "marker"}])
        figures = _idle(pid)
        figures += [_parked(bridge, clients, *kind) for kind in _parked_requests(bridge)]
        _anew(bridge)
        figures.append(_grown_by(
            bridge.process.pid, "a shape", shapes,
            lambda: make_shapes(bridge, [{"table": "items", "where": f"owner_id = {n}"}
                                         for n in range(shapes)])))
        index = Figure("a shape, in the log's index", "bytes")
        index.add(bridge.metrics()["tombolo_log_memory_bytes"] / shapes)
        bridge.stop()
    rss, _, _, client, poll, events, shape = figures
    return Row("idle", f"idle, {clients} parked clients of each kind, {shapes} shapes",
               [*figures, index],
               [Ratio("MB idle", [rss.median], "< 20"),
                Ratio("kB a parked client", [client.median / 1000], "< 1, kernel aside"),
                Ratio("kB a parked long poll", [poll.median / 1000], "< 1, kernel aside"),
                Ratio("kB a parked event stream", [events.median / 1000], "< 1, kernel aside"),
                Ratio("kB a shape", [shape.median / 1000], "< 1")])


def _idle(pid):
    wait_until_quiet(pid)
    before = cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    cpu = (cpu_seconds(pid) - before) / IDLE_SECONDS
    figures = [Figure("idle, resident", "MB"), Figure("idle, anonymous", "MB"),
               Figure("idle, share of a CPU", "%")]
    for figure, value in zip(figures, (memory(pid, "VmRSS") / 1e6, memory(pid, "RssAnon") / 1e6,
                                       100 * cpu), strict=True):
        figure.add(value)
    return figures


def _parked_requests(bridge):
    """(what it is called, its bytes, what it hears before it waits) of each kind of client."""
    first = ShapeApi(bridge, table="marker").get(offset="-1", timeout=60.0)
    live = {"table": "marker", "offset": "0_inf", "handle": first["electric-handle"],
            "live": "true"}
    return (("a parked client", sync_request("parked", [{"table": "marker"}]), CAUGHT_UP),
            ("a parked long poll", _get(**live), b""),
            ("a parked event stream", _get(**live, live_sse="true"), b"\r\n\r\n"))


def _get(**parameters):
    return f"GET {target('/v1/shape', **parameters)} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def _parked(bridge, clients, who, request, until):
    """Anonymous memory that one more takes, when some are there."""
    _anew(bridge)
    before = park(bridge, FIRST, request, until)
    figure = _grown_by(bridge.process.pid, who, clients,
                       lambda: park(bridge, clients, request, until))
    for client in before:
        client.close()
    return figure


def _anew(bridge):
    """What others have let go of would be used again, and not be counted."""
    bridge.stop()
    bridge.start()


def _grown_by(pid, who, count, grow):
    """Anonymous memory that one of `count` takes."""
    wait_until_quiet(pid)
    before = memory(pid, "RssAnon")
    held = grow()
    wait_until_quiet(pid, 300.0)
    figure = Figure(who, "bytes")
    figure.add((memory(pid, "RssAnon") - before) / count)
    for client in held or []:
        client.close()
    return figure


def park(bridge, count, request=None, until=CAUGHT_UP):
    """Live clients that have heard all there is, of /v1/sync by default; the caller closes them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * count + 200)), hard))
    request = request or sync_request("parked", [{"table": "marker"}])
    clients = []
    for first in range(0, count, GROUP):
        group = [socket.create_connection(("127.0.0.1", bridge.port), 30.0)
                 for _ in range(first, min(count, first + GROUP))]
        for client in group:
            client.sendall(request)
        for client in group:
            _hear_until(client, until)
        clients += group
    return clients


def _hear_until(client, text):
    seen = b""
    while text not in seen:
        data = client.recv(65536)
        assert data, f"the bridge ended a parked stream: {seen[-500:]}"
        seen += data
