"""The harness itself: servers that start, stop and crash as asked, and a proxy that misbehaves."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest
from harness import Postgres, Process, Proxy, wait_for
from harness.process import environment, runs
from psycopg2.extras import LogicalReplicationConnection


def test_server_is_of_the_version_asked_for(own_postgres, pg_version):
    assert int(own_postgres.sql("SHOW server_version_num")[0][0]) // 10000 == pg_version
    assert own_postgres.sql("SHOW wal_level") == [("logical",)]


def test_pgoutput_decodes_on_this_server(own_postgres):
    own_postgres.sql("CREATE TABLE t (id int PRIMARY KEY)")
    own_postgres.sql("CREATE PUBLICATION p FOR TABLE t")
    own_postgres.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    own_postgres.sql("INSERT INTO t VALUES (1)")
    messages = own_postgres.sql(
        "SELECT get_byte(data, 0) FROM pg_logical_slot_get_binary_changes("
        "'s', NULL, NULL, 'proto_version', '1', 'publication_names', 'p')")
    assert bytes(kind for (kind,) in messages) == b"BRIC"


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_committed_rows_outlive_a_restart(own_postgres, mode):
    own_postgres.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS id")
    port = own_postgres.port
    own_postgres.restart(mode)
    assert own_postgres.port == port
    assert own_postgres.sql("SELECT count(*) FROM t") == [(100,)]


def test_committed_rows_outlive_kill_9_again_and_again(own_postgres):
    own_postgres.sql("CREATE TABLE t (id int)")
    for n in range(5):
        open_transaction = own_postgres.connect(autocommit=False)
        open_transaction.cursor().execute("INSERT INTO t VALUES (-1)")
        own_postgres.sql("INSERT INTO t VALUES (%s)", n)
        own_postgres.kill9()
        assert not own_postgres.process.alive
        with pytest.raises(psycopg2.OperationalError):
            own_postgres.sql("SELECT 1")
        own_postgres.start()
        open_transaction.close()
    assert own_postgres.sql("SELECT id FROM t ORDER BY id") == [(n,) for n in range(5)]
    assert own_postgres.process.log_contains("was not properly shut down", times=5)


def test_kill_9_ends_a_backend_that_looks_at_nothing(own_postgres):
    """A busy backend does not notice that its postmaster is gone, and would stop the next start."""
    busy = psycopg2.connect(own_postgres.conninfo, async_=True)
    wait_for(lambda: busy.poll() == psycopg2.extensions.POLL_OK, 60, "a connection")
    busy.cursor().execute("SELECT sum(a * b) FROM generate_series(1, 100000) a, "
                          "generate_series(1, 100000) b")
    wait_for(lambda: own_postgres.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sum(a * b)%' "
                                      "AND state = 'active' AND pid <> pg_backend_pid()"),
             60, "the backend to be busy")
    own_postgres.kill9()
    assert own_postgres.start().sql("SELECT 1") == [(1,)]


def test_two_servers_live_side_by_side(pg_version):
    with Postgres(pg_version) as one, Postgres(pg_version, {"max_connections": 33}) as two:
        assert two.sql("SHOW max_connections") == [("33",)]
        assert one.sql("SHOW max_connections") != [("33",)]
        folders = [one.folder, two.folder]
    assert not any(folder.exists() for folder in folders)


def test_database_is_dropped_with_its_slot_while_somebody_streams(database):
    database.sql("CREATE PUBLICATION p")
    receiver = psycopg2.connect(database.conninfo, connection_factory=LogicalReplicationConnection)
    cursor = receiver.cursor()
    cursor.create_replication_slot("held", output_plugin="pgoutput")
    cursor.start_replication("held", options={"proto_version": "1", "publication_names": "p"})
    held = "SELECT active FROM pg_replication_slots WHERE slot_name = 'held'"
    assert database.server.sql(held) == [(True,)]
    database.drop()
    assert database.server.sql(held) == []
    receiver.close()


def test_wait_for_says_what_it_waited_for():
    with pytest.raises(AssertionError, match=r"after 0.05 s still waiting for the moon"):
        wait_for(lambda: False, 0.05, "the moon")


def test_process_that_ends_is_told_at_once_with_its_log(tmp_path):
    process = Process("sh", tmp_path / "log")
    process.start(["sh", "-c", "echo broken >&2; exit 3"], environment())
    with pytest.raises(AssertionError, match=r"(?s)sh ended with 3 .*broken"):
        process.wait_for(lambda: False, 30, "nothing")


def test_process_started_by_a_thread_outlives_the_thread(tmp_path):
    process = Process("sleep", tmp_path / "log")
    thread = threading.Thread(target=process.start, args=(["sleep", "60"], environment()))
    thread.start()
    thread.join()
    wait_for(lambda: thread.native_id not in map(int, os.listdir("/proc/self/task")), 60,
             "the thread to be gone")
    assert process.alive
    assert process.stop() == -signal.SIGTERM


def test_server_dies_with_a_test_run_that_is_killed(pg_version, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from harness import Postgres\n"
        f"server = Postgres({pg_version}).start()\n"
        "print(server.process.pid, server.folder, flush=True)\n"
        "sys.stdin.read()\n")
    with subprocess.Popen([sys.executable, script, Path(__file__).parent], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        pid, folder = run.stdout.readline().split()
        run.kill()
    wait_for(lambda: not runs(int(pid)), 60, "the server to end")
    subprocess.run(["rm", "-rf", folder], check=True)


def test_sanitizer_report_is_found_in_a_log(tmp_path):
    process = Process("sh", tmp_path / "log")
    process.start(["sh", "-c", "echo fine; echo 'x.c:1:2: run''time error: shift' >&2"],
                  environment()).wait()
    assert "shift" in process.sanitizer_report()
    process.log_path.unlink()  # or it would fail this very test


@pytest.fixture
def echo():
    """A server that sends back what it gets; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_proxy_passes_bytes_both_ways_and_the_end(echo):
    with Proxy(echo) as proxy, socket.create_connection((proxy.host, proxy.port), 60) as client:
        data = os.urandom(3_000_000)
        threading.Thread(target=client.sendall, args=(data,)).start()
        got = b""
        while len(got) < len(data):
            got += client.recv(1 << 20)
        assert got == data
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        wait_for(lambda: proxy.connections() == 0, 60, "the connection to be forgotten")


