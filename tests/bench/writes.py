"""Writes through /v1/write beside the same statements by pgbench, one commit each.

Sixteen clients (bench_writes.c) each send requests of `group` transactions, a row each, one request
at a time; the requests are made beforehand, so that only sending and waiting is measured.
"""

import os
import shutil
import subprocess

from harness import Bridge
from harness.postgres_builds import find
from harness.process import environment
from measure import Figure, Ratio, Row, cpu_seconds
from workload import database, need_helper, postgres_cpu

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
    through = Figure(f"/v1/write, {group} a request", "commits/s", per="commit")
    pgbench = Figure("pgbench", "commits/s", per="commit")
    contestants = [(through, lambda turn: _write(bench, db, bridge, group, rounds, turn)),
                   (pgbench, lambda turn: _pgbench(bench, db, rounds * group))]
    for turn in range(bench.repeat + 1):
        for figure, run in contestants[:: 1 if turn % 2 else -1]:
            db.sql("TRUNCATE notes")
            rate, cpu = run(group * 1000 + turn)
            if turn:
                figure.add(rate, cpu, units=CLIENTS * rounds * group)
    return Row("writes", f"{CLIENTS} clients, {rounds * group} transactions each, one row a transaction",
               [through, pgbench], [Ratio.of(through, pgbench, ">= 2" if group > 1 else "")])


def _write(bench, db, bridge, group, rounds, turn):
    """(commits a second, CPU of the bridge and Postgres)"""
    before = cpu_seconds(bridge.process.pid), postgres_cpu(bench.postgres)
    done = subprocess.run([need_helper("bench_writes"), str(bridge.port), str(CLIENTS), str(rounds),
                           str(group), str(turn)],
                          env=environment(), check=True, capture_output=True, text=True, timeout=600)
    cpu = {"bridge": cpu_seconds(bridge.process.pid) - before[0],
           "Postgres": postgres_cpu(bench.postgres) - before[1]}
    count = CLIENTS * rounds * group
    assert db.value("SELECT count(*) FROM notes") == count
    return count / float(done.stdout), cpu


def _pgbench(bench, db, transactions):
    script = bench.folder / "notes.sql"
    script.write_text("\\set id random(1, 1000000000000000000)\n"
                      f"INSERT INTO notes VALUES (:id, 7, '{NOTE}')\n")
    before = postgres_cpu(bench.postgres)
    done = subprocess.run([_program(), "-n", "-f", script, "-c", str(CLIENTS), "-j", "2",
                           "-M", "prepared", "-t", str(transactions), db.url],
                          env=environment(), check=True, capture_output=True, text=True, timeout=600)
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps = "))
    return float(line.split()[2]), {"Postgres": postgres_cpu(bench.postgres) - before}


def _program():
    program = find().bin / "pgbench"
    found = program if program.exists() else shutil.which("pgbench")
    assert found, "there is no pgbench"
    return os.fspath(found)
