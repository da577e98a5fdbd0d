"""A chunk of /v1/shape that everybody asks for, beside nginx with the same bytes in a file."""

import contextlib

from harness import Bridge, ShapeApi
from harness.http_raw import target
from measure import Figure, Ratio, Row, cpu_seconds, run, wait_until_quiet
from nginx_static import NginxStatic
from workload import database, load, need_helper

CONNECTIONS = 64
# Name, bytes, requests. The last is the default size.
CHUNKS = (("hot-100kB", 100_000, 40_000), ("hot-10MB", 10_485_760, 400))


def hot(bench):
    """Requests a second for one chunk, of two sizes."""
    with contextlib.ExitStack() as stack:
        db = stack.enter_context(database(bench.postgres, "hot"))
        load(db, bench.size(60_000), 1000)
        return [_row(bench, db, *chunk) for chunk in CHUNKS]


def _row(bench, db, name, size, requests):
    requests = bench.size(requests, least=200)
    stream = name.replace("-", "_").lower()
    with contextlib.ExitStack() as stack:
        bridge = Bridge(db, data_dir=bench.folder / name, stream_id=stream, chunk_size=size).start()
        stack.callback(bridge.stop)
        nginx = NginxStatic(bench.folder / f"{name}-nginx").start()
        stack.callback(nginx.stop)
        path, body = _chunk(bridge)
        (nginx.files / "chunk.json").write_bytes(body)
        figures = {who: Figure(who, "requests/s", per="request") for who in ("bridge", "nginx")}
        asks = {"bridge": (bridge.port, path, lambda: cpu_seconds(bridge.process.pid)),
                "nginx": (nginx.port, "/chunk.json", nginx.cpu)}
        for turn in range(bench.repeat + 1):
            for who in list(asks)[:: 1 if turn % 2 else -1]:
                wait_until_quiet(bridge.process.pid)
                port, what, cpu_of = asks[who]
                rate, cpu = _ask(bench, port, what, requests, len(body), cpu_of)
                bench.say(f"turn {turn}: {who} {rate:.0f} requests/s")
                if turn:
                    figures[who].add(rate, {who: cpu[0], "client": cpu[1]}, units=requests)
        return Row(name, f"{requests} requests for a chunk of {len(body)} bytes by "
                   f"{CONNECTIONS} clients", list(figures.values()),
                   [Ratio.of(figures["bridge"], figures["nginx"], ">= 1"),
                    Ratio.of_cpu(figures["bridge"], "bridge", figures["nginx"], "nginx")])


def _chunk(bridge):
    """(the path of the first chunk with its handle, its bytes)"""
    api = ShapeApi(bridge, table="items")
    first = api.get(offset="-1", timeout=120.0)
    assert first.status == 200, first
    path = target("/v1/shape", table="items", offset="-1", handle=first["electric-handle"])
    return path, first.body


def _ask(bench, port, path, requests, size, cpu_of):
    """(requests a second, (the server's CPU seconds, the client's))"""
    output = bench.folder / "load.txt"
    before = cpu_of()
    run(["sh", "-c", 'exec "$0" "$@" >"$OUT"', need_helper("bench_load"), "127.0.0.1", port, path,
         min(CONNECTIONS, requests), requests], OUT=output)
    used = cpu_of() - before
    words = output.read_text().split()
    said = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    assert said["bytes"] >= requests * size, f"{said['bytes']} bytes of {requests * size}"
    return requests / said["seconds"], (used, said["cpu"])
