"""The handoff from a shape's snapshot to the stream: each hole forced open, and shown closed.

How a commit is held unseen: the server has a synchronous standby that does not exist, and a writer
that asks to wait for it (others do not). Its commit record is flushed, so the stream has the
transaction; until the wait is cancelled no new snapshot sees what it wrote.
"""

import contextlib
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import threading

import psycopg2
import pytest
from harness import Database, Postgres, Refused, Replica, ShapeApi, Stream, wait_for
from harness.process import as_user

STANDBY_AWAY = {"synchronous_standby_names": "nobody", "synchronous_commit": "local"}
FIRST = [(1, "old")]


# ---- what holds things up -----------------------------------------------------------------------

class Writer:
    """One connection in a transaction; what may wait runs on a thread of its own."""

    def __init__(self, database):
        self.database = database
        self.connection = database.connect(autocommit=False)
        self.pid = self.connection.info.backend_pid
        self.thread = None

    def run(self, sql):
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else None

    def xid(self):
        return int(self.run("SELECT pg_current_xact_id()::text")[0][0])

    def in_background(self, sql):
        def work():
            with contextlib.suppress(psycopg2.Error):
                self.run(sql)

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def waits_for(self, event):
        return self.database.value("SELECT count(*) FROM pg_stat_activity"
                                   " WHERE pid = %s AND wait_event = %s", self.pid, event) == 1

    def commit(self):
        self.connection.commit()

    def commit_unseen(self):
        """The commit is in the WAL when this returns, and nobody sees it; an LSN behind it."""
        self.run("SET LOCAL synchronous_commit = on")
        self.in_background("COMMIT")
        wait_for(lambda: self.waits_for("SyncRep"), 60, "the commit to wait")
        return int(self.database.value("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn"))

    def let_go(self):
        """Ends the wait: the commit is seen, or the statement cancelled."""
        self.database.sql("SELECT pg_cancel_backend(%s)", self.pid)
        self.thread.join(60)
        assert not self.thread.is_alive(), "the writer still waits"

    def close(self):
        self.connection.close()


def snapshots_taken(database, times):
    """Until the snapshot workers were seen at so many points: they try again and again."""
    seen = set()

    def enough():
        seen.update(database.sql(
            "SELECT pid, state_change FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'tombolo snapshot'"))
        return len(seen) >= times

    wait_for(enough, 60, f"{times} snapshots")


def confirmed(server):
    return int(server.value("SELECT confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots"))


def make_table(server):
    server.sql("CREATE TABLE t (id int PRIMARY KEY, what text)")
    server.sql("INSERT INTO t VALUES (1, 'old')")


@pytest.fixture
def server(pg_version):
    with Postgres(pg_version, STANDBY_AWAY) as server:
        make_table(server)
        yield server


@pytest.fixture
def beside(make_bridge):
    """beside(server): a running Bridge there, each with a folder of its own."""
    numbers = itertools.count(1)

    def make(server, **settings):
        settings = {"lock_timeout": "60s", **settings}
        return make_bridge(server, f"bridge{next(numbers)}", **settings).start()

    return make


# ---- a commit that is decoded before it is seen -------------------------------------------------

def decoded_unseen(server, bridge, tmp_path):
    """A replica that has a row which no snapshot sees yet, its writer, an LSN behind its commit."""
    replica = Replica(bridge, tmp_path / "first.db", ["t"]).start()
    replica.wait_for_rows("t", FIRST)
    writer = Writer(server)
    writer.run("INSERT INTO t VALUES (2, 'unseen')")
    commit = writer.commit_unseen()
    replica.wait_for_rows("t", [*FIRST, (2, "unseen")])
    return replica, writer, commit


def test_shape_asked_for_while_a_decoded_commit_is_unseen_has_its_rows(server, beside, tmp_path):
    bridge = beside(server)
    first, writer, _ = decoded_unseen(server, bridge, tmp_path)
    assert server.sql("SELECT * FROM t") == FIRST
    second = Replica(bridge, tmp_path / "second.db", ["t where id > 0"]).start()
    snapshots_taken(server, times=4)
    assert second.rows("t") is None
    writer.let_go()
    second.wait_for_rows("t", [*FIRST, (2, "unseen")])
    first.stop()
    second.stop()