def test_proxy_holds_bytes_back_while_traffic_is_dropped(echo):
    with Proxy(echo) as proxy, socket.create_connection((proxy.host, proxy.port), 60) as client:
        with proxy.drop_traffic():
            client.sendall(b"late")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(4)
        client.settimeout(60)
        assert client.recv(4) == b"late"


def test_proxy_cut_resets_its_connections_and_takes_new_ones(echo):
    with Proxy(echo) as proxy:
        with socket.create_connection((proxy.host, proxy.port), 60) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            assert proxy.cut() == 1
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with socket.create_connection((proxy.host, proxy.port), 60) as client:
            client.sendall(b"y")
            assert client.recv(1) == b"y"


def test_proxy_cuts_a_connection_whose_client_never_reads(echo):
    with Proxy(echo) as proxy, socket.create_connection((proxy.host, proxy.port), 60) as client:
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):  # everything between us is full now
            while True:
                client.send(b"x" * 65536)
        assert proxy.cut() == 1
        client.settimeout(60)
        with pytest.raises(ConnectionError):
            client.sendall(b"x" * 10_000_000)


def test_proxy_refuses_while_told_to(echo):
    with Proxy(echo) as proxy, proxy.refuse():
        with pytest.raises(ConnectionError):
            with socket.create_connection((proxy.host, proxy.port), 60) as client:
                client.sendall(b"x")
                assert client.recv(1) != b"", "the end, politely"


def test_proxy_dribbles_a_byte_at_a_time(echo):
    with Proxy(echo) as proxy, socket.create_connection((proxy.host, proxy.port), 60) as client:
        with proxy.dribble(size=1, interval=0.01):
            client.sendall(b"0123456789")
            started, pieces = time.monotonic(), []
            while sum(map(len, pieces)) < 10:
                pieces.append(client.recv(100))
        assert b"".join(pieces) == b"0123456789"
        assert time.monotonic() - started >= 0.1  # a bound that no load can break
        assert len(pieces) > 1
