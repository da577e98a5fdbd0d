"""The slot moves on: neither an idle database nor a dead client ever holds WAL back."""

import contextlib
import http.client
import json
import signal

import pytest
from harness import Bridge, Proxy, wait_for

MB = 1024 * 1024


@pytest.fixture
def orders(database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, what text)")
    database.sql("INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 10) n")
    return database


def behind(database):
    """How many bytes of WAL the slot has not confirmed."""
    return database.value("SELECT pg_current_wal_lsn() - confirmed_flush_lsn FROM "
                          "pg_replication_slots WHERE slot_name = 'tombolo_default'")


def confirmed(database):
    return database.value("SELECT (confirmed_flush_lsn - '0/0')::bigint FROM "
                          "pg_replication_slots WHERE slot_name = 'tombolo_default'")


def wait_until_confirmed(database, deadline=60):
    """Until all that there was before the call is confirmed."""
    position = database.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    wait_for(lambda: confirmed(database) >= position, deadline,
             lambda: f"the slot to come to {position}; it is at {confirmed(database)}")


def insert(database, first, last):
    database.sql("INSERT INTO orders SELECT n, repeat('y', 1000) FROM generate_series(%s, %s) n",
                 first, last)


def busy(database, megabytes=20):
    """So much WAL that is of no shape."""
    database.sql("CREATE TABLE IF NOT EXISTS noise (what text)")
    for _ in range(megabytes):
        database.sql("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 1000)")


@pytest.fixture
def neighbour(database):
    other = database.server.create_database(f"{database.name}_neighbour")
    yield other
    other.drop()


def test_idle_database_beside_a_busy_one_confirms_its_wal(orders, bridge, neighbour, make_replica):
    make_replica(["orders"]).once()
    busy(neighbour)
    wait_until_confirmed(orders)


def test_database_without_any_shape_confirms_its_wal(orders, bridge):
    busy(orders)
    wait_until_confirmed(orders)


def test_unpublished_tables_confirm_their_wal(orders, bridge, make_replica):
    make_replica(["orders"]).once()
    busy(orders)
    wait_until_confirmed(orders)


def test_restart_lsn_follows_so_that_wal_can_be_removed(orders, bridge, make_replica):
    make_replica(["orders"]).once()

    def retained():
        busy(orders, 1)
        orders.sql("CHECKPOINT")
        return orders.value("SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots "
                            "WHERE slot_name = 'tombolo_default'")

    busy(orders, 40)
    wait_for(lambda: retained() < 20 * MB, 60, "the slot to let go of old WAL", interval=0.5)


def test_stopped_replica_holds_no_wal_back(orders, bridge, make_replica):
    replica = make_replica(["orders"]).start()
    replica.wait_for(lambda: len(replica.rows("orders") or ()) == 10)
    replica.process.send_signal(signal.SIGSTOP)
    try:
        for n in range(20):
            insert(orders, 1000 * n + 100, 1000 * n + 1099)
        wait_until_confirmed(orders)
    finally:
        replica.process.send_signal(signal.SIGCONT)
    expected = orders.sql("SELECT count(*), sum(id) FROM orders")
    replica.wait_for(lambda: replica.sql("SELECT count(*), sum(id) FROM orders") == expected, 60)


def test_client_that_never_reads_holds_no_wal_back(orders, bridge):
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/sync?replica=lazy", json.dumps(
            {"shapes": [{"table": "orders"}]}))
        assert connection.getresponse().status == 200
        insert(orders, 100, 30000)
        wait_until_confirmed(orders)


def test_client_that_stalls_is_disconnected_after_send_timeout(orders, tmp_path):
    bridge = Bridge(orders, data_dir=tmp_path / "short", send_timeout="500ms").start()
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/sync?replica=lazy", json.dumps(
            {"shapes": [{"table": "orders"}]}))
        assert connection.getresponse().status == 200
        wait_for(lambda: bridge.metrics()["tombolo_clients"] == 1, 60, "the client to be counted")
        insert(orders, 100, 30000)
        wait_for(lambda: bridge.metrics()["tombolo_clients"] == 0, 60, "the client to be let go")
    wait_until_confirmed(orders)
    bridge.stop()


def test_nothing_is_confirmed_that_a_crash_could_lose(orders, bridge, make_replica):
    """Killed at once after each commit, the bridge still gives every row: what it has lost it
    gets from the slot once more."""
    replica = make_replica(["orders"]).start()
    for n in range(10):
        orders.sql("INSERT INTO orders VALUES (%s, 'z')", 100 + n)
        bridge.kill9()
        assert behind(orders) >= 0
        bridge.start()
    replica.wait_for_rows("orders", orders.sql("SELECT * FROM orders"), deadline=60)


def test_fast_shutdown_of_postgres_is_not_held_up(own_postgres, tmp_path):
    own_postgres.sql("CREATE TABLE t (id int PRIMARY KEY)")
    bridge = Bridge(own_postgres, data_dir=tmp_path / "bridge").start()
    own_postgres.sql("INSERT INTO t SELECT generate_series(1, 1000)")
    own_postgres.stop("fast")
    own_postgres.start()
    bridge.wait_until("active")
    bridge.stop()


def test_fast_shutdown_is_not_held_up_by_what_can_no_longer_be_asked(own_postgres, tmp_path):
    """The stream is there again after a cut and the bridge's other connection is not yet: then it
    never hears that what it was sent is visible to all, and must not wait for that."""
    own_postgres.sql("CREATE TABLE t (id int PRIMARY KEY)")
    with Proxy(own_postgres.port) as proxy:
        bridge = Bridge(own_postgres.main.through(proxy), data_dir=tmp_path / "bridge").start()
        assert rows_of(bridge, "t") == []
        for n in range(2):
            before = bridge.metrics()["tombolo_rows_in_total"]
            with own_postgres.connect(autocommit=False) as connection:
                connection.cursor().execute(
                    "INSERT INTO t SELECT generate_series(%s, %s)", (1000 * n, 1000 * n + 999))
                proxy.cut()
            wait_for(lambda seen=before: bridge.metrics()["tombolo_rows_in_total"] > seen + 999,
                     60, "the stream to be there again", interval=0.002)
            own_postgres.stop("fast")
            own_postgres.start()
            bridge.wait_until("active")
        assert len(rows_of(bridge, "t")) == 2000
        bridge.stop()


def rows_of(bridge, table):
    def asked():
        return bridge.post("/v1/sync?replica=x", {"shapes": [{"table": table}], "live": False})

    answer = wait_for(lambda: (got := asked()).status == 200 and got, 60, "an answer but 503")
    lines = map(json.loads, answer.body.splitlines())
    return [message for line in lines for message in line.get("messages", ())]