def test_bridge_killed_while_a_decoded_commit_is_unseen_loses_nothing(server, beside, tmp_path):
    bridge = beside(server)
    first, writer, commit = decoded_unseen(server, bridge, tmp_path)
    for n in range(2):
        server.sql("INSERT INTO t VALUES (%s, 'seen')", 10 + n)
        first.wait_for_rows("t", [*server.sql("SELECT * FROM t"), (2, "unseen")])
        bridge.kill9()
        assert confirmed(server) < commit
        bridge.start()
    second = Replica(bridge, tmp_path / "second.db", ["t where id > 0"]).start()
    snapshots_taken(server, times=4)
    assert second.rows("t") is None
    assert confirmed(server) < commit
    writer.let_go()
    expected = server.sql("SELECT * FROM t")
    assert (2, "unseen") in expected
    second.wait_for_rows("t", expected)
    first.wait_for_rows("t", expected)
    wait_for(lambda: confirmed(server) >= commit, 60, "the slot to pass the commit at last")
    first.stop()
    second.stop()


def test_nothing_that_the_bridge_commits_waits_for_a_standby(server, beside, tmp_path):
    server.sql("CREATE ROLE patient SUPERUSER LOGIN")
    server.sql("ALTER ROLE patient SET synchronous_commit = on")
    bridge = beside(server.main.as_role("patient"))
    replica = Replica(bridge, tmp_path / "r.db", ["t where what = 'old'"]).once()
    assert replica.rows("t") == FIRST


def test_partition_made_by_a_commit_that_is_unseen_has_its_rows(server, beside, tmp_path):
    """The catalogue is behind the stream as every snapshot is: the partition is not there yet."""
    server.sql("CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    server.sql("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)")
    bridge = beside(server)
    replica = Replica(bridge, tmp_path / "r.db", ["p"]).start()
    replica.wait_for_rows("p", [])
    writer = Writer(server)
    writer.run("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)")
    writer.run("INSERT INTO p VALUES (10)")
    commit = writer.commit_unseen()
    wait_for(lambda: server.value("SELECT sent_lsn - '0/0'::pg_lsn FROM pg_stat_replication")
             >= commit, 60, "the stream to have it")
    writer.let_go()
    replica.wait_for_rows("p", [(10,)])
    server.sql("INSERT INTO p VALUES (1), (11)")
    replica.wait_for_rows("p", [(1,), (10,), (11,)])
    replica.stop()


# ---- the filter does not stop early -------------------------------------------------------------

