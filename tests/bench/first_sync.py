"""The first sync: rows of Postgres to a complete SQLite file, beside COPY, raw inserts, nginx."""

import contextlib
import os
import shutil
import sqlite3

from harness import Bridge
from measure import Curve, Figure, Ratio, Row, memory, reset_peak, run, wait_until_quiet
from nginx_static import NginxStatic
from workload import database, load, need_helper, postgres_cpu, postgres_program


CONTESTANTS = ("COPY to /dev/null", "raw SQLite inserts", "nginx, the same bytes", "first client",
               "second client")


def sync(bench):
    """First client (which has the bridge take the snapshot), and a second one."""
    rows = bench.size(1_000_000)
    with database(bench.postgres, "sync") as db:
        figures = _turns(bench, db, rows)
        table = db.value("SELECT pg_table_size('items')")
        with_index = db.value("SELECT pg_total_relation_size('items')")
    file = (bench.folder / "first.db").stat().st_size
    return Row("sync", f"{rows} rows to a complete SQLite replica", list(figures.values()),
               _ratios(figures) + [
                   Ratio("replica's file / source table", [file / table], "<= 1.2"),
                   Ratio("replica's file / source table with its index", [file / with_index])])


def sync_rows(bench):
    """The same by the number of rows."""
    curves = {who: Curve(who, "rows", "seconds", log=True) for who in CONTESTANTS}
    ratio = Curve("first client / the longer of COPY and inserts", "rows", "ratio", log=True)
    most = 10_000_000 if bench.full else 100_000
    counts = [count for count in (1000, 10_000, 100_000, 1_000_000, 10_000_000)
              if count <= max(1000, most * min(1, bench.scale))]
    for rows in counts:
        with database(bench.postgres, f"sync{rows}") as db:
            figures = _turns(bench, db, rows)
        for who, figure in figures.items():
            curves[who].at(rows, *figure.values)
        ratio.at(rows, *_ratios(figures)[0].values)
    for figure in figures.values():
        figure.who += f", {counts[-1]} rows"
    return Row("sync_rows", "a first sync by the number of rows", list(figures.values()),
               curves=[*curves.values(), ratio])


def _turns(bench, db, rows):
    figures = {who: Figure(who, "s") for who in CONTESTANTS}
    load(db, rows, min(rows, 10_000))
    db.sql("VACUUM ANALYZE items")
    for turn in range(bench.repeat + 1):
        for who, seconds, cpu, peak in _turn(bench, db, rows, turn):
            if turn:
                figures[who].add(seconds, cpu, peak, units=rows)
            bench.say(f"turn {turn}: {who} {seconds:.2f} s")
    return figures


def _ratios(figures):
    copy, raw, nginx, first, second = figures.values()
    return [Ratio.of(first, _longer(copy, raw), "<= 1.3"),
            Ratio.of(second, _longer(nginx, raw), "<= 1.2"),
            Ratio.of_cpu(second, "bridge", nginx, "nginx")]


def _longer(figure, other):
    return Figure(f"the longer of {figure.who.split(',')[0].split()[0]} and inserts", "s",
                  [max(pair) for pair in zip(figure.values, other.values, strict=True)])


def _turn(bench, db, rows, turn):
    """(who, seconds, CPU seconds, peak RSS) of each contestant, one after the other."""
    yield _copy(bench, db)
    name = f"{db.name}_{turn}"
    bridge = Bridge(db, data_dir=bench.folder / name, stream_id=name).start()
    for who, path in (("first client", "first.db"), ("second client", "second.db")):
        yield _sync_once(bench, bridge, who, _fresh(bench.folder / path), rows)
    yield _nginx(bench, bridge)
    bridge.stop()
    shutil.rmtree(bridge.data_dir)
    db.sql("SELECT pg_drop_replication_slot(%s)", f"tombolo_{name}")
    db.sql(f"DROP PUBLICATION tombolo_{name}")
    yield _insert(bench, rows)


def _nginx(bench, bridge):
    """What the second client was sent, from a file."""
    request = {"shapes": [{"table": "items"}], "live": False}
    answer = bridge.post("/v1/sync?replica=nginx", request, timeout=600.0)
    assert answer.status == 200, answer.body
    nginx = NginxStatic(bench.folder / "nginx").start()
    (nginx.files / "items").write_bytes(answer.body)
    output, before = bench.folder / "load.txt", nginx.cpu()
    run(["sh", "-c", 'exec "$0" "$@" >"$OUT"', need_helper("bench_load"), "127.0.0.1", nginx.port,
         "/items", 1, 1], OUT=output)
    used = nginx.cpu() - before
    nginx.stop()
    _, _, _, size, _, seconds, _, cpu = output.read_text().split()
    assert int(size) == len(answer.body), f"{size} bytes of {len(answer.body)}"
    return "nginx, the same bytes", float(seconds), {"nginx": used, "client": float(cpu)}, {}


def _copy(bench, db):
    before = postgres_cpu(bench.postgres)
    done = run([postgres_program(bench.postgres, "psql"), "-X", "-q", "-h", db.host,
                "-p", db.port, "-U", db.user, "-d", db.name, "-o", "/dev/null",
                "-c", "COPY items TO STDOUT"])
    cpu = {"postgres": postgres_cpu(bench.postgres) - before, "client": done.cpu}
    return "COPY to /dev/null", done.seconds, cpu, {}


def _sync_once(bench, bridge, who, path, rows):
    pid = bridge.process.pid
    wait_until_quiet(pid)
    reset_peak(pid)
    before = _process_cpu(pid), postgres_cpu(bench.postgres)
    done = run([bridge.binary, "sync", "--from", bridge.url, "--db", path, "--shape", "items",
                "--once"])
    cpu = {"bridge": _process_cpu(pid) - before[0],
           "postgres": postgres_cpu(bench.postgres) - before[1], "client": done.cpu}
    with contextlib.closing(sqlite3.connect(path)) as file:
        ((count,),) = file.execute("SELECT count(*) FROM items").fetchall()
    assert count == rows, f"the replica has {count} rows of {rows}"
    peak = {"bridge": memory(pid, "VmHWM"), "client": done.peak_rss}
    return who, done.seconds, cpu, peak


def _insert(bench, rows):
    target = _fresh(bench.folder / "raw.db")
    output = bench.folder / "raw.txt"
    done = run(["sh", "-c", 'exec "$0" "$@" >"$OUT"', need_helper("bench_inserts"),
                bench.folder / "first.db", "items", target], OUT=output)
    _, count, _, seconds, _, cpu = output.read_text().split()
    assert int(count) == rows, f"{count} rows of {rows} were inserted"
    return "raw SQLite inserts", float(seconds), {"client": float(cpu)}, {"client": done.peak_rss}


def _process_cpu(pid):
    """Threads that have ended too: snapshots are taken by workers."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        text = stat.read()
    return sum(map(int, text[text.rindex(")") + 2:].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def _fresh(path):
    """The path, with nothing there."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path
