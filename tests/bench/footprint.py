"""What the bridge takes while nothing happens: idle, a shape, a parked client."""

import resource
import socket
import time

from consumers import SHAPES_A_REQUEST, make_shapes, sync_request
from harness import Bridge
from measure import Figure, Ratio, Row, cpu_seconds, memory, wait_until_quiet
from workload import database, load

IDLE_SECONDS = 10
GROUP = 50  # how many clients are opened before their answers are read


def idle(bench):
    """Memory and CPU of an idle bridge; memory a shape and a parked client."""
    shapes, clients = bench.shapes, bench.size(2000)
    with database(bench.postgres, "idle") as db:
        load(db, 1000, 1000, owners=shapes)
        bridge = Bridge(db, data_dir=bench.folder / "idle", stream_id="idle",
                        max_shapes_per_request=SHAPES_A_REQUEST).start()
        pid = bridge.process.pid
        make_shapes(bridge, [{"table": "marker"}])
        figures = _idle(pid)
        figures.append(_grown_by(pid, "a parked client", clients,
                                 lambda: park(bridge, clients)))
        figures.append(_grown_by(
            pid, "a shape", shapes,
            lambda: make_shapes(bridge, [{"table": "items", "where": f"owner_id = {n}"}
                                         for n in range(shapes)])))
        index = Figure("a shape, in the log's index", "bytes")
        index.add(bridge.metrics()["tombolo_log_memory_bytes"] / shapes)
        bridge.stop()
    rss, _, _, client, shape = figures
    return Row("idle", f"idle, {clients} parked clients, {shapes} shapes", [*figures, index],
               [Ratio("MB idle", [rss.median], "< 20"),
                Ratio("kB a parked client", [client.median / 1000], "< 1, kernel aside"),
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


def park(bridge, count):
    """Live clients that have all there is; the caller closes them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 200)), hard))
    request = sync_request("parked", [{"table": "marker"}])
    clients = []
    for first in range(0, count, GROUP):
        group = [socket.create_connection(("127.0.0.1", bridge.port), 30.0)
                 for _ in range(first, min(count, first + GROUP))]
        for client in group:
            client.sendall(request)
        for client in group:
            _read_until_caught_up(client)
        clients += group
    return clients


def _read_until_caught_up(client):
    seen = b""
    while b'"consistent":true' not in seen:
        data = client.recv(65536)
        assert data, f"the bridge ended a parked stream: {seen[-500:]}"
        seen += data
