"""From the wording of a request to its log: who waits for whom, and what becomes of questions that
nobody waits for any more."""

import pytest
from harness import Bridge, Connection, Stream, target, wait_for


@pytest.fixture
def beside(tmp_path):
    """beside(database): a running Bridge there, stopped at the test's end."""
    made = []

    def make(database, **settings):
        made.append(Bridge(database, data_dir=tmp_path / f"bridge{len(made)}", **settings))
        return made[-1].start()

    yield make
    for bridge in made:
        bridge.stop()


def ask(bridge, **params):
    """A first request, on a connection of its own, that is not read."""
    path = target("/v1/shape", **{"offset": "-1", **params})
    return Connection(bridge.port, timeout=30).send("GET", path)


def connections(bridge):
    return bridge.metrics()["tombolo_http_connections"]


# ---- requests that are given up -----------------------------------------------------------------

def test_shapes_that_nobody_waits_for_any_more_are_not_made(database, beside):
    database.sql("CREATE TABLE t (id int PRIMARY KEY)")
    database.sql("CREATE TABLE other (id int PRIMARY KEY)")
    bridge = beside(database, lock_timeout="60s")
    holder = database.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    clients = [ask(bridge, table="t", where=f"id = {i}") for i in range(20)]
    wait_for(lambda: connections(bridge) >= 20, 20, "all to be there")
    assert Stream(bridge, {"table": "other"}).read().tuples("id") == []
    for client in clients[1:]:
        client.close()
    wait_for(lambda: connections(bridge) < 5, 20, "those who left to be gone")
    holder.rollback()
    holder.close()
    assert clients[0].receive().status == 200
    assert Stream(bridge, {"table": "t", "where": "id = 99"}).read().tuples("id") == []
    # The first of all had begun to wait for the table, whoever that was.
    assert bridge.metrics()["tombolo_shapes"] <= 4


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
    own_postgres.stop("immediate")
    for _ in range(4):
        with Connection(bridge.port) as connection:
            statuses = {ask(connection, clause, offset="0_0", handle=handle).status
                        for clause, handle in handles.items()}
        assert statuses == {200}