def forced_order(server, bridge, before=lambda: None):
    """T10 commits first and T9 after it, but T9 alone is seen.

    Both while a shape is registered and has no snapshot yet: somebody who queues for an exclusive
    lock holds its worker up. That snapshot has xmax = 10 and sees 9, so of the stream T10 must be
    taken and the T9 behind it must not: who stops to filter at the first xid >= xmax has 9 twice.
    """
    Stream(bridge, {"table": "t"}).read()
    t9, t10, blocker = Writer(server), Writer(server), Writer(server)
    before()
    older, newer = t9.xid(), t10.xid()
    assert (newer - older) % WRAP <= 4, "somebody came in between"
    t9.run("INSERT INTO t VALUES (9, 'nine')")
    t10.run("INSERT INTO t VALUES (10, 'ten')")
    blocker.in_background("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    wait_for(lambda: blocker.waits_for("relation"), 60, "the blocker to queue")
    # A live one: nothing that it makes the bridge do takes a transaction id before the snapshot.
    stream = Stream(bridge, {"table": "t", "where": "id > 0"}, live=True)
    reader = threading.Thread(target=stream.read, args=(lambda s: s.consistent,), daemon=True)
    reader.start()
    wait_for(lambda: server.value(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tombolo snapshot'"
        " AND wait_event = 'relation'"), 60, "the snapshot's worker to queue")
    t10.commit_unseen()
    t9.commit()
    assert int(server.value("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")) <= newer
    blocker.let_go()
    wait_for(lambda: stream.shapes[0].handle, 60, "the stream to begin while 10 is unseen")
    assert server.value("SELECT count(*) FROM t WHERE id = 10") == 0
    reader.join(60)
    assert not reader.is_alive()
    t10.let_go()
    for writer in (t9, t10, blocker):
        writer.close()
    return stream, older


def test_commit_seen_before_an_earlier_one_comes_once(server, beside):
    stream, _ = forced_order(server, beside(server))
    assert stream.tuples("id", "what") == [("1", "old"), ("10", "ten"), ("9", "nine")]
    assert stream.shapes[0].changes == 1, "of the two, one is in the snapshot"


# ---- snapshots under load -----------------------------------------------------------------------

WRITERS, WINDOW = 3, 20
ONE_MORE = f"""WITH come AS (INSERT INTO race VALUES (%(w)s, %(n)s, 0)),
    went AS (DELETE FROM race WHERE w = %(w)s AND n = %(n)s - {WINDOW})
    UPDATE race SET v = v + 1 WHERE w = %(w)s AND n = %(n)s - 1"""


def write_race(database, w, stop, written):
    """Each transaction adds a row, counts in the one before and takes the oldest away: at any
    moment a writer has WINDOW rows that follow each other, and a lost one leaves a gap."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        n = WINDOW
        # Paced, so that a busy machine's bridge keeps up: what it is behind, a reader waits for.
        while not stop.wait(0.004):
            cursor.execute(ONE_MORE, {"w": w, "n": n})
            written[w] = n
            n += 1


def check_race(stream, shape=0):
    for w in range(WRITERS):
        rows = sorted((int(row["n"]), int(row["v"])) for row in stream.rows(shape)
                      if row["w"] == str(w))
        last = rows[-1][0]
        assert rows == [(n, int(n < last)) for n in range(last - WINDOW + 1, last + 1)], \
            f"writer {w} at {stream.position}"


@contextlib.contextmanager
def racing(database):
    database.sql("CREATE TABLE race (w int, n int, v int, PRIMARY KEY (w, n))")
    database.sql("INSERT INTO race SELECT w, n, (n < %s)::int FROM generate_series(0, %s) w,"
                 " generate_series(0, %s) n", WINDOW - 1, WRITERS - 1, WINDOW - 1)
    stop, written = threading.Event(), {}
    writers = [threading.Thread(target=write_race, args=(database, w, stop, written), daemon=True)
               for w in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield written
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)


def test_hundreds_of_snapshots_under_load_are_exact(server, beside):
    bridge = beside(server)
    streams, todo = [], list(range(1, 251))

    def ask():
        with contextlib.suppress(IndexError):
            while n := todo.pop():
                stream = Stream(bridge, {"table": "race", "where": f"n > -{n}"}).read()
                check_race(stream)
                streams.append(stream)

    with racing(server) as written:
        readers = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(240)
    assert min(written.values()) > 3 * WINDOW, "the writers were too slow to tell anything"
    assert len(streams) == 250, "one failed; its thread said why"
    assert sum(stream.shapes[0].changes > 0 for stream in streams) > 100
    expected = sorted(server.sql("SELECT w::text, n::text, v::text FROM race"))
    for stream in streams[-5:]:
        assert sorted(stream.read().tuples("w", "n", "v")) == expected


def test_request_that_is_not_live_ends_though_its_client_is_behind(server, beside):
    """It asks for what is there: it would never come to the end of what is written meanwhile."""
    bridge = beside(server)
    each, times = 300, 100

    def write(first):
        for n in range(first, first + times):
            server.sql("INSERT INTO wide SELECT %s + g, repeat('x', 2000)"
                       "  FROM generate_series(1, %s) g", n * each, each)
        Stream(bridge, {"table": "t"}).read()  # the bridge has it all

    server.sql("CREATE TABLE wide (id int PRIMARY KEY, text text)")
    write(0)
    stream = Stream(bridge, {"table": "wide"}).read(until=lambda stream: stream.shapes[0].handle)
    write(times)
    stream.read(until=lambda stream: stream.shapes[0].changes)
    write(2 * times)
    stream.read()
    assert not stream.error and stream.shapes[0].complete and stream.consistent
    assert 2 * each * times <= len(stream.rows()) < 3 * each * times


# ---- one snapshot for many shapes ---------------------------------------------------------------

def shapes_of(table, column, first, n):
    return [{"table": table, "where": f"{column} > -{i}"} for i in range(first, first + n)]


def snapshots_of(bridge):
    """How many logs there are, and how many snapshots they came from."""
    with contextlib.closing(sqlite3.connect(f"{bridge.data_dir / 'tombolo.db'}")) as catalogue:
        return catalogue.execute('SELECT count(*), count(DISTINCT "limit") FROM logs').fetchone()


def test_shapes_that_share_a_snapshot_under_load_are_exact(server, beside):
    """Several clients ask for many at once; who waits meanwhile is filled together."""
    clients, at_once = 3, 60
    bridge = beside(server)
    streams = []

    def ask(client):
        for turn in range(3):
            first = 1 + (client * 3 + turn) * at_once
            stream = Stream(bridge, *shapes_of("race", "n", first, at_once)).read()
            assert not stream.error
            for shape in range(at_once):
                check_race(stream, shape)
            streams.append(stream)

    with racing(server) as written:
        readers = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(clients)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(180)
        wait_for(lambda: min(written.get(w, 0) for w in range(WRITERS)) > 3 * WINDOW, 60,
                 "the writers")
    assert len(streams) == 3 * clients, "one failed; its thread said why"
    expected = sorted(server.sql("SELECT w::text, n::text, v::text FROM race"))
    for stream in streams:
        stream.read()
        for shape in range(at_once):
            assert sorted(stream.tuples("w", "n", "v", shape=shape)) == expected
    logs, snapshots = snapshots_of(bridge)
    assert logs == 3 * clients * at_once
    assert snapshots < logs / 2, "the snapshots were not shared: this shows nothing"


def test_shapes_that_share_a_snapshot_have_a_decoded_commit_that_was_unseen(server, beside,
                                                                            tmp_path):
    bridge = beside(server)
    first, writer, _ = decoded_unseen(server, bridge, tmp_path)
    stream = Stream(bridge, *shapes_of("t", "id", 1, 80))
    reader = threading.Thread(target=stream.read, daemon=True)
    reader.start()
    snapshots_taken(server, times=4)
    assert not any(shape.handle for shape in stream.shapes)
    writer.let_go()
    reader.join(60)
    assert not reader.is_alive()
    for shape in range(80):
        assert stream.tuples("id", "what", shape=shape) == [("1", "old"), ("2", "unseen")]
    first.stop()


def test_lost_connection_costs_one_shape_its_snapshot_and_not_all_that_share_it(server, beside):
    """Many wait for one locked table, each worker with several; the connections are cut."""
    asked = 40
    bridge = beside(server, snapshot_workers="2")
    assert ShapeApi(bridge).get(table="t", offset="-1").status == 200
    blocker = Writer(server)
    blocker.run("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    statuses = []

    def ask(n):
        reply = ShapeApi(bridge).get(table="t", where=f"id > -{n}", offset="-1", timeout=120.0)
        statuses.append(reply.status)

    readers = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(1, asked + 1)]
    for reader in readers:
        reader.start()
    wait_for(lambda: bridge.metrics()["tombolo_shapes"] == asked + 1, 60, "the logs to be made")
    waiting = ("SELECT {} FROM pg_stat_activity WHERE application_name = 'tombolo snapshot'"
               " AND wait_event = 'relation'")
    wait_for(lambda: server.value(waiting.format("count(*)")), 60, "the workers to wait")
    cut = len(server.sql(waiting.format("pg_terminate_backend(pid)")))
    blocker.commit()
    blocker.close()
    for reader in readers:
        reader.join(120)
    assert cut > 0
    assert statuses.count(200) >= asked - cut, statuses
    assert len(statuses) == asked


def test_rest_of_a_shape_that_ends_in_its_rows_is_not_waited_for(server, beside):
    """Others wait for the worker; and the snapshot holds VACUUM back."""
    server.sql("CREATE TABLE big (id int PRIMARY KEY, what text);"
               "INSERT INTO big SELECT n, repeat(md5(n::text), 20)"
               " FROM generate_series(1, 300000) n")
    bridge = beside(server, allow_delete="true")
    api = ShapeApi(bridge)
    reader = threading.Thread(target=api.get, kwargs={"table": "big", "offset": "-1"}, daemon=True)
    reader.start()
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        def copying():
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE state = 'active'"
                           " AND application_name = 'tombolo snapshot' AND query LIKE 'COPY%big%'")
            return cursor.fetchone()

        (pid,) = wait_for(copying, 60, "the rows to be read", 0.001)
        os.kill(pid, signal.SIGSTOP)
    assert api.get(method="DELETE", table="big").status == 202
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: server.process.log_contains("canceling statement due to user request"), 60,
             "the query to be cancelled")
    reader.join(60)


# ---- a writer that is open while the table joins the publication --------------------------------

def test_rows_written_before_the_table_joined_arrive_with_their_transaction(server, beside,
                                                                            tmp_path):
    bridge = beside(server)
    writer = Writer(server)
    writer.run("INSERT INTO t VALUES (2, 'before it joined')")
    replica = Replica(bridge, tmp_path / "r.db", ["t"]).start()
    wait_for(lambda: server.value("SELECT count(*) FROM pg_publication_tables"), 60,
             "the table to join the publication")
    writer.run("INSERT INTO t VALUES (3, 'after it joined')")
    writer.commit()
    replica.wait_for_rows("t", [*FIRST, (2, "before it joined"), (3, "after it joined")])
    server.sql("UPDATE t SET what = 'later' WHERE id < 3")
    replica.wait_for_rows("t", server.sql("SELECT * FROM t"))
    replica.stop()


def test_unrelated_long_transactions_hold_up_no_shape(server, beside, tmp_path):
    server.sql("CREATE TABLE other (id int)")
    bridge = beside(server)
    writer = Writer(server)
    writer.run("INSERT INTO other VALUES (1)")
    assert Replica(bridge, tmp_path / "r.db", ["t"]).once().rows("t") == FIRST
    writer.close()


@pytest.mark.parametrize("shape, held", [
    ({"table": "t"}, "INSERT INTO t VALUES (2, 'open')"),
    ({"table": "t", "where": "what = 'old'"}, "INSERT INTO t VALUES (2, 'open')"),
    ({"table": "t"}, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"),
], ids=["writer", "writer of a table that needs FULL", "exclusive lock"])
def test_table_that_stays_locked_is_503_with_the_pid(server, beside, shape, held):
    bridge = beside(server, lock_timeout="100ms")
    writer = Writer(server)
    writer.run(held)
    with pytest.raises(Refused) as refused:
        Stream(bridge, shape).read()
    assert refused.value.status == 503
    assert refused.value.headers["retry-after"]
    assert str(writer.pid) in refused.value.body
    writer.commit()
    writer.close()

    def served():
        with contextlib.suppress(Refused):  # 100 ms may be short for a busy machine
            return Stream(bridge, shape).read()

    assert wait_for(served, 60, "the shape").tuples("id")[0] == ("1",)


# ---- rows that the bridge's role may not see ----------------------------------------------------

def test_row_security_is_an_error_and_not_fewer_rows(own_postgres, beside):
    make_table(own_postgres)
    bridge = beside(restricted(own_postgres, "GRANT SELECT ON t TO guest"))
    own_postgres.sql("ALTER PUBLICATION tombolo_default ADD TABLE t")
    assert Stream(bridge, {"table": "t"}).read().tuples("id") == [("1",)]
    own_postgres.sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    for _ in range(2):
        assert "row-level security" in refusal(bridge, {"table": "t", "where": "id < 100"})
    own_postgres.sql("ALTER ROLE guest BYPASSRLS")
    assert Stream(bridge, {"table": "t", "where": "id < 100"}).read().tuples("id") == [("1",)]


def test_table_that_the_role_may_not_read_is_an_error(own_postgres, beside):
    make_table(own_postgres)
    bridge = beside(restricted(own_postgres))
    own_postgres.sql("ALTER PUBLICATION tombolo_default ADD TABLE t")
    assert "permission denied for table t" in refusal(bridge, {"table": "t"})


def refusal(bridge, shape):
    """Why there are no rows: a 503, or the stream's error line when it had begun already."""
    try:
        stream = Stream(bridge, shape).read()
    except Refused as refused:
        assert refused.status == 503
        return refused.body
    assert stream.rows() == []
    return stream.error["message"]


def restricted(server, *grants):
    """The server for a role that may replicate, make a publication, and what is granted."""
    server.sql("CREATE ROLE guest LOGIN REPLICATION")
    server.sql("GRANT CREATE ON DATABASE postgres TO guest")
    for grant in grants:
        server.sql(grant)
    return server.main.as_role("guest")


# ---- transaction ids that wrap around -----------------------------------------------------------

WRAP = 2 ** 32
BEFORE_WRAP = WRAP - 96


def run_program(server, name, *options):
    done = subprocess.run(as_user(server.user, [server.build.bin / name, *options]), check=False,
                          env=server.build.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def wrapping():
    """A server that is 96 transactions away from 32-bit ids' wrap-around. Of the distribution's
    version whatever --pg says: the others' packages have no pg_resetwal."""
    with Postgres(None, {**STANDBY_AWAY, "autovacuum": "off"}) as server:
        server.sql("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
        for name in ("postgres", "template0", "template1"):
            Database(server, name).sql("VACUUM FREEZE")
        server.stop()
        run_program(server, "pg_resetwal", "-D", server.data, "-x", BEFORE_WRAP, "-e", 0)
        clog = server.data / "pg_xact" / f"{BEFORE_WRAP // (32 * 32768):04X}"
        clog.write_bytes(bytes(32 * 8192))
        shutil.chown(clog, server.user or clog.owner())
        server.start()
        make_table(server)
        yield server


def burn_until(server, xid):
    """Takes transaction ids so that `xid` is the next."""
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            if cursor.fetchone()[0] >= xid:
                return
            cursor.execute("SELECT pg_current_xact_id()")


def test_handoff_is_exact_where_one_xid_is_before_the_wrap_and_one_behind(wrapping, beside):
    stream, older = forced_order(wrapping, beside(wrapping),
                                 lambda: burn_until(wrapping, WRAP - 1))
    # 2^32, 2^32 + 1 and 2^32 + 2 are not given out: they are special in 32 bits.
    assert older == WRAP - 1
    assert stream.tuples("id", "what") == [("1", "old"), ("10", "ten"), ("9", "nine")]
    assert stream.shapes[0].changes == 1


def test_snapshots_on_both_sides_of_the_wrap_are_exact(wrapping, beside, tmp_path):
    bridge = beside(wrapping)
    live = Replica(bridge, tmp_path / "r.db", ["t"]).start()
    streams = []
    while wrapping.value("SELECT pg_current_xact_id()::text::bigint") < WRAP + 60:
        n = len(streams) + 100
        wrapping.sql("INSERT INTO t VALUES (%s, 'new')", n)
        streams.append(Stream(bridge, {"table": "t", "where": f"id > -{n}"}).read())
        assert streams[-1].tuples("id") == \
            sorted(wrapping.sql("SELECT id::text FROM t")), f"after {n}"
    assert len(streams) > 20
    expected = wrapping.sql("SELECT * FROM t")
    for stream in streams:
        assert stream.read().tuples("id") == sorted((str(n),) for n, _ in expected)
    live.wait_for_rows("t", expected)
    live.stop()
