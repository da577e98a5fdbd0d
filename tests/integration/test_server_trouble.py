"""What goes wrong with the server, the slot, the disk: the bridge says plainly what it is, gives no
wrong row meanwhile, and goes on by itself when it is over."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from harness import Bridge, Database, Postgres, Proxy, Refused, Replica, Stream, wait_for

SLOT = "tombolo_default"
AGAIN = "everything must be fetched again"


@pytest.fixture
def server(own_postgres):
    own_postgres.sql("CREATE TABLE t (id int PRIMARY KEY, what text)")
    own_postgres.sql("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 100) n")
    return own_postgres


@pytest.fixture
def start(make_bridge):
    """start(postgres, name="bridge", wait=True, **settings): a Bridge that runs."""
    def start(postgres, name="bridge", wait=True, **settings):
        return make_bridge(postgres, name, **settings).start(wait)

    return start


@pytest.fixture
def follow(tmp_path):
    """follow(bridge): a Replica of `t` that runs, and is stopped when the test ends."""
    made = []

    def follow(bridge):
        replica = Replica(bridge, tmp_path / f"replica{len(made)}.db", ["t"]).start()
        made.append(replica)
        return replica

    yield follow
    for replica in made:
        replica.stop()


def rows(postgres):
    return postgres.sql("SELECT * FROM t")


def goes_on(replica, postgres):
    """The replica has what the server has, and what comes now too."""
    replica.wait_for_rows("t", rows(postgres), deadline=60)
    postgres.sql("INSERT INTO t SELECT max(id) + 1, 'later' FROM t")
    postgres.sql("DELETE FROM t WHERE id = (SELECT min(id) FROM t)")
    replica.wait_for_rows("t", rows(postgres), deadline=60)


def wait_for_log(bridge, *words, deadline=60.0):
    """Until one line of its log has all the words."""
    bridge.process.wait_for(
        lambda: any(all(w in line for w in words) for line in bridge.log().splitlines()),
        deadline, f"a line of the log with {words}")


# ---- the slot and the publication ----------------------------------------------------------------


def test_slot_that_is_dropped_under_the_bridge_costs_a_refetch(server, start, follow):
    bridge = start(server)
    replica = follow(bridge)
    replica.wait_for_rows("t", rows(server))

    def dropped():
        server.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        with contextlib.suppress(Exception):  # the bridge was faster and has it again
            server.sql("INSERT INTO t SELECT max(id) + 1, 'lost' FROM t")
            server.sql("SELECT pg_drop_replication_slot(%s)", SLOT)
            return True

    wait_for(dropped, 60, "the slot to be dropped", interval=0.001)
    wait_for_log(bridge, AGAIN, "the replication slot was gone")
    goes_on(replica, server)


def test_slot_that_was_invalidated_is_replaced(pg_version, start, follow):
    with Postgres(pg_version, {"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB",
                               "min_wal_size": "32MB"}) as server:
        server.sql("CREATE TABLE t (id int PRIMARY KEY, what text)")
        server.sql("INSERT INTO t VALUES (1, 'x'), (2, 'y')")
        bridge = start(server)
        replica = follow(bridge)
        replica.wait_for_rows("t", rows(server))
        bridge.stop()
        server.sql("DELETE FROM t WHERE id = 1")

        def lost():
            server.sql("SELECT pg_logical_emit_message(false, 'noise', 'x')")
            server.sql("SELECT pg_switch_wal()")
            server.sql("CHECKPOINT")
            return server.value("SELECT wal_status FROM pg_replication_slots") == "lost"

        wait_for(lost, 60, "the slot to be lost")
        bridge.start()
        wait_for_log(bridge, AGAIN, "the server has removed WAL that the slot needed")
        goes_on(replica, server)
        assert server.value("SELECT wal_status FROM pg_replication_slots") == "reserved"
        replica.stop()
        bridge.stop()


def test_publication_dropped_while_the_bridge_is_away_costs_a_refetch(server, start, follow):
    bridge = start(server)
    replica = follow(bridge)
    replica.wait_for_rows("t", rows(server))
    bridge.stop()
    server.sql(f"DROP PUBLICATION {SLOT}")
    server.sql("DELETE FROM t WHERE id < 10")
    bridge.start()
    wait_for_log(bridge, AGAIN, "the publication was gone")
    goes_on(replica, server)


# ---- another history -----------------------------------------------------------------------------


def test_server_restored_from_an_older_copy_is_noticed(server, start, follow):
    bridge = start(server)
    replica = follow(bridge)
    replica.wait_for_rows("t", rows(server))
    bridge.stop()
    server.stop()
    copy = server.folder / "copy"
    subprocess.run(["cp", "-a", server.data, copy], check=True)
    server.start()
    bridge.start()
    server.sql("INSERT INTO t SELECT n, 'lost by the restore' FROM generate_series(1000, 3000) n")
    replica.wait_for_rows("t", rows(server))
    bridge.stop()
    server.stop()
    shutil.rmtree(server.data)
    copy.rename(server.data)
    server.start()
    server.sql("INSERT INTO t VALUES (500, 'of the new history')")
    bridge.start()
    wait_for_log(bridge, AGAIN, "it was restored from a copy")
    assert len(rows(server)) == 101
    goes_on(replica, server)


@pytest.mark.parametrize("has_slot, reason", [(False, "the replication slot was gone"),
                                              (True, "this is another database system")])
def test_another_database_system_behind_the_same_address_is_noticed(server, start, follow,
                                                                    pg_version, has_slot, reason):
    bridge = start(server)
    replica = follow(bridge)
    replica.wait_for_rows("t", rows(server))
    with Postgres(pg_version, another_system=True) as other:
        other.sql("CREATE TABLE t (id int PRIMARY KEY, what text)")
        other.sql("INSERT INTO t VALUES (7, 'other')")
        if has_slot:  # as after another bridge of the same name
            other.sql(f"CREATE PUBLICATION {SLOT}")
            other.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", SLOT)
        server.stop()
        other.stop()
        with open(other.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"port = {server.port}\n")
        other.port = other.main.port = server.port
        other.start()
        wait_for_log(bridge, AGAIN, reason)
        goes_on(replica, other)
        replica.stop()
        bridge.stop()


# ---- two bridges ---------------------------------------------------------------------------------


def test_second_bridge_waits_and_takes_over(server, start, follow):
    first = start(server)
    second = start(server, "second", wait=False)
    second.wait_until("waiting")
    answer = second.get("/v1/health")
    assert (answer.status, answer.json()) == (202, {"status": "waiting"})
    refused = second.post("/v1/sync?replica=a", {"shapes": [{"table": "t"}]})
    assert refused.status == 503 and b"another bridge follows this database" in refused.body
    assert refused.headers["retry-after"]
    wait_for_log(second, f"another bridge follows slot \\\"{SLOT}\\\"")
    replica = follow(second)
    first.kill9()
    second.wait_until("active")
    goes_on(replica, server)


def test_folder_of_a_running_bridge_is_refused(server, start):
    bridge = start(server)
    rival = Bridge(server, data_dir=bridge.data_dir, stream_id="rival")
    rival.start(wait=False)
    assert rival.process.wait() == 1
    assert f'the data folder \\"{bridge.data_dir}\\" is in use by another process' in rival.log()
    assert bridge.health() == "active"


# ---- a server that cannot be followed ------------------------------------------------------------


def cannot_start(bridge, *words):
    """It says so and why, stays up with its health starting, and answers 503."""
    wait_for_log(bridge, "could not start replication", *words)
    answer = bridge.get("/v1/health")
    assert (answer.status, answer.json()) == (202, {"status": "starting"})
    assert bridge.post("/v1/sync?replica=a", {"shapes": [{"table": "t"}]}).status == 503
    assert bridge.alive


def test_wal_level_that_is_not_logical_is_named(pg_version, start):
    with Postgres(pg_version, {"wal_level": "replica"}) as server:
        bridge = start(server, wait=False)
        cannot_start(bridge, "wal_level is replica", "ALTER SYSTEM SET wal_level = logical")
        server.sql("ALTER SYSTEM SET wal_level = logical")
        server.restart()
        bridge.wait_until("active")
        bridge.stop()


def test_role_that_may_not_replicate_is_named(server, start):
    server.sql("CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE postgres TO plain")
    bridge = start(server.main.as_role("plain"), wait=False)
    cannot_start(bridge, "user", "plain", "may not replicate", "ALTER ROLE", "REPLICATION")
    server.sql("ALTER ROLE plain REPLICATION")
    bridge.wait_until("active")


def test_role_that_may_not_create_a_publication_is_told_what_it_needs(server, start):
    server.sql("CREATE ROLE small LOGIN REPLICATION")
    bridge = start(server.main.as_role("small"), wait=False)
    cannot_start(bridge, "could not create publication", "GRANT CREATE ON DATABASE")
    server.sql("GRANT CREATE ON DATABASE postgres TO small")
    bridge.wait_until("active")


class WithPassword(Database):
    """A database that is asked for with a password."""

    @property
    def url(self):
        return f"postgresql://{self.user}:sesame@{self.host}:{self.port}/{self.name}"


def test_wrong_password_is_said_and_not_shown(server, start):
    server.sql("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'other'")
    hba = server.data / "pg_hba.conf"
    hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n"
                   "host replication guarded 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
    server.sql("SELECT pg_reload_conf()")
    bridge = start(WithPassword(server, "postgres", user="guarded"), wait=False)
    cannot_start(bridge, "password authentication failed for user", "guarded")
    assert "sesame" not in bridge.log()
    server.sql("ALTER ROLE guarded PASSWORD 'sesame'")
    bridge.wait_until("active")


def test_address_where_nobody_listens_is_said(server, start):
    with socket.socket() as silent:  # bound, so that nobody else gets the port
        silent.bind(("127.0.0.1", 0))
        nobody = Database(server, "postgres", port=silent.getsockname()[1])
        cannot_start(start(nobody, wait=False), "could not connect to Postgres", "refused")


def test_address_of_something_else_than_postgres_is_said(server, start):
    other = start(server)  # it speaks HTTP
    stranger = start(Database(server, "postgres", port=other.port), "stranger", wait=False)
    cannot_start(stranger, "could not connect to Postgres", "invalid response")
    assert other.health() == "active"


# ---- ends ----------------------------------------------------------------------------------------


def test_fast_shutdown_of_postgres_ends_and_all_goes_on(server, start, follow):
    bridge = start(server)
    replica = follow(bridge)
    replica.wait_for_rows("t", rows(server))
    for n in range(3):
        server.sql("INSERT INTO t SELECT n, 'y' FROM generate_series(%s, %s) n",
                   1000 * (n + 1), 1000 * (n + 1) + 500)
        server.stop("fast")
        server.start()
        goes_on(replica, server)
    assert not bridge.log_contains(AGAIN)


def test_sigterm_ends_the_bridge_with_many_clients(server, start):
    bridge = start(server, shutdown_timeout="1h")
    streams = [Stream(bridge, {"table": "t"}, live=True, replica=f"r{n}") for n in range(50)]
    for stream in streams:
        stream.read(until=lambda s: len(s.rows()) == 100 and s.consistent)
    assert bridge.metrics()["tombolo_clients"] == 50
    bridge.stop()  # 0 or it fails
    for stream in streams:
        stream.close()
    bridge.start()

    def opened():
        with contextlib.suppress(Refused):  # it may have to catch up with the server first
            return Stream(bridge, {"table": "t"}).read()

    assert len(wait_for(opened, 60, "the stream").rows()) == 100


def test_sigterm_ends_the_bridge_while_the_server_is_a_black_hole(server, start):
    server.sql("CREATE TABLE other (id int PRIMARY KEY)")
    with Proxy(server.port) as proxy:
        bridge = start(Database(server, "postgres", port=proxy.port), shutdown_timeout="500ms",
                       catalog_interval="100ms")
        stream = Stream(bridge, {"table": "t"}, live=True)
        stream.read(until=lambda s: len(s.rows()) == 100 and s.consistent)
        with proxy.drop_traffic():
            with pytest.raises(OSError):  # a worker waits for the server now, and so does the keeper
                bridge.post("/v1/sync?replica=b", {"shapes": [{"table": "other"}]}, timeout=2.0)
            bridge.stop()
        stream.close()


def test_sigterm_ends_the_bridge_while_it_connects_to_a_black_hole(server, start):
    with Proxy(server.port) as proxy, proxy.drop_traffic():
        database = Database(server, "postgres", port=proxy.port)
        bridge = start(database, wait=False, database_url=f"{database.url}?connect_timeout=3600")
        wait_for(proxy.connections, 60, "the bridge to connect")
        bridge.stop()


@contextlib.contextmanager
def small_disk(folder):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk_holds_the_slot_until_there_is_room(server, tmp_path, follow):
    assert os.geteuid() == 0, "a small disk is mounted as root"
    with small_disk(tmp_path / "disk") as disk:
        ballast = disk / "ballast"
        bridge = Bridge(server, data_dir=disk / "bridge")
        bridge.process.log_path = tmp_path / "full.log"
        bridge.start()
        replica = follow(bridge)
        replica.wait_for_rows("t", rows(server))
        ballast.write_bytes(b"x" * 5_000_000)
        for n in range(1, 6):
            too_much = server.value("SELECT pg_current_wal_insert_lsn()")
            server.sql("INSERT INTO t SELECT n, repeat('y', 1000) FROM generate_series(%s, %s) n",
                       1000 * n, 1000 * n + 999)

        def has_passed():
            return server.value("SELECT confirmed_flush_lsn > %s::pg_lsn FROM pg_replication_slots",
                                too_much)
        wait_for_log(bridge, "no room for the shape log, the slot is held")
        server.sql("INSERT INTO t VALUES (0, 'while it was full')")
        time.sleep(1)  # longer than between two words to the server: nothing may happen
        assert not has_passed()
        assert bridge.alive
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        goes_on(replica, server)
        wait_for(has_passed, 60, "the slot to move")
        assert not bridge.log_contains(AGAIN)
        replica.stop()
        bridge.stop()


def test_disk_that_fills_within_a_transaction_holds_it_where_it_is(server, tmp_path, follow):
    """And while it is held the metrics tell how far the server is ahead."""
    assert os.geteuid() == 0, "a small disk is mounted as root"
    with small_disk(tmp_path / "disk") as disk:
        bridge = Bridge(server, data_dir=disk / "bridge", catalog_interval="200ms")
        bridge.process.log_path = tmp_path / "full.log"
        bridge.start()
        replica = follow(bridge)
        replica.wait_for_rows("t", rows(server))
        (disk / "ballast").write_bytes(b"x" * 5_000_000)
        server.sql("INSERT INTO t SELECT n, repeat('y', 1000) FROM generate_series(1001, 11000) n")
        wait_for_log(bridge, "no room for the shape log, the slot is held")
        assert bridge.get("/v1/health").json() == {
            "status": "active", "holding": "there is no room for the shape log"}
        server.sql("SELECT pg_logical_emit_message(false, 'noise', repeat('x', 12000000))")
        wait_for(lambda: bridge.metrics()["tombolo_wal_lag_bytes"] > 12_000_000, 60, "the lag")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        goes_on(replica, server)
        assert bridge.get("/v1/health").json() == {"status": "active"}
        assert bridge.log_contains("there is room again, going on")
        assert not bridge.log_contains("the replication stream broke")
        assert not bridge.log_contains(AGAIN)
        replica.stop()
        bridge.stop()


def test_stream_waits_while_nobody_can_ask_what_is_visible(server, start, follow):
    """The keeper alone gets no answer: what it has to find out does not pile up without bound."""
    bridge = start(server, max_unseen=100)
    replica = follow(bridge)
    replica.wait_for_rows("t", rows(server))
    keeper = server.value("SELECT pid FROM pg_stat_activity "
                          "WHERE application_name = 'tombolo keeper'")
    os.kill(keeper, signal.SIGSTOP)
    try:
        for n in range(1000, 1400):
            server.sql("INSERT INTO t VALUES (%s, 'later')", n)
        wait_for_log(bridge, "the stream waits until the database can be asked")
        assert bridge.get("/v1/health").json() == {
            "status": "active",
            "holding": "the database cannot be asked which transactions are visible"}
        assert len(replica.rows("t")) < 500
    finally:
        os.kill(keeper, signal.SIGCONT)
    goes_on(replica, server)
    wait_for(lambda: bridge.get("/v1/health").json() == {"status": "active"}, 60, "the stream")
    assert not bridge.log_contains("the replication stream broke")


# ---- /metrics ------------------------------------------------------------------------------------

SAMPLE = re.compile(r"^([a-z_]+)(\{[a-z_]+=\"[^\"\\]*\"\})? (\d+(\.\d+)?)$")
COMMENT = re.compile(r"^# (?:HELP ([a-z_]+) \S.*|TYPE ([a-z_]+) (?:counter|gauge))$")


def test_every_line_of_the_metrics_parses(server, start):
    bridge = start(server)
    answer = bridge.get("/metrics", port=bridge.metrics_port)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.body.endswith(b"\n")
    typed, seen = set(), set()
    for line in answer.body.decode().splitlines():
        if comment := COMMENT.match(line):
            typed.add(comment[2])
            continue
        sample = SAMPLE.match(line)
        assert sample, f"what is this? {line}"
        assert sample[1] in typed, f"no TYPE before it: {line}"
        assert (sample[1], sample[2]) not in seen, f"twice: {line}"
        seen.add((sample[1], sample[2]))


def test_metrics_move_with_what_happens(server, start, follow):
    bridge = start(server)
    before = bridge.metrics()
    assert before['tombolo_state{state="active"}'] == 1
    assert (before["tombolo_shapes"], before["tombolo_clients"]) == (0, 0)
    replica = follow(bridge)
    replica.wait_for_rows("t", rows(server))
    wait_for(lambda: bridge.metrics()["tombolo_clients"] == 1, 60, "the client")
    # The last rows are there before it is certain that they are all.
    wait_for(lambda: bridge.metrics()["tombolo_snapshots_total"] == 1, 60, "the snapshot")
    taken = bridge.metrics()
    assert taken["tombolo_shapes"] == 1 and taken["tombolo_snapshot_rows_total"] == 100
    server.sql("INSERT INTO t SELECT n, 'z' FROM generate_series(1001, 1500) n")
    replica.wait_for_rows("t", rows(server))
    for name in ("tombolo_rows_in_total", "tombolo_rows_out_total"):
        wait_for(lambda name=name: bridge.metrics()[name] - taken[name] == 500, 60, name)
    moved = bridge.metrics()
    for name in ("tombolo_wal_received_bytes_total", "tombolo_http_bytes_sent_total",
                 "tombolo_wal_received_lsn", "tombolo_transactions_total",
                 "tombolo_log_segment_bytes"):
        assert moved[name] > taken[name], name
    position = server.value("SELECT (pg_current_wal_lsn() - '0/0')::bigint")
    wait_for(lambda: bridge.metrics()["tombolo_wal_confirmed_lsn"] >= position, 60,
             "the position to be confirmed")
    wait_for(lambda: bridge.metrics()["tombolo_wal_lag_bytes"] == 0, 60, "no lag")
    wait_for(lambda: bridge.metrics()['tombolo_slot_wal_status{status="reserved"}'] == 1, 60,
             "the slot's status")
    assert bridge.post("/v1/sync?replica=a", {}).status == 400
    wait_for(lambda: bridge.metrics()['tombolo_http_requests_total{class="4xx"}'] == 1, 60,
             "the refusal to be counted")
    replica.stop()
    wait_for(lambda: bridge.metrics()["tombolo_clients"] == 0, 60, "no client")
    server.sql("TRUNCATE t")
    wait_for(lambda: bridge.metrics()["tombolo_shapes_ended_total"] == 1, 60, "the shape's end")
