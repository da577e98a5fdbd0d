"""Writes through /v1/write beside the same statements by pgbench, one commit each.

Sixteen clients each send requests of `group` transactions, a row each, one request at a time; the
requests are made beforehand, so that only sending and waiting is measured.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time

from harness import Bridge
from harness.postgres_builds import find
from harness.process import environment
from measure import Figure, Ratio, Row, cpu_seconds
from workload import database

CLIENTS = 16
GROUPS = (1, 8, 64)
TABLE = "CREATE TABLE notes (id bigint PRIMARY KEY, owner int NOT NULL, body text)"
NOTE = "a note of some sixty characters, as people write them in apps"
RULES = "[write notes]\noperations = insert, update, delete\n"


def writes(bench):
    """Inserts of one row a transaction by 16 clients, by transactions a request."""
    with database(bench.postgres, "writes") as db:
        db.sql(TABLE)
        rules = bench.folder / "writes.ini"
        rules.write_text(RULES)
        bridge = Bridge(db, data_dir=bench.folder / "writes", stream_id="writes", config=rules,
                        write_connections=CLIENTS).start()
        rows = [_row(bench, db, bridge, group) for group in GROUPS]
        bridge.stop()
    return rows


def _row(bench, db, bridge, group):
    rounds = max(2, bench.size(40_000) // CLIENTS // group // (8 if group == 1 else 1))
    through = Figure(f"/v1/write, {group} a request", "commits/s")
    pgbench = Figure("pgbench", "commits/s")
    contestants = [(through, lambda turn: _write(db, bridge, group, rounds, turn)),
                   (pgbench, lambda turn: _pgbench(bench, db, rounds * group))]
    for turn in range(bench.repeat + 1):
        for figure, run in contestants[:: 1 if turn % 2 else -1]:
            db.sql("TRUNCATE notes")
            rate, cpu = run(f"{group}-{turn}")
            if turn:
                figure.add(rate, cpu)
    return Row("writes", f"{CLIENTS} clients, {rounds * group} transactions each, one row a transaction",
               [through, pgbench], [Ratio.of(through, pgbench, ">= 2" if group > 1 else "")])


def _request(replica, first, group, base):
    """The bytes of one request: transactions `first` and on."""
    transactions = [
        {"id": first + i, "nonce": f"{replica}-{first + i}", "mutations": [
            {"table": "notes", "op": "insert", "nonce": str(base + first + i),
             "key": {"id": str(base + first + i)},
             "values": {"id": str(base + first + i), "owner": "7", "body": NOTE}}]}
        for i in range(group)]
    body = {"replica": replica, "transactions": transactions}
    if first > 1:
        body["after"] = f"{replica}-{first - 1}"
    text = json.dumps(body).encode()
    return (b"POST /v1/write HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(text)) + text


def _answer(connection, rest):
    """Reads one response; what follows it. Its status must be 200."""
    while b"\r\n\r\n" not in rest:
        rest += _more(connection)
    head, _, rest = rest.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head + rest
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields[b"content-length"])
    while len(rest) < length:
        rest += _more(connection)
    assert b'"applied"' in rest[:200], rest[:500]
    return rest[length:]


def _more(connection):
    data = connection.recv(1 << 16)
    assert data, "the bridge closed the connection"
    return data


def _client(port, requests, ready, failed):
    try:
        with socket.create_connection(("127.0.0.1", port), 60.0) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.wait()
            rest = b""
            for request in requests:
                connection.sendall(request)
                rest = _answer(connection, rest)
    except BaseException as error:
        failed.append(error)
        ready.abort()
        raise


def _write(db, bridge, group, rounds, turn):
    """(commits a second, CPU of the bridge and Postgres)"""
    ready, failed = threading.Barrier(CLIENTS + 1), []
    clients = []
    for n in range(CLIENTS):
        requests = [_request(f"w{turn}-{n}", 1 + i * group, group, (n + 1) << 32)
                    for i in range(rounds)]
        clients.append(threading.Thread(target=_client, args=(bridge.port, requests, ready, failed)))
        clients[-1].start()
    before = cpu_seconds(bridge.process.pid)
    with contextlib.suppress(threading.BrokenBarrierError):
        ready.wait()
    began = time.monotonic()
    for client in clients:
        client.join()
    seconds = time.monotonic() - began
    assert not failed, failed
    cpu = {"bridge": cpu_seconds(bridge.process.pid) - before}
    count = CLIENTS * rounds * group
    assert db.value("SELECT count(*) FROM notes") == count
    return count / seconds, cpu


def _pgbench(bench, db, transactions):
    script = bench.folder / "notes.sql"
    script.write_text("\\set id random(1, 1000000000000000000)\n"
                      f"INSERT INTO notes VALUES (:id, 7, '{NOTE}')\n")
    done = subprocess.run([_program(), "-n", "-f", script, "-c", str(CLIENTS), "-j", "2",
                           "-M", "prepared", "-t", str(transactions), db.url],
                          env=environment(), check=True, capture_output=True, text=True, timeout=600)
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps = "))
    return float(line.split()[2]), {}


def _program():
    program = find().bin / "pgbench"
    found = program if program.exists() else shutil.which("pgbench")
    assert found, "there is no pgbench"
    return os.fspath(found)
