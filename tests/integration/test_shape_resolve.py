"""From the wording of a request to its log: who waits for whom, and what becomes of questions that
nobody waits for any more."""

import json
import os
import signal

import pytest
from harness import Connection, Stream, target, wait_for


@pytest.fixture
def beside(make_bridge):
    """beside(database): a running Bridge there."""
    return lambda database, **settings: make_bridge(database, **settings).start()


def ask(bridge, **params):
    """A first request, on a connection of its own, that is not read."""
    path = target("/v1/shape", **{"offset": "-1", **params})
    return Connection(bridge.port).send("GET", path)


def connections(bridge):
    return bridge.metrics()["tombolo_http_connections"]


# ---- requests that are given up -----------------------------------------------------------------

def ask_subset(bridge, **params):
    return ask(bridge, offset="now", log="changes_only", subset__where="id > 0", **params)


def ask_sync(bridge, **shape):
    body = json.dumps({"live": True, "shapes": [shape]}).encode()
    return Connection(bridge.port).send("POST", "/v1/sync?replica=r", body=body)


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("asks", [ask, ask_subset, ask_sync])
def test_shapes_that_nobody_waits_for_any_more_are_not_made(database, beside, asks):
    database.sql("CREATE TABLE t (id int PRIMARY KEY)")
    database.sql("CREATE TABLE other (id int PRIMARY KEY)")
    bridge = beside(database, lock_timeout="60s")
    holder = database.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    clients = [asks(bridge, table="t", where=f"id = {i}") for i in range(20)]
    wait_for(lambda: connections(bridge) >= 20, 60, "all to be there")
    assert Stream(bridge, {"table": "other"}).read().tuples("id") == []
    for client in clients[1:]:
        client.close()
    wait_for(lambda: connections(bridge) < 5, 60, "those who left to be gone")
    holder.rollback()
    holder.close()
    assert clients[0].receive_head().status == 200
    assert Stream(bridge, {"table": "t", "where": "id = 99"}).read().tuples("id") == []
    # The first of all had begun to wait for the table, whoever that was.
    assert bridge.metrics()["tombolo_shapes"] <= 4
    clients[0].close()


# ---- what is known ------------------------------------------------------------------------------

def test_known_shapes_are_served_by_any_thread_while_postgres_is_away(own_postgres, beside):
    """More than any table of fixed size had room for, and a clause that is long."""
    own_postgres.sql("CREATE TABLE t (id int PRIMARY KEY, owner int)")
    own_postgres.sql("INSERT INTO t SELECT i, i FROM generate_series(1, 700) i")
    bridge = beside(own_postgres, http_threads="2")
    clauses = [f"owner = {i}" + " " * (5000 if i % 100 == 0 else 0) for i in range(700)]

    def ask(connection, clause, **params):
        path = target("/v1/shape", table="t", where=clause, **params).replace("%20", "+")
        return connection.request("GET", path)

    with Connection(bridge.port) as connection:
        handles = {clause: ask(connection, clause, offset="-1")["electric-handle"]
                   for clause in clauses}
    # The last ones' first rows are there before it is certain that they are all.
    wait_for(lambda: bridge.metrics()["tombolo_snapshots_total"] == len(clauses), 60,
             "all shapes to be complete")
    own_postgres.stop("immediate")
    for _ in range(4):
        with Connection(bridge.port) as connection:
            statuses = {ask(connection, clause, offset="0_0", handle=handle).status
                        for clause, handle in handles.items()}
        assert statuses == {200}


def test_first_rows_that_are_long_in_coming_hold_up_nobody_whose_shape_is_there(database, beside):
    """The backend that sends them is stopped meanwhile."""
    database.sql("CREATE TABLE other (id int PRIMARY KEY)")
    database.sql("CREATE TABLE big AS SELECT i AS id, repeat(md5(i::text), 30) AS v"
                 " FROM generate_series(1, 200000) i")
    database.sql("ALTER TABLE big ADD PRIMARY KEY (id)")
    bridge = beside(database, snapshot_workers="1")

    def other(name):
        with Connection(bridge.port) as connection:
            path = target("/v1/shape", table=name, offset="-1")
            return connection.request("GET", path).status

    def copying():
        return database.sql("SELECT pid FROM pg_stat_activity WHERE state = 'active'"
                            " AND application_name = 'tombolo snapshot' AND query LIKE 'COPY %%'"
                            " AND datname = current_database()")

    assert other("other") == 200
    client = ask(bridge, table="big")
    ((pid,),) = wait_for(copying, 60, "the rows to be copied")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert other("public.other") == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    client.close()
